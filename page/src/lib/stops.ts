// Where the CAM scrubber stops: at the end of every block that a paper's table names.
import { layerOf, root, type Block, type Graph } from "./graph";

const MOST = 64; // that the server takes at once

/** The blocks of stages, and the outer blocks that are no stages, as far as they are maps. */
export function stops(graph: Graph): Block[] {
  const named = (parent: string): Block[] =>
    graph.blocks
      .filter((block) => block.parent === parent)
      .flatMap((block) => (block.kind === "stage" ? named(block.name) : [block]));
  const found = named(root(graph).name).filter((block) => {
    const shape = layerOf(graph, block.end)?.output_shape ?? [];
    return shape.length === 3 && (shape[0] ?? 0) > 1;
  });
  return found.length > MOST ? found.slice(-MOST) : found;
}

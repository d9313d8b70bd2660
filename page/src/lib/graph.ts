// The static graph of a model and the ways through it.
import type { Block, Graph, Layer, ReceptiveField as Field } from "../types";

export type { Block, Field, Graph, Layer };

interface Index {
  layers: Map<string, Layer>;
  blocks: Map<string, Block>;
  /** The innermost block around each layer. */
  around: Map<string, string>;
}

const indices = new WeakMap<Graph, Index>();

function index(graph: Graph): Index {
  const known = indices.get(graph);
  if (known) return known;
  const made: Index = {
    layers: new Map(graph.layers.map((layer) => [layer.name, layer])),
    blocks: new Map(graph.blocks.map((block) => [block.name, block])),
    around: new Map(),
  };
  // Outer blocks stand before inner ones, so the innermost one is written last.
  for (const block of graph.blocks)
    for (const layer of block.layers) made.around.set(layer, block.name);
  indices.set(graph, made);
  return made;
}

export const layerOf = (graph: Graph, name: string): Layer | undefined =>
  index(graph).layers.get(name);

/** A block of the tree; the root, which is the model, is none. */
export function blockOf(graph: Graph, name: string): Block | undefined {
  const block = index(graph).blocks.get(name);
  return block && block !== root(graph) ? block : undefined;
}

export const root = (graph: Graph): Block => {
  const [first] = graph.blocks;
  if (!first) throw new Error("a graph without blocks");
  return first;
};

export type Item = { name: string; block: boolean };

/**
 * What names a block or layer in the address. A block may be called as its last layer is, as
 * Inception's are; then the name means the block, and `name/end` the layer.
 */
export const keyOf = (graph: Graph, item: Item): string =>
  !item.block && blockOf(graph, item.name) ? `${item.name}/end` : item.name;

export function itemOf(graph: Graph, key: string): Item | null {
  if (blockOf(graph, key)) return { name: key, block: true };
  const name = key.replace(/\/end$/, "");
  return layerOf(graph, name) ? { name, block: false } : null;
}

/** The blocks around a block or layer, outermost first; the root is left out. */
export function enclosing(graph: Graph, item: Item): Block[] {
  const found: Block[] = [];
  const { blocks, around } = index(graph);
  let parent = item.block ? blocks.get(item.name)?.parent : around.get(item.name);
  while (parent != null) {
    const block = blockOf(graph, parent);
    if (!block) break;
    found.unshift(block);
    parent = block.parent;
  }
  return found;
}

/** The layer whose output is that of a block or layer. */
export const endOf = (graph: Graph, item: Item): Layer | undefined =>
  layerOf(graph, item.block ? (blockOf(graph, item.name)?.end ?? item.name) : item.name);

/** Sides of a shape, of which a built network leaves none open. */
export const sides = (shape: readonly (number | null)[]): number[] =>
  shape.map((side) => side ?? NaN);

/** The convolution that reads the picture itself, if a block or layer is or holds it. */
export function readsPicture(graph: Graph, item: Item): Layer | undefined {
  const names = (item.block && blockOf(graph, item.name)?.layers) || [item.name];
  return names
    .flatMap((name) => layerOf(graph, name) ?? [])
    .find((layer) => {
      if (layer.kind !== "Conv2D") return false;
      let source = layerOf(graph, layer.inputs[0] ?? "");
      while (source && ["ZeroPadding2D", "Rescaling", "Normalization"].includes(source.kind))
        source = layerOf(graph, source.inputs[0] ?? "");
      return source?.kind === "InputLayer";
    });
}

/** Blocks that hold others, and those that hold layers only, as the levels of the drawing mean. */
export function openedAt(graph: Graph, level: "stages" | "blocks" | "layers"): string[] {
  const blocks = graph.blocks.slice(1);
  if (level === "layers") return blocks.map((block) => block.name);
  if (level === "blocks")
    return blocks.filter((block) => block.kind === "stage").map((block) => block.name);
  return [];
}

// A branch is a row of units: it is neither folded nor framed.
const isFrameless = (graph: Graph, block: string): boolean =>
  blockOf(graph, block)?.kind === "branch";

/** What is to be seen when exactly these blocks are open: closed blocks and layers, in order. */
export function visible(graph: Graph, opened: ReadonlySet<string>): Item[] {
  const seen = new Set<string>();
  return graph.layers.flatMap((layer): Item[] => {
    const item = shownAs(graph, layer.name, opened);
    const key = `${item.block}:${item.name}`;
    if (seen.has(key)) return [];
    seen.add(key);
    return [item];
  });
}

/** The closed block that stands for a layer, or the layer itself where all around it are open. */
export function shownAs(graph: Graph, layer: string, opened: ReadonlySet<string>): Item {
  const { blocks, around } = index(graph);
  const chain: string[] = [];
  let parent: string | null | undefined = around.get(layer);
  while (parent != null && blockOf(graph, parent)) {
    chain.unshift(parent);
    parent = blocks.get(parent)?.parent;
  }
  const closed = chain.find((block) => !opened.has(block) && !isFrameless(graph, block));
  return closed === undefined ? { name: layer, block: false } : { name: closed, block: true };
}

/** Edges between what is to be seen, each once. */
export function edges(
  graph: Graph,
  opened: ReadonlySet<string>,
): { from: Item; to: Item; shape: number[] }[] {
  const seen = new Set<string>();
  return graph.layers.flatMap((layer) =>
    layer.inputs.flatMap((input) => {
      const [from, to] = [shownAs(graph, input, opened), shownAs(graph, layer.name, opened)];
      const key = [from.block, from.name, to.block, to.name].join(" ");
      if ((from.name === to.name && from.block === to.block) || seen.has(key)) return [];
      seen.add(key);
      return [{ from, to, shape: sides(layerOf(graph, input)?.output_shape ?? []) }];
    }),
  );
}

/** Blocks and layers whose name or kind holds all words of a search, best first. */
export function search(graph: Graph, words: string, limit = 12): Item[] {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  if (!wanted.length) return [];
  const score = (name: string, kind: string): number => {
    const [low, sort] = [name.toLowerCase(), kind.toLowerCase().replaceAll("_", " ")];
    let sum = 0;
    for (const word of wanted) {
      if (low === word) sum += 8;
      else if (low.startsWith(word)) sum += 4;
      else if (low.includes(word)) sum += 2;
      else if (sort.includes(word)) sum += 1;
      else return 0;
    }
    return sum;
  };
  const items = [
    ...graph.blocks.slice(1).map((block) => ({
      name: block.name,
      block: true,
      score: score(block.name, block.kind) && score(block.name, block.kind) + 0.5,
    })),
    ...graph.layers.map((layer) => ({
      name: layer.name,
      block: false,
      score: score(layer.name, layer.kind),
    })),
  ];
  return items
    .filter((item) => item.score > 0)
    .sort((a, b) => b.score - a.score)
    .slice(0, limit)
    .map(({ name, block }) => ({ name, block }));
}

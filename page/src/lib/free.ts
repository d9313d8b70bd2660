// Free layouts by ELK, in a worker: laid out anew for whatever is open, downwards or to the right.
import ELK, { type ElkExtendedEdge, type ElkNode } from "elkjs/lib/elk-api.js";
import workerUrl from "elkjs/lib/elk-worker.min.js?url";
import { describe } from "./arithmetic";
import { blockOf, edges, endOf, enclosing, visible, type Graph, type Item } from "./graph";
import { shape as text, short } from "./numbers";

let elk: InstanceType<typeof ELK> | null = null;

const FONT = 11;
const TITLE = 12;
const HEAD = 26; // of a frame, for its name

const measure = (() => {
  const context = document.createElement("canvas").getContext("2d");
  return (words: string, size: number): number => {
    if (!context) return words.length * size * 0.55;
    context.font = `${size}px Inter, system-ui, sans-serif`;
    return context.measureText(words).width;
  };
})();

const id = (item: Item): string => `${item.block ? "b" : "l"}:${item.name}`;

/** An SVG like the server's, in which ELK has put everything in its place. */
export async function arrange(
  graph: Graph,
  opened: ReadonlySet<string>,
  direction: "down" | "right",
): Promise<string> {
  const nodes = new Map<string, ElkNode & { item: Item }>();
  const root: ElkNode = { id: "root", children: [], edges: [] };
  const framed = new Map<string, ElkNode>();
  for (const item of visible(graph, opened)) {
    let parent = root;
    for (const block of enclosing(graph, item)) {
      if (block.kind === "branch") continue;
      let frame = framed.get(block.name);
      if (!frame) {
        frame = {
          id: `f:${block.name}`,
          children: [],
          layoutOptions: {
            "elk.padding": `[top=${HEAD + 8},left=12,bottom=12,right=12]`,
            "elk.nodeSize.constraints": "MINIMUM_SIZE",
            "elk.nodeSize.minimum": `(${measure(block.name, TITLE) + 40}, 40)`,
          },
        };
        framed.set(block.name, frame);
        parent.children!.push(frame);
      }
      parent = frame;
    }
    const node = { id: id(item), item, ...sizeOf(graph, item) };
    nodes.set(node.id, node);
    parent.children!.push(node);
  }
  root.edges = edges(graph, opened).map(
    ({ from, to, shape }, i): ElkExtendedEdge & { shape: number[]; ends: [Item, Item] } => ({
      id: `e${i}`,
      sources: [id(from)],
      targets: [id(to)],
      shape,
      ends: [from, to],
    }),
  );
  root.layoutOptions = {
    "elk.algorithm": "layered",
    "elk.direction": direction === "down" ? "DOWN" : "RIGHT",
    "elk.hierarchyHandling": "INCLUDE_CHILDREN",
    "elk.edgeRouting": "ORTHOGONAL",
    "elk.layered.spacing.nodeNodeBetweenLayers": "26",
    "elk.spacing.nodeNode": "18",
    "elk.spacing.edgeNode": "12",
    "elk.layered.nodePlacement.strategy": "NETWORK_SIMPLEX",
    "elk.json.edgeCoords": "ROOT",
    "elk.padding": "[top=12,left=12,bottom=12,right=12]",
  };
  elk ??= new ELK({ workerUrl });
  return toSvg(graph, await elk.layout(root), nodes);
}

function lines(graph: Graph, item: Item): [string, string] {
  const block = item.block ? blockOf(graph, item.name) : undefined;
  const layer = endOf(graph, item);
  if (block)
    return [item.name, `${block.kind.replaceAll("_", " ")}, ${short(block.cost.parameters)}`];
  return [item.name, layer ? describe(graph, layer) : ""];
}

function sizeOf(graph: Graph, item: Item): { width: number; height: number } {
  const [first, second] = lines(graph, item);
  return {
    width: Math.ceil(Math.max(measure(first, TITLE) * 1.06, measure(second, FONT)) + 24),
    height: 42,
  };
}

function toSvg(graph: Graph, root: ElkNode, nodes: Map<string, { item: Item }>): string {
  const parts: string[] = [];
  const draw = (node: ElkNode, x: number, y: number): void => {
    const [left, top] = [x + (node.x ?? 0), y + (node.y ?? 0)];
    const [width, height] = [node.width ?? 0, node.height ?? 0];
    const item = nodes.get(node.id)?.item;
    if (item) {
      const [first, second] = lines(graph, item);
      const of = item.block ? blockOf(graph, item.name) : endOf(graph, item);
      const kind = of?.kind ?? "";
      const shape = text(endOf(graph, item)?.output_shape ?? []);
      parts.push(
        `<g class="node ${escape(kind)}" data-name="${escape(item.name)}" data-kind="${escape(kind)}"` +
          `${item.block ? ' data-block="1"' : ""}><title>${escape(`${first}: ${second}, output ${shape}`)}</title>` +
          `<rect class="kc-${of?.family ?? "plain"}" x="${left}" y="${top}" width="${width}" height="${height}" rx="6"/>` +
          `<text class="kc-text" x="${left + width / 2}" y="${top + 18}" font-size="${TITLE}" font-weight="600" text-anchor="middle">${escape(first)}</text>` +
          `<text class="kc-dim" x="${left + width / 2}" y="${top + 33}" font-size="${FONT}" text-anchor="middle">${escape(second)}</text></g>`,
      );
      return;
    }
    if (node.id !== "root") {
      const name = node.id.slice(2);
      const block = blockOf(graph, name);
      parts.push(
        `<g class="frame" data-name="${escape(name)}" data-kind="${escape(block?.kind ?? "")}" data-open="1">` +
          `<title>${escape(`${name}, ${(block?.kind ?? "").replaceAll("_", " ")}`)}</title>` +
          `<rect class="kc-frame" x="${left}" y="${top}" width="${width}" height="${height}" rx="10"/>` +
          `<text class="kc-text" x="${left + 12}" y="${top + 18}" font-size="${TITLE}" font-weight="600">${escape(name)}</text>`,
      );
      for (const child of node.children ?? []) draw(child, left, top);
      parts.push("</g>");
      return;
    }
    for (const child of node.children ?? []) draw(child, left, top);
  };
  draw(root, 0, 0);
  for (const edge of (root.edges ?? []) as (ElkExtendedEdge & {
    shape: number[];
    ends: [Item, Item];
  })[])
    for (const section of edge.sections ?? []) {
      const points = [section.startPoint, ...(section.bendPoints ?? []), section.endPoint];
      const [before, last] = points.slice(-2) as [
        { x: number; y: number },
        { x: number; y: number },
      ];
      const length = Math.hypot(last.x - before.x, last.y - before.y) || 1;
      const [ux, uy] = [(last.x - before.x) / length, (last.y - before.y) / length];
      const corner = (side: number): string =>
        `${last.x - 7 * ux - 3.5 * side * uy} ${last.y - 7 * uy + 3.5 * side * ux}`;
      parts.push(
        `<g class="edge" data-from="${escape(edge.ends[0].name)}" data-to="${escape(edge.ends[1].name)}">` +
          `<title>${escape(text(edge.shape))}</title>` +
          `<path class="kc-line" d="M${points.map(({ x, y }) => `${x} ${y}`).join("L")}"/>` +
          `<path class="kc-head" d="M${last.x} ${last.y}L${corner(1)}L${corner(-1)}Z"/></g>`,
      );
    }
  const [width, height] = [Math.ceil(root.width ?? 0), Math.ceil(root.height ?? 0)];
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" ` +
    `height="${height}"><title>the network, laid out freely</title>${parts.join("")}</svg>`
  );
}

const escape = (words: string): string =>
  words.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

// Receptive fields: which pixels of the input a position of a feature map sees.
import { layerOf, type Field, type Graph, type Layer } from "./graph";
import { shape as text } from "./numbers";

/** Pixels from the first to the last one, both inside; they may stick out over the border. */
export interface Rectangle {
  top: number;
  left: number;
  bottom: number;
  right: number;
}

export interface Ring {
  /** The layer at the end of the branch. */
  name: string;
  field: Field;
}

/** What position (row, column) of a feature map sees of the network's input. */
export const seen = (field: Field, row: number, column: number): Rectangle => ({
  top: field.rows.first + row * field.rows.stride,
  bottom: field.rows.last + row * field.rows.stride,
  left: field.columns.first + column * field.columns.stride,
  right: field.columns.last + column * field.columns.stride,
});

export const size = (field: Field): [number, number] => [
  field.rows.last - field.rows.first + 1,
  field.columns.last - field.columns.first + 1,
];

/** "39 × 39", and what of it is a bound or not all. */
export const words = (field: Field): string =>
  `${text(size(field))}${field.exact ? "" : " at most"}${field.gated ? ", and the gates see all" : ""}`;

/** The part of a rectangle inside the picture, or null where there is none. */
export function clip(rectangle: Rectangle, height: number, width: number): Rectangle | null {
  const inside = {
    top: Math.max(0, rectangle.top),
    left: Math.max(0, rectangle.left),
    bottom: Math.min(height - 1, rectangle.bottom),
    right: Math.min(width - 1, rectangle.right),
  };
  return inside.top <= inside.bottom && inside.left <= inside.right ? inside : null;
}

/** How many pixels stick out over each border. */
export const over = (rectangle: Rectangle, height: number, width: number): Rectangle => ({
  top: Math.max(0, -rectangle.top),
  left: Math.max(0, -rectangle.left),
  bottom: Math.max(0, rectangle.bottom - height + 1),
  right: Math.max(0, rectangle.right - width + 1),
});

const MERGES = new Set(["Concatenate", "Add", "Average", "Maximum", "Multiply", "Subtract"]);
const THROUGH = new Set(["Activation", "ReLU", "BatchNormalization", "Dropout", "Identity"]);

/** The merging layer whose output, point for point, this layer passes on: or null. */
export function mergeBehind(graph: Graph, name: string): Layer | null {
  let layer = layerOf(graph, name);
  while (layer && !MERGES.has(layer.kind)) {
    const [only, second] = layer.inputs;
    if (!THROUGH.has(layer.kind) || only === undefined || second !== undefined) return null;
    layer = layerOf(graph, only);
  }
  return layer ?? null;
}

/**
 * The fields of the branches that meet in a layer, in the order of its operands; of a concatenation
 * of concatenations, those of the innermost branches. Empty where nothing meets.
 */
export function branches(graph: Graph, name: string): Ring[] {
  const merge = mergeBehind(graph, name);
  if (!merge) return [];
  const leaves = (layer: Layer): Layer[] =>
    layer.inputs.flatMap((input) => {
      const operand = layerOf(graph, input);
      if (!operand) return [];
      return operand.kind === "Concatenate" && layer.kind === "Concatenate"
        ? leaves(operand)
        : [operand];
    });
  return leaves(merge).flatMap(({ name, field }) => (field ? [{ name, field }] : []));
}

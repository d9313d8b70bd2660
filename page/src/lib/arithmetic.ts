// The arithmetic of shapes, parameters and multiply-adds, layer by layer, with its working shown.
import type { Graph, Layer } from "./graph";
import { layerOf, sides as known } from "./graph";
import { shape as text, whole } from "./numbers";

/** One line of working: what it is, the formula, the same with numbers, and what comes out. */
export interface Line {
  term: string;
  formula: string;
  live: string;
  value: number;
}

export interface Working {
  shape: number[];
  lines: Line[];
  parameters: Line;
  macs: Line;
}

type Pair = readonly [number, number];

// The server's shapes are height, width, channels.
const [rows, columns, channels] = [0, 1, 2] as const;

interface Window {
  kernel: Pair;
  stride: Pair;
  dilation: Pair;
  /** In all, both sides together. */
  pads: Pair;
}

const ONE: Pair = [1, 1];
const product = (numbers: readonly number[]): number => numbers.reduce((a, b) => a * b, 1);
const nothing = (what: string): Line => ({ term: what, formula: "none", live: "0", value: 0 });

const asBefore = (term: string, letter: string, value: number): Line => ({
  term,
  formula: `${letter}, as before`,
  live: `${value}`,
  value,
});

const pair = (value: readonly number[] | null | undefined): Pair | null =>
  value && value.length >= 2 ? [value[0]!, value[1]!] : null;

/** floor((H + p - d (k - 1) - 1) / s) + 1 */
export const slide = (
  side: number,
  kernel: number,
  stride: number,
  dilation = 1,
  pads = 0,
): number => Math.floor((side + pads - dilation * (kernel - 1) - 1) / stride) + 1;

/** All the padding that "same" puts on an axis. */
export const samePads = (side: number, kernel: number, stride: number, dilation = 1): number =>
  Math.max(0, (Math.ceil(side / stride) - 1) * stride + dilation * (kernel - 1) + 1 - side);

const WINDOWED = new Set([
  "Conv2D",
  "DepthwiseConv2D",
  "SeparableConv2D",
  "MaxPooling2D",
  "AveragePooling2D",
]);
const SAME_SHAPE = new Set([
  "InputLayer",
  "Activation",
  "ReLU",
  "LeakyReLU",
  "PReLU",
  "ELU",
  "Softmax",
  "BatchNormalization",
  "LayerNormalization",
  "Dropout",
  "SpatialDropout2D",
  "Identity",
  "Rescaling",
  "Normalization",
  "Add",
  "Subtract",
  "Multiply",
  "Average",
  "Maximum",
  "Minimum",
]);

/** Kernel, stride, dilation and padding of a layer with a sliding window; null for others. */
export function windowOf(graph: Graph, layer: Layer): Window | null {
  const source = layerOf(graph, layer.inputs[0] ?? "");
  if (!WINDOWED.has(layer.kind) || !source) return null;
  const { config } = layer;
  const kernel = pair(layer.kind.endsWith("Pooling2D") ? config.pool : config.kernel);
  if (!kernel) return null;
  const stride = pair(config.strides) ?? (layer.kind.endsWith("Pooling2D") ? kernel : ONE);
  const dilation = pair(config.dilation) ?? ONE;
  const [height, width] = known(source.output_shape);
  const sides = [height!, width!] as const;
  const pads = (axis: 0 | 1): number =>
    config.padding === "same"
      ? samePads(sides[axis], kernel[axis], stride[axis], dilation[axis])
      : 0;
  return { kernel, stride, dilation, pads: [pads(0), pads(1)] };
}

/** The working of a layer, or null where this page does not know the layer. */
export function work(graph: Graph, layer: Layer): Working | null {
  const sources = layer.inputs.map((name) => layerOf(graph, name)?.output_shape);
  if (sources.some((source) => source === undefined)) return null;
  const inputs = sources.map((source) => known(source!));
  const shaped = shapeOf(graph, layer, inputs);
  if (!shaped) return null;
  return {
    ...shaped,
    parameters: parametersOf(graph, layer, inputs, shaped.shape),
    macs: macsOf(graph, layer, inputs, shaped.shape),
  };
}

function shapeOf(
  graph: Graph,
  layer: Layer,
  inputs: number[][],
): { shape: number[]; lines: Line[] } | null {
  const { kind, config } = layer;
  const [input] = inputs;
  if (kind === "InputLayer") return { shape: known(layer.output_shape), lines: [] };
  if (!input) return null;

  const window = windowOf(graph, layer);
  if (window) {
    if (input.length !== 3) return null;
    const shape = [...input];
    const lines = ([rows, columns] as const).map((axis, i): Line => {
      const [k, s, d, p] = (["kernel", "stride", "dilation", "pads"] as const).map(
        (part) => window[part][i as 0 | 1],
      ) as [number, number, number, number];
      const side = input[axis]!;
      shape[axis] = slide(side, k, s, d, p);
      const letter = i === 0 ? "H" : "W";
      return {
        term: i === 0 ? "height" : "width",
        formula: `⌊(${letter} + p − d(k − 1) − 1) / s⌋ + 1`,
        live: `⌊(${side} + ${p} − ${d}·(${k} − 1) − 1) / ${s}⌋ + 1`,
        value: shape[axis]!,
      };
    });
    const c = input[channels]!;
    if (kind.startsWith("DepthwiseConv")) {
      const multiplier = config.depth_multiplier ?? 1;
      shape[channels] = c * multiplier;
      lines.push({
        term: "channels",
        formula: "C · multiplier",
        live: `${c} · ${multiplier}`,
        value: c * multiplier,
      });
    } else if (kind.includes("Conv")) {
      shape[channels] = config.filters ?? NaN;
      lines.push({
        term: "channels",
        formula: "filters",
        live: `${config.filters}`,
        value: shape[channels]!,
      });
    } else lines.push(asBefore("channels", "C", c));
    return { shape, lines };
  }
  if (kind === "ZeroPadding2D" || kind === "Cropping2D") {
    const amounts = kind === "ZeroPadding2D" ? config.pads : config.cropping;
    if (!amounts || input.length !== 3) return null;
    const sign = kind === "ZeroPadding2D" ? 1 : -1;
    const shape = [...input];
    const lines = ([rows, columns] as const).map((axis, i): Line => {
      const [before, after] = amounts[i] as [number, number];
      const side = input[axis]!;
      shape[axis] = side + sign * (before + after);
      const mark = sign > 0 ? "+" : "−";
      const [letter, first, last] = i === 0 ? ["H", "top", "bottom"] : ["W", "left", "right"];
      return {
        term: i === 0 ? "height" : "width",
        formula: `${letter} ${mark} ${first} ${mark} ${last}`,
        live: `${side} ${mark} ${before} ${mark} ${after}`,
        value: shape[axis]!,
      };
    });
    return { shape, lines: [...lines, asBefore("channels", "C", input[channels]!)] };
  }
  if (kind === "Concatenate") {
    const axis = channels;
    if (inputs.some((one) => one.length !== 3)) return null;
    const parts = inputs.map((one) => one[axis]!);
    const shape = [...input];
    shape[axis] = parts.reduce((a, b) => a + b, 0);
    return {
      shape,
      lines: [
        asBefore("height", "H", input[rows]!),
        asBefore("width", "W", input[columns]!),
        {
          term: "channels",
          formula: parts.map((_, i) => `C${subscript(i + 1)}`).join(" + "),
          live: parts.join(" + "),
          value: shape[axis]!,
        },
      ],
    };
  }
  if (kind === "GlobalAveragePooling2D" || kind === "GlobalMaxPooling2D") {
    if (input.length !== 3) return null;
    const c = input[channels]!;
    const one = (term: string): Line => ({ term, formula: "kept as 1", live: "1", value: 1 });
    const lines = [{ term: "channels", formula: "C, one number each", live: `${c}`, value: c }];
    return config.keepdims
      ? { shape: [1, 1, c], lines: [one("height"), one("width"), ...lines] }
      : { shape: [c], lines };
  }
  if (kind === "Reshape") {
    const shape = known(layer.output_shape);
    if (product(shape) !== product(input)) return null;
    const terms = shape.length === 3 ? ["height", "width", "channels"] : shape.map(() => "length");
    const lines = shape.map((value, axis) => ({
      term: terms[axis]!,
      formula: "as the layer says",
      live: `${value}`,
      value,
    }));
    return { shape, lines };
  }
  if (kind === "Flatten") {
    const value = product(input);
    return {
      shape: [value],
      lines: [{ term: "length", formula: "H · W · C", live: input.join(" · "), value }],
    };
  }
  if (kind === "Dense") {
    const units = config.units ?? NaN;
    return {
      shape: [...input.slice(0, -1), units],
      lines: [{ term: "length", formula: "units", live: `${units}`, value: units }],
    };
  }
  if (SAME_SHAPE.has(kind)) {
    const shape = inputs.reduce(
      (all, one) => (one.length === all.length ? all.map((n, i) => Math.max(n, one[i]!)) : all),
      input,
    );
    return { shape: [...shape], lines: [] };
  }
  return null;
}

function parametersOf(graph: Graph, layer: Layer, inputs: number[][], shape: number[]): Line {
  const { kind, config } = layer;
  const term = "parameters";
  const [input] = inputs;
  const window = windowOf(graph, layer);
  if (!input) return nothing(term);
  if (window && kind === "Conv2D") {
    const [kh, kw] = window.kernel;
    const cin = input[channels]!;
    const cout = shape[channels]!;
    const groups = config.groups ?? 1;
    const weights = (kh * kw * cin * cout) / groups;
    const bias = hasBias(layer, weights) ? cout : 0;
    return {
      term,
      formula: `k_h · k_w · C_in${groups > 1 ? " / groups" : ""} · C_out${bias ? " + C_out" : ""}`,
      live: `${kh} · ${kw} · ${cin}${groups > 1 ? ` / ${groups}` : ""} · ${cout}${bias ? ` + ${cout}` : ""}`,
      value: weights + bias,
    };
  }
  if (window && kind === "DepthwiseConv2D") {
    const [kh, kw] = window.kernel;
    const cout = shape[channels]!;
    const weights = kh * kw * cout;
    const bias = hasBias(layer, weights) ? cout : 0;
    return {
      term,
      formula: `k_h · k_w · C_out${bias ? " + C_out" : ""}`,
      live: `${kh} · ${kw} · ${cout}${bias ? ` + ${cout}` : ""}`,
      value: weights + bias,
    };
  }
  if (window && kind === "SeparableConv2D") {
    const [kh, kw] = window.kernel;
    const cin = input[channels]!;
    const cout = shape[channels]!;
    const m = config.depth_multiplier ?? 1;
    const weights = kh * kw * cin * m + cin * m * cout;
    const bias = hasBias(layer, weights) ? cout : 0;
    return {
      term,
      formula: `k_h · k_w · C_in · m + C_in · m · C_out${bias ? " + C_out" : ""}`,
      live: `${kh} · ${kw} · ${cin} · ${m} + ${cin} · ${m} · ${cout}${bias ? ` + ${cout}` : ""}`,
      value: weights + bias,
    };
  }
  if (kind === "Dense") {
    const cin = input.at(-1)!;
    const cout = shape.at(-1)!;
    const bias = hasBias(layer, cin * cout) ? cout : 0;
    return {
      term,
      formula: `C_in · units${bias ? " + units" : ""}`,
      live: `${cin} · ${cout}${bias ? ` + ${cout}` : ""}`,
      value: cin * cout + bias,
    };
  }
  if (kind === "BatchNormalization") {
    const c = input.length === 3 ? input[channels]! : input.at(-1)!;
    const parts = [
      ...((config.scale ?? true) ? ["γ"] : []),
      ...((config.center ?? true) ? ["β"] : []),
      "mean",
      "variance",
    ];
    return {
      term,
      formula: `${parts.length} · C (${parts.join(", ")})`,
      live: `${parts.length} · ${c}`,
      value: parts.length * c,
    };
  }
  // What was given as numbers is no weight.
  if (kind === "Normalization" && layer.cost.parameters > 0) {
    const c = input.at(-1)!;
    return {
      term,
      formula: "2 · C (mean, variance) + a count",
      live: `2 · ${c} + 1`,
      value: 2 * c + 1,
    };
  }
  return nothing(term);
}

function macsOf(graph: Graph, layer: Layer, inputs: number[][], shape: number[]): Line {
  const { kind, config } = layer;
  const term = "multiply-adds";
  const [input] = inputs;
  const window = windowOf(graph, layer);
  if (!input) return nothing(term);
  if (window && kind.includes("Conv")) {
    const [kh, kw] = window.kernel;
    const cin = input[channels]!;
    const cout = shape[channels]!;
    const [h, w] = [shape[rows]!, shape[columns]!];
    if (kind === "DepthwiseConv2D")
      return {
        term,
        formula: "H′ · W′ · k_h · k_w · C_out",
        live: `${h} · ${w} · ${kh} · ${kw} · ${cout}`,
        value: h * w * kh * kw * cout,
      };
    if (kind === "SeparableConv2D") {
      const m = config.depth_multiplier ?? 1;
      return {
        term,
        formula: "H′ · W′ · (k_h · k_w · C_in · m + C_in · m · C_out)",
        live: `${h} · ${w} · (${kh} · ${kw} · ${cin} · ${m} + ${cin} · ${m} · ${cout})`,
        value: h * w * (kh * kw * cin * m + cin * m * cout),
      };
    }
    const groups = config.groups ?? 1;
    return {
      term,
      formula: `H′ · W′ · k_h · k_w · C_in${groups > 1 ? " / groups" : ""} · C_out`,
      live: `${h} · ${w} · ${kh} · ${kw} · ${cin}${groups > 1 ? ` / ${groups}` : ""} · ${cout}`,
      value: (h * w * kh * kw * cin * cout) / groups,
    };
  }
  if (kind === "Dense") {
    const positions = product(input.slice(0, -1));
    return {
      term,
      formula: `${positions > 1 ? "positions · " : ""}C_in · units`,
      live: `${positions > 1 ? `${positions} · ` : ""}${input.at(-1)} · ${shape.at(-1)}`,
      value: positions * input.at(-1)! * shape.at(-1)!,
    };
  }
  return nothing(term);
}

/** As the layer says, or as its number of parameters tells. */
const hasBias = (layer: Layer, weights: number): boolean =>
  layer.config.use_bias ?? layer.cost.parameters > weights;

const subscript = (n: number): string =>
  String(n).replace(/\d/g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[Number(digit)]!);

/** How the receptive field of a layer comes about from its input's. */
export function growth(graph: Graph, layer: Layer): Line[] {
  const source = layerOf(graph, layer.inputs[0] ?? "");
  const window = windowOf(graph, layer);
  if (!window || !source?.field || !layer.field || layer.inputs.length !== 1) return [];
  const { field } = source;
  const before = field.rows.last - field.rows.first + 1;
  const [k, s, d] = [window.kernel[0], window.stride[0], window.dilation[0]];
  const jump = field.rows.stride;
  return [
    {
      term: "receptive field",
      formula: "r + d(k − 1) · j",
      live: `${before} + ${d}·(${k} − 1) · ${jump}`,
      value: before + d * (k - 1) * jump,
    },
    {
      term: "stride on the picture",
      formula: "j · s",
      live: `${jump} · ${s}`,
      value: jump * s,
    },
  ];
}

const RECTIFIERS: Record<string, string> = {
  ReLU: "ReLU",
  LeakyReLU: "leaky ReLU",
  PReLU: "PReLU",
  ELU: "ELU",
};

/** "7 × 7 convolution, 64 filters, stride 2" */
export function describe(graph: Graph, layer: Layer): string {
  const { config, kind } = layer;
  const window = windowOf(graph, layer);
  const parts: string[] = [];
  if (window) {
    const what = kind.includes("Conv")
      ? "convolution"
      : kind === "MaxPooling2D"
        ? "max pooling"
        : "average pooling";
    parts.push(
      `${text(window.kernel)} ${kind === "DepthwiseConv2D" ? "depthwise " : kind === "SeparableConv2D" ? "separable " : ""}${what}`,
    );
    if (config.filters != null && kind !== "DepthwiseConv2D")
      parts.push(`${whole(config.filters)} filters`);
    const [a, b] = window.stride;
    if (a !== 1 || b !== 1) parts.push(a === b ? `stride ${a}` : `strides ${a} and ${b}`);
    if (window.dilation[0] !== 1) parts.push(`dilation ${window.dilation[0]}`);
    if (config.padding === "same") parts.push("padding same");
  } else if (kind === "Dense") parts.push(`dense, ${whole(config.units ?? 0)} units`);
  else if (kind === "Dropout")
    parts.push(`dropout${config.rate == null ? "" : `, rate ${config.rate}`}`);
  else
    parts.push(
      RECTIFIERS[kind] ??
        kind
          .replace(/2D$/, "")
          .replace(/([a-z])([A-Z])/g, "$1 $2")
          .toLowerCase(),
    );
  if (config.activation && config.activation !== "linear") parts.push(config.activation);
  return parts.join(", ");
}

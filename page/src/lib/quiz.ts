// Questions made from the live graph, so that they are never stale.
import { growth, windowOf, work, describe, type Line } from "./arithmetic";
import { size } from "./field";
import { layerOf, type Graph, type Layer } from "./graph";
import { shape as text, whole } from "./numbers";
import { pick, random } from "./random";

export const KINDS = ["shape", "parameters", "field", "stride", "macs"] as const;
export type Kind = (typeof KINDS)[number];

export interface Question {
  kind: Kind;
  layer: string;
  /** What is asked, and what is given for it. */
  prompt: string;
  given: string[];
  answer: number[];
  /** Relative error that is let pass. */
  tolerance: number;
  example: string;
  working: Line[];
  verdict: string;
}

/** Question number `index` of the quiz that `seed` stands for; null for a graph that yields none. */
export function question(graph: Graph, seed: number, index: number): Question | null {
  const next = random(seed * 1009 + index * 9176 + 1);
  const askable = graph.layers.flatMap((layer) => {
    const kinds = KINDS.filter((kind) => asks(graph, layer, kind));
    return kinds.length ? [{ layer, kinds }] : [];
  });
  const kinds = KINDS.filter((kind) => askable.some((one) => one.kinds.includes(kind)));
  if (!kinds.length) return null;
  // Each kind comes once before any comes again.
  const round = Math.floor(index / kinds.length);
  const order = shuffled(kinds, random(seed * 7919 + round + 1));
  const kind = order[index % kinds.length]!;
  const { layer } = pick(
    askable.filter((one) => one.kinds.includes(kind)),
    next,
  );
  return make(graph, layer, kind);
}

function shuffled<T>(items: readonly T[], next: () => number): T[] {
  const rest = [...items];
  return items.map(() => rest.splice(Math.floor(next() * rest.length), 1)[0]!);
}

/** Whether a layer makes a question of this kind whose answer the page can show its way to. */
function asks(graph: Graph, layer: Layer, kind: Kind): boolean {
  const working = work(graph, layer);
  if (!working || layer.kind === "InputLayer") return false;
  const window = windowOf(graph, layer);
  switch (kind) {
    case "shape":
      return (
        working.lines.length > 0 &&
        working.shape.length === 3 &&
        same(working.shape, layer.output_shape)
      );
    case "parameters":
      return working.parameters.value > 0 && working.parameters.value === layer.cost.parameters;
    case "macs":
      return working.macs.value > 0 && working.macs.value === layer.cost.macs;
    case "field": {
      const [grown] = growth(graph, layer);
      return (
        window !== null &&
        window.kernel[0] > 1 &&
        grown !== undefined &&
        layer.field !== null &&
        layer.field.exact &&
        !layer.field.gated &&
        grown.value === size(layer.field)[0] &&
        size(layer.field)[0] === size(layer.field)[1]
      );
    }
    case "stride": {
      const [, grown] = growth(graph, layer);
      return (
        window !== null &&
        grown !== undefined &&
        layer.field !== null &&
        grown.value === layer.field.rows.stride &&
        grown.value > 1 &&
        layer.field.rows.stride === layer.field.columns.stride
      );
    }
  }
}

const same = (a: readonly (number | null)[], b: readonly (number | null)[]): boolean =>
  a.length === b.length && a.every((n, i) => n === b[i]);

function make(graph: Graph, layer: Layer, kind: Kind): Question {
  const working = work(graph, layer)!;
  const inputs = layer.inputs.map((name) => layerOf(graph, name)!);
  const [source] = inputs;
  const what = describe(graph, layer);
  const into = inputs.map((input) => text(input.output_shape)).join(" and ");
  const given = [`Layer: ${what}`, `Its input: ${into}`];
  const base = { kind, layer: layer.name, tolerance: 0 };
  switch (kind) {
    case "shape":
      return {
        ...base,
        prompt: `What shape comes out of ${layer.name}?`,
        given,
        answer: working.shape,
        example: "height × width × channels, as 28 x 28 x 64",
        working: working.lines,
        verdict: text(working.shape),
      };
    case "parameters":
      return {
        ...base,
        prompt: `How many parameters has ${layer.name}?`,
        given,
        answer: [working.parameters.value],
        example: "a number, as 4,160 or 4160",
        working: [working.parameters],
        verdict: whole(working.parameters.value),
      };
    case "macs":
      return {
        ...base,
        prompt: `How many multiply-adds does ${layer.name} cost for one picture?`,
        given: [...given, `Its output: ${text(layer.output_shape)}`],
        answer: [working.macs.value],
        tolerance: 0.02,
        example: "a number, as 118e6, 118 M or 118,013,952; 2 % off is near enough",
        working: [working.macs],
        verdict: whole(working.macs.value),
      };
    case "field": {
      const [grown] = growth(graph, layer);
      return {
        ...base,
        prompt: `How many pixels high is the receptive field of ${layer.name}?`,
        given: [
          ...given,
          `Its input's field is ${size(source!.field!)[0]} pixels high, with ${pixels(source!.field!.rows.stride)} from one position to the next`,
        ],
        answer: [grown!.value],
        example: "pixels of the network's input, as 43",
        working: [grown!],
        verdict: `${grown!.value} pixels`,
      };
    }
    case "stride": {
      const [, grown] = growth(graph, layer);
      return {
        ...base,
        prompt: `One position further in the output of ${layer.name}: how many pixels further in the picture?`,
        given: [
          ...given,
          `In its input, one position is ${pixels(source!.field!.rows.stride)} of the picture`,
        ],
        answer: [grown!.value],
        example: "pixels, as 8",
        working: [grown!],
        verdict: pixels(grown!.value),
      };
    }
  }
}

const pixels = (n: number): string => (n === 1 ? "1 pixel" : `${n} pixels`);

const UNITS: Record<string, number> = { "": 1, k: 1e3, m: 1e6, g: 1e9 };

/** The numbers in an answer: "56x56x64", "1,024", "118 M"; null where it is none. */
export function numbers(answer: string, grouped = true): number[] | null {
  const bare = answer
    .trim()
    .replace(/^\(|\)$/g, "")
    .replace(/\s*\b(pixels?|px)\b|(?<=\d)(pixels?|px)\b/gi, "");
  const parts = (grouped ? bare.replace(/(\d),(?=\d{3}(\D|$))/g, "$1") : bare).split(
    /\s*[x×*·,;]\s*|\s+(?=\d)/i,
  );
  const values = parts.map((part) => {
    const found = /^(\d+(?:\.\d+)?(?:e\d+)?)\s*([kmg]?)\w*$/i.exec(part.trim());
    return found ? Number(found[1]) * UNITS[found[2]!.toLowerCase()]! : NaN;
  });
  return values.length && values.every(Number.isFinite) ? values : null;
}

/** Whether an answer is right; null where it is no number at all, or too few or many of them. */
export function check(question: Question, answer: string): boolean | null {
  // "28,28,512" is three numbers where three are asked for, and "1,024" one where it is one.
  const given = [numbers(answer), numbers(answer, false)].find(
    (values) => values?.length === question.answer.length,
  );
  if (!given) return null;
  return given.every(
    (n, i) => Math.abs(n - question.answer[i]!) <= question.tolerance * question.answer[i]!,
  );
}

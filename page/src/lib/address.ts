// The view in the address: everything after `#`, so that it can be shared.

export const TABS = ["block", "picture", "explain", "ledger", "compare", "quiz"] as const;
export type Tab = (typeof TABS)[number];
export const LEVELS = ["stages", "blocks", "layers"] as const;
export type Level = (typeof LEVELS)[number];
export const LAYOUTS = ["figure", "down", "right"] as const;
export type Layout = (typeof LAYOUTS)[number];
export const MEASURES = ["rms", "l2"] as const;
export type Measure = (typeof MEASURES)[number];

export interface Cut {
  layer: string;
  operand: number;
}

export interface View {
  model: string | null;
  /** The chosen block or layer. */
  block: string | null;
  view: Tab;
  /** How deep the drawing is unfolded; `opened`, if given, says exactly which blocks are open. */
  level: Level;
  opened: readonly string[] | null;
  /** Whether blocks that repeat others are drawn one by one. */
  repeats: boolean;
  layout: Layout;
  picture: string | null;
  cuts: readonly Cut[];
  method: string | null;
  /** The block that the CAM scrubber stands at. */
  at: string | null;
  class: number | null;
  second: number | null;
  control: boolean;
  channel: number | null;
  /** Row and column of the position in the feature map; null: its middle. */
  position: readonly [number, number] | null;
  /** How large the ledger says that tensors are. */
  measure: Measure;
  other: string | null;
  /** How deep two networks are compared, in percent of their blocks. */
  depth: number;
  seed: number | null;
  question: number;
}

export const START: View = {
  model: null,
  block: null,
  view: "block",
  level: "stages",
  opened: null,
  repeats: false,
  layout: "figure",
  picture: null,
  cuts: [],
  method: null,
  at: null,
  class: null,
  second: null,
  control: true,
  channel: null,
  position: null,
  measure: "rms",
  other: null,
  depth: 100,
  seed: null,
  question: 0,
};

const NAME = /^[^\s,&#]{1,200}$/;

const name = (text: string): string | undefined => (NAME.test(text) ? text : undefined);
const count = (text: string): number | undefined =>
  /^\d{1,9}$/.test(text) ? Number(text) : undefined;
const percent = (text: string): number | undefined => {
  const found = count(text);
  return found !== undefined && found <= 100 ? found : undefined;
};
const among =
  <T extends string>(options: readonly T[]) =>
  (text: string): T | undefined =>
    options.find((option) => option === text);
const truth = (text: string): boolean | undefined =>
  text === "1" ? true : text === "0" ? false : undefined;
const cut = (text: string): Cut | undefined => {
  const found = /^([^\s,&#:]{1,200}):(\d{1,3})$/.exec(text);
  return found ? { layer: found[1]!, operand: Number(found[2]) } : undefined;
};
const several =
  <T>(one: (text: string) => T | undefined) =>
  (text: string): T[] | undefined => {
    const items = text === "" ? [] : text.split(",").map(one);
    return items.includes(undefined) ? undefined : (items as T[]);
  };
const pair = (text: string): [number, number] | undefined => {
  const [row, column, ...rest] = several(count)(text) ?? [];
  return row === undefined || column === undefined || rest.length ? undefined : [row, column];
};

const READ: { [K in keyof View]: (text: string) => View[K] | undefined } = {
  model: name,
  block: name,
  view: among(TABS),
  level: among(LEVELS),
  opened: several(name),
  repeats: truth,
  layout: among(LAYOUTS),
  picture: name,
  cuts: several(cut),
  method: name,
  at: name,
  class: count,
  second: count,
  control: truth,
  channel: count,
  position: pair,
  measure: among(MEASURES),
  other: name,
  depth: percent,
  seed: count,
  question: count,
};
const KEYS = Object.keys(READ) as (keyof View)[];

/** What an address says, and which of its parts say nothing that the page understands. */
export function read(hash: string): { view: View; ignored: string[] } {
  const view: View = { ...START };
  const ignored: string[] = [];
  for (const part of hash.replace(/^#/, "").split("&")) {
    if (part === "") continue;
    const [key, ...rest] = part.split("=");
    const known = KEYS.find((one) => one === key);
    let value: unknown;
    try {
      value = known && READ[known](decodeURIComponent(rest.join("=")));
    } catch {
      value = undefined; // a lone % sign
    }
    if (known === undefined || value === undefined) ignored.push(part.slice(0, 60));
    else Object.assign(view, { [known]: value });
  }
  return { view, ignored };
}

const written = (value: View[keyof View]): string => {
  if (typeof value === "boolean") return value ? "1" : "0";
  if (!Array.isArray(value)) return String(value);
  return (value as readonly (string | number | Cut)[])
    .map((item) => (typeof item === "object" ? `${item.layer}:${item.operand}` : String(item)))
    .join(",");
};

/** The address of a view; what is as at the start is left out. */
export function write(view: View): string {
  const parts = KEYS.flatMap((key) => {
    const value = view[key];
    const usual = START[key];
    const same =
      value === usual ||
      (Array.isArray(value) && Array.isArray(usual) && value.length === 0 && usual.length === 0);
    if (value === null || same) return [];
    const text = encodeURIComponent(written(value)).replace(/%2C/g, ",").replace(/%3A/g, ":");
    return [`${key}=${text}`];
  });
  return `#${parts.join("&")}`;
}

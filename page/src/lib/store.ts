// What the page knows and shows. The view is the address; everything else follows from it.
import { batch, computed, effect, signal } from "@preact/signals";
import type * as T from "../types";
import { read, START, write, type View } from "./address";
import { api } from "./api";
import { endOf, itemOf, layerOf, openedAt, sides, type Graph, type Item } from "./graph";

export const view = signal<View>(START);
export const models = signal<T.Model[]>([]);
export const catalog = signal<T.CatalogEntry[]>([]);
export const pictures = signal<T.Picture[]>([]);
export const methods = signal<T.Method[]>([]);
export const limits = signal<T.Limits | null>(null);
export const graphs = signal<ReadonlyMap<string, Graph>>(new Map());
export const ready = signal(false);
export const fatal = signal<string | null>(null);
export const dialog = signal<"keys" | null>(null);

export interface Message {
  id: number;
  text: string;
  kind: "error" | "note";
}
export const messages = signal<Message[]>([]);
/** For screen readers: what just happened. */
export const spoken = signal("");

let messageNumber = 0;

export function tell(text: string, kind: Message["kind"] = "note"): void {
  const id = ++messageNumber;
  messages.value = [...messages.value.filter((one) => one.text !== text), { id, text, kind }].slice(
    -4,
  );
  // Errors stay until they are closed.
  if (kind === "note") setTimeout(() => dismiss(id), 7000);
}

export const dismiss = (id: number): void => {
  messages.value = messages.value.filter((one) => one.id !== id);
};

export const say = (text: string): void => {
  spoken.value = text;
};

/** The message of whatever was thrown; null for what was called off. */
export function messageOf(error: unknown): string | null {
  if (error instanceof DOMException && error.name === "AbortError") return null;
  return error instanceof Error ? error.message : String(error);
}

export const model = computed<T.Model | null>(
  () => models.value.find((one) => one.id === view.value.model) ?? null,
);
export const graph = computed<Graph | null>(() =>
  model.value ? (graphs.value.get(model.value.id) ?? null) : null,
);
export const other = computed<T.Model | null>(
  () => models.value.find((one) => one.id === view.value.other) ?? null,
);
export const picture = computed<T.Picture | null>(
  () => pictures.value.find((one) => one.id === view.value.picture) ?? null,
);
export const chosen = computed<Item | null>(() => {
  const { block } = view.value;
  return graph.value && block !== null ? itemOf(graph.value, block) : null;
});
/** Exactly the blocks that are open. */
export const opened = computed<readonly string[]>(() => {
  if (!graph.value) return [];
  return view.value.opened ?? openedAt(graph.value, view.value.level);
});

export const className = (of: T.Model | null, index: number): string =>
  of?.class_names?.[index] ?? `class ${index}`;

// What waits for the server must not undo what the reader did meanwhile.
let journeys = 0; // ways to another address or network
let steps = 0; // changes to what is shown

/** Show something else. A step back in the history leads to what was before, unless `quiet`. */
export function show(change: Partial<View>, quiet = false): void {
  const before = write(view.value);
  // A position belongs to the map that it was chosen in.
  const moved = change.block !== undefined && change.block !== view.value.block;
  view.value = { ...view.value, ...(moved ? { position: null } : {}), ...change };
  const after = write(view.value);
  if (after === before) return;
  steps++;
  if (quiet) history.replaceState(null, "", after);
  else history.pushState(null, "", after);
}

/** The method that explains: the chosen one, or the first. */
export const method = computed<T.Method | null>(
  () => methods.value.find((one) => one.name === view.value.method) ?? methods.value[0] ?? null,
);

export const cuts = computed(() =>
  view.value.cuts.map(({ layer, operand }) => ({ layer, operand })),
);

export function toggleCut(layer: string, operand: number): void {
  const rest = view.value.cuts.filter((cut) => cut.layer !== layer || cut.operand !== operand);
  const cut = rest.length === view.value.cuts.length;
  show({ cuts: cut ? [...rest, { layer, operand }] : rest });
}

const loading = new Map<string, Promise<Graph>>();

export function loadGraph(id: string): Promise<Graph> {
  const known = graphs.value.get(id);
  if (known) return Promise.resolve(known);
  const running = loading.get(id);
  if (running) return running;
  const asked = api.graph(id).then((graph) => {
    graphs.value = new Map(graphs.value).set(id, graph);
    return graph;
  });
  loading.set(id, asked);
  void asked.finally(() => loading.delete(id)).catch(() => undefined);
  return asked;
}

const adding = new Map<string, Promise<T.Model>>();

/** A network of the catalog, built on the server: its weights are random. */
export function addModel(network: string): Promise<T.Model> {
  const running = adding.get(network);
  if (running) return running;
  const asked = api.add(network).then((added) => {
    if (!models.value.some((one) => one.id === added.id)) models.value = [...models.value, added];
    return added;
  });
  adding.set(network, asked);
  void asked.finally(() => adding.delete(network)).catch(() => undefined);
  return asked;
}

/** A model by its id, or a network of the catalog by its name, which is then built. */
async function findModel(name: string): Promise<T.Model | null> {
  const known = models.value.find((one) => one.id === name);
  if (known) return known;
  return catalog.value.some((one) => one.name === name) ? addModel(name) : null;
}

/**
 * Go to what the address says; leave out, with a message, whatever is not there. Nothing is done
 * where the reader went elsewhere before the server had answered.
 */
export async function follow(hash: string): Promise<void> {
  const [journey, step] = [++journeys, steps];
  const current = (): boolean => journey === journeys && step === steps;
  try {
    await arrive(hash, current);
  } catch (error) {
    if (current()) throw error;
  }
}

async function arrive(hash: string, current: () => boolean): Promise<void> {
  const { view: wanted, ignored } = read(hash);
  const lost = ignored.map((part) => `“${part}”`);
  const found: View = { ...wanted };
  const drop = (key: keyof View, said: string): void => {
    lost.push(`${key} “${said}”`);
    Object.assign(found, { [key]: START[key] });
  };

  const first = models.value[0];
  if (!first) throw new Error("The server holds no model.");
  let chosenModel: T.Model | null = first;
  if (wanted.model !== null) {
    chosenModel = await findModel(wanted.model).catch(() => null);
    if (!current()) return;
    if (!chosenModel) drop("model", wanted.model);
  }
  found.model = (chosenModel ?? first).id;
  if (wanted.other !== null) {
    const second = await findModel(wanted.other).catch(() => null);
    if (!current()) return;
    if (second) {
      found.other = second.id;
      await loadGraph(second.id);
      if (!current()) return;
    } else drop("other", wanted.other);
  }
  const graph = await loadGraph(found.model);
  if (!current()) return;
  const blocks = new Set(graph.blocks.slice(1).map((block) => block.name));

  if (wanted.block !== null && !itemOf(graph, wanted.block)) drop("block", wanted.block);
  if (wanted.at !== null && !itemOf(graph, wanted.at)) drop("at", wanted.at);
  if (wanted.opened) {
    const missing = wanted.opened.filter((name) => !blocks.has(name));
    if (missing.length) {
      lost.push(`opened “${missing.join(", ")}”`);
      found.opened = wanted.opened.filter((name) => blocks.has(name));
    }
  }
  const missing = wanted.cuts.filter(
    ({ layer, operand }) => operand >= (layerOf(graph, layer)?.inputs.length ?? 0),
  );
  if (missing.length) {
    lost.push(`cuts “${missing.map((cut) => `${cut.layer}:${cut.operand}`).join(", ")}”`);
    found.cuts = wanted.cuts.filter((cut) => !missing.includes(cut));
  }
  const { classes } = models.value.find((one) => one.id === found.model) ?? first;
  for (const key of ["class", "second"] as const)
    if ((wanted[key] ?? 0) >= classes) drop(key, String(wanted[key]));
  if (wanted.picture !== null && !pictures.value.some((one) => one.id === wanted.picture))
    drop("picture", wanted.picture);
  if (wanted.method !== null && !methods.value.some((one) => one.name === wanted.method))
    drop("method", wanted.method);
  found.picture ??= pictures.value[0]?.id ?? null;
  found.block ??= firstBlock(graph);
  const item = found.block === null ? null : itemOf(graph, found.block);
  const [rows, columns] = sides((item && endOf(graph, item)?.output_shape) ?? []);
  const { position } = wanted;
  if (position && !(position[0] < (rows ?? 0) && position[1] < (columns ?? 0)))
    drop("position", position.join());

  view.value = found;
  history.replaceState(null, "", write(found));
  if (lost.length) tell(`Not in this view, left out of the address: ${lost.join(", ")}.`, "error");
}

/** Something worth seeing first: the first block that is more than a convolution. */
function firstBlock(graph: Graph): string | null {
  const inside = graph.blocks.filter((block) => block.parent !== null);
  const merging = inside.find(
    (block) =>
      block.children.length > 1 &&
      block.kind !== "stage" &&
      block.layers.some((name) =>
        ["Add", "Concatenate"].includes(layerOf(graph, name)?.kind ?? ""),
      ),
  );
  return (merging ?? inside[0])?.name ?? graph.layers[0]?.name ?? null;
}

/** Change to another model: what belongs to the graph of the former one is left behind. */
export async function useModel(id: string): Promise<void> {
  const journey = ++journeys;
  const graph = await loadGraph(id);
  if (journey !== journeys) return; // another network was chosen, or another address
  const kept = view.value;
  const had = (key: string | null): string | null =>
    key !== null && itemOf(graph, key) ? key : null;
  show({
    model: id,
    block: had(kept.block) ?? firstBlock(graph),
    at: had(kept.at),
    opened: null,
    cuts: [],
    class: null,
    second: null,
    channel: null,
    position: null,
    question: 0,
    other: kept.other === id ? null : kept.other,
  });
}

export async function start(): Promise<void> {
  try {
    const [held, shown] = await Promise.all([api.models(), api.pictures()]);
    batch(() => {
      models.value = held.models;
      catalog.value = held.catalog;
      methods.value = held.methods;
      limits.value = held.limits;
      pictures.value = shown.pictures;
    });
    await follow(location.hash);
    ready.value = true;
  } catch (error) {
    fatal.value = messageOf(error);
  }
  // Both back and forward, and an address that was edited.
  window.addEventListener("popstate", () => {
    follow(location.hash).catch((error: unknown) => tell(messageOf(error) ?? "", "error"));
  });
}

effect(() => {
  if (model.value && graph.value) {
    const item = chosen.value;
    document.title = `${item ? `${item.name}, ` : ""}${model.value.title} - keras-classics explorer`;
  }
});

// Light and dark: as the system says, unless the reader said otherwise.
export type Theme = "auto" | "light" | "dark";
const saved = (): Theme => {
  try {
    const value = localStorage.getItem("theme");
    return value === "light" || value === "dark" ? value : "auto";
  } catch {
    return "auto";
  }
};
export const theme = signal<Theme>(saved());
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const system = signal(systemDark.matches);
systemDark.addEventListener("change", (event) => {
  system.value = event.matches;
});
export const dark = computed(() =>
  theme.value === "auto" ? system.value : theme.value === "dark",
);

effect(() => {
  document.documentElement.dataset["theme"] = dark.value ? "dark" : "light";
  try {
    if (theme.value === "auto") localStorage.removeItem("theme");
    else localStorage.setItem("theme", theme.value);
  } catch {
    // private windows may refuse; the choice then lasts as long as the page
  }
});

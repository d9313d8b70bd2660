// Asking our own host, and no other.
import type * as T from "../types";

export class Refused extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

async function answer(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Refused("The server does not answer. Is `classics explore` still running?", 0);
  }
  if (response.ok) return response;
  const text = await response.text();
  let message = `The server answered ${response.status}.`;
  try {
    const said = (JSON.parse(text) as { error?: unknown }).error;
    if (typeof said === "string") message = said;
  } catch {
    // no JSON: the number must do
  }
  throw new Refused(message, response.status);
}

async function get<A>(path: string, signal?: AbortSignal): Promise<A> {
  return (await (await answer(path, signal ? { signal } : {})).json()) as A;
}

/** Answers to questions that were asked before; inference is the same every time. */
const remembered = new Map<string, Promise<unknown>>();
const REMEMBERED = 60;

function post<A>(path: string, body: object): Promise<A> {
  const text = JSON.stringify(body);
  const key = `${path} ${text}`;
  const known = remembered.get(key);
  if (known) {
    remembered.delete(key);
    remembered.set(key, known);
    return known as Promise<A>;
  }
  const init: RequestInit = {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: text,
  };
  const asked = answer(path, init).then((response) => response.json() as Promise<A>);
  remembered.set(key, asked);
  asked.catch(() => remembered.delete(key));
  for (const old of remembered.keys()) {
    if (remembered.size <= REMEMBERED) break;
    remembered.delete(old);
  }
  return asked;
}

const part = encodeURIComponent;

export interface DrawingQuery {
  level?: string;
  opened?: readonly string[] | null;
  block?: string;
  unfolded?: boolean;
  beside?: string;
  theme?: "auto" | "light" | "dark";
  standalone?: boolean;
}

export function drawingUrl(
  model: string,
  query: DrawingQuery,
  format: "svg" | "png" | "pdf" = "svg",
): string {
  const given = new URLSearchParams();
  if (query.block) given.set("block", query.block);
  if (query.opened) given.set("opened", query.opened.join(","));
  else if (query.level) given.set("level", query.level);
  if (query.unfolded) given.set("unfolded", "1");
  if (query.beside) given.set("beside", query.beside);
  given.set("theme", query.theme ?? "auto");
  given.set("standalone", query.standalone ? "1" : "0");
  return `api/models/${part(model)}/drawing.${format}?${given}`;
}

export const pictureUrl = (picture: string, model?: string): string =>
  `api/pictures/${part(picture)}.png${model ? `?model=${part(model)}` : ""}`;

export const api = {
  models: (signal?: AbortSignal) => get<T.Models>("api/models", signal),
  add: async (network: string): Promise<T.Model> => {
    const response = await answer("api/models", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ network }),
    });
    return (await response.json()) as T.Model;
  },
  graph: (model: string, signal?: AbortSignal) =>
    get<T.Graph>(`api/models/${part(model)}/graph`, signal),
  drawing: async (url: string, signal?: AbortSignal): Promise<string> =>
    (await answer(url, signal ? { signal } : {})).text(),
  blob: async (url: string): Promise<Blob> => (await answer(url)).blob(),
  code: (model: string, block: string, signal?: AbortSignal) =>
    get<T.Code>(`api/models/${part(model)}/code/${part(block)}`, signal),
  pictures: (signal?: AbortSignal) => get<T.Pictures>("api/pictures", signal),
  upload: async (file: Blob, name: string): Promise<T.Picture> => {
    const response = await answer("api/pictures", {
      method: "POST",
      headers: { "Content-Type": "application/octet-stream", "X-Name": part(name) },
      body: file,
    });
    return (await response.json()) as T.Picture;
  },
  predict: (body: T.PredictRequest) => post<T.Prediction>("api/predict", body),
  maps: (body: T.MapsRequest) => post<T.Maps>("api/maps", body),
  cam: (body: T.CamRequest) => post<T.Cam>("api/cam", body),
  curves: (body: T.CurvesRequest) => post<T.Curves>("api/curves", body),
  ledger: (body: T.LedgerRequest) => post<T.Ledger>("api/ledger", body),
  filters: (body: T.FiltersRequest) => post<T.Filters>("api/filters", body),
};

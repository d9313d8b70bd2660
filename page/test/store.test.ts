// What waits for the server must not undo what the reader did meanwhile.
import { beforeEach, expect, test, vi } from "vitest";
import { read } from "../src/lib/address";
import type { Graph } from "../src/lib/graph";
import type * as T from "../src/types";
import { graphs } from "./graphs";

const known: Record<string, Graph> = {
  a: graphs.resnet50,
  b: graphs.vgg16,
  c: graphs.inception_v3,
};

/** What is asked of the server waits until the test lets it come. */
const waiting = new Map<string, { come: () => void; fail: () => void }>();
const asked = <A>(name: string, answer: A): Promise<A> =>
  new Promise((come, fail) => {
    waiting.set(name, { come: () => come(answer), fail: () => fail(new Error(`no ${name}`)) });
  });
const model = (id: string): T.Model => ({ id, title: id, classes: 1000 }) as T.Model;
vi.mock("../src/lib/api", () => ({
  api: {
    graph: (id: string) => asked(id, known[id]),
    add: (name: string) => asked(`+${name}`, model(name)),
  },
}));

let store: typeof import("../src/lib/store");
let address: string;
let visited: string[];

/** Let everything happen that waits for nothing. */
const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

async function come(name: string): Promise<void> {
  await pause(); // until it is asked
  waiting.get(name)!.come();
  await pause();
}

beforeEach(async () => {
  vi.resetModules();
  waiting.clear();
  visited = [];
  address = "";
  vi.stubGlobal("matchMedia", () => ({ matches: false, addEventListener: () => undefined }));
  vi.stubGlobal("document", { documentElement: { dataset: {} }, title: "" });
  vi.stubGlobal("localStorage", { getItem: () => null, removeItem: () => undefined });
  vi.stubGlobal("history", {
    replaceState: (_: unknown, __: string, hash: string) => (address = hash),
    pushState: (_: unknown, __: string, hash: string) => visited.push((address = hash)),
  });
  store = await import("../src/lib/store");
  store.models.value = ["a", "b", "c"].map(model);
  store.catalog.value = [{ name: "d" } as T.CatalogEntry];
  const first = store.follow("#model=a&block=conv2_block1");
  await come("a");
  await first;
  expect(store.view.value.model).toBe("a");
});

const consistent = (): void => {
  expect(read(address).view.model).toBe(store.view.value.model);
  expect(read(address).view.view).toBe(store.view.value.view);
};

test("of two addresses the later one holds, however late the earlier answer is", async () => {
  const early = store.follow("#model=b&block=nothing");
  await pause();
  const late = store.follow("#model=c");
  await come("c");
  await late;
  expect(store.view.value.model).toBe("c");
  await come("b");
  await early;
  expect(store.view.value.model).toBe("c");
  expect(store.messages.value).toEqual([]);
  consistent();
});

test("the earlier one does not pass through the view either", async () => {
  const early = store.follow("#model=b");
  await pause();
  const late = store.follow("#model=c");
  await come("b");
  await early;
  expect(store.view.value.model).toBe("a");
  await come("c");
  await late;
  expect(store.view.value.model).toBe("c");
});

test.each(["#model=d", "#model=b&other=d"])(
  "%s: once left, it asks for nothing more",
  async (hash) => {
    const early = store.follow(hash);
    await pause();
    await store.follow("#model=a");
    await come("+d");
    await early;
    expect([...waiting.keys()]).toEqual(["a", "+d"]);
    expect(store.view.value.model).toBe("a");
    consistent();
  },
);

test("what the reader does meanwhile holds", async () => {
  const going = store.follow("#model=b");
  await pause();
  store.show({ view: "ledger" });
  await come("b");
  await going;
  expect(store.view.value).toMatchObject({ model: "a", view: "ledger" });
  expect(visited).toHaveLength(1);
  consistent();
});

test("what changes nothing calls nothing off", async () => {
  const going = store.follow("#model=b");
  await pause();
  store.show({ block: store.view.value.block });
  await come("b");
  await going;
  expect(store.view.value.model).toBe("b");
  consistent();
});

test("a failure is told only of what is still wanted", async () => {
  const early = store.follow("#model=b");
  await pause();
  const late = store.follow("#model=c");
  await pause();
  waiting.get("b")!.fail();
  await expect(early).resolves.toBeUndefined();
  waiting.get("c")!.fail();
  await expect(late).rejects.toThrow("no c");
});

test("of two networks the later chosen one holds, and an address after it", async () => {
  const [early, late] = [store.useModel("b"), store.useModel("c")];
  await come("c");
  await come("b");
  await Promise.all([early, late]);
  expect(store.view.value.model).toBe("c");
  consistent();

  store.graphs.value = new Map([["a", graphs.resnet50]]);
  const chosen = store.useModel("b");
  await store.follow("#model=a");
  await come("b");
  await chosen;
  expect(store.view.value.model).toBe("a");
  consistent();
});

test("a position stays with its map, and one beside it is left out with a word", async () => {
  await store.follow("#model=a&block=conv2_block1&position=2,3");
  expect(store.view.value.position).toEqual([2, 3]);
  store.show({ channel: 4 });
  expect(store.view.value.position).toEqual([2, 3]);
  store.show({ block: "conv2_block2" });
  expect(store.view.value.position).toBeNull();
  expect(store.messages.value).toEqual([]);
  const [rows, columns] = graphs.resnet50.layers.find(
    (one) => one.name === "conv2_block1_out",
  )!.output_shape;
  for (const position of [`${rows},0`, `0,${columns}`]) {
    await store.follow(`#model=a&block=conv2_block1&position=${position}`);
    expect(store.view.value.position).toBeNull();
    expect(store.messages.value.at(-1)?.text).toContain(`position “${position}”`);
  }
  await store.follow(`#model=a&block=conv2_block1&position=${rows! - 1},${columns! - 1}`);
  expect(store.view.value.position).toEqual([rows! - 1, columns! - 1]);
});

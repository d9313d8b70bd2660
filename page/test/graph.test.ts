import { expect, test } from "vitest";
import {
  edges,
  enclosing,
  itemOf,
  keyOf,
  openedAt,
  readsPicture,
  root,
  search,
  shownAs,
  visible,
} from "../src/lib/graph";
import { stops } from "../src/lib/stops";
import { graphs } from "./graphs";

const { resnet50, inception_v3: inception, vgg16 } = graphs;
const names = (items: readonly { name: string }[]): string[] => items.map(({ name }) => name);

test("a block that is called as its last layer is stands for itself, the layer for the end", () => {
  expect(itemOf(inception, "mixed0")).toEqual({ name: "mixed0", block: true });
  expect(itemOf(inception, "mixed0/end")).toEqual({ name: "mixed0", block: false });
  expect(keyOf(inception, { name: "mixed0", block: false })).toBe("mixed0/end");
  expect(keyOf(inception, { name: "mixed0_1x1_conv", block: false })).toBe("mixed0_1x1_conv");
  expect(itemOf(inception, "mixed99")).toBeNull();
  expect(itemOf(inception, root(inception).name)).toBeNull();
});

test("every key leads back to its item", () => {
  for (const graph of Object.values(graphs)) {
    const items = [
      ...graph.blocks.slice(1).map(({ name }) => ({ name, block: true })),
      ...graph.layers.map(({ name }) => ({ name, block: false })),
    ];
    for (const item of items) expect(itemOf(graph, keyOf(graph, item))).toEqual(item);
  }
});

test("the blocks around", () => {
  expect(names(enclosing(resnet50, { name: "conv3_block2_1_conv", block: false }))).toEqual([
    "conv3",
    "conv3_block2",
    "conv3_block2_1",
  ]);
  expect(names(enclosing(inception, { name: "mixed0", block: false }))).toEqual(["mixed0"]);
  expect(enclosing(inception, { name: "mixed0", block: true })).toEqual([]);
});

test("what is to be seen when some blocks are open", () => {
  const closed = visible(vgg16, new Set());
  expect(names(closed)).toEqual([
    "input_layer",
    ...[1, 2, 3, 4, 5].map((n) => `block${n}`),
    "flatten",
    "fc1",
    "fc2",
    "predictions",
  ]);
  expect(names(visible(vgg16, new Set(["block1"]))).slice(1, 4)).toEqual([
    "block1_conv1",
    "block1_conv2",
    "block1_pool",
  ]);
  expect(visible(resnet50, new Set(openedAt(resnet50, "layers")))).toHaveLength(
    resnet50.layers.length,
  );
  expect(openedAt(resnet50, "blocks")).toEqual(["conv2", "conv3", "conv4", "conv5"]);
  // A closed block hides all that is inside, open or not.
  expect(shownAs(resnet50, "conv3_block2_1_conv", new Set(["conv3_block2"]))).toEqual({
    name: "conv3",
    block: true,
  });
});

test("edges join what is to be seen, each once", () => {
  const found = edges(resnet50, new Set());
  expect(found.map(({ from, to }) => `${from.name} ${to.name}`)).toEqual([
    "input_layer conv1",
    "conv1 pool1",
    "pool1 conv2",
    "conv2 conv3",
    "conv3 conv4",
    "conv4 conv5",
    "conv5 avg_pool",
    "avg_pool predictions",
  ]);
  expect(edges(resnet50, new Set(["conv2"]))).toHaveLength(10);
});

test("the convolution that reads the picture", () => {
  expect(readsPicture(resnet50, { name: "conv1", block: true })?.name).toBe("conv1_conv");
  expect(readsPicture(vgg16, { name: "block1_conv1", block: false })?.name).toBe("block1_conv1");
  expect(readsPicture(inception, { name: "stem", block: true })?.name).toBe("stem_1_conv");
  expect(readsPicture(resnet50, { name: "conv2", block: true })).toBeUndefined();
});

test("search by name and by kind", () => {
  expect(search(resnet50, "conv3_block2")[0]).toEqual({ name: "conv3_block2", block: true });
  expect(search(inception, "grid size")[0]?.name).toBe("mixed3");
  expect(search(inception, "mixed0")[0]).toEqual({ name: "mixed0", block: true });
  expect(search(resnet50, "nothing like it")).toEqual([]);
  expect(search(resnet50, " ")).toEqual([]);
});

test("the scrubber stops at every block of the paper's table", () => {
  expect(names(stops(resnet50))).toHaveLength(18);
  expect(names(stops(vgg16))).toEqual([1, 2, 3, 4, 5].map((n) => `block${n}`));
  expect(names(stops(inception)).slice(1)).toEqual(
    Array.from({ length: 11 }, (_, n) => `mixed${n}`),
  );
});

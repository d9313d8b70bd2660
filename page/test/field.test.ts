import { expect, test } from "vitest";
import { branches, clip, mergeBehind, over, seen, size, words } from "../src/lib/field";
import { endOf, layerOf } from "../src/lib/graph";
import { graphs } from "./graphs";

const { resnet50, inception_v3: inception, vgg16 } = graphs;

test("a position's field moves by the stride and may stick out", () => {
  const field = layerOf(resnet50, "conv1_conv")!.field!;
  expect(size(field)).toEqual([7, 7]);
  expect(seen(field, 0, 0)).toEqual({ top: -3, left: -3, bottom: 3, right: 3 });
  expect(seen(field, 10, 2)).toEqual({ top: 17, left: 1, bottom: 23, right: 7 });
});

test("clipped to the picture, with what is over each border", () => {
  const rectangle = { top: -3, left: 1, bottom: 3, right: 120 };
  expect(clip(rectangle, 97, 97)).toEqual({ top: 0, left: 1, bottom: 3, right: 96 });
  expect(over(rectangle, 97, 97)).toEqual({ top: 3, left: 0, bottom: 0, right: 24 });
  expect(clip({ top: -9, left: 0, bottom: -1, right: 4 }, 97, 97)).toBeNull();
});

test("one ring for each branch of an Inception module, the widest around the others", () => {
  const rings = branches(inception, "mixed0");
  expect(rings.map((ring) => ring.name)).toEqual([
    "mixed0_1x1_relu",
    "mixed0_5x5_2_relu",
    "mixed0_3x3dbl_3_relu",
    "mixed0_pool_relu",
  ]);
  const [point, five, doubled, pool] = rings.map((ring) => size(ring.field)[0]);
  expect(five! - point!).toBe(4 * rings[0]!.field.rows.stride);
  expect(doubled! - point!).toBe(4 * rings[0]!.field.rows.stride);
  expect(pool! - point!).toBe(2 * rings[0]!.field.rows.stride);
});

test("a concatenation of concatenations gives its innermost branches", () => {
  expect(branches(inception, "mixed9").map((ring) => ring.name)).toEqual([
    "mixed9_1x1_relu",
    "mixed9_3x3_1x3_relu",
    "mixed9_3x3_3x1_relu",
    "mixed9_3x3dbl_1x3_relu",
    "mixed9_3x3dbl_3x1_relu",
    "mixed9_pool_relu",
  ]);
});

test("of a residual block, shortcut and residual, behind the activation", () => {
  const end = endOf(resnet50, { name: "conv3_block2", block: true })!;
  expect(end.name).toBe("conv3_block2_out");
  expect(mergeBehind(resnet50, end.name)?.name).toBe("conv3_block2_add");
  expect(branches(resnet50, end.name).map((ring) => ring.name)).toEqual([
    "conv3_block1_out",
    "conv3_block2_3_bn",
  ]);
});

test("a chain has no branches", () => {
  for (const layer of vgg16.layers) expect(branches(vgg16, layer.name)).toEqual([]);
});

test("a field behind a gate says that it is not all", () => {
  expect(words(layerOf(graphs.zoo, "last_conv")!.field!)).toBe("3 × 3");
  expect(words(layerOf(graphs.zoo, "gated")!.field!)).toBe("5 × 5, and the gates see all");
});

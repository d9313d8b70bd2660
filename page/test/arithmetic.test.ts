import { describe, expect, it, test } from "vitest";
import { growth, samePads, slide, windowOf, work } from "../src/lib/arithmetic";
import { layerOf, sides } from "../src/lib/graph";
import { size } from "../src/lib/field";
import { graphs } from "./graphs";

test("the formula of the window", () => {
  expect(slide(224, 7, 2, 1, 6)).toBe(112);
  expect(slide(56, 3, 1, 1, 2)).toBe(56);
  expect(slide(299, 3, 2)).toBe(149);
  expect(slide(10, 3, 1, 2)).toBe(6);
});

test("padding same gives the ceiling of side over stride", () => {
  for (let side = 1; side <= 30; side++)
    for (const kernel of [1, 2, 3, 5])
      for (const stride of [1, 2, 3])
        for (const dilation of [1, 2])
          expect(
            slide(side, kernel, stride, dilation, samePads(side, kernel, stride, dilation)),
          ).toBe(Math.ceil(side / stride));
});

describe.each(Object.entries(graphs))("%s, layer by layer, as the server says", (_, graph) => {
  it("shapes", () => {
    for (const layer of graph.layers) {
      const working = work(graph, layer);
      expect([layer.name, working?.shape]).toEqual([layer.name, layer.output_shape]);
      for (const line of working!.lines) expect(Number.isInteger(line.value)).toBe(true);
    }
  });
  it("parameters", () => {
    for (const layer of graph.layers)
      expect([layer.name, work(graph, layer)?.parameters.value]).toEqual([
        layer.name,
        layer.cost.parameters,
      ]);
  });
  it("multiply-adds", () => {
    for (const layer of graph.layers)
      expect([layer.name, work(graph, layer)?.macs.value]).toEqual([layer.name, layer.cost.macs]);
  });
  it("receptive fields", () => {
    let compared = 0;
    for (const layer of graph.layers) {
      const [field, stride] = growth(graph, layer);
      if (!field || !stride || !layer.field) continue;
      expect([layer.name, field.value]).toEqual([layer.name, size(layer.field)[0]]);
      expect([layer.name, stride.value]).toEqual([layer.name, layer.field.rows.stride]);
      compared++;
    }
    expect(compared).toBeGreaterThan(10);
  });
  it("what is shown as live numbers gives what is shown as value", () => {
    for (const layer of graph.layers) {
      const working = work(graph, layer)!;
      for (const line of [...working.lines, working.parameters, working.macs])
        expect([layer.name, line.live, reckon(line.live)]).toEqual([
          layer.name,
          line.live,
          line.value,
        ]);
    }
  });
});

/** The value of a line of working, as a reader would reckon it. */
function reckon(live: string): number {
  const code = live
    .replaceAll("⌊", "Math.floor(")
    .replaceAll("⌋", ")")
    .replaceAll("·", "*")
    .replaceAll("−", "-");
  expect(code.replaceAll("Math.floor", "")).toMatch(/^[\d\s+\-*/()]+$/);
  return Number(new Function(`return ${code}`)());
}

test("batch norm without scale has three numbers a channel", () => {
  const layer = layerOf(graphs.zoo, "scaleless_bn")!;
  expect(work(graphs.zoo, layer)?.parameters.formula).toBe("3 · C (β, mean, variance)");
});

test("the window of the first layer of ResNet50", () => {
  const layer = layerOf(graphs.resnet50, "conv1_conv")!;
  expect(windowOf(graphs.resnet50, layer)).toEqual({
    kernel: [7, 7],
    stride: [2, 2],
    dilation: [1, 1],
    pads: [0, 0],
  });
  expect(sides(layer.output_shape)).toEqual([49, 49, 16]);
});

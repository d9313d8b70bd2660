import { describe, expect, it, test } from "vitest";
import { layerOf } from "../src/lib/graph";
import { size } from "../src/lib/field";
import { check, KINDS, numbers, question, type Question } from "../src/lib/quiz";
import { graphs } from "./graphs";

describe.each(Object.entries(graphs))("%s", (_, graph) => {
  it("asks what the server knows", () => {
    for (let seed = 1; seed <= 20; seed++)
      for (let index = 0; index < 20; index++) {
        const asked = question(graph, seed, index)!;
        const layer = layerOf(graph, asked.layer)!;
        const truth = {
          shape: layer.output_shape,
          parameters: [layer.cost.parameters],
          macs: [layer.cost.macs],
          field: [layer.field && size(layer.field)[0]],
          stride: [layer.field?.rows.stride],
        }[asked.kind];
        expect(asked.answer).toEqual(truth);
        expect(check(asked, asked.answer.join(" x "))).toBe(true);
        expect(check(asked, asked.answer.map((n) => n + 1 + Math.ceil(n / 10)).join("x"))).toBe(
          false,
        );
        expect(asked.working.map((line) => line.value)).toEqual(asked.answer);
      }
  });
  it("asks the same again for the same seed, and every kind in turn", () => {
    const asked = [0, 1, 2, 3, 4].map((index) => question(graph, 7, index));
    expect(asked).toEqual([0, 1, 2, 3, 4].map((index) => question(graph, 7, index)));
    expect(asked.map((one) => one!.kind).sort()).toEqual([...KINDS].sort());
    const others = [0, 1, 2, 3, 4].map((index) => question(graph, 8, index));
    expect(others).not.toEqual(asked);
  });
});

test("a graph without layers to ask about", () => {
  const { zoo } = graphs;
  const bare = { ...zoo, layers: zoo.layers.filter((layer) => layer.kind === "InputLayer") };
  expect(question(bare, 1, 0)).toBeNull();
});

test.each<[string, number[] | null]>([
  ["56 x 56 x 64", [56, 56, 64]],
  ["56×56×64", [56, 56, 64]],
  ["(56, 56, 64)", [56, 56, 64]],
  ["56 56 64", [56, 56, 64]],
  ["28,28,512", [28, 28, 512]],
  ["4160", [4160]],
  ["1,024", [1024]],
  ["118,013,952", [118013952]],
  ["118 M", [118e6]],
  ["1.5k", [1500]],
  ["118e6", [118e6]],
  ["3.8 GMACs", [3.8e9]],
  ["43 pixels", [43]],
  ["43 px", [43]],
  ["many", null],
  ["", null],
  ["12 monkeys and 3", null],
])("%s", (answer, values) => {
  const asked = { answer: Array(values?.length ?? 1).fill(1), tolerance: 0 } as Partial<Question>;
  if (values && values.length > 1 && answer.includes("512"))
    // Three sides with commas can also be read as one number: the question tells which is meant.
    expect(check({ ...asked, answer: values } as Question, answer)).toBe(true);
  else expect(numbers(answer)).toEqual(values);
});

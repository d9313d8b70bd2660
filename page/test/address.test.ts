import { expect, test } from "vitest";
import { read, START, write, type View } from "../src/lib/address";

const full: View = {
  model: "resnet50",
  block: "mixed0/end",
  view: "explain",
  level: "blocks",
  opened: ["conv2", "conv3"],
  repeats: true,
  layout: "right",
  picture: "flower",
  cuts: [
    { layer: "conv2_block1_add", operand: 0 },
    { layer: "mixed0", operand: 3 },
  ],
  method: "grad-cam++",
  at: "conv5_block3",
  class: 3,
  second: 0,
  control: false,
  channel: 17,
  position: [0, 12],
  measure: "l2",
  other: "vgg16",
  depth: 36,
  seed: 42,
  question: 5,
};

test("there and back", () => {
  expect(read(write(full))).toEqual({ view: full, ignored: [] });
  expect(read(write(START))).toEqual({ view: START, ignored: [] });
  expect(write(START)).toBe("#");
  const none: View = { ...START, opened: [] };
  expect(read(write(none)).view.opened).toEqual([]);
});

test("an address that a person can read", () => {
  expect(write({ ...START, model: "resnet50", opened: ["conv2", "conv3"], view: "ledger" })).toBe(
    "#model=resnet50&view=ledger&opened=conv2,conv3",
  );
  expect(write({ ...START, cuts: full.cuts })).toBe("#cuts=conv2_block1_add:0,mixed0:3");
  expect(write({ ...START, position: [0, 12], measure: "l2", depth: 0 })).toBe(
    "#position=0,12&measure=l2&depth=0",
  );
});

test("what is not understood is left out and named", () => {
  const { view, ignored } = read(
    "#model=vgg16&view=nothing&wings=2&class=-1&cuts=a&control=maybe&opened=%E0%A4%A&seed=1e9&x" +
      "&depth=101&depth=.5&measure=max&position=3&position=1,2,3&position=-1,2&position=",
  );
  expect(view).toEqual({ ...START, model: "vgg16" });
  expect(ignored).toEqual([
    "view=nothing",
    "wings=2",
    "class=-1",
    "cuts=a",
    "control=maybe",
    "opened=%E0%A4%A",
    "seed=1e9",
    "x",
    "depth=101",
    "depth=.5",
    "measure=max",
    "position=3",
    "position=1,2,3",
    "position=-1,2",
    "position=",
  ]);
});

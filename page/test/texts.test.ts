import { expect, test } from "vitest";
import { COLOURS, paint } from "../src/lib/colours";
import { bytes, percent, real, short } from "../src/lib/numbers";
import { bytes as fromBase64, colourTile, tile } from "../src/lib/pixels";
import { tokens } from "../src/lib/python";
import { random } from "../src/lib/random";

test("numbers as people write them", () => {
  expect([0, 7, 950, 1234, 25557032, 3857973248].map(short)).toEqual([
    "0",
    "7",
    "950",
    "1.23 k",
    "25.6 M",
    "3.86 G",
  ]);
  expect(bytes(3211264)).toBe("3.21 MB");
  expect([1, 0.9999, 0.5, 0.0123, 0.00002, 0].map(percent)).toEqual([
    "100 %",
    "100 %",
    "50.0 %",
    "1.23 %",
    "<0.01 %",
    "0 %",
  ]);
  expect([0, 1.23456, 1234567, 0.0000123].map(real)).toEqual(["0", "1.235", "1.23e+6", "1.23e-5"]);
});

test("colour maps begin and end as published", () => {
  expect([...COLOURS.viridis.slice(0, 3)]).toEqual([0x44, 0x01, 0x54]);
  expect([...COLOURS.inferno.slice(-3)]).toEqual([0xfc, 0xff, 0xa4]);
  expect(COLOURS.viridis).toHaveLength(768);
  expect([...paint([0, 255], "viridis", "value")]).toEqual([
    ...COLOURS.viridis.slice(0, 3),
    0,
    ...COLOURS.viridis.slice(-3),
    255,
  ]);
});

test("a tile of a sprite", () => {
  const rgba = new Uint8ClampedArray(4 * 6 * 2);
  for (let i = 0; i < 12; i++) rgba[4 * i] = i;
  expect([...tile({ width: 6, rgba }, [1, 2], 3, 4)]).toEqual([8, 9]);
});

test("a tile of a sprite in colours", () => {
  const rgba = Uint8ClampedArray.from({ length: 4 * 4 * 2 }, (_, i) => i);
  expect([...colourTile({ width: 4, rgba }, [2, 1], 4, 2)]).toEqual([8, 9, 10, 11, 24, 25, 26, 27]);
});

test("base64, plain and URL-safe", () => {
  expect([...fromBase64("-_8=")]).toEqual([...fromBase64("+/8=")]);
});

test("Python in tokens, line by line, nothing lost", () => {
  const code = 'def f(x):\n    """One\n    line."""\n    return x + 1  # why\n';
  const lines = tokens(code);
  expect(lines.map((line) => line.map(({ text }) => text).join(""))).toEqual(
    code.trimEnd().split("\n"),
  );
  expect(lines[1]).toEqual([
    { kind: "", text: "    " },
    { kind: "string", text: '"""One' },
  ]);
  expect(lines[3]!.map(({ kind }) => kind)).toEqual(["", "keyword", "", "number", "", "comment"]);
});

test("the same numbers from the same seed", () => {
  const [a, b] = [random(5), random(5)];
  const drawn = Array.from({ length: 1000 }, a);
  expect(drawn).toEqual(Array.from({ length: 1000 }, b));
  expect(Math.min(...drawn)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...drawn)).toBeLessThan(1);
});

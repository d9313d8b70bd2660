/** 25557032 as "25,557,032". */
export const whole = (n: number): string => n.toLocaleString("en-US");

/** 3857973248 as "3.86 G"; three significant digits. */
export function short(n: number): string {
  for (const [size, letter] of [
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ] as const)
    if (Math.abs(n) >= size) return `${digits(n / size)} ${letter}`;
  return digits(n);
}

const digits = (n: number): string =>
  Number.isInteger(n) && Math.abs(n) < 1000 ? String(n) : n.toPrecision(3);

/** Bytes as "3.2 MB". */
export const bytes = (n: number): string => `${short(n)}B`;

export const percent = (p: number): string => {
  const value = 100 * p;
  return `${value >= 99.95 ? "100" : value >= 10 ? value.toFixed(1) : value >= 0.01 ? value.toFixed(2) : value > 0 ? "<0.01" : "0"} %`;
};

/** A shape as "56 × 56 × 256". */
export const shape = (sides: readonly (number | null)[]): string =>
  sides.map((side) => side ?? "?").join(" × ");

/** Norms and the like: four digits, whatever their size. */
export const real = (x: number): string =>
  x === 0
    ? "0"
    : Math.abs(x) >= 1e5 || Math.abs(x) < 1e-3
      ? x.toExponential(2)
      : Number(x.toPrecision(4)).toString();

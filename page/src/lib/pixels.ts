/** The gray values of a PNG that came as URL-safe base64, exactly as they were written. */
export async function decode(
  sprite: string,
): Promise<{ width: number; height: number; rgba: Uint8ClampedArray }> {
  const bitmap = await createImageBitmap(new Blob([bytes(sprite)], { type: "image/png" }), {
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
  const { width, height } = bitmap;
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("This browser draws no canvas.");
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { width, height, rgba: context.getImageData(0, 0, width, height).data };
}

/** Bytes from base64, plain or URL-safe. */
export function bytes(base64: string): Uint8Array<ArrayBuffer> {
  const text = atob(base64.replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));
}

/** One tile of a sprite in its colours. */
export function colourTile(
  sprite: { width: number; rgba: Uint8ClampedArray },
  [height, width]: readonly [number, number],
  columns: number,
  index: number,
): Uint8ClampedArray<ArrayBuffer> {
  const top = Math.floor(index / columns) * height;
  const left = (index % columns) * width;
  const pixels = new Uint8ClampedArray(4 * height * width);
  for (let row = 0; row < height; row++) {
    const from = 4 * ((top + row) * sprite.width + left);
    pixels.set(sprite.rgba.subarray(from, from + 4 * width), 4 * row * width);
  }
  return pixels;
}

/** One gray tile of a sprite. */
export function tile(
  sprite: { width: number; rgba: Uint8ClampedArray },
  [height, width]: readonly [number, number],
  columns: number,
  index: number,
): Uint8Array<ArrayBuffer> {
  const top = Math.floor(index / columns) * height;
  const left = (index % columns) * width;
  const gray = new Uint8Array(height * width);
  for (let row = 0; row < height; row++)
    for (let column = 0; column < width; column++)
      gray[row * width + column] =
        sprite.rgba[4 * ((top + row) * sprite.width + left + column)] ?? 0;
  return gray;
}

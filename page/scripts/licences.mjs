// Writes licences.txt into the bundle: those of the libraries and of the font that are in it.
import { readFile, readdir, writeFile } from "node:fs/promises";

const page = new URL("..", import.meta.url);
const package_ = new URL("../../src/keras_classics/", import.meta.url);
const { dependencies } = JSON.parse(await readFile(new URL("package.json", page), "utf8"));

const parts = [];
for (const name of [...Object.keys(dependencies), "@preact/signals-core"].sort()) {
  const folder = new URL(`node_modules/${name}/`, page);
  const { version, license } = JSON.parse(await readFile(new URL("package.json", folder), "utf8"));
  const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
  if (!file) throw new Error(`${name}: no licence is in the package`);
  const text = await readFile(new URL(file, folder), "utf8");
  const heading = `${name} ${version}, ${license}`;
  parts.push(`${heading}\n${"=".repeat(heading.length)}\n\n${text.trim()}\n`);
}
const font = await readFile(new URL("drawing/fonts/LICENSE.txt", package_), "utf8");
parts.push(`The font Inter, OFL-1.1\n=======================\n\n${font.trim()}\n`);
await writeFile(new URL("explorer/page/licences.txt", package_), parts.join("\n\n"));

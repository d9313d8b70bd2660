// Writes sources.sha256 beside the bundle: from which sources it was built, and what it is.
// tests/explorer/test_page.py reckons both anew, without node.
import { createHash } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const sources = fileURLToPath(new URL("..", import.meta.url));
const bundle = fileURLToPath(new URL("../../src/keras_classics/explorer/page/", import.meta.url));
const record = "sources.sha256";

async function files(folder, prefix = "") {
  const found = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.name === "node_modules" || entry.name === record) continue;
    const name = prefix + entry.name;
    if (entry.isDirectory()) found.push(...(await files(`${folder}/${entry.name}`, `${name}/`)));
    else found.push(name);
  }
  return found.sort();
}

async function digest(folder) {
  const hash = createHash("sha256");
  for (const name of await files(folder)) {
    const content = createHash("sha256")
      .update(await readFile(`${folder}/${name}`))
      .digest("hex");
    hash.update(`${name}\n${content}\n`);
  }
  return hash.digest("hex");
}

await writeFile(
  `${bundle}/${record}`,
  `sources ${await digest(sources)}\nbundle ${await digest(bundle)}\n`,
);

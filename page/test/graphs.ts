import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import type { Graph } from "../src/lib/graph";

const load = (name: string): Graph =>
  JSON.parse(
    gunzipSync(readFileSync(new URL(`./fixtures/${name}.json.gz`, import.meta.url))).toString(),
  ) as Graph;

export const graphs = {
  zoo: load("zoo"),
  vgg16: load("vgg16"),
  resnet50: load("resnet50"),
  inception_v3: load("inception_v3"),
};

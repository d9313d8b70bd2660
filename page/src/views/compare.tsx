// Two networks on one picture.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { api, drawingUrl } from "../lib/api";
import { words } from "../lib/field";
import { draw } from "../lib/figure";
import { root, type Graph } from "../lib/graph";
import { bytes, shape as text, short, whole } from "../lib/numbers";
import { stops } from "../lib/stops";
import * as store from "../lib/store";
import type * as T from "../types";
import { Answer, useAsked } from "./asked";
import { Overlay } from "./explain";
import { NoPicture, Section, TopClasses, Uncut, Untrained } from "./parts";

export function CompareTab({ graph, model }: { graph: Graph; model: T.Model }) {
  const [building, setBuilding] = useState(false);
  const other = store.other.value;
  const otherGraph = other ? store.graphs.value.get(other.id) : undefined;
  const held = store.models.value.filter((one) => one.id !== model.id);
  const addable = store.catalog.value;

  const choose = async (value: string): Promise<void> => {
    if (value === "") {
      store.show({ other: null });
      return;
    }
    setBuilding(true);
    try {
      const [, name = ""] = /^\+(.*)$/.exec(value) ?? [];
      const id = name ? (await store.addModel(name)).id : value;
      await store.loadGraph(id);
      store.show({ other: id });
    } catch (error) {
      store.tell(store.messageOf(error) ?? "", "error");
    }
    setBuilding(false);
  };

  return (
    <>
      <header class="title">
        <h2>Two networks, one picture</h2>
      </header>
      <div class="fields">
        <label>
          Compare {model.title} with
          <select
            value={other?.id ?? ""}
            disabled={building}
            onChange={(event) => void choose(event.currentTarget.value)}
          >
            <option value="">choose a network</option>
            {held.length > 0 && (
              <optgroup label="On the server">
                {held.map((one) => (
                  <option key={one.id} value={one.id}>
                    {one.title}
                    {one.trained ? "" : ", random weights"}
                  </option>
                ))}
              </optgroup>
            )}
            <optgroup label="Build, with random weights">
              {addable.map((one) => (
                <option key={one.name} value={`+${one.name}`}>
                  {one.title}, {one.year}
                </option>
              ))}
            </optgroup>
          </select>
        </label>
        {building && (
          <p class="muted loading" role="status">
            <span class="spinner" aria-hidden="true" /> Building …
          </p>
        )}
      </div>
      {other && otherGraph && (
        <Both
          key={`${model.id} ${other.id}`}
          pairs={[
            [model, graph],
            [other, otherGraph],
          ]}
        />
      )}
    </>
  );
}

type Pair = readonly [T.Model, Graph];

function Both({ pairs }: { pairs: readonly [Pair, Pair] }) {
  const picture = store.picture.value;
  const { depth } = store.view.value;
  const { methods, method: chosen } = store;
  // Compared at equal depth: by a method that has a map for every block.
  const method = [chosen.value, ...methods.value].find((one) => one !== null && one.at_once);
  return (
    <>
      {picture ? (
        <>
          <Uncut />
          <Section title="What they say">
            <div class="versus">
              {pairs.map(([model]) => (
                <Says key={model.id} model={model} picture={picture.id} />
              ))}
            </div>
          </Section>
          <Section title={`Where they look, by ${method?.title ?? "maps"}`}>
            <label class="wide">
              Depth, from the first block to the last
              <input
                type="range"
                min={0}
                max={100}
                step={2}
                value={depth}
                onInput={(event) => store.show({ depth: Number(event.currentTarget.value) }, true)}
              />
            </label>
            <div class="versus">
              {pairs.map(([model, graph]) => (
                <Looks
                  key={model.id}
                  {...{ model, graph, depth }}
                  method={method?.name ?? "grad-cam"}
                  picture={picture.id}
                />
              ))}
            </div>
          </Section>
        </>
      ) : (
        <NoPicture />
      )}
      <Section title="What they cost">
        <Costs pairs={pairs} />
      </Section>
      <Section title="Side by side, at equal resolution">
        <Beside model={pairs[0][0].id} other={pairs[1][0].id} />
      </Section>
    </>
  );
}

function Says({ model, picture }: { model: T.Model; picture: string }) {
  const asked = useAsked(`${model.id} ${picture}`, () =>
    api.predict({ model: model.id, picture, cuts: [] }),
  );
  return (
    <div>
      <h4>{model.title}</h4>
      <Untrained model={model} />
      <Answer asked={asked} what="Asking the network">
        {({ top, milliseconds }) => (
          <>
            <TopClasses top={top} label={`Most probable classes, ${model.title}`} />
            <p class="muted small">{milliseconds < 1 ? "under 1" : milliseconds.toFixed(0)} ms</p>
          </>
        )}
      </Answer>
    </div>
  );
}

function Looks({
  model,
  graph,
  picture,
  method,
  depth,
}: {
  model: T.Model;
  graph: Graph;
  picture: string;
  method: string;
  depth: number;
}) {
  const all = useMemo(() => stops(graph), [graph]);
  const at = Math.round((depth / 100) * (all.length - 1));
  const asked = useAsked(all.length ? `${model.id} ${picture} ${method}` : null, () =>
    api.cam({
      model: model.id,
      picture,
      method,
      class_index: null,
      layers: all.map((block) => block.name),
      control: false,
    }),
  );
  return (
    <div>
      <Answer asked={asked} what="Computing maps">
        {(cam) => (
          <Overlay
            picture={picture}
            model={model}
            map={cam.maps[at]}
            signed={cam.signed}
            opacity={0.6}
            title={`${model.title}: ${cam.class_name}`}
            note={all[at]?.name ?? ""}
          />
        )}
      </Answer>
    </div>
  );
}

function Costs({ pairs }: { pairs: readonly [Pair, Pair] }) {
  const costs = pairs.map(([, graph]) => root(graph).cost);
  const lastField = pairs.map(
    ([, graph]) => graph.layers.findLast((layer) => layer.field !== null)?.field ?? null,
  );
  const rows: readonly (readonly [string, (i: 0 | 1) => string, (i: 0 | 1) => number | null])[] = [
    ["input", (i) => text(pairs[i][0].input), () => null],
    ["parameters", (i) => whole(costs[i]!.parameters), (i) => costs[i]!.parameters],
    ["multiply-adds", (i) => short(costs[i]!.macs), (i) => costs[i]!.macs],
    ["activations", (i) => bytes(costs[i]!.activation_bytes), (i) => costs[i]!.activation_bytes],
    ["layers", (i) => whole(pairs[i][1].layers.length), (i) => pairs[i][1].layers.length],
    [
      "receptive field of the last map",
      (i) => (lastField[i] ? words(lastField[i]!) : "the whole picture"),
      () => null,
    ],
    ["classes", (i) => whole(pairs[i][0].classes), () => null],
    ["weights", (i) => pairs[i][0].weights, () => null],
  ];
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Table of costs">
      <table>
        <thead>
          <tr>
            <td />
            {pairs.map(([model]) => (
              <th scope="col" class="number" key={model.id}>
                {model.title}
              </th>
            ))}
            <th scope="col" class="number">
              ratio
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map(([name, say, number]) => {
            const [a, b] = [number(0), number(1)];
            return (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td class="number">{say(0)}</td>
                <td class="number">{say(1)}</td>
                <td class="number">{a && b ? `${(b / a).toPrecision(3)} ×` : ""}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function Beside({ model, other }: { model: string; other: string }) {
  const url = drawingUrl(model, { level: store.view.value.level, beside: other });
  const asked = useAsked(url, (signal) => api.drawing(url, signal));
  const paper = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (asked.value === null || !paper.current) return;
    try {
      paper.current.replaceChildren(draw(asked.value, null, false));
    } catch (error) {
      store.tell(store.messageOf(error) ?? "", "error");
    }
  }, [asked.value]);
  return (
    <Answer asked={asked} what="Drawing">
      {() => (
        <div
          class="diagram tall"
          ref={paper}
          tabIndex={0}
          role="region"
          aria-label="Drawing of both networks"
        />
      )}
    </Answer>
  );
}

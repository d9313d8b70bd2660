// Where does it look? Class activation maps over all blocks, beside their control.
import { useEffect, useMemo, useState } from "preact/hooks";
import { api, pictureUrl } from "../lib/api";
import { diverge, paint } from "../lib/colours";
import { itemOf, enclosing, type Graph } from "../lib/graph";
import { percent, shape as text } from "../lib/numbers";
import { bytes } from "../lib/pixels";
import { stops } from "../lib/stops";
import * as store from "../lib/store";
import type * as T from "../types";
import { Answer, Pixels, useAsked } from "./asked";
import { Chart } from "./chart";
import { NoPicture, Section, Uncut, Untrained } from "./parts";

export function ExplainTab({ graph, model }: { graph: Graph; model: T.Model }) {
  const picture = store.picture.value;
  const [opacity, setOpacity] = useState(0.6);
  const [measured, setMeasured] = useState(false);
  const { view } = store;
  const all = useMemo(() => stops(graph), [graph]);
  const chosen = store.method.value;
  const method = chosen?.name ?? "grad-cam";
  const atLayers = chosen?.at_layers ?? true;
  const together = chosen?.at_once ?? true;
  const at = stopOf(
    graph,
    view.value.at,
    all.map((block) => block.name),
  );
  const stop = all[at];
  const { control, second } = view.value;
  // Where each block takes seconds, nothing is asked while the scrubber moves.
  const settled = useSettled(stop?.name ?? "", 400);
  const place = together ? at : 0;

  const prediction = useAsked(picture && `${model.id} ${picture.id}`, () =>
    api.predict({ model: model.id, picture: picture!.id, cuts: [] }),
  );
  const ask = (class_index: number | null, control: boolean): T.CamRequest => ({
    model: model.id,
    picture: picture!.id,
    method,
    class_index,
    layers: !atLayers ? null : together ? all.map((block) => block.name) : [settled],
    control,
  });
  const key =
    picture && all.length
      ? `${model.id} ${picture.id} ${method} ${atLayers && !together ? settled : ""}`
      : null;
  const first = useAsked(key && `${key} ${view.value.class} ${control}`, () =>
    api.cam(ask(view.value.class, control)),
  );
  const other = useAsked(key && second !== null ? `${key} ${second}` : null, () =>
    api.cam(ask(second, false)),
  );
  if (!picture)
    return (
      <>
        <header class="title">
          <h2>Where does it look?</h2>
        </header>
        <NoPicture />
      </>
    );
  if (!stop) return <p class="message">This network has no feature maps to explain.</p>;
  const go = (index: number): void => store.show({ at: all[index]!.name }, true);
  return (
    <>
      <header class="title">
        <h2>Where does it look?</h2>
        <p class="muted">Class activation maps at every block, beside those of random weights.</p>
      </header>
      <Untrained model={model} />
      <Uncut />
      <div class="fields">
        <label>
          Method
          <select
            value={method}
            onChange={(event) => store.show({ method: event.currentTarget.value })}
          >
            {store.methods.value.map((one) => (
              <option key={one.name} value={one.name}>
                {one.title}
              </option>
            ))}
          </select>
        </label>
        <ClassChoice
          label="Class"
          none="the most probable"
          value={view.value.class}
          top={prediction.value?.top ?? []}
          model={model}
          onChange={(index) => store.show({ class: index })}
        />
        <ClassChoice
          label="Second class"
          none="none"
          value={second}
          top={prediction.value?.top ?? []}
          model={model}
          onChange={(index) => store.show({ second: index })}
        />
        <label class="check">
          <input
            type="checkbox"
            checked={control}
            onChange={(event) => store.show({ control: event.currentTarget.checked })}
          />
          Random weights beside it
        </label>
      </div>
      {atLayers && (
        <div class="scrubber">
          <label for="scrubber">
            Block <strong>{stop.name}</strong>{" "}
            <span class="muted">
              {at + 1} of {all.length}, {text(stop.cost.output_shape)}
            </span>
          </label>
          <input
            id="scrubber"
            type="range"
            min={0}
            max={all.length - 1}
            step={1}
            value={at}
            aria-valuetext={`${stop.name}, ${at + 1} of ${all.length}`}
            onInput={(event) => go(Number(event.currentTarget.value))}
          />
        </div>
      )}
      <Answer asked={first} what="Computing maps for every block">
        {(cam) => (
          <>
            {together && (
              <div class="strip" aria-hidden="true">
                {cam.maps.map((map, i) => (
                  <div key={map.layer} class={i === at ? "here" : ""} onClick={() => go(i)}>
                    <Heat map={map} signed={cam.signed} />
                  </div>
                ))}
              </div>
            )}
            <div class="overlays">
              <Overlay
                picture={picture.id}
                model={model}
                map={cam.maps[place]}
                signed={cam.signed}
                opacity={opacity}
                title={cam.class_name}
                note={percent(cam.probability)}
              />
              {other.value && (
                <Overlay
                  picture={picture.id}
                  model={model}
                  map={other.value.maps[place]}
                  signed={other.value.signed}
                  opacity={opacity}
                  title={other.value.class_name}
                  note={`${percent(other.value.probability)}, second class`}
                />
              )}
              {cam.control && (
                <Overlay
                  picture={picture.id}
                  model={model}
                  map={cam.control[place]}
                  signed={cam.signed}
                  opacity={opacity}
                  title={cam.class_name}
                  note="random weights: a map that looks the same here shows the picture, not the network"
                />
              )}
            </div>
          </>
        )}
      </Answer>
      {other.error !== null && (
        <p class="message error" role="alert">
          {other.error}
        </p>
      )}
      <div class="fields">
        <label class="wide">
          Opacity of the map
          <input
            type="range"
            min={0}
            max={1}
            step={0.05}
            value={opacity}
            onInput={(event) => setOpacity(Number(event.currentTarget.value))}
          />
        </label>
        <span class="legend">
          {(first.value ?? chosen)?.signed ? (
            <>
              against <span class="scale diverging" aria-hidden="true" /> for
            </>
          ) : (
            <>
              low <span class="scale inferno" aria-hidden="true" /> high
            </>
          )}
        </span>
      </div>
      <Section title="Is the map true?">
        <p class="muted">
          Deletion takes the pixels away, the brightest of the map first: the probability of the
          class should fall at once. Insertion puts them in: it should rise at once.
        </p>
        {measured ? (
          <CurvesOf
            request={{
              model: model.id,
              picture: picture.id,
              layer: atLayers ? stop.name : (graph.layers[0]?.name ?? ""),
              method,
              class_index: view.value.class,
              control: true,
            }}
          />
        ) : (
          <button type="button" onClick={() => setMeasured(true)}>
            Measure the deletion and insertion curves
          </button>
        )}
      </Section>
    </>
  );
}

/** The stop for a block or layer of the address: itself or the one around it, or the last. */
export function stopOf(graph: Graph, key: string | null, names: readonly string[]): number {
  const item = key === null ? null : itemOf(graph, key);
  if (item) {
    const candidates = [...enclosing(graph, item).map((block) => block.name), item.name];
    const found = names.findLastIndex((name) => candidates.includes(name));
    if (found >= 0) return found;
    // A stage: the last of its blocks.
    const inside = names.findLastIndex((name) =>
      enclosing(graph, { name, block: true }).some((block) => block.name === item.name),
    );
    if (inside >= 0) return inside;
  }
  return names.length - 1;
}

/** A value that has not changed for a while. */
function useSettled(value: string, milliseconds: number): string {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), milliseconds);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}

/** One of the likely classes, or any other by its name or number. */
function ClassChoice({
  label,
  none,
  value,
  top,
  model,
  onChange,
}: {
  label: string;
  none: string;
  value: number | null;
  top: readonly T.Answer[];
  model: T.Model;
  onChange: (index: number | null) => void;
}) {
  const likely = top.map((one) => one.index);
  const listed = value !== null && !likely.includes(value) ? [...likely, value] : likely;
  const rest = Array.from({ length: model.classes }, (_, i) => i).filter(
    (index) => !listed.includes(index),
  );
  return (
    <label>
      {label}
      <select
        value={value === null ? "" : String(value)}
        onChange={(event) => {
          const chosen = event.currentTarget.value;
          onChange(chosen === "" ? null : Number(chosen));
        }}
      >
        <option value="">{none}</option>
        <optgroup label="Likely here">
          {listed.map((index) => (
            <option key={index} value={String(index)}>
              {store.className(model, index)}
            </option>
          ))}
        </optgroup>
        <optgroup label="All others">
          {rest.map((index) => (
            <option key={index} value={String(index)}>
              {store.className(model, index)}
            </option>
          ))}
        </optgroup>
      </select>
    </label>
  );
}

/** A map in colours: `signed` is that of the answer it came with, whatever is chosen meanwhile. */
export function Heat({
  map,
  signed,
  label,
  opacity,
}: {
  map: T.CamMap;
  signed: boolean;
  label?: string;
  opacity?: number;
}) {
  const pixels = useMemo(
    () =>
      signed ? diverge(bytes(map.values), map.low, map.high) : paint(bytes(map.values), "inferno"),
    [map, signed],
  );
  const [height, width] = map.shape;
  return (
    <Pixels
      class="heat"
      pixels={pixels}
      width={width}
      height={height}
      {...(label === undefined ? {} : { label })}
      {...(opacity === undefined ? {} : { opacity })}
    />
  );
}

export function Overlay({
  picture,
  model,
  map,
  signed,
  opacity,
  title,
  note,
}: {
  picture: string;
  model: T.Model;
  map: T.CamMap | undefined;
  signed: boolean;
  opacity: number;
  title: string;
  note: string;
}) {
  return (
    <figure class="overlay">
      <div>
        <img src={pictureUrl(picture, model.id)} alt="" />
        {map && (
          <Heat map={map} signed={signed} opacity={opacity} label={`Map of ${title}: ${note}`} />
        )}
      </div>
      <figcaption>
        <strong>{title}</strong> {note}
      </figcaption>
    </figure>
  );
}

function CurvesOf({ request }: { request: T.CurvesRequest }) {
  const settled = useSettled(JSON.stringify(request), 500);
  const asked = useAsked(settled, () => api.curves(JSON.parse(settled) as T.CurvesRequest));
  return (
    <Answer asked={asked} what="Measuring">
      {(curves) => {
        const series = [
          { name: "deletion", curve: curves.deletion, dashed: false },
          { name: "insertion", curve: curves.insertion, dashed: false },
          ...(curves.control
            ? [
                { name: "deletion, random weights", curve: curves.control.deletion, dashed: true },
                {
                  name: "insertion, random weights",
                  curve: curves.control.insertion,
                  dashed: true,
                },
              ]
            : []),
        ];
        return (
          <>
            <Chart series={series} />
            <ul class="areas" aria-label="Areas under the curves">
              {series.map(({ name, curve }, i) => (
                <li key={name} class={`series-${i}`}>
                  <span class="swatch" aria-hidden="true" />
                  {name}: area {curve.area.toFixed(3)}
                </li>
              ))}
            </ul>
            <details>
              <summary>The curves as a table</summary>
              <div class="scroll" tabIndex={0} role="region" aria-label="Table of the curves">
                <table>
                  <thead>
                    <tr>
                      <th scope="col">pixels</th>
                      {series.map(({ name }) => (
                        <th scope="col" class="number" key={name}>
                          {name}
                        </th>
                      ))}
                    </tr>
                  </thead>
                  <tbody>
                    {curves.deletion.fraction.map((fraction, i) => (
                      <tr key={i}>
                        <th scope="row">{percent(fraction)}</th>
                        {series.map(({ name, curve }) => (
                          <td class="number" key={name}>
                            {percent(curve.probability[i] ?? 0)}
                          </td>
                        ))}
                      </tr>
                    ))}
                  </tbody>
                </table>
              </div>
            </details>
          </>
        );
      }}
    </Answer>
  );
}

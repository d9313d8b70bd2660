// Feature maps of a layer, and what each of their pixels sees of the picture.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type * as T from "../types";
import { api } from "../lib/api";
import { paint } from "../lib/colours";
import { branches, over, seen, size } from "../lib/field";
import { sides, type Graph, type Layer } from "../lib/graph";
import { real, shape as text } from "../lib/numbers";
import { bytes, decode, tile } from "../lib/pixels";
import { show, view } from "../lib/store";
import { Answer, Pixels, useAsked } from "./asked";
import { Sight, type Outline } from "./sight";

const COUNT = 64;
const RESTED = 300; // milliseconds

type Sprite = Awaited<ReturnType<typeof decode>> & { maps: T.Maps };

export function FeatureMaps({
  graph,
  layer,
  model,
  picture,
}: {
  graph: Graph;
  layer: Layer;
  model: T.Model;
  picture: string;
}) {
  const [height, width, channels] = sides(layer.output_shape) as [number, number, number];
  const channel = Math.min(view.value.channel ?? 0, channels - 1);
  const offset = Math.floor(channel / COUNT) * COUNT;
  const cuts = view.value.cuts.map(({ layer, operand }) => ({ layer, operand }));
  const where = { model: model.id, picture, layer: layer.name, cuts };
  const asked = useAsked<Sprite>(
    JSON.stringify([where, offset]),
    async () => {
      const maps = await api.maps({ ...where, offset, count: COUNT });
      return { ...(await decode(maps.sprite)), maps };
    },
    false,
  );
  const one = useAsked<Float32Array>(JSON.stringify([where, channel, "values"]), async () => {
    const { values } = await api.maps({ ...where, offset: channel, count: 1, channel });
    return new Float32Array(bytes(values ?? "").buffer);
  });
  return (
    <Answer asked={asked} what="Computing feature maps">
      {(sprite) => (
        <>
          {one.error !== null && (
            <p class="message error" role="alert">
              {one.error}
            </p>
          )}
          {one.value?.length === height * width && (
            <MapAndField
              key={`${model.id} ${layer.name} ${height} ${width}`}
              {...{ graph, layer, model, picture, height, width, channel }}
              values={one.value}
            />
          )}
          <Grid {...{ sprite, offset, channel }} count={Math.min(COUNT, channels - offset)} />
          {channels > COUNT && (
            <div class="pages">
              <button
                type="button"
                disabled={offset === 0}
                onClick={() => show({ channel: offset - COUNT }, true)}
              >
                Previous {COUNT}
              </button>
              <span class="muted">
                channels {offset} to {Math.min(offset + COUNT, channels) - 1} of {channels}
              </span>
              <button
                type="button"
                disabled={offset + COUNT >= channels}
                onClick={() => show({ channel: offset + COUNT }, true)}
              >
                Next {COUNT}
              </button>
            </div>
          )}
        </>
      )}
    </Answer>
  );
}

/** All channels of a page as small maps; one is chosen with the pointer or the arrow keys. */
function Grid({
  sprite,
  offset,
  count,
  channel,
}: {
  sprite: Sprite;
  offset: number;
  count: number;
  channel: number;
}) {
  const grid = useRef<HTMLDivElement>(null);
  const [height, width] = sprite.maps.tile;
  const tiles = useMemo(
    () =>
      Array.from({ length: count }, (_, i) =>
        paint(tile(sprite, sprite.maps.tile, sprite.maps.columns, i), "viridis"),
      ),
    [sprite, count],
  );
  const move = (event: KeyboardEvent) => {
    const across = columnsOf(grid.current);
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = channel - offset + step;
    if (next < 0 || next >= count) return;
    show({ channel: offset + next }, true);
    grid.current?.querySelectorAll<HTMLElement>("[role=radio]")[next]?.focus();
  };
  return (
    <div class="maps" role="radiogroup" aria-label="Channels" ref={grid} onKeyDown={move}>
      {tiles.map((pixels, i) => (
        <div
          key={i}
          role="radio"
          aria-checked={offset + i === channel}
          aria-label={`Channel ${offset + i}`}
          title={`Channel ${offset + i}`}
          tabIndex={offset + i === channel ? 0 : -1}
          onClick={() => show({ channel: offset + i }, true)}
          onKeyDown={(event) => {
            if (event.key === " " || event.key === "Enter") event.preventDefault();
          }}
        >
          <Pixels pixels={pixels} width={width} height={height} />
        </div>
      ))}
    </div>
  );
}

function columnsOf(grid: HTMLElement | null): number {
  const [first, ...rest] = grid?.children ?? [];
  if (!first) return 1;
  const top = (first as HTMLElement).offsetTop;
  const same = rest.findIndex((one) => (one as HTMLElement).offsetTop !== top);
  return same < 0 ? rest.length + 1 : same + 1;
}

/** One map in large, and the receptive field of its pixel on the picture. */
function MapAndField({
  graph,
  layer,
  model,
  picture,
  height,
  width,
  channel,
  values,
}: {
  graph: Graph;
  layer: Layer;
  model: T.Model;
  picture: string;
  height: number;
  width: number;
  channel: number;
  values: Float32Array;
}) {
  const { position } = view.value;
  const [place, setPlace] = useState<readonly [number, number]>(
    position ?? [Math.floor(height / 2), Math.floor(width / 2)],
  );
  const map = useRef<HTMLDivElement>(null);
  const marker = useRef<HTMLSpanElement>(null);
  const row = Math.min(place[0], height - 1);
  const column = Math.min(place[1], width - 1);
  const [inputHeight, inputWidth] = model.input;

  const rings = useMemo(() => {
    const found = branches(graph, layer.name);
    if (found.length) return found;
    return layer.field ? [{ name: layer.name, field: layer.field }] : [];
  }, [graph, layer]);
  const outlines: Outline[] = rings.map(({ name, field }) => ({
    name,
    rectangle: seen(field, row, column),
  }));

  // The address may say another position, and is told of this one once the pointer rests:
  // browsers refuse an address that changes at every step. What it was told must not come back
  // as another position: whoever has moved on in the meantime would be moved back.
  const told = useRef("");
  useEffect(() => {
    if (!position || position.join() === told.current) return;
    told.current = position.join();
    setPlace(position);
  }, [position?.join()]);
  const [moved, setMoved] = useState(false);
  useEffect(() => {
    if (!moved) return;
    const timer = setTimeout(() => {
      told.current = [row, column].join();
      show({ position: [row, column] }, true);
    }, RESTED);
    return () => clearTimeout(timer);
  }, [moved, row, column]);

  useEffect(() => {
    const style = marker.current?.style;
    if (!style) return;
    style.left = `${(100 * column) / width}%`;
    style.top = `${(100 * row) / height}%`;
    style.width = `${100 / width}%`;
    style.height = `${100 / height}%`;
  }, [row, column, width, height]);

  const go = (to: readonly [number, number]): void => {
    setMoved(true);
    setPlace(to);
  };
  const point = (event: PointerEvent) => {
    const box = map.current?.getBoundingClientRect();
    if (!box) return;
    const inside = (part: number, count: number) =>
      Math.min(count - 1, Math.max(0, Math.floor(part * count)));
    go([
      inside((event.clientY - box.top) / box.height, height),
      inside((event.clientX - box.left) / box.width, width),
    ]);
  };
  const step = (event: KeyboardEvent) => {
    const by = event.shiftKey ? 5 : 1;
    const [down, right] = {
      ArrowUp: [-by, 0],
      ArrowDown: [by, 0],
      ArrowLeft: [0, -by],
      ArrowRight: [0, by],
      Home: [-height, -width],
      End: [height, width],
    }[event.key] ?? [0, 0];
    if (!down && !right) return;
    event.preventDefault();
    go([
      Math.min(height - 1, Math.max(0, row + down!)),
      Math.min(width - 1, Math.max(0, column + right!)),
    ]);
  };

  const value = values[row * width + column] ?? 0;
  const { pixels, low, high } = useMemo(() => {
    const low = values.reduce((a, b) => Math.min(a, b), Infinity);
    const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
    const gray = Uint8Array.from(values, (one) =>
      high > low ? Math.round((255 * (one - low)) / (high - low)) : 0,
    );
    return { pixels: paint(gray, "viridis"), low, high };
  }, [values]);
  return (
    <div class="map-and-field">
      <figure>
        <div
          class="map"
          ref={map}
          role="application"
          tabIndex={0}
          aria-label={`Channel ${channel} of ${layer.name}, ${height} × ${width}: arrow keys move the position`}
          aria-describedby="field-words"
          onPointerMove={point}
          onPointerDown={point}
          onKeyDown={step}
        >
          <Pixels pixels={pixels} width={width} height={height} />
          <span class="marker" ref={marker} />
        </div>
        <figcaption>
          channel {channel}: {real(low)} to {real(high)}
          <span class="scale viridis" aria-hidden="true" />
        </figcaption>
      </figure>
      <figure>
        <Sight
          picture={picture}
          model={model.id}
          height={inputHeight}
          width={inputWidth}
          outlines={outlines}
          label={`The picture as the network sees it, with what position ${row}, ${column} sees`}
        />
        <figcaption>
          {rings.length === 0
            ? "Sees the whole picture, or is not known."
            : rings.length === 1
              ? "Solid: inside the picture. Dashed: all of the field."
              : "One ring for each branch."}
        </figcaption>
      </figure>
      <div id="field-words" class="field-words" aria-live="polite">
        <p>
          Position ({row}, {column}), value {real(value)}
        </p>
        <ul>
          {outlines.map(({ name, rectangle }, i) => {
            const [fieldHeight, fieldWidth] = size(rings[i]!.field);
            const out = over(rectangle, inputHeight, inputWidth);
            const beyond = (["top", "bottom", "left", "right"] as const)
              .filter((side) => out[side] > 0)
              .map((side) => `${out[side]} px over the ${side}`);
            return (
              <li key={name} class={`ring-${i % 6}`}>
                <span class="swatch" aria-hidden="true" />
                <span>
                  <code>{name}</code> sees {text([fieldHeight, fieldWidth])} pixels, rows{" "}
                  {rectangle.top} to {rectangle.bottom}, columns {rectangle.left} to{" "}
                  {rectangle.right}
                  {rings[i]!.field.exact ? "" : ", at most"}
                  {rings[i]!.field.gated && ", and through gates numbers of the whole picture"}
                  {beyond.length > 0 && <em>; {beyond.join(", ")}</em>}
                </span>
              </li>
            );
          })}
        </ul>
      </div>
    </div>
  );
}

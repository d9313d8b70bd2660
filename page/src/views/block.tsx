// The chosen block or layer: diagram, shape arithmetic, feature maps, code and paper figure.
import { useEffect, useMemo, useRef } from "preact/hooks";
import { describe, growth, work } from "../lib/arithmetic";
import { api, drawingUrl } from "../lib/api";
import { size, words } from "../lib/field";
import { draw } from "../lib/figure";
import {
  blockOf,
  enclosing,
  endOf,
  itemOf,
  keyOf,
  layerOf,
  readsPicture,
  type Graph,
  type Item,
  type Layer,
} from "../lib/graph";
import { bytes, shape as text, short, whole } from "../lib/numbers";
import { tokens } from "../lib/python";
import * as store from "../lib/store";
import type * as T from "../types";
import { colourTile, decode } from "../lib/pixels";
import { Answer, Pixels, useAsked } from "./asked";
import { FeatureMaps } from "./maps";
import { Facts, NoPicture, Section, Workings } from "./parts";

export function BlockTab({ graph, model }: { graph: Graph; model: T.Model }) {
  const item = store.chosen.value;
  if (!item) return <p class="message">Choose a block or a layer in the drawing.</p>;
  const layer = endOf(graph, item);
  const block = item.block ? blockOf(graph, item.name) : undefined;
  const picture = store.picture.value;
  if (!layer) return null;
  const cost = block?.cost ?? layer.cost;
  const kind = (block?.kind ?? layer.kind).replaceAll("_", " ");
  const around = enclosing(graph, item);
  const inner = block ?? around.at(-1);
  const reader = readsPicture(graph, item);
  return (
    <>
      <header class="title">
        {around.length > 0 && (
          <nav aria-label="Where it is">
            <ol>
              {around.map((outer) => (
                <li key={outer.name}>
                  <button
                    type="button"
                    class="link"
                    onClick={() => store.show({ block: outer.name, channel: null })}
                  >
                    {outer.name}
                  </button>
                </li>
              ))}
            </ol>
          </nav>
        )}
        <h2>{item.name}</h2>
        <p class="muted">
          {kind}
          {block?.source && <span class="tag">{source(block.source)}</span>}
        </p>
      </header>
      <Facts
        facts={[
          ["output", text(cost.output_shape)],
          ["parameters", whole(cost.parameters)],
          ["multiply-adds", short(cost.macs)],
          ["activations", bytes(cost.activation_bytes)],
          ["receptive field", cost.field ? words(cost.field) : "the whole picture"],
          ["stride", cost.field ? `${cost.field.rows.stride} px` : "-"],
        ]}
      />
      {block && <Diagram model={model.id} block={block.name} graph={graph} />}
      {!block && <LayerArithmetic graph={graph} layer={layer} />}
      <Section title="Feature maps">
        {picture ? (
          layer.output_shape.length === 3 ? (
            <FeatureMaps graph={graph} layer={layer} model={model} picture={picture.id} />
          ) : (
            <p class="muted">
              The output is a row of {text(layer.output_shape)} numbers, without rows and columns.
            </p>
          )
        ) : (
          <NoPicture />
        )}
      </Section>
      {reader && <Kernels model={model.id} layer={reader.name} />}
      {block && (
        <Section title="Shape arithmetic, layer by layer">
          <LayerTable graph={graph} layers={block.layers} />
        </Section>
      )}
      {inner && <CodeOf model={model} block={inner.name} />}
    </>
  );
}

/** "1502.03167" is a paper, "figure 5" is in the network's own. */
const source = (text: string): string => (/^\d{4}\.\d{4,5}$/.test(text) ? `arXiv:${text}` : text);

function Diagram({ model, block, graph }: { model: string; block: string; graph: Graph }) {
  const url = drawingUrl(model, { block, level: "blocks" });
  const asked = useAsked(url, (signal) => api.drawing(url, signal));
  const paper = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (asked.value === null || !paper.current) return;
    try {
      const svg = draw(asked.value, null, false);
      paper.current.replaceChildren(svg);
    } catch (error) {
      store.tell(store.messageOf(error) ?? "", "error");
    }
  }, [asked.value]);
  // The inside can also be chosen from the table below, so a click here is a short cut only.
  const click = (event: MouseEvent): void => {
    const part = (event.target as Element).closest<SVGElement>(".node");
    const name = part?.dataset["name"];
    if (!part || name === undefined) return;
    const item: Item = { name, block: part.dataset["block"] === "1" };
    const key = keyOf(graph, item);
    if (itemOf(graph, key)) store.show({ block: key, channel: null });
  };
  return (
    <Section title="Diagram">
      <Answer asked={asked} what="Drawing">
        {() => (
          <div
            class="diagram"
            ref={paper}
            tabIndex={0}
            role="region"
            aria-label={`Diagram of ${block}`}
            onClick={click}
          />
        )}
      </Answer>
    </Section>
  );
}

function LayerArithmetic({ graph, layer }: { graph: Graph; layer: Layer }) {
  const working = work(graph, layer);
  const fits =
    working && working.shape.join() === layer.output_shape.join()
      ? [
          ...working.lines,
          // What this page does not know of a layer it leaves out.
          ...[working.parameters].filter((line) => line.value === layer.cost.parameters),
          ...[working.macs].filter((line) => line.value === layer.cost.macs),
          ...growth(graph, layer),
        ]
      : null;
  return (
    <Section title="Shape arithmetic">
      <p>{describe(graph, layer)}</p>
      {layer.inputs.length > 0 && (
        <p class="muted">
          reads{" "}
          {layer.inputs.map((name, i) => (
            <span key={`${name} ${i}`}>
              {i > 0 && ", "}
              <button
                type="button"
                class="link"
                onClick={() =>
                  store.show({ block: keyOf(graph, { name, block: false }), channel: null })
                }
              >
                {name}
              </button>{" "}
              ({text(layerOf(graph, name)?.output_shape ?? [])})
            </span>
          ))}
        </p>
      )}
      {fits ? (
        <Workings lines={fits} label={`Working for ${layer.name}`} />
      ) : (
        <p class="muted">The output is {text(layer.output_shape)}.</p>
      )}
    </Section>
  );
}

function LayerTable({ graph, layers }: { graph: Graph; layers: readonly string[] }) {
  const rows = layers.flatMap((name) => layerOf(graph, name) ?? []);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Table of layers">
      <table>
        <thead>
          <tr>
            <th scope="col">Layer</th>
            <th scope="col">What</th>
            <th scope="col" class="number">
              Output
            </th>
            <th scope="col" class="number">
              Parameters
            </th>
            <th scope="col" class="number">
              Mult-adds
            </th>
            <th scope="col" class="number">
              Field
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((layer) => {
            const working = work(graph, layer);
            return (
              <tr key={layer.name}>
                <th scope="row">
                  <button
                    type="button"
                    class="link"
                    onClick={() =>
                      store.show({
                        block: keyOf(graph, { name: layer.name, block: false }),
                        channel: null,
                      })
                    }
                  >
                    {layer.name}
                  </button>
                </th>
                <td class="what">{describe(graph, layer)}</td>
                <td class="number">{text(layer.output_shape)}</td>
                <td
                  class="number"
                  title={working?.parameters.value ? working.parameters.live : undefined}
                >
                  {whole(layer.cost.parameters)}
                </td>
                <td class="number" title={working?.macs.value ? working.macs.live : undefined}>
                  {layer.cost.macs ? short(layer.cost.macs) : "0"}
                </td>
                <td class="number">{layer.field ? text(size(layer.field)) : "all"}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

/** The kernels that read the picture: they have its colours. */
function Kernels({ model, layer }: { model: string; layer: string }) {
  const asked = useAsked(`${model} ${layer}`, async () => {
    const filters = await api.filters({ model, layer });
    return { ...(await decode(filters.sprite)), filters };
  });
  return (
    <Section title={`Kernels of ${layer}`}>
      <Answer asked={asked} what="Fetching the kernels">
        {(sprite) => {
          const [height, width] = sprite.filters.tile;
          const count = sprite.filters.shape[3];
          return (
            <div class="maps kernels" role="img" aria-label={`${count} kernels of ${layer}`}>
              {Array.from({ length: count }, (_, i) => (
                <Pixels
                  key={i}
                  width={width}
                  height={height}
                  pixels={colourTile(sprite, sprite.filters.tile, sprite.filters.columns, i)}
                />
              ))}
            </div>
          );
        }}
      </Answer>
    </Section>
  );
}

function CodeOf({ model, block }: { model: T.Model; block: string }) {
  const asked = useAsked(`${model.id} ${block}`, (signal) => api.code(model.id, block, signal));
  return (
    <Section title="Code and paper">
      <Answer asked={asked} what="Reading the code">
        {(code) => (
          <>
            <p>
              <code>{code.function}</code>, {code.file}, line {code.first_line}
            </p>
            <p class="muted">
              {code.source && <>{source(code.source)} of the paper, </>}
              <span class="address">{code.paper}</span>
            </p>
            <Listing code={code.code} first={code.first_line} />
            {code.helpers.map((helper) => (
              <details key={helper.function}>
                <summary>
                  <code>{helper.function}</code>, which it calls
                </summary>
                <Listing code={helper.code} first={helper.first_line} />
              </details>
            ))}
          </>
        )}
      </Answer>
    </Section>
  );
}

function Listing({ code, first }: { code: string; first: number }) {
  const lines = useMemo(() => tokens(code), [code]);
  return (
    <pre class="code" tabIndex={0} role="region" aria-label="Source code">
      <code>
        {lines.map((line, i) => (
          <span class="line" key={i}>
            <span class="line-number" aria-hidden="true">
              {first + i}
            </span>
            {line.map(({ kind, text }, j) =>
              kind ? (
                <span key={j} class={`py-${kind}`}>
                  {text}
                </span>
              ) : (
                text
              ),
            )}
            {"\n"}
          </span>
        ))}
      </code>
    </pre>
  );
}

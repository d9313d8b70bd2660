// What does each shortcut and each branch carry? And what if it were cut?
import type { Measure } from "../lib/address";
import { api } from "../lib/api";
import { real } from "../lib/numbers";
import * as store from "../lib/store";
import type * as T from "../types";
import { Answer, useAsked } from "./asked";
import { NoPicture, Section, TopClasses, Untrained } from "./parts";

export function LedgerTab({ model }: { model: T.Model }) {
  const picture = store.picture.value;
  const { measure } = store.view.value;
  const cuts = store.cuts.value;
  const key = picture && `${model.id} ${picture.id}`;
  const whole = useAsked(key, () =>
    api.predict({ model: model.id, picture: picture!.id, cuts: [] }),
  );
  const ledger = useAsked(key && `${key} ${JSON.stringify(cuts)}`, () =>
    api.ledger({ model: model.id, picture: picture!.id, cuts }),
  );
  const title = (
    <header class="title">
      <h2>Residual ledger</h2>
      <p class="muted">
        What each shortcut and each branch carries of your picture, and what the network says
        without it.
      </p>
    </header>
  );
  if (!picture)
    return (
      <>
        {title}
        <NoPicture />
      </>
    );
  return (
    <>
      {title}
      <Untrained model={model} />
      <div class="versus">
        <Section title="Whole network">
          <Answer asked={whole} what="Asking the network">
            {({ top }) => <TopClasses top={top} label="Most probable classes, whole network" />}
          </Answer>
        </Section>
        <Section
          title={cuts.length === 1 ? "With 1 cut" : `With ${cuts.length} cuts`}
          aside={
            <button
              type="button"
              disabled={cuts.length === 0}
              onClick={() => {
                store.show({ cuts: [] });
                store.say("All cuts are mended.");
              }}
            >
              Mend all
            </button>
          }
        >
          <div aria-live="polite">
            <Answer asked={ledger} what="Asking the network">
              {({ top }) => (
                <TopClasses
                  top={top}
                  before={cuts.length ? whole.value?.top : undefined}
                  label="Most probable classes, with cuts"
                />
              )}
            </Answer>
          </div>
        </Section>
      </div>
      <fieldset class="segments">
        <legend class="hidden">Measure</legend>
        {(
          [
            ["rms", "root mean square"],
            ["l2", "Euclidean norm"],
          ] as const
        ).map(([one, name]) => (
          <label key={one}>
            <input
              type="radio"
              name="measure"
              checked={measure === one}
              onChange={() => store.show({ measure: one })}
            />
            <span>{name}</span>
          </label>
        ))}
      </fieldset>
      <Answer asked={ledger} what="Reckoning the ledger">
        {({ rows, branches }) => (
          <>
            {rows.length > 0 && <Residuals rows={rows} measure={measure} />}
            {branches.length > 0 && <Branches rows={branches} measure={measure} />}
            {rows.length + branches.length === 0 && (
              <p class="message">
                {model.title} has neither shortcuts nor branches: there is one path through it, and
                nothing to cut.
              </p>
            )}
          </>
        )}
      </Answer>
    </>
  );
}

function Bar({ value, most, kind }: { value: number; most: number; kind: string }) {
  return (
    <svg class={`bar ${kind}`} viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
      <rect class="rail" width="100" height="8" />
      <rect class="fill" width={most > 0 ? (100 * value) / most : 0} height="8" />
    </svg>
  );
}

function CutSwitch({
  layer,
  operand,
  cut,
  name,
  short,
}: {
  layer: string;
  operand: number;
  cut: boolean;
  name: string;
  short: string;
}) {
  return (
    <button
      type="button"
      class="cut"
      role="switch"
      aria-checked={cut}
      aria-label={`Cut ${name}`}
      onClick={() => {
        store.toggleCut(layer, operand);
        store.say(`${name} ${cut ? "mended" : "cut"}.`);
      }}
    >
      <span aria-hidden="true">✂</span> {short}
    </button>
  );
}

const isCut = (layer: string, operand: number): boolean =>
  store.view.value.cuts.some((cut) => cut.layer === layer && cut.operand === operand);

function Residuals({ rows, measure }: { rows: readonly T.ResidualRow[]; measure: Measure }) {
  const most = Math.max(
    ...rows.flatMap(({ norms }) => [norms.x[measure], norms.f[measure], norms.sum[measure]]),
  );
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Ledger of shortcuts">
      <table class="ledger">
        <thead>
          <tr>
            <th scope="col">Block</th>
            <th scope="col">x, the shortcut</th>
            <th scope="col">F(x), the residual</th>
            <th scope="col">x + F(x)</th>
            <th scope="col" class="number">
              cosine
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => {
            const cell = (part: "x" | "f" | "sum") => (
              <>
                <span class="norm">{real(row.norms[part][measure])}</span>
                <Bar value={row.norms[part][measure]} most={most} kind={part} />
              </>
            );
            const lost = isCut(row.add_layer, row.shortcut);
            const bare = isCut(row.add_layer, row.residual);
            return (
              <tr key={row.add_layer} class={lost || bare ? "cut" : ""}>
                <th scope="row">
                  <button
                    type="button"
                    class="link"
                    onClick={() => store.show({ block: row.block, channel: null })}
                  >
                    {row.block}
                  </button>
                  <span class="muted small">{row.kind}</span>
                </th>
                <td>
                  {cell("x")}
                  <CutSwitch
                    layer={row.add_layer}
                    operand={row.shortcut}
                    cut={lost}
                    name={`the shortcut of ${row.block}`}
                    short="shortcut"
                  />
                </td>
                <td>
                  {cell("f")}
                  <CutSwitch
                    layer={row.add_layer}
                    operand={row.residual}
                    cut={bare}
                    name={`the residual of ${row.block}`}
                    short="residual"
                  />
                </td>
                <td>{cell("sum")}</td>
                <td class="number">{row.cosine === null ? "-" : row.cosine.toFixed(2)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function Branches({ rows, measure }: { rows: readonly T.BranchRow[]; measure: Measure }) {
  const most = Math.max(...rows.map(({ norm }) => norm[measure]));
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Ledger of branches">
      <table class="ledger branches">
        <thead>
          <tr>
            <th scope="col">Block</th>
            <th scope="col">Branch, its end</th>
            <th scope="col" class="number">
              Channels
            </th>
            <th scope="col">Norm</th>
            <th scope="col">Cut</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row, i) => {
            const cut = isCut(row.layer, row.operand);
            const first = rows[i - 1]?.layer !== row.layer;
            return (
              <tr
                key={`${row.layer} ${row.operand}`}
                class={`${cut ? "cut" : ""}${first ? " first" : ""}`}
              >
                <th scope="row">
                  {first && (
                    <button
                      type="button"
                      class="link"
                      onClick={() => store.show({ block: row.block, channel: null })}
                    >
                      {row.block}
                    </button>
                  )}
                  {!first && <span class="hidden">{row.block}</span>}
                </th>
                <td>{row.branch}</td>
                <td class="number">{row.channels}</td>
                <td>
                  <span class="norm">{real(row.norm[measure])}</span>
                  <Bar value={row.norm[measure]} most={most} kind="f" />
                </td>
                <td>
                  <CutSwitch
                    layer={row.layer}
                    operand={row.operand}
                    cut={cut}
                    name={`branch ${row.branch} of ${row.block}`}
                    short="cut"
                  />
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

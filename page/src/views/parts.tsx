// Small things that several views show.
import type { ComponentChildren } from "preact";
import type * as T from "../types";
import type { Line } from "../lib/arithmetic";
import { percent, whole } from "../lib/numbers";
import * as store from "../lib/store";

/** The classes with the highest probabilities, as bars; `before` marks what has changed. */
export function TopClasses({
  top,
  label,
  before,
}: {
  top: readonly T.Answer[];
  label: string;
  before?: readonly T.Answer[] | undefined;
}) {
  const former = new Map(before?.map((one, rank) => [one.index, { rank, ...one }]));
  return (
    <ol class="top" aria-label={label}>
      {top.map((one, rank) => {
        const was = former.get(one.index);
        const moved = before
          ? was === undefined
            ? "new"
            : was.rank === rank
              ? ""
              : was.rank > rank
                ? `up from ${was.rank + 1}`
                : `down from ${was.rank + 1}`
          : "";
        return (
          <li key={one.index} class={moved ? "changed" : ""}>
            <span class="top-name">
              {one.name}
              {moved && <span class="tag">{moved}</span>}
            </span>
            <span class="top-value">{percent(one.probability)}</span>
            <meter
              min={0}
              max={1}
              value={one.probability}
              aria-label={`${one.name}: ${percent(one.probability)}`}
            />
          </li>
        );
      })}
    </ol>
  );
}

/** Working, line by line: formula, the same with live numbers, and what comes out. */
export function Workings({ lines, label }: { lines: readonly Line[]; label: string }) {
  return (
    <dl class="working" aria-label={label}>
      {lines.map((line) => (
        <div key={line.term}>
          <dt>{line.term}</dt>
          <dd>
            <span class="formula">{line.formula}</span>
            <span class="live">
              {line.live !== String(line.value) && <>= {line.live} </>}={" "}
              <strong>{whole(line.value)}</strong>
            </span>
          </dd>
        </div>
      ))}
    </dl>
  );
}

export function Section({
  title,
  children,
  aside,
}: {
  title: string;
  children: ComponentChildren;
  aside?: ComponentChildren;
}) {
  return (
    <section class="section" aria-label={title}>
      <header>
        <h3>{title}</h3>
        {aside}
      </header>
      {children}
    </section>
  );
}

export function Facts({ facts }: { facts: readonly (readonly [string, ComponentChildren])[] }) {
  return (
    <dl class="facts">
      {facts.map(([term, value]) => (
        <div key={term}>
          <dt>{term}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** Said where something needs a picture and none is chosen. */
export const NoPicture = () => <p class="message">Choose a picture first, in the tab “Picture”.</p>;

/** Random weights are honest about themselves. */
export const Untrained = ({ model }: { model: T.Model }) =>
  model.trained ? null : (
    <p class="message">
      {model.title} has random weights: shapes and costs are right, but what it says of a picture
      means nothing.
    </p>
  );

/** Maps and curves are the whole network's; said where the ledger has cuts, which hold elsewhere. */
export function Uncut() {
  const { length } = store.cuts.value;
  if (length === 0) return null;
  return (
    <p class="message">
      {length === 1
        ? "1 cut of the ledger is not in force here"
        : `${length} cuts of the ledger are not in force here`}
      : this is the whole network.
    </p>
  );
}

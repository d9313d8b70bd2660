// The architecture as live SVG: the server draws, the page moves it and makes it answer.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { api, drawingUrl } from "../lib/api";
import { draw } from "../lib/figure";
import {
  blockOf,
  enclosing,
  endOf,
  itemOf,
  keyOf,
  search,
  type Graph,
  type Item,
} from "../lib/graph";
import { LEVELS } from "../lib/address";
import { shape as text } from "../lib/numbers";
import * as store from "../lib/store";
import { useAsked } from "./asked";
import { FigureMenu } from "./figuremenu";

interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

type Part = SVGGraphicsElement & { dataset: DOMStringMap };

const SMALLEST = 0.08; // screen pixels per unit of the drawing
const LARGEST = 6;
const LEGIBLE = 0.9; // the scale at which a phone's reader reads the names
const NARROW = 560; // screen pixels

export function Architecture({ graph, id }: { graph: Graph; id: string }) {
  const { view } = store;
  const { layout, cuts } = view.value;
  const opened = store.opened.value;
  const query = {
    ...(view.value.opened === null ? { level: view.value.level } : { opened: view.value.opened }),
    unfolded: view.value.repeats,
  };
  const url =
    layout === "figure"
      ? drawingUrl(id, query)
      : `free ${layout} ${id} ${[...opened].sort().join(",")}`;
  const asked = useAsked(url, async (signal) =>
    layout === "figure"
      ? api.drawing(url, signal)
      : (await import("../lib/free")).arrange(graph, new Set(opened), layout),
  );

  const stage = useRef<HTMLDivElement>(null);
  const drawing = useRef<{ svg: SVGSVGElement; parts: Map<string, Part> } | null>(null);
  const box = useRef<Box | null>(null);
  const anchor = useRef<{ key: string; x: number; y: number } | null>(null);
  const wanted = useRef<string | null>(null); // what gets the focus and comes into sight
  const current = useRef<string | null>(null); // what the Tab key comes to
  const shownModel = useRef("");

  const apply = (next: Box): void => {
    box.current = next;
    drawing.current?.svg.setAttribute(
      "viewBox",
      `${next.x} ${next.y} ${next.width} ${next.height}`,
    );
  };
  const scale = (): number =>
    stage.current && box.current ? stage.current.clientWidth / box.current.width : 1;

  const home = (): Box => {
    const [x, y, width, height] = (drawing.current?.svg.dataset["home"] ?? "0 0 1 1")
      .split(" ")
      .map(Number) as [number, number, number, number];
    return { x, y, width, height };
  };
  const fit = (smallest = SMALLEST): void => {
    const room = stage.current;
    if (!room) return;
    const whole = home();
    const pad = 12;
    const natural = Math.min(
      (room.clientWidth - 2 * pad) / whole.width,
      (room.clientHeight - 2 * pad) / whole.height,
    );
    const by = Math.max(smallest, Math.min(1.3, natural));
    const [width, height] = [room.clientWidth / by, room.clientHeight / by];
    const place = (from: number, size: number, space: number) =>
      size <= space ? from - (space - size) / 2 : from - pad / by;
    apply({
      x: place(whole.x, whole.width, width),
      y: place(whole.y, whole.height, height),
      width,
      height,
    });
  };
  const zoom = (factor: number, at?: { x: number; y: number }): void => {
    const room = stage.current;
    const old = box.current;
    if (!room || !old) return;
    const by = Math.min(LARGEST, Math.max(SMALLEST, scale() * factor));
    const [width, height] = [room.clientWidth / by, room.clientHeight / by];
    const [fx, fy] = at ? [at.x / room.clientWidth, at.y / room.clientHeight] : [0.5, 0.5];
    apply({
      x: old.x + fx * (old.width - width),
      y: old.y + fy * (old.height - height),
      width,
      height,
    });
  };
  const pan = (dx: number, dy: number): void => {
    if (box.current)
      apply({ ...box.current, x: box.current.x + dx / scale(), y: box.current.y + dy / scale() });
  };

  /** Where a part stands, in units of the drawing. */
  const placeOf = (part: Part): Box => {
    const rectangle = part.getBBox();
    const toRoot = drawing.current?.svg.getScreenCTM()?.inverse().multiply(part.getScreenCTM()!);
    const [a, b] = [
      new DOMPoint(rectangle.x, rectangle.y).matrixTransform(toRoot),
      new DOMPoint(rectangle.x + rectangle.width, rectangle.y + rectangle.height).matrixTransform(
        toRoot,
      ),
    ];
    return { x: a.x, y: a.y, width: b.x - a.x, height: b.y - a.y };
  };
  const reveal = (part: Part): void => {
    const old = box.current;
    if (!old) return;
    const place = placeOf(part);
    const margin = 24 / scale();
    const shift = (from: number, size: number, start: number, space: number): number => {
      if (size + 2 * margin > space) return from - margin - start;
      if (from - margin < start) return from - margin - start;
      if (from + size + margin > start + space) return from + size + margin - start - space;
      return 0;
    };
    apply({
      ...old,
      x: old.x + shift(place.x, place.width, old.x, old.width),
      y: old.y + shift(place.y, place.height, old.y, old.height),
    });
  };

  // A new drawing takes the place of the old one, and what was just unfolded stays where it was.
  useLayoutEffect(() => {
    const room = stage.current;
    if (!room || asked.value === null) return;
    const had = document.activeElement;
    const focused = had && room.contains(had) && had !== room ? keyOfPart(graph, had) : null;
    let svg: SVGSVGElement;
    try {
      svg = draw(asked.value, graph);
    } catch (error) {
      store.tell(store.messageOf(error) ?? "", "error");
      return;
    }
    const parts = partsOf(graph, svg);
    drawing.current = { svg, parts };
    room.replaceChildren(svg);
    const kept = anchor.current;
    anchor.current = null;
    if (box.current === null || shownModel.current !== `${id} ${layout}`) {
      if (room.clientWidth >= NARROW) fit(0.45);
      else {
        // The width rather than the whole height, and what is chosen.
        fit(Math.max(0.45, Math.min(LEGIBLE, (room.clientWidth - 24) / home().width)));
        const { block } = view.value;
        const part = block === null ? undefined : shownBy(graph, parts, block);
        if (part) reveal(part);
      }
    } else {
      apply(box.current);
      const part = kept && parts.get(kept.key);
      if (part) {
        const place = placeOf(part);
        apply({ ...box.current, x: place.x - kept.x, y: place.y - kept.y });
        const after = box.current;
        if (place.width > after.width || place.height > after.height) reveal(part);
      }
    }
    shownModel.current = `${id} ${layout}`;
    mark();
    const target = wanted.current ?? focused;
    wanted.current = null;
    const part = target === null ? undefined : shownBy(graph, parts, target);
    if (part) {
      step(part, true);
    }
  }, [asked.value]);

  /** Show which part is chosen, which are cut, and which one the Tab key comes to. */
  const mark = (): void => {
    const shown = drawing.current;
    if (!shown) return;
    const { block } = view.value;
    const chosen = block === null ? undefined : shownBy(graph, shown.parts, block);
    const cut = new Set(
      cuts.flatMap(({ layer }) => {
        const part = shownBy(graph, shown.parts, keyOf(graph, { name: layer, block: false }));
        return part ? [part] : [];
      }),
    );
    const stop =
      (current.current === null ? undefined : shownBy(graph, shown.parts, current.current)) ??
      chosen ??
      [...shown.parts.values()][0];
    for (const part of new Set(shown.parts.values())) {
      part.classList.toggle("chosen", part === chosen);
      part.classList.toggle("has-cut", cut.has(part));
      if (part.getAttribute("role") === "button")
        part.setAttribute("aria-pressed", String(part === chosen));
      part.setAttribute("tabindex", part === stop ? "0" : "-1");
    }
  };
  useEffect(mark, [view.value.block, cuts, asked.value]);

  useEffect(() => {
    const room = stage.current;
    if (!room) return;
    let former = { width: room.clientWidth, height: room.clientHeight };
    const watch = new ResizeObserver(() => {
      const by = box.current ? former.width / box.current.width : 1;
      former = { width: room.clientWidth, height: room.clientHeight };
      if (box.current && former.width && by)
        apply({ ...box.current, width: former.width / by, height: former.height / by });
    });
    watch.observe(room);
    return () => watch.disconnect();
  }, []);

  const choose = (item: Item): void => {
    const tab = view.value.view;
    current.current = keyOf(graph, item);
    store.show({
      block: keyOf(graph, item),
      channel: null,
      view: tab === "picture" || tab === "compare" || tab === "quiz" ? "block" : tab,
      ...(tab === "explain" ? { at: keyOf(graph, item) } : {}),
    });
    const shape = endOf(graph, item)?.output_shape;
    store.say(`${item.name} chosen${shape ? `, ${text(shape)}` : ""}.`);
  };

  const fold = (name: string, open?: boolean): void => {
    const block = blockOf(graph, name);
    if (!block) return;
    const now = new Set(opened);
    const to = open ?? !now.has(name);
    if (to === now.has(name)) return;
    const part = drawing.current?.parts.get(name);
    if (part && box.current) {
      const place = placeOf(part);
      anchor.current = { key: name, x: place.x - box.current.x, y: place.y - box.current.y };
    }
    wanted.current = part && document.activeElement === part ? name : wanted.current;
    if (to) now.add(name);
    else {
      now.delete(name);
      for (const inner of graph.blocks)
        if (
          enclosing(graph, { name: inner.name, block: true }).some((outer) => outer.name === name)
        )
          now.delete(inner.name);
    }
    store.show({ opened: graph.blocks.map((one) => one.name).filter((one) => now.has(one)) });
    store.say(`${name} ${to ? "unfolded" : "folded"}.`);
  };

  /** Move the keyboard's place to a part. */
  const step = (part: Part | undefined, focus = true): void => {
    if (!part) return;
    current.current = keyOfPart(graph, part);
    for (const one of drawing.current?.parts.values() ?? [])
      one.setAttribute("tabindex", one === part ? "0" : "-1");
    if (focus) part.focus({ preventScroll: true });
    reveal(part);
  };

  const find = (item: Item): void => {
    const key = keyOf(graph, item);
    const around = enclosing(graph, item).map((block) => block.name);
    wanted.current = key;
    choose(item);
    if (around.every((name) => opened.includes(name))) {
      const part = drawing.current && shownBy(graph, drawing.current.parts, key);
      wanted.current = null;
      if (part) step(part);
    } else {
      const now = new Set([...opened, ...around]);
      store.show({ opened: graph.blocks.map((one) => one.name).filter((one) => now.has(one)) });
    }
  };

  const keys = (event: KeyboardEvent): void => {
    const shown = drawing.current;
    const part = (event.target as Element).closest<Part>(".node, .frame");
    if (!shown || event.ctrlKey || event.metaKey || event.altKey) return;
    const walk = order(graph, shown.parts);
    const here = part ? walk.indexOf(part) : -1;
    const key = part && keyOfPart(graph, part);
    const item = key ? itemOf(graph, key) : null;
    if (event.shiftKey && event.key.startsWith("Arrow")) {
      pan(
        { ArrowLeft: -60, ArrowRight: 60 }[event.key] ?? 0,
        { ArrowUp: -60, ArrowDown: 60 }[event.key] ?? 0,
      );
      event.preventDefault();
      return;
    }
    switch (event.key) {
      case "ArrowDown":
        step(walk[here + 1]);
        break;
      case "ArrowUp":
        step(walk[here < 0 ? 0 : here - 1]);
        break;
      case "Home":
        step(walk[0]);
        break;
      case "End":
        step(walk.at(-1));
        break;
      case "ArrowRight":
        if (part?.matches(".frame")) step(walk[here + 1]);
        else if (item?.block) fold(item.name, true);
        break;
      case "ArrowLeft":
        step(part?.parentElement?.closest<Part>(".frame") ?? undefined);
        break;
      case "Enter":
        if (item) choose(item);
        break;
      case " ":
        if (item?.block) fold(item.name);
        break;
      case "+":
        if (item?.block) fold(item.name, true);
        break;
      case "-":
        if (item?.block) fold(item.name, false);
        else step(part?.parentElement?.closest<Part>(".frame") ?? undefined);
        break;
      case ".":
        zoom(1.25);
        break;
      case ",":
        zoom(0.8);
        break;
      case "0":
        fit();
        break;
      default:
        return;
    }
    event.preventDefault();
  };

  // Dragging moves the drawing, two fingers or the wheel zoom it; a click without a drag chooses.
  const pointers = useRef(new Map<number, { x: number; y: number }>());
  const moved = useRef(0);
  const down = (event: PointerEvent): void => {
    if (event.button !== 0) return;
    if (pointers.current.size === 0) moved.current = 0;
    pointers.current.set(event.pointerId, { x: event.clientX, y: event.clientY });
  };
  const move = (event: PointerEvent): void => {
    const old = pointers.current.get(event.pointerId);
    const room = stage.current;
    if (!old || !room) return;
    const now = { x: event.clientX, y: event.clientY };
    moved.current += Math.abs(now.x - old.x) + Math.abs(now.y - old.y);
    if (moved.current > 4 && !room.hasPointerCapture(event.pointerId))
      room.setPointerCapture(event.pointerId);
    const others = [...pointers.current].filter(([id]) => id !== event.pointerId);
    const [second] = others;
    if (second) {
      const [, fixed] = second;
      const before = Math.hypot(old.x - fixed.x, old.y - fixed.y);
      const after = Math.hypot(now.x - fixed.x, now.y - fixed.y);
      const frame = room.getBoundingClientRect();
      if (before > 0)
        zoom(after / before, {
          x: (now.x + fixed.x) / 2 - frame.left,
          y: (now.y + fixed.y) / 2 - frame.top,
        });
    } else if (moved.current > 4) pan(old.x - now.x, old.y - now.y);
    pointers.current.set(event.pointerId, now);
  };
  const up = (event: PointerEvent): void => {
    pointers.current.delete(event.pointerId);
  };
  const click = (event: MouseEvent): void => {
    if (moved.current > 4) return;
    const part = (event.target as Element).closest<Part>(".node, .frame");
    const key = part && keyOfPart(graph, part);
    const item = key ? itemOf(graph, key) : null;
    if (!part || !item) return;
    step(part);
    choose(item);
  };
  const double = (event: MouseEvent): void => {
    const part = (event.target as Element).closest<Part>(".node, .frame");
    const key = part && keyOfPart(graph, part);
    const item = key ? itemOf(graph, key) : null;
    if (item?.block) fold(item.name);
  };
  useEffect(() => {
    const room = stage.current;
    if (!room) return;
    const wheel = (event: WheelEvent): void => {
      event.preventDefault();
      const frame = room.getBoundingClientRect();
      if (event.shiftKey) pan(event.deltaY, 0);
      else
        zoom(Math.exp(-event.deltaY * (event.deltaMode === 1 ? 0.05 : 0.0018)), {
          x: event.clientX - frame.left,
          y: event.clientY - frame.top,
        });
    };
    room.addEventListener("wheel", wheel, { passive: false });
    return () => room.removeEventListener("wheel", wheel);
  }, []);

  const item = store.chosen.value;
  const shut = item?.block ? !opened.includes(item.name) : null;
  return (
    <section class="architecture" aria-label="Architecture">
      <div class="toolbar" role="toolbar" aria-label="Drawing">
        <fieldset class="segments">
          <legend class="hidden">Level</legend>
          {LEVELS.map((level) => (
            <label key={level}>
              <input
                type="radio"
                name="level"
                checked={view.value.opened === null && view.value.level === level}
                onChange={() => store.show({ level, opened: null })}
              />
              <span>{level[0]!.toUpperCase() + level.slice(1)}</span>
            </label>
          ))}
        </fieldset>
        <button
          type="button"
          disabled={shut === null}
          onClick={() => item && fold(item.name)}
          aria-label={
            shut === null
              ? "Unfold the chosen block"
              : `${shut ? "Unfold" : "Fold"} ${item?.name ?? ""}`
          }
        >
          {shut === false ? "Fold" : "Unfold"}
        </button>
        <button
          type="button"
          class="toggle"
          aria-pressed={view.value.repeats}
          aria-label="Draw repeated blocks one by one"
          title="Draw repeated blocks one by one"
          onClick={() => store.show({ repeats: !view.value.repeats })}
        >
          ×N
        </button>
        <Search graph={graph} onFind={find} />
        <span class="group">
          <button type="button" aria-label="Zoom out" onClick={() => zoom(0.8)}>
            −
          </button>
          <button type="button" aria-label="Zoom in" onClick={() => zoom(1.25)}>
            +
          </button>
          <button type="button" onClick={() => fit()}>
            Fit
          </button>
        </span>
        <label class="pick">
          <span class="hidden">Layout</span>
          <select
            value={layout}
            onChange={(event) => store.show({ layout: event.currentTarget.value as typeof layout })}
          >
            <option value="figure">As figure</option>
            <option value="down">Free ↓</option>
            <option value="right">Free →</option>
          </select>
        </label>
        <FigureMenu model={id} query={query} free={layout !== "figure"} />
      </div>
      <div
        class={`stage${asked.waiting ? " waiting" : ""}`}
        aria-busy={asked.waiting}
        onKeyDown={keys}
        onPointerDown={down}
        onPointerMove={move}
        onPointerUp={up}
        onPointerCancel={up}
        onClick={click}
        onDblClick={double}
      >
        <div class="paper" ref={stage} />
        {asked.error !== null && (
          <p class="message error" role="alert">
            {asked.error}
          </p>
        )}
        <p class="hint" aria-hidden="true">
          drag, wheel, double click; <kbd>?</kbd> for keys
        </p>
      </div>
    </section>
  );
}

function keyOfPart(graph: Graph, part: Element): string {
  const { name = "", block, open } = (part as SVGElement).dataset;
  return keyOf(graph, { name, block: block === "1" || open === "1" });
}

/** Every block and layer by its key; the members of a folded run lead to the run. */
function partsOf(graph: Graph, svg: SVGSVGElement): Map<string, Part> {
  const parts = new Map<string, Part>();
  for (const part of svg.querySelectorAll<Part>(".node, .frame")) {
    const key = keyOfPart(graph, part);
    if (!parts.has(key)) parts.set(key, part);
    for (const member of part.dataset["members"]?.split(" ") ?? [])
      if (member && !parts.has(member)) parts.set(member, part);
  }
  return parts;
}

/** The part that is, or stands for, a block or layer. */
function shownBy(graph: Graph, parts: Map<string, Part>, key: string): Part | undefined {
  const direct = parts.get(key);
  if (direct) return direct;
  const item = itemOf(graph, key);
  if (!item) return undefined;
  for (const block of enclosing(graph, item).reverse()) {
    const part = parts.get(block.name);
    if (part) return part;
  }
  return undefined;
}

/** All parts along the data: a frame comes before what is inside. */
function order(graph: Graph, parts: Map<string, Part>): Part[] {
  const place = new Map(graph.layers.map((layer, i) => [layer.name, i]));
  const first = (part: Part): number => {
    const item = itemOf(graph, keyOfPart(graph, part));
    if (!item) return 0;
    const block = item.block ? blockOf(graph, item.name) : undefined;
    const layers = block ? block.layers : [item.name];
    return Math.min(...layers.map((name) => place.get(name) ?? Infinity));
  };
  const depth = (part: Part): number => {
    let n = 0;
    for (let at = part.parentElement; at; at = at.parentElement) n += Number(at.matches(".frame"));
    return n;
  };
  return [...new Set(parts.values())]
    .map((part) => ({ part, first: first(part), depth: depth(part) }))
    .sort((a, b) => a.first - b.first || a.depth - b.depth)
    .map(({ part }) => part);
}

/** A box to find blocks and layers in, by the pattern of a combobox with a list. */
function Search({ graph, onFind }: { graph: Graph; onFind: (item: Item) => void }) {
  const [words, setWords] = useState("");
  const [active, setActive] = useState(0);
  const input = useRef<HTMLInputElement>(null);
  const found = search(graph, words);
  const open = found.length > 0;
  const take = (item: Item | undefined): void => {
    if (!item) return;
    setWords("");
    onFind(item);
  };
  return (
    <div class="search">
      <input
        ref={input}
        id="search"
        type="search"
        role="combobox"
        aria-label="Search blocks and layers"
        aria-expanded={open}
        aria-controls="search-list"
        aria-autocomplete="list"
        {...(open ? { "aria-activedescendant": `search-${active}` } : {})}
        autocomplete="off"
        list={undefined}
        placeholder="Search  /"
        value={words}
        onInput={(event) => {
          setWords(event.currentTarget.value);
          setActive(0);
        }}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown") setActive(Math.min(found.length - 1, active + 1));
          else if (event.key === "ArrowUp") setActive(Math.max(0, active - 1));
          else if (event.key === "Enter") take(found[active]);
          else if (event.key === "Escape") {
            setWords("");
            input.current?.blur();
          } else return;
          event.preventDefault();
        }}
        onBlur={() => setTimeout(() => setWords(""), 150)}
      />
      <ul id="search-list" role="listbox" aria-label="Found" hidden={!open}>
        {found.map((item, i) => (
          <li
            key={keyOf(graph, item)}
            id={`search-${i}`}
            role="option"
            aria-selected={i === active}
            onPointerDown={(event) => event.preventDefault()}
            onClick={() => take(item)}
          >
            <span>{item.name}</span>
            <span class="muted">
              {(item.block
                ? blockOf(graph, item.name)?.kind.replaceAll("_", " ")
                : endOf(graph, item)?.kind) ?? ""}
            </span>
          </li>
        ))}
      </ul>
      {words !== "" && !open && (
        <p class="nothing" role="status">
          Nothing is called that.
        </p>
      )}
    </div>
  );
}

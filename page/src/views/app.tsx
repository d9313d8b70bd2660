import { useEffect, useRef } from "preact/hooks";
import { TABS, type Tab } from "../lib/address";
import * as store from "../lib/store";
import type * as T from "../types";
import { pictureUrl } from "../lib/api";
import { Architecture } from "./architecture";
import { BlockTab } from "./block";
import { CompareTab } from "./compare";
import { ExplainTab } from "./explain";
import { LedgerTab } from "./ledger";
import { PictureTab, usePastes } from "./picture";
import { QuizTab } from "./quiz";

const TITLES: Record<Tab, string> = {
  block: "Block",
  picture: "Picture",
  explain: "Explain",
  ledger: "Ledger",
  compare: "Compare",
  quiz: "Quiz",
};

export function App() {
  const over = usePastes();
  useEffect(() => {
    const keys = (event: KeyboardEvent): void => {
      const typing = (event.target as Element).matches(
        "input:not([type=radio], [type=checkbox], [type=range]), textarea, select",
      );
      if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "/") document.getElementById("search")?.focus();
      else if (event.key === "?") store.dialog.value = "keys";
      else if (/^[1-6]$/.test(event.key)) {
        const tab = TABS[Number(event.key) - 1]!;
        store.show({ view: tab });
        document.getElementById(`tab-${tab}`)?.focus();
      } else return;
      event.preventDefault();
    };
    document.addEventListener("keydown", keys);
    return () => document.removeEventListener("keydown", keys);
  }, []);

  const graph = store.graph.value;
  const model = store.model.value;
  if (store.fatal.value !== null)
    return (
      <main class="fatal">
        <h1>keras-classics explorer</h1>
        <p class="message error" role="alert">
          {store.fatal.value}
        </p>
        <button type="button" onClick={() => location.reload()}>
          Try again
        </button>
      </main>
    );
  if (!store.ready.value || !graph || !model)
    return (
      <main class="fatal" aria-busy="true">
        <h1>keras-classics explorer</h1>
        <p class="muted loading" role="status">
          <span class="spinner" aria-hidden="true" /> Reading the network …
        </p>
      </main>
    );
  return (
    <>
      <a class="skip-link" href="#panel" onClick={toPanel}>
        To the panel
      </a>
      <Header model={model} />
      <main class="layout">
        <h1 class="hidden">{model.title}</h1>
        <Architecture graph={graph} id={model.id} />
        <section class="panel" aria-label="Panel" id="panel" tabIndex={-1}>
          <Tabs />
          <div
            role="tabpanel"
            class="tabpanel"
            id="tabpanel"
            aria-labelledby={`tab-${store.view.value.view}`}
            tabIndex={0}
          >
            <Content />
          </div>
        </section>
      </main>
      <Messages />
      <Keys />
      {over && (
        <div class="dropping" aria-hidden="true">
          Drop the picture anywhere
        </div>
      )}
      <div class="hidden" role="status" aria-live="polite">
        {store.spoken.value}
      </div>
    </>
  );
}

// The address is the view's: a link into the page must leave it alone.
const toPanel = (event: Event): void => {
  event.preventDefault();
  document.getElementById("panel")?.focus();
};

function Content() {
  const graph = store.graph.value;
  const model = store.model.value;
  if (!graph || !model) return null;
  switch (store.view.value.view) {
    case "block":
      return <BlockTab graph={graph} model={model} />;
    case "picture":
      return <PictureTab model={model} />;
    case "explain":
      return <ExplainTab graph={graph} model={model} />;
    case "ledger":
      return <LedgerTab model={model} />;
    case "compare":
      return <CompareTab graph={graph} model={model} />;
    case "quiz":
      return <QuizTab graph={graph} model={model} />;
  }
}

function Header({ model }: { model: T.Model }) {
  const picture = store.picture.value;
  const { models, theme } = store;
  return (
    <header class="top-bar">
      <span class="brand">
        <img src="./icon.svg" alt="" width={24} height={24} />
        <span>keras-classics</span>
      </span>
      <label class="pick">
        <span class="hidden">Network</span>
        <select
          value={model.id}
          onChange={(event) => {
            store
              .useModel(event.currentTarget.value)
              .catch((error: unknown) => store.tell(store.messageOf(error) ?? "", "error"));
          }}
        >
          {models.value.map((one) => (
            <option key={one.id} value={one.id}>
              {one.title}
            </option>
          ))}
        </select>
      </label>
      <span class="weights">
        {model.trained ? model.weights : "random weights"}
        {model.width === 1 ? "" : `, width ${model.width}`}
      </span>
      <span class="spring" />
      {picture && (
        <button
          type="button"
          class="current-picture"
          onClick={() => store.show({ view: "picture" })}
          aria-label={`Picture: ${picture.name}`}
        >
          <img src={pictureUrl(picture.id, model.id)} alt="" />
          <span>{picture.name}</span>
        </button>
      )}
      <label class="pick">
        <span class="hidden">Colours</span>
        <select
          value={theme.value}
          onChange={(event) => {
            theme.value = event.currentTarget.value as store.Theme;
          }}
        >
          <option value="auto">Auto</option>
          <option value="light">Light</option>
          <option value="dark">Dark</option>
        </select>
      </label>
      <button
        type="button"
        class="round"
        aria-label="Keys"
        title="Keys"
        onClick={() => {
          store.dialog.value = "keys";
        }}
      >
        ?
      </button>
    </header>
  );
}

function Tabs() {
  const { view } = store.view.value;
  const list = useRef<HTMLDivElement>(null);
  const keys = (event: KeyboardEvent): void => {
    const here = TABS.indexOf(view);
    const to = {
      ArrowRight: (here + 1) % TABS.length,
      ArrowLeft: (here + TABS.length - 1) % TABS.length,
      Home: 0,
      End: TABS.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    store.show({ view: TABS[to]! });
    list.current?.querySelectorAll<HTMLElement>("[role=tab]")[to]?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label="Views" ref={list} onKeyDown={keys}>
      {TABS.map((tab) => (
        <button
          type="button"
          key={tab}
          id={`tab-${tab}`}
          role="tab"
          aria-selected={tab === view}
          aria-controls="tabpanel"
          tabIndex={tab === view ? 0 : -1}
          onClick={() => store.show({ view: tab })}
        >
          {TITLES[tab]}
        </button>
      ))}
    </div>
  );
}

function Messages() {
  return (
    <div class="messages" role="region" aria-label="Messages">
      <div aria-live="polite">
        {store.messages.value.map(({ id, text, kind }) => (
          <div
            key={id}
            class={`toast ${kind}`}
            {...(kind === "error" ? { role: "alert" as const } : {})}
          >
            <span>{text}</span>
            <button type="button" aria-label="Close the message" onClick={() => store.dismiss(id)}>
              ×
            </button>
          </div>
        ))}
      </div>
    </div>
  );
}

const KEYS: readonly (readonly [string, string])[] = [
  ["↓ ↑", "next and previous block or layer, along the data"],
  ["→", "unfold the block, or go into it"],
  ["←", "out of the block"],
  ["Home  End", "first and last block or layer"],
  ["Enter", "choose"],
  ["Space  +  −", "fold and unfold"],
  ["Shift + arrows", "move the drawing"],
  [".  ,  0", "zoom in, zoom out, fit"],
  ["/", "search"],
  ["1 to 6", "Block, Picture, Explain, Ledger, Compare, Quiz"],
  ["?", "these keys"],
  ["Esc", "close"],
];

function Keys() {
  const box = useRef<HTMLDialogElement>(null);
  const open = store.dialog.value === "keys";
  useEffect(() => {
    if (open && !box.current?.open) box.current?.showModal();
    if (!open && box.current?.open) box.current.close();
  }, [open]);
  return (
    <dialog
      ref={box}
      aria-labelledby="keys-title"
      onClose={() => {
        store.dialog.value = null;
      }}
      onClick={(event) => {
        if (event.target === box.current) box.current?.close();
      }}
    >
      <div class="sheet">
        <header>
          <h2 id="keys-title">Keys</h2>
          <button
            type="button"
            class="round"
            aria-label="Close"
            onClick={() => box.current?.close()}
          >
            ×
          </button>
        </header>
        <p class="muted">In the drawing (come to it with Tab):</p>
        <dl class="keys">
          {KEYS.map(([key, what]) => (
            <div key={key}>
              <dt>
                <kbd>{key}</kbd>
              </dt>
              <dd>{what}</dd>
            </div>
          ))}
        </dl>
      </div>
    </dialog>
  );
}

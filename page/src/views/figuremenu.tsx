// "Copy as figure": the server draws what is copied or saved, in the theme that the page shows.
// It knows no free layout: there the menu says that the figure layout is what one gets.
import { useRef, useState } from "preact/hooks";
import { api, drawingUrl, type DrawingQuery } from "../lib/api";
import * as store from "../lib/store";

export function FigureMenu({
  model,
  query,
  free,
}: {
  model: string;
  query: DrawingQuery;
  free: boolean;
}) {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  const opener = useRef<HTMLButtonElement>(null);
  const whole: DrawingQuery = {
    ...query,
    standalone: true,
    theme: store.dark.value ? "dark" : "light",
  };
  const layout = free ? " (figure layout)" : "";
  const close = (): void => {
    setOpen(false);
    opener.current?.focus();
  };

  const copy = async (): Promise<void> => {
    const url = drawingUrl(model, whole);
    try {
      const svg = await api.drawing(url);
      const said = await toClipboard(svg, () => api.blob(drawingUrl(model, whole, "png")));
      if (said) store.tell(said);
      else {
        save(new Blob([svg], { type: "image/svg+xml" }), `${model}.svg`);
        store.tell("This browser gives no access to the clipboard: the figure was saved instead.");
      }
    } catch (error) {
      store.tell(store.messageOf(error) ?? "", "error");
    }
    close();
  };
  const download = async (format: "svg" | "png" | "pdf"): Promise<void> => {
    try {
      save(await api.blob(drawingUrl(model, whole, format)), `${model}.${format}`);
      store.tell(`Saved ${model}.${format}.`);
    } catch (error) {
      store.tell(store.messageOf(error) ?? "", "error");
    }
    close();
  };

  return (
    <div
      class="menu"
      ref={box}
      onKeyDown={(event) => {
        if (event.key === "Escape" && open) {
          event.stopPropagation();
          close();
        }
      }}
      onFocusOut={(event) => {
        if (!box.current?.contains(event.relatedTarget as Node | null)) setOpen(false);
      }}
    >
      <button
        type="button"
        ref={opener}
        aria-expanded={open}
        aria-controls="figure-menu"
        onClick={() => setOpen(!open)}
      >
        Export <span aria-hidden="true">▾</span>
      </button>
      <div id="figure-menu" class="drop" role="group" aria-label="Export" hidden={!open}>
        <button type="button" onClick={() => void copy()}>
          Copy as figure{layout}
        </button>
        {(["svg", "png", "pdf"] as const).map((format) => (
          <button type="button" key={format} onClick={() => void download(format)}>
            Save as {format.toUpperCase()}
            {layout}
          </button>
        ))}
      </div>
    </div>
  );
}

/** What was copied, or null where the browser lets nothing be copied. */
async function toClipboard(svg: string, png: () => Promise<Blob>): Promise<string | null> {
  const clipboard = navigator.clipboard as Clipboard | undefined;
  if (!clipboard) return null;
  try {
    if (typeof ClipboardItem !== "undefined") {
      // No image/svg+xml: browsers would take the colours out of it before they copy it.
      await clipboard.write([
        new ClipboardItem({
          "text/plain": new Blob([svg], { type: "text/plain" }),
          "image/png": png(),
        }),
      ]);
      return "Copied as figure: a picture, and its SVG as text.";
    }
    await clipboard.writeText(svg);
    return "Copied as figure: its SVG as text.";
  } catch {
    try {
      await clipboard.writeText(svg);
      return "Copied as figure: its SVG as text.";
    } catch {
      return null;
    }
  }
}

export function save(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

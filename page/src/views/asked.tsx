import { useEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";
import { messageOf } from "../lib/store";

export interface Asked<A> {
  value: A | null;
  error: string | null;
  waiting: boolean;
}

/**
 * The answer to a question that changes with `key`; null asks nothing. The former answer stays
 * until the next one is there, so that nothing flickers.
 */
export function useAsked<A>(
  key: string | null,
  ask: (signal: AbortSignal) => Promise<A>,
  keep = true,
): Asked<A> {
  const [state, setState] = useState<Asked<A> & { key: string | null }>({
    value: null,
    error: null,
    waiting: key !== null,
    key,
  });
  useEffect(() => {
    if (key === null) {
      setState({ value: null, error: null, waiting: false, key });
      return;
    }
    const control = new AbortController();
    setState((old) => ({ value: keep ? old.value : null, error: null, waiting: true, key }));
    ask(control.signal).then(
      (value) => {
        if (!control.signal.aborted) setState({ value, error: null, waiting: false, key });
      },
      (error: unknown) => {
        if (!control.signal.aborted)
          setState({ value: null, error: messageOf(error), waiting: false, key });
      },
    );
    return () => control.abort();
  }, [key]);
  // Between a new question and its effect, the former answer must not pass for the new one.
  const stale = state.key !== key;
  return { ...state, value: stale && !keep ? null : state.value, waiting: state.waiting || stale };
}

/** What a question's answer looks like while it is waited for, and where it failed. */
export function Answer<A>({
  asked,
  what,
  children,
}: {
  asked: Asked<A>;
  what: string;
  children: (value: A) => ComponentChildren;
}) {
  // A short wait shows nothing.
  const [late, setLate] = useState(false);
  useEffect(() => {
    setLate(false);
    if (!asked.waiting) return;
    const timer = setTimeout(() => setLate(true), 250);
    return () => clearTimeout(timer);
  }, [asked.waiting]);
  return (
    <div class={asked.waiting && late ? "answer waiting" : "answer"} aria-busy={asked.waiting}>
      {asked.error !== null && (
        <p class="message error" role="alert">
          {asked.error}
        </p>
      )}
      {asked.waiting && asked.value === null && late && (
        <p class="muted loading">
          <span class="spinner" aria-hidden="true" /> {what} …
        </p>
      )}
      {asked.value !== null && children(asked.value)}
    </div>
  );
}

/** A canvas that is painted anew whenever its pixels change. */
export function Pixels({
  pixels,
  width,
  height,
  label,
  class: className,
  opacity,
}: {
  pixels: Uint8ClampedArray<ArrayBuffer>;
  width: number;
  height: number;
  label?: string;
  class?: string;
  opacity?: number;
}) {
  const ref = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const context = ref.current?.getContext("2d");
    if (width && height) context?.putImageData(new ImageData(pixels, width, height), 0, 0);
  }, [pixels, width, height]);
  useEffect(() => {
    if (ref.current) ref.current.style.opacity = String(opacity ?? 1);
  }, [opacity]);
  return (
    <canvas
      ref={ref}
      width={width}
      height={height}
      class={className}
      {...(label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" })}
    />
  );
}

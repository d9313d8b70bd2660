// Curves by uPlot, in the colours of the page.
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import * as store from "../lib/store";
import type * as T from "../types";

export interface Series {
  name: string;
  curve: T.Curve;
  dashed: boolean;
}

export function Chart({ series }: { series: readonly Series[] }) {
  const place = useRef<HTMLDivElement>(null);
  const dark = store.dark.value;
  useEffect(() => {
    const room = place.current;
    const [first] = series;
    if (!room || !first) return;
    const style = getComputedStyle(room);
    const colour = (name: string): string => style.getPropertyValue(`--${name}`).trim();
    const axis: uPlot.Axis = {
      stroke: colour("muted"),
      grid: { stroke: colour("line"), width: 1 },
      ticks: { stroke: colour("line"), width: 1 },
      font: "11px Inter, system-ui, sans-serif",
      labelFont: "11px Inter, system-ui, sans-serif",
      labelSize: 18,
    };
    const chart = new uPlot(
      {
        width: Math.max(200, room.clientWidth),
        height: 210,
        legend: { show: false },
        cursor: { y: false },
        scales: { x: { time: false, range: [0, 1] }, y: { range: [0, 1] } },
        axes: [
          { ...axis, label: "fraction of the pixels" },
          { ...axis, label: "probability" },
        ],
        series: [
          {},
          ...series.map(({ name, dashed }, i) => ({
            label: name,
            stroke: colour(`series-${i % 2}`),
            width: 2,
            points: { show: false },
            ...(dashed ? { dash: [4, 4], alpha: 0.8 } : {}),
          })),
        ],
      },
      [first.curve.fraction, ...series.map(({ curve }) => curve.probability)],
      room,
    );
    const watch = new ResizeObserver(() =>
      chart.setSize({ width: Math.max(200, room.clientWidth), height: 210 }),
    );
    watch.observe(room);
    return () => {
      watch.disconnect();
      chart.destroy();
    };
  }, [series.map(({ name, curve }) => `${name} ${curve.area}`).join(), dark]);
  return (
    <div
      class="chart"
      ref={place}
      role="img"
      aria-label={`Curves over the fraction of the pixels: ${series.map(({ name }) => name).join(", ")}; the same numbers stand in the table below`}
    />
  );
}

// The picture as the network sees it, with receptive fields drawn on it.
import type { ComponentChildren } from "preact";
import { pictureUrl } from "../lib/api";
import { clip, type Rectangle } from "../lib/field";

export interface Outline {
  name: string;
  rectangle: Rectangle;
}

/** How far beyond the border the frame shows, as parts of the picture's larger side. */
const [LEAST, MOST] = [0.12, 0.75];

export function Sight({
  picture,
  model,
  height,
  width,
  outlines,
  label,
  children,
}: {
  picture: string;
  model: string;
  height: number;
  width: number;
  outlines: readonly Outline[];
  label: string;
  children?: ComponentChildren;
}) {
  const side = Math.max(height, width);
  // As far as half of the largest field reaches, so that it does not change with the position.
  const reach = Math.max(0, ...outlines.map(({ rectangle: r }) => (r.bottom - r.top + 1) / 2));
  const margin = Math.round(Math.min(MOST * side, Math.max(LEAST * side, reach)));
  const unit = (side + 2 * margin) / 320;
  return (
    <svg
      class="sight"
      role="img"
      aria-label={label}
      viewBox={`${-margin} ${-margin} ${width + 2 * margin} ${height + 2 * margin}`}
    >
      <rect
        class="beyond"
        x={-margin}
        y={-margin}
        width={width + 2 * margin}
        height={height + 2 * margin}
      />
      <image
        href={pictureUrl(picture, model)}
        width={width}
        height={height}
        preserveAspectRatio="none"
      />
      {children}
      {outlines.map(({ name, rectangle }, i) => {
        const same = outlines.slice(0, i).filter((one) => equal(one.rectangle, rectangle)).length;
        const inside = clip(rectangle, height, width);
        const inset = same * 3 * unit; // rings that coincide stand inside one another
        return (
          <g key={name} class={`ring ring-${i % 6}`} data-ring={name}>
            {inside && <rect class="halo" stroke-width={4.6 * unit} {...sides(inside, inset)} />}
            <rect class="whole" stroke-width={1.6 * unit} {...sides(rectangle, inset)} />
            {inside && <rect class="inside" stroke-width={2.2 * unit} {...sides(inside, inset)} />}
          </g>
        );
      })}
    </svg>
  );
}

const sides = ({ top, left, bottom, right }: Rectangle, inset: number) => ({
  x: left + inset,
  y: top + inset,
  width: Math.max(0, right - left + 1 - 2 * inset),
  height: Math.max(0, bottom - top + 1 - 2 * inset),
});

const equal = (a: Rectangle, b: Rectangle): boolean =>
  a.top === b.top && a.left === b.left && a.bottom === b.bottom && a.right === b.right;

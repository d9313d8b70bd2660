// A drawing of the server made live: it takes the focus, and says what it is.
import type { Graph } from "./graph";

/** The drawing as an element of the page; throws where the text is no SVG. */
export function draw(source: string, graph: Graph | null, live = true): SVGSVGElement {
  const parsed = new DOMParser().parseFromString(source, "image/svg+xml");
  const root = parsed.documentElement;
  if (root.localName !== "svg" || root.querySelector("parsererror"))
    throw new Error("The server's drawing could not be read.");
  // Nothing but shapes and words belongs in it.
  for (const alien of root.querySelectorAll("script, foreignObject, style")) alien.remove();
  const svg = document.importNode(root, true) as unknown as SVGSVGElement;
  const home = svg.getAttribute("viewBox") ?? `0 0 ${width(svg)} ${height(svg)}`;
  svg.dataset["home"] = home;
  svg.setAttribute("viewBox", home);
  const title = svg.querySelector(":scope > title");
  if (!live || !graph) {
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", title?.textContent ?? svg.getAttribute("aria-label") ?? "");
    return svg;
  }
  svg.removeAttribute("width");
  svg.removeAttribute("height");
  // As role img would hide all inside from screen readers.
  svg.setAttribute("role", "group");
  svg.setAttribute("aria-label", `Drawing of ${title?.textContent ?? "the network"}`);
  svg.setAttribute("aria-roledescription", "diagram");
  title?.remove(); // or it would be the tooltip of everything
  for (const part of svg.querySelectorAll<SVGElement>(".node, .frame")) {
    const words = part.querySelector(":scope > title")?.textContent ?? part.dataset["name"] ?? "";
    const frame = part.classList.contains("frame");
    // Of a stack of cards, the one in front.
    const cards = [...part.children].filter((one) => one.matches("rect:not(.kc-badge)"));
    cards.at(-1)?.classList.add("face");
    part.setAttribute("tabindex", "-1");
    part.setAttribute("role", frame ? "group" : "button");
    part.setAttribute("aria-label", frame ? `${words} (unfolded)` : words);
    if (!frame && part.dataset["block"] === "1") part.setAttribute("aria-expanded", "false");
  }
  for (const edge of svg.querySelectorAll(".edge")) edge.setAttribute("aria-hidden", "true");
  return svg;
}

const width = (svg: SVGSVGElement): string => svg.getAttribute("width") ?? "100";
const height = (svg: SVGSVGElement): string => svg.getAttribute("height") ?? "100";

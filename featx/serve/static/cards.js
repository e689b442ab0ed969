// Images as cards: what the page shows of each, its own page, and the button that opens it large.

import { count, made, paint } from "/static/common.js";

export const nameOf = (image) => image.id ?? String(image.row);
export const titleOf = (image) =>
  image.name ?? image.metadata.name ?? image.metadata.title ?? `row ${image.row}`;
export const captionOf = (image) =>
  image.label === null ? titleOf(image) : `${image.label} · ${titleOf(image)}`;

// The address of an image's own page; what is no web address, such as javascript:, is none.
export function pageOf(image, column) {
  try {
    const { protocol, href } = new URL(image.metadata[column]);
    return protocol === "https:" || protocol === "http:" ? href : null;
  } catch {
    return null;
  }
}

export function pageLink(image, column, text) {
  const address = column && pageOf(image, column);
  if (!address) return null;
  const link = made("a", "page", text);
  link.href = address;
  link.rel = "noopener noreferrer";
  link.target = "_blank";
  link.setAttribute("aria-label", `${text}: ${captionOf(image)}`);
  return link;
}

function shape(name, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

// An SVG, since its attributes set a width without an inline style, which the policy forbids.
export function rail(share) {
  const svg = shape("svg", { class: "rail", "aria-hidden": "true" });
  for (const [name, width] of [["bed", 1], ["", share]]) {
    svg.append(shape("rect", { class: name, width: `${100 * width}%`, height: "100%" }));
  }
  return svg;
}

// How alike a match is: of instances the local features that agree, else the distance.
function measureOf({ inliers = null, distance }) {
  if (inliers !== null) return inliers ? [count(inliers, "feature"), inliers === 1 ? " agrees" : " agree"] : ["not verified"];
  return distance === undefined ? null : [distance.toFixed(3)];
}

// Draw where the query lies in a match, or a match in the query, over its picture.
export function drawOutline(frame, picture, corners) {
  frame.querySelector("svg")?.remove();
  if (!corners) return;
  const svg = shape("svg", { class: "region", "aria-hidden": "true" });
  const outline = shape("polygon", {});
  svg.append(outline);
  frame.append(svg);
  const fit = () => {
    const { naturalWidth: width, naturalHeight: height } = picture;
    if (!width) return;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    outline.setAttribute("points", corners.map(([x, y]) => `${x * width},${y * height}`).join(" "));
  };
  picture.addEventListener("load", fit);
  fit();
}

// ask(image) is called with what is clicked, look(image) with what is to be seen large.
export function cardOf(image, { ask, look, linkColumn }) {
  const item = made("div", "item");
  const button = made("button", "card");
  button.type = "button";
  const title = titleOf(image), what = image.label || title, measure = measureOf(image);
  button.title = image.path ?? title;
  button.dataset.row = image.row;
  const frame = made("span", "frame");
  const picture = made("img");
  picture.alt = "";
  frame.append(picture);
  const line = made("span", "line1");
  const far = made("span", image.inliers == null ? "far" : "far below");
  if (measure) {
    const [value, unit = ""] = measure;
    far.append(made("span", "unseen", image.inliers == null ? ", distance " : ", "), value, made("span", "unseen", unit));
  }
  line.append(made("span", "what", what));
  button.append(frame, line);
  (image.inliers == null ? line : button).append(far);
  if (image.label) button.append(made("span", "unseen", ", "), made("span", "where", title));
  button.addEventListener("click", () => ask(image, button.matches(":focus-visible")));
  const open = made("button", "zoom");
  open.append(made("span", "", "⤢"));
  open.type = "button";
  open.title = "Open large";
  open.setAttribute("aria-label", `Open large: ${what}, ${title}`);
  open.addEventListener("click", () => look(image));
  item.append(button, open);
  const link = pageLink(image, linkColumn, "Open its page");
  if (link) item.append(link);
  paint(picture, nameOf(image));
  drawOutline(frame, picture, image.outline);
  return item;
}

// Fill a section with cards; near-duplicates of a match stand below it.
export function fill(section, heads, matches, handlers) {
  section.hidden = heads.length === 0;
  section.querySelector("ol").replaceChildren(...heads.map((match) => {
    const item = made("li");
    item.append(cardOf(match, handlers));
    const same = matches.filter((other) => other.copy_of === match.row);
    if (same.length) {
      const box = made("div", "same");
      const row = made("div");
      row.append(...same.map((other) => cardOf(other, { ...handlers, linkColumn: null })));
      box.append(made("p", "", same.length === 1 ? "and a near-duplicate of it" : `and ${same.length} near-duplicates of it`), row);
      item.append(box);
    }
    return item;
  }));
}

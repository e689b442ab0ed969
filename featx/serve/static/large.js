// One picture large, with what is known of it; the arrows go through the others.

import { call, count, made } from "/static/common.js";
import { captionOf, drawOutline, nameOf, pageLink } from "/static/cards.js";

const at = (id) => document.getElementById(id);
const dialog = at("large");
let handlers = {}, shown = null, address = null;

// ask(image), close(), next(step) and change(image) are the page's.
export function prepareLarge(given) {
  handlers = given;
  at("large-close").addEventListener("click", () => dialog.close());
  at("large-ask").addEventListener("click", () => handlers.ask(shown));
  at("large-before").addEventListener("click", () => handlers.next(-1));
  at("large-after").addEventListener("click", () => handlers.next(1));
  dialog.addEventListener("close", () => {
    shown = null;
    handlers.close();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("keydown", (event) => {
    if (event.target.matches("input") || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) handlers.next(step);
  });
}

export const largeName = () => (shown ? nameOf(shown) : null);

export function closeLarge() {
  if (dialog.open) dialog.close();
}

export async function showLarge(image, place, linkColumn) {
  shown = image;
  if (!dialog.open) dialog.showModal();
  at("large-title").textContent = captionOf(image);
  at("large-place").textContent = place;
  const agree = image.inliers == null ? null : image.inliers ? `${count(image.inliers, "feature")} ${image.inliers === 1 ? "agrees" : "agree"}` : "not verified";
  const facts = [["distance", image.distance?.toFixed(4)], ["match", agree], ["label", image.label], ["file", image.name],
    ["path", image.path], ...Object.entries(image.metadata), ["id", image.id]].filter(([, value]) => value);
  at("large-facts").replaceChildren(...facts.flatMap(([name, value]) => {
    const link = pageLink({ ...image, metadata: { [name]: value } }, name, value);
    const fact = made("dd", "", link ? undefined : value);
    if (link) fact.append(link);
    return [made("dt", "", name), fact];
  }));
  const link = pageLink(image, linkColumn, "Open its page");
  at("large-link").replaceChildren(...(link ? [link] : []));
  handlers.change(image);
  await paintLarge(image);
}

async function paintLarge(image) {
  const picture = at("large-picture");
  picture.removeAttribute("src");
  drawOutline(picture.parentElement, picture, null);
  picture.alt = captionOf(image);
  at("large-problem").textContent = "";
  if (address) URL.revokeObjectURL(address);
  address = null;
  try {
    const blob = await (await call(`/thumbnails/${nameOf(image)}?size=large`)).blob();
    if (shown !== image) return;
    picture.src = address = URL.createObjectURL(blob);
    drawOutline(picture.parentElement, picture, image.outline);
  } catch (err) {
    if (shown === image) at("large-problem").textContent = err.message;
  }
}

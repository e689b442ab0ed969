// The page of featx serve: what is asked stands in the address, answers are drawn from it.

import { parameters, question, read, UNKEPT, write } from "/static/address.js";
import { captionOf, cardOf, drawOutline, fill, nameOf, rail } from "/static/cards.js";
import { drawChanges, offerChange, prepareChanges } from "/static/changes.js";
import { call, count, forgetThumbnails, made, openDoor, paint, unlock } from "/static/common.js";
import { drawFilters, showFilters } from "/static/filters.js";
import { closeLarge, largeName, prepareLarge, showLarge } from "/static/large.js";

const LOOK_MS = 15_000;  // between two looks whether the collection has changed
const at = (id) => document.getElementById(id);
let about = null;        // what /api/index said
let state = read();      // what the address says
let answered = "";       // the question that the shown answer is of
let answer = null;
let running = null;      // AbortController of the question under way
const files = new Map(); // uploads of this visit, by what the address or the history has

// ---- start, with or without a token

async function start() {
  await describe();
  at("main").hidden = false;
  await show();
}

async function describe() {
  about = await (await call("/api/index")).json();
  const n = about.n_samples;
  at("about").textContent = `${n.toLocaleString()} ${n === 1 ? "image" : "images"}, by ${about.metric === "instances" ? "local features that agree" : `${about.metric} distance`}`;
  at("label").replaceChildren(...[["", "any"], ...about.labels.map(({ label, n_samples }) => [label, `${label} (${n_samples})`])]
    .map(([value, text]) => {
      const option = made("option", "", text);
      option.value = value;
      return option;
    }));
  at("label-choice").hidden = about.labels.length === 0;
  at("words").hidden = !about.has_words;
  at("map").hidden = !about.has_map;
  drawFilters(about.columns, (filters) => go({ filters }));
  drawChanges(about);
  at("begin").querySelector("ol").replaceChildren(...about.examples.map((example) => {
    const item = made("li");
    item.append(cardOf(example, { ...handlers(), linkColumn: null }));
    return item;
  }));
  noteChange(about);
}

const handlers = () => ({ ask: askWith, look: (image) => go({ open: nameOf(image) }, { opened: true }), linkColumn: about.link_column });

// ---- the address

// Change what is asked, and so the address.
function go(changes, { replace = false, opened = false, focus = false } = {}) {
  state = { ...state, ...changes };
  history[replace ? "replaceState" : "pushState"]({ local: state.local, opened }, "", write(state));
  return show(focus);
}

function askWith(image, isKey) {
  scrollTo({ top: 0 });
  return go({ of: nameOf(image), local: null, text: "", open: null }, { focus: isKey });
}

addEventListener("popstate", () => {
  state = read();
  show(true);
});

// Show what the address says: the start, or an answer, and perhaps a picture of it large.
async function show(focus = false) {
  at("label").value = state.label;
  at("k").value = state.k;
  at("text").value = state.text;
  showFilters(state.filters);
  if (state.of === null && !state.text) {
    running?.abort();
    running = null;
    [answered, answer] = ["", null];
    at("found").hidden = at("help").hidden = true;
    at("begin").hidden = about.examples.length === 0;
    tell("");
    document.body.classList.remove("busy");
    document.body.classList.add("fresh");
  } else if (question(state) !== answered && !(await ask())) {
    return;
  } else if (focus && !state.open) {
    cards()[0]?.focus();
  }
  open();
}

// ---- asking

function tell(message) {
  at("problem").textContent = message;
  at("problem").hidden = !message;
}

async function ask() {
  running?.abort();
  const mine = (running = new AbortController());
  const asked = question(state);
  tell("");
  document.body.classList.add("busy");
  try {
    const begin = performance.now();
    const found = await (await send(mine.signal)).json();
    if (mine !== running) return false;
    [answered, answer] = [asked, found];
    noteChange(found);
    draw(performance.now() - begin);
    return true;
  } catch (err) {
    if (err.name === "AbortError" || mine !== running) return false;
    if (err.status === 401) unlock(true);
    else tell(explain(err));
    return false;
  } finally {
    if (mine === running) document.body.classList.remove("busy");
  }
}

function explain(err) {
  if (err.status !== 404) return err.message;
  return "The picture of this address is no longer in the collection, nor an upload that the server still keeps. Choose another.";
}

async function send(signal) {
  const query = parameters(state);
  if (state.of === null) return call(`/api/search?${query}`, { signal });
  const file = files.get(state.local ?? state.of);
  if (!file && state.of === UNKEPT) {
    const err = new Error("This address is of an uploaded picture, which the server does not keep: choose the picture again.");
    throw Object.assign(err, { status: 410 });
  }
  if (state.of !== UNKEPT) {
    try {
      return await call(`/api/neighbours/${state.of}?${query}`, { signal });
    } catch (err) {
      if (err.status !== 404 || !file) throw err;
    }
  }
  return upload(file, query, signal);
}

const upload = (file, query, signal) =>
  call(`/api/query?${query}`, { method: "POST", body: file, signal, headers: { "Content-Type": file.type } });

// Ask with a picture of one's own. Only the answer says under which name the server keeps it.
async function take(file) {
  if (!file || !about) return;
  if (file.size > about.max_upload_bytes) {
    return tell(`This file has ${(file.size / 1e6).toFixed(1)} MB; the server takes at most ${about.max_upload_bytes / 1e6} MB.`);
  }
  if (!file.type.startsWith("image/")) {
    return tell(`${file.name || "This"} is not an image.`);
  }
  running?.abort();
  const mine = (running = new AbortController());
  tell("");
  document.body.classList.add("busy");
  try {
    const begin = performance.now();
    const found = await (await upload(file, parameters(state), mine.signal)).json();
    if (mine !== running) return;
    const local = found.upload ?? `local-${files.size}`;
    files.set(local, file);
    state = { ...state, of: found.upload ?? UNKEPT, local, open: null };
    history.pushState({ local }, "", write(state));
    [answered, answer] = [question(state), found];
    noteChange(found);
    draw(performance.now() - begin);
  } catch (err) {
    if (err.name === "AbortError" || mine !== running) return;
    if (err.status === 401) return unlock(true);
    tell(err.message);
  } finally {
    if (mine === running) document.body.classList.remove("busy");
  }
}

// ---- showing

let shown = null;  // address of the query's own blob

function draw(milliseconds) {
  const { matches, prediction } = answer;
  document.body.classList.remove("fresh");
  at("found").hidden = at("help").hidden = false;
  at("begin").hidden = true;
  drawQuery();
  drawPrediction(prediction);
  const copies = matches.filter((match) => match.is_copy);
  fill(at("copies"), copies, matches, handlers());
  fill(at("others"), matches.filter((match) => !match.is_copy && match.copy_of === null), matches, handlers());
  at("none").hidden = matches.length > 0;
  at("none").textContent = state.filters.length || state.label ? "Nothing fits these filters." : "Nothing to show.";
  const parts = [`${count(matches.length, "neighbour")} in ${Math.round(milliseconds)} ms`];
  if (copies.length) parts.push(count(copies.length, "near-duplicate"));
  if (prediction?.labels.length) parts.push(`looks like ${prediction.labels.join(", ")}`);
  if (prediction?.is_unknown) parts.push("unlike anything the model was trained on");
  at("said").textContent = parts.join("; ");
}

function drawQuery() {
  const picture = at("picture"), file = files.get(state.local ?? state.of);
  if (shown) URL.revokeObjectURL(shown);
  shown = null;
  at("query-frame").hidden = state.of === null;
  if (file) {
    picture.dataset.row = "";
    picture.src = shown = URL.createObjectURL(file);
  } else if (state.of !== null) {
    paint(picture, state.of);
  }
  drawOutline(at("query-frame"), picture, answer.matches[0]?.outline_in_query);
  const name = file ? file.name || "pasted image" : answer.query ? captionOf(answer.query) : state.of && "uploaded image";
  at("caption").textContent = [name, state.text && `“${state.text}”`].filter(Boolean).join(" · ");
  at("without").hidden = state.of === null || !state.text;
  at("meant").textContent = answer.text.filter(({ text, names }) => names.join() !== text)
    .map(({ text, names }) => `${text}: ${names.slice(0, 5).join(", ")}${names.length > 5 ? ", and more" : ""}`).join("; ");
  const isUpload = state.of !== null && !answer.query;
  at("share").hidden = !isUpload;
  at("share").textContent = state.of === UNKEPT
    ? "The server does not keep this picture, so the address cannot be shared."
    : "Who has this page’s address sees this picture as long as the server keeps it.";
}

function drawPrediction(prediction) {
  at("prediction").hidden = !prediction;
  if (!prediction) return;
  at("strange").hidden = !prediction.is_unknown;
  const worth = prediction.scores.filter(({ label, probability }, i) =>
    i < 2 || probability >= .01 || prediction.labels.includes(label));
  at("scores").replaceChildren(...worth.map(({ label, probability }) => {
    const item = made("li", prediction.labels.includes(label) ? "chosen" : "");
    item.append(made("span", "", label), made("span", "", `${(100 * probability).toFixed(probability > .995 || probability < .005 ? 1 : 0)} %`));
    item.append(rail(probability));
    return item;
  }));
}

// ---- a picture large

const album = () => (answer ? answer.matches : about.examples);

function open() {
  const images = album();
  const i = images.findIndex((image) => [image.id, String(image.row)].includes(state.open));
  if (state.open === null || i < 0) return closeLarge();
  if (largeName() !== nameOf(images[i])) showLarge(images[i], `${i + 1} of ${images.length}`, about.link_column);
}

prepareLarge({
  ask: (image) => askWith(image, true),
  change: offerChange,
  next: (step) => {
    const images = album();
    const i = images.findIndex((image) => nameOf(image) === largeName());
    const to = images[(i + step + images.length) % images.length];
    go({ open: nameOf(to) }, { replace: true, opened: history.state?.opened });
  },
  close: () => {
    if (state.open === null) return;
    if (history.state?.opened) history.back();
    else go({ open: null }, { replace: true });
  },
});

// ---- a collection that changes

function noteChange({ collection, problem = null }) {
  const isOther = about !== null && collection !== about.collection;
  if (problem !== null || isOther) {
    at("notice-text").textContent = problem ?? "The collection has changed.";
    at("reload").hidden = !isOther;
  }
  at("notice").hidden = problem === null && !isOther;
}

async function look() {
  if (about === null || document.hidden) return;
  try {
    noteChange(await (await call("/health")).json());
  } catch { /* the next question says what is wrong */ }
}

async function reload() {
  forgetThumbnails();
  answered = "";
  await describe();
  await show();
}

at("reload").addEventListener("click", () => reload().catch((err) => tell(err.message)));
setInterval(look, LOOK_MS);
addEventListener("visibilitychange", look);
prepareChanges(async (message, name) => {
  closeLarge();
  try {
    if (name) Object.assign(state, { of: name, local: null, open: null });
    if (name) history.pushState({ local: null }, "", write(state));
    await reload();
  } catch (err) {
    tell(err.message);
  }
  at("said").textContent = message;
});

// ---- how images and wishes come in

at("file").addEventListener("change", (event) => {
  take(event.target.files[0]);
  event.target.value = "";  // so that the same file can be chosen again
});
addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((f) => f.type.startsWith("image/"));
  if (file) { event.preventDefault(); take(file); }
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  take(event.dataTransfer.files[0]);
});
for (const id of ["label", "k"]) {
  at(id).addEventListener("change", () => go({ [id]: at(id).value }));
}
at("without").addEventListener("click", () => go({ of: null, local: null, open: null }));
at("words").addEventListener("submit", (event) => {
  event.preventDefault();
  go({ text: at("text").value.trim(), open: null });
});
// ---- keys

const cards = () => [...document.querySelectorAll(".card")].filter((one) => one.offsetParent);

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("dialog")) return;
  const isTyping = event.target.matches("select, summary, input:not([type=file])");
  if (event.key === "/" && !isTyping) {
    event.preventDefault();
    at("file").focus();
    return;
  }
  const all = cards();
  const i = all.indexOf(document.activeElement);
  if (i < 0) {
    if (event.key === "ArrowDown" && !isTyping && all.length) {
      event.preventDefault();
      all[0].focus();
    }
    return;
  }
  if (event.key === "o") return all[i].nextElementSibling.click();
  const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: all.length - 1 }[event.key]
    ?? (event.key === "ArrowDown" ? beyond(all, i, 1) : event.key === "ArrowUp" ? beyond(all, i, -1) : null);
  if (to === null) return;
  event.preventDefault();
  all[to]?.focus();
});

// The card nearest to the middle of this one, in the rows below (1) or above (-1).
function beyond(all, i, way) {
  const from = all[i].getBoundingClientRect();
  let best = i, least = Infinity;
  all.forEach((one, j) => {
    const box = one.getBoundingClientRect();
    const down = way * (box.top - from.top);
    if (down < from.height / 2) return;
    const far = down + 3 * Math.abs(box.left + box.width / 2 - from.left - from.width / 2);
    if (far < least) [best, least] = [j, far];
  });
  return best;
}

openDoor(start);

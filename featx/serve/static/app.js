// The page of featx serve.

import { call, made, openDoor, paint, unlock } from "/static/common.js";

const at = (id) => document.getElementById(id);
let about = null;     // what /api/index said
let asked = [];       // what was asked so far: {file} or {row, label}; the browser's Back goes through
let current = -1;
let running = null;   // AbortController of the question under way
// ---- start, with or without a token

async function start() {
  about = await (await call("/api/index")).json();
  at("main").hidden = false;
  document.body.classList.add("fresh");
  const n = about.n_samples;
  at("about").textContent = `${n.toLocaleString()} ${n === 1 ? "image" : "images"}, by ${about.metric} distance`;
  for (const { label, n_samples } of about.labels) {
    const option = made("option", "", `${label} (${n_samples})`);
    option.value = label;
    at("label").append(option);
  }
  at("label-choice").hidden = about.labels.length === 0;
  at("begin").hidden = about.examples.length === 0;
  at("begin").querySelector("ol").replaceChildren(...about.examples.map((example) => {
    const item = made("li");
    item.append(card({ ...example, distance: null }));
    return item;
  }));
}

// ---- asking

function tell(message) {
  at("problem").textContent = message;
  at("problem").hidden = !message;
}

function askNew(question) {
  asked = [...asked.slice(0, current + 1), question];
  current = asked.length - 1;
  history.pushState({ current }, "");
  return ask(question);
}

async function ask(question, focus = false) {
  running?.abort();
  const mine = (running = new AbortController());
  tell("");
  document.body.classList.add("busy");
  const parameters = new URLSearchParams({ k: at("k").value });
  if (at("label").value) parameters.set("label", at("label").value);
  try {
    const begin = performance.now();
    const response = question.file
      ? await call(`/api/query?${parameters}`, {
          method: "POST", body: question.file, signal: mine.signal,
          headers: { "Content-Type": question.file.type },
        })
      : await call(`/api/neighbours/${question.row}?${parameters}`, { signal: mine.signal });
    const answer = await response.json();
    if (mine !== running) return;
    show(question, answer, performance.now() - begin);
    if (focus) cards()[0]?.focus();
  } catch (err) {
    if (err.name === "AbortError" || mine !== running) return;
    if (err.status === 401) return unlock(true);
    tell(err.message);
  } finally {
    if (mine === running) document.body.classList.remove("busy");
  }
}

function take(file) {
  if (!file || !about) return;
  if (file.size > about.max_upload_bytes) {
    return tell(`This file has ${(file.size / 1e6).toFixed(1)} MB; the server takes at most ${about.max_upload_bytes / 1e6} MB.`);
  }
  if (!file.type.startsWith("image/")) {
    return tell(`${file.name || "This"} is not an image.`);
  }
  askNew({ file });
}

// ---- showing

let shown = null;  // address of the query's own blob

async function show(question, { matches, prediction }, milliseconds) {
  document.body.classList.remove("fresh");
  at("found").hidden = at("help").hidden = false;
  at("begin").hidden = true;
  const picture = at("picture");
  if (shown) URL.revokeObjectURL(shown);
  shown = question.file ? URL.createObjectURL(question.file) : null;
  if (shown) picture.src = shown;
  else paint(picture, question.row);
  at("caption").textContent = question.file ? question.file.name || "pasted image" : question.text;
  showPrediction(prediction);
  const copies = matches.filter((match) => match.is_copy);
  fill("copies", copies, matches);
  fill("others", matches.filter((match) => !match.is_copy && match.copy_of === null), matches);
  at("none").hidden = matches.length > 0;
  const parts = [`${matches.length} neighbours in ${Math.round(milliseconds)} ms`];
  if (copies.length) parts.push(`${copies.length} near-duplicates`);
  if (prediction?.labels.length) parts.push(`looks like ${prediction.labels.join(", ")}`);
  if (prediction?.is_unknown) parts.push("unlike anything the model was trained on");
  at("said").textContent = parts.join("; ");
}

function showPrediction(prediction) {
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

// An SVG, since its attributes set a width without an inline style, which the policy forbids.
function rail(share) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "rail");
  svg.setAttribute("aria-hidden", "true");
  for (const [name, width] of [["bed", 1], ["", share]]) {
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    bar.setAttribute("class", name);
    bar.setAttribute("width", `${100 * width}%`);
    bar.setAttribute("height", "100%");
    svg.append(bar);
  }
  return svg;
}

function fill(id, heads, matches) {
  const section = at(id);
  section.hidden = heads.length === 0;
  section.querySelector("ol").replaceChildren(...heads.map((match) => {
    const item = made("li");
    item.append(card(match));
    const same = matches.filter((other) => other.copy_of === match.row);
    if (same.length) {
      const box = made("div", "same");
      const row = made("div");
      row.append(...same.map(card));
      box.append(made("p", "", same.length === 1 ? "and a near-duplicate of it" : `and ${same.length} near-duplicates of it`), row);
      item.append(box);
    }
    return item;
  }));
}

function card(match) {
  const button = made("button", "card");
  button.type = "button";
  const name = match.name ?? `row ${match.row}`;
  const what = match.label ?? name;
  const distance = match.distance?.toFixed(3);
  button.setAttribute("aria-label", [what, distance && `distance ${distance}`, name].filter(Boolean).join(", "));
  button.title = name;
  button.dataset.row = match.row;
  const frame = made("span", "frame");
  const image = made("img");
  image.alt = "";
  frame.append(image);
  const line = made("span", "line1");
  line.append(made("span", "what", what), made("span", "far", distance ?? ""));
  button.append(frame, line);
  if (match.label !== null) button.append(made("span", "where", name));
  button.addEventListener("click", () => {
    const isKey = button.matches(":focus-visible");
    scrollTo({ top: 0 });
    askNew({ row: match.row, text: match.label === null ? name : `${match.label} · ${name}` })
      .then(() => isKey && cards()[0]?.focus());
  });
  paint(image, match.row);
  return button;
}

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
  at(id).addEventListener("change", () => current >= 0 && ask(asked[current]));
}
addEventListener("popstate", (event) => {
  const to = event.state?.current ?? -1;
  current = to;
  if (to >= 0 && asked[to]) return ask(asked[to], true);
  running?.abort();
  running = null;
  at("found").hidden = at("help").hidden = true;
  at("begin").hidden = about.examples.length === 0;
  tell("");
  document.body.classList.remove("busy");
  document.body.classList.add("fresh");
});

// ---- keys

const cards = () => [...document.querySelectorAll(".card")].filter((one) => one.offsetParent);

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isTyping = event.target.matches("select, input:not([type=file])");
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

// The page of featx label. Text from the server or from files is set as text, never as HTML.
// Every stroke is on the disk before the server answers; what the page shows is what the file has.

import { call, made, openDoor, thumbnail } from "/static/common.js";

const at = (id) => document.getElementById(id);
const N = 24;
let state = null;      // what /api/state said last
let view = { kind: "suggestions" };  // or { kind: "likely", name } or { kind: "similar", row }
let shown = [];        // suggestions on the page, each with .done ("", a label, or "skipped") or .struck
let chosen = 0;        // position of the card with the focus
let queue = Promise.resolve();  // strokes go out one after another, in their order

// ---- start

openDoor(async () => {
  await refresh();
  at("main").hidden = false;
  await load();
  // A table of an audit's findings: all of it has labels, which is why it is opened.
  if (!shown.length && state.n_labels) { view = { kind: "review" }; await load(); }
  watch();
});

async function refresh() {
  state = await (await call("/api/state")).json();
  showState();
}

function say(message, isProblem = false) {
  at("problem").textContent = isProblem ? message : "";
  at("problem").hidden = !(isProblem && message);
  if (!isProblem && message) at("said").textContent = message;
}

function attempt(action) {
  queue = queue.then(action).catch((err) => say(err.message, true));
  return queue;
}

// ---- what is shown beside the grid

function showState() {
  const names = state.names;
  at("about").textContent = `${state.n_samples.toLocaleString()} images · ${state.labels_path}`;
  at("names-title").textContent = state.is_multilabel ? "Attributes" : "Classes";
  at("name-form").hidden = state.is_multilabel || view.kind === "likely";
  at("names").replaceChildren(...names.map(({ name, n_labels }, i) => {
    const item = made("li"), button = made("button");
    button.type = "button";
    button.append(made("kbd", "", i < 9 ? String(i + 1) : " "), made("span", "", name), made("span", "count", n_labels));
    button.addEventListener("click", () => give(name));
    item.append(button);
    return item;
  }));
  at("known").replaceChildren(...names.map(({ name }) => Object.assign(made("option"), { value: name })));
  at("n-labels").textContent = state.n_labels.toLocaleString();
  at("n-labels-unit").textContent = state.n_labels === 1 ? "label" : "labels";
  at("undo").disabled = !state.can_undo;
  at("notice").hidden = !state.messages.length;
  at("notice").textContent = state.messages.join(" · ");
  showMeasures();
}

const percent = (x, digits = 1) => `${(100 * x).toFixed(digits)} %`;

function showMeasures() {
  const m = state.measures;
  at("accuracy").hidden = m.accuracy === null;
  if (m.accuracy !== null) {
    at("accuracy-value").textContent = percent(m.accuracy);
    at("accuracy-interval").textContent = `(${percent(m.low, 0)} to ${percent(m.high, 0)})`;
    at("range").setAttribute("x", 100 * m.low);
    at("range").setAttribute("width", Math.max(100 * (m.high - m.low), 0.5));
    at("middle").setAttribute("x", 100 * m.accuracy - 0.4);
  }
  at("bought").textContent = m.bought === null ? ""
    : `The last 20 labels bought ${(100 * m.bought).toFixed(1)} points (${(100 * m.bought_low).toFixed(1)} to ${(100 * m.bought_high).toFixed(1)}).`;
  at("forecast").textContent = m.forecasts.length
    ? m.forecasts.slice(0, 3).map((f) => `${f.n_more} more: ${percent(f.accuracy, 0)}`).join(" · ") : "";
  at("advice").textContent = m.advice;
  at("train").disabled = !state.can_train;
}

// Accuracy is computed beside the strokes; this waits for it, and for what others write to the file.
async function watch() {
  for (;;) {
    await new Promise((done) => setTimeout(done, state.is_measuring ? 150 : 2000));
    if (document.hidden) continue;
    await attempt(refresh);
  }
}

// ---- the grid

async function load() {
  const paths = {
    suggestions: () => `/api/suggestions?n=${N}&strategy=${at("strategy").value}`,
    likely: () => `/api/likely?n=${N}&name=${encodeURIComponent(view.name)}`,
    review: () => `/api/doubtful?n=${N}`,
    similar: () => `/api/similar?n=${N}&row=${view.row}`,
  };
  document.body.classList.add("busy");
  try {
    shown = (await (await call(paths[view.kind]())).json()).suggestions;
  } finally {
    document.body.classList.remove("busy");
  }
  const titles = {
    suggestions: () => "Suggestions",
    likely: () => `Likely ${view.name}: strike out the wrong ones, then accept the rest`,
    review: () => "Labels to look at again, the most doubtful first: Enter keeps one",
    similar: () => "Similar images",
  };
  at("grid-title").textContent = titles[view.kind]();
  const isPage = view.kind === "likely";
  at("accept").hidden = at("back").hidden = !isPage;
  at("back").hidden = view.kind === "suggestions";
  at("strokes").hidden = isPage;
  at("name-form").hidden = isPage || state.is_multilabel;
  at("empty").hidden = shown.length > 0;
  at("empty").textContent = view.kind === "review" ? "No label is left to look at again." : "Every image has a label.";
  chosen = 0;
  at("grid").replaceChildren(...shown.map(card));
  focus(0);
}

function card(suggestion, i) {
  const item = made("li"), button = made("button", "card");
  button.type = "button";
  const frame = made("span", "frame"), line = made("span", "line1");
  frame.append(thumbnail(suggestion.row, suggestion.name));
  line.append(made("span", "what"), made("span", "far"));
  button.append(frame, line, made("span", "where"));
  if (state.is_multilabel) button.append(made("span", "traits"));
  button.append(Object.assign(made("span", "tick"), { hidden: true }));
  button.addEventListener("click", () => {
    const same = i === chosen;
    focus(i);
    if (view.kind === "likely") strike(i);
    else if (same && window.matchMedia("(pointer: coarse)").matches) acceptGuess();
  });
  button.addEventListener("focus", () => { if (chosen !== i) focus(i); });
  item.append(button);
  paint(button, suggestion);
  return item;
}

function paint(button, s) {
  const isDone = s.done !== undefined;
  button.classList.toggle("given", isDone);
  button.classList.toggle("struck", Boolean(s.struck));
  const guess = s.label === null ? "no guess yet" : s.label || "none";
  button.querySelector(".what").textContent = isDone ? s.done : guess;
  button.querySelector(".far").textContent = isDone || s.confidence === null ? "" : percent(s.confidence, 0);
  button.querySelector(".where").textContent = `${s.name} · ${s.reason}`;
  button.querySelector(".tick").hidden = !(isDone || s.struck);
  button.querySelector(".tick").textContent = s.struck ? "✗" : "✓";
  button.setAttribute("aria-label", `${s.name}, ${isDone ? `labelled ${s.done}` : `guess ${guess}`}${s.struck ? ", struck out" : ""}`);
  const traits = button.querySelector(".traits");
  if (traits) {
    traits.replaceChildren(...state.names.map(({ name }) => made("span", has(s, name) ? "on" : "", name)));
  }
}

const buttons = () => [...at("grid").querySelectorAll(".card")];

function focus(i) {
  const all = buttons();
  if (!all.length) return;
  chosen = Math.min(Math.max(i, 0), all.length - 1);
  all.forEach((button, k) => {
    button.setAttribute("aria-current", String(k === chosen));
    button.tabIndex = k === chosen ? 0 : -1;
  });
  all[chosen].focus({ preventScroll: false });
}

function advance() {
  const next = shown.findIndex((s, i) => i > chosen && s.done === undefined);
  const first = shown.findIndex((s) => s.done === undefined);
  if (next >= 0) return focus(next);
  if (first >= 0) return focus(first);
  return attempt(async () => {
    view = { kind: view.kind === "review" ? "review" : "suggestions" };
    await load();
  });
}

// ---- strokes

function post(path, body) {
  return call(path, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
}

function save(labels) {
  return attempt(async () => {
    // in a review the cards keep the labels that are to be looked at
    const rows = view.kind === "review" ? [] : shown.filter((s) => s.done === undefined).map((s) => s.row);
    const answer = await (await post("/api/labels", { labels, rows })).json();
    state = answer.state;
    for (const guess of answer.suggestions) {
      const mine = shown.find((s) => s.row === guess.row);
      if (mine && mine.done === undefined) Object.assign(mine, { label: guess.label, confidence: guess.confidence });
    }
    buttons().forEach((button, i) => paint(button, shown[i]));
    showState();
    say("");
  });
}

function give(name) {
  const s = shown[chosen];
  if (!s) return;
  if (view.kind === "likely") return;
  if (state.is_multilabel) {
    s.traits = toggled(s, name);
    paint(buttons()[chosen], s);
    return;
  }
  s.done = name || "none of these";
  paint(buttons()[chosen], s);
  at("said").textContent = `${s.name}: ${s.done}`;
  save([{ row: s.row, label: name }]);
  advance();
}

const guessed = (s) => (s.label ? s.label.split(";") : []);
const has = (s, name) => (s.traits ?? guessed(s)).includes(name);
const toggled = (s, name) => (has(s, name) ? (s.traits ?? guessed(s)).filter((n) => n !== name) : [...(s.traits ?? guessed(s)), name]);

function acceptGuess() {
  const s = shown[chosen];
  if (!s || s.done !== undefined) return;
  if (state.is_multilabel) {
    const traits = s.traits ?? guessed(s);
    s.done = traits.join(", ") || "none";
    paint(buttons()[chosen], s);
    save([{ row: s.row, label: traits }]);
    return advance();
  }
  if (s.label) give(s.label);
}

function skip() {
  const s = shown[chosen];
  if (!s || s.done !== undefined) return;
  s.done = "skipped";
  paint(buttons()[chosen], s);
  attempt(() => post("/api/skip", { rows: [s.row] }));
  advance();
}

function strike(i) {
  shown[i].struck = !shown[i].struck;
  paint(buttons()[i], shown[i]);
}

function acceptPage() {
  const kept = shown.filter((s) => !s.struck);
  const label = state.is_multilabel ? null : view.name;
  const labels = kept.map((s) => ({ row: s.row, label: state.is_multilabel ? { [view.name]: true } : label }));
  for (const s of kept) s.done = view.name;
  save(labels);
  attempt(async () => { say(`${labels.length} images are ${view.name}.`); await load(); });
}

function undo() {
  attempt(async () => {
    const answer = await (await post("/api/undo", {})).json();
    state = answer.state;
    for (const s of shown) if (answer.rows.includes(s.row)) { delete s.done; delete s.traits; }
    buttons().forEach((button, i) => paint(button, shown[i]));
    showState();
    const i = shown.findIndex((s) => answer.rows.includes(s.row));
    if (i >= 0) focus(i);
    say(`Undone: ${answer.rows.length} images.`);
  });
}

function open(next) {
  attempt(async () => {
    const before = view;
    view = next;
    try { await load(); } catch (err) { view = before; throw err; }
    say("");
  });
}

function train() {
  at("train").disabled = true;
  at("trained").textContent = "Training …";
  attempt(async () => {
    try {
      const result = await (await post("/api/train", {})).json();
      at("trained").textContent = `Saved to ${result.out}: accuracy ${percent(result.cv_score)} cross-validated, ${result.n_samples} images.`;
    } catch (err) {
      at("trained").textContent = "";
      throw err;
    } finally {
      at("train").disabled = !state.can_train;
    }
  });
}

// ---- buttons and keys

at("name-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = at("name").value.trim();
  at("name").value = "";
  if (name) give(name);
  else focus(chosen);
});
at("guess").addEventListener("click", acceptGuess);
at("none").addEventListener("click", () => (state.is_multilabel ? acceptNone() : give("")));
at("skip").addEventListener("click", skip);
at("undo").addEventListener("click", undo);
at("more").addEventListener("click", () => open({ kind: "suggestions" }));
at("review").addEventListener("click", () => open({ kind: "review" }));
at("strategy").addEventListener("change", () => open({ kind: "suggestions" }));
at("back").addEventListener("click", () => open({ kind: "suggestions" }));
at("accept").addEventListener("click", acceptPage);
at("similar").addEventListener("click", () => openSimilar());
at("likely").addEventListener("click", () => openLikely());
at("train").addEventListener("click", train);

function acceptNone() {
  shown[chosen].traits = [];
  acceptGuess();
}
const openSimilar = () => shown[chosen] && open({ kind: "similar", row: shown[chosen].row });
function openLikely() {
  const s = shown[chosen];
  const name = s?.done !== undefined && s.done !== "skipped" ? s.done : s?.label?.split(";")[0];
  if (name) open({ kind: "likely", name });
}

function columns() {
  const all = buttons();
  const top = all[0]?.getBoundingClientRect().top;
  return Math.max(all.findIndex((button) => button.getBoundingClientRect().top > top), 1);
}

const STEPS = { ArrowLeft: () => -1, ArrowRight: () => 1, ArrowUp: () => -columns(), ArrowDown: () => columns() };
const KEYS = {
  "-": () => at("none").click(), u: undo, n: () => at("more").click(), r: () => at("review").click(), s: openSimilar, l: openLikely, t: train,
  Escape: () => view.kind !== "suggestions" && at("back").click(),
  " ": () => (view.kind === "likely" ? strike(chosen) : skip()),
  Enter: () => (view.kind === "likely" ? acceptPage() : acceptGuess()),
};

document.addEventListener("keydown", (event) => {
  if (!state || at("main").hidden || event.altKey || event.metaKey) return;
  if (event.ctrlKey) {
    if (event.key === "z") { event.preventDefault(); undo(); }
    return;
  }
  const target = event.target;
  if (target.matches("input, select")) {
    if (event.key === "Escape") { target.blur(); focus(chosen); }
    return;
  }
  if (target.matches("button:not(.card)") && (event.key === " " || event.key === "Enter")) return;
  if (event.key in STEPS) { event.preventDefault(); return focus(chosen + STEPS[event.key]()); }
  if (event.key in KEYS) { event.preventDefault(); return KEYS[event.key](); }
  if (/^[1-9]$/.test(event.key)) {
    const name = state.names[Number(event.key) - 1]?.name;
    if (name) { event.preventDefault(); give(name); }
    return;
  }
  if (event.key.length === 1 && !state.is_multilabel) {
    event.preventDefault();
    at("name").value = event.key === "/" ? "" : event.key;
    at("name").focus();
  }
});

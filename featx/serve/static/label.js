// The page of featx label. Text from the server or from files is set as text, never as HTML.
// Every stroke is on the disk before the server answers; what the page shows is what the file has.

import { call, count, letBreak, made, openDoor, thumbnail } from "/static/common.js";
import { nameOfKey, openNames, showNames, type } from "/static/label_names.js";

const at = (id) => document.getElementById(id);
const N = 24;
const READ_MS = 400;   // from then on somebody has read what stands under the framed image
let state = null;      // what /api/state said last
let view = { kind: "suggestions" };
let shown = [];        // suggestions on the page, each with .done ("", a label, or "skipped") or .struck
let chosen = 0;        // position of the card with the focus
let framedAt = 0;      // when the chosen card was framed
let guessedAt = -1;    // revision of the labels that the guesses on the page know
let dismissed = "";    // the notice that was closed
let queue = Promise.resolve();  // strokes go out one after another, in their order
let n_revisions = 0;   // in the queue

// The kinds of view: where the images come from, the title, and what there is to do.
const VIEWS = {
  suggestions: {
    path: () => `/api/suggestions?n=${N}&strategy=${at("strategy").value}`,
    title: () => "Suggestions",
    hint: hintOfSuggestions,
    empty: () => "Every image has a label. Train a model, or review the labels.",
  },
  likely: {
    path: () => `/api/likely?n=${N}&name=${encodeURIComponent(view.name)}`,
    title: () => `Likely ${view.name}`,
    hint: () => isTouch() ? `Tap the images that are not ${view.name}, then accept the rest.`
      : `Strike out the images that are not ${view.name} (arrows and space, or a click), then accept the rest.`,
    empty: () => "No image without a label is left.",
  },
  review: {
    path: () => `/api/doubtful?n=${N}`,
    title: () => "Labels to look at again",
    hint: () => isTouch() ? "The most doubtful come first. Tap a picture twice to keep its label, or give another class."
      : "The most doubtful come first. Enter keeps a label; another class replaces it.",
    empty: () => "No label is left to look at again.",
  },
  words: {
    path: () => `/api/words?n=${N}&text=${encodeURIComponent(view.text)}`,
    title: () => `What “${view.text}” finds`,
    hint: () => `Images without a label, what fits best first. ${hintOfSuggestions()}`,
    empty: () => "No image without a label is left.",
  },
  similar: {
    path: () => `/api/similar?n=${N}&row=${view.row}`,
    title: () => "Similar images",
    hint: () => `What looks most like ${view.of}, labelled or not.`,
    empty: () => "",
  },
};

const isTouch = () => window.matchMedia("(hover: none) and (pointer: coarse)").matches;

function hintOfSuggestions() {
  if (state.is_multilabel) {
    return isTouch() ? "Tap a picture, switch its attributes, and tap it again to keep them."
      : "Switch the attributes of the framed picture with the number keys; Enter keeps them.";
  }
  const what = isTouch() ? "Tap a picture, then" : "What is the framed picture?";
  if (!state.names.length) return isTouch() ? `${what} type its class.` : `${what} Type its class, then press Enter.`;
  if (!state.can_train && !shown.some((s) => s.label)) return isTouch() ? `${what} tap its class or type another. Guesses begin when two classes have labels.`
    : `${what} Press the number of its class, or type another. Guesses begin when two classes have labels.`;
  return isTouch() ? "Tap a picture twice to accept its guess, or once and then a class."
    : "Enter accepts the guess of the framed picture; a number or a typed class corrects it.";
}

// ---- start

openDoor(async () => {
  await refresh();
  at("empty").textContent = `Looking for what to label first among ${count(state.n_samples, "image")} …`;
  at("empty").hidden = at("main").hidden = false;
  await load();
  // A table of an audit's findings: all of it has labels, which is why it is opened.
  if (!shown.length && state.n_labels) { view = { kind: "review" }; await load(); }
  watch();
});

async function refresh() {
  state = await (await call("/api/state")).json();
  showState();
}

const showHint = () => { at("hint").textContent = shown.length ? VIEWS[view.kind].hint() : ""; };

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
  at("about").textContent = `${count(state.n_samples, "image")} · ${state.labels_path}`;
  at("names-title").textContent = state.is_multilabel ? "Attributes" : "Classes";
  at("likely-text").textContent = `More of this ${state.is_multilabel ? "attribute" : "class"}`;
  paintNames();
  at("n-labels").textContent = state.n_labels.toLocaleString();
  at("n-labels-unit").textContent = `of ${state.n_samples.toLocaleString()} ${state.n_samples === 1 ? "image has" : "images have"} a label`;
  at("undo").disabled = !state.can_undo;
  const message = state.messages.join(" · ");
  at("notice").hidden = !message || message === dismissed;
  at("notice-text").textContent = message;
  showHint();
  showMeasures();
}

function paintNames() {
  const s = shown[chosen];
  const traits = s && state.is_multilabel ? state.names.filter(({ name }) => has(s, name)).map(({ name }) => name) : [];
  showNames(state.names, state.is_multilabel ? traits : [s?.done], state.is_multilabel);
  at("strip").classList.toggle("idle", view.kind === "likely");
  if (view.kind === "likely") at("name-form").hidden = true;
}

const percent = (x, digits = 1) => `${(100 * x).toFixed(digits)} %`;

function showMeasures() {
  const m = state.measures;
  at("accuracy").hidden = m.accuracy === null;
  if (m.accuracy !== null) {
    at("accuracy-value").textContent = percent(m.accuracy);
    at("accuracy-interval").textContent = `(${(100 * m.low).toFixed(0)} to ${percent(m.high, 0)})`;
    at("range").setAttribute("x", 100 * m.low);
    at("range").setAttribute("width", Math.max(100 * (m.high - m.low), 0.5));
    at("middle").setAttribute("x", 100 * m.accuracy - 0.4);
  }
  at("bought").textContent = m.bought === null ? ""
    : `The last 20 labels added ${(100 * m.bought).toFixed(1)} points (${(100 * m.bought_low).toFixed(1)} to ${(100 * m.bought_high).toFixed(1)}).`;
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
    if (state.revision !== guessedAt) await revise();
  }
}

// ---- the grid

async function load() {
  const { path, title, empty } = VIEWS[view.kind];
  document.body.classList.add("busy");
  try {
    shown = (await (await call(path())).json()).suggestions;
    guessedAt = state.revision;
  } finally {
    document.body.classList.remove("busy");
  }
  at("grid-title").textContent = title();
  showHint();
  const isPage = view.kind === "likely";
  at("accept").hidden = !isPage;
  at("more").hidden = at("review").hidden = at("choose").hidden = isPage;
  countKept();
  at("back").hidden = view.kind === "suggestions";
  at("strokes").hidden = isPage;
  at("guess-text").textContent = view.kind === "review" ? "Keep the label" : state.is_multilabel ? "Keep these" : "Accept the guess";
  at("empty").hidden = shown.length > 0;
  at("empty").textContent = empty();
  chosen = 0;
  at("grid").replaceChildren(...shown.map(card));
  paintNames();
  focus(0, document.activeElement !== at("name"));  // who types already goes on
}

// Get guesses that know the last labels, and what others have labelled on this page.
function revise() {
  n_revisions += 1;
  document.body.classList.add("revising");
  return attempt(reviseNow);
}

async function reviseNow() {
  n_revisions -= 1;
  if (n_revisions) return;  // the last stroke in the queue will
  const rows = shown.map((s) => s.row);
  let answer;
  try {
    answer = await (await post("/api/guesses", { rows })).json();
  } finally {
    document.body.classList.remove("revising");
  }
  guessedAt = answer.revision;
  if (view.kind === "review") return;  // its cards keep the labels that are to be looked at
  for (const guess of answer.suggestions) {
    const mine = shown.find((s) => s.row === guess.row);
    if (!mine || mine.done !== undefined) continue;
    // Who is about to accept the guess of the framed image shall not accept another one.
    const isRead = mine === shown[chosen] && Date.now() - framedAt > READ_MS && mine.label !== null;
    if (!isRead) Object.assign(mine, { label: guess.label, confidence: guess.confidence });
    if (!isRead && view.kind !== "words") mine.reason = guess.reason;
    const given = answer.given[guess.row];
    if (given && view.kind === "suggestions") Object.assign(mine, { done: given.join(", ") || "none of these", isOthers: true });
  }
  buttons().forEach((button, i) => paint(button, shown[i]));
  paintNames();
}

function card(suggestion, i) {
  const item = made("li"), button = made("button", "card");
  button.type = "button";
  const frame = made("span", "frame"), line = made("span", "line1");
  frame.append(thumbnail(suggestion.row, suggestion.name, "cannot be read: skip it"));
  line.append(made("span", "unseen"), made("span", "what"), made("span", "far"));
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
  const guess = s.label === null ? "" : s.label || "none";
  // of attributes the chips below say which
  const what = state.is_multilabel ? (isDone && (s.done === "none" || s.done === "skipped") ? s.done : "") : isDone ? s.done : guess;
  button.querySelector(".what").textContent = what;
  button.querySelector(".far").textContent = isDone || s.confidence === null ? "" : percent(s.confidence, 0);
  const why = !isDone ? s.reason : s.isOthers ? "labelled by somebody else" : "";
  button.querySelector(".where").replaceChildren(...letBreak(s.name), ...(why ? [` · ${why}`] : []));
  button.querySelector(".tick").hidden = !(isDone || s.struck);
  button.querySelector(".tick").textContent = s.struck ? "✗" : "✓";
  const asWhat = isDone ? "labelled" : s.struck ? "struck out, guess" : guess ? "guess" : "no guess yet";
  button.querySelector(".unseen").textContent = `${asWhat} `;
  const traits = button.querySelector(".traits");
  if (traits) {
    traits.replaceChildren(...state.names.map(({ name }) => made("span", has(s, name) ? "on" : "", name)));
  }
}

const buttons = () => [...at("grid").querySelectorAll(".card")];

function focus(i, isMoved = true) {
  const all = buttons();
  if (!all.length) return;
  chosen = Math.min(Math.max(i, 0), all.length - 1);
  framedAt = Date.now();
  all.forEach((button, k) => {
    button.setAttribute("aria-current", String(k === chosen));
    button.tabIndex = k === chosen ? 0 : -1;
  });
  if (isMoved) all[chosen].focus({ preventScroll: false });
  paintNames();
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

function save(labels, isPageLeft = false) {
  const cards = labels.map(({ row }) => shown.find((s) => s.row === row));
  const saved = attempt(async () => {
    try {
      state = (await (await post("/api/labels", { labels })).json()).state;
    } catch (err) {  // nothing was saved, so nothing is shown as saved
      for (const s of cards) delete s.done;
      buttons().forEach((button, i) => paint(button, shown[i]));
      if (cards.length) focus(Math.max(shown.indexOf(cards[0]), 0));
      throw err;
    }
    showState();
    say("");
    return true;
  });
  if (!isPageLeft) revise();
  return saved;
}

function give(name) {
  const s = shown[chosen];
  if (!s) return;
  if (view.kind === "likely") return;
  if (state.is_multilabel) {
    s.traits = toggled(s, name);
    paint(buttons()[chosen], s);
    paintNames();
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
  countKept();
}

function countKept() {
  at("accept-text").textContent = `Accept ${shown.filter((s) => !s.struck).length} as ${view.name}`;
}

function acceptPage() {
  const kept = shown.filter((s) => !s.struck);
  const label = state.is_multilabel ? null : view.name;
  const labels = kept.map((s) => ({ row: s.row, label: state.is_multilabel ? { [view.name]: true } : label }));
  for (const s of kept) s.done = view.name;
  const { name } = view;
  save(labels, true).then((isSaved) => isSaved && say(`${count(labels.length, "image")} labelled ${name}.`));
  attempt(load);
}

function undo() {
  attempt(async () => {
    const answer = await (await post("/api/undo", {})).json();
    state = answer.state;
    for (const s of shown) if (answer.rows.includes(s.row)) { delete s.done; delete s.traits; delete s.isOthers; }
    buttons().forEach((button, i) => paint(button, shown[i]));
    showState();
    const i = shown.findIndex((s) => answer.rows.includes(s.row));
    if (i >= 0) focus(i);
    say(`Undone: ${count(answer.rows.length, "image")}.`);
  });
  revise();
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
      at("trained").textContent = `Saved to ${result.out}: accuracy ${percent(result.cv_score)} cross-validated, ${count(result.n_samples, "image")}.`;
    } catch (err) {
      at("trained").textContent = "";
      throw err;
    } finally {
      at("train").disabled = !state.can_train;
    }
  });
}

// ---- buttons and keys

openNames(give, () => focus(chosen));
at("dismiss").addEventListener("click", () => { dismissed = at("notice-text").textContent; at("notice").hidden = true; });
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
at("words-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = at("words").value.trim();
  if (text) open({ kind: "words", text });
});

function acceptNone() {
  shown[chosen].traits = [];
  acceptGuess();
}
function findByWords() {
  at("words").focus();
  at("words").select();
}
const openSimilar = () => shown[chosen] && open({ kind: "similar", row: shown[chosen].row, of: shown[chosen].name });
function openLikely() {
  const s = shown[chosen];
  const name = s?.done !== undefined && s.done !== "skipped" ? s.done : s?.label?.split(";")[0];
  if (name) open({ kind: "likely", name });
  else say("There is no guess for this image yet: label two classes first.", true);
}

function columns() {
  const all = buttons();
  const top = all[0]?.getBoundingClientRect().top;
  return Math.max(all.findIndex((button) => button.getBoundingClientRect().top > top), 1);
}

const STEPS = { ArrowLeft: () => -1, ArrowRight: () => 1, ArrowUp: () => -columns(), ArrowDown: () => columns() };
const KEYS = {
  "-": () => at("none").click(), u: undo, n: () => at("more").click(), r: () => at("review").click(), s: openSimilar, l: openLikely, t: train, w: findByWords,
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
    if (event.key === "Escape") focus(chosen);
    return;
  }
  if (target.matches("button:not(.card)") && (event.key === " " || event.key === "Enter")) return;
  if (event.key in STEPS) { event.preventDefault(); return focus(chosen + STEPS[event.key]()); }
  if (event.key in KEYS) { event.preventDefault(); return KEYS[event.key](); }
  if (/^[1-9]$/.test(event.key)) {
    const name = nameOfKey(Number(event.key));
    if (name) { event.preventDefault(); give(name); }
    return;
  }
  if (event.key.length === 1 && !at("name-form").hidden) {
    event.preventDefault();
    type(event.key === "/" ? "" : event.key);
  }
});

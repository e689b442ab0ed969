// The map: images as points and pictures on one canvas, filtered by words, labels and a lasso. Points
// are written into the canvas's pixels, which takes a few milliseconds for 100,000 of them without a
// graphics card, and works from file:// where pictures may be drawn but not read back. Text from the
// file is set as text, never as HTML.
(() => {
"use strict";
const at = (id) => document.getElementById(id);
const served = window.featxServed;  // set by featx serve before this script
const COLOURS = {
  light: ["#0059c3", "#d55e00", "#03a753", "#962c71", "#654c03", "#418ef5", "#47267c"],
  dark: ["#56b4e9", "#e69f00", "#1fae86", "#e7a6cd", "#f6ef6a", "#d9541e", "#8f6fe0"],
};
const SHAPES = ["disc", "square", "cross"];  // so that colour is never the only difference
const REST = 7 * SHAPES.length;              // labels beyond these are grey
const THUMB = 56, MAX_LOADED = 40, MAX_LOADING = 6, MAX_STRIP = 60, TILES = 256;

// ---- the data, in the order in which pictures are to be seen

let data, n, X, Y, rowOf, slot, label, names, text, isBlank, counts;

function unpack(coded, Type) {
  const bytes = atob(coded), array = new Uint8Array(bytes.length);
  for (let i = 0; i < bytes.length; i++) array[i] = bytes.charCodeAt(i);
  return new Type(array.buffer);
}

function read(document) {
  data = document;
  n = data.n_samples;
  const place = unpack(data.place, Uint16Array), slots = unpack(data.slot, Int32Array);
  const labels = unpack(data.label, Int32Array), blank = new Set(data.blank);
  rowOf = Int32Array.from({ length: n }, (_, i) => i).sort((a, b) => slots[a] - slots[b]);
  X = new Float32Array(n); Y = new Float32Array(n); label = new Int32Array(n); slot = new Int32Array(n);
  isBlank = new Uint8Array(n);
  rowOf.forEach((row, i) => {
    X[i] = place[2 * row] / 65535; Y[i] = place[2 * row + 1] / 65535;
    slot[i] = slots[row]; label[i] = labels[row]; isBlank[i] = blank.has(slot[i]);
  });
  names = data.labels;
  counts = new Int32Array(names.length);
  for (const k of label) if (k >= 0) counts[k]++;
  text = null;
}

const path = (i) => (data.paths ? data.paths[rowOf[i]] : data.names[rowOf[i]]);
const nameOf = (i) => given.get(rowOf[i]) ?? (label[i] < 0 ? "" : names[label[i]]);

function link(i) {  // where the image itself is, if this page still lies where it was made
  if (served) return null;
  try {
    const parts = path(i).split("/").map((part, k) => (k === 0 && /^[a-z]:$/i.test(part) ? part : encodeURIComponent(part)));
    return new URL(/^[a-z]:$/i.test(parts[0]) ? `file:///${parts.join("/")}` : parts.join("/"), location.href).href;
  } catch { return null; }  // a name that is no UTF-8
}

function place(i) {  // for a file: whole where the page knows where it lies itself
  const name = path(i);
  if (location.protocol !== "file:" || !data.paths || /^\w+:\/\//.test(name)) return name;
  const address = link(i);
  return address ? decodeURIComponent(new URL(address).pathname).replace(/^\/([a-z]:)/i, "$1") : name;
}

// ---- what is shown, chosen, labelled

let shown, nShown = 0, chosen, nChosen = 0, kept = null, isOff, query = "", current = -1, tree = null;
const given = new Map();  // row -> label given here
let isSaved = true;

function filter() {
  const word = query.trim().toLowerCase();
  if (word && !text) text = Array.from({ length: n }, (_, i) => `${path(i)}\n${label[i] < 0 ? "" : names[label[i]]}`.toLowerCase());
  nShown = 0;
  for (let i = 0; i < n; i++) {
    const off = label[i] < 0 ? isOff[names.length] : isOff[label[i]];
    shown[i] = (!kept || kept[i]) && !off && (!word || text[i].includes(word)) ? 1 : 0;
    nShown += shown[i];
  }
  tree = null;
  colour();
  tell();
  draw();
}

function choose(test, add) {
  if (!add) chosen.fill(0);
  for (let i = 0; i < n; i++) if (shown[i] && test(i)) chosen[i] = 1;
  retell();
}

function retell() {
  nChosen = chosen.reduce((sum, one) => sum + one, 0);
  tell();
  strip();
  draw();
}

function tell() {
  const total = n.toLocaleString("en"), part = nShown.toLocaleString("en");
  at("count").textContent = nShown === n ? `${total} ${n === 1 ? "image" : "images"}` : `${part} of ${total} images shown`;
  at("selected").textContent = nChosen ? `${nChosen.toLocaleString("en")} selected` : "Nothing selected: draw around images with Select, or hold Shift.";
  for (const id of ["keep", "clear", "give"]) at(id).disabled = !nChosen;
  at("label").disabled = !nChosen;
  at("all").disabled = nShown === n;
  at("paths").textContent = nChosen ? "Save paths (CSV)" : "Save paths of all shown (CSV)";
  at("labels").disabled = !given.size;
  at("labels").textContent = given.size ? `Save ${given.size.toLocaleString("en")} ${given.size === 1 ? "label" : "labels"} (CSV)` : "Save labels (CSV)";
}

// ---- colours

let style = [], palette, ink, off, groupOf;

function hex(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }
function pixel(colour) {
  const full = colour.length === 4 ? [...colour.slice(1)].map((c) => c + c).join("") : colour.slice(1);
  const v = parseInt(full, 16);
  return (0xff000000 | ((v & 255) << 16) | (v & 0xff00) | (v >> 16)) >>> 0;
}

function colour() {  // the commonest of the labels that are shown have colours
  const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  palette = COLOURS[isDark ? "dark" : "light"];
  ink = hex("--ink"); off = hex("--off");
  const order = [...names.keys()].filter((k) => !isOff[k]).sort((a, b) => counts[b] - counts[a] || a - b);
  groupOf = new Int32Array(names.length).fill(REST);
  order.slice(0, REST).forEach((k, place) => { groupOf[k] = place; });
  style = Array.from({ length: REST }, (_, g) => ({ colour: palette[g % 7], shape: SHAPES[Math.floor(g / 7)] }));
  style.push({ colour: names.length ? hex("--rest") : hex("--accent"), shape: "disc" });
  for (const box of at("classes").children) paint(box);
}

const styleOf = (i) => style[label[i] < 0 ? REST : groupOf[label[i]]];

// ---- drawing

const canvas = at("plane"), context = canvas.getContext("2d");
let W = 0, H = 0, dpr = 1, view = d3.zoomIdentity, image = null, isDue = false, drawn = [], lastMs = 0;

function draw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => { isDue = false; frame(); });
}

function resize() {
  const box = canvas.getBoundingClientRect();
  dpr = Math.min(window.devicePixelRatio || 1, 2);
  W = Math.max(1, Math.round(box.width * dpr)); H = Math.max(1, Math.round(box.height * dpr));
  canvas.width = W; canvas.height = H;
  image = context.createImageData(W, H);
  zoom.extent([[0, 0], [box.width, box.height]]).translateExtent([[-box.width, -box.height], [2 * box.width, 2 * box.height]]);
  draw();
}

// A point of the map is at a * X + b, c * Y... in pixels of the canvas; both axes have one scale.
function scale() {
  const side = Math.max(1, Math.min(W, H) - THUMB * dpr), a = side * view.k;  // half a picture fits at each edge
  return { a, b: ((W - side) / 2) * view.k + view.x * dpr, c: ((H - side) / 2) * view.k + view.y * dpr };
}

function stamp(shape, size) {  // the pixels of a mark, as distances in the picture
  const found = [];
  for (let y = -size; y <= size; y++) {
    for (let x = -size; x <= size; x++) {
      const isIn = shape === "square" || (shape === "disc" ? x * x + y * y <= size * size + 1 : Math.min(Math.abs(x), Math.abs(y)) <= size / 3);
      if (isIn) found.push(y * W + x);
    }
  }
  return Int32Array.from(found);
}

function frame() {
  const start = performance.now(), { a, b, c } = scale();
  const pixels = new Uint32Array(image.data.buffer);
  pixels.fill(0);
  const size = Math.round(Math.max(1, Math.min(6, (n > 20000 ? 1 : n > 2000 ? 1.6 : 3) * Math.sqrt(view.k))) * dpr);
  const edge = size + 1, marks = style.map((s) => stamp(s.shape, size)), tones = style.map((s) => pixel(s.colour));
  const faint = pixel(off), dot = stamp("disc", Math.max(1, size - 1)), dark = pixel(ink), ring = stamp("disc", size + Math.ceil(dpr));
  const put = (i, offsets, tone) => {
    const x = (a * X[i] + b) | 0, y = (a * Y[i] + c) | 0;
    if (x < edge + 2 || y < edge + 2 || x >= W - edge - 2 || y >= H - edge - 2) return;
    const o = y * W + x;
    for (let k = 0; k < offsets.length; k++) pixels[o + offsets[k]] = tone;
  };
  if (nShown < n) for (let i = 0; i < n; i++) if (!shown[i]) put(i, dot, faint);
  const isFaint = nChosen > 0;
  for (let i = 0; i < n; i++) {
    if (!shown[i] || (isFaint && chosen[i])) continue;
    const g = label[i] < 0 ? REST : groupOf[label[i]];
    put(i, marks[g], tones[g]);
  }
  if (isFaint) {
    for (let i = 0; i < n; i++) if (shown[i] && chosen[i]) put(i, ring, dark);
    for (let i = 0; i < n; i++) {
      if (!shown[i] || !chosen[i]) continue;
      const g = label[i] < 0 ? REST : groupOf[label[i]];
      put(i, marks[g], tones[g]);
    }
  }
  context.putImageData(image, 0, 0);
  pictures(a, b, c);
  lastMs = performance.now() - start;
}

// As many pictures as find room without covering each other, in the order in which they are loaded.
function pictures(a, b, c) {
  const side = Math.round(THUMB * dpr * Math.min(1.6, Math.max(1, Math.log2(view.k) / 3))), half = side / 2;
  const most = n <= 4000 ? Infinity : data.levels[Math.min(3, Math.max(0, Math.floor(Math.log2(view.k))))];
  const limit = view.k >= 16 ? Infinity : most, across = Math.ceil(W / side) + 2;
  const cells = new Map();
  drawn = [];
  wanted.clear();
  for (let i = 0; i < n && drawn.length < 700; i++) {
    if (slot[i] >= limit) break;
    if (!shown[i] || isBlank[i]) continue;
    const x = a * X[i] + b, y = a * Y[i] + c;
    if (x < 0 || y < 0 || x > W || y > H) continue;
    const cx = Math.floor(x / side), cy = Math.floor(y / side);
    let isFree = true;
    for (let dy = -1; dy <= 1 && isFree; dy++) {
      for (let dx = -1; dx <= 1; dx++) {
        const other = cells.get((cy + dy) * across + cx + dx);
        if (other && Math.abs(other.x - x) < side && Math.abs(other.y - y) < side) { isFree = false; break; }
      }
    }
    if (!isFree) continue;
    const one = { i, x, y };
    cells.set(cy * across + cx, one);
    if (tile(context, i, x - half, y - half, side)) { one.half = half; drawn.push(one); }
  }
  if (current >= 0) {
    context.strokeStyle = ink; context.lineWidth = 3 * dpr;
    context.strokeRect(a * X[current] + b - half - 2, a * Y[current] + c - half - 2, side + 4, side + 4);
  }
  load();
}

function tile(target, i, x, y, side) {
  const sheet = sheets.get(Math.floor(slot[i] / TILES));
  if (!sheet?.isReady) { wanted.add(Math.floor(slot[i] / TILES)); return false; }
  sheet.used = ++clock;
  const border = Math.max(2, Math.round(side / 24)), k = slot[i] % TILES, t = data.tile_px;
  target.fillStyle = chosen[i] ? ink : styleOf(i).colour;
  target.fillRect(x, y, side, side);
  const inner = chosen[i] ? border * 1.6 : border;
  target.drawImage(sheet.image, (k % data.across) * t, Math.floor(k / data.across) * t, t, t, x + inner, y + inner, side - 2 * inner, side - 2 * inner);
  return true;
}

// ---- sheets of pictures, loaded when they are seen

const sheets = new Map(), wanted = new Set();
let clock = 0, nLoading = 0;

function load() {
  for (const number of wanted) {
    if (nLoading >= MAX_LOADING) break;
    if (sheets.has(number)) continue;
    const sheet = { image: new Image(), isReady: false, used: ++clock };
    sheets.set(number, sheet);
    nLoading++;
    sheet.image.onload = () => { sheet.isReady = true; nLoading--; draw(); stripSoon(); };
    sheet.image.onerror = () => { nLoading--; nLost++; note(); draw(); };
    if (served) served.sheet(number).then((address) => { sheet.image.src = address; }, sheet.image.onerror);
    else sheet.image.src = data.sheets[number];
  }
  if (sheets.size > MAX_LOADED) {
    const old = [...sheets].filter(([, s]) => s.isReady).sort((p, q) => p[1].used - q[1].used);
    for (const [number] of old.slice(0, sheets.size - MAX_LOADED)) if (!wanted.has(number)) sheets.delete(number);
  }
}

let nLost = 0;
function note() {
  const lines = [];
  const nBlank = isBlank.reduce((sum, one) => sum + one, 0);
  if (nBlank) lines.push(`${nBlank.toLocaleString("en")} ${nBlank === 1 ? "image has" : "images have"} no picture, since the file was gone or unreadable.`);
  if (nLost) lines.push(`${nLost} sheets of pictures are not beside this page: keep its folder “_files” with it.`);
  const nNew = data.first_new ? slot.reduce((sum, one) => sum + (one >= data.first_new), 0) : 0;
  if (nNew) lines.push(`${nNew.toLocaleString("en")} came last and were placed among the others.`);
  if (names.length > REST) lines.push(`The ${REST} commonest of the labels shown have colours, the others are grey: untick some to see more.`);
  lines.push("Near each other means alike; distances between far groups mean little.");
  lines.push("Keys: arrows, + and −, 0; N and P step through the images, Enter opens, space selects.");
  at("note").textContent = lines.join(" ");
}

// ---- moving, pointing, drawing around

const zoom = d3.zoom().scaleExtent([0.8, 600]).filter((event) => {
  const isOne = !event.touches || event.touches.length < 2;
  if (event.type !== "wheel" && isOne && (isSelecting || event.shiftKey)) return false;
  return (!event.ctrlKey || event.type === "wheel") && !event.button;
}).on("zoom", (event) => { view = event.transform; hide(); draw(); });
const plane = d3.select(canvas);
let isSelecting = false, lasso = null;

function nearest(x, y) {
  for (let k = drawn.length - 1; k >= 0; k--) {
    const d = drawn[k];
    if (Math.abs(d.x - x * dpr) <= d.half && Math.abs(d.y - y * dpr) <= d.half) return d.i;
  }
  if (!tree) {
    const some = [];
    for (let i = 0; i < n; i++) if (shown[i]) some.push(i);
    tree = d3.quadtree(some, (i) => X[i], (i) => Y[i]);
  }
  const { a, b, c } = scale();
  return tree.find((x * dpr - b) / a, (y * dpr - c) / a, (12 * dpr) / a) ?? -1;
}

function hint(event) {
  if (event.pointerType === "touch" || event.buttons || lasso) return hide();
  const [x, y] = d3.pointer(event, canvas), i = nearest(x, y), box = at("hint");
  if (i < 0) return hide();
  box.hidden = false;
  box.querySelector("b").textContent = nameOf(i);
  box.querySelector("i").textContent = path(i);
  picture(box.querySelector("canvas"), i);
  const width = box.offsetWidth, height = box.offsetHeight, { width: w, height: h } = canvas.getBoundingClientRect();
  box.style.left = `${Math.max(4, x + 18 + width > w ? x - width - 14 : x + 18)}px`;
  box.style.top = `${Math.max(4, y + 18 + height > h ? y - height - 14 : y + 18)}px`;
}
function hide() { at("hint").hidden = true; }

function picture(target, i) {
  target.hidden = Boolean(isBlank[i]);
  const pen = target.getContext("2d");
  pen.clearRect(0, 0, target.width, target.height);
  if (isBlank[i]) return true;
  const isThere = tile(pen, i, 0, 0, target.width);
  if (!isThere) load();
  return isThere;
}

function startLasso(event) {
  if (event.button || !(isSelecting || event.shiftKey) || !event.isPrimary) return;
  canvas.setPointerCapture(event.pointerId);
  lasso = [d3.pointer(event, canvas)];
  hide();
}
function moveLasso(event) {
  if (!lasso) return hint(event);
  if (!event.isPrimary) return;
  lasso.push(d3.pointer(event, canvas));
  at("lasso").firstElementChild.setAttribute("d", `M${lasso.map((p) => p.join(",")).join("L")}Z`);
}
function endLasso(event) {
  if (!lasso) return;
  const line = lasso, xs = line.map((p) => p[0]), ys = line.map((p) => p[1]);
  stopLasso();
  const box = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const isAdded = event.ctrlKey || event.metaKey;
  if (box[1] - box[0] < 5 && box[3] - box[2] < 5) {
    const i = nearest(...line[0]);
    if (i >= 0) { chosen[i] = 1 - chosen[i]; retell(); }
    return;
  }
  const { a, b, c } = scale();
  choose((i) => {
    const x = (a * X[i] + b) / dpr, y = (a * Y[i] + c) / dpr;
    return x >= box[0] && x <= box[1] && y >= box[2] && y <= box[3] && d3.polygonContains(line, [x, y]);
  }, isAdded);
}
function stopLasso() { lasso = null; at("lasso").firstElementChild.removeAttribute("d"); }

function isInView(i) {
  const { a, b, c } = scale(), x = a * X[i] + b, y = a * Y[i] + c;
  return x >= 0 && y >= 0 && x < W && y < H;
}

function goTo(i) {
  current = i;
  if (!isInView(i)) {
    const { width, height } = canvas.getBoundingClientRect(), side = Math.min(width, height);
    plane.call(zoom.translateTo, X[i] * side + (width - side) / 2, Y[i] * side + (height - side) / 2);
  }
  canvas.setAttribute("aria-description", `${path(i)} ${nameOf(i)}`);
  draw();
}

function step(by) {  // through all in view, or all where none is
  let some = [];
  for (let i = 0; i < n; i++) if (shown[i] && isInView(i)) some.push(i);
  if (!some.length) for (let i = 0; i < n; i++) if (shown[i]) some.push(i);
  if (!some.length) return -1;
  const k = some.indexOf(current);
  const next = some[k < 0 ? (by > 0 ? 0 : some.length - 1) : (k + by + some.length) % some.length];
  goTo(next);
  return next;
}

const KEYS = {
  ArrowLeft: () => plane.call(zoom.translateBy, 60 / view.k, 0), ArrowRight: () => plane.call(zoom.translateBy, -60 / view.k, 0),
  ArrowUp: () => plane.call(zoom.translateBy, 0, 60 / view.k), ArrowDown: () => plane.call(zoom.translateBy, 0, -60 / view.k),
  "+": () => plane.call(zoom.scaleBy, 1.5), "=": () => plane.call(zoom.scaleBy, 1.5), "-": () => plane.call(zoom.scaleBy, 1 / 1.5),
  0: () => plane.call(zoom.transform, d3.zoomIdentity), n: () => step(1), p: () => step(-1),
  v: () => choose(isInView, false), Enter: () => current >= 0 && open(current),
  " ": () => { if (current >= 0) { chosen[current] = 1 - chosen[current]; retell(); } },
  Escape: () => { if (lasso) stopLasso(); else { chosen.fill(0); current = -1; retell(); } },
};

// ---- a picture large

let opened = -1;

function open(i) {
  opened = i;
  goTo(i);
  hide();
  const box = at("large"), frameBox = at("picture"), small = document.createElement("canvas");
  small.width = small.height = 320;
  frameBox.replaceChildren(small);
  if (isBlank[i]) frameBox.replaceChildren("The file was gone or unreadable.");
  else if (!picture(small, i)) stripLater.push(() => picture(small, i));
  const whole = new Image();
  whole.alt = path(i);
  whole.onload = () => { if (opened === i) frameBox.replaceChildren(whole); };
  const address = link(i);
  if (served) served.large(data.names[rowOf[i]]).then((found) => { whole.src = found; }, () => {});
  else if (address) whole.src = address;  // a format that the browser cannot show stays small
  box.querySelector("b").textContent = nameOf(i);
  box.querySelector("p span").textContent = path(i);
  at("take").setAttribute("aria-pressed", String(Boolean(chosen[i])));
  if (served) at("alike").href = `/?of=${data.names[rowOf[i]]}`;
  if (!box.open) box.showModal();
}

// ---- the panel

let stripLater = [];
function stripSoon() { const jobs = stripLater; stripLater = []; for (const job of jobs) job(); }

function strip() {
  const some = [];
  for (let i = 0; i < n && some.length < MAX_STRIP; i++) if (chosen[i] && shown[i]) some.push(i);
  const again = (small, i) => { if (small.isConnected && !picture(small, i)) stripLater.push(() => again(small, i)); };
  at("strip").replaceChildren(...some.map((i) => {
    const button = document.createElement("button"), small = document.createElement("canvas");
    small.width = small.height = 96;
    button.title = path(i);
    button.setAttribute("aria-label", `Open ${path(i)}`);
    button.onclick = () => open(i);
    button.append(small);
    queueMicrotask(() => again(small, i));
    return button;
  }));
  if (nChosen > some.length && some.length === MAX_STRIP) {
    const more = document.createElement("span");
    more.className = "note";
    more.textContent = `and ${(nChosen - some.length).toLocaleString("en")} more`;
    at("strip").append(more);
  }
}

function legend() {
  const order = [...names.keys()].sort((a, b) => counts[b] - counts[a] || a - b);
  const nNone = n - counts.reduce((sum, one) => sum + one, 0);
  if (nNone) order.push(names.length);
  at("legend").hidden = !names.length;
  at("classes").replaceChildren(...order.map((k) => {
    const row = document.createElement("label"), box = document.createElement("input"), count = document.createElement("small");
    box.type = "checkbox"; box.checked = true; box.onchange = () => { isOff[k] = !box.checked; filter(); };
    row.dataset.k = k;
    count.textContent = (k < names.length ? counts[k] : nNone).toLocaleString("en");
    const swatch = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    swatch.setAttribute("viewBox", "0 0 16 16");
    swatch.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
    row.append(box, swatch, k < names.length ? names[k] : "no label", count);
    return row;
  }));
  at("names").replaceChildren(...names.slice(0, 1000).map((name) => Object.assign(document.createElement("option"), { value: name })));
}
const MARKS = { disc: "M8 2a6 6 0 1 1 0 12a6 6 0 1 1 0-12", square: "M2 2h12v12H2z", cross: "M6 2h4v4h4v4h-4v4H6v-4H2V6h4z" };
function paint(row) {
  const k = Number(row.dataset.k), s = style[k < names.length ? groupOf[k] : REST];
  const mark = row.querySelector("path");
  mark.setAttribute("d", MARKS[s.shape]);
  mark.setAttribute("fill", isOff[k] ? off : s.colour);
}

function tick(isOn) {
  isOff.fill(isOn ? 0 : 1);
  for (const box of at("classes").querySelectorAll("input")) box.checked = isOn;
  filter();
}

function save(name, rows) {
  const quote = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const lines = rows.map((row) => row.map(quote).join(","));
  const anchor = document.createElement("a");
  anchor.href = URL.createObjectURL(new Blob([`${lines.join("\r\n")}\r\n`], { type: "text/csv" }));
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 10000);
}

function savePaths() {
  const rows = [["path"]];
  for (let i = 0; i < n; i++) if (shown[i] && (!nChosen || chosen[i])) rows.push([place(i)]);
  save("paths.csv", rows);
}
function saveLabels() {
  const rows = [["path", "label"]];
  for (let i = 0; i < n; i++) if (given.has(rowOf[i])) rows.push([place(i), given.get(rowOf[i])]);
  save("labels.csv", rows);
  isSaved = true;
}
function giveLabel() {
  const name = at("label").value.trim();
  if (!name || !nChosen) return at("label").focus();
  for (let i = 0; i < n; i++) if (chosen[i]) given.set(rowOf[i], name);
  isSaved = false;
  at("label").value = "";
  chosen.fill(0);
  retell();
}

function wire() {
  plane.call(zoom).on("dblclick.zoom", null);
  canvas.addEventListener("pointerdown", startLasso);
  canvas.addEventListener("pointermove", moveLasso);
  canvas.addEventListener("pointerup", endLasso);
  canvas.addEventListener("pointercancel", stopLasso);
  canvas.addEventListener("pointerleave", hide);
  canvas.addEventListener("click", (event) => {
    if (isSelecting || event.shiftKey) return;
    const i = nearest(...d3.pointer(event, canvas));
    if (i >= 0) open(i);
  });
  canvas.addEventListener("keydown", (event) => {
    const act = event.altKey || event.ctrlKey || event.metaKey ? null : KEYS[event.key] || KEYS[event.key.toLowerCase()];
    if (act) { event.preventDefault(); act(); }
  });
  at("select").onclick = () => {
    isSelecting = !isSelecting;
    at("select").setAttribute("aria-pressed", String(isSelecting));
    at("stage").classList.toggle("selecting", isSelecting);
  };
  at("view").onclick = () => choose(isInView, false);
  at("in").onclick = KEYS["+"]; at("out").onclick = KEYS["-"]; at("whole").onclick = KEYS[0];
  let timer = 0;
  at("search").oninput = () => { clearTimeout(timer); timer = setTimeout(() => { query = at("search").value; filter(); }, 150); };
  at("keep").onclick = () => { kept = chosen.slice(); filter(); };
  at("clear").onclick = () => { chosen.fill(0); retell(); };
  at("all").onclick = () => { kept = null; query = at("search").value = ""; tick(true); };
  at("every").onclick = () => tick(true); at("none").onclick = () => tick(false);
  at("paths").onclick = savePaths; at("labels").onclick = saveLabels; at("give").onclick = giveLabel;
  at("label").addEventListener("keydown", (event) => { if (event.key === "Enter") giveLabel(); });
  at("before").onclick = () => open(step(-1)); at("after").onclick = () => open(step(1));
  at("take").onclick = () => { chosen[opened] = 1 - chosen[opened]; at("take").setAttribute("aria-pressed", String(Boolean(chosen[opened]))); retell(); };
  at("large").addEventListener("close", () => { opened = -1; canvas.focus(); });
  at("large").addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") open(step(1));
    else if (event.key === "ArrowLeft") open(step(-1));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { colour(); draw(); });
  new ResizeObserver(resize).observe(canvas);
  addEventListener("beforeunload", (event) => { if (!isSaved) event.preventDefault(); });
}

function start(document) {
  read(document);
  shown = new Uint8Array(n); chosen = new Uint8Array(n); isOff = new Uint8Array(names.length + 1);
  legend(); wire(); resize(); filter(); strip(); note();
}

// What a test or a measurement asks for.
window.featxMap = {
  frame: () => { frame(); return lastMs; },
  state: () => ({ nShown, nChosen, nDrawn: drawn.length, k: view.k, x: view.x, y: view.y, current, nSheets: sheets.size }),
  at: (row) => { const i = rowOf.indexOf(row), { a, b, c } = scale(); return [(a * X[i] + b) / dpr, (a * Y[i] + c) / dpr]; },
};
if (served) served.data().then(start, (err) => { at("count").textContent = err.message; }); else start(JSON.parse(at("map").textContent));
})();

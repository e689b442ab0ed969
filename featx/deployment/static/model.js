"use strict";
// Runs the exported file in this page. Everything after decoding, resizing too, is in the file.
const MOST_LISTED = 5, NEAR = 1e-3;
const by = (id) => document.getElementById(id);
const notes = JSON.parse(by("notes").textContent);
const ort = globalThis.featxRuntime;

async function unpack(id) {
  const text = atob(by(id).textContent);
  const packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
  by(id).remove();
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function open() {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = (await unpack("wasm")).buffer;
  return ort.InferenceSession.create(await unpack("model"), {executionProviders: ["wasm"]});
}

// As featx decodes: upright, over white, and a large JPEG at a half, a quarter or an eighth.
async function pixelsOf(file) {
  const picture = await createImageBitmap(file, {imageOrientation: "from-image", colorSpaceConversion: "none"});
  let part = 1;
  if (notes.min_px && file.type === "image/jpeg")
    while (part < 8 && Math.min(picture.width, picture.height) >= 2 * part * notes.min_px) part *= 2;
  const width = Math.ceil(picture.width / part), height = Math.ceil(picture.height / part);
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d", {alpha: false, willReadFrequently: true});
  pen.fillStyle = "white";
  pen.fillRect(0, 0, width, height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(picture, 0, 0, width, height);
  picture.close();
  const {data} = pen.getImageData(0, 0, width, height);
  const rgb = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    rgb[to++] = data[from];
    rgb[to++] = data[from + 1];
    rgb[to++] = data[from + 2];
  }
  return new ort.Tensor("uint8", rgb, [1, height, width, 3]);
}

async function ask(session, file) {
  const found = await session.run({image: await pixelsOf(file)});
  const numbers = (name) => found[name] && Array.from(found[name].data, Number);
  return {
    label: numbers("label"), confidence: numbers("confidence")[0], scores: numbers("scores"),
    isUnknown: Boolean(found.is_unknown && Number(found.is_unknown.data[0])),
  };
}

async function test(session) {
  let same = 0;
  for (const {png, label, scores} of notes.self_test) {
    const bytes = Uint8Array.from(atob(png), (c) => c.charCodeAt(0));
    const found = await ask(session, new Blob([bytes], {type: "image/png"}));
    const isNear = found.scores.every((score, i) => Math.abs(score - scores[i]) < NEAR);
    if (isNear && String(found.label) === String([label].flat())) same++;
  }
  return same;
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

function nameOf(answer) {
  if (notes.kind === "classifier") return notes.classes[answer.label[0]];
  const has = notes.classes.filter((_, i) => answer.label[i]);
  return has.length ? has.join(", ") : "none of the attributes";
}

function show(file, fill) {
  const row = by("answer").content.cloneNode(true).querySelector("li");
  const image = row.querySelector("img");
  image.src = URL.createObjectURL(file);
  image.alt = file.name;
  image.onload = image.onerror = () => URL.revokeObjectURL(image.src);
  row.querySelector(".file").textContent = file.name;
  fill(row);
  by("answers").prepend(row);
}

function fillAnswer(row, answer) {
  row.querySelector("h2").textContent = nameOf(answer);
  row.querySelector(".sure").textContent = `${percent(answer.confidence)} sure`;
  if (answer.isUnknown) warn(row, "It is unlike anything that the model was trained on.");
  const list = row.querySelector("dl");
  const order = answer.scores.map((score, i) => [score, notes.classes[i]]).sort((a, b) => b[0] - a[0]);
  for (const [score, name] of order.slice(0, MOST_LISTED)) {
    const [term, bar, share] = ["dt", "dd", "dd"].map((tag) => document.createElement(tag));
    const meter = document.createElement("meter");
    meter.value = score;
    meter.setAttribute("aria-hidden", "true");
    term.textContent = name;
    bar.append(meter);
    share.className = "share";
    share.textContent = percent(score);
    list.append(term, bar, share);
  }
}

function warn(row, text) {
  const line = row.querySelector(".warning");
  line.hidden = false;
  line.textContent = text;
}

function say(text, isWrong = false) {
  by("state").textContent = text;
  by("state").classList.toggle("wrong", isWrong);
}

async function answer(session, files) {
  let read = 0;
  for (const file of files) {
    say(`Looking at ${file.name}…`);
    try {
      const found = await ask(session, file);
      show(file, (row) => fillAnswer(row, found));
      read++;
    } catch (error) {
      show(file, (row) => {
        row.classList.add("unread");
        row.querySelector("img").remove();
        row.querySelector("h2").textContent = "No answer";
        warn(row, error.message || String(error));
      });
    }
  }
  const unread = files.length - read;
  say(`${count(read)} answered${unread ? `, ${count(unread)} without an answer` : ""}.`);
}

const count = (n) => (n === 1 ? "1 picture" : `${n} pictures`);

try {
  const session = await open();
  const n = notes.self_test.length, same = await test(session);
  if (same === n) say(`Ready. In a test on ${count(n)} this browser gave the answers of featx.`);
  else say(`Do not rely on this browser: in a test it gave the answers of featx for only ${same} of ${count(n)}.`, true);
  let queue = Promise.resolve();
  const take = (list) => {
    const files = [...list];  // the browser empties its list after the event
    queue = queue.then(() => answer(session, files));
  };
  by("files").disabled = false;
  by("files").onchange = () => { take(by("files").files); by("files").value = ""; };
  const drop = by("drop");
  for (const name of ["dragenter", "dragover", "dragleave", "drop"])
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name !== "dragleave" && name !== "drop");
      if (name === "drop") take(event.dataTransfer.files);
    });
  document.body.dataset.ready = same === n ? "yes" : "differs";
} catch (error) {
  say(`The model cannot be run in this browser (${error.message || error}).`, true);
  document.body.dataset.ready = "failed";
}

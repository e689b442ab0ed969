// What the pages of featx share: asking the server, the token, thumbnails. Text from the server or
// from files is set as text, never as HTML. The token comes from the address after #, is kept in
// memory only and goes out as a header, which is also why thumbnails are fetched here instead of by
// <img src>.

const at = (id) => document.getElementById(id);
export const made = (tag, name, text) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
};

// A line may end behind the parts of a file's name, before it ends within a word.
export const letBreak = (name) => (name.match(/[^/_ -]*[/_ -]+|[^/_ -]+/g) ?? []).flatMap((part) => [part, made("wbr")]);

export const count = (n, one) => `${n.toLocaleString("en")} ${n === 1 ? one : `${one}s`}`;

let token = new URLSearchParams(location.hash.slice(1)).get("token");
if (token) history.replaceState(null, "", location.pathname + location.search);
const thumbnails = new Map();  // row -> promise of a blob: address
const MAX_THUMBNAILS = 400;

class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

export async function call(path, options = {}) {
  const headers = { ...options.headers };
  if (token && !headers.Authorization) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (err) {
    if (err.name === "AbortError") throw err;
    throw new Refused(0, "The server does not answer. Is it still running?");
  }
  if (response.ok) return response;
  let message = `The server answered ${response.status}.`;
  try { message = (await response.json()).error || message; } catch { /* no JSON: keep the status */ }
  throw new Refused(response.status, message);
}

// ---- the door

// Call `start` once, and again with another token as long as it is refused for that.
export async function openDoor(start) {
  at("unlock").addEventListener("submit", (event) => {
    event.preventDefault();
    token = at("token").value.trim();
    enter(start);
  });
  return enter(start);
}

async function enter(start) {
  try {
    await start();
    at("unlock").hidden = true;
  } catch (err) {
    if (err.status === 401) return unlock(token !== null);
    at("main").hidden = false;
    at("problem").textContent = err.message;
    at("problem").hidden = false;
  }
}

export function unlock(isWrong) {
  at("unlock").hidden = false;
  if (isWrong) at("unlock").querySelector("label").textContent = "That is not the token of this server.";
  at("token").focus();
}

// ---- thumbnails

export function thumbnail(row, name, lost = "no picture") {
  const image = made("img");
  image.alt = "";
  image.title = name;
  image.dataset.lost = lost;
  paint(image, row);
  return image;
}

// Forget all of them: the images may be others now.
export function forgetThumbnails() {
  for (const address of thumbnails.values()) address.then(URL.revokeObjectURL, () => {});
  thumbnails.clear();
}

export async function paint(image, row) {
  image.dataset.row = row;
  if (!thumbnails.has(row)) {
    thumbnails.set(row, call(`/thumbnails/${row}`).then((r) => r.blob()).then(URL.createObjectURL));
    forget();
  }
  try {
    const address = await thumbnails.get(row);
    if (image.dataset.row === String(row)) image.src = address;
  } catch (err) {
    thumbnails.delete(row);
    if (image.closest(".card")) image.replaceWith(made("span", "lost", image.dataset.lost ?? "no picture"));
  }
}

function forget() {
  for (const [row, address] of thumbnails) {
    if (thumbnails.size <= MAX_THUMBNAILS) break;
    thumbnails.delete(row);
    address.then(URL.revokeObjectURL, () => {});
  }
}

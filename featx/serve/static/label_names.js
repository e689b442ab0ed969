// The classes or attributes of featx label: nine have a number key, and all are found by typing.

import { made } from "/static/common.js";

const at = (id) => document.getElementById(id);
const MANY = 20;      // from here on only those with a key are listed, until all are asked for
const MAX_FOUND = 8;
let names = [];       // { name, n_labels }, as the server has them
let keyed = [];       // names by number key; a key keeps its name as long as the page is open
let isOpen = false;   // whether many are listed all the same
let isClosed = false; // whether typing makes no new ones: attributes
let found = [];       // { name, isNew } for the typed text
let active = 0;       // of `found`: what Enter takes
let lastDrawn = "";
let give = () => {};

export function openNames(choose, leave) {
  give = choose;
  at("name-form").addEventListener("submit", (event) => {
    event.preventDefault();
    take(found[active]);
  });
  at("name").addEventListener("input", find);
  at("name").addEventListener("keydown", (event) => {
    if (event.key === "Escape") { close(); leave(); }
    if (!found.length || !["ArrowDown", "ArrowUp"].includes(event.key)) return;
    event.preventDefault();
    active = (active + (event.key === "ArrowDown" ? 1 : found.length - 1)) % found.length;
    showFound();
  });
  function take(one) {
    close();
    leave();
    if (one) give(one.name);
  }
  at("found").addEventListener("mousedown", (event) => event.preventDefault());  // keeps the focus
  at("found").addEventListener("click", (event) => {
    const item = event.target.closest("li");
    if (item) take(found[[...at("found").children].indexOf(item)]);
  });
  at("name").addEventListener("blur", close);
}

export const nameOfKey = (digit) => keyed[digit - 1];

// Begin to type a name.
export function type(text) {
  at("name").value = text;
  at("name").focus();
  find();
}

// List the names; `pressed` are those of the chosen image.
export function showNames(given, pressed, areAttributes) {
  const present = new Map(given.map((one) => [one.name, one]));
  names = given;
  isClosed = areAttributes;
  const order = !keyed.length && given.length > MANY ? [...given].sort((a, b) => b.n_labels - a.n_labels) : given;
  keyed = [...new Set([...keyed.filter((name) => present.has(name)), ...order.map((one) => one.name)])].slice(0, 9);
  const isLong = given.length > MANY;
  const listed = !isLong ? given : keyed.map((name) => present.get(name));
  if (isLong && isOpen) listed.push(...given.filter((one) => !keyed.includes(one.name)));
  const drawn = JSON.stringify([listed, keyed, pressed]);
  if (drawn !== lastDrawn) at("names").replaceChildren(...listed.map((one) => listItem(one, pressed)));
  lastDrawn = drawn;  // a button that has the focus keeps it where nothing has changed
  at("names-more").hidden = !isLong;
  at("names-more").setAttribute("aria-expanded", String(isOpen));
  at("names-more").textContent = isOpen ? "Show fewer" : `Show all ${given.length.toLocaleString()}`;
  at("names-more").onclick = () => { isOpen = !isOpen; showNames(given, pressed, areAttributes); };
  at("name").placeholder = !isLong ? "Type a class" : `Type one of ${given.length.toLocaleString()}`;
  at("name-form").hidden = areAttributes && given.length <= 9;
}

function listItem({ name, n_labels }, pressed) {
  const item = made("li"), button = made("button");
  const key = keyed.indexOf(name) + 1;
  button.type = "button";
  button.title = name;
  button.setAttribute("aria-pressed", String(pressed.includes(name)));
  button.append(key ? made("kbd", "", String(key)) : made("span"), " ", made("span", "name", name), " ", made("span", "count", n_labels.toLocaleString()));
  button.addEventListener("click", () => give(name));
  item.append(button);
  return item;
}

// ---- typing

function find() {
  const text = at("name").value.trim(), wanted = text.toLowerCase();
  const ranked = [];
  if (text) {
    for (const { name, n_labels } of names) {
      const place = name.toLowerCase().indexOf(wanted);
      if (place < 0) continue;
      const rank = name.toLowerCase() === wanted ? 0 : place === 0 ? 1 : /[\s_-]/.test(name[place - 1]) ? 2 : 3;
      ranked.push({ name, rank, n_labels });
    }
  }
  ranked.sort((a, b) => a.rank - b.rank || b.n_labels - a.n_labels || a.name.localeCompare(b.name));
  found = ranked.slice(0, MAX_FOUND);
  if (text && !isClosed && ranked[0]?.rank !== 0) found.push({ name: text, isNew: true });
  // What only has the text in its midst was hardly meant: then Enter makes a new class.
  active = isClosed || ranked[0]?.rank <= 1 ? 0 : Math.max(found.length - 1, 0);
  showFound();
}

function showFound() {
  at("found").hidden = !found.length;
  at("names").hidden = found.length > 0;
  at("name").setAttribute("aria-expanded", String(found.length > 0));
  at("found").replaceChildren(...found.map(({ name, isNew }, i) => {
    const item = made("li");
    item.id = `found-${i}`;
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", String(i === active));
    item.append(made("span", "name", isNew ? `New class “${name}”` : name));
    if (i === active) item.append(made("kbd", "", "Enter"));
    return item;
  }));
  if (found.length) at("name").setAttribute("aria-activedescendant", `found-${active}`);
  else at("name").removeAttribute("aria-activedescendant");
}

function close() {
  at("name").value = "";
  found = [];
  showFound();
}

// What --writable allows: add, relabel and remove. The write token is kept in memory only.

import { call, made } from "/static/common.js";

const at = (id) => document.getElementById(id);
let about = null, token = null, changed = () => {}, image = null;

// `whenChanged` gets a sentence and the name of an image to show, or null.
export function prepareChanges(whenChanged) {
  changed = whenChanged;
  at("write-form").addEventListener("submit", (event) => {
    event.preventDefault();
    token = at("write-token").value.trim();
    at("write-token").value = "";
    showForms();
  });
  at("add").addEventListener("submit", add);
  at("relabel").addEventListener("submit", relabel);
  at("remove").addEventListener("click", remove);
  at("really-remove").addEventListener("click", reallyRemove);
  at("keep").addEventListener("click", () => confirming(false));
}

export function drawChanges(described) {
  about = described;
  at("manage").hidden = !about.is_writable;
  at("known-labels").replaceChildren(...about.labels.map(({ label }) => {
    const option = made("option");
    option.value = label;
    return option;
  }));
  at("add-label-line").hidden = about.labels.length === 0;
  at("add-values").replaceChildren(...about.columns.map(({ name }) => {
    const line = made("label", "", name);
    const field = made("input");
    field.dataset.column = name;
    line.append(field);
    return line;
  }));
  showForms();
}

function showForms() {
  const mayChange = Boolean(about?.is_writable) && (!about.needs_write_token || token !== null);
  at("write-form").hidden = !about?.is_writable || mayChange;
  at("add").hidden = !mayChange;
  at("change").hidden = !mayChange || image === null;
  at("relabel").hidden = about?.labels.length === 0;
}

// Let the picture that is open large be changed.
export function offerChange(shown) {
  image = shown;
  at("new-label").value = shown.label ?? "";
  at("change-problem").textContent = "";
  confirming(false);
  showForms();
}

async function send(path, options, problem) {
  problem.textContent = "";
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  try {
    return await call(path, { ...options, headers });
  } catch (err) {
    problem.textContent = err.message;
    if (err.status === 401 || err.status === 403) {
      token = null;
      showForms();
      at("write-problem").textContent = "That is not the write token of this server.";
      at("manage").open = true;
    }
    return null;
  }
}

async function add(event) {
  event.preventDefault();
  const query = new URLSearchParams();
  if (about.labels.length) query.set("label", at("add-label").value);
  for (const field of at("add-values").querySelectorAll("input")) {
    if (field.value) query.append("value", `${field.dataset.column}=${field.value}`);
  }
  const body = new FormData();
  body.append("image", at("add-file").files[0]);
  const response = await send(`/api/add?${query}`, { method: "POST", body }, at("add-problem"));
  if (!response) return;
  const { row, id } = await response.json();
  at("add").reset();
  changed(`Added as row ${row}.`, id ?? String(row));
}

async function relabel(event) {
  event.preventDefault();
  const query = new URLSearchParams({ label: at("new-label").value });
  const path = `/api/images/${image.row}?${query}`;
  if (await send(path, { method: "PATCH" }, at("change-problem"))) changed("Its label has changed.", null);
}

function remove() {
  confirming(true);
  at("keep").focus();
}

async function reallyRemove() {
  const path = `/api/images/${image.row}`;
  if (await send(path, { method: "DELETE" }, at("change-problem"))) changed("It is removed.", null);
}

function confirming(is) {
  at("confirm").hidden = !is;
  at("remove").hidden = is;
}

// Filters by column: a range for numbers, a list for few values, a field for other text.

import { made } from "/static/common.js";

const at = (id) => document.getElementById(id);
let change = () => {};

// Draw a control per column; `changed` gets all filters whenever one changes.
export function drawFilters(columns, changed) {
  const usable = columns.filter((column) => column.kind !== "link");
  at("filters").hidden = usable.length === 0;
  at("controls").replaceChildren(...usable.map(control));
  change = changed;
}

function control({ name, kind, minimum, maximum, values }) {
  const box = made(kind === "number" ? "fieldset" : "label", "control");
  if (kind === "number") {
    box.append(made("legend", "", name));
    for (const [operator, word, limit] of [[">=", "from", minimum], ["<=", "to", maximum]]) {
      const field = made("input");
      Object.assign(field, { type: "number", step: "any", placeholder: limit });
      field.setAttribute("aria-label", `${name}, ${word}`);
      box.append(mark(field, name, operator));
    }
    return box;
  }
  box.append(made("span", "", name));
  const field = made(kind === "choice" ? "select" : "input");
  if (kind === "choice") field.append(option("", "any"), ...values.filter(Boolean).map((value) => option(value, value)));
  box.append(mark(field, name, "="));
  return box;
}

function option(value, text) {
  const node = made("option", "", text);
  node.value = value;
  return node;
}

function mark(field, name, operator) {
  Object.assign(field.dataset, { column: name, operator });
  field.addEventListener("change", () => change(current()));
  return field;
}

const fields = () => [...at("controls").querySelectorAll("[data-column]")];
const beginning = (field) => field.dataset.column + field.dataset.operator;
let others = [];  // filters of the address that no control shows, such as colour!=red

function current() {
  const set = fields().filter((field) => field.value !== "").map((field) => beginning(field) + field.value);
  return [...others, ...set];
}

// Show filters in the controls, and each as a button that takes it away.
export function showFilters(filters) {
  const left = [...filters];
  for (const field of fields()) {
    const i = left.findIndex((one) => one.startsWith(beginning(field)));
    const value = i < 0 ? "" : left[i].slice(beginning(field).length);
    field.value = value;
    if (i >= 0 && field.value === value) left.splice(i, 1);
  }
  others = left;
  at("chips").replaceChildren(...filters.map((filter) => {
    const chip = made("button", "chip", `${filter.replace("<=", " ≤ ").replace(">=", " ≥ ")} ×`);
    chip.type = "button";
    chip.setAttribute("aria-label", `Remove the filter ${filter}`);
    chip.addEventListener("click", () => change(filters.filter((one) => one !== filter)));
    return chip;
  }));
  at("filter-count").textContent = filters.length ? ` (${filters.length})` : "";
}

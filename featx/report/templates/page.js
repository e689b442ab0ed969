// What a report adds where scripts run: values at points, sorted tables, large pictures, a map that
// zooms. The page is whole without it. Texts are set as text, never as HTML.
(() => {
"use strict";
const made = (tag, name, text = "") => Object.assign(document.createElement(tag), { className: name, textContent: text });
const every = (selector, within = document) => [...within.querySelectorAll(selector)];

// ---- values: of the point nearest to the mouse, or by arrow keys

function tell(svg) {
  const points = every(".point", svg).map((node) => {
    const title = node.querySelector("title"), text = title.textContent;
    title.remove();  // the browser's own hint would come on top
    return { node, text };
  });
  if (!points.length) return;
  const box = made("div", "hint-box"), figure = svg.closest("figure");
  box.hidden = true;
  box.setAttribute("role", "status");
  figure.append(box);
  svg.setAttribute("role", "application");
  svg.setAttribute("tabindex", "0");
  svg.setAttribute("aria-label", `${svg.getAttribute("aria-label")}. ${points.length} values: arrow keys go from one to the next.`);
  let at = -1;
  const show = (k) => {
    points[at]?.node.classList.remove("here");
    at = k;
    box.hidden = k < 0;
    if (k < 0) return;
    const { node, text } = points[k], place = node.getBoundingClientRect(), frame = figure.getBoundingClientRect();
    node.classList.add("here");
    box.textContent = text;
    const x = place.left + place.width / 2 - frame.left, y = place.top - frame.top;
    box.style.left = `${Math.max(0, Math.min(x - box.offsetWidth / 2, frame.width - box.offsetWidth))}px`;
    box.style.top = `${y - box.offsetHeight - 8 < 0 ? y + place.height + 8 : y - box.offsetHeight - 8}px`;
  };
  svg.addEventListener("pointermove", (event) => {
    let best = -1, least = 28;
    points.forEach(({ node }, k) => {
      const place = node.getBoundingClientRect();
      const far = Math.hypot(place.left + place.width / 2 - event.clientX, place.top + place.height / 2 - event.clientY);
      if (far < least) [best, least] = [k, far];
    });
    if (best !== at) show(best);
  });
  svg.addEventListener("pointerleave", () => show(-1));
  svg.addEventListener("blur", () => show(-1));
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") show(-1);
    if (!step || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    event.preventDefault();
    show(at < 0 && step < 0 ? points.length - 1 : (at + step + points.length) % points.length);
  });
}

// ---- tables

function sortable(table) {
  const body = table.tBodies[0];
  if (body.rows.length < 2) return;
  const heads = every("thead th", table);
  heads.forEach((head, column) => {
    const button = made("button", "sort", head.textContent);
    button.type = "button";
    head.replaceChildren(button);
    button.onclick = () => {
      const isNumber = head.classList.contains("n");
      const is = head.getAttribute("aria-sort"), order = is ? (is === "ascending" ? -1 : 1) : isNumber ? -1 : 1;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order > 0 ? "ascending" : "descending");
      const value = (row) => (isNumber ? parseFloat(row.cells[column].dataset.v) : row.cells[column].textContent);
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (!isNumber) return order * x.localeCompare(y, undefined, { numeric: true });
        return Number.isNaN(x) || Number.isNaN(y) ? Number.isNaN(x) - Number.isNaN(y) : order * (x - y);  // none is last
      };
      body.append(...[...body.rows].sort(compare));
    };
  });
}

// ---- pictures large, with their path

function enlarge(dialog) {
  const frames = every("main .frame:not(.missing)");
  let shown = -1;
  const show = (k) => {
    shown = (k + frames.length) % frames.length;
    const copy = frames[shown].cloneNode(true), image = copy.querySelector("img");
    copy.querySelector("button")?.remove();
    dialog.querySelector(".large-frame").replaceChildren(copy);
    dialog.querySelector("b").textContent = image.title;
    const item = frames[shown].closest("li"), caption = item ? item.querySelector("p") : frames[shown].closest("figure").querySelector("figcaption");
    const parts = caption ? every(":scope > *", caption).map((part) => part.textContent.trim()) : [];
    dialog.querySelector("p span").textContent = parts.filter((text) => text && text !== image.title).join(" · ");
    if (!dialog.open) dialog.showModal();
  };
  frames.forEach((frame, k) => {
    const button = made("button", "open");
    button.type = "button";
    button.setAttribute("aria-label", `Open ${frame.querySelector("img").title} large`);
    button.onclick = () => show(k);
    frame.append(button);
  });
  const visible = (step) => {  // pictures of cells that are closed are left out
    let k = shown;
    do k = (k + step + frames.length) % frames.length; while (!frames[k].getClientRects().length && k !== shown);
    show(k);
  };
  dialog.querySelector(".before").onclick = () => visible(-1);
  dialog.querySelector(".after").onclick = () => visible(1);
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) visible(step);
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => frames[shown]?.querySelector("button").focus());
}

// ---- a map that zooms

function zoomable(svg) {
  const side = svg.viewBox.baseVal.width, bar = made("div", "buttons zoom-bar");
  const view = { x: 0, y: 0, size: side };
  const set = (x, y, size) => {
    view.size = Math.min(side, Math.max(side / 40, size));
    view.x = Math.min(side - view.size, Math.max(0, x));
    view.y = Math.min(side - view.size, Math.max(0, y));
    svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.size} ${view.size}`);
    svg.style.setProperty("--zoom", side / view.size);
    svg.classList.toggle("zoomed", view.size < side);
  };
  const zoom = (factor, fx = 0.5, fy = 0.5) => {
    const size = Math.min(side, Math.max(side / 40, view.size / factor));
    set(view.x + (view.size - size) * fx, view.y + (view.size - size) * fy, size);
  };
  const acts = [["+", "Zoom in", () => zoom(1.6)], ["−", "Zoom out", () => zoom(1 / 1.6)], ["Whole", "Show the whole map", () => set(0, 0, side)]];
  for (const [text, label, act] of acts) {
    const button = made("button", "", text);
    Object.assign(button, { type: "button", onclick: act }).setAttribute("aria-label", label);
    bar.append(button);
  }
  svg.before(bar);
  svg.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey && document.activeElement !== svg) return;  // else the page scrolls
    event.preventDefault();
    const frame = svg.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 300), (event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height);
  }, { passive: false });
  svg.addEventListener("pointerdown", (event) => { if (!event.button && view.size < side) svg.setPointerCapture(event.pointerId); });
  svg.addEventListener("pointermove", (event) => {
    if (!svg.hasPointerCapture(event.pointerId)) return;
    const scale = view.size / svg.getBoundingClientRect().width;
    set(view.x - event.movementX * scale, view.y - event.movementY * scale, view.size);
  });
  svg.addEventListener("dblclick", () => zoom(1.6));
  svg.addEventListener("keydown", (event) => {
    const act = { "+": () => zoom(1.6), "=": () => zoom(1.6), "-": () => zoom(1 / 1.6), 0: () => set(0, 0, side) }[event.key];
    const move = event.shiftKey && { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (move) set(view.x + (move[0] * view.size) / 6, view.y + (move[1] * view.size) / 6, view.size);
    else if (act) act();
    else return;
    event.preventDefault();
  });
}

every("svg.chart, svg.map").forEach(tell);
every("svg.map").forEach(zoomable);
every("table.sortable").forEach(sortable);
enlarge(document.getElementById("large"));
})();

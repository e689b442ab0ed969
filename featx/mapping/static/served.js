// What the map asks featx serve for. The token comes from the address after #, or is asked for, is kept
// in memory only and goes out as a header, which is why pictures are fetched here, too.
window.featxServed = (() => {
"use strict";
let token = new URLSearchParams(location.hash.slice(1)).get("token");
if (token) history.replaceState(null, "", location.pathname);

async function ask(path) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { headers, cache: "no-store" });
  if (response.status === 401) { await unlock(); return ask(path); }
  if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error || `The server answered ${response.status}.`);
  return response;
}

let asking = null;
function unlock() {
  return asking ??= new Promise((done) => {
    const form = document.getElementById("unlock");
    form.hidden = false;
    form.querySelector("input").focus();
    form.onsubmit = (event) => {
      event.preventDefault();
      token = form.querySelector("input").value.trim();
      form.hidden = true;
      asking = null;
      done();
    };
  });
}

const picture = async (path) => URL.createObjectURL(await (await ask(path)).blob());
return {
  data: async () => (await ask("/api/map")).json(),
  sheet: (number) => picture(`/api/map/sheets/${number}`),
  large: (name) => picture(`/thumbnails/${name}?size=large`),
};
})();

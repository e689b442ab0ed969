// What is asked, as the page's address has it: whoever opens the address sees the same.

const NAME = /^([0-9]{1,15}|(upload-)?[0-9a-f]{64})$/;
export const UNKEPT = "upload";  // an upload that the server does not keep; the address names no picture

export function read() {
  const given = new URLSearchParams(location.search);
  const name = (key) => (NAME.test(given.get(key) ?? "") ? given.get(key) : null);
  const of = given.get("of") === UNKEPT ? UNKEPT : name("of");
  return {
    of, text: given.get("text") ?? "", k: given.get("k") ?? "12", label: given.get("label") ?? "",
    filters: given.getAll("filter"), open: name("open"), local: history.state?.local ?? null,
  };
}

export function write(state) {
  const query = new URLSearchParams();
  for (const key of ["of", "text", "label"]) if (state[key]) query.set(key, state[key]);
  if (state.k !== "12") query.set("k", state.k);
  for (const filter of state.filters) query.append("filter", filter);
  if (state.open) query.set("open", state.open);
  return location.pathname + (query.size ? `?${query}` : "");
}

// What the answer depends on: a picture that is opened large changes nothing of it.
export const question = ({ of, text, k, label, filters, local }) => JSON.stringify([of, text, k, label, filters, local]);

export const parameters = ({ k, label, filters, text }) => {
  const query = new URLSearchParams({ k });
  if (label) query.set("label", label);
  if (text) query.set("text", text);
  for (const filter of filters) query.append("filter", filter);
  return query;
};

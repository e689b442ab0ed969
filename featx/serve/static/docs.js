// The documentation of the API, drawn from /openapi.json: text is set as text, and no other host is asked.

import { made } from "/static/common.js";

const at = (id) => document.getElementById(id);
const nameOf = (reference) => reference.split("/").at(-1);

// What kind of value a schema describes, in words; a name of another schema becomes a link.
function kind(schema) {
  if (schema.$ref) {
    const link = made("a", "", nameOf(schema.$ref));
    link.href = `#${nameOf(schema.$ref)}`;
    return [link];
  }
  const either = schema.anyOf ?? schema.oneOf;
  if (either) return either.flatMap((one, i) => (i ? [" or ", ...kind(one)] : kind(one)));
  if (schema.const !== undefined) return [JSON.stringify(schema.const)];
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(" or ")];
  if (schema.type === "array") return ["list of ", ...kind(schema.items ?? {})];
  if (schema.additionalProperties?.type) return ["object of ", ...kind(schema.additionalProperties)];
  if (schema.format === "binary") return ["bytes of a file"];
  if (schema.contentEncoding) return ["text in base64"];
  return [schema.type ?? "anything"];
}

function table(caption, rows) {
  const box = made("div", "wide");
  const drawn = made("table");
  drawn.append(made("caption", "", caption));
  for (const [name, schema, text, isNeeded] of rows) {
    const row = made("tr");
    const head = made("th");
    head.scope = "row";
    head.append(made("code", "", name));
    const type = made("td", "kind");
    type.append(...kind(schema));
    const { minimum, maximum } = schema;
    if (minimum !== undefined && maximum !== undefined) type.append(` from ${minimum} to ${maximum}`);
    if (isNeeded) type.append(", needed");
    else if (schema.default !== undefined && schema.default !== null) type.append(`, default ${JSON.stringify(schema.default)}`);
    row.append(head, type, made("td", "", text ?? ""));
    drawn.append(row);
  }
  box.append(drawn);
  return box;
}

function fields(caption, schema) {
  const rows = Object.entries(schema.properties ?? {})
    .map(([name, one]) => [name, one, one.description ?? "", schema.required?.includes(name)]);
  return table(caption, rows);
}

function example(method, path, operation) {
  const parts = ["curl"];
  if (method !== "get") parts.push("-X", method.toUpperCase());
  const bodies = Object.keys(operation.requestBody?.content ?? {});
  if (bodies.includes("multipart/form-data")) parts.push("-F", "image=@photo.jpg");
  else if (bodies.includes("application/json")) parts.push("-H", "'Content-Type: application/json'", "-d", "@images.json");
  const needed = (operation.parameters ?? []).filter((one) => one.in === "query" && one.required);
  const query = needed.map((one) => `${one.name}=...`).join("&");
  parts.push(`'${location.origin}${path.replace("{row}", "0")}${query && `?${query}`}'`);
  return parts.join(" ");
}

function drawRequest(method, path, operation, index) {
  const section = made("section", "panel");
  section.id = `request-${index}`;
  const title = made("h2");
  title.append(made("span", `method ${method}`, method.toUpperCase()), " ", made("code", "", path));
  section.append(title, made("p", "", operation.description ?? ""), made("pre", "", example(method, path, operation)));
  if (operation.parameters?.length) {
    section.append(table("Parameters", operation.parameters.map((one) => [one.name, one.schema, one.description, one.required])));
  }
  const bodies = Object.entries(operation.requestBody?.content ?? {});
  if (bodies.length) {
    section.append(made("p", "note", `Body: ${bodies.map(([name]) => name).join(", ")}`));
    for (const [name, { schema }] of bodies) if (schema.properties) section.append(fields(name, schema));
  }
  const answers = made("ul", "answers");
  for (const [status, { description, content }] of Object.entries(operation.responses)) {
    const item = made("li");
    item.append(made("code", "", status), ` ${description}`);
    const [type, body] = Object.entries(content ?? {})[0] ?? [];
    if (body?.schema?.$ref) item.append(": ", ...kind(body.schema));
    else if (type) item.append(`: ${type}`);
    answers.append(item);
  }
  section.append(answers);
  return section;
}

try {
  const response = await fetch("/openapi.json", { cache: "no-store" });
  if (!response.ok) throw new Error(`The server answered ${response.status}.`);
  const described = await response.json();
  const requests = Object.entries(described.paths)
    .flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => [method, path, operation]));
  at("requests").append(...requests.map((one, i) => drawRequest(...one, i)));
  at("contents").append(...requests.map(([method, path], i) => {
    const item = made("li");
    const link = made("a", "", `${method.toUpperCase()} ${path}`);
    link.href = `#request-${i}`;
    item.append(link);
    return item;
  }));
  for (const [name, schema] of Object.entries(described.components.schemas)) {
    if (!schema.properties || name.startsWith("HTTPValidation") || name === "ValidationError") continue;
    const section = made("section", "panel");
    section.id = name;
    section.append(made("h3", "", name), made("p", "", schema.description ?? ""), fields("Fields", schema));
    at("schemas").append(section);
  }
} catch (err) {
  at("problem").textContent = err.message;
  at("problem").hidden = false;
}

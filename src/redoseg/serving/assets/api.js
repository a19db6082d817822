// The API's description as a page.
const make = (tag, text = "") => Object.assign(document.createElement(tag), { textContent: text });

function table(head, rows) {
  const made = make("table");
  const titles = make("tr");
  titles.append(...head.map((title) => Object.assign(make("th", title), { scope: "col" })));
  made.append(titles);
  for (const cells of rows) {
    const row = make("tr");
    row.append(...cells.map((cell) => make("td", cell)));
    made.append(row);
  }
  return made;
}

function kindOf({ type, enum: choices, minimum, maximum, exclusiveMinimum, exclusiveMaximum, default: usual }) {
  const parts = [choices ? choices.join(", ") : type];
  if (minimum !== undefined) parts.push(`from ${minimum}`);
  if (exclusiveMinimum !== undefined) parts.push(`above ${exclusiveMinimum}`);
  if (maximum !== undefined) parts.push(`to ${maximum}`);
  if (exclusiveMaximum !== undefined) parts.push(`below ${exclusiveMaximum}`);
  if (usual !== undefined) parts.push(`(else ${usual})`);
  return parts.join(" ");
}

function section(path, method, operation) {
  const made = make("section");
  made.append(make("h2", `${method.toUpperCase()} ${path}`), make("p", operation.summary));
  if (operation.requestBody) made.append(make("p", `Body: ${Object.keys(operation.requestBody.content).join(", ")}`));
  if (operation.parameters.length)
    made.append(table(["parameter", "in", "what", "values"], operation.parameters.map(
      (one) => [one.name, one.in, one.description, kindOf(one.schema)])));
  made.append(table(["answer", "what", "as"], Object.entries(operation.responses).map(
    ([status, one]) => [status, one.description, Object.keys(one.content || {}).join(", ")])));
  return made;
}

const { paths } = await (await fetch("/api/openapi.json")).json();
for (const [path, operations] of Object.entries(paths))
  for (const [method, operation] of Object.entries(operations))
    document.getElementById("operations").append(section(path, method, operation));

// The page of `redoseg serve`: photos to the server, masks on a grid, one photo large with a brush.
import { ask, decode, draw, labelsOf, UNTOUCHED } from "./photos.js";
import { Brush, strokesPng, touched } from "./brush.js";

const byId = (id) => document.getElementById(id);
const AT_ONCE = 3; // photos on their way to the server
const SMALL = 320; // long sides, in pixels, of what is drawn on the grid and large
const LARGE = 1024;
const CODES = 4;
const STEPS = 8;

let model = null;
let album = null;
let photos = []; // { name, card, said, strokes, before, dirty, corrected, small, large }
let run = 1; // what is being sent stops when it changes
let cleared = 0; // the last run whose photos were removed
let opened = null;

const say = (text) => { byId("status").textContent = text; };
const threshold = () => Number(byId("threshold").value);
const region = () => (byId("region").value === "" ? null : Number(byId("region").value));
const encode = (name) => name.split("/").map(encodeURIComponent).join("/");
const addressOf = (photo, query) => `/api/albums/${album}/photos/${encode(photo.name)}?${query}`;

function parameters(more = {}) {
  const query = new URLSearchParams(more);
  if (!byId("refine").checked) query.set("refine", "off");
  return query;
}

function asWritten(more = {}) {
  const query = parameters(more);
  if (threshold() !== 0.5) query.set("threshold", String(threshold()));
  if (region() !== null) query.set("region", String(region()));
  return query;
}

// --- sending photos: one queue, whatever adds to it

const waiting = []; // { name, content }; a content of null: the photo is there, and is segmented anew
let workers = 0;
let sent = 0;
let asked = 0;

async function send(items) {
  if (!items.length) return;
  if (!waiting.length && !workers) [sent, asked] = [0, 0];
  waiting.push(...items);
  asked += items.length;
  byId("work").hidden = false;
  byId("stop").hidden = false;
  byId("found").hidden = false;
  show(sent, asked);
  if (album === null) {
    const made = (await (await ask("/api/albums", { method: "POST" })).json()).album;
    if (album === null) album = made; // another call may have been quicker
  }
  start();
}

function start() {
  while (workers < AT_ONCE && waiting.length) {
    workers += 1;
    work(run);
  }
}

async function work(mine) {
  while (waiting.length && run === mine) {
    const { name, content } = waiting.shift();
    try {
      await sendOne(name, content === null ? null : await content(), mine);
    } catch (error) {
      if (run === mine) fail(name, error.message);
    }
    sent += 1;
    if (run === mine) show(sent, asked);
  }
  workers -= 1;
  if (waiting.length) start(); // it was stopped, and then more was added
  if (workers || waiting.length) return;
  byId("work").hidden = true;
  render();
}

async function sendOne(name, body, mine) {
  const options = body === null ? {} : { method: "PUT", body };
  const address = `/api/albums/${album}/photos/${encode(name)}?${parameters({ side: SMALL })}`;
  const said = await (await ask(address, options, () => run !== mine)).json();
  if (cleared >= mine) return; // all photos were removed meanwhile
  let photo = photos.find((one) => one.name === name);
  if (!photo) {
    photo = { name, strokes: null, corrected: false };
    photos.push(photo);
  }
  Object.assign(photo, { said, corrected: said.corrected, small: null, large: null });
  placeCard(photo);
  if (photo === opened) open(photo);
}

// The names under which files are sent: no two the same, also with those that are there.
function named(items) {
  const taken = new Set([...photos, ...waiting].map((one) => one.name));
  let renamed = 0;
  for (const item of items) {
    const [, stem, suffix] = item.name.match(/^(.*?)(\.[^./]*)?$/s);
    for (let count = 2; taken.has(item.name); count += 1) item.name = `${stem} (${count})${suffix || ""}`;
    if (item.name !== stem + (suffix || "")) renamed += 1;
    taken.add(item.name);
  }
  if (renamed) say(`${renamed} had the name of another photo, and have a number behind theirs now.`);
  return items;
}

function show(done, of) {
  Object.assign(byId("progress"), { max: of, value: done });
  byId("progress-text").textContent = `${done} of ${of}`;
}

function fail(name, reason) {
  const item = document.createElement("li");
  item.textContent = `${name}: ${reason}`;
  byId("failures").hidden = false;
  byId("failures").querySelector("ul").append(item);
  const count = byId("failures").querySelectorAll("li").length;
  byId("failures").querySelector("summary").textContent = `${count} could not be done`;
}

function sendFiles(files) {
  const hidden = (file) => file.name.startsWith(".");
  const items = [...files].filter((file) => !hidden(file)).map((file) => {
    // Of a folder that was chosen its own name is left out, as `redoseg segment FOLDER` does.
    const path = file.path || file.webkitRelativePath.split("/").slice(1).join("/") || file.name;
    return { name: path, content: async () => file };
  });
  if (!items.length) say("There is no photo in that.");
  send(named(items)).catch(unsendable);
}

function unsendable(error) {
  waiting.length = 0;
  byId("work").hidden = true;
  say(error.message);
}

// What was dropped, with what lies in dropped folders.
async function dropped(items) {
  const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = [];
  async function walk(entry, path) {
    if (entry.isFile) {
      const file = await new Promise((done, failed) => entry.file(done, failed));
      file.path = path + file.name;
      files.push(file);
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const part = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!part.length) return;
      for (const one of part)
        if (!one.name.startsWith(".")) await walk(one, one.isDirectory ? `${path}${one.name}/` : path);
    }
  }
  // Of one folder its own name is left out, as `redoseg segment FOLDER` does; of several it tells them apart.
  const [first] = entries;
  if (entries.length === 1 && first.isDirectory) await walk(first, "");
  else for (const entry of entries) await walk(entry, entry.isDirectory ? `${entry.name}/` : "");
  return files;
}

for (const id of ["files", "folder"])
  byId(id).addEventListener("change", (event) => {
    sendFiles([...event.target.files]);
    event.target.value = "";
  });
byId("drop").addEventListener("dragover", (event) => {
  event.preventDefault();
  byId("drop").classList.add("over");
});
byId("drop").addEventListener("dragleave", () => byId("drop").classList.remove("over"));
byId("drop").addEventListener("drop", async (event) => {
  event.preventDefault();
  byId("drop").classList.remove("over");
  try {
    sendFiles(await dropped(event.dataTransfer.items));
  } catch (error) {
    say(`That can't be read: ${error.message}`);
  }
});
byId("samples").addEventListener("click", async () => {
  try {
    const { samples } = await (await ask("/api/samples")).json();
    if (!samples.length) say("There are no samples: the photos that the run was trained on are not where they were.");
    const content = (name) => async () => (await ask(`/api/samples/${encode(name)}`)).blob();
    const known = new Set(photos.map((photo) => photo.name));
    await send(samples.filter((name) => !known.has(name)).map((name) => ({ name, content: content(name) })));
  } catch (error) {
    unsendable(error);
  }
});
byId("stop").addEventListener("click", () => {
  run += 1; // what is on its way arrives
  const left = waiting.length;
  waiting.length = 0;
  byId("work").hidden = true;
  say(`Stopped: ${left} photos were not sent.`);
});
byId("clear").addEventListener("click", async () => {
  const unsaved = photos.some((photo) => photo.dirty);
  if (unsaved && !window.confirm("Some masks that you painted are not saved. Remove all photos?")) return;
  cleared = run;
  run += 1;
  waiting.length = 0;
  const old = album;
  album = null;
  photos = [];
  byId("work").hidden = true;
  byId("found").hidden = true;
  byId("failures").hidden = true;
  byId("failures").querySelector("ul").replaceChildren();
  render();
  if (old) await ask(`/api/albums/${old}`, { method: "DELETE" }).catch((error) => say(error.message));
});

// --- the grid

const visible = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    entry.target.seen = entry.isIntersecting;
    if (entry.isIntersecting) drawCard(entry.target.photo);
    else entry.target.photo.small = null; // its pixels: they can be had again
  }
}, { rootMargin: "400px" });

function placeCard(photo) {
  if (!photo.card) {
    const card = document.createElement("li");
    card.innerHTML = '<button type="button"><canvas></canvas><span class="text"><span class="name"></span>'
      + '<span class="numbers"></span> <span class="tick"></span></span></button>';
    card.querySelector("button").addEventListener("click", () => open(photo));
    card.photo = photo;
    photo.card = card;
    byId("grid").append(card);
    visible.observe(card);
  }
  labelCard(photo);
  drawCard(photo);
  count();
}

function describe({ said }) {
  return `doubt ${said.doubt.toFixed(2)}, area ${said.area.toFixed(2)}`;
}

function labelCard(photo) {
  const { card } = photo;
  const name = card.querySelector(".name");
  name.textContent = photo.name.split("/").pop();
  name.title = photo.name;
  card.querySelector(".numbers").textContent = describe(photo);
  const tick = photo.dirty ? "not saved" : photo.corrected ? "corrected" : "";
  card.querySelector(".tick").textContent = tick;
  card.classList.toggle("corrected", photo.corrected);
  const all = [photo.name, describe(photo), tick].filter(Boolean).join(", ");
  card.querySelector("button").setAttribute("aria-label", all);
}

async function drawCard(photo) {
  if (!photo.card.seen && photo.card.isConnected && photo.small === null && photo.drawn) return;
  photo.small = photo.small || await decode(photo.said);
  const strokes = photo.corrected ? shrunk(photo) : null;
  draw(photo.card.querySelector("canvas"), photo.small, labelsOf(photo.small, threshold(), region(), strokes), byId("view").value);
  photo.drawn = true;
  photo.card.dataset.drawn = `${byId("view").value} ${threshold()}`;
}

// The strokes of the large view at the size of the small one.
function shrunk({ strokes, strokesSize, small }) {
  if (!strokes) return null;
  const out = new Uint8Array(small.width * small.height);
  for (let y = 0; y < small.height; y += 1)
    for (let x = 0; x < small.width; x += 1) {
      const column = Math.floor(((x + 0.5) * strokesSize[0]) / small.width);
      const row = Math.floor(((y + 0.5) * strokesSize[1]) / small.height);
      out[y * small.width + x] = strokes[row * strokesSize[0] + column];
    }
  return out;
}

function compare(one, other) {
  const order = byId("order").value;
  if (order === "name") return one.name.localeCompare(other.name, undefined, { numeric: true });
  const field = order.replace("-", "");
  return order.endsWith("-") ? other.said[field] - one.said[field] : one.said[field] - other.said[field];
}

function render() {
  photos.sort(compare);
  byId("grid").replaceChildren(...photos.map((photo) => photo.card));
  count();
}

function count() {
  const sure = photos.filter((photo) => photo.said.doubt <= 0.3).length;
  const corrected = photos.filter((photo) => photo.corrected).length;
  byId("count").textContent = `${photos.length} photo${photos.length === 1 ? "" : "s"}, ${sure} of them sure${corrected ? `, ${corrected} corrected` : ""}`;
}

function redrawAll() {
  byId("threshold-value").textContent = threshold().toFixed(2);
  for (const photo of photos) if (photo.card.seen) drawCard(photo);
  if (opened) drawLarge();
}

for (const id of ["controls", "download"]) byId(id).addEventListener("submit", (event) => event.preventDefault());
for (const id of ["view", "threshold", "region"]) byId(id).addEventListener("input", redrawAll);
byId("order").addEventListener("input", render);
byId("refine").addEventListener("input", () => {
  send(photos.map((photo) => ({ name: photo.name, content: null }))).catch(unsendable);
});

// --- downloads

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

byId("download").addEventListener("submit", async (event) => {
  const chosen = (name) => [...byId("download").querySelectorAll(`[name=${name}]:checked`)].map((box) => box.value);
  const query = asWritten({ type: chosen("type").join(",") || "mask" });
  if (chosen("annotations").length) query.set("annotations", chosen("annotations").join(","));
  if (chosen("measurements").length) query.set("measurements", "1");
  if (byId("category").value.trim()) query.set("category", byId("category").value.trim());
  const button = event.submitter;
  button.disabled = true;
  byId("work").hidden = false;
  byId("stop").hidden = true;
  const polling = setInterval(async () => {
    try {
      const state = await (await ask(`/api/albums/${album}`)).json();
      show(state.packed, state.of || photos.length);
    } catch (error) { /* the archive itself says what is wrong */ }
  }, 500);
  try {
    save(await (await ask(`/api/albums/${album}/masks.zip?${query}`)).blob(), "masks.zip");
    say("masks.zip is downloaded.");
  } catch (error) {
    say(error.message);
  }
  clearInterval(polling);
  byId("work").hidden = !workers;
  byId("stop").hidden = !workers;
  button.disabled = false;
});

// --- one photo, large

const brush = new Brush(byId("canvas"), {
  region: () => (byId("brush").value === "" ? null : Number(byId("brush").value)),
  size: () => Number(byId("brush-size").value),
  changed: (at, painted) => {
    if (painted) {
      if (!opened.dirty) {
        opened.dirty = true;
        labelCard(opened);
      }
      byId("saved").textContent = "";
    }
    drawLarge(at);
  },
});

async function open(photo) {
  leave(photo);
  opened = photo;
  brush.open(null);
  byId("save").disabled = true;
  byId("one").removeAttribute("href");
  byId("large-name").textContent = photo.name;
  byId("large-text").textContent = `${describe(photo)}, ${photo.said.width} x ${photo.said.height} pixels`;
  byId("forget").hidden = !photo.corrected;
  byId("saved").textContent = photo.dirty ? "What you painted is not saved yet." : "";
  if (!byId("large").open) byId("large").showModal();
  try {
    const said = photo.large || await decode(await (await ask(addressOf(photo, parameters({ side: LARGE })))).json());
    if (opened !== photo) return;
    photo.large = said;
    if (!photo.strokes) {
      photo.strokes = new Uint8Array(said.width * said.height).fill(UNTOUCHED);
      photo.strokesSize = [said.width, said.height];
    }
    brush.open(photo);
    byId("save").disabled = false;
    drawLarge();
  } catch (error) {
    if (opened !== photo) return;
    byId("canvas").getContext("2d").clearRect(0, 0, byId("canvas").width, byId("canvas").height);
    delete byId("canvas").dataset.drawn;
    byId("saved").textContent = error.message;
  }
}

// Frees what the photo that was open needs no more, and removes what was redrawn of it.
function leave(next = null) {
  if (!opened || opened === next) return;
  opened.large = null;
  const plain = opened.strokes && !opened.corrected && !touched(opened.strokes);
  if (plain) Object.assign(opened, { strokes: null, before: [], dirty: false });
  if (opened.card) labelCard(opened);
  byId("redrawn").replaceChildren();
  byId("walk-label").hidden = true;
}

function drawLarge(at = null) {
  const { large, strokes } = opened;
  if (!large || !strokes) return;
  const canvas = byId("canvas");
  draw(canvas, large, labelsOf(large, threshold(), region(), strokes), byId("view").value);
  if (at) {
    const context = canvas.getContext("2d");
    context.strokeStyle = "#ff00c8";
    context.beginPath();
    context.arc(at[0], at[1], Number(byId("brush-size").value) / 2, 0, 2 * Math.PI);
    context.stroke();
  }
  canvas.style.setProperty("--ratio", large.width / large.height);
  canvas.classList.toggle("painting", byId("brush").value !== "");
  canvas.dataset.drawn = `${opened.name} ${byId("view").value} ${threshold()}`;
  const query = asWritten({ type: byId("one-type").value });
  byId("one").href = addressOf(opened, query);
  byId("one").download = `${opened.name.split("/").pop().replace(/\.[^.]*$/, "")}.png`;
}

for (const id of ["one-type", "brush", "brush-size"]) byId(id).addEventListener("input", () => drawLarge());
byId("undo").addEventListener("click", () => {
  if (!brush.undo()) byId("saved").textContent = "There is nothing to undo.";
});
byId("save").addEventListener("click", async () => {
  const photo = opened;
  try {
    if (region() !== null) throw new Error("Choose all regions first: they are corrected together.");
    byId("save").disabled = true;
    // From here on the mask is what is seen now: no slider moves it.
    const labels = labelsOf(photo.large, threshold(), null, photo.strokes);
    const asItIs = !touched(photo.strokes);
    const body = await strokesPng(photo.strokes, ...photo.strokesSize);
    const query = asWritten();
    const address = `/api/albums/${album}/corrections/${encode(photo.name)}?${query}`;
    const { saved, replaced } = await (await ask(address, { method: "PUT", body })).json();
    photo.strokes.set(labels);
    Object.assign(photo, { corrected: true, dirty: false, before: [] });
    labelCard(photo);
    drawCard(photo);
    count();
    const what = `Saved${asItIs ? " as it is" : ""}${replaced ? " over an earlier one" : ""}`;
    const use = asItIs ? "A mask that is as the model has it teaches nothing."
      : `redoseg fix RUN --masks ${model.corrections} learns from it.`;
    byId("saved").textContent = `${what}: ${saved}. ${use}`;
    byId("forget").hidden = false;
  } catch (error) {
    byId("saved").textContent = error.message;
  }
  byId("save").disabled = false;
});

byId("forget").addEventListener("click", async () => {
  const photo = opened;
  try {
    await ask(`/api/albums/${album}/corrections/${encode(photo.name)}`, { method: "DELETE" });
    Object.assign(photo, { strokes: null, before: [], dirty: false, large: null });
    await send([{ name: photo.name, content: null }]);
  } catch (error) {
    byId("saved").textContent = error.message;
  }
});

function step(by) {
  const at = photos.indexOf(opened) + by;
  if (photos[at]) open(photos[at]);
}

byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("close").addEventListener("click", () => byId("large").close());
byId("large").addEventListener("close", () => {
  const { card } = opened;
  leave();
  opened = null;
  card.querySelector("button").focus();
});

// --- redrawing

let codes = [];

async function redraw(seeds, walk) {
  const photo = opened;
  const query = new URLSearchParams({ region: byId("redraw-region").value, seeds: seeds.join(","), walk });
  try {
    const content = await (await ask(`/api/albums/${album}/files/${encode(photo.name)}`)).blob();
    const found = await (await ask(`/api/redraw?${query}`, { method: "POST", body: content })).json();
    if (opened !== photo) return;
    const picture = (data, text) => {
      const figure = document.createElement("figure");
      const image = document.createElement("img");
      image.src = `data:image/png;base64,${data}`;
      image.alt = text;
      const caption = document.createElement("figcaption");
      caption.textContent = text;
      figure.append(image, caption);
      return figure;
    };
    const steps = found.redrawn.map((data, at) => picture(data, walk ? `step ${at + 1}` : `code ${seeds[at]}`));
    byId("redrawn").replaceChildren(picture(found.photo, "as the game sees it"), picture(found.mask, "mask"), ...steps);
    byId("walk-label").hidden = !walk;
    byId("walk-at").value = 0;
    if (walk) along();
  } catch (error) {
    if (opened === photo) byId("redrawn").textContent = error.message;
  }
}

function along() {
  [...byId("redrawn").children].slice(2).forEach((figure, at) => { figure.hidden = at !== Number(byId("walk-at").value); });
}

byId("redraw").addEventListener("click", () => {
  codes = Array.from({ length: CODES }, () => Math.floor(Math.random() * 1e9));
  redraw(codes, 0);
});
byId("walk").addEventListener("click", () => {
  if (!codes.length) codes = [1, 2];
  redraw(codes.slice(0, 2), STEPS);
});
byId("walk-at").addEventListener("input", along);

// --- leaving

window.addEventListener("beforeunload", (event) => {
  if (photos.some((photo) => photo.dirty)) event.preventDefault();
});
window.addEventListener("pagehide", (event) => {
  if (album && !event.persisted) fetch(`/api/albums/${album}`, { method: "DELETE", keepalive: true });
});

// --- begin

async function begin() {
  model = await (await ask("/api/model")).json();
  byId("model").textContent = model.model;
  document.title = `redoseg: ${model.model}`;
  const option = (value, text) => new Option(text, value);
  for (let r = model.regions - 1; r >= 0; r -= 1) {
    const name = r === 0 ? "background" : model.regions === 2 ? "object" : `region ${r}`;
    byId("brush").append(option(r, name));
    byId("redraw-region").prepend(option(r, name));
    if (model.regions > 2) byId("region").append(option(r, name));
  }
  byId("redraw-region").value = "1";
  byId("region-label").hidden = model.regions === 2;
  byId("redraws").hidden = !model.redraws;
}

begin().catch((error) => say(error.message));

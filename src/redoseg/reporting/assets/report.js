"use strict";
// The page of `redoseg report`: a grid of photos with their masks, drawn in the browser from soft masks.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const photos = data.photos.map((photo, index) => ({ ...photo, index }));
  const pictures = data.pictures; // base64 by index; those of many photos come from files beside the page
  const waiting = new Map(); // file number -> promise
  const byId = (id) => document.getElementById(id);
  const key = `redoseg-report-${data.id}`;
  const ONCE = 60; // cards that are added at a time
  const OUTLINE = [255, 0, 200]; // of the object in an overlay

  // --- ticks

  const ticks = new Map();
  try {
    for (const [name, tick] of Object.entries(JSON.parse(localStorage.getItem(key) || "{}"))) ticks.set(name, tick);
  } catch (error) {
    say("This browser keeps no ticks: save them to a file.");
  }

  function setTick(photo, tick) {
    if (ticks.get(photo.name) === tick) ticks.delete(photo.name);
    else ticks.set(photo.name, tick);
    keep();
    const card = cards.get(photo.index);
    if (card) label(card, photo);
    if (shownLarge === photo) labelLarge();
    count();
  }

  function keep() {
    try {
      localStorage.setItem(key, JSON.stringify(Object.fromEntries(ticks)));
    } catch (error) {
      say("This browser keeps no ticks: save them to a file.");
    }
  }

  function say(text) {
    byId("kept").textContent = text;
  }

  byId("save").addEventListener("click", () => {
    const named = (tick) => photos.filter((photo) => ticks.get(photo.name) === tick).map((photo) => photo.name);
    const list = { redoseg: "ticks", model: data.model, wrong: named("wrong"), right: named("right") };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(list, null, 1)], { type: "application/json" }));
    link.download = "ticks.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say(`${list.wrong.length} wrong and ${list.right.length} right ones: ticks.json`);
  });

  byId("read").addEventListener("change", async (event) => {
    const file = event.target.files[0];
    if (!file) return;
    try {
      const list = JSON.parse(await file.text());
      if (list.redoseg !== "ticks") throw new Error("no list of ticks");
      const known = new Set(photos.map((photo) => photo.name));
      let others = 0;
      for (const tick of ["wrong", "right"])
        for (const name of list[tick])
          if (known.has(name)) ticks.set(name, tick);
          else others += 1;
      keep();
      say(others ? `${others} of its photos are not on this page.` : "The ticks are read.");
      render();
    } catch (error) {
      say("That file is no list of ticks that this page has saved.");
    }
    event.target.value = "";
  });

  // --- pictures

  window.redosegPictures = (start, part) => {
    part.forEach((picture, offset) => {
      pictures[start + offset] = picture;
    });
  };

  function load(index) {
    if (pictures[index] !== undefined || !data.beside) return Promise.resolve();
    const number = Math.floor(index / data.a_file);
    if (!waiting.has(number)) {
      waiting.set(number, new Promise((done) => {
        const script = document.createElement("script");
        script.src = `${encodeURIComponent(data.beside)}/${data.files[number]}`;
        script.onload = script.onerror = done;
        document.head.append(script);
      }));
    }
    return waiting.get(number);
  }

  // What the browser has read of a photo: pixels of the photo, the soft mask and the votes; the latest ones.
  const decoded = new Map();

  async function decode(photo) {
    if (decoded.has(photo.index)) return decoded.get(photo.index);
    await load(photo.index);
    if (pictures[photo.index] === undefined) return null;
    const image = new Image();
    image.src = `data:image/jpeg;base64,${pictures[photo.index]}`;
    await image.decode();
    const [width, height] = photo.panel;
    const canvas = new OffscreenCanvas(3 * width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const panels = [0, 1, 2].map((number) => context.getImageData(number * width, 0, width, height).data);
    decoded.set(photo.index, panels);
    if (decoded.size > 150) decoded.delete(decoded.keys().next().value);
    return panels;
  }

  async function draw(canvas, photo, view) {
    const wanted = `${photo.index} ${view} ${threshold()}`;
    canvas.dataset.wanted = wanted;
    const panels = await decode(photo);
    if (canvas.dataset.wanted !== wanted) return; // another one has been asked for since
    const [width, height] = photo.panel;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    if (!panels) {
      context.clearRect(0, 0, width, height);
      context.fillText(`${data.beside} is missing`, 4, 14);
      return;
    }
    const [colours, soft, votes] = panels;
    const out = context.createImageData(width, height);
    const level = 255 * threshold();
    for (let at = 0; at < out.data.length; at += 4) {
      const inside = soft[at] > level;
      const column = (at / 4) % width;
      const edge = inside !== (soft[column + 1 < width ? at + 4 : at] > level)
        || inside !== (soft[at + 4 * width < soft.length ? at + 4 * width : at] > level);
      const grey = (colours[at] + colours[at + 1] + colours[at + 2]) / 3;
      for (let c = 0; c < 3; c += 1) {
        const colour = colours[at + c];
        out.data[at + c] = {
          overlay: edge ? OUTLINE[c] : inside ? colour : 0.4 * grey,
          mask: inside ? 255 : 0,
          votes: votes[at],
        }[view] ?? colour;
      }
      out.data[at + 3] = view === "cutout" && !inside ? 0 : 255;
    }
    context.putImageData(out, 0, 0);
    canvas.classList.toggle("transparent", view === "cutout");
    canvas.dataset.drawn = wanted;
  }

  const threshold = () => Number(byId("threshold").value);

  // --- the grid

  const cards = new Map(); // index -> card, of those on the page
  let listed = photos;
  let shown = 0;

  const visible = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      entry.target.seen = entry.isIntersecting;
      if (entry.isIntersecting) drawCard(entry.target);
    }
  }, { rootMargin: "300px" });
  const end = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting) && shown < listed.length) addCards();
  }, { rootMargin: "800px" });

  function drawCard(card) {
    draw(card.querySelector("canvas"), card.photo, byId("view").value);
  }

  function describe(photo) {
    return `doubt ${photo.doubt.toFixed(2)}, area ${photo.area.toFixed(2)}`;
  }

  function makeCard(photo) {
    const card = document.createElement("li");
    card.photo = photo;
    const button = document.createElement("button");
    button.type = "button";
    const canvas = document.createElement("canvas");
    const text = document.createElement("span");
    text.className = "text";
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = photo.name.split(/[\\/]/).pop();
    name.title = photo.name;
    const numbers = document.createElement("span");
    numbers.textContent = describe(photo);
    const tick = document.createElement("span");
    tick.className = "tick-text";
    text.append(name, numbers, " ", tick);
    button.append(canvas, text);
    button.addEventListener("click", () => open(photo));
    button.addEventListener("keydown", (event) => {
      const tick = { w: "wrong", r: "right" }[event.key];
      if (tick && !event.ctrlKey && !event.metaKey && !event.altKey) setTick(photo, tick);
    });
    card.append(button);
    label(card, photo);
    return card;
  }

  function label(card, photo) {
    const tick = ticks.get(photo.name);
    card.className = tick || "";
    card.querySelector(".tick-text").textContent = tick || "";
    const all = [photo.name, describe(photo), tick].filter(Boolean).join(", ");
    card.querySelector("button").setAttribute("aria-label", all);
  }

  function addCards() {
    const part = listed.slice(shown, shown + ONCE);
    shown += part.length;
    for (const photo of part) {
      const card = makeCard(photo);
      cards.set(photo.index, card);
      byId("grid").append(card);
      visible.observe(card);
    }
    end.unobserve(byId("more")); // told anew, it says whether the end is still in sight
    end.observe(byId("more"));
  }

  const number = (id, otherwise) => (byId(id).value === "" ? otherwise : Number(byId(id).value));

  function matches(photo) {
    const tick = ticks.get(photo.name) || "none";
    const wanted = byId("ticks").value;
    return photo.doubt >= number("doubt-from", 0) && photo.doubt <= number("doubt-to", 1)
      && photo.area >= number("area-from", 0) && photo.area <= number("area-to", 1)
      && photo.name.toLowerCase().includes(byId("name").value.toLowerCase())
      && (wanted === "all" || wanted === tick);
  }

  function compare(one, other) {
    const order = byId("order").value;
    if (order === "name") return one.name.localeCompare(other.name, undefined, { numeric: true });
    const field = order.replace("-", "");
    return (order.endsWith("-") ? other[field] - one[field] : one[field] - other[field]) || one.index - other.index;
  }

  function render() {
    visible.disconnect();
    cards.clear();
    byId("grid").replaceChildren();
    listed = photos.filter(matches).sort(compare);
    shown = 0;
    addCards();
    count();
  }

  function count() {
    const wrong = photos.filter((photo) => ticks.get(photo.name) === "wrong").length;
    const right = photos.filter((photo) => ticks.get(photo.name) === "right").length;
    const ticked = wrong + right ? `; ${wrong} ticked as wrong, ${right} as right` : "";
    byId("count").textContent = `${listed.length} of ${photos.length} photos${ticked}`;
  }

  function redraw() {
    byId("threshold-value").textContent = threshold().toFixed(2);
    for (const card of cards.values()) if (card.seen) drawCard(card);
    if (shownLarge) drawLarge();
  }

  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["view", "threshold"]) byId(id).addEventListener("input", redraw);
  for (const id of ["order", "doubt-from", "doubt-to", "area-from", "area-to", "name", "ticks"])
    byId(id).addEventListener("input", render);

  // --- one photo, large

  const VIEWS = { photo: "photo", overlay: "overlay", cutout: "cut-out", votes: "votes: white where every start sees the object" };
  let shownLarge = null;

  for (const [view, caption] of Object.entries(VIEWS)) {
    const figure = document.createElement("figure");
    const canvas = document.createElement("canvas");
    canvas.dataset.view = view;
    const text = document.createElement("figcaption");
    text.textContent = caption;
    figure.append(canvas, text);
    byId("large-views").append(figure);
  }

  function open(photo) {
    shownLarge = photo;
    labelLarge();
    drawLarge();
    if (!byId("large").open) byId("large").showModal();
  }

  function labelLarge() {
    const photo = shownLarge;
    byId("large-name").textContent = photo.name;
    byId("large-text").textContent = `${describe(photo)}, ${photo.size[0]} x ${photo.size[1]} pixels`;
    for (const button of document.querySelectorAll(".tick"))
      button.setAttribute("aria-pressed", String(ticks.get(photo.name) === button.dataset.tick));
  }

  function drawLarge() {
    for (const canvas of byId("large-views").querySelectorAll("canvas"))
      draw(canvas, shownLarge, canvas.dataset.view);
  }

  function step(by) {
    const at = listed.indexOf(shownLarge) + by;
    if (listed[at]) open(listed[at]);
  }

  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", () => byId("large").close());
  byId("large").addEventListener("close", () => {
    const card = cards.get(shownLarge.index);
    shownLarge = null;
    if (card) card.querySelector("button").focus();
  });
  byId("large").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
    const tick = { w: "wrong", r: "right" }[event.key];
    if (tick) setTick(shownLarge, tick);
  });
  for (const button of document.querySelectorAll(".tick"))
    button.addEventListener("click", () => setTick(shownLarge, button.dataset.tick));

  render();
})();

// What the server says of a photo, and how it is drawn.

const OUTLINE = [255, 0, 200]; // of the object in an overlay
export const UNTOUCHED = 255; // of what the brush hasn't touched

const PATIENCE = 10; // seconds that are waited for without a word: what takes longer is an error

// Asks, and asks again where the server is busy. Its refusals are errors with its own words.
export async function ask(address, options = {}, stopped = () => false) {
  for (;;) {
    const answer = await fetch(address, options);
    if (answer.ok) return answer;
    const wait = Number(answer.headers.get("Retry-After"));
    if (wait && wait <= PATIENCE && [429, 503].includes(answer.status) && !stopped()) {
      await new Promise((done) => setTimeout(done, 1000 * wait * (0.5 + Math.random())));
      continue;
    }
    let text = `the server says ${answer.status}`;
    try {
      text = (await answer.json()).error || text;
    } catch (error) { /* no JSON: the status is all there is */ }
    throw new Error(text);
  }
}

async function pixels(kind, base64) {
  const image = new Image();
  image.src = `data:image/${kind};base64,${base64}`;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, image.width, image.height).data;
}

// Colours (RGBA) and, for each region but the background, how much each pixel is its own (0 to 255).
export async function decode(said) {
  const [colours, ...soft] = await Promise.all(
    [pixels("jpeg", said.photo), ...said.soft.map((mask) => pixels("png", mask))],
  );
  const masks = soft.map((rgba) => Uint8Array.from({ length: rgba.length / 4 }, (_, i) => rgba[4 * i]));
  return { width: said.shown[0], height: said.shown[1], colours, masks };
}

// The region of each pixel, as the server finds it at this threshold; `region`: this one alone, or null.
export function labelsOf({ masks }, threshold, region, strokes = null) {
  const labels = new Uint8Array(masks[0].length);
  for (let at = 0; at < labels.length; at += 1) {
    let best = 0;
    let sum = 0;
    for (let r = 0; r < masks.length; r += 1) {
      sum += masks[r][at];
      if (masks[r][at] > masks[best][at]) best = r;
    }
    const background = Math.max(0, 255 - sum);
    if (region === 0) labels[at] = background > 255 * threshold ? 1 : 0;
    else if (region !== null) labels[at] = masks[region - 1][at] > 255 * threshold ? 1 : 0;
    else if (masks[best][at] > background * (threshold / (1 - threshold))) labels[at] = best + 1;
    if (strokes && strokes[at] !== UNTOUCHED)
      labels[at] = region === null ? strokes[at] : Number(strokes[at] === region);
  }
  return labels;
}

export function draw(canvas, { width, height, colours }, labels, view) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const out = context.createImageData(width, height);
  for (let pixel = 0; pixel < labels.length; pixel += 1) {
    const at = 4 * pixel;
    const inside = labels[pixel] > 0;
    const edge = (pixel % width < width - 1 && labels[pixel] !== labels[pixel + 1])
      || (pixel + width < labels.length && labels[pixel] !== labels[pixel + width]);
    const grey = (colours[at] + colours[at + 1] + colours[at + 2]) / 3;
    for (let c = 0; c < 3; c += 1) {
      const colour = colours[at + c];
      if (view === "mask") out.data[at + c] = inside ? 255 : 0;
      else if (view === "overlay") out.data[at + c] = edge ? OUTLINE[c] : inside ? colour : 0.4 * grey;
      else out.data[at + c] = colour;
    }
    out.data[at + 3] = view === "cutout" && !inside ? 0 : 255;
  }
  context.putImageData(out, 0, 0);
  canvas.classList.toggle("transparent", view === "cutout");
}

// The brush: regions painted onto a photo's mask, by mouse, finger, pen or keyboard.
import { UNTOUCHED } from "./photos.js";

const MOST_UNDONE = 20;

export class Brush {
  // `changed` is called after every change, `region` gives the region that is painted, or null for none.
  constructor(canvas, { region, size, changed }) {
    Object.assign(this, { canvas, region, size, changed, photo: null, last: null, at: null });
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { this.last = null; });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  // Paints on a photo's strokes from now on: an array of regions, UNTOUCHED where nothing was painted. What
  // they were before each stroke is kept with the photo. null: on none.
  open(photo) {
    Object.assign(this, { photo, last: null, at: null });
    if (photo) photo.before = photo.before || [];
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * this.canvas.width,
      ((event.clientY - box.top) / box.height) * this.canvas.height,
    ];
  }

  remember() {
    this.photo.before.push(this.photo.strokes.slice());
    if (this.photo.before.length > MOST_UNDONE) this.photo.before.shift();
  }

  begin(event) {
    if (this.region() === null || !this.photo) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.remember();
    this.last = this.place(event);
    this.paint(this.last, this.last);
  }

  move(event) {
    if (!this.last || !this.photo) return;
    const next = this.place(event);
    this.paint(this.last, next);
    this.last = next;
  }

  key(event) {
    const step = Math.max(2, this.size() / 2);
    const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (this.region() === null || !this.photo || (!by && event.key !== " ")) return;
    event.preventDefault();
    event.stopPropagation();
    const { width, height } = this.canvas;
    const from = this.at || [width / 2, height / 2];
    const to = by || [0, 0];
    this.at = [Math.min(width, Math.max(0, from[0] + to[0])), Math.min(height, Math.max(0, from[1] + to[1]))];
    if (event.key === " " || event.shiftKey) {
      this.remember();
      this.paint(from, this.at);
    } else {
      this.changed(this.at, false);
    }
  }

  // A line of the brush's width from one place to another.
  paint([x0, y0], [x1, y1]) {
    const { width, height } = this.canvas;
    const radius = this.size() / 2;
    const region = this.region();
    const long = (x1 - x0) ** 2 + (y1 - y0) ** 2;
    const from = Math.max(0, Math.floor(Math.min(y0, y1) - radius));
    const to = Math.min(height - 1, Math.ceil(Math.max(y0, y1) + radius));
    for (let y = from; y <= to; y += 1)
      for (let x = Math.max(0, Math.floor(Math.min(x0, x1) - radius)); x < width && x <= Math.max(x0, x1) + radius; x += 1) {
        const along = long ? Math.min(1, Math.max(0, ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / long)) : 0;
        const away = (x - x0 - along * (x1 - x0)) ** 2 + (y - y0 - along * (y1 - y0)) ** 2;
        if (away <= radius * radius) this.photo.strokes[y * width + x] = region;
      }
    this.changed(this.at, true);
  }

  undo() {
    if (!this.photo || !this.photo.before.length) return false;
    this.photo.strokes.set(this.photo.before.pop());
    this.changed(this.at, true);
    return true;
  }
}

export const touched = (strokes) => strokes.some((region) => region !== UNTOUCHED);

// The strokes as a grey PNG, one pixel a number.
export async function strokesPng(strokes, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  strokes.forEach((region, at) => image.data.set([region, region, region, 255], 4 * at));
  context.putImageData(image, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

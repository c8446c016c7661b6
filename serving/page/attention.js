// Where the network looked for a word: light on the photo, dark around it.

import { isCalm } from "./dom.js";

const DARKEST = 0.18; // of the photo's brightness is left where no attention fell
const GLIDE_MS = 180; // from one word's light to the next
const SIDE = 160; // pixels of the veil, which is stretched over the photo

/** A canvas to lie over a photo; `show(grid, seen)` lights what was seen of it, `hide()` takes the veil away. */
export function attentionVeil() {
  const canvas = document.createElement("canvas");
  canvas.className = "veil";
  canvas.width = canvas.height = SIDE;
  canvas.setAttribute("aria-hidden", "true");
  const small = document.createElement("canvas");
  let shown = null;
  let frame = 0;

  function draw(dark) {
    const rows = dark.length;
    const columns = dark[0].length;
    small.width = columns;
    small.height = rows;
    const pixels = small.getContext("2d").createImageData(columns, rows);
    dark.flat().forEach((value, place) => { pixels.data[4 * place + 3] = Math.round(255 * value); });
    small.getContext("2d").putImageData(pixels, 0, 0);
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, SIDE, SIDE);
    context.imageSmoothingQuality = "high";
    // Half a cell is cut off at each side: the smoothing would fade there into nothing.
    context.drawImage(small, 0, 0, columns, rows, 0, 0, SIDE, SIDE);
    shown = dark;
  }

  function glide(target) {
    cancelAnimationFrame(frame);
    const from = shown && shown.length === target.length ? shown : target.map((row) => row.map(() => 0));
    if (isCalm()) return draw(target);
    const began = performance.now();
    function step(now) {
      const share = Math.min(1, (now - began) / GLIDE_MS);
      draw(target.map((row, y) => row.map((value, x) => from[y][x] + share * (value - from[y][x]))));
      if (share < 1) frame = requestAnimationFrame(step);
    }
    frame = requestAnimationFrame(step);
  }

  return {
    element: canvas,
    show(grid, [left, top, right, bottom]) {
      for (const [side, share] of Object.entries({ left, top, width: right - left, height: bottom - top })) {
        canvas.style.setProperty(side, `${100 * share}%`);
      }
      canvas.classList.add("lit");
      glide(darkness(grid));
    },
    hide() {
      canvas.classList.remove("lit");
      cancelAnimationFrame(frame);
      shown = null;
    },
  };
}

/** How dark each place becomes: 0 where the word's attention is strongest. */
export function darkness(grid) {
  const all = grid.flat();
  const most = Math.max(...all);
  const least = Math.min(...all);
  const range = most - least;
  return grid.map((row) => row.map((value) => (range > 0 ? (1 - DARKEST) * (1 - (value - least) / range) : 0)));
}

/** The part of the photo where most of a word's attention lies: a key of the page's words. */
export function region(grid, [first, top, last, bottom]) {
  let down = 0;
  let right = 0;
  let sum = 0;
  const least = Math.min(...grid.flat());
  grid.forEach((row, y) => row.forEach((value, x) => {
    const weight = (value - least) ** 2; // what stands out, not the even rest
    down += weight * (y + 0.5) / grid.length;
    right += weight * (x + 0.5) / row.length;
    sum += weight;
  }));
  if (!sum) return "region.all";
  const third = (share) => Math.min(2, Math.floor(3 * share));
  return `region.${third(top + ((bottom - top) * down) / sum)}${third(first + ((last - first) * right) / sum)}`;
}

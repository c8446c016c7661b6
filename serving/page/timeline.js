// The labels of a video over time: coloured segments, a lane a label, and a hand that moves.

import { button, el, percent, put } from "./dom.js";
import { say } from "./language.js";

const FEW = 10; // lanes that are shown before somebody asks for all
const LANE = 16; // pixels

/** A timeline; `jump(seconds)` is told where a click or a key went. */
export function timeline(jump) {
  const hand = el("div", { class: "hand" });
  const tip = el("div", { class: "tip", hidden: true });
  const over = el("div", {
    class: "over", role: "slider", tabIndex: 0, data: { label: "video.timeline" },
    "aria-valuemin": "0", "aria-valuenow": "0", "aria-valuemax": "0",
  }, hand, tip);
  const rows = el("div", { class: "lanes" });
  const until = el("span", {});
  const axis = el("p", { class: "row spread fine axis" }, el("span", {}, minutes(0)), until);
  const more = el("p", {});
  const element = el("div", { class: "timeline", hidden: true }, el("div", { class: "plot" }, rows, over), axis, more);
  let labels = null;
  let length = 0;
  let all = false;
  let now = 0;
  let shown = []; // lanes

  /** Draws what `labels` hold by now. */
  function draw(of, seconds) {
    labels = of;
    length = Math.max(seconds || 0, labels.end) || 1;
    element.hidden = !labels.frames.length && !labels.runs.length;
    paint();
  }

  function paint() {
    const lanes = labels.lanes();
    shown = all ? lanes : lanes.slice(0, FEW);
    while (rows.children.length > shown.length) rows.lastChild.remove();
    shown.forEach((lane, place) => {
      const row = rows.children[place] ?? rows.appendChild(el("div", { class: "lane" }, el("span", {}), el("canvas", { "aria-hidden": "true" })));
      const [name, canvas] = row.children;
      name.hidden = lane.label === null;
      name.textContent = lane.label ?? "";
      paintLane(canvas, lane);
    });
    element.classList.toggle("single", shown[0]?.label === null);
    put(more, lanes.length > FEW ? button(all ? "video.fewer" : "video.more", () => { all = !all; paint(); }, { class: "quiet" }) : null);
    put(until, minutes(length));
    over.setAttribute("aria-valuemax", length.toFixed(1));
    move(now);
  }

  function paintLane(canvas, lane) {
    const width = canvas.clientWidth;
    const height = lane.label === null ? 2 * LANE : LANE;
    const scale = devicePixelRatio || 1;
    canvas.style.setProperty("height", `${height}px`);
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    for (const run of lane.runs) {
      const left = (run.start / length) * width;
      const wide = Math.max(1, ((run.end - run.start) / length) * width - 0.5);
      context.fillStyle = `hsl(${labels.colour(run.label)} 55% 40% / ${0.35 + 0.65 * run.score})`;
      context.beginPath();
      context.roundRect(left, 0, wide, height, Math.min(4, wide / 2));
      context.fill();
      if (lane.label === null && context.measureText(run.label).width + 12 < wide) {
        context.fillStyle = "#fff";
        context.fillText(run.label, left + 6, height / 2 + 1);
      }
    }
  }

  function secondsAt(event) {
    const box = over.getBoundingClientRect();
    return Math.min(length, Math.max(0, ((event.clientX - box.left) / box.width) * length));
  }

  /** The time, and what is there: of the label of a lane, or of all. */
  function told(seconds, only = null) {
    if (!labels) return [minutes(seconds)];
    const frame = labels.frames[labels.at(seconds)];
    const names = labels.runsAt(seconds).filter(({ label }) => !only || label === only).map((run) => {
      const here = frame?.labels.find(({ label }) => label === run.label);
      return `${run.label} ${percent(here?.score ?? run.score)}`;
    });
    return [minutes(seconds), ...names];
  }

  over.addEventListener("pointermove", (event) => {
    if (!labels) return;
    const seconds = secondsAt(event);
    const box = over.getBoundingClientRect();
    tip.hidden = false;
    const lane = shown[Math.floor(((event.clientY - box.top) / box.height) * shown.length)];
    put(tip, told(seconds, lane?.label).map((line) => el("p", {}, line)));
    const left = ((seconds / length) * box.width);
    tip.style.setProperty("left", `${Math.max(0, Math.min(left, box.width - tip.offsetWidth))}px`);
  });
  over.addEventListener("pointerleave", () => { tip.hidden = true; });
  over.addEventListener("click", (event) => { if (labels) jump(secondsAt(event)); });
  over.addEventListener("keydown", (event) => {
    if (!labels?.frames.length) return;
    const place = Math.max(0, labels.at(now));
    const step = (by) => labels.time(labels.frames[Math.min(labels.frames.length - 1, Math.max(0, place + by))]);
    const to = {
      ArrowRight: step(1), ArrowUp: step(1), ArrowLeft: step(-1), ArrowDown: step(-1),
      PageUp: Math.min(length, now + 10), PageDown: Math.max(0, now - 10), Home: 0, End: step(labels.frames.length),
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    jump(to);
  });
  new ResizeObserver(() => { if (labels && !element.hidden) draw(labels, length); }).observe(rows);

  /** Moves the hand; cheap enough for every frame of the screen. */
  function move(seconds) {
    now = seconds;
    hand.style.setProperty("left", `${Math.min(100, (100 * seconds) / length)}%`);
  }

  /** Says where the hand is; for when another frame is reached. */
  function speak() {
    over.setAttribute("aria-valuenow", now.toFixed(1));
    over.setAttribute("aria-valuetext", told(now).join(", "));
  }

  function clear() {
    labels = null;
    element.hidden = true;
  }

  return { element, draw, move, speak, clear };
}

/** 83.4 -> 1:23.4 */
export function minutes(seconds) {
  const whole = Math.floor(seconds * 10 + 1e-6) / 10;
  return `${Math.floor(whole / 60)}:${(whole % 60).toFixed(1).padStart(4, "0")}`;
}

/** A table of all segments, made when it is opened; each line jumps. */
export function segmentTable(jump) {
  const body = el("tbody", {});
  const table = el("table", {}, el("thead", {}, el("tr", {}, ["video.time", "video.label", "confidence"].map((key) => el("th", { scope: "col" }, say(key))))), body);
  const element = el("details", { class: "segments", hidden: true }, el("summary", {}, say("video.segments")), el("div", { class: "scroll" }, table));
  let runs = [];
  function fill() {
    put(body, runs.map((run) => el(
      "tr", {},
      el("td", {}, el("button", { type: "button", class: "quiet", on: { click: () => jump(run.start) } }, `${minutes(run.start)}–${minutes(run.end)}`)),
      el("td", { lang: "en" }, run.label, run.caption ? el("p", { class: "fine" }, run.caption) : null),
      el("td", {}, percent(run.score)),
    )));
  }
  element.addEventListener("toggle", () => { if (element.open) fill(); });
  return {
    element,
    show(found) {
      runs = found;
      element.hidden = !runs.length;
      if (element.open) fill();
    },
  };
}

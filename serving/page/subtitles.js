// Labels as files: what the service writes for the same result, byte for byte (a test compares).

import { csv } from "./dom.js";

const COLUMNS = ["label", "start_s", "end_s", "start_frame", "end_frame", "score", "caption"];

/** How many subtitles stand in the picture at once, at most. */
export const LINES = 3;

/** Start and end in milliseconds, and the lines, of each segment. */
export function cues(summary) {
  const begin = summary.video.start_s ?? 0;
  return summary.segments.map((segment) => {
    const start = Math.max(0, rounded(1000 * (segment.start_s - begin)));
    const end = Math.max(0, rounded(1000 * (segment.end_s - begin)), start + 1);
    const lines = [segment.label, segment.caption ?? ""].filter((line) => line.trim());
    return { start, end, score: segment.score, lines: lines.length ? lines.map((line) => line.trim().split(/\s+/).join(" ")) : ["-"] };
  });
}

/** The likeliest of all cues: so many that the picture can be seen. */
export function legible(all) {
  const chosen = [];
  for (const one of [...all].sort((a, b) => b.score - a.score)) {
    const beside = chosen.filter(({ start, end }) => start < one.end && one.start < end);
    const count = (time) => beside.filter(({ start, end }) => start <= time && time < end).length;
    if ([one, ...beside].every(({ start }) => count(Math.max(start, one.start)) < LINES)) chosen.push(one);
  }
  return chosen;
}

/** Text as a cue holds it: never an instruction to the player. */
export function cueText(lines) {
  return lines.join("\n").replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

export function toVtt(summary) {
  return ["WEBVTT\n", ...cues(summary).map(({ start, end, lines }) => (
    `${clock(start, ".")} --> ${clock(end, ".")}\n${cueText(lines)}\n`))].join("\n");
}

export function toSrt(summary) {
  return cues(summary).map(({ start, end, lines }, place) => {
    const text = lines.join("\n").replaceAll("<", "‹").replaceAll(">", "›");
    return `${place + 1}\n${clock(start, ",")} --> ${clock(end, ",")}\n${text}\n`;
  }).join("\n");
}

export function toCsv(summary) {
  const rows = summary.segments.map((segment) => COLUMNS.map((name) => cell(segment[name] ?? "", name)));
  return csv([COLUMNS, ...rows]);
}

export function toJson(labels) {
  const { type, ...summary } = labels.summary;
  const frames = labels.frames.map(({ type: kind, ...frame }) => frame);
  return `${JSON.stringify({ frames, ...summary })}\n`;
}

function cell(value, name) {
  const isReal = name.endsWith("_s") || name === "score";
  return isReal && Number.isInteger(value) ? value.toFixed(1) : value;
}

function rounded(value) {
  const near = Math.round(value);
  return Math.abs(value % 1) === 0.5 && near % 2 ? near - 1 : near; // halves go to the even side
}

function clock(milliseconds, point) {
  const seconds = Math.floor(milliseconds / 1000);
  const two = (number) => String(number).padStart(2, "0");
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60].map(two);
  return `${parts.join(":")}${point}${String(milliseconds % 1000).padStart(3, "0")}`;
}

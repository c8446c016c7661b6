// The tabs for writing: a prompt, and a text that goes on from it, character by character, coloured by
// surprise or by a hidden unit.

import * as api from "./api.js";
import { curlBlock, curlJson } from "./curl.js";
import { announce, button, copyButton, duration, el, field, percent, put } from "./dom.js";
import { say, text } from "./language.js";
import { failure, usable, wait } from "./notice.js";

const SHADES = 8; // of the legend
const TELLING = { shakespeare: "c1.278", "source-c": "c1.481" }; // of the bundles that ship, see docs/results.md
const MOST_SURPRISING = -6; // nats; what is rarer looks the same

/** The tab that watches a hidden unit. */
export const openUnits = (panel, installed) => openWrite(panel, installed, "units");

/** Fills the panel. `installed()`: a promise of the models by task. */
export function openWrite(panel, installed, kind = "write") {
  const watched = kind === "units";
  let work = null;
  let given = ""; // the prompt of the text
  let said = ""; // what was written after it
  let chances = []; // the log-probability of each character
  const input = (name, properties) => el("input", { id: `${kind}-${name}`, ...properties, on: { change: showCurl, input: showCurl } });
  const prompt = el("textarea", {
    id: `${kind}-prompt`, rows: 3, spellcheck: false, data: { hint: "write.hint" },
    on: { input: showCurl, keydown: (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) start(); } },
  });
  const model = el("select", { id: `${kind}-model`, on: { change: chosen } });
  const modelField = field(model, "model");
  const bold = el("output", { htmlFor: `${kind}-temperature` });
  const temperature = input("temperature", { type: "range", min: 0, max: 2, step: 0.05, value: 0.7 });
  const length = input("length", { type: "number", min: 1, max: 20000, value: 400 });
  const seed = input("seed", { type: "number", min: 0, max: 2 ** 53 - 1, data: { hint: "option.auto" } });
  const stop = input("stop", { type: "text", maxLength: 100, data: { hint: "write.never" } });
  const unit = input("unit", { type: "text", value: "c1.0", required: true, pattern: "[a-z]\\d+\\.\\d+", spellcheck: false });
  const telling = el("p", { class: "fine" });
  const page = el("p", { class: "page" });
  const status = el("div", { class: "status" });
  const go = button("write.go", () => start(), { class: "main" });
  const on = button("write.on", () => start(true), { hidden: true });
  const halt = button("write.stop", () => work?.abort(), { hidden: true });
  const copy = copyButton(() => given + said, { hidden: true });
  const curl = curlBlock();
  put(
    panel,
    el("h1", { class: "unseen" }, say(`${kind}.title`)),
    el(
      "div", { class: "desk" },
      el(
        "div", {},
        el("label", { class: "unseen", htmlFor: prompt.id }, say("write.prompt")), prompt,
        el("div", { class: "row" }, go, halt, on, copy),
        el(
          "details", { class: "options", open: matchMedia("(min-width: 46rem)").matches },
          el("summary", {}, say("options")),
          el("div", { class: "fields" }, watched ? el("div", { class: "field" }, el("label", { htmlFor: unit.id }, say("option.unit")), unit, telling) : null, modelField, el("div", { class: "field" }, el("label", { htmlFor: temperature.id }, say("option.temperature"), " ", bold), temperature), field(length, "length"), field(seed, "seed"), field(stop, "stop")),
        ),
      ),
      el("div", { class: "result" }, page, status, legend(watched)),
    ),
    el("div", { class: "below" }, curl.element),
  );
  put(status, el("p", { class: "soft" }, say(`${kind}.empty`)));
  usable("generate", installed, panel, status).then((found) => {
    put(model, found.map(({ name }) => el("option", {}, name)));
    modelField.hidden = found.length < 2;
    chosen();
  });
  page.addEventListener("pointerover", (event) => {
    const { place } = event.target;
    if (place !== undefined) event.target.title = event.target.unit ?? percent(Math.exp(chances[place]));
  });

  /** Another model has other units. */
  function chosen() {
    unit.value = TELLING[model.value] ?? "c1.0";
    put(telling, say(TELLING[model.value] ? `unit.${model.value}` : "unit.any"));
    showCurl();
  }

  function body() {
    const wanted = { prompt: prompt.value, max_tokens: Number(length.value) || 1, temperature: Number(temperature.value) };
    if (seed.value && wanted.temperature > 0) wanted.seed = Number(seed.value);
    if (stop.value) wanted.stop = [stop.value.replaceAll("\\n", "\n")];
    if (model.options.length > 1) wanted.model = model.value;
    if (watched) wanted.units = [unit.value];
    return wanted;
  }

  function showCurl() {
    bold.value = Number(temperature.value).toFixed(2);
    curl.show(curlJson("generate", { ...body(), stream: true }, { stream: true }));
  }

  /** Writes from the prompt, or goes on from what is there. */
  async function start(goesOn = false) {
    if (!length.reportValidity() || !seed.reportValidity() || (watched && !unit.reportValidity())) return;
    work?.abort();
    const mine = new AbortController();
    work = mine;
    const wanted = body();
    if (goesOn) wanted.prompt = given + said;
    else {
      given = prompt.value;
      said = "";
      chances = [];
      put(page, el("span", { class: "given" }, given));
    }
    running(true);
    put(status);
    const began = performance.now();
    let waitingFor = [];
    const flush = () => {
      page.append(...waitingFor);
      waitingFor = [];
    };
    let frame = 0;
    try {
      const events = api.generate(wanted, { signal: mine.signal, waiting: (seconds) => put(status, wait(seconds)) });
      for await (const event of events) {
        if (event.delta !== undefined) {
          waitingFor.push(character(event));
          frame ||= requestAnimationFrame(() => { frame = 0; flush(); });
        }
        if (event.finish_reason) ended(`end.${event.finish_reason}`);
      }
    } catch (error) {
      if (mine.signal.aborted) ended("end.stopped");
      else put(status, failure(error, () => start(goesOn)));
    } finally {
      flush();
      if (work === mine) {
        work = null;
        running(false);
      }
    }
    function ended(key) {
      const count = chances.length;
      const mean = count ? -chances.reduce((sum, one) => sum + one, 0) / count : 0;
      put(status, el("p", { class: "soft" }, say(key, { count, time: duration(performance.now() - began), nats: mean.toFixed(2) })));
      announce(text("write.announced", { count }));
    }
  }

  function character({ delta, log_prob: chance, units }) {
    const span = document.createElement("span");
    span.textContent = delta;
    if (units) {
      [span.unit] = Object.values(units);
      span.style.backgroundColor = colour(span.unit);
    } else span.style.setProperty("--surprise", surprise(chance));
    span.place = chances.length;
    said += delta;
    chances.push(chance);
    return span;
  }

  function running(is) {
    panel.classList.toggle("running", is);
    halt.hidden = !is;
    on.hidden = is || !said;
    copy.hidden = !said;
    if (is) halt.focus({ preventScroll: true });
    else if (document.activeElement === document.body) go.focus({ preventScroll: true });
  }
}

function surprise(chance) {
  return Math.min(1, Math.max(0, chance / MOST_SURPRISING)).toFixed(2);
}

function colour(value) {
  return `rgb(${value > 0 ? "220 50 40" : "40 100 220"} / ${Math.round(80 * Math.abs(value))}%)`;
}

function legend(watched) {
  const shades = Array.from({ length: SHADES }, (_, place) => {
    const share = place / (SHADES - 1);
    return el("span", { style: watched ? { background: colour(2 * share - 1) } : { "--surprise": share } }, " ");
  });
  const [low, high] = watched ? ["−1", "+1"] : [say("write.expected"), say("write.surprising")];
  return el("p", { class: "legend fine" }, low, el("span", { class: "shades", "aria-hidden": "true" }, shades), high);
}

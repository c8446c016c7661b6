// What stands where something cannot be: an error beside its cause, a wait, a bundle that is missing.

import { button, copyButton, el, put } from "./dom.js";
import { has, say, text } from "./language.js";

/** What went wrong, in words: the service's own, or the page's where none arrived. */
export function reason(error) {
  const key = `error.${error.code}`;
  return error.message || (has(key) ? text(key) : String(error.code ?? error));
}

/** An error, and a way to try again. */
export function failure(error, again) {
  const key = `error.${error.code}`;
  const words = error.message ? el("span", { lang: "en" }, error.message) : has(key) ? say(key) : String(error);
  return el(
    "div", { class: "failure", role: "alert" },
    el("p", {}, words),
    again ? button("again", again, { class: "quiet" }) : null,
  );
}

/** What is being done, and what can be done about it. */
export function working(words, ...more) {
  return el("div", { class: "row" }, el("span", { class: "pulse" }), el("p", { class: "soft" }, words), more);
}

/** A busy service: how long until it is asked again, counted down. */
export function wait(seconds) {
  const line = el("p", { class: "wait", role: "status" });
  const until = Date.now() + 1000 * seconds;
  function tick() {
    put(line, say("busy", { seconds: Math.max(0, Math.ceil((until - Date.now()) / 1000)) }));
    if (Date.now() < until) setTimeout(tick, 500);
  }
  tick();
  return line;
}

/**
 * The models of a task, once they are known; `installed()` asks for them. Where there is none, the
 * panel says so; where nobody answers, `status` does until somebody tries again with success.
 */
export async function usable(task, installed, panel, status) {
  const before = [...status.childNodes];
  for (;;) {
    try {
      const found = (await installed()).get(task);
      if (!found?.usable.length) put(panel, missing(task, found));
      return found?.usable ?? [];
    } catch (error) {
      await new Promise((again) => { put(status, failure(error, again)); });
      put(status, before);
    }
  }
}

/** What to do about a task without a bundle that can be used; `found`: what `api.models` has of it. */
function missing(task, found) {
  const command = `python -m training fit --config ${CONFIGS[task]}`;
  return el(
    "div", { class: "missing" },
    el("h2", {}, say(`missing.${task}`)),
    el("p", {}, say("missing.how")),
    el("div", { class: "line" }, el("code", {}, command), copyButton(() => command)),
    found?.problem ? el("p", { class: "fine", lang: "en" }, found.problem) : null,
  );
}

const CONFIGS = {
  caption: "configs/caption/quick.yaml",
  frames: "configs/frames/flickr8k_labels.yaml",
  translate: "configs/seq2seq/multi30k_de_en.yaml",
  generate: "configs/charlm/shakespeare.yaml",
};

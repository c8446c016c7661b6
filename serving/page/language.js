// The page's words in the browser's language, and the switch between languages.
//
// An element with `data-text` shows that key's words; `data-label`, `data-hint` and `data-tip` give
// its aria-label, placeholder and title. Values in braces come from `data-values`.

import { LANGUAGES, WORDS } from "./words.js";

const KEPT = "language"; // for this tab only

let current = sessionStorage.getItem(KEPT) ?? preferred(navigator.languages);

function preferred(wanted) {
  return wanted.map((name) => name.slice(0, 2).toLowerCase()).find((name) => LANGUAGES.includes(name)) ?? "en";
}

/** Whether there are words for `key`, such as "copy" or "photo.title". */
export function has(key) {
  return find(key) !== undefined;
}

function find(key) {
  return key.split(".").reduce((words, part) => words?.[part], WORDS);
}

/** The words for `key`, with `values` in place of {name}. */
export function text(key, values = {}) {
  const words = find(key)?.[LANGUAGES.indexOf(current)] ?? key;
  return words.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** A span that goes on saying it when the language changes. */
export function say(key, values) {
  const span = document.createElement("span");
  span.dataset.text = key;
  if (values) span.dataset.values = JSON.stringify(values);
  fill(span);
  return span;
}

/** Writes the words of one element. */
export function fill(element) {
  const { text: key, label, hint, tip, values } = element.dataset;
  const filled = values ? JSON.parse(values) : {};
  if (key) element.textContent = text(key, filled);
  if (label) element.setAttribute("aria-label", text(label, filled));
  if (hint) element.placeholder = text(hint, filled);
  if (tip) element.title = text(tip, filled);
}

/** The language the page is in. */
export function language() {
  return current;
}

/** Puts the whole page into a language. */
export function speak(name) {
  current = name;
  sessionStorage.setItem(KEPT, name);
  document.documentElement.lang = name;
  document.querySelectorAll("[data-text], [data-label], [data-hint], [data-tip]").forEach(fill);
  for (const one of document.querySelectorAll("[data-language]")) {
    one.setAttribute("aria-pressed", String(one.dataset.language === name));
  }
  document.dispatchEvent(new CustomEvent("language"));
}

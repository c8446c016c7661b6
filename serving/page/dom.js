// Elements, and the few things that every tab does with them. Text is only ever text: the page's
// policy forbids to turn a string into markup.

import { fill, has, say } from "./language.js";

/**
 * An element. `properties`: `class`, `on` (event -> listener), `style` (name -> value) and `data`
 * (name -> value) by their meaning; what the element has as a property is set as one, the rest as
 * attributes; null and undefined are left out. Of `children`, strings become text.
 */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name === "class") made.className = value;
    else if (name === "on") for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
    else if (name === "style") for (const [key, text] of Object.entries(value)) made.style.setProperty(key, text);
    else if (name === "data") Object.assign(made.dataset, value);
    else if (name in made && !name.startsWith("aria") && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...present(children));
  fill(made);
  return made;
}

function present(children) {
  return children.flat().filter((child) => (child ?? null) !== null);
}

/** A button whose text is that of `key`. */
export function button(key, act, properties = {}) {
  return el("button", { type: "button", on: { click: act }, ...properties }, say(key));
}

/** A button that saves a file in a format, whose name is the same in all languages. */
export function saveButton(format, act) {
  return el("button", { type: "button", class: "quiet", on: { click: act } }, format);
}

/** What asks for a number; `changed(event)` is told of each that may be sent. */
export function number(id, properties, changed) {
  return el("input", {
    id, type: "number", inputMode: "decimal", data: { hint: "option.auto" }, ...properties,
    on: { change: (event) => { if (event.target.reportValidity()) changed(event); } },
  });
}

/** An option with its name, and a word about it where there is one. */
export function field(input, key) {
  return el(
    "div", { class: "field" },
    el("label", { htmlFor: input.id }, say(`option.${key}`)),
    input,
    has(`why.${key}`) ? el("p", { class: "fine" }, say(`why.${key}`)) : null,
  );
}

/** The device's own chooser of files; `take(files)` gets them. Its button is another element. */
export function fileInput(take, properties) {
  return el("input", {
    type: "file", class: "unseen", tabIndex: -1, "aria-hidden": "true", ...properties,
    on: { change: ({ target }) => { take([...target.files]); target.value = ""; } },
  });
}

/** Puts `children` in place of what `parent` holds. */
export function put(parent, ...children) {
  parent.replaceChildren(...present(children));
}

/** Tells a screen reader what has happened. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

/** A button that copies what `text()` gives, and says that it has. */
export function copyButton(text, properties = {}) {
  const made = button("copy", async () => {
    try {
      await navigator.clipboard.writeText(text());
    } catch {
      copyBySelection(text()); // no clipboard outside localhost and https
    }
    put(made, say("copied"));
    announce(made.textContent);
    setTimeout(() => put(made, say("copy")), 1600);
  }, { class: "quiet", ...properties });
  return made;
}

function copyBySelection(text) {
  const area = el("textarea", { class: "unseen", value: text });
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
  focused?.focus();
}

/** Saves `text` as a file. */
export function download(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Rows as CSV with a header line; lines end as RFC 4180 has it. */
export function csv(rows) {
  const cell = (words) => (/[",\r\n]/.test(words) ? `"${words.replaceAll('"', '""')}"` : words);
  return rows.map((row) => `${row.map((value) => cell(String(value))).join(",")}\r\n`).join("");
}

/**
 * A column of buttons, tabs or words of which Tab reaches one and arrow keys the others.
 * `items()` are the elements, in order; `chosen(element)` is told where the keys went.
 */
export function arrowKeys(parent, items, chosen) {
  parent.addEventListener("keydown", (event) => {
    const all = items();
    const at = all.indexOf(event.target.closest("button"));
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const next = all[(at + 1) % all.length];
    const previous = all.at(at - 1);
    const to = {
      ArrowRight: next, ArrowDown: next, ArrowLeft: previous, ArrowUp: previous, Home: all[0], End: all.at(-1),
    }[event.key];
    if (!to) return;
    event.preventDefault();
    rove(all, to);
    to.focus();
    chosen(to);
  });
}

/** Makes `element` the one of `all` that Tab reaches. */
export function rove(all, element) {
  for (const one of all) one.tabIndex = one === element ? 0 : -1;
}

/** Whether whoever looks has asked for less movement. */
export function isCalm() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** 96 ms, 1.2 s. */
export function duration(milliseconds) {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

/** -3.141 -> −3.14. */
export function decimal(value) {
  return value.toFixed(2).replace("-", "−");
}

/** 0.327 -> 33%. */
export function percent(share) {
  return `${Math.round(100 * share)}%`;
}

/** 11.2 kB, 3.4 MB. */
export function bytes(count) {
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (count >= size) return `${(count / size).toFixed(1)} ${unit}`;
  }
  return `${count} B`;
}

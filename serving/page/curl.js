// The command that does what the page does.

import { address } from "./api.js";
import { copyButton, el } from "./dom.js";
import { say } from "./language.js";

/** `text` as one word of a POSIX shell. */
export function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A curl line: a file as the body. */
export function curlFile(path, options, name, { stream = false } = {}) {
  const file = quoted(`@${name || "-"}`);
  const flags = stream ? "-N " : "";
  return `curl ${flags}--data-binary ${file} -H 'Content-Type: application/octet-stream' ${place(path, options)}`;
}

/** A curl line: JSON as the body. */
export function curlJson(path, body, { stream = false } = {}) {
  const flags = stream ? "-N " : "";
  return `curl ${flags}${place(path)} -H 'Content-Type: application/json' -d ${quoted(JSON.stringify(body))}`;
}

function place(path, options) {
  return quoted(address(path, options).href);
}

/** The line in a fold of its own; `show(line)` changes it. */
export function curlBlock() {
  const code = el("code", { tabIndex: 0, data: { label: "command" } });
  const element = el(
    "details", { class: "curl" },
    el("summary", {}, say("curl")),
    el("div", { class: "line" }, code, copyButton(() => code.textContent)),
  );
  return { element, show: (line) => { code.textContent = line; } };
}

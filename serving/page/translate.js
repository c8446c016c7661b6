// The tab for translations: a text, its translations, and which piece looked at which.

import * as api from "./api.js";
import { curlBlock, curlJson } from "./curl.js";
import { announce, arrowKeys, button, copyButton, decimal, duration, el, field, number, percent, put } from "./dom.js";
import { language, say } from "./language.js";
import { failure, usable, wait, working } from "./notice.js";

const EXAMPLES = {
  de: "Ein Hund rennt durch den tiefen Schnee.",
  en: "Two children are playing with a ball on the beach.",
  ko: "두 아이가 바닷가에서 공놀이를 하고 있다.",
};
const SHOWN_PARTS = 8; // of a long text, whose grids would be endless

/** Fills the panel. `installed()`: a promise of the models by task. */
export function openTranslate(panel, installed) {
  let pairs = []; // models, each with its source and target
  let work = null;
  const pair = el("select", { id: "translate-pair", on: { change: showCurl } });
  const swap = button("translate.swap", turn, { class: "quiet", hidden: true });
  const source = el("textarea", {
    id: "translate-source", rows: 5, data: { hint: "translate.hint" },
    on: {
      input: showCurl,
      keydown: (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) start(); },
    },
  });
  const result = el("div", { class: "result" });
  const n = number("translate-n", { min: 1, max: 8, value: 3 }, showCurl);
  const beams = number("translate-beams", { min: 1, max: 16 }, showCurl);
  const curl = curlBlock();
  put(
    panel,
    el("h1", { class: "unseen" }, say("translate.title")),
    el(
      "div", { class: "desk" },
      el(
        "div", {},
        el("div", { class: "row" }, el("label", { class: "unseen", htmlFor: pair.id }, say("translate.pair")), pair, swap),
        el("label", { class: "unseen", htmlFor: source.id }, say("translate.source")),
        source,
        el("div", { class: "row" }, button("translate.go", start, { class: "main" }), el("span", { class: "fine" }, say("translate.keys"))),
      ),
      result,
    ),
    el(
      "div", { class: "below" },
      el("details", { class: "options" }, el("summary", {}, say("options")), el(
        "div", { class: "fields" },
        field(n, "n_translations"), field(beams, "num_beams"),
      )),
      curl.element,
    ),
  );
  const example = button("translate.example", tryExample, { hidden: true });
  put(result, el("p", { class: "soft" }, say("translate.empty")), example);
  usable("translate", installed, panel, result).then((found) => { pairs = found; namePairs(); });
  document.addEventListener("language", namePairs);

  function namePairs() {
    const names = new Intl.DisplayNames([language()], { type: "language" });
    const chosen = pair.selectedIndex;
    put(pair, pairs.map((one) => el("option", {}, `${names.of(one.source)} → ${names.of(one.target)}`)));
    pair.selectedIndex = Math.max(0, chosen);
    showCurl();
  }

  function opposite() {
    const one = pairs[pair.selectedIndex];
    return pairs.findIndex((other) => one && other.source === one.target && other.target === one.source);
  }

  /** The other way round, with the translation as the text. */
  function turn() {
    const said = result.querySelector(".translation")?.textContent;
    pair.selectedIndex = opposite();
    if (said) source.value = said;
    showCurl();
    start();
  }

  function body() {
    const { source: from, target: to } = pairs[pair.selectedIndex] ?? {};
    const wanted = { text: source.value, source: from, target: to, n: Number(n.value) || 1, attention: true };
    if (beams.value) wanted.num_beams = Math.max(Number(beams.value), wanted.n);
    return wanted;
  }

  function showCurl() {
    swap.hidden = opposite() < 0;
    example.hidden = !(pairs[pair.selectedIndex]?.source in EXAMPLES);
    curl.show(curlJson("translate", body()));
  }

  function tryExample() {
    source.value = EXAMPLES[pairs[pair.selectedIndex].source];
    start();
  }

  async function start() {
    if (!source.value.trim()) return source.focus();
    if (!n.reportValidity() || !beams.reportValidity()) return;
    work?.abort();
    const mine = new AbortController();
    work = mine;
    result.classList.add("working");
    if (!result.querySelector(".translation")) put(result, working(say("translate.working")));
    const began = performance.now();
    try {
      const answer = await api.translate(body(), { signal: mine.signal, waiting: (seconds) => put(result, wait(seconds)) });
      show(answer, performance.now() - began);
    } catch (error) {
      if (error.name !== "AbortError") put(result, failure(error, start));
    } finally {
      if (work === mine) result.classList.remove("working");
    }
  }

  function show(answer, took) {
    const [best] = answer.translations;
    const target = body().target;
    put(
      result,
      el("p", { class: "translation", lang: target }, best.text),
      el("div", { class: "row" }, el("span", { class: "fine" }, say("translate.score", { score: decimal(best.log_prob) })), el("span", { class: "fine" }, duration(took)), copyButton(() => best.text)),
      (best.warnings ?? []).map((warning) => el("p", { class: "warning", lang: "en" }, warning)),
      best.alternatives.length ? el("h2", {}, say("translate.others")) : null,
      el("ol", { class: "others" }, best.alternatives.map((other) => el(
        "li", { class: "row spread" }, el("span", { lang: target }, other.text), el("span", { class: "score" }, decimal(other.log_prob)), copyButton(() => other.text),
      ))),
      best.attention?.length ? el("h2", {}, say("translate.attention")) : null,
      (best.attention ?? []).slice(0, SHOWN_PARTS).map(grid),
    );
    announce(best.text);
  }
}

/** Source pieces across, target pieces down; the darker, the more one looked at the other. */
function grid({ source, target, weights: bySource }) {
  const weights = target.map((_, row) => bySource.map((column) => column[row]));
  const readout = el("p", { class: "readout" });
  const heads = source.map((piece) => el("th", { scope: "col" }, el("span", {}, shown(piece))));
  const rows = target.map((piece, row) => {
    const head = el("button", { type: "button", class: "word", tabIndex: row ? -1 : 0, on: { focus: () => point(row, true), pointerenter: () => point(row) } }, shown(piece));
    return el("tr", { on: { pointerenter: () => point(row) } }, el("th", { scope: "row" }, head), weights[row].map((weight) => el("td", {
      title: `${shown(target[row])} ← ${percent(weight)}`, style: { "--weight": `${Math.round(100 * Math.min(1, weight))}%` },
    })));
  });
  function point(row, aloud) {
    rows.forEach((one, at) => one.classList.toggle("lit", at === row));
    heads.forEach((head, at) => head.style.setProperty("--weight", `${Math.round(100 * weights[row][at])}%`));
    const most = weights[row].indexOf(Math.max(...weights[row]));
    put(readout, say("translate.looked", { target: shown(target[row]), source: shown(source[most]), percent: percent(weights[row][most]) }));
    if (aloud) announce(readout.textContent);
  }
  put(readout, say("translate.point"));
  const table = el("table", { class: "grid" }, el("thead", {}, el("tr", {}, el("td", {}), heads)), el("tbody", {}, rows));
  arrowKeys(table, () => rows.map((row) => row.querySelector("button")), () => {});
  return el("div", {}, el("div", { class: "scroll", tabIndex: 0, role: "group", data: { label: "translate.attention" } }, table), readout);
}

function shown(piece) {
  return piece.replaceAll("▁", " ").trim() || "␣";
}

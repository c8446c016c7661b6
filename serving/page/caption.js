// One photo and its captions: the words, where the network looked for them, and the runners-up.

import { attentionVeil, region } from "./attention.js";
import { announce, arrowKeys, button, copyButton, decimal, duration, el, isCalm, percent, put, rove } from "./dom.js";
import { language, say, text } from "./language.js";
import { failure, wait, working } from "./notice.js";

const PER_WORD_MS = 520; // while the words are shown by themselves

/** The photo on the stage; `refresh(again)` shows what has become of it. */
export function captionView(photo) {
  const veil = attentionVeil();
  const picture = el("img", { src: photo.url, alt: "" });
  const unseen = el("p", { class: "unshown", hidden: true }, say("photo.unshown"));
  picture.addEventListener("error", () => { picture.hidden = true; unseen.hidden = false; });
  const frame = el("div", { class: "frame" }, picture, veil.element, unseen);
  picture.addEventListener("load", () => {
    frame.style.setProperty("--shape", picture.naturalWidth / picture.naturalHeight);
  });
  const words = el("div", { class: "words" });
  const element = el(
    "article", { class: "shown" },
    el("figure", {}, frame, el("figcaption", { class: "fine" }, photo.file.name)),
    words,
  );
  let shownFor = null; // the answer that is on the page
  let player = null;

  function refresh(again) {
    element.classList.toggle("working", photo.state === "working" || photo.state === "waiting");
    if (photo.state === "failed") {
      stop();
      shownFor = null;
      veil.hide();
      put(words, failure(photo.error, again));
    } else if (photo.state === "done") {
      if (shownFor !== photo.answer) render(photo.answer);
    } else if (photo.wait) {
      shownFor = null;
      put(words, wait(photo.wait));
    } else if (!shownFor) {
      put(words, working(say("photo.looking")));
    }
  }

  function render(answer) {
    stop();
    veil.hide();
    shownFor = answer;
    picture.alt = answer.caption;
    const sentence = el("div", { class: "sentence" });
    const readout = el("p", { class: "readout" });
    const facts = el("div", { class: "row facts" });
    const ranked = answer.captions.map((one, place) => rank(one, place, () => choose(place)));
    function choose(place, play = false) {
      ranked.forEach((row, at) => row.querySelector("button").setAttribute("aria-pressed", String(at === place)));
      const one = answer.captions[place];
      spell(one, sentence, readout, play);
      put(facts, confidence(place ? Math.exp(one.log_prob / (one.words.length + 1)) : answer.confidence), el("span", { class: "fine", title: timing(answer) }, duration(photo.took)), copyButton(() => one.text));
    }
    put(
      words,
      sentence,
      readout,
      facts,
      answer.warnings.map((warning) => el("p", { class: "warning", lang: "en" }, warning)),
      ranked.length > 1
        ? [el("h2", { class: "row spread" }, say("photo.runners"), say("photo.score")), el("ol", { class: "ranks" }, ranked)]
        : null,
    );
    choose(0, !isCalm());
  }

  /** Writes one caption as words that can be pointed at. */
  function spell(ranked, sentence, readout, play) {
    stop();
    veil.hide();
    const looks = ranked.words.some((word) => word.weights);
    let pinned = null;
    const items = ranked.words.map((word, place) => el("button", {
      type: "button", class: "word", tabIndex: place ? -1 : 0, "aria-pressed": "false",
      on: {
        pointerenter: (event) => { if (event.pointerType !== "touch") { stop(); show(place); } },
        pointerleave: () => { if (!player) show(pinned); },
        focus: () => { stop(); show(place); },
        blur: () => { if (!player) show(pinned); },
        click: () => {
          stop();
          pinned = pinned === place ? null : place;
          show(pinned ?? place);
          items.forEach((item, at) => item.setAttribute("aria-pressed", String(at === pinned)));
        },
      },
    }, word.text));
    function show(place) {
      items.forEach((item, at) => item.classList.toggle("lit", at === place));
      const word = ranked.words[place];
      if (!word) {
        veil.hide();
        put(readout, say(looks ? "photo.point" : "photo.blind"));
        return;
      }
      if (word.weights) veil.show(word.weights, photo.answer.image.seen);
      const values = { word: word.text, percent: percent(word.probability) };
      const where = word.weights ? region(word.weights, photo.answer.image.seen) : null;
      put(readout, say("photo.word", values), where ? [" · ", say(where)] : null);
      if (items[place] === document.activeElement) announce(readout.textContent);
    }
    const line = el("p", { class: "caption", role: "group", data: { label: "photo.words" }, lang: "en" });
    // Punctuation and endings ("n't") stand at the word before, as the sentence has them.
    let rest = ranked.text;
    items.forEach((item, place) => {
      const at = rest.toLowerCase().indexOf(ranked.words[place].text.toLowerCase());
      const gap = at >= 0 ? rest.slice(0, at) : place ? " " : "";
      if (at >= 0) {
        item.textContent = rest.slice(at, at + ranked.words[place].text.length);
        rest = rest.slice(at + ranked.words[place].text.length);
      }
      line.append(gap, item);
    });
    line.append(rest);
    arrowKeys(line, () => items, () => {});
    line.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { pinned = null; show(null); }
    });
    line.addEventListener("focusin", (event) => rove(items, event.target));
    put(sentence, line, looks ? button("photo.replay", () => run(items, show), { class: "quiet replay" }) : null);
    show(null);
    if (play && looks) run(items, show);
  }

  function run(items, show) {
    stop();
    let place = 0;
    player = setInterval(() => {
      if (place < items.length && items[place].isConnected) show(place);
      else { stop(); show(null); }
      place += 1;
    }, PER_WORD_MS);
  }

  function stop() {
    clearInterval(player);
    player = null;
  }

  return { photo, element, refresh };
}

function rank(one, place, choose) {
  return el(
    "li", {},
    el(
      "button", { type: "button", on: { click: choose }, "aria-pressed": String(place === 0) },
      el("span", { class: "text", lang: "en" }, one.text),
      el("span", { class: "score" }, decimal(one.log_prob)),
    ),
  );
}

function confidence(share) {
  return el(
    "div", { class: "confidence" },
    el("span", {}, say("confidence"), ` ${percent(share)}`),
    el("span", { class: "bar", "aria-hidden": "true" }, el("span", { style: { width: percent(share) } })),
  );
}

function timing(answer) {
  const parts = Object.entries(answer.timing_ms).map(([name, value]) => `${name} ${value.toLocaleString(language())} ms`);
  return `${text("photo.service")}: ${parts.join(", ")}`;
}

// Many photos: a card each, filled as answers come, and all of them as one file.

import { button, copyButton, csv, download, el, percent, put, saveButton } from "./dom.js";
import { say } from "./language.js";
import { reason, wait } from "./notice.js";

/** Cards below the stage, shown from the second photo on. */
export function gallery({ choose, again, clear }) {
  const list = el("ul", { class: "cards" });
  const progress = el("p", { class: "soft", role: "status" });
  const saves = el("div", { class: "row" });
  const element = el(
    "section", { class: "gallery", hidden: true, data: { label: "photo.gallery" } },
    el("div", { class: "row spread" }, progress, saves),
    list,
  );

  function add(added, photos) {
    for (const photo of added) {
      photo.card = card(photo);
      list.append(photo.card.element);
      refresh(photo, photos);
    }
    if (!photos.length) put(list);
    element.hidden = photos.length < 2;
    count(photos);
    put(
      saves,
      el("span", { class: "soft" }, say("save")),
      saveButton("JSONL", () => download("captions.jsonl", toJsonl(photos), "application/x-ndjson")),
      saveButton("CSV", () => download("captions.csv", toCsv(photos), "text/csv")),
      button("photo.clear", clear, { class: "quiet" }),
    );
  }

  function card(photo) {
    const picture = el("img", { src: photo.url, alt: "", loading: "lazy" });
    picture.addEventListener("error", () => picture.classList.add("broken"));
    const thumb = el("button", {
      type: "button", class: "thumb", "aria-label": photo.file.name, "aria-pressed": "false",
      on: { click: () => choose(photo) },
    }, picture);
    const words = el("div", { class: "said" });
    return { thumb, words, element: el("li", {}, thumb, el("p", { class: "name fine" }, photo.file.name), words) };
  }

  function refresh(photo, photos) {
    photo.card.element.className = photo.state;
    put(photo.card.words, photo.wait ? wait(photo.wait) : said(photo));
    count(photos);
  }

  function said(photo) {
    if (photo.state === "done") {
      return el(
        "div", {},
        el("p", { lang: "en" }, photo.answer.caption),
        el("div", { class: "row spread" }, el("span", { class: "fine" }, percent(photo.answer.confidence)), copyButton(() => photo.answer.caption)),
      );
    }
    if (photo.state === "failed") {
      return el("div", {}, el("p", { class: "bad", lang: "en" }, reason(photo.error)), button("again", () => again(photo), { class: "quiet" }));
    }
    return el("p", { class: "soft" }, say(photo.state === "working" ? "photo.looking" : "photo.waiting"));
  }

  function mark(photo) {
    for (const thumb of list.querySelectorAll(".thumb")) thumb.setAttribute("aria-pressed", "false");
    photo.card.thumb.setAttribute("aria-pressed", "true");
  }

  function count(photos) {
    const done = photos.filter((photo) => photo.state === "done").length;
    const failed = photos.filter((photo) => photo.state === "failed").length;
    const values = { done, failed, all: photos.length };
    put(progress, say(failed ? "photo.some" : "photo.count", values));
  }

  return { element, add, refresh, mark };
}

const finished = (photos) => photos.filter((photo) => photo.state === "done" || photo.state === "failed");

/** A line for each photo; of those that failed, the error. */
function toJsonl(photos) {
  return finished(photos).map((photo) => JSON.stringify(photo.error
    ? { image: photo.file.name, error: { code: photo.error.code, message: reason(photo.error) } }
    : {
      image: photo.file.name,
      caption: photo.answer.caption,
      log_prob: photo.answer.captions[0].log_prob,
      confidence: photo.answer.confidence,
      captions: photo.answer.captions.map(({ text, log_prob }) => ({ text, log_prob })),
      model: photo.answer.model,
    })).map((line) => `${line}\n`).join("");
}

function toCsv(photos) {
  const rows = finished(photos).map((photo) => photo.error
    ? [photo.file.name, "", "", "", photo.error.code]
    : [photo.file.name, photo.answer.caption, photo.answer.captions[0].log_prob, photo.answer.confidence, ""]);
  return csv([["image", "caption", "log_prob", "confidence", "error"], ...rows]);
}

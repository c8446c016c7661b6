// The tab for photos: one on the stage with its words, many in a gallery.

import { caption } from "./api.js";
import { openCamera } from "./camera.js";
import { captionView } from "./caption.js";
import { curlBlock, curlFile } from "./curl.js";
import { announce, button, el, field, fileInput, isCalm, number, put } from "./dom.js";
import { gallery } from "./gallery.js";
import { say, text } from "./language.js";
import { usable } from "./notice.js";

const AT_A_TIME = 4;
const TAKEN = "image/jpeg,image/png,image/webp,image/gif,image/bmp";

/** Fills the panel; `take(files)` gives it photos. `installed()`: a promise of the models by task. */
export function openPhoto(panel, installed) {
  const photos = []; // {file, url, state: waiting | working | done | failed, answer, error, element}
  let chosen = null;
  let working = 0;

  const stage = el("div", { class: "stage" });
  const strip = gallery({ choose: bring, again: ask, clear });
  const curl = curlBlock();
  const options = optionsForm(() => photos.forEach(ask));
  const welcome = inviting();
  const below = el("div", { class: "below", hidden: true }, options.element, curl.element);
  put(panel, el("h1", { class: "unseen" }, say("photo.title")), welcome, stage, below, strip.element);
  usable("caption", installed, panel, welcome);

  function inviting() {
    const chooser = fileInput(take, { accept: TAKEN, multiple: true });
    const camera = fileInput(take, { accept: TAKEN, capture: "environment" });
    return el(
      "div", { class: "drop" },
      el("p", { class: "large" }, say("photo.drop")),
      el("p", { class: "soft" }, say("photo.paste")),
      el(
        "div", { class: "row" },
        button("photo.choose", () => chooser.click(), { class: "main" }),
        button("photo.camera", () => openCamera((file) => take([file]), () => camera.click())),
        chooser, camera,
      ),
    );
  }

  /** Adds photos, and shows the first of them. */
  function take(files) {
    const added = files.map((file) => ({ file, url: URL.createObjectURL(file), state: "waiting" }));
    photos.push(...added);
    welcome.classList.add("small");
    below.hidden = false;
    strip.add(added, photos);
    if (added.length) choose(added[0]);
    work();
  }

  function work() {
    while (working < AT_A_TIME) {
      const next = [chosen, ...photos].find((photo) => photo?.state === "waiting");
      if (!next) return;
      working += 1;
      answer(next).finally(() => { working -= 1; work(); });
    }
  }

  async function answer(photo) {
    photo.state = "working";
    photo.options = options.values();
    const control = new AbortController();
    photo.control = control;
    refresh(photo);
    const began = performance.now();
    try {
      const found = await caption(photo.file, photo.options, {
        signal: control.signal,
        waiting: (seconds) => { photo.wait = seconds; refresh(photo); },
      });
      if (photo.control !== control) return;
      photo.answer = found;
      photo.took = performance.now() - began;
      photo.error = null;
      photo.state = "done";
    } catch (error) {
      if (photo.control !== control || error.name === "AbortError") return;
      photo.error = error;
      photo.state = "failed";
    }
    photo.wait = null;
    refresh(photo);
    if (photo === chosen) announce(photo.answer && !photo.error ? photo.answer.caption : text("photo.failed"));
  }

  function refresh(photo) {
    strip.refresh(photo, photos);
    if (photo === chosen) render();
  }

  function choose(photo) {
    chosen = photo;
    strip.mark(photo);
    render();
  }

  function bring(photo) {
    choose(photo);
    stage.scrollIntoView({ block: "nearest", behavior: isCalm() ? "auto" : "smooth" });
  }

  function ask(photo) {
    photo.control?.abort();
    photo.state = "waiting";
    refresh(photo);
    work();
  }

  function clear() {
    for (const photo of photos) {
      photo.control?.abort();
      URL.revokeObjectURL(photo.url);
    }
    photos.length = 0;
    chosen = null;
    put(stage);
    strip.add([], photos);
    welcome.classList.remove("small");
    below.hidden = true;
    welcome.querySelector("button").focus();
  }

  function render() {
    const photo = chosen;
    curl.show(curlFile("caption", options.values(), photo.file.name));
    if (photo.view?.photo !== photo) photo.view = captionView(photo);
    if (!photo.view.element.isConnected) put(stage, photo.view.element);
    photo.view.refresh(() => ask(photo));
  }

  return { take };
}

function optionsForm(changed) {
  const n = number("photo-n", { min: 1, max: 8, value: 3 }, changed);
  const beams = number("photo-beams", { min: 1, max: 8 }, changed);
  const temperature = number("photo-temperature", { min: 0, max: 2, step: 0.1, value: 0 }, changed);
  const seed = number("photo-seed", { min: 0, max: 2 ** 31 }, changed);
  const element = el(
    "details", { class: "options" },
    el("summary", {}, say("options")),
    el("div", { class: "fields" }, field(n, "n"), field(beams, "num_beams"), field(temperature, "temperature"), field(seed, "seed")),
  );
  /** What is sent: nothing that is as the service has it anyway. */
  function values() {
    const wanted = { n: n.value, attention: "true" };
    if (beams.value) wanted.num_beams = Math.max(beams.value, n.value);
    if (Number(temperature.value) > 0) Object.assign(wanted, { temperature: temperature.value, seed: seed.value });
    return wanted;
  }
  return { element, values };
}

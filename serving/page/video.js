// The tab for videos: labels while a clip is being worked on; a job for a long one.

import * as api from "./api.js";
import { curlBlock, curlFile } from "./curl.js";
import { announce, button, bytes, copyButton, download, duration, el, field, fileInput, number, percent, put, saveButton } from "./dom.js";
import { Labels } from "./labels.js";
import { say, text } from "./language.js";
import { failure, usable, wait, working } from "./notice.js";
import { player } from "./player.js";
import { toCsv, toJson, toSrt, toVtt } from "./subtitles.js";
import { minutes, segmentTable, timeline } from "./timeline.js";

const TAKEN = "video/*,image/gif,.mkv,.ts,.avi,.mpg";
const LOOK_MS = [300, 600, 1000]; // between the first looks at a job

/** Fills the panel; `take(files)` gives it a video, `follow(id)` a job. */
export function openVideo(panel, installed) {
  let labels = new Labels();
  let file = null;
  let screen = null; // the player
  let work = null; // an AbortController, while something is under way
  let jobId = null;
  let key = null; // of the job that a file becomes, however often it is sent

  const lanes = timeline((seconds) => screen?.jump(seconds));
  const table = segmentTable((seconds) => screen?.jump(seconds));
  const status = el("div", { class: "status" });
  const saves = el("div", { class: "row", hidden: true }, el("span", { class: "soft" }, say("save")));
  const curl = curlBlock();
  const options = optionsForm(() => { if (file) start(); else showCurl(); });
  const chooser = fileInput(take, { accept: TAKEN });
  const welcome = el(
    "div", { class: "drop" },
    el("p", { class: "large" }, say("video.drop")),
    el("p", { class: "soft" }, say("video.kinds")),
    el("div", { class: "row" }, button("video.choose", () => chooser.click(), { class: "main" }), chooser),
  );
  const stage = el("div", { class: "stage" });
  const below = el("div", { class: "below", hidden: true }, options.element, curl.element);
  put(panel, el("h1", { class: "unseen" }, say("video.title")), welcome, stage, status, lanes.element, table.element, saves, below);
  usable("frames", installed, panel, welcome).then(installed).then((models) => {
    if (!models.get("caption")?.usable.length) options.withoutCaptions();
  });

  for (const [format, end, type, write] of [
    ["WebVTT", "vtt", "text/vtt", () => toVtt(labels.summary)],
    ["SRT", "srt", "application/x-subrip", () => toSrt(labels.summary)],
    ["CSV", "csv", "text/csv", () => toCsv(labels.summary)],
    ["JSON", "json", "application/json", () => toJson(labels)],
  ]) {
    const stem = () => (file?.name ?? "labels").replace(/\.\w+$/, "");
    saves.append(saveButton(format, () => download(`${stem()}.${end}`, write(), type)));
  }

  /** Shows a video, and has it labelled; of several, the first. */
  function take(files) {
    if (!files.length) return;
    const isOfJob = jobId && !file; // the clip to its labels
    [file] = files;
    if (isOfJob) return show(file);
    forget();
    open();
    start();
  }

  function open() {
    welcome.classList.add("small");
    below.hidden = false;
    show(file);
  }

  function show(clip) {
    screen?.close();
    screen = player(clip, labels, (seconds, isNew) => {
      lanes.move(seconds);
      if (isNew) lanes.speak();
    });
    put(stage, screen.element);
    screen.subtitle(labels);
    screen.refresh();
  }

  function forget() {
    work?.abort();
    work = null;
    key = null;
    leaveJob();
    fresh();
  }

  function fresh() {
    labels = new Labels();
    put(status);
    saves.hidden = true;
    table.show([]);
    lanes.clear();
  }

  /** Labels the file at once where the service takes it so, else as a job. */
  async function start() {
    work?.abort();
    const mine = new AbortController();
    work = mine;
    const { signal } = mine;
    leaveJob();
    fresh();
    show(file);
    showCurl();
    put(status, working(say("video.sending", { size: bytes(file.size) }), stop()));
    try {
      if (await isLong()) await startJob(signal);
      else {
        const began = performance.now();
        await gather(api.frames(file, options.values(), { signal, waiting }), signal, progress);
        finish(performance.now() - began);
      }
    } catch (error) {
      if (error.code === "use_jobs" && work === mine) await startJob(signal).catch(failed);
      else failed(error);
    } finally {
      if (work === mine) work = null;
    }
    function failed(error) {
      if (error.name === "AbortError" || signal.aborted) return;
      put(status, failure(error, start));
      if (labels.frames.length) draw();
    }
  }

  async function isLong() {
    const limits = await api.limits();
    const seconds = await Promise.race([screen.known, new Promise((resolve) => { setTimeout(resolve, 3000); })]);
    const every = options.values().every_s;
    return file.size > limits.frames_max_bytes || seconds > limits.frames_max_s
      || (every > 0 && seconds / every > limits.frames_max_frames);
  }

  async function gather(events, signal, came = () => {}) {
    for await (const event of events) {
      signal.throwIfAborted();
      labels.add(event);
      draw();
      came();
      if (labels.frames.length === 1) screen.refresh();
    }
  }

  let drawn = 0;
  function draw() {
    drawn ||= requestAnimationFrame(() => {
      drawn = 0;
      screen.subtitle(labels);
      lanes.draw(labels, screen.length());
    });
  }

  let told = 0;
  let count; // the words change and Cancel stays: what is drawn anew cannot be clicked
  function progress() {
    if (told) return;
    told = requestAnimationFrame(() => {
      told = 0;
      if (labels.summary || !work) return;
      if (!count?.isConnected) {
        put(status, working("", stop()));
        count = status.querySelector("p");
      }
      put(count, say("video.labelling", { frames: labels.frames.length, time: minutes(labels.end) }));
    });
  }

  function finish(took) {
    const { summary } = labels;
    if (!summary) return put(status, failure(new api.ServiceError("unreachable", ""), start));
    draw();
    screen.subtitle(labels);
    screen.refresh();
    table.show(labels.runs);
    saves.hidden = false;
    const values = { frames: labels.frames.length, segments: summary.segments.length, time: duration(took) };
    const done = el("p", { class: "soft" }, say("video.done", values));
    const clip = summary.clip.labels.slice(0, 3).map(({ label, score }) => `${label} ${percent(score)}`).join(", ");
    put(
      status,
      el("p", { class: "whole" }, say("video.whole"), " ", el("span", { lang: "en" }, clip)),
      done,
      summary.truncated ? el("p", { class: "warning" }, say("video.truncated")) : null,
      summary.warnings.map((warning) => el("p", { class: "warning", lang: "en" }, warning)),
    );
    announce(done.textContent);
  }

  function waiting(seconds) {
    put(status, wait(seconds), stop());
  }

  function stop() {
    return button("cancel", () => {
      work?.abort();
      work = null;
      put(status, ended("video.stopped"));
    }, { class: "quiet" });
  }

  function ended(key) {
    return el("div", { class: "row" }, el("p", { class: "soft" }, say(key)), file ? button("again", start, { class: "quiet" }) : null);
  }

  // A job: it goes on without this page, and its link leads back to it.

  async function startJob(signal) {
    fresh();
    show(file);
    key ??= crypto.getRandomValues(new Uint32Array(4)).join("-");
    put(status, working(say("video.long", { size: bytes(file.size) }), stop()));
    const job = await api.startJob(file, options.values(), key, { signal, waiting });
    jobId = job.id;
    history.replaceState(null, "", `#video/${jobId}`);
    showCurl();
    await watch(job, signal);
  }

  /** Shows a job of which only the id is known: after a reload, or from somebody's link. */
  async function follow(id) {
    if (!id || id === jobId || !/^[0-9a-f]{32}$/.test(id)) return;
    work?.abort();
    const mine = new AbortController();
    work = mine;
    file = null;
    jobId = id;
    fresh();
    open();
    showCurl();
    put(status, working(say("video.asking")));
    try {
      await watch(await api.job(id), mine.signal);
    } catch (error) {
      if (mine.signal.aborted) return;
      jobId = null;
      put(status, failure(error, () => follow(id)));
    } finally {
      if (work === mine) work = null;
    }
  }

  async function watch(job, signal) {
    for (let looks = 0; job.state === "queued" || job.state === "running"; looks += 1) {
      showJob(job);
      if (job.state === "running") await found();
      await new Promise((resolve) => { setTimeout(resolve, LOOK_MS[looks] ?? 2000); });
      const before = job.frames_labelled;
      job = await api.job(job.id, { signal });
      if (job.frames_labelled < before) { // it was begun anew
        fresh();
        show(file);
      }
    }
    if (job.state === "succeeded") {
      await found();
      finish(labels.summary?.timing_ms.total);
      status.append(linkTo(job.id));
    } else if (job.state === "failed") {
      throw new api.ServiceError(job.error.code, job.error.message);
    } else {
      put(status, ended(`video.${job.state}`));
      leaveJob();
    }
    function found() {
      return gather(api.jobEvents(job.id, labels.frames.length, { signal, waiting }), signal);
    }
  }

  let bar = null;
  function showJob(job) {
    if (!bar?.element.isConnected || bar.id !== job.id) {
      const progressBar = el("progress", { max: 1, data: { label: "video.progress" } });
      const words = el("p", { class: "soft" });
      const element = el("div", { class: "job" }, words, progressBar, el("div", { class: "row" }, button("cancel", () => cancel(job.id), { class: "quiet" }), linkTo(job.id)));
      bar = { id: job.id, element, progressBar, words };
      put(status, element);
      announce(text("video.job"));
    }
    if (job.progress === null) bar.progressBar.removeAttribute("value");
    else bar.progressBar.value = job.progress;
    const done = job.progress === null ? "" : percent(job.progress);
    put(bar.words, say(`video.${job.state}`, { done, frames: job.frames_labelled }));
  }

  function linkTo(id) {
    const href = new URL(`#video/${id}`, location.href).href;
    return el("p", { class: "row link" }, el("a", { href }, say("video.link")), copyButton(() => href));
  }

  async function cancel(id) {
    work?.abort();
    work = null;
    try {
      await api.endJob(id);
      key = null;
      leaveJob();
      put(status, ended("video.cancelled"));
    } catch (error) {
      put(status, failure(error, () => cancel(id)));
    }
  }

  function leaveJob() {
    if (jobId && location.hash === `#video/${jobId}`) history.replaceState(null, "", "#video");
    jobId = null;
  }

  function showCurl() {
    const name = file?.name ?? "clip.mp4";
    if (jobId) curl.show(curlFile("frames/jobs", options.values(), name));
    else curl.show(curlFile("frames", { ...options.values(), format: "ndjson" }, name, { stream: true }));
  }

  return { take, follow };
}

function optionsForm(changed) {
  const every = number("video-every", { min: 0, max: 3600, step: "any" }, changed);
  const top = number("video-top", { min: 1, max: 1000 }, changed);
  const least = number("video-least", { min: 0, max: 1, step: "any" }, changed);
  const captions = el("input", { id: "video-captions", type: "checkbox", on: { change: changed } });
  const element = el(
    "details", { class: "options" },
    el("summary", {}, say("options")),
    el("div", { class: "fields" }, field(every, "every_s"), field(top, "top_k"), field(least, "min_score"), field(captions, "captions")),
  );
  return {
    element,
    values: () => ({ every_s: every.value, top_k: top.value, min_score: least.value, captions: captions.checked ? "true" : "" }),
    withoutCaptions() { captions.disabled = true; },
  };
}

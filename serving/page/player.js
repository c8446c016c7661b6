// The clip itself, with its labels beside it and as a text track.

import { el, percent } from "./dom.js";
import { say } from "./language.js";
import { cues, cueText, legible, LINES } from "./subtitles.js";

const AT_MOST = 5; // labels beside the player

/**
 * A player for a file, or a stand-in that only keeps the time where there is no file.
 * `moved(seconds, isNewFrame)` is told while it plays and after each jump.
 */
export function player(file, labels, moved) {
  const url = file ? URL.createObjectURL(file) : null;
  const video = el("video", { controls: true, playsInline: true, preload: "metadata", data: { label: "video.player" } });
  const unseen = el("p", { class: "unshown", hidden: true }, say("video.unshown"));
  const track = video.addTextTrack("subtitles", "captioner", "en");
  track.mode = "showing";
  const growing = new Map(); // run -> its cue, or null
  const beside = besidePlayer();
  let still = 0; // the time where nothing plays
  let playable = false;
  let shown = -2;
  let ticking = 0;

  const known = new Promise((resolve) => {
    video.addEventListener("loadedmetadata", () => {
      playable = video.videoWidth > 0;
      if (playable) video.parentElement.style.setProperty("--shape", video.videoWidth / video.videoHeight);
      resolve(Number.isFinite(video.duration) ? video.duration : null);
    });
    video.addEventListener("error", () => {
      video.hidden = true;
      unseen.hidden = false;
      resolve(null);
    });
    if (!url) resolve(null);
  });
  if (url) video.src = url;

  function look() {
    const seconds = time();
    const frame = labels.at(seconds);
    const isNew = frame !== shown;
    if (isNew) {
      shown = frame;
      beside.show(labels.frames[frame]?.labels ?? []);
      beside.element.hidden = !labels.frames.length;
    }
    moved(seconds, isNew);
  }

  function tick() {
    look();
    ticking = video.paused || video.ended ? 0 : requestAnimationFrame(tick);
  }
  video.addEventListener("play", () => { cancelAnimationFrame(ticking); tick(); });
  for (const event of ["seeked", "pause", "timeupdate"]) {
    video.addEventListener(event, () => { if (!ticking) look(); });
  }

  function time() {
    return playable ? video.currentTime : still;
  }

  return {
    element: el(
      "div", { class: "watch" },
      el("figure", {}, url ? [video, unseen] : el("p", { class: "unshown" }, say("video.nofile")), file ? el("figcaption", { class: "fine" }, file.name) : null),
      beside.element,
    ),
    /** Seconds, or null where the file does not say; waits for its head. */
    known,
    /** Seconds by now, as far as they are known. */
    length: () => (Number.isFinite(video.duration) ? video.duration : 0),
    jump(seconds) {
      still = seconds;
      if (playable) video.currentTime = seconds + 1e-3;
      else look();
    },
    /** New labels have come: those of the present frame may be among them. */
    refresh() {
      shown = -2;
      if (!ticking) look();
    },
    /** Subtitles of what is known: of runs that may go on, then of the segments in their place. */
    subtitle({ summary, runs }) {
      if (summary) {
        for (const cue of [...track.cues]) track.removeCue(cue);
        for (const { start, end, lines } of legible(cues(summary))) {
          track.addCue(new VTTCue(start / 1000, end / 1000, cueText(lines)));
        }
        return;
      }
      for (const run of runs) {
        if (!growing.has(run)) {
          const beside = [...growing.values()].filter((cue) => cue?.endTime > run.start);
          const cue = beside.length < LINES ? new VTTCue(run.start, run.end, cueText([run.label])) : null;
          growing.set(run, cue);
          if (cue) track.addCue(cue);
        }
        const cue = growing.get(run);
        if (cue) cue.endTime = run.end;
      }
    },
    close() {
      cancelAnimationFrame(ticking);
      video.removeAttribute("src");
      video.load();
      if (url) URL.revokeObjectURL(url);
    },
  };
}

function besidePlayer() {
  const rows = Array.from({ length: AT_MOST }, () => {
    const name = el("span", { lang: "en" });
    const share = el("span", { class: "score" });
    const bar = el("span", {});
    const row = el("li", { hidden: true }, el("div", { class: "row spread" }, name, share), el("div", { class: "bar", "aria-hidden": "true" }, bar));
    return { row, name, share, bar };
  });
  const none = el("p", { class: "soft" }, say("video.nothing"));
  const element = el("div", { class: "beside" }, el("h2", {}, say("video.now")), el("ul", {}, rows.map(({ row }) => row)), none);
  function show(labels) {
    none.hidden = labels.length > 0;
    rows.forEach(({ row, name, share, bar }, place) => {
      const found = labels[place];
      row.hidden = !found;
      if (!found) return;
      name.textContent = found.label;
      share.textContent = percent(found.score);
      bar.style.setProperty("width", `${100 * found.score}%`);
    });
  }
  return { element, show };
}

// The page: its tabs, its language, and what is dropped or pasted anywhere on it.

import { models } from "./api.js";
import { arrowKeys, el, put, rove } from "./dom.js";
import { say, language, speak } from "./language.js";
import { openPhoto } from "./photo.js";

const OPENERS = {
  photo: async () => openPhoto,
  video: async () => (await import("./video.js")).openVideo,
  translate: async () => (await import("./translate.js")).openTranslate,
  write: async () => (await import("./write.js")).openWrite,
  units: async () => (await import("./write.js")).openUnits,
};
const TABS = Object.keys(OPENERS);
const tabs = TABS.map((name) => document.getElementById(`tab-${name}`));
const opened = new Map(); // tab -> a promise of what it can do
let installed; // a promise of the models by task

/** Shows a tab, which is opened the first time; gives what it can do. */
function show(name) {
  const tab = document.getElementById(`tab-${name}`);
  for (const one of tabs) one.setAttribute("aria-selected", String(one === tab));
  rove(tabs, tab);
  for (const other of TABS) document.getElementById(other).hidden = other !== name;
  if (!opened.has(name)) opened.set(name, open(name));
  return opened.get(name);
}

async function open(name) {
  const panel = document.getElementById(name);
  return (await OPENERS[name]())(panel, known);
}

/** The models by task: asked for once, and again where that failed. */
function known() {
  installed ??= models().catch((error) => {
    installed = undefined;
    throw error;
  });
  return installed;
}

function place() {
  const [name, rest] = location.hash.slice(1).split("/", 2);
  return { name: TABS.includes(name) ? name : "photo", rest };
}

async function follow() {
  const { name, rest } = place();
  const tab = await show(name);
  tab?.follow?.(rest);
}

function go(name) {
  if (place().name !== name) history.pushState(null, "", `#${name}`);
  return show(name);
}

/** Each file goes to the tab that takes it. */
async function give(files) {
  const isVideo = (file) => file.type.startsWith("video/") || (file.type === "image/gif" && place().name === "video") || /\.(mkv|ts|avi|mpg|mpeg|mov|m4v)$/i.test(file.name);
  const videos = files.filter(isVideo);
  const rest = files.filter((file) => !isVideo(file));
  if (videos.length && !rest.length) (await go("video")).take(videos);
  else if (rest.length) (await go("photo")).take(rest);
}

function listen() {
  for (const tab of tabs) tab.addEventListener("click", () => go(tab.id.slice(4)));
  arrowKeys(document.querySelector("[role=tablist]"), () => tabs, (tab) => go(tab.id.slice(4)));
  addEventListener("popstate", follow);
  addEventListener("hashchange", follow);
  for (const one of document.querySelectorAll("[data-language]")) {
    one.addEventListener("click", () => speak(one.dataset.language));
  }
  const veil = document.getElementById("veil");
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    veil.hidden = false;
  });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) veil.hidden = true; });
  addEventListener("drop", (event) => {
    veil.hidden = true;
    if (!holdsFiles(event)) return;
    event.preventDefault();
    give([...event.dataTransfer.files]);
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    give(files);
  });
}

async function sign() {
  const found = await known();
  const names = [...found.values()].flatMap((task) => task.usable).map((model) => `${model.name}@${model.version}`).join(", ");
  put(document.getElementById("served"), names && [say("footer.models", { names }), " · "], el("a", { href: "docs.json" }, "docs.json"));
}

speak(language());
listen();
follow();
sign().catch(() => {});

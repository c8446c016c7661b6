// The tab for which `frames` answers; only what is missing, so far.

import { put } from "./dom.js";
import { missing } from "./notice.js";

/** Fills the panel. `installed`: a promise of the models by task. */
export function openVideo(panel, installed) {
  installed.then((models) => put(panel, missing("frames", models.get("frames"))), () => {});
  return { take() {} };
}

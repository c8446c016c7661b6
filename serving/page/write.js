// The tab for which `generate` answers; only what is missing, so far.

import { put } from "./dom.js";
import { missing } from "./notice.js";

/** Fills the panel. `installed`: a promise of the models by task. */
export function openWrite(panel, installed) {
  installed.then((models) => put(panel, missing("generate", models.get("generate"))), () => {});
  return { take() {} };
}

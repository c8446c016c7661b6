// The tab for which `translate` answers; only what is missing, so far.

import { put } from "./dom.js";
import { missing } from "./notice.js";

/** Fills the panel. `installed`: a promise of the models by task. */
export function openTranslate(panel, installed) {
  installed.then((models) => put(panel, missing("translate", models.get("translate"))), () => {});
  return { take() {} };
}

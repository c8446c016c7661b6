// All that the page says to the service: its public endpoints, and nothing else.

const BASE = new URL("..", import.meta.url);
const MOST_TRIES = 60;
const LONGEST_WAIT_S = 60;

/** What the service refuses, by its code; `unreachable` and `unreadable` are the page's own. */
export class ServiceError extends Error {
  constructor(code, message, { status = 0, retryAfter = null } = {}) {
    super(message);
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** The whole address of an endpoint, with the options that have a value. */
export function address(path, options = {}) {
  const url = new URL(path.replace(/^\//, ""), BASE);
  for (const [name, value] of Object.entries(options)) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  return url;
}

/**
 * An answer that is not an error. A service that is busy is asked again when it says so
 * (`Retry-After`); `waiting(seconds, error)` is told before each pause.
 */
export async function ask(path, { options = {}, waiting = () => {}, signal, ...request } = {}) {
  for (let tries = 1; ; tries += 1) {
    const answer = await reach(address(path, options), { ...request, signal });
    if (answer.ok) return answer;
    const error = await refusal(answer);
    if (error.retryAfter === null || tries >= MOST_TRIES) throw error;
    const seconds = Math.min(error.retryAfter, LONGEST_WAIT_S);
    waiting(seconds, error);
    await pause(seconds, signal);
  }
}

async function reach(url, request) {
  try {
    return await fetch(url, { cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer", ...request });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const { body } = request;
    if (body instanceof Blob && !(await isReadable(body))) throw new ServiceError("unreadable", "");
    throw new ServiceError("unreachable", "");
  }
}

async function isReadable(blob) {
  try {
    await blob.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false; // a folder, or a file that has changed since
  }
}

async function refusal(answer) {
  const told = Number(answer.headers.get("Retry-After"));
  const retryAfter = [429, 503].includes(answer.status) && told > 0 ? told : null;
  const more = { status: answer.status, retryAfter };
  try {
    const { error } = await answer.json();
    return new ServiceError(error.code, error.message, more);
  } catch {
    return new ServiceError("internal", `${answer.status} ${answer.statusText}`, more);
  }
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, 1000 * seconds);
    function done() {
      signal?.removeEventListener("abort", stop);
      resolve();
    }
    function stop() {
      clearTimeout(timer);
      reject(signal.reason);
    }
    signal?.addEventListener("abort", stop, { once: true });
  });
}

async function json(path, request) {
  return (await ask(path, request)).json();
}

/** The answer to a file, or to an object as JSON. */
function send(path, body, { headers, ...request } = {}) {
  const isFile = body instanceof Blob;
  const type = isFile ? "application/octet-stream" : "application/json";
  return ask(path, {
    method: "POST", body: isFile ? body : JSON.stringify(body), headers: { "Content-Type": type, ...headers }, ...request,
  });
}

/** Of each task the bundles that can be used, and why others cannot; see GET /models. */
export async function models() {
  const found = new Map();
  for (const entry of (await json("models")).models) {
    const task = found.get(entry.task) ?? { usable: [], problem: "" };
    if (entry.name && entry.state !== "failed") task.usable.push(entry);
    else task.problem ||= entry.problem ?? "";
    found.set(entry.task, task);
  }
  return found;
}

/** The limits of this service, by name; see GET /docs.json. */
export async function limits() {
  return (await json("docs.json")).info["x-limits"];
}

/** The captions of a photo. */
export async function caption(photo, options, request) {
  return (await send("caption", photo, { options, ...request })).json();
}

/** The labels of a short video, event by event, while it is being worked on. */
export async function* frames(video, options, request) {
  yield* events(await send("frames", video, { options: { ...options, format: "ndjson" }, ...request }));
}

/** Puts a long video into the queue; gives the job. With the same `key` it is never queued twice. */
export async function startJob(video, options, key, request) {
  const headers = { "Idempotency-Key": key };
  return (await (await send("frames/jobs", video, { headers, options, ...request })).json()).job;
}

/** How far a job is. */
export async function job(id, request) {
  return (await json(`frames/jobs/${id}`, request)).job;
}

/** Cancels a job, or forgets one that has ended. */
export async function endJob(id) {
  await ask(`frames/jobs/${id}`, { method: "DELETE" });
}

/** What a job has found behind the first `after` frames, event by event; of one that runs, so far. */
export async function* jobEvents(id, after, request) {
  try {
    yield* events(await ask(`frames/jobs/${id}/result`, { options: { format: "ndjson", after }, ...request }));
  } catch (error) {
    if (error.code !== "job_not_finished") throw error;
  }
}

async function* events(answer) {
  for await (const line of lines(answer.body)) {
    if (!line) continue;
    const event = JSON.parse(line);
    if (event.type === "error") throw new ServiceError(event.error.code, event.error.message);
    yield event;
  }
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      yield* parts;
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError("unreachable", "");
  } finally {
    reader.cancel().catch(() => {});
  }
  if (rest) yield rest;
}

/** Translations of a text. */
export async function translate(body, request) {
  return (await send("translate", body, request)).json();
}

/** A text that goes on from a prompt, event by event: {delta, log_prob}, and at last how it ended. */
export async function* generate(body, request) {
  const answer = await send("generate", { ...body, stream: true }, request);
  for await (const line of lines(answer.body)) {
    if (!line.startsWith("data:")) continue;
    const data = line.slice(5).trim();
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new ServiceError(event.error.code, event.error.message);
    yield event;
  }
  throw new ServiceError("unreachable", ""); // it broke off: whoever ends in order says so
}

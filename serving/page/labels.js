// What is known of a video: the labels of its frames as they come, and the segments at the end.
// All times here are the player's: 0 is the first frame, whatever the container's clock says.

const SHOWN = 0.5; // until the segments are here, a label that is likelier than this is drawn

export class Labels {
  constructor() {
    this.frames = []; // as the service sends them
    this.summary = null;
    this.runs = []; // {label, start, end, score, caption}: what is drawn
    this.open = new Map(); // label -> its run that may go on
    this.colours = new Map();
  }

  /** Takes one event of the stream. */
  add(event) {
    if (event.type === "summary") this.finish(event);
    else this.addFrame(event);
  }

  addFrame(frame) {
    const previous = this.frames.at(-1);
    this.frames.push(frame);
    const start = this.time(frame);
    const end = start + (previous ? frame.time_s - previous.time_s : 0.1);
    const likely = frame.labels.filter(({ score }, place) => score >= SHOWN || !place);
    const open = new Map();
    for (const { label, score } of likely) {
      let run = this.open.get(label);
      if (!run) {
        run = { label, start, score: 0, count: 0 };
        this.runs.push(run);
      }
      run.end = end;
      run.score = (run.score * run.count + score) / (run.count + 1);
      run.count += 1;
      open.set(label, run);
      this.colour(label);
    }
    for (const [label, run] of this.open) if (!open.has(label)) run.end = start;
    this.open = open;
  }

  finish(summary) {
    this.summary = summary;
    this.runs = summary.segments.map((segment) => ({
      ...segment, start: segment.start_s - this.begin, end: segment.end_s - this.begin,
    }));
    for (const { label } of this.runs) this.colour(label);
  }

  /** The container's time of the first frame. */
  get begin() {
    return this.summary?.video.start_s ?? this.frames[0]?.time_s ?? 0;
  }

  /** How long the video is, as far as is known. */
  get end() {
    const last = this.frames.length ? this.time(this.frames.at(-1)) : 0;
    return Math.max(last, this.summary?.video.duration_s ?? 0, ...this.runs.slice(-50).map((run) => run.end));
  }

  time(frame) {
    return frame.time_s - this.begin;
  }

  /** The number of the frame that is labelled at this time; -1 before the first. */
  at(seconds) {
    let low = 0;
    let high = this.frames.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.time(this.frames[middle]) <= seconds + 1e-4) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** The runs at this time, likeliest first. */
  runsAt(seconds) {
    return this.runs.filter((run) => run.start <= seconds && seconds < run.end).sort((a, b) => b.score - a.score);
  }

  /** Rows for a timeline: one in all where no label ever overlaps another, else one a label. */
  lanes() {
    const ordered = [...this.runs].sort((a, b) => a.start - b.start);
    const overlap = ordered.some((run, place) => place && run.start < ordered[place - 1].end - 1e-6);
    if (!overlap) return ordered.length ? [{ label: null, runs: ordered }] : [];
    const lanes = new Map();
    for (const run of ordered) {
      if (!lanes.has(run.label)) lanes.set(run.label, { label: run.label, runs: [], weight: 0 });
      const lane = lanes.get(run.label);
      lane.runs.push(run);
      lane.weight += run.score * (run.end - run.start);
    }
    return [...lanes.values()].sort((a, b) => b.weight - a.weight);
  }

  /** A label's hue, 0 to 360: far from those of the labels before it. */
  colour(label) {
    if (!this.colours.has(label)) this.colours.set(label, (175 + 137.5 * this.colours.size) % 360);
    return this.colours.get(label);
  }
}

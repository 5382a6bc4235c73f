// What the page knows: runs, their points as the hub sends them, and which of them are shown.

const SHOWN_AT_FIRST = 8; // runs: as many as have a colour of their own
const HEAD = new Set(["type", "run", "line", "mark", "step", "epoch", "tokens", "time"]); // of a line; the rest is drawn

const runs = new Map(); // by path: {path, facts, files, picked, shown, colour}
const view = { axis: "step", log: false, picked: null, from: null, to: null, width: 600 }; // picked: of the axis; from, to: its steps

function runOf(path) {
  if (!runs.has(path)) runs.set(path, { path, facts: {}, files: {}, isNew: true, picked: null, shown: false, colour: null });
  return runs.get(path);
}

/** Where a point stands on the axis: null where that is not known. */
function place(run, point) {
  if (view.axis === "tokens") return point.tokens;
  if (view.axis === "epoch") return run.facts.steps_per_epoch ? point.step / run.facts.steps_per_epoch : run.facts.epoch;
  return point.step;
}

function placeAll(run) {
  for (const file of Object.values(run.files)) for (const points of file.series.values()) for (const point of points) point.x = place(run, point);
}

function takeFacts(message) {
  const run = runOf(message.run);
  const moved = run.facts.steps_per_epoch !== message.steps_per_epoch;
  run.facts = message;
  if (moved && view.axis === "epoch") placeAll(run);
}

/** All that is to be shown of a file, in the place of what there was. */
function takePoints(message) {
  const run = runOf(message.run);
  const series = new Map();
  for (const [name, [steps, tokens, values]] of Object.entries(message.series)) {
    series.set(name, steps.map((step, index) => ({ step, tokens: tokens[index], y: values[index] })));
  }
  run.files[message.file] = { line: message.line, mark: message.mark, view: viewName(message), series };
  placeAll(run);
}

/** One line that was appended to a file. A run that began again from a checkpoint takes back what it does anew. */
function takeLine(message) {
  const run = runOf(message.run);
  const file = run.files[message.type];
  if (!file || message.line <= file.line) return;
  [file.line, file.mark] = [message.line, message.mark];
  for (const points of file.series.values()) while (points.length && points.at(-1).step > message.step) points.pop();
  for (const [name, value] of Object.entries(message)) {
    if (HEAD.has(name) || value === null) continue;
    if (!file.series.has(name)) file.series.set(name, []);
    const points = file.series.get(name);
    if (points.length && points.at(-1).step === message.step) points.pop();
    const point = { step: message.step, tokens: message.tokens ?? null, y: value };
    point.x = place(run, point);
    points.push(point);
  }
}

const viewName = ({ from, to, width }) => `${from} ${to} ${width}`;

/** What is there of the shown runs: the hub sends only what comes after. Where there is too much of it, or of another part, it sends anew. */
function have() {
  const found = {};
  for (const run of shownRuns()) {
    for (const [name, file] of Object.entries(run.files)) {
      const most = Math.max(0, ...[...file.series.values()].map((points) => points.length));
      if (file.line && file.view === viewName(view) && most <= 1.75 * view.width) (found[run.path] ??= {})[name] = [file.line, file.mark];
    }
  }
  return found;
}

const shownRuns = () => [...runs.values()].filter((run) => run.shown);
const isRunning = (run) => run.facts.state === "running";
const byInterest = (a, b) => isRunning(b) - isRunning(a) || b.facts.changed - a.facts.changed || a.path.localeCompare(b.path);

/** When runs appear, choose what to show of those that nobody picked: what is at work, then the latest. Returns whether that changed. */
function choose() {
  const all = [...runs.values()];
  if (!all.some((run) => run.isNew)) return false;
  let changed = false;
  let room = SHOWN_AT_FIRST - all.filter((run) => run.picked).length;
  for (const run of all.sort(byInterest)) {
    run.isNew = false;
    if (run.picked !== null) continue;
    const shown = room-- > 0;
    changed ||= shown !== run.shown;
    run.shown = shown;
  }
  colourAll();
  return changed;
}

/** A shown run keeps its colour; beyond eight they are used again, dashed. */
function colourAll() {
  const shown = shownRuns();
  for (const run of runs.values()) if (!run.shown) run.colour = null;
  const taken = new Set(shown.map((run) => run.colour));
  for (const run of shown.filter((one) => one.colour === null)) {
    let colour = 0;
    while (taken.has(colour)) colour += 1;
    taken.add((run.colour = colour));
  }
}

const colourName = (run) => (run.colour === null ? "--idle" : `--run${(run.colour % 8) + 1}`);

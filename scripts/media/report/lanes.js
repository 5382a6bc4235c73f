// The time axis of a record and the lanes on it: sound, units, speech, speakers, text and words, one below the other.

const href = (row) => (row.h !== undefined ? row.h : row.n.split("/").map(encodeURIComponent).join("/"));
const within = (pieces, start, end) => pieces.filter((piece) => piece[1] > start && piece[0] < end);
const pairs = (flat) => Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i] / 1000, flat[2 * i + 1] / 1000]);
const seconds = (pieces) => (pieces || []).map(([start, end, ...rest]) => [start / 1000, end / 1000, ...rest]);

/** What the viewer shows of a row: an embedded excerpt where there is one, else the whole record. */
function subject(row, example) {
  const start = example ? example.start_s : 0;
  const length = example ? example.duration_s : row.d || 1;
  const shown = (pieces) => within(pieces, start, start + length);
  const found = example || {};
  const words = seconds(found.words);
  return { row, example, start, length, end: start + length, speakers: found.speakers || [], speech: shown(pairs(row.s || [])),
    turns: shown(seconds(found.turns)), heard: shown(seconds(found.heard)), text: shown(words.length ? words : seconds(found.segments || row.t)) };
}

/** The colour of a speaker by number, as a style; nothing for an unknown one. */
const voice = (speaker) => (speaker === undefined || speaker === null ? "" : `--own:var(--run${1 + (speaker % 8)})`);
const named = (item, piece) => (piece[3] === undefined || piece[3] === null ? piece[2] : `${item.speakers[piece[3]]}: ${piece[2]}`);

function place(item, piece) {
  const from = Math.max(item.start, piece[0]), to = Math.min(item.end, piece[1]);
  return `left:${(100 * (from - item.start)) / item.length}%;width:${(100 * (to - from)) / item.length}%;`;
}

const textLane = (item, pieces) => make("div", { class: "lane" }, ...pieces.map((piece) =>
  make("b", { class: voice(piece[3]) ? "voice" : null, style: place(item, piece) + voice(piece[3]), title: named(item, piece) }, piece[2])));

/** The lanes below the sound, from top to bottom: {title, about, height, node}; only those that there is something for. */
function lanesOf(item, units) {
  const speech = make("div", { class: "lane" }, ...item.speech.map((piece) => make("i", { style: place(item, piece), title: `speech ${piece[0].toFixed(2)}–${piece[1].toFixed(2)} s` })));
  const turns = make("div", { class: "lane turns" }, ...item.turns.map((piece) => make("b", { style: place(item, piece) + voice(piece[2]), title: `${item.speakers[piece[2]]} ${piece[0].toFixed(2)}–${piece[1].toFixed(2)} s` }, item.speakers[piece[2]])));
  const [low, high] = item.example ? ["1.6rem", "2.1rem"] : ["2.2rem", "2.4rem"];
  return [
    units && { title: "Units", about: data.palette.note, height: "1.7rem", node: make("div", { class: "lane" }, units.strip.node) },
    item.row.s && { title: "Speech", height: low, node: speech },
    item.turns.length && { title: "Speaker", about: "Who speaks, as transcribe.py found it", height: "1.7rem", node: turns },
    { title: "Text", height: high, node: textLane(item, item.text) },
    item.heard.length && { title: "Words", about: "The words of transcribe.py, coloured by speaker", height: "2.1rem", node: textLane(item, item.heard) },
  ].filter(Boolean);
}

/** The names of the rows, left of them. */
function gutterOf(lanes, rows, bare) {
  const half = make("div", { class: "khz sound" }, make("span", {}, `${data.rate / 2000} kHz`), make("span", {}, "0"));
  return make("div", { class: `gutter${bare}`, style: `grid-template-rows:${rows}`, "aria-hidden": "true" }, make("div", { class: "sound" }, "Sound"), half,
    ...lanes.map((lane) => make("div", { title: lane.about }, lane.title)), make("div", {}, ""));
}

function drawAxis(axis, item, width) {
  const steps = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400];
  const step = steps.find((one) => (one / item.length) * width > 64) || 28800;
  const marks = [];
  for (let i = Math.ceil(item.start / step - 1e-9); i * step < item.end - 0.3 * step; i++) {
    marks.push(make("span", { style: `left:${(100 * (i * step - item.start)) / item.length}%` }, item.end < 60 ? `${(i * step).toFixed(step < 0.1 ? 2 : step < 1 ? 1 : 0)} s` : clock(i * step, step < 0.1 ? 2 : step < 1 ? 1 : 0)));
  }
  axis.replaceChildren(...marks);
}

/** The text to read along: [element, a span for each piece of item.text]; `seek(time)` on a click. */
function transcript(item, seek) {
  const whole = item.row.x || "";
  if (!item.text.length) return [make("p", { class: "transcript" }, whole || (item.row.e ? "" : "No text.")), []];
  const spans = item.text.map((piece) => make("span", { title: `${piece[0].toFixed(2)} s`, class: voice(piece[3]) ? "voice" : null, style: voice(piece[3]) || null }, piece[2]));
  const box = make("p", { class: "transcript" });
  const several = new Set(item.text.map((piece) => piece[3])).size > 1;
  spans.forEach((one, index) => {
    const speaker = item.text[index][3];
    if (several && (!index || item.text[index - 1][3] !== speaker)) box.append(make("strong", { class: "who", style: voice(speaker) || null }, item.speakers[speaker] || "unknown"), " ");
    box.append(one, " ");
    one.addEventListener("click", () => seek(item.text[index][0]));
  });
  return [box, spans];
}

/** The line that names the unit at the head, or the one pointed at: {node, strip, move}. */
function unitLine(item) {
  const node = make("p", { class: "note unit-line" });
  let [pointed, atHead] = [null, null];
  const show = () => {
    const run = pointed || atHead;
    const swatch = make("i", { class: "swatch", style: run ? `background:${unitColour(run.unit)}` : null });
    node.replaceChildren(swatch, make("span", { title: data.palette.note }, run ? unitName(run) : "no unit here"));
  };
  const strip = unitStrip(item.example.units, item.start, item.end, (run) => { pointed = run; show(); });
  const move = (at) => { const run = strip.at(at); if (run !== atHead || !node.firstChild) { atHead = run; show(); } };
  return { node, strip, move };
}

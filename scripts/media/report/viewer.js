// The viewer: one record with its sound, speech and text on one time axis; click, drag or keys to seek.

const viewer = byId("viewer");
const picks = [];
let current = null; // {move, play, seek, zoom, redraw, swap, stop} of the record on view

const href = (row) => (row.h !== undefined ? row.h : row.n.split("/").map(encodeURIComponent).join("/"));
const within = (pieces, start, end) => pieces.filter((piece) => piece[1] > start && piece[0] < end);
const pairs = (flat) => Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i] / 1000, flat[2 * i + 1] / 1000]);
const seconds = (pieces) => pieces.map(([start, end, text]) => [start / 1000, end / 1000, text]);

/** What the viewer shows of a row: an embedded excerpt where there is one, else the whole record. */
function subject(row, example) {
  const start = example ? example.start_s : 0;
  const length = example ? example.duration_s : row.d || 1;
  const segments = seconds((example && example.segments) || row.t || []);
  const words = seconds((example && example.words) || []);
  return { row, example, start, length, end: start + length,
    speech: within(pairs(row.s || []), start, start + length),
    text: within(words.length ? words : segments, start, start + length) };
}

/** What can be heard of it, the original first: {name, url, bytes, audio, samples, lead}; `lead` + time on the axis = time in the file. */
function soundsOf({ row, example }) {
  const sound = (name, found) => ({ name, samples: null, audio: make("audio", { preload: example ? "auto" : "none", src: found.url }), ...found });
  if (!example) {
    const from = row.o || 0;
    return [sound("Original", { url: data.base + href(row) + (row.o !== undefined ? `#t=${from},${from + row.d}` : ""), lead: from })];
  }
  const embedded = (text) => {
    const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
    return { bytes, url: URL.createObjectURL(new Blob([bytes], { type: "audio/flac" })), lead: -example.start_s };
  };
  return [sound("Original", embedded(example.audio)), ...(example.sts ? [sound("Resynthesis", embedded(example.sts))] : [])];
}

function lanes(item, strip) {
  const left = (at) => `${(100 * (at - item.start)) / item.length}%`;
  const place = (piece) => `left:${left(Math.max(item.start, piece[0]))};width:${(100 * (Math.min(item.end, piece[1]) - Math.max(item.start, piece[0]))) / item.length}%`;
  const speech = make("div", { class: "lane" }, ...item.speech.map((piece) => make("i", { style: place(piece), title: `speech ${piece[0].toFixed(2)}–${piece[1].toFixed(2)} s` })));
  const text = make("div", { class: "lane" }, ...item.text.map((piece) => make("b", { style: place(piece), title: piece[2] }, piece[2])));
  return [...(strip ? [make("div", { class: "lane" }, strip.node)] : []), speech, text];
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

function transcript(item) {
  const whole = item.row.x || "";
  if (!item.text.length) return [make("p", { class: "transcript" }, whole || (item.row.e ? "" : "No text.")), []];
  const spans = item.text.map((piece) => make("span", { title: `${piece[0].toFixed(2)} s` }, piece[2]));
  const box = make("p", { class: "transcript" });
  spans.forEach((one, index) => { box.append(one, " "); one.addEventListener("click", () => current.seek(item.text[index][0])); });
  return [box, spans];
}

/** The line that names the unit at the head, or the one pointed at. */
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

/** Build the view of a row and return what the keys and the table can do with it. */
function open(row, example) {
  if (current) current.stop();
  const item = subject(row, example);
  const sounds = soundsOf(item);
  const units = example && example.units ? unitLine(item) : null;
  const wave = make("canvas", { "aria-hidden": "true" }), spectrum = make("canvas", { "aria-hidden": "true" });
  const head = make("div", { class: "head" }), axis = make("div", { class: "axis", "aria-hidden": "true" });
  const kind = `rows${example ? "" : " bare"}${units ? " with-units" : ""}`;
  const rows = make("div", { class: `stage ${kind}`, role: "slider", tabindex: "0", "aria-label": "Position in the recording; arrow keys seek, space plays",
    "aria-valuemin": item.start.toFixed(2), "aria-valuemax": item.end.toFixed(2) },
  make("div", { class: "sound" }, wave), make("div", { class: "sound" }, spectrum), ...lanes(item, units && units.strip), axis, head);
  const scroll = make("div", { class: "scroll" }, rows);
  const toggle = make("button", { type: "button", class: "play" }, "Play");
  const time = make("output", { class: "time" });
  const [words, spans] = transcript(item);
  let sound = sounds[0], zoomed = 1, frame = 0, stopped = false;

  const position = () => Math.min(item.end, Math.max(item.start, sound.audio.currentTime - sound.lead));
  const draw = () => {
    rows.style.width = `${100 * zoomed}%`;
    drawAxis(axis, item, rows.clientWidth);
    if (units) units.strip.label();
    if (!sound.samples) return;
    const speech = item.speech.map(([start, end]) => [Math.max(0, start - item.start), Math.min(item.length, end - item.start)]);
    drawWave(wave, sound.samples, data.rate, speech);
    drawSpectrogram(spectrum, sound.samples, data.rate, speech);
  };
  const show = () => {
    const at = position();
    head.style.left = `${(100 * (at - item.start)) / item.length}%`;
    time.replaceChildren(clock(at, 2), make("span", {}, ` / ${clock(item.end, 2)}`));
    rows.setAttribute("aria-valuenow", at.toFixed(2));
    rows.setAttribute("aria-valuetext", `${at.toFixed(2)} seconds`);
    if (units) units.move(at);
    spans.forEach((one, index) => one.classList.toggle("now", at >= item.text[index][0] && at < item.text[index][1] && at > item.start));
  };
  const follow = () => {
    show();
    const x = head.offsetLeft;
    if (x < scroll.scrollLeft || x > scroll.scrollLeft + 0.95 * scroll.clientWidth) scroll.scrollLeft = x - 0.1 * scroll.clientWidth;
    frame = sound.audio.paused ? 0 : requestAnimationFrame(follow);
  };
  const seek = (at) => { sound.audio.currentTime = Math.min(item.end, Math.max(item.start, at)) + sound.lead; show(); };
  const play = () => (sound.audio.paused ? sound.audio.play().catch(() => {}) : sound.audio.pause());
  const pointed = (event) => { const box = rows.getBoundingClientRect(); return item.start + (item.length * (event.clientX - box.left)) / box.width; };
  const state = () => { toggle.textContent = sound.audio.paused ? "Play" : "Pause"; if (!sound.audio.paused && !frame) frame = requestAnimationFrame(follow); };
  const missing = make("p", { class: "note", hidden: true, role: "status" }, "The sound file cannot be reached or played from here.");

  rows.addEventListener("click", (event) => seek(pointed(event)));
  rows.addEventListener("pointermove", (event) => { if (event.buttons === 1 && event.pointerType === "mouse") seek(pointed(event)); });
  toggle.addEventListener("click", play);
  for (const { audio, lead } of sounds) {
    for (const name of ["play", "pause", "ended"]) audio.addEventListener(name, state);
    audio.addEventListener("seeked", show);
    audio.addEventListener("loadedmetadata", () => { if (!example && audio.currentTime < lead) seek(item.start); });
    audio.addEventListener("timeupdate", () => { if (!example && position() >= item.end) audio.pause(); });
    audio.addEventListener("error", () => { missing.hidden = false; toggle.disabled = true; });
  }
  const choices = sounds.map((one) => make("button", { type: "button", "aria-pressed": String(one === sound) }, one.name));
  const hear = (next) => {
    const [at, playing, rate] = [position(), !sound.audio.paused, sound.audio.playbackRate];
    sound.audio.pause();
    sound = next;
    sound.audio.playbackRate = rate;
    seek(at);
    if (playing) play();
    choices.forEach((button, index) => button.setAttribute("aria-pressed", String(sounds[index] === sound)));
    draw();
  };
  choices.forEach((button, index) => button.addEventListener("click", () => hear(sounds[index])));
  const speed = make("select", { "aria-label": "Speed" }, ...[0.5, 0.75, 1, 1.25, 1.5, 2].map((rate) => make("option", { value: String(rate), selected: rate === 1 }, `${rate} ×`)));
  speed.addEventListener("change", () => { sound.audio.playbackRate = Number(speed.value); });
  const closer = make("button", { type: "button", "aria-label": "Zoom in" }, "+"), wider = make("button", { type: "button", "aria-label": "Zoom out" }, "−");
  const zoom = (factor) => {
    const middle = (scroll.scrollLeft + scroll.clientWidth / 2) / rows.clientWidth;
    zoomed = Math.min(64, Math.max(1, zoomed * factor));
    wider.disabled = zoomed === 1; closer.disabled = zoomed === 64;
    draw();
    scroll.scrollLeft = middle * rows.clientWidth - scroll.clientWidth / 2;
  };
  closer.addEventListener("click", () => zoom(2)); wider.addEventListener("click", () => zoom(0.5));
  wider.disabled = true;
  const gutter = make("div", { class: `gutter ${kind}`, "aria-hidden": "true" }, make("div", { class: "sound" }, "Sound"),
    make("div", { class: "khz sound" }, make("span", {}, `${data.rate / 2000} kHz`), make("span", {}, "0")), units ? make("div", { title: data.palette.note }, "Units") : null, make("div", {}, "Speech"), make("div", {}, "Text"), make("div", {}, ""));
  viewer.replaceChildren(make("h3", {}, row.n), make("p", { class: "note" }, ...about(item)), make("div", { class: "plot" }, gutter, scroll), units ? units.node : "",
    make("div", { class: "controls" }, toggle, sounds.length > 1 ? make("div", { class: "switch", role: "group", "aria-label": "Sound" }, ...choices) : null, time, speed, make("span", { class: "end" }, wider, closer)), missing, words,
    example && example.sts_text ? make("p", { class: "transcript note" }, `Resynthesis: ${example.sts_text}`) : "",
    row.ref ? make("p", { class: "transcript note" }, `Reference: ${row.ref}`) : "", ...sounds.map((one) => one.audio));
  current = { play, seek, zoom, move: (by) => seek(position() + by), ends: [item.start, item.end], redraw: () => { if (!stopped) draw(); },
    swap: () => hear(sounds[(sounds.indexOf(sound) + 1) % sounds.length]),
    stop: () => { stopped = true; for (const one of sounds) { one.audio.pause(); one.audio.removeAttribute("src"); if (one.bytes) URL.revokeObjectURL(one.url); } } };
  draw(); show();
  for (const one of sounds.filter((any) => any.bytes)) {
    decode(one.bytes).then((samples) => { one.samples = samples; if (one === sounds[0]) viewer.dataset.drawn = String(Boolean(samples)); if (one === sound) current.redraw(); });
  }
  for (const pick of picks) pick.button.setAttribute("aria-current", String(pick.example === example));
}

function about({ row, example, start, length }) {
  const whole = row.d === undefined ? "" : span(row.d);
  const parts = [example && length < row.d - 0.05 ? `${clock(start, 0)} to ${clock(start + length, 0)} of ${whole}` : whole];
  if (row.o !== undefined) parts.push(`from ${clock(row.o, 1)} of the recording`);
  if (row.r !== undefined) parts.push(`${percent(row.r)} speech`);
  if (row.k) parts.push(`speaker ${row.k}`);
  if (row.w !== undefined) parts.push(`WER ${percent(row.w, 1)}`);
  if (row.v !== undefined) parts.push(`WER of the resynthesis ${percent(row.v, 1)}`);
  if (row.e) parts.push(`failed: ${row.e}`);
  if (!example) parts.push("sound from the file itself");
  return [parts.filter(Boolean).join(" · "), row.a === 0 ? null : " · ", row.a === 0 ? null : make("a", { href: data.base + href(row) }, "open the file")];
}

function listPicks() {
  for (const example of data.examples) {
    const row = data.rows[example.row];
    const button = make("button", { type: "button" }, make("span", {}, row.n.split("/").pop()),
      make("small", {}, [example.why, span(row.d), row.w === undefined ? "" : `WER ${percent(row.w, 1)}`].filter(Boolean).join(" · ")));
    button.addEventListener("click", () => open(row, example));
    picks.push({ button, example, row });
    byId("picks").append(make("li", {}, button));
  }
  byId("listen").hidden = !picks.length;
  if (picks.length) open(picks[0].row, picks[0].example);
}

/** The table's way in: the embedded excerpt of a row where there is one. */
function openRow(index) {
  const pick = picks.find((one) => one.example.row === index);
  byId("listen").hidden = false;
  open(data.rows[index], pick && pick.example);
  byId("listen").scrollIntoView();
  viewer.querySelector(".stage").focus({ preventScroll: true });
}

document.addEventListener("keydown", (event) => {
  if (!current || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const onPlot = event.target.closest(".stage");
  const step = event.shiftKey ? 0.1 : 1;
  const turn = (by) => { const at = picks.findIndex((pick) => pick.button.getAttribute("aria-current") === "true"); const next = picks[at + by]; if (next) { open(next.row, next.example); next.button.scrollIntoView({ block: "nearest" }); } };
  const keys = { j: () => turn(1), k: () => turn(-1), "+": () => current.zoom(2), "-": () => current.zoom(0.5), x: () => current.swap() };
  if (onPlot) Object.assign(keys, { ArrowRight: () => current.move(step), ArrowLeft: () => current.move(-step), Home: () => current.seek(current.ends[0]), End: () => current.seek(current.ends[1]) });
  if (event.target === document.body || onPlot) keys[" "] = () => current.play();
  if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
});
let resized = 0;
addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(() => current && current.redraw(), 120); });
document.addEventListener("themechange", () => current && current.redraw());
listPicks();

// The viewer: one record with its sound, speech and text on one time axis; click, drag or keys to seek.

const viewer = byId("viewer");
const picks = [];
let current = null; // {move, play, seek, zoom, redraw, swap, stop, ends} of the record on view

/** The plot of an item: the rows on the time axis, their names, and how to draw them: {node, rows, scroll, draw, zoom, closer, wider, wave}. */
function plotOf(item, units, curves, samples) {
  const wave = make("canvas", { "aria-hidden": "true" }), spectrum = make("canvas", { "aria-hidden": "true" });
  const head = make("div", { class: "head" }), axis = make("div", { class: "axis", "aria-hidden": "true" });
  const lanes = lanesOf(item, units);
  const bare = item.example ? "" : " bare";
  const heights = [...(bare ? ["0", "0"] : ["5.5rem", "9.5rem"]), ...lanes.map((lane) => lane.height), "1.5rem"].join(" ");
  const rows = make("div", { class: `stage rows${bare}`, style: `grid-template-rows:${heights}`, role: "slider", tabindex: "0", "aria-label": "Position in the recording; arrow keys seek, space plays",
    "aria-valuemin": item.start.toFixed(2), "aria-valuemax": item.end.toFixed(2) },
  make("div", { class: "sound" }, wave), make("div", { class: "sound" }, spectrum, curves && curves.node), ...lanes.map((lane) => lane.node), axis, head);
  const scroll = make("div", { class: "scroll" }, rows);
  let zoomed = 1;
  const draw = () => {
    rows.style.width = `${100 * zoomed}%`;
    drawAxis(axis, item, rows.clientWidth);
    if (units) units.strip.label();
    if (!samples()) return;
    const speech = item.speech.map(([start, end]) => [Math.max(0, start - item.start), Math.min(item.length, end - item.start)]);
    drawWave(wave, samples(), data.rate, speech);
    drawSpectrogram(spectrum, samples(), data.rate, speech);
  };
  const closer = make("button", { type: "button", "aria-label": "Zoom in" }, "+"), wider = make("button", { type: "button", "aria-label": "Zoom out", disabled: true }, "−");
  const zoom = (factor) => {
    const middle = (scroll.scrollLeft + scroll.clientWidth / 2) / rows.clientWidth;
    zoomed = Math.min(64, Math.max(1, zoomed * factor));
    wider.disabled = zoomed === 1; closer.disabled = zoomed === 64;
    draw();
    scroll.scrollLeft = middle * rows.clientWidth - scroll.clientWidth / 2;
  };
  closer.addEventListener("click", () => zoom(2)); wider.addEventListener("click", () => zoom(0.5));
  const move = (at, follow) => {
    head.style.left = `${(100 * (at - item.start)) / item.length}%`;
    rows.setAttribute("aria-valuenow", at.toFixed(2));
    rows.setAttribute("aria-valuetext", `${at.toFixed(2)} seconds`);
    const x = head.offsetLeft;
    if (follow && (x < scroll.scrollLeft || x > scroll.scrollLeft + 0.95 * scroll.clientWidth)) scroll.scrollLeft = x - 0.1 * scroll.clientWidth;
  };
  return { node: make("div", { class: "plot" }, gutterOf(lanes, heights, bare), scroll), rows, draw, zoom, move, zooms: make("span", { class: "end" }, wider, closer) };
}

/** Build the view of a row and let the keys and the table reach it as `current`. */
function open(row, example) {
  if (current) current.stop();
  const item = subject(row, example);
  const units = example && example.units ? unitLine(item) : null;
  const curves = curvesOf(item);
  const time = make("output", { class: "time" });
  let stopped = false;
  const move = (following) => {
    const at = sound.position();
    plot.move(at, following);
    time.replaceChildren(clock(at, 2), make("span", {}, ` / ${clock(item.end, 2)}`));
    if (units) units.move(at);
    if (curves) curves.move(at);
    spans.forEach((one, index) => one.classList.toggle("now", at >= item.text[index][0] && at < item.text[index][1] && at > item.start));
  };
  const sound = player(item, move, () => plot.draw());
  const plot = plotOf(item, units, curves, () => sound.heard().samples);
  const [words, spans] = transcript(item, sound.seek);
  const pointed = (event) => { const box = plot.rows.getBoundingClientRect(); return item.start + (item.length * (event.clientX - box.left)) / box.width; };
  plot.rows.addEventListener("click", (event) => sound.seek(pointed(event)));
  plot.rows.addEventListener("pointermove", (event) => { if (event.buttons === 1 && event.pointerType === "mouse") sound.seek(pointed(event)); });
  const said = (name, text) => (text ? make("p", { class: "transcript note" }, `${name}: ${text}`) : "");
  viewer.replaceChildren(make("h3", {}, row.n), make("p", { class: "note" }, ...about(item)), plot.node, units ? units.node : "", curves ? curves.line : "",
    make("div", { class: "controls" }, sound.toggle, sound.choices, time, sound.speed, plot.zooms), sound.missing, words,
    said("Resynthesis", example && example.sts_text), said("Reference", row.ref), findings(item) || "", ...sound.sounds.map((one) => one.audio));
  current = { play: sound.play, seek: sound.seek, swap: sound.swap, zoom: plot.zoom, move: (by) => sound.seek(sound.position() + by), ends: [item.start, item.end],
    redraw: () => { if (!stopped) plot.draw(); }, stop: () => { stopped = true; sound.stop(); } };
  plot.draw(); move(false);
  for (const one of sound.sounds.filter((any) => any.bytes)) {
    decode(one.bytes).then((samples) => { one.samples = samples; if (one === sound.sounds[0]) viewer.dataset.drawn = String(Boolean(samples)); if (one === sound.heard()) current.redraw(); });
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
  if (example && example.codes) parts.push(`codes: ${example.codes}`);
  if (row.e) parts.push(`failed: ${row.e}`);
  if (!example) parts.push("sound from the file itself");
  return [parts.filter(Boolean).join(" · "), row.a === 0 ? null : " · ", row.a === 0 ? null : make("a", { href: data.base + href(row) }, "open the file")];
}

function listPicks() {
  for (const example of data.examples) {
    const row = data.rows[example.row];
    const button = make("button", { type: "button" }, make("span", {}, row.n.split("/").pop()),
      make("small", {}, [example.why, span(row.d), row.o === undefined ? "" : `at ${clock(row.o, 1)}`, row.w === undefined ? "" : `WER ${percent(row.w, 1)}`].filter(Boolean).join(" · ")));
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

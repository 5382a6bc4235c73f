// Language models on units: losses by step, the runs of the grids by rank, and what the models said.

const NAMED_RUNS = 8; // in colours of their own

const runColour = (run) => (run.rank <= NAMED_RUNS ? `var(--run${run.rank})` : "var(--idle)");

/** Ticks that a person would choose: about `wanted` of them from low to high. */
function ticks(low, high, wanted) {
  const rough = (high - low) / wanted || 1;
  const scale = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * scale).find((one) => one >= rough * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(Number((i * step).toPrecision(10)));
  return found;
}

/** Losses of all runs by step, in the width there is: validation as lines with points, training as thin dashes. */
function drawCurves() {
  const runs = data.models.runs.filter((run) => run.training.length + run.validation.length);
  byId("curves").hidden = !runs.length;
  if (!runs.length) return;
  const box = byId("curves").querySelector("div");
  const [width, height, left, bottom, top] = [Math.max(260, box.clientWidth), 300, 44, 40, 8];
  const points = runs.flatMap((run) => [...run.training, ...run.validation]);
  const last = Math.max(1, ...points.map((point) => point[0]));
  let [low, high] = [Math.min(...points.map((point) => point[1])), Math.max(...points.map((point) => point[1]))];
  [low, high] = [low - 0.04 * (high - low || 1), high + 0.04 * (high - low || 1)];
  const x = (step) => left + (step / last) * (width - left - 8);
  const y = (loss) => top + ((high - loss) / (high - low)) * (height - top - bottom);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `Loss by step of ${runs.length} runs; the table below has the figures` });
  for (const loss of ticks(low, high, 5)) root.append(svg("line", { class: "rule", x1: left, x2: width, y1: y(loss), y2: y(loss) }), svg("text", { x: left - 8, y: y(loss) + 4, "text-anchor": "end" }, String(loss)));
  for (const step of ticks(0, last, Math.min(8, width / 90))) root.append(svg("text", { x: x(step), y: height - bottom + 18, "text-anchor": step === 0 ? "start" : x(step) > width - 20 ? "end" : "middle" }, count(step)));
  root.append(svg("text", { x: width / 2, y: height - 3, "text-anchor": "middle" }, "optimizer step"));
  for (const run of [...runs].reverse()) {
    const path = (curve) => curve.map((point) => `${x(point[0]).toFixed(1)},${y(point[1]).toFixed(1)}`).join(" ");
    const group = svg("g", { class: "run", "data-rank": run.rank, style: `--own:${runColour(run)}` });
    group.append(svg("polyline", { class: "training", points: path(run.training) }), svg("polyline", { class: "validation", points: path(run.validation) }));
    for (const point of run.validation) group.append(svg("circle", { cx: x(point[0]).toFixed(1), cy: y(point[1]).toFixed(1), r: 3 }));
    root.append(group);
  }
  root.addEventListener("pointermove", (event) => {
    const frame = root.getBoundingClientRect();
    const [px, py] = [event.clientX - frame.left, event.clientY - frame.top];
    let best = null;
    for (const run of runs) for (const name of ["training", "validation"]) for (const [step, loss] of run[name]) {
      const far = (x(step) - px) ** 2 + (y(loss) - py) ** 2;
      if (far < 900 && (!best || far < best.far)) best = { far, run, text: `Run ${run.rank}, step ${count(step)}: ${name} loss ${loss.toFixed(4)}` };
    }
    pointRun(best && best.run.rank);
    byId("curve-at").textContent = best ? best.text : CURVES;
  });
  root.addEventListener("pointerleave", () => { pointRun(null); byId("curve-at").textContent = CURVES; });
  box.replaceChildren(root);
}

const CURVES = "Validation: lines with points. Training: dashed. In nats a unit.";

/** Show one run before the others, in the curves and in the table; null: all alike. */
function pointRun(rank) {
  for (const node of document.querySelectorAll("#lm [data-rank]")) node.classList.toggle("dim", rank !== null && Number(node.dataset.rank) !== rank && node.tagName === "g");
  for (const row of document.querySelectorAll("#grid tbody tr")) row.classList.toggle("now", Number(row.dataset.rank) === rank);
}

function drawGrid() {
  const runs = data.models.runs;
  const swatch = (run) => make("span", { class: "rank" }, make("i", { class: "swatch", style: `background:${runColour(run)}` }), String(run.rank));
  table(byId("grid"), ["Rank", ...data.models.columns], runs.map((run) => [swatch(run), ...run.cells]));
  [...byId("grid").tBodies[0].rows].forEach((row, index) => {
    row.dataset.rank = runs[index].rank;
    row.addEventListener("pointerenter", () => pointRun(runs[index].rank));
    row.addEventListener("pointerleave", () => pointRun(null));
  });
}

let speaking = null; // the sample that is heard now: its audio is stopped when another one starts

/** One generated sample: play, its settings, its units with a head that moves, what a recogniser heard. */
function sampleCard(sample) {
  const toggle = make("button", { type: "button", class: "play", disabled: !sample.audio }, "Play");
  const said = make("span", { class: "unit-line note" });
  const strip = unitStrip(sample.units, 0, sample.duration_s, (run) => { said.textContent = run ? unitName(run) : ""; });
  const head = make("div", { class: "head", hidden: true });
  const box = make("div", { class: "strip" }, strip.node, head);
  let audio = null;
  const follow = () => {
    head.style.left = `${Math.min(100, (100 * audio.currentTime) / sample.duration_s)}%`;
    toggle.textContent = audio.paused ? "Play" : "Pause";
    if (!audio.paused) requestAnimationFrame(follow);
  };
  const start = (at) => {
    if (!audio) {
      audio = make("audio", { src: `data:audio/flac;base64,${sample.audio}` });
      for (const name of ["play", "pause", "ended", "seeked"]) audio.addEventListener(name, follow);
      box.append(audio);
    }
    if (speaking && speaking !== audio) speaking.pause();
    speaking = audio;
    head.hidden = false;
    if (at !== null) audio.currentTime = at;
    if (at !== null || audio.paused) audio.play().catch(() => {}); else audio.pause();
  };
  toggle.addEventListener("click", () => start(null));
  if (sample.audio) box.addEventListener("click", (event) => { const frame = box.getBoundingClientRect(); start((sample.duration_s * (event.clientX - frame.left)) / frame.width); });
  const facts = make("dl", {}, ...sample.facts.flatMap(([name, value]) => [make("div", {}, make("dt", {}, name), make("dd", {}, value))]));
  return make("li", {}, make("div", { class: "sample" }, toggle, make("div", {}, make("strong", { title: sample.id }, sample.name), facts)), box, said,
    sample.text === undefined ? null : make("p", {}, sample.text ? `“${sample.text}”` : "The recogniser heard no words."));
}

function drawModels() {
  byId("lm").hidden = !data.models.runs.length;
  byId("babble").hidden = !data.samples.cards.length;
  byId("curve-at").textContent = CURVES;
  byId("lm-note").textContent = data.models.note;
  drawGrid();
  drawCurves();
  byId("samples").append(...data.samples.cards.map(sampleCard));
  byId("samples-note").textContent = data.samples.note;
}

let redrawn = 0;
addEventListener("resize", () => { clearTimeout(redrawn); redrawn = setTimeout(drawCurves, 120); });
drawModels();

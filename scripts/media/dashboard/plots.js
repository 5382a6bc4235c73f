// The curves, by Chart.js: what was trained on is thin, what was validated on is thick.

const share = (value) => `${Number((100 * value).toPrecision(3))} %`;
const short = (value) => (Math.abs(value) >= 1e4 ? new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 2 }).format(value) : String(Number(value.toPrecision(4))));
const CURVES = [
  { id: "loss", title: "Loss", files: "metrics", series: ["loss", "valid_loss"], log: true, note: "Training thin, validation thick." },
  { id: "accuracy", title: "Accuracy", files: "metrics", series: ["accuracy", "valid_accuracy"], show: share, optional: true },
  { id: "lr", title: "Learning rate", files: "metrics", series: ["lr"], log: true, show: (value) => String(Number(value.toPrecision(3))), note: "The highest of all parts of the model." },
  { id: "speed", title: "Speed", files: "speed", series: ["tokens_per_s"], note: "Tokens a second, or what else the trainer counts." },
  { id: "padding", title: "Padding", files: "metrics", series: ["padding"], show: share, note: "Share of what is computed that is no data." },
  { id: "wait", title: "Wait for data", files: "speed", series: ["data_wait"], show: share, note: "Share of the time in which nothing is computed." },
  { id: "grad", title: "Gradient norm", files: "metrics", series: ["grad_norm"], log: true, note: "Before clipping, mean over the steps of a line." },
];
const DRAWN = new Set(["best_loss", ...CURVES.flatMap((curve) => curve.series)]);
const charts = new Map(); // by id: {curve, chart, box, figure}
const styles = () => getComputedStyle(document.documentElement);

/** The figure of a curve, made when it is first needed. */
function figureOf(curve) {
  if (charts.has(curve.id)) return charts.get(curve.id);
  const canvas = make("canvas", { role: "img", id: `chart-${curve.id}` });
  const box = make("div", { class: "canvas" }, canvas);
  const caption = make("small", {}, curve.note || "");
  const figure = make("figure", { class: curve.id === "loss" ? "first" : null }, make("figcaption", {}, curve.title, caption), box);
  const place = byId(curve.other ? "others" : "charts");
  const later = [...charts.values()].find((one) => one.figure.parentNode === place && CURVES.indexOf(one.curve) > CURVES.indexOf(curve));
  place.insertBefore(figure, later?.figure || null);
  const chart = new Chart(canvas, { type: "line", data: { datasets: [] }, options: optionsOf(curve) });
  const one = { curve, chart, canvas, caption, figure, isSeen: false, isDue: false };
  charts.set(curve.id, one);
  new IntersectionObserver(([entry]) => {
    one.isSeen = entry.isIntersecting;
    if (one.isSeen && one.isDue) update(one);
  }, { rootMargin: "100px" }).observe(box);
  pickRange(box, chart);
  return one;
}

/** Draw a chart anew if it is in view, else when it comes into view. */
function update(one) {
  one.isDue = !one.isSeen;
  if (one.isSeen) one.chart.update("none");
}

function optionsOf(curve) {
  const show = curve.show || short;
  const tip = ({ dataset, raw }) => `${dataset.series}: ${raw.y}`;
  return {
    animation: false, parsing: false, normalized: true, maintainAspectRatio: false,
    interaction: { mode: "nearest", axis: "xy", intersect: false },
    elements: { line: { tension: 0 }, point: { hoverRadius: 4, hitRadius: 0 } },
    scales: {
      x: { type: "linear", grid: { display: false }, ticks: { maxRotation: 0, autoSkipPadding: 24, callback: short }, title: { display: true } },
      y: { type: "linear", ticks: { callback: show, maxTicksLimit: 7 } },
    },
    plugins: { legend: { display: false }, tooltip: { displayColors: false, callbacks: { label: tip, title: ([item]) => `${item.dataset.label}, step ${count(item.raw.step)}` } } },
  };
}

/** One line of a chart. The same object is kept, so that Chart.js need not begin anew. */
function lineOf(curve, run, name) {
  run.lines ??= {};
  const line = (run.lines[`${curve.id} ${name}`] ??= { run: run.path, series: name });
  const points = run.files[curve.files].series.get(name);
  const colour = styles().getPropertyValue(colourName(run)).trim();
  const noisy = !name.startsWith("valid_"); // thin, and others show through
  const radius = points.length < 2 || (name.startsWith("valid_") && points.length <= 60) ? 2.5 : 0;
  return Object.assign(line, {
    label: run.name, data: points.filter((point) => point.x !== null), borderColor: noisy ? `${colour}a6` : colour, backgroundColor: colour, borderWidth: noisy ? 1.25 : 2,
    borderDash: run.colour >= 8 ? [6, 4] : [], pointRadius: radius, pointHoverBackgroundColor: colour, pointBorderWidth: 0, order: noisy ? 1 : 0,
  });
}

function drawCurve(curve) {
  const shown = shownRuns();
  const lines = shown.flatMap((run) => curve.series.filter((name) => run.files[curve.files]?.series.get(name)?.length).map((name) => lineOf(curve, run, name)));
  if (!lines.length && (curve.optional || curve.other) && !charts.has(curve.id)) return;
  const one = figureOf(curve);
  const { chart, figure, canvas, caption } = one;
  figure.hidden = !lines.length && Boolean(curve.optional || curve.other);
  if (curve.id === "accuracy") caption.textContent = [...new Set(shown.map((run) => run.facts.accuracy_is).filter(Boolean))].join(" · ");
  const positive = curve.log && lines.every((line) => line.data.every((point) => point.y > 0));
  const { x, y } = chart.options.scales;
  y.type = view.log && positive ? "logarithmic" : "linear";
  [x.min, x.max] = view.picked || [undefined, undefined];
  x.title.text = view.axis;
  canvas.setAttribute("aria-label", `${curve.title} by ${view.axis} of ${new Set(lines.map((line) => line.run)).size} runs; the list of runs has the latest figures`);
  chart.data.datasets = lines;
  update(one);
}

/** Figures that only some trainers have, one chart for NAME and valid_NAME. */
function otherCurves() {
  const found = new Map();
  for (const run of shownRuns()) for (const [files, file] of Object.entries(run.files)) for (const name of file.series.keys()) {
    const base = name.replace(/^valid_/, "");
    if (!DRAWN.has(name) && !found.has(base)) found.set(base, { id: `other-${base}`, title: base.replaceAll("_", " "), files, series: [base, `valid_${base}`], other: true });
  }
  return [...found.values()].sort((a, b) => a.id.localeCompare(b.id));
}

let due = false; // a drawing is on its way
let [began, took] = [0, 0]; // when the last one began, and until the next frame was possible, ms

/** Draw soon: five times a second at most, and a quarter of the time where that is much work. */
function draw() {
  if (due) return;
  due = true;
  setTimeout(() => requestAnimationFrame(drawNow), Math.max(0, began + Math.max(200, 4 * took) - performance.now()));
}

function drawNow() {
  due = false;
  began = performance.now();
  requestAnimationFrame(() => { took = performance.now() - began; });
  if (!runs.size) return;
  CURVES.forEach(drawCurve);
  const others = otherCurves();
  byId("more").hidden = !others.length;
  if (byId("more").open) others.forEach(drawCurve);
  byId("whole").disabled = !view.picked;
  if (!document.body.dataset.drawn && shownRuns().length && shownRuns().every((run) => run.files.metrics)) {
    performance.mark("drawn");
    document.body.dataset.drawn = "true";
  }
  if (Math.abs(chartWidth() - view.width) > 0.2 * view.width) watch(); // another width takes another number of points
}

/** The width of the widest chart, which is as many pixels as points are drawn on; about that before there is one. */
const chartWidth = () => Math.round(charts.get("loss")?.chart.chartArea?.width || Math.max(200, byId("plots").clientWidth - 60));

/** Dragging across a chart picks a part of the axis, for all charts. */
function pickRange(box, chart) {
  let [from, mark] = [null, null];
  const inside = (event) => Math.min(Math.max(event.clientX - box.getBoundingClientRect().left, chart.chartArea.left), chart.chartArea.right);
  const end = () => { mark?.remove(); [from, mark] = [null, null]; };
  box.addEventListener("pointerdown", (event) => { if (event.button === 0 && chart.chartArea) from = inside(event); });
  addEventListener("pointermove", (event) => {
    if (from === null) return;
    const to = inside(event);
    if (!mark && Math.abs(to - from) > 8) box.append((mark = make("div", { class: "picked" })));
    if (mark) Object.assign(mark.style, { left: `${Math.min(from, to)}px`, width: `${Math.abs(to - from)}px` });
  });
  addEventListener("pointerup", (event) => {
    if (mark) {
      const ends = [from, inside(event)].sort((a, b) => a - b).map((pixel) => chart.scales.x.getValueForPixel(pixel));
      lookAt(ends);
    }
    end();
  });
  addEventListener("pointercancel", end);
}

/** Look at a part of the axis, or at all of it (null): the hub sends that part in as much detail as fits. */
function lookAt(ends) {
  view.picked = ends;
  [view.from, view.to] = ends ? stepsOf(ends) : [null, null];
  draw();
  watch();
}

/** The steps that hold a part of the axis for every run, null where that is not known. */
function stepsOf([low, high]) {
  if (view.axis === "step") return [Math.floor(low), Math.ceil(high)];
  const stretches = shownRuns().map((run) => {
    const points = Object.values(run.files).flatMap((file) => [...file.series.values()].flat()).filter((point) => point.x !== null);
    const below = points.filter((point) => point.x <= low).map((point) => point.step);
    const above = points.filter((point) => point.x >= high).map((point) => point.step);
    return [below.reduce((a, b) => Math.max(a, b), -Infinity), above.reduce((a, b) => Math.min(a, b), Infinity)];
  });
  const ends = [Math.min(...stretches.map(([from]) => from)), Math.max(...stretches.map(([, to]) => to))];
  return ends.map((end) => (isFinite(end) ? end : null));
}

/** The colours of axes and texts are those of the page. */
function colourCharts() {
  Object.assign(Chart.defaults, { color: styles().getPropertyValue("--muted").trim(), borderColor: styles().getPropertyValue("--line").trim() });
  Object.assign(Chart.defaults.font, { family: getComputedStyle(document.body).fontFamily, size: 13 });
  draw();
}

document.addEventListener("themechange", colourCharts);

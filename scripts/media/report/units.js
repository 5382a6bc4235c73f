// Units: their colours, and strips of them on a time axis.

const unitColours = new Map();

/** The colour of a unit, light enough for dark text: hues a golden angle apart in three lightnesses (OKLCH, as sRGB). */
function unitColour(unit) {
  if (unitColours.has(unit)) return unitColours.get(unit);
  const [light, angle] = [0.73 + 0.075 * (unit % 3), unit * 2.39996];
  const [a, b] = [0.11 * Math.cos(angle), 0.11 * Math.sin(angle)];
  const l = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3, m = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3, s = (light - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const linear = [4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s, -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s, -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s];
  const rgb = linear.map((value) => Math.round(255 * Math.min(1, Math.max(0, value <= 0.0031308 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055))));
  unitColours.set(unit, `rgb(${rgb.join(" ")})`);
  return unitColours.get(unit);
}

/** Runs of a strip with their times in seconds: {unit, from, to}; what sticks out of start..end is cut. */
function unitRuns(strip, start, end) {
  let frame = strip.first;
  return strip.runs.map(([unit, frames]) => {
    const from = Math.max(start, frame * strip.hop_s);
    frame += frames;
    return { unit, from, to: Math.min(end, frame * strip.hop_s) };
  }).filter((run) => run.to > run.from);
}

const unitName = ({ unit, from, to }) => `unit ${unit} · ${from.toFixed(2)} to ${to.toFixed(2)} s`;

/**
 * A strip of units from start to end (s) with `named(text)` told what is pointed at: {node, at, label}.
 * `at(time)` is the run at a time, `label()` writes numbers where they fit. The unit pointed at is shown wherever it stands.
 */
function unitStrip(strip, start, end, named) {
  const runs = unitRuns(strip, start, end);
  const part = (seconds) => `${(100 * seconds) / (end - start)}%`;
  const cells = runs.map((run) => make("i", { style: `left:${part(run.from - start)};width:${part(run.to - run.from)};background:${unitColour(run.unit)}`, title: unitName(run) }));
  const node = make("div", { class: "units", "aria-hidden": "true" }, ...cells);
  let pointed = null;
  const point = (run) => {
    if (run === pointed) return;
    pointed = run;
    node.classList.toggle("picking", Boolean(run));
    cells.forEach((cell, index) => cell.classList.toggle("same", Boolean(run) && runs[index].unit === run.unit));
    named(run);
  };
  node.addEventListener("pointerover", (event) => point(runs[cells.indexOf(event.target)] || null));
  node.addEventListener("pointerleave", () => point(null));
  const label = () => {
    const perSecond = node.clientWidth / (end - start);
    cells.forEach((cell, index) => {
      const text = String(runs[index].unit);
      cell.textContent = (runs[index].to - runs[index].from) * perSecond > 7 * text.length + 4 ? text : "";
    });
  };
  const at = (time) => runs.find((run) => time >= run.from && time < run.to);
  return { node, at, label };
}

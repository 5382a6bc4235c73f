// Units: their colours, and strips of them on a time axis.

const unitColour = (unit) => data.palette.colours[unit];

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
 * `at(time)` is the run at a time, `label()` writes numbers and draws borders where they fit. The unit pointed at is shown wherever it stands.
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
      const text = String(runs[index].unit), width = (runs[index].to - runs[index].from) * perSecond;
      cell.textContent = width > 7 * text.length + 4 ? text : "";
      cell.classList.toggle("apart", width > 5);
    });
  };
  const at = (time) => runs.find((run) => time >= run.from && time < run.to);
  return { node, at, label };
}

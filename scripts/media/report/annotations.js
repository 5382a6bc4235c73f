// What the stages of annotation found in an example: pitch and energy over the spectrogram, emotion, phonemes, who sounds alike.

const TRACKS = {
  f0: { title: "Pitch", unit: "Hz", from: 0.06, to: 0.94, scale: Math.log, known: (value) => value > 0, digits: 0 },
  energy: { title: "Energy", unit: "dB", from: 0.55, to: 0.97, scale: (value) => value, known: (value) => value !== null, digits: 1 },
};

/** Points of a curve as runs of what is known: [[x, y], …] in seconds and shares of the height, from the top. */
function runsOf(values, kind, low, high, curves) {
  const spread = kind.scale(high) - kind.scale(low) || 1;
  const runs = [];
  values.forEach((value, index) => {
    if (!kind.known(value)) return;
    if (!index || !kind.known(values[index - 1])) runs.push([]);
    const share = (kind.scale(value) - kind.scale(low)) / spread;
    runs[runs.length - 1].push([curves.start_s + index * curves.hop_s, kind.to - share * (kind.to - kind.from)]);
  });
  return runs.map((run) => (run.length > 1 ? run : [run[0], [run[0][0] + curves.hop_s / 2, run[0][1]]]));
}

/** Pitch (Hz, on a logarithmic scale) and energy (dB) of an example: {node over the spectrogram, line below, move}; null where there are none. */
function curvesOf(item) {
  const curves = item.example && item.example.curves;
  if (!curves) return null;
  const node = svg("svg", { class: "curve-plot", viewBox: `0 0 ${item.length} 1`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const line = make("div", { class: "curve-line", role: "group", "aria-label": "Curves" });
  const shows = [];
  for (const [name, kind] of Object.entries(TRACKS)) {
    const values = curves[name];
    if (!values || !values.some(kind.known)) continue;
    const known = values.filter(kind.known);
    const [low, high] = known.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
    const group = svg("g", { class: name });
    for (const run of runsOf(values, kind, low, high, curves)) {
      const points = run.map(([x, y]) => `${(x - item.start).toFixed(3)},${y.toFixed(4)}`).join(" ");
      group.append(svg("polyline", { class: "halo", points }), svg("polyline", { points }));
    }
    node.append(group);
    const said = (number) => number.toFixed(kind.digits).replace("-", "−");
    const value = make("output", {});
    const button = make("button", { type: "button", class: name, "aria-pressed": "true", title: "Show or hide" }, make("i", { class: "swatch" }), kind.title);
    button.addEventListener("click", () => { const hidden = group.classList.toggle("off"); button.setAttribute("aria-pressed", String(!hidden)); });
    line.append(make("span", {}, button, value));
    shows.push((at) => {
      const found = values[Math.round((at - curves.start_s) / curves.hop_s)];
      const here = found !== undefined && kind.known(found) ? `${said(found)} ${kind.unit}` : "–";
      value.replaceChildren(here, make("small", {}, ` (${said(low)} to ${said(high)} ${kind.unit})`));
    });
  }
  return { node, line, move: (at) => shows.forEach((show) => show(at)) };
}

const tags = (title, by, rows) => make("section", { class: "tags" }, make("h4", {}, title, make("small", {}, by)), barList(rows));

function similarList(similar) {
  const items = similar.map(([name, score, row]) => {
    const alike = make("small", {}, score.toFixed(3).replace("-", "−"));
    if (row === null) return make("li", {}, make("span", {}, name), alike);
    const button = make("button", { type: "button", title: "Show it" }, name);
    button.addEventListener("click", () => openRow(row));
    return make("li", {}, button, alike);
  });
  return make("section", { class: "similar" }, make("h4", {}, "Similar", make("small", {}, "the most alike first")), make("ol", {}, ...items));
}

/** What is said of an example as a whole, or null. */
function findings(item) {
  const { ipa, emotion, sentiment, similar } = item.example || {};
  const parts = [];
  if (emotion) parts.push(tags(`Emotion: ${emotion.label}`, emotion.by, emotion.bars));
  if (sentiment) parts.push(tags(`Sentiment: ${sentiment.label}`, sentiment.by, sentiment.bars));
  if (similar && similar.length) parts.push(similarList(similar));
  const phonemes = ipa ? make("p", { class: "ipa" }, make("small", {}, `IPA${ipa.lang ? ` (${ipa.lang})` : ""}`), " ", make("span", { lang: "und-fonipa" }, ipa.text)) : null;
  return parts.length || phonemes ? make("div", { class: "findings" }, phonemes, parts.length ? make("div", { class: "grid" }, ...parts) : null) : null;
}

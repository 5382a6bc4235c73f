// The tiles, histograms, shards, scores and failures.

const data = JSON.parse(document.getElementById("data").textContent);
const TICKS = { Hz: (value) => `${Math.round(value)} Hz`, "/s": (value) => `${value.toFixed(1)} /s` };
const tick = (value, unit) => (TICKS[unit] ? TICKS[unit](value) : unit === "s" ? span(value).replace(/\.0+ /, " ").replace(/:00( min| h)$/, "$1") : `${Math.round(100 * value)} %`);

function drawTiles() {
  if (data.tiles.length > 6) byId("tiles").style.setProperty("--columns", Math.ceil(data.tiles.length / 2)); // two rows, equally full
  for (const tile of data.tiles) {
    byId("tiles").append(make("div", {}, make("dt", {}, tile.label),
      make("dd", { class: tile.bad ? "bad" : null }, tile.value, tile.note ? make("small", {}, tile.note) : null)));
  }
}

/** A histogram: bars of equal width, ticks at bin edges, the median as a line. */
function histogram(chart) {
  const [width, height, left, bottom] = [420, 210, 1, 26];
  const { edges, counts } = chart;
  const step = (width - left) / counts.length;
  const top = Math.max(...counts, 1);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height + bottom}`, role: "img", "aria-label": `${chart.title}: ${chart.note}` });
  root.append(svg("line", { class: "rule", x1: 0, x2: width, y1: height, y2: height }));
  counts.forEach((value, index) => {
    const tall = value ? Math.max(1.5, (value / top) * (height - 26)) : 0;
    const bar = svg("rect", { class: "bar", x: left + index * step + 0.75, y: height - tall, width: Math.max(1, step - 1.5), height: tall, rx: 1.5 });
    bar.append(svg("title", {}, `${tick(edges[index], chart.unit)} to ${tick(edges[index + 1], chart.unit)}: ${count(value)}`));
    root.append(bar);
  });
  const every = Math.ceil(counts.length / 5);
  edges.forEach((edge, index) => {
    if (index % every) return;
    const anchor = index === 0 ? "start" : index === counts.length ? "end" : "middle";
    root.append(svg("text", { x: left + index * step, y: height + 20, "text-anchor": anchor }, tick(edge, chart.unit)));
  });
  const bin = counts.findIndex((_, index) => chart.median <= edges[index + 1]);
  if (bin >= 0) {
    const part = (chart.median - edges[bin]) / (edges[bin + 1] - edges[bin] || 1);
    const x = left + (bin + Math.min(1, Math.max(0, part))) * step;
    root.append(svg("line", { class: "mid", x1: x, x2: x, y1: 19, y2: height }));
    root.append(svg("text", { class: "midtext", x, y: 13, "text-anchor": x > width - 75 ? "end" : x < 75 ? "start" : "middle" }, `median ${tick(chart.median, chart.unit)}`));
  }
  return make("figure", {}, make("figcaption", {}, chart.title, make("small", {}, chart.note)), root);
}

/** Names with bars from 0 to 1. */
function barList(rows) {
  const cells = rows.flatMap(([name, share]) => [make("dt", {}, name), make("dd", { class: "meter", "aria-hidden": "true" }, make("i", { style: `width:${100 * Math.min(1, Math.max(0, share))}%` })), make("dd", { class: "num" }, share.toFixed(2))]);
  return make("dl", { class: "bars" }, ...cells);
}

const shares = (chart) => make("figure", {}, make("figcaption", {}, chart.title, make("small", {}, chart.note)), barList(chart.rows));

function table(node, columns, rows) {
  const numeric = (column) => (rows.some((row) => row[column] !== "" && isNaN(parseFloat(row[column]))) ? "" : "num");
  const kinds = columns.map((_, index) => numeric(index));
  node.append(make("thead", {}, make("tr", {}, ...columns.map((name, index) => make("th", { class: kinds[index], scope: "col" }, name)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell, index) => make("td", { class: kinds[index] }, cell))))));
}

const SHARDS_SHOWN = 16;

/** Shards of one stage, with a bar for speed; the first ones, the rest on demand. Columns that say nothing are left out. */
function drawStage(stage) {
  const fastest = Math.max(...stage.shards.map((shard) => shard.speed || 0));
  const some = (name) => stage.shards.some((shard) => shard[name]);
  const bar = (shard) => make("span", { class: "meter", "aria-hidden": "true" }, make("i", { style: `width:${(100 * (shard.speed || 0)) / fastest}%` }));
  const heads = [
    { title: "Shard", cell: (shard) => String(shard.shard) }, { title: "Done", cell: (shard) => count(shard.done) },
    { title: "Failed", cell: (shard) => count(shard.failed), bad: (shard) => shard.failed },
    some("left") && { title: "Left", cell: (shard) => count(shard.left) },
    some("audio_s") && { title: "Audio", cell: (shard) => span(shard.audio_s) },
    fastest > 0 && { title: "× real time", cell: (shard) => times(shard.speed) },
    fastest > 0 && { title: "", text: true, cell: bar }, { title: "State", text: true, cell: (shard) => shard.state },
  ].filter(Boolean);
  const body = make("tbody");
  const fill = (rows) => body.append(...rows.map((shard) => make("tr", {}, ...heads.map((head) =>
    make("td", { class: [head.text ? "" : "num", head.bad && head.bad(shard) ? "bad" : ""].join(" ").trim() }, head.cell(shard))))));
  const grid = make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col", class: head.text ? null : "num" }, head.title)))), body);
  fill(stage.shards.slice(0, SHARDS_SHOWN));
  const more = make("button", { type: "button", hidden: stage.shards.length <= SHARDS_SHOWN }, `Show all ${count(stage.shards.length)} shards`);
  more.addEventListener("click", () => { fill(stage.shards.slice(SHARDS_SHOWN)); more.remove(); });
  byId("stages").append(make("h3", {}, stage.stage), make("p", { class: "note" }, stage.note), stage.shards.length ? make("div", { class: "wide" }, grid) : "", more);
}

function drawFailures() {
  byId("failed").hidden = !data.failures.length;
  for (const failure of data.failures) {
    const rows = failure.files.map((file) => make("li", {}, make("strong", {}, file.name), ` ${file.message}`));
    byId("failures").append(make("details", { open: data.failures.length < 4 }, make("summary", {}, make("strong", {}, failure.kind), ` ${count(failure.count)} in ${failure.stage}`),
      make("ul", { class: "note" }, ...rows, failure.count > failure.files.length ? make("li", {}, `and ${count(failure.count - failure.files.length)} more: status.py --errors lists all`) : null)));
  }
}

function copies(button, source) {
  button.addEventListener("click", async () => {
    const said = button.textContent;
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch { // pages opened from disk may not use the clipboard: select, and let the old command copy
      getSelection().selectAllChildren(source);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = said; }, 1500);
  });
}

themes();
drawTiles();
byId("charts").append(...data.charts.map((chart) => (chart.rows ? shares(chart) : histogram(chart))));
byId("spread").hidden = !data.charts.length;
byId("scores").hidden = !data.metrics.rows.length;
table(byId("metrics"), data.metrics.columns, data.metrics.rows);
byId("run").hidden = !data.stages.length;
data.stages.forEach(drawStage);
drawFailures();
copies(byId("copy-methods"), byId("prose"));
copies(byId("copy-bibtex"), byId("bibtex"));

// The lists beside the curves: runs, grids, stages. Rows are kept, so that what is open or has the focus stays so.

/** Call each run by the end of its path, or by what is before it where that tells runs apart, or by both. */
function nameAll() {
  const parts = [...runs.values()].map((run) => [run, run.path.split("/").filter(Boolean)]);
  const once = (texts) => new Set(texts).size === texts.length;
  const [ends, models] = [-1, -2].map((at) => parts.map(([, words]) => words.at(at) ?? ""));
  parts.forEach(([run, words], index) => {
    const [end, model] = [ends[index], models[index]];
    run.name = once(ends) ? end : once(models) ? model : `${model} ${end}`;
    run.rest = (once(ends) ? words.slice(0, -1) : once(models) ? [end] : words.slice(0, -2)).join("/");
  });
}

const figure = (value) => (value === null || value === undefined ? "" : Math.abs(value) >= 1e6 || (value && Math.abs(value) < 1e-3) ? value.toExponential(3) : String(Number(value.toFixed(4))));
const stateTag = (state) => make("span", { class: `state ${state}` }, state);

/** What is known of a run in figures: how far it is, its losses, its speed. */
function factsLine({ step, epoch, loss, valid_loss: valid, best_loss: best, tokens_per_s: speed, state, ended }) {
  return [
    step === null ? "no metrics yet" : `step ${count(step)}${epoch === null ? "" : `, epoch ${epoch}`}`,
    loss === null ? "" : `loss ${figure(loss)}`, valid === null ? "" : `validation ${figure(valid)}`, best === null ? "" : `best ${figure(best)}`,
    speed === null || state !== "running" ? "" : `${count(Math.round(speed))} tokens/s`, state === "done" && ended ? `ended: ${ended}` : "",
  ].filter(Boolean).join(" · ");
}

function rowOf(run) {
  if (run.row) return run.row;
  const [name, state, rest, facts] = [make("strong"), make("span"), make("small"), make("small")];
  const button = make("button", { type: "button", title: run.path }, make("i"), name, state, rest, facts);
  button.addEventListener("click", () => {
    run.picked = run.shown = !run.shown;
    colourAll();
    drawRuns();
    draw();
    watch();
  });
  return (run.row = { item: make("li", {}, button), button, name, state, rest, facts });
}

function drawRuns() {
  nameAll();
  const sorted = [...runs.values()].sort((a, b) => isRunning(b) - isRunning(a) || a.path.localeCompare(b.path));
  sorted.forEach((run, index) => {
    const { item, button, name, state, rest, facts } = rowOf(run);
    button.setAttribute("aria-pressed", String(run.shown));
    button.style.setProperty("--own", `var(${colourName(run)})`);
    button.classList.toggle("dashed", run.colour >= 8);
    if (state.textContent !== run.facts.state) Object.assign(state, { textContent: run.facts.state, className: `state ${run.facts.state}`, title: run.facts.where });
    const texts = [[name, run.name], [rest, run.rest], [facts, factsLine(run.facts)]];
    for (const [node, text] of texts) if (node.textContent !== text) node.textContent = text;
    if (byId("runs").children[index] !== item) byId("runs").insertBefore(item, byId("runs").children[index] || null);
  });
}

const GRID = [["rank", "Rank"], ["grid", "Grid"], ["point", "Point"], ["state", "State"], ["best_loss", "Best loss"], ["perplexity", "Perplexity"], ["best_step", "Best step"], ["step", "Step"]];
const numeric = (value) => typeof value === "number" || value === null || value === undefined;

/** A table of rows of cells; columns of numbers stand to the right. */
function fillTable(node, heads, rows) {
  const kinds = heads.map((_, column) => (rows.every((row) => numeric(row[column])) ? "num" : ""));
  const cell = (value) => (value instanceof Node ? value : typeof value === "number" ? figure(value) : value ?? "");
  node.replaceChildren(make("thead", {}, make("tr", {}, ...heads.map((head, column) => make("th", { scope: "col", class: kinds[column] }, head)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((value, column) => make("td", { class: kinds[column] }, cell(value)))))));
}

function drawGrids({ grids }) {
  byId("grids").hidden = !grids.length;
  byId("grid-tables").replaceChildren(...grids.flatMap(({ dataset, settings, rows }) => {
    const grid = make("table", { class: "grid" });
    const shown = (value) => (numeric(value) || typeof value === "string" ? value : JSON.stringify(value));
    fillTable(grid, [...GRID.map(([, head]) => head), ...settings.map((name) => name.replaceAll("_", " "))],
      rows.map((row) => [...GRID.map(([name]) => (name === "state" ? stateTag(row.state) : row[name])), ...settings.map((name) => shown(row.settings[name]))]));
    const left = rows.filter((row) => row.state !== "done").length;
    return [make("h3", {}, dataset), make("p", { class: "note" }, `${count(rows.length)} runs${left ? `, ${count(left)} not finished` : ", all finished"}`), make("div", { class: "wide", tabIndex: 0, role: "region", "aria-label": `Grid of ${dataset}` }, grid)];
  }));
}

const stageCards = new Map();

function drawStages({ stages }) {
  byId("stages").hidden = !stages.length;
  const isOpen = (stage) => stage.left > 0 || stage.states.includes("running");
  const order = (stage) => ["running", "stale", "failed", "stopped", "waiting", "done"].findIndex((state) => stage.states.includes(state));
  const open = stages.filter(isOpen).sort((a, b) => order(a) - order(b));
  const wanted = open.map((stage) => cardOf(stage));
  for (const [key, card] of stageCards) if (!wanted.includes(card)) stageCards.delete(key);
  if (wanted.some((card, index) => byId("open-stages").children[index] !== card) || byId("open-stages").children.length !== wanted.length) byId("open-stages").replaceChildren(...wanted);
  const done = stages.filter((stage) => !isOpen(stage));
  byId("done").hidden = !done.length;
  byId("done").firstElementChild.textContent = `${count(done.length)} finished`;
  fillTable(byId("done-stages"), ["Stage", "Manifest", "Done", "Failed", "Audio"], done.map((stage) => [stage.stage, stage.manifest, stage.done, stage.failed, stage.audio_s ? span(stage.audio_s) : ""]));
}

/** One stage that is at work or not finished: how much is done, how fast, what is left, what to type. */
function cardOf(stage) {
  const key = `${stage.manifest} ${stage.stage}`;
  if (!stageCards.has(key)) stageCards.set(key, make("article", {}, make("div"), make("details", {}, make("summary"), make("div", { class: "wide", tabIndex: 0 }, make("table")))));
  const card = stageCards.get(key);
  const [about, details] = card.children;
  const all = stage.done + stage.failed + stage.left || 1;
  const bar = make("div", { class: "bar", role: "img", "aria-label": `${Math.floor((100 * stage.done) / all)} % done` }, make("i"), make("b"));
  bar.firstChild.style.width = `${(100 * stage.done) / all}%`;
  bar.lastChild.style.width = `${(100 * stage.failed) / all}%`;
  const figures = [`${count(stage.done)} done`, `${count(stage.failed)} failed`, `${count(stage.left)} left`, stage.x_real_time ? `${stage.x_real_time.toFixed(1)} × real time` : "", stage.eta_s === null ? "" : `ETA ${span(stage.eta_s)}`];
  about.replaceChildren(...[make("h3", {}, make("span", {}, stage.stage, " ", make("small", {}, stage.manifest)), make("span", { class: "states" }, ...stage.states.filter((state) => state !== "done").map(stateTag))), bar,
    make("p", {}, figures.filter(Boolean).join(" · ")), stage.finish ? make("p", {}, "To finish: ", make("code", { tabIndex: 0 }, stage.finish)) : null].filter(Boolean));
  details.firstElementChild.textContent = `${count(stage.of_shards)} shard${stage.of_shards > 1 ? "s" : ""}${stage.shards.length < stage.of_shards ? `, ${stage.shards.length} of them that need a look` : ""}`;
  fillTable(details.querySelector("table"), ["Shard", "State", "Done", "Failed", "Left", "× real time", "ETA", "Where"],
    stage.shards.map((shard) => [shard.shard, stateTag(shard.state), shard.done, shard.failed, shard.left, shard.x_real_time === null ? null : Number(shard.x_real_time.toFixed(1)), shard.eta_s === null ? "" : span(shard.eta_s), shard.where]));
  return card;
}

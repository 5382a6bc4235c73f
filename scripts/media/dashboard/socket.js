// The connection to the hub: it is taken up again when it breaks, and goes on where it was.

const RETRY_MS = [500, 15_000]; // first and longest wait between tries
let socket = null;
let wait = RETRY_MS[0];
let retry = null;

function say(state, text) {
  document.body.dataset.state = state;
  byId("link").querySelector("span").textContent = text;
  byId("again").hidden = state !== "away";
}

function connect() {
  clearTimeout(retry);
  socket = new WebSocket(`${location.protocol.replace("http", "ws")}//${location.host}/socket${location.search}`);
  socket.addEventListener("open", () => {
    wait = RETRY_MS[0];
    say("live", "Live");
    watch();
  });
  socket.addEventListener("message", (event) => take(JSON.parse(event.data)));
  socket.addEventListener("close", lost);
}

/** Ask why, then try again: a hub that was started with another token does not let this page in. */
async function lost() {
  let refused = false;
  try {
    refused = (await fetch(`/${location.search}`)).status === 403;
  } catch { /* nobody answers */ }
  if (refused) {
    say("refused", "The dashboard has another token now: open the address that it printed.");
    return;
  }
  say("away", `The dashboard does not answer; next try in ${Math.round(wait / 1000) || 1} s.`);
  retry = setTimeout(connect, wait);
  wait = Math.min(2 * wait, RETRY_MS[1]);
}

/** Tell the hub what is looked at, and what of it is here already. */
function watch() {
  view.width = chartWidth();
  if (socket?.readyState === WebSocket.OPEN) {
    socket.send(JSON.stringify({ type: "watch", runs: shownRuns().map((run) => run.path), width: view.width, from: view.from, to: view.to, have: have() }));
  }
}

const TAKE = {
  hub: takeHub,
  run: (message) => { takeFacts(message); later(); },
  gone: ({ run }) => { runs.get(run)?.row?.item.remove(); runs.delete(run); later(); },
  points: (message) => { takePoints(message); draw(); },
  metrics: (message) => { takeLine(message); draw(); },
  speed: (message) => { takeLine(message); draw(); },
  grids: drawGrids,
  stages: drawStages,
};

const take = (message) => TAKE[message.type]?.(message);

function takeHub({ folders, runs: read, found }) {
  const where = folders.join(" or ");
  byId("waiting").hidden = read > 0 && read === found;
  byId("waiting").textContent = found ? `Reading ${count(found)} runs: ${count(read)} done …` : `No runs yet in ${where}. A run appears here as soon as it has begun.`;
  refresh();
}

let pending = null; // many runs tell their facts at once: lists and choice are brought up to date together

function later() {
  pending ??= setTimeout(refresh, 50);
}

function refresh() {
  clearTimeout(pending);
  pending = null;
  byId("training").hidden = !runs.size;
  const changed = choose();
  drawRuns();
  draw();
  if (changed) watch();
}

byId("axis").addEventListener("click", ({ target }) => {
  if (!target.dataset.axis) return;
  for (const button of byId("axis").children) button.setAttribute("aria-pressed", String(button === target));
  view.axis = target.dataset.axis;
  for (const run of runs.values()) placeAll(run);
  if (view.picked) lookAt(null); else draw();
});
byId("log").addEventListener("click", ({ target }) => {
  view.log = !view.log;
  target.setAttribute("aria-pressed", String(view.log));
  draw();
});
byId("whole").addEventListener("click", () => lookAt(null));
byId("more").addEventListener("toggle", draw);
byId("again").addEventListener("click", connect);
addEventListener("resize", draw);

colourCharts();
themes();
connect();

"""dashboard.py in a real Chromium: what is drawn is what the files say, whatever is killed on the way."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from amela import grid, slurm
from amela.run_folder import RunFolder
from amela.summary import summaries
from arrays import Task, make_manifest, stage_of, wait_until
from browser import ROOT, SCREENS, Page, run

SCRIPT = ROOT / "scripts" / "dashboard.py"
TOKEN = "0123456789-of-a-test"
PLACES = """Object.fromEntries([...document.querySelectorAll('canvas')].map((canvas) => [canvas.id,
    Chart.getChart(canvas).data.datasets.map((one) =>
        [one.run, one.series, one.data.map((at) => [at.step, at.y])])]))"""
INK = """(() => {
    const canvas = document.querySelector('#chart-loss');
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    let ink = 0;
    for (let i = 3; i < data.length; i += 4) ink += data[i] > 0;
    return ink / (canvas.width * canvas.height);
})()"""
CELLS = (
    "[...document.querySelectorAll('%s tbody tr')].map((row) => [...row.cells].map((one) => one.textContent))"
)


class Hub:
    """A dashboard in a process of its own."""

    def __init__(self, folder: Path, *words: str, port: int = 0, token: str = TOKEN) -> None:
        command = [sys.executable, str(SCRIPT), *words, "--port", str(port), "--token", token]
        env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, env=env)
        self.said = ""
        while "from your own" not in self.said:
            line = self.process.stdout.readline()
            assert line, self.said
            self.said += line
        self.url = re.search(r"open +(http://127\.0\.0\.1:(\d+)/\?token=\S+)", self.said)[1]
        self.port = int(self.url.split(":")[2].split("/")[0])

    def end(self, number: int = signal.SIGKILL) -> int:
        self.process.send_signal(number)
        status = self.process.wait(10)
        self.rest = self.process.stdout.read()
        self.process.stdout.close()
        return status


@pytest.fixture
def hubs(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Yield what starts a dashboard in the test's folder."""
    started: list[Hub] = []

    def start(*words: str, **more: Any) -> Hub:
        started.append(Hub(tmp_path, *words, **more))
        return started[-1]

    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "metadata").mkdir()
    yield start
    if "page" in request.fixturenames:  # it would go on asking for the dashboard while the next test begins
        request.getfixturevalue("page").driver.get("about:blank")
    for hub in started:
        if hub.process.poll() is None:
            hub.end()


def make_run(folder: Path, model: str, steps: range, **config: Any) -> Path:
    path = folder / "checkpoints" / model / "corpus_s1"
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    append(path, steps)
    return path


def append(path: Path, steps: range, factor: float = 1.0) -> None:
    """Write lines as a trainer does, an epoch of ten steps."""
    with open(path / "metrics.jsonl", "a") as file:
        for step in steps:
            place = {"step": step, "epoch": (step - 1) // 10 + 1, "tokens": 99 * step}
            row = {"loss": factor * 9 / step, "accuracy": 1 - 1 / step, "lr": 0.001, "padding": 0.03}
            print(json.dumps({**place, **row, "grad_norm": 1.5}), file=file)
            if step % 10 == 0:
                loss = factor * 10 / step
                print(json.dumps({**place, "valid_loss": loss, "best_loss": loss}), file=file)
    with open(path / "speed.jsonl", "a") as file:
        for step in steps:
            print(
                json.dumps({"time": 1.0, "step": step, "tokens_per_s": 1e4 + step, "data_wait": 0.01}),
                file=file,
            )


def in_file(path: Path, name: str) -> list[list[float]]:
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [[row["step"], row[name]] for row in rows if name in row]


def drawn(page: Page, chart: str = "chart-loss") -> dict[tuple[str, str], list[list[float]]]:
    """Return what a chart holds: points by (run, name of the figure)."""
    return {(path, name): points for path, name, points in page.run(PLACES)[chart]}


def last_step(path: str) -> str:
    """Return what gives the step at which the first curve of a run ends."""
    lines = "Chart.getChart('chart-loss')?.data.datasets"
    return f"({lines}?.find((one) => one.run.includes('{path}'))?.data.at(-1) ?? {{}}).step"


def test_the_curves_are_what_the_files_say_and_grow_with_them(page: Page, hubs: Any, tmp_path: Path) -> None:
    first = make_run(tmp_path, "lstm_a", range(1, 41), accuracy_is="share of units that were most likely")
    second = make_run(tmp_path, "lstm_b", range(1, 21))
    (second / "done.json").write_text('{"ended": "2 epochs"}')
    page.open(hubs().url)
    page.wait(f"{last_step('lstm_b')} === 20")
    held = drawn(page)
    for path in (first, second):
        for name in ("loss", "valid_loss"):
            assert held[str(path.relative_to(tmp_path)), name] == in_file(path, name)
    assert len(held) == 4
    assert drawn(page, "chart-accuracy")[str(first.relative_to(tmp_path)), "accuracy"] == in_file(
        first, "accuracy"
    )
    assert drawn(page, "chart-speed")[str(first.relative_to(tmp_path)), "tokens_per_s"][-1] == [40, 10040]
    for chart, name in [("lr", "lr"), ("padding", "padding"), ("grad", "grad_norm"), ("wait", "data_wait")]:
        assert drawn(page, f"chart-{chart}")[str(first.relative_to(tmp_path)), name][-1][0] == 40
    assert page.run(INK) > 0.01, "something is drawn"
    assert page.texts("figure:has(#chart-accuracy) small") == ["share of units that were most likely"]
    assert page.texts(".runs .state") == ["stopped", "done"]
    append(first, range(41, 61))
    page.wait(f"{last_step('lstm_a')} === 60", 5)
    assert drawn(page)[str(first.relative_to(tmp_path)), "loss"] == in_file(first, "loss")
    page.click(".runs li:last-child button")
    page.wait("Chart.getChart('chart-loss').data.datasets.length === 2")
    assert page.complaints() == []


def test_a_run_is_running_stale_stopped_or_done(page: Page, hubs: Any, tmp_path: Path) -> None:
    """And damage costs nobody else."""
    runs = [RunFolder(make_run(tmp_path, f"lstm_{name}", range(1, 4)), slurm.here()) for name in "abcde"]
    for taken in runs[:3]:
        taken.take()
    (killed,) = (runs[1].path / "beats").iterdir()
    killed.write_text(json.dumps({**json.loads(killed.read_text()), "process_start": "1"}))
    runs[2].release()
    runs[3].finish({"ended": "1 epochs"})
    (runs[4].path / "config.json").write_text("[")
    odd = make_run(tmp_path, "lstm_odd", range(1, 4))
    (odd / "beats").mkdir()
    (odd / "beats/x.json").write_text("{}")
    hub = hubs()
    page.open(hub.url)
    page.wait(
        "document.querySelectorAll('.runs li').length === 5 && document.querySelector('#waiting').hidden"
    )
    names = [name.removeprefix("lstm_") for name in page.texts(".runs strong")]
    assert list(zip(names, page.texts(".runs .state"))) == [
        ("a", "running"), ("b", "stale"), ("c", "stopped"), ("d", "done"), ("e", "stopped")
    ]  # fmt: skip
    runs[0].release()
    page.wait("document.querySelectorAll('.runs .running').length === 0")
    hub.end(signal.SIGTERM)
    assert "lstm_odd/corpus_s1 is not shown for now: KeyError" in hub.rest


def test_axes_and_scale(page: Page, hubs: Any, tmp_path: Path) -> None:
    make_run(tmp_path, "lstm_a", range(1, 41))
    page.open(hubs().url)
    page.wait(f"{last_step('lstm_a')} === 40")
    end = "Chart.getChart('chart-loss').data.datasets[0].data.at(-1).x"
    for axis, place in [("epoch", 4), ("tokens", 99 * 40), ("step", 40)]:
        page.click(f"[data-axis={axis}]")
        page.wait(
            f"{end} === {place} && Chart.getChart('chart-loss').options.scales.x.title.text === '{axis}'"
        )
    page.click("#log")
    page.wait("Chart.getChart('chart-loss').scales.y.type === 'logarithmic'")
    assert page.run("Chart.getChart('chart-padding').scales.y.type") == "linear"


def test_a_part_of_a_long_run_is_shown_in_detail(page: Page, hubs: Any, tmp_path: Path) -> None:
    path = make_run(tmp_path, "lstm_a", range(1, 9001))
    page.open(hubs().url)
    page.wait(f"{last_step('lstm_a')} === 9000")
    run_of = str(path.relative_to(tmp_path))
    width = page.run("Chart.getChart('chart-loss').chartArea.width")
    assert len(drawn(page)[run_of, "loss"]) <= 2 * width < 9000
    page.run("lookAt([500.5, 700.5])")
    page.wait("Chart.getChart('chart-loss').data.datasets[0].data.length < 230")
    assert drawn(page)[run_of, "loss"] == in_file(path, "loss")[498:702]
    page.click("#whole")
    page.wait(
        f"Chart.getChart('chart-loss').data.datasets[0].data[0].step === 1 && {last_step('lstm_a')} === 9000"
    )
    page.drag("#chart-loss", 200, 400)
    page.wait("view.to - view.from > 1000 && view.to - view.from < 4000")
    page.wait("Chart.getChart('chart-loss').data.datasets[0].data[1].step > view.from")


def test_a_page_outlives_the_dashboard(page: Page, hubs: Any, tmp_path: Path) -> None:
    """Killed, missed lines, started anew: each point once; with another token the page says so."""
    path = make_run(tmp_path, "lstm_a", range(1, 31))
    hub = hubs()
    page.open(hub.url)
    page.wait(f"{last_step('lstm_a')} === 30")
    page.run("window.same = true")
    hub.end()
    page.wait("document.body.dataset.state === 'away'")
    append(path, range(31, 51))
    again = hubs(port=hub.port)
    page.wait("document.body.dataset.state === 'live'", 20)
    page.wait(f"{last_step('lstm_a')} === 50")
    append(path, range(51, 56))
    page.wait(f"{last_step('lstm_a')} === 55")
    assert page.run("window.same"), "the page was not loaded again"
    for name in ("loss", "valid_loss"):
        assert drawn(page)[str(path.relative_to(tmp_path)), name] == in_file(path, name)
    again.end()
    hubs(port=hub.port, token="another")
    page.wait("document.body.dataset.state === 'refused'", 20)
    assert "another token" in page.run("document.querySelector('#link').textContent")


@pytest.mark.parametrize("hub_is_there", [True, False])
def test_a_run_that_goes_on_from_a_checkpoint_has_no_step_twice(
    page: Page, hubs: Any, tmp_path: Path, hub_is_there: bool
) -> None:
    path = make_run(tmp_path, "lstm_a", range(1, 31))
    hub = hubs()
    page.open(hub.url)
    page.wait(f"{last_step('lstm_a')} === 30")
    if not hub_is_there:
        hub.end()
    kept = "".join(line for line in (path / "metrics.jsonl").open() if json.loads(line)["step"] <= 20)
    os.truncate(path / "metrics.jsonl", len(kept))
    append(path, range(21, 41), factor=1.5)  # on a GPU the same steps have other losses
    if not hub_is_there:
        hubs(port=hub.port)
    page.wait(f"{last_step('lstm_a')} === 40", 20)
    for name in ("loss", "valid_loss"):
        assert drawn(page)[str(path.relative_to(tmp_path)), name] == in_file(path, name)
    page.wait("Chart.getChart('chart-speed').data.datasets[0].data.at(-1).step === 40")
    steps = [step for step, _ in drawn(page, "chart-speed")[str(path.relative_to(tmp_path)), "tokens_per_s"]]
    assert steps == list(range(1, 41))


def test_numbers_that_are_none_break_nothing(page: Page, hubs: Any, tmp_path: Path) -> None:
    path = make_run(tmp_path, "lstm_a", range(1, 4))
    with open(path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "loss": NaN, "lr": Infinity, "grad_norm": null}\n')
        file.write('{"step": 5, "loss": 2.5, "new": 7}\n{"st')
    page.open(hubs().url)
    page.wait(f"{last_step('lstm_a')} === 5")
    assert [step for step, _ in drawn(page)["checkpoints/lstm_a/corpus_s1", "loss"]] == [1, 2, 3, 5]
    page.click("#more summary")
    page.wait("Boolean(document.querySelector('#chart-other-new'))")
    assert drawn(page, "chart-other-new") == {("checkpoints/lstm_a/corpus_s1", "new"): [[5, 7]]}
    assert page.complaints() == []


def test_nothing_overflows_and_all_can_be_read(page: Page, hubs: Any, tmp_path: Path, stage: Path) -> None:
    """While there are no runs yet, and with runs, a grid and a stage: wide and narrow, light and dark."""
    stage.rename(aside := tmp_path / "corpus.json")
    hub = hubs()
    for width, ratio, theme in SCREENS:
        page.open(hub.url, width, 800, theme, ratio)
        page.wait("!document.querySelector('#waiting').hidden")
        assert page.texts("#waiting") == [
            "No runs yet in checkpoints or metadata. A run appears here as soon as it has begun."
        ]
        page.check(width)
    for number in range(3):
        make_run(tmp_path, f"lstm_r0.001_h{256 * number}_e256_l2_b32_d0.1", range(1, 41), accuracy_is="share")
    folders = [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.glob("checkpoints/*/*"))]
    points = [{"hidden_size": 256 * number} for number in range(3)]
    grid.freeze(str(tmp_path / "checkpoints"), "corpus", points, folders)
    aside.rename(stage)
    page.wait("document.querySelectorAll('.runs li, .grid, article').length === 5", 15)
    for width, ratio, theme in SCREENS:
        page.open(hub.url, width, 800, theme, ratio)
        page.wait("Boolean(document.body.dataset.drawn)")
        page.run("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
        page.check(width)
        assert page.run(INK) > 0.01
        assert page.complaints() == []


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Path]:
    """Yield a manifest with a stage of three shards: one is done, one works, one waits."""
    (tmp_path / "metadata").mkdir(exist_ok=True)
    manifest = make_manifest(tmp_path / "metadata" / "corpus.json", ["a"] * 13 + ["hang", "a"], duration=60)
    tasks = [Task([manifest], 1, index, range(3), main=stage_of(slow)) for index in range(2)]
    assert tasks[0].wait() == 0
    wait_until(lambda: summaries(manifest)[0].shards[1].done == 4)
    yield manifest
    tasks[1].send(signal.SIGKILL)
    tasks[1].wait()


def slow(_: Any, batch: list[dict[str, Any]]) -> list[dict[str, int]]:
    time.sleep(60 if batch[0]["text"] == "hang" else 0)
    return [{"words": 1} for _ in batch]


def test_stages_show_what_status_py_says(page: Page, hubs: Any, tmp_path: Path, stage: Path) -> None:
    page.open(hubs().url)
    page.wait("document.querySelectorAll('article').length === 1")
    (told,) = json.loads(run("status.py", stage, "--json", cwd=tmp_path))
    totals = told["totals"]
    assert (totals["done"], totals["left"]) == (9, 6)
    figures = page.texts("article p")[0]
    assert figures.startswith(f"{totals['done']} done · {totals['failed']} failed · {totals['left']} left · ")
    assert re.search(r" · [\d,.]+ × real time · ETA [\d:.]+ (s|min|h)$", figures)
    assert page.texts("article code") == [told["finish"]]
    page.click("article summary")
    rows = page.run(CELLS % "article")
    shards = sorted(told["shards"], key=lambda shard: ["running", "waiting", "done"].index(shard["state"]))
    assert [row[:5] for row in rows] == [
        [str(shard[name]) for name in ("shard", "state", "done", "failed", "left")] for shard in shards
    ]
    assert "running" in page.texts("article h3 .state")


def test_a_real_training_is_watched_and_its_grid_ranked_as_grid_py_does(
    page: Page, hubs: Any, tmp_path: Path
) -> None:
    import numpy as np
    import torch

    draw = np.random.default_rng(0)
    (tmp_path / "units").mkdir()
    with open(tmp_path / "corpus.json", "w") as file:
        for number in range(40):
            torch.save(
                torch.from_numpy(draw.integers(0, 12, 40).astype("int16")), tmp_path / f"units/t{number}.pt"
            )
            print(json.dumps({"audio_filepath": f"/data/t{number}.wav"}), file=file)
    (tmp_path / "grid.json").write_text('{"hidden_size": [8, 16], "dropout": [0.1, 0.2]}')
    page.open(hubs().url)
    page.wait("!document.querySelector('#waiting').hidden")
    flags = "--grid grid.json --vocab-size 12 --embedding-dim 8 --batch-size 8 --num-epochs 6 --log-steps 1"
    script = str(ROOT / "scripts/train_lstm.py")
    command = [sys.executable, script, "corpus.json", "units", "--device", "cpu", *flags.split()]
    training = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    page.wait("document.querySelectorAll('.runs li').length === 4", 60)
    assert training.wait(60) == 0
    page.wait(
        "[...document.querySelectorAll('.runs .state')].every((node) => node.textContent === 'done')", 15
    )
    page.wait("Chart.getChart('chart-loss').data.datasets.length === 8")
    held = drawn(page)
    runs = sorted(tmp_path.glob("checkpoints/lstm_*/corpus_s42"))
    assert len(runs) == 4
    for path in runs:
        for name in ("loss", "valid_loss"):
            assert held[str(path.relative_to(tmp_path)), name] == in_file(path, name)
    run("grid.py", "collect", "corpus", cwd=tmp_path)
    with open(tmp_path / "output/corpus_grid.csv") as file:
        wanted = list(csv.DictReader(file))
    page.wait("document.querySelectorAll('#grids .state.done').length === 4", 15)
    heads = [text.lower().replace(" ", "_") for text in page.texts(".grid th")]
    cells = page.run(CELLS % ".grid")
    assert heads == [name for name in wanted[0] if name != "run"]
    for row, expected in zip(cells, wanted):
        found = dict(zip(heads, row))
        assert {name: found[name] for name in ("rank", "grid", "point", "state", "best_step", "step")} == {
            name: expected[name] for name in ("rank", "grid", "point", "state", "best_step", "step")
        }
        for name in ("best_loss", "perplexity", "hidden_size", "dropout"):
            assert float(found[name]) == pytest.approx(float(expected[name]), abs=6e-5)


POINTS, RUNS = 200_000, 8


def test_eight_runs_of_200_000_points_are_drawn_at_once(page: Page, hubs: Any, tmp_path: Path) -> None:
    """At most two points a pixel a line, soon after opening the page; no lowest or highest one is lost."""
    path = make_run(tmp_path, "lstm_0", range(0))
    with open(path / "metrics.jsonl", "w") as file:
        file.writelines(
            f'{{"step": {step}, "epoch": 1, "loss": {2 + step % 89 / 97}, "lr": 0.001}}\n'
            for step in range(1, POINTS + 1)
        )
    for number in range(1, RUNS):
        shutil.copytree(path, tmp_path / f"checkpoints/lstm_{number}/corpus_s1", copy_function=os.link)
    page.open(hubs().url)
    page.wait(f"document.querySelectorAll('.runs li').length === {RUNS}", 60)
    page.driver.refresh()
    page.wait(f"Chart.getChart('chart-loss')?.data.datasets.length === {RUNS}", 10)
    assert page.run("performance.getEntriesByName('drawn')[0].startTime") < 10_000
    most = 2 * page.run("Chart.getChart('chart-loss').chartArea.width")
    for points in drawn(page).values():
        assert most / 3 < len(points) <= most
        assert {2.0, 2 + 88 / 97} <= {loss for _, loss in points}
        assert points[-1][0] == POINTS
    drawing = "(() => { const start = performance.now(); drawNow(); return performance.now() - start; })()"
    assert min(page.run(drawing) for _ in range(5)) < 500, "ms to draw all of it again"


def get(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as exc:
        return exc.code


def test_nobody_gets_in_without_the_token(hubs: Any) -> None:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    hub = hubs()
    place, query = hub.url.split("?")
    assert get(hub.url) == get(f"{place}chart.js?{query}") == 200
    for path in ("", "?token=", f"?token={TOKEN}x", "?token=%00", "chart.js", "socket", "?t=%ff&token=%ff"):
        assert get(place + path) == 403, path
    for path in ("..%2f..%2fetc/passwd", "../../etc/passwd", "config.json", "checkpoints/"):
        assert get(f"{place}{path}?{query}") == 404, path
    assert get(hub.url, Origin="https://elsewhere.example") == 403
    socket_url = place.replace("http", "ws") + "socket"
    right = f"{socket_url}?{query}"
    others = [(right, "https://elsewhere.example"), (right, "null")]
    for url, origin in [(f"{socket_url}?token=wrong", None), (socket_url, None), *others]:
        with pytest.raises(InvalidStatus, match="403"):
            connect(url, origin=origin)
    with connect(f"{socket_url}?{query}", origin=place[:-1]) as allowed:
        assert json.loads(allowed.recv(10))["type"] in ("hub", "grids")


def test_what_a_page_sends_cannot_end_the_dashboard(hubs: Any) -> None:
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    hub = hubs()
    url = hub.url.replace("http", "ws").replace("/?", "/socket?")
    for message in ("", "{", "[]", "{}", '{"type": "watch"}', "[" * 100_000, b"\xff\x00", "x" * 2_000_000):
        with connect(url) as client:
            client.send(message)
            with pytest.raises(ConnectionClosed):
                list(iter(lambda client=client: client.recv(10), None))  # what it sends until it closes
    assert get(hub.url) == 200
    assert hub.end(signal.SIGINT) == 0


def refused(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words], cwd=folder, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stderr


def test_bad_calls_are_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert refused(tmp_path, "--port", port).startswith(f"ERROR: --port {port}: taken on 127.0.0.1")
    (tmp_path / "x.wav").touch()
    assert "x.wav: a file; wanted a folder" in refused(tmp_path, "x.wav")
    assert "wanted 0 to 65535" in refused(tmp_path, "--port", "70000")
    assert "cannot listen there" in refused(tmp_path, "--host", "192.0.2.7", "--port", "0")
    assert "--token: found nothing" in refused(tmp_path, "--token", "")


def test_the_tunnel_goes_to_the_node_of_the_job(hubs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    node = socket.gethostname()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_SUBMIT_HOST", "login1")
    hub = hubs()
    assert f"ssh -L {hub.port}:127.0.0.1:{hub.port} -J login1 {node} " in hub.said
    assert "warning" not in hub.said
    hub = hubs("--host", "0.0.0.0")
    assert f"ssh -L {hub.port}:{node}:{hub.port} login1 " in hub.said
    assert "warning: --host 0.0.0.0: the port can be reached from other machines" in hub.said

"""report.py on units, resyntheses and language models: the page in a real Chromium."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from browser import EVERY_SCREEN, Page, run, write_sound
from speech import SAMPLE_RATE, SENTENCES, speak

HOP_S, UNITS = 0.02, 20
GRID = {"hidden_size": [8, 16], "num_layers": [1, 2]}


def write_units(path: Path, frames: Any) -> str:
    import numpy as np
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(torch.from_numpy(np.asarray(frames, np.int16)), path)
    return str(path)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a corpus with units, resyntheses, four trained models and samples of one of them."""
    import numpy as np

    folder = tmp_path_factory.mktemp("units")
    draw = np.random.default_rng(0)
    units = folder / "output" / "units"
    units.mkdir(parents=True)
    settings = {"encoder": "hubert", "layer": 9, "kmeans": "km20", "hop_s": HOP_S, "vocabulary": UNITS}
    (units / "settings.json").write_text(json.dumps(settings))
    sts = folder / "output" / "sts"
    records = []
    for number, sentence in enumerate(SENTENCES * 2):
        sound = speak(sentence)
        name = f"s{number}"
        write_sound(folder / "audio" / f"{name}.wav", sound)
        write_sound(sts / f"{name}.wav", -0.5 * sound[:-400])
        frames = np.repeat(draw.integers(0, UNITS, 400), draw.integers(1, 9, 400))
        frames = frames[: int(len(sound) / SAMPLE_RATE / HOP_S)]
        records.append({
            "audio_filepath": str(folder / "audio" / f"{name}.wav"), "text": sentence,
            "duration": len(sound) / SAMPLE_RATE, "speech": [{"start_s": 0.1, "end_s": 0.9}],
            "units_filepath": write_units(units / f"{name}.pt", frames), "unit_count": len(frames),
            "sts_filepath": str(sts / f"{name}.wav"),
            "sts_duration": len(frames) * HOP_S, "sts_text": "something like it",
        })  # fmt: skip
    (sts / "settings.json").write_text(json.dumps({"vocoder": "griffinlim"}))
    write_lines(folder / "metadata" / "corpus.json", records)
    (folder / "refs.txt").write_text("".join(f"s{n} {text}\n" for n, text in enumerate(SENTENCES * 2)))
    hyps = ("--hyp", "text", "sts_text")
    run("asr_eval.py", "metadata/corpus.json", "--ref", "refs.txt", *hyps, "--resamples", 20, cwd=folder)
    (folder / "grid.json").write_text(json.dumps(GRID))
    train = ("--grid", "grid.json", "--embedding-dim", 8, "--num-epochs", 5, "--log-steps", 1)
    run("train_lstm.py", "metadata/corpus.json", units, *train, "--batch-size", 2, cwd=folder)
    model = next((folder / "checkpoints").glob("*_h8_*_l1_*")).name
    write_lines(folder / "metadata" / f"corpus_s42_{model}_generated.json", generated(folder, draw))
    run("report.py", "metadata/corpus.json", cwd=folder)
    return folder


def generated(folder: Path, draw: Any) -> list[dict[str, Any]]:
    """Return records as generate.py, synthesize.py and asr.py leave them."""
    records = []
    for number, temperature in enumerate([0.5, 0.5, 1.0]):
        name = f"temp{temperature}_topknone_toppnone_{number:05}"
        speech = folder / "output" / "lm" / "speech" / f"{name}.wav"
        write_sound(speech, speak(SENTENCES[number])[: 2 * SAMPLE_RATE])
        frames = draw.integers(0, UNITS, 100) if number else [7] * 100
        records.append({
            "id": name, "temperature": temperature, "top_k": 5, "sample": number + 1, "unit_count": 100,
            "units_filepath": write_units(folder / "output" / "lm" / "tokens" / f"{name}.pt", frames),
            "synthesis_filepath": str(speech), "audio_filepath": str(speech), "text": "babble <b>" * number,
        })  # fmt: skip
    return records


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture
def report(page: Page, work: Path) -> Page:
    page.open(work / "output" / "corpus_report.html")
    page.wait("document.querySelector('#viewer').dataset.drawn === 'true'")
    return page


def test_units_are_coloured_by_what_they_sound_like_where_it_is_known() -> None:
    """Spectra of two shapes at two levels: shape decides the hue, the quiet ones are the paler ones."""
    import numpy as np

    from media.report import palette

    draw = np.random.default_rng(0)
    shapes = np.stack([np.linspace(-2, 2, 20), np.linspace(2, -2, 20), 2 * np.cos(np.arange(20))])
    levels = np.array([0.0, 0.0, 0.0, -9.0, -9.0, -9.0])
    spectra = np.tile(shapes, (2, 1)) + levels[:, None] + draw.normal(0, 0.05, (6, 20))
    colours = [[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in palette.by_sound(spectra)]
    hues = [np.argmax(colour) * 10 + np.argmin(colour) for colour in colours]
    assert hues[:3] == hues[3:]
    assert len(set(hues[:3])) > 1
    assert all(sum(quiet) > sum(loud) for loud, quiet in zip(colours[:3], colours[3:]))
    assert len(set(palette.by_number(2000)[:50])) == 50


def first_record(work: Path, report: Page) -> dict[str, Any]:
    """Return the record on view."""
    lines = (work / "metadata" / "corpus.json").read_text().splitlines()
    return next(json.loads(line) for line in lines if report.texts("#viewer h3")[0] in line)


BOXES = (
    "[...document.querySelectorAll('#viewer .units i')].map((one) => one.getBoundingClientRect().toJSON())"
)
STAGE = "document.querySelector('.stage').getBoundingClientRect().toJSON()"


@pytest.mark.parametrize("zooms", [0, 3])
def test_each_unit_stands_where_it_sounds_at_every_zoom(report: Page, work: Path, zooms: int) -> None:
    """Places, widths and colours of the strip are those of the tensor: a run a segment, a colour a unit."""
    import numpy as np
    import torch

    for _ in range(zooms):
        report.press("+")
    record = first_record(work, report)
    units = torch.load(record["units_filepath"]).numpy()
    starts = np.flatnonzero(np.diff(units, prepend=-1))
    ends = [*starts[1:], len(units)]
    stage, boxes = report.run(STAGE), report.run(BOXES)
    assert len(boxes) == len(starts)
    second = stage["width"] / record["duration"]
    for box, start, end in zip(boxes, starts, ends):
        assert box["left"] - stage["left"] == pytest.approx(start * HOP_S * second, abs=1.5)
        assert box["width"] == pytest.approx((end - start) * HOP_S * second, abs=1.5)
    colours = report.run(
        "[...document.querySelectorAll('#viewer .units i')].map((one) => one.style.background)"
    )
    by_unit = dict(zip(units[starts].tolist(), colours))
    assert colours == [by_unit[unit] for unit in units[starts]]
    assert len(set(by_unit.values())) == len(by_unit)
    labels = [text for text in report.texts("#viewer .units i") if text]
    assert set(labels) <= {str(unit) for unit in by_unit}
    assert labels or not zooms


def test_a_unit_says_its_name_and_shows_where_else_it_stands(report: Page, work: Path) -> None:
    from selenium.webdriver import ActionChains

    cells = report.driver.find_elements("css selector", "#viewer .units i")
    widest = max(range(len(cells)), key=lambda index: cells[index].size["width"])
    name = cells[widest].get_attribute("title")
    report.run("arguments[0].scrollIntoView({block: 'center'})", cells[widest])
    ActionChains(report.driver).move_to_element(cells[widest]).perform()
    assert report.texts("#viewer .unit-line") == [name]
    unit = name.split(" ")[1]
    same = report.run("[...document.querySelectorAll('.units .same')].map((one) => one.title.split(' ')[1])")
    assert set(same) == {unit}
    cells[widest].click()  # a tap: the head goes there
    record = first_record(work, report)
    at = report.run("Number(document.querySelector('.stage').getAttribute('aria-valuenow'))")
    start, end = (float(word) for word in name.split(" ")[3:6:2])
    assert start <= at <= min(end, record["duration"])


def test_original_and_resynthesis_switch_at_the_same_position(report: Page, work: Path) -> None:
    times = "[...document.querySelectorAll('#viewer audio')].map((one) => [one.currentTime, one.paused])"
    lengths = report.run("[...document.querySelectorAll('#viewer audio')].map((one) => one.duration)")
    assert lengths[0] == pytest.approx(lengths[1], abs=1e-3)  # the resynthesis was 25 ms shorter
    report.run("document.querySelector('.stage').scrollIntoView({block: 'center'})")
    report.click(".stage")
    at = report.run(times)[0][0]
    assert at == pytest.approx(lengths[0] / 2, abs=0.05)
    before = report.run("document.querySelector('.sound canvas').toDataURL()")
    report.click(".switch button:last-child")
    assert report.run(times)[1][0] == pytest.approx(at, abs=0.02)
    assert report.run("document.querySelector('.sound canvas').toDataURL()") != before
    assert report.run("document.querySelector('.switch [aria-pressed=true]').textContent") == "Resynthesis"
    report.click("button.play")
    report.wait(f"document.querySelectorAll('#viewer audio')[1].currentTime > {at} + 0.15")
    report.press("x")
    report.wait("!document.querySelectorAll('#viewer audio')[0].paused")
    first, second = report.run(times)
    assert second[1]
    assert first[0] >= second[0] - 0.05
    report.click("button.play")
    assert "Resynthesis: something like it" in report.texts("#viewer .transcript")
    assert "WER of the resynthesis" in report.texts("#viewer .note")[0]


def test_word_error_rates_stand_side_by_side(report: Page) -> None:
    tiles = dict(zip(report.texts(".tiles dt"), report.texts(".tiles dd")))
    assert tiles["Word error rate"].startswith("0.0 %")
    assert tiles["WER, resynthesis"].startswith("100.0 %")
    assert (
        tiles["Units"]
        .replace(",", "")
        .startswith(str(report.run("data.tiles.find((one) => one.label === 'Units').value.replace(',', '')")))
    )
    assert report.texts("td.c-again")[:2] == ["100.0 %", "100.0 %"]


def test_curves_are_the_metrics_and_the_table_is_ranked(report: Page, work: Path) -> None:
    """Points of the lines, turned back into steps and losses by the axes, are those of metrics.jsonl."""
    runs = [
        json.loads(line)
        for path in (work / "checkpoints").glob("grid_*")
        for line in path.read_text().splitlines()
    ]
    best = {
        run["run"]: json.loads((work / run["run"] / "done.json").read_text())["best_loss"] for run in runs
    }
    ranked = sorted(best.values())
    assert report.texts("#grid td:nth-child(4)") == [f"{loss:.4f}" for loss in ranked]
    assert report.texts("#grid td:nth-child(1)") == ["1", "2", "3", "4"]
    folder = min(best, key=lambda run: best[run])
    lines = [json.loads(line) for line in (work / folder / "metrics.jsonl").read_text().splitlines()]
    settings = next(run["settings"] for run in runs if run["run"] == folder)
    assert report.texts("#grid tr:nth-child(1) td")[1:3] == [str(value) for value in settings.values()]
    for name, key in (("training", "loss"), ("validation", "valid_loss")):
        wanted = [(line["step"], line[key]) for line in lines if key in line]
        line = f"document.querySelector(`.run[data-rank='1'] .{name}`)"
        points = report.run(f"[...{line}.points].map((point) => [point.x, point.y])")
        assert len(points) == len(wanted)
        assert from_axes(report, points) == [pytest.approx(pair, abs=0.02) for pair in wanted]


def from_axes(report: Page, points: list[list[float]]) -> list[tuple[float, float]]:
    """Return (step, loss) of points by what the axes' labels say."""
    texts = report.run(
        """[...document.querySelectorAll('#curves text')].map((one) => [
            one.textContent, one.getAttribute('text-anchor'),
            Number(one.getAttribute('x')), Number(one.getAttribute('y'))])"""
    )
    losses = [(float(text), y - 4) for text, _, x, y in texts if text[0].isdigit() and x < 44 and y < 265]
    steps = [
        (float(text), x) for text, anchor, x, y in texts if text.isdigit() and y > 265 and anchor != "end"
    ]
    return [(along(steps, x), along(losses, y)) for x, y in points]


def along(marks: list[tuple[float, float]], at: float) -> float:
    (low, first), (high, last) = marks[0], marks[-1]
    return low + (at - first) / (last - first) * (high - low)


def test_samples_play_and_say_how_they_were_made(report: Page) -> None:
    assert report.texts("#samples strong") == [
        "temperature 0.5, top-k 5, no. 1",
        "temperature 1, top-k 5, no. 3",
        "temperature 0.5, top-k 5, no. 2",
    ]
    assert "units100, 1 different" in report.texts("#samples dl")[0]
    assert "entropy0.0 bitsrepetition100 %" in report.texts("#samples dl")[0]
    assert report.texts("#samples li > p") == [
        "The recogniser heard no words.",
        "“babble <b>babble <b>”",
        "“babble <b>”",
    ]
    assert report.run("document.querySelectorAll('#samples li:first-child .units i').length") == 1
    report.click("#samples li:nth-child(1) .play")
    report.wait("document.querySelector('#samples li:nth-child(1) audio').currentTime > 0.1")
    report.click("#samples li:nth-child(2) .play")
    report.wait("document.querySelector('#samples li:nth-child(2) audio').currentTime > 0.1")
    assert report.run("document.querySelector('#samples li:nth-child(1) audio').paused")
    report.run("document.querySelector('#samples li:nth-child(2) .strip').scrollIntoView({block: 'center'})")
    report.click("#samples li:nth-child(2) .strip")  # its middle
    report.wait("document.querySelector('#samples li:nth-child(2) audio').currentTime >= 0.99")
    report.click("#samples li:nth-child(2) .play")
    assert report.complaints() == []


def test_methods_say_what_was_done(report: Page) -> None:
    prose = report.texts("#prose")[0]
    for said in (
        "the features of layer 9 of hubert, one frame each 20 ms",
        "nearest of the 20 centres",
        "codebook km20",
        "Griffin-Lim",
        "4 LSTM language models (hidden 8 and 16; layers 1 and 2)",
        "seed 42",
        "3 samples were drawn unit by unit at temperature 0.5 and 1; top-k 5",
        "100.0 % for the resynthesis",
    ):
        assert said in prose
    cited = " ".join(report.texts("#references li"))
    assert all(name in cited for name in ("HuBERT", "Griffin", "Hochreiter", "Loshchilov", "Lakhotia"))
    assert report.texts("#bibtex")[0].count("@") == report.run(
        "document.querySelectorAll('#references li').length"
    )


@EVERY_SCREEN
def test_nothing_overflows_and_colours_have_contrast(
    page: Page, work: Path, screen: tuple[int, float, str]
) -> None:
    page.open_and_check(work / "output" / "corpus_report.html", *screen)


def test_what_is_not_there_has_no_section(page: Page, work: Path) -> None:
    plain = [{"audio_filepath": str(work / "audio" / "s0.wav"), "duration": 2.0, "text": "fox"}]
    write_lines(work / "metadata" / "plain.json", plain)
    run("report.py", "metadata/plain.json", cwd=work)
    page.open(work / "output" / "plain_report.html")
    page.wait("document.querySelector('#viewer').dataset.drawn === 'true'")
    hidden = "['lm', 'babble'].every((name) => document.getElementById(name).hidden)"
    assert page.run(hidden)
    assert page.run("document.querySelectorAll('.units, .switch').length") == 0
    assert "units" not in page.texts("#prose")[0]
    generated_by_another = next((work / "metadata").glob("*_generated.json"))
    run("report.py", "metadata/plain.json", "--generated", generated_by_another, cwd=work)
    page.open(work / "output" / "plain_report.html")
    assert page.run("document.getElementById('lm').hidden")
    assert len(page.texts("#samples li")) == 3


def test_units_that_cannot_be_read_cost_no_page(work: Path) -> None:
    records = [json.loads(line) for line in (work / "metadata" / "corpus.json").read_text().splitlines()]
    (work / "torn.pt").write_bytes(b"PK")
    records[0]["units_filepath"] = str(work / "torn.pt")
    records[1]["sts_filepath"] = str(work / "gone.wav")
    write_lines(work / "metadata" / "torn.json", records)
    said = run("report.py", "metadata/torn.json", cwd=work)
    assert "torn.pt: no tensor can be read" in said
    assert "6 with sound" in said

"""report.py: the page as a person meets it, in a real Chromium, wide and narrow."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from browser import EVERY_SCREEN, Page, run, write_sound
from speech import SAMPLE_RATE, SENTENCES, speak

# How much ink changes from top to bottom, at 0.2 s and in speech, for waveform and spectrogram.
INK = """[...document.querySelectorAll('.sound canvas')].map((canvas) => {
    const second = canvas.width / arguments[0];
    const spread = (x) => {
        const data = canvas.getContext('2d').getImageData(x, 0, 20, canvas.height).data;
        const rows = Array.from({length: canvas.height}, (_, y) => {
            let sum = 0;
            for (let i = 0; i < 20; i++) sum += data[4 * (y * 20 + i)];
            return sum / 20;
        });
        return Math.max(...rows) - Math.min(...rows);
    };
    return [spread(Math.round(0.2 * second)), spread(Math.round(arguments[1] * second))];
})"""
NASTY = "a<b>&\"'</script>`${1}\n\u202e.wav"  # its slash makes a folder


def words_of(segments: list[dict[str, str]]) -> str:
    return " ".join(segment["text"] for segment in segments)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus that went through VAD (by the stage itself) and got texts by hand; one file is broken."""
    import numpy as np

    folder = tmp_path_factory.mktemp("work")
    spoken = speak(SENTENCES[1])
    quiet = np.zeros(SAMPLE_RATE, np.float32)
    write_sound(folder / "audio" / "long.wav", np.concatenate([*[quiet] * 60, *[spoken, quiet] * 12]))
    write_sound(folder / "audio" / NASTY, np.concatenate([quiet, spoken, quiet]))
    write_sound(folder / "audio" / "plain.wav", np.concatenate([quiet, spoken, spoken]))
    write_sound(folder / "audio" / "silent.wav", quiet)
    (folder / "audio" / "broken.wav").write_bytes(b"this is no sound")
    run("vad.py", "audio", "corpus", "--max-error-rate", "1", cwd=folder)
    manifest = folder / "metadata" / "corpus.json"
    records = [json.loads(line) for line in manifest.read_text().splitlines()]
    for record in records:
        segments = [
            {**part, "text": f"part {number} <i>&amp;</i>"} for number, part in enumerate(record["speech"])
        ]
        for part in segments if "plain" in record["audio_filepath"] else ():
            middle = (part["start_s"] + part["end_s"]) / 2
            part["words"] = [{"start_s": part["start_s"], "end_s": middle, "word": "first"},
                             {"start_s": middle, "end_s": part["end_s"], "word": "<second>"}]  # fmt: skip
        record.update(text=words_of(segments), asr_segments=segments,
                      asr={"backend": "canary", "model": "nvidia/canary-qwen-2.5b", "revision": "abc123",
                           "flags": [] if segments else ["no_speech"]})  # fmt: skip
    manifest.write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "refs.txt").write_text("plain part nought\nlong part 0 part 1 part 2\n")
    run("asr_eval.py", "metadata/corpus.json", "--ref", "refs.txt", "--hyp", "text", cwd=folder)
    said = run("report.py", "metadata/corpus.json", cwd=folder)
    assert "corpus_report.html" in said
    return folder


@pytest.fixture
def report(page: Page, work: Path) -> Page:
    page.open(work / "output" / "corpus_report.html")
    page.wait("document.querySelector('#viewer').dataset.drawn === 'true'")
    return page


def test_numbers_at_the_top(report: Page) -> None:
    tiles = dict(zip(report.texts(".tiles dt"), report.texts(".tiles dd")))
    assert tiles["Recordings"] == "4"
    assert tiles["Failures"] == "1"
    assert re.match(r"\d+:\d\d min", tiles["Audio"])
    assert "95 % interval" in tiles["Word error rate"]
    assert report.texts(".charts figcaption")[0].startswith("Duration of recordings")
    assert len(report.texts(".charts figure")) == 3
    assert report.complaints() == []


def test_page_is_whole_and_asks_nobody(report: Page, work: Path) -> None:
    text = (work / "output" / "corpus_report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["']?https?://(?!(?:arxiv|github|huggingface|doi)\b)""", text)
    assert "default-src 'none'" in text
    assert (
        report.run(
            "performance.getEntriesByType('resource').filter((one) => !/^(blob|data):/.test(one.name)).length"
        )
        == 0
    )


def test_names_and_texts_never_become_markup(report: Page) -> None:
    names = report.texts("td.c-name button")
    assert any(name.startswith("a<b>&\"'</script>`${1}") for name in names)
    assert (
        report.run(
            "document.querySelectorAll('main b:not(.lane b), main i:not(.lane i, .meter i, th i)').length"
        )
        == 0
    )
    assert any("part 0 <i>&amp;</i>" in text for text in report.texts("td.c-text"))


def find_pick(report: Page, name: str) -> str:
    index = next(i for i, text in enumerate(report.texts(".picks button")) if name in text)
    return f".picks li:nth-child({index + 1}) button"


def test_sound_speech_and_words_share_one_time_axis(report: Page, work: Path) -> None:
    report.click(find_pick(report, "plain.wav"))
    report.wait("document.querySelector('#viewer').dataset.drawn === 'true'")
    record = next(
        json.loads(line)
        for line in (work / "metadata/corpus.json").read_text().splitlines()
        if "plain" in line
    )
    box = report.run("document.querySelector('.stage').getBoundingClientRect().toJSON()")
    bars = report.run(
        "[...document.querySelectorAll('.lane i')].map((bar) => bar.getBoundingClientRect().toJSON())"
    )
    assert len(bars) == len(record["speech"])
    for bar, part in zip(bars, record["speech"]):
        assert (bar["left"] - box["left"]) / box["width"] == pytest.approx(
            part["start_s"] / record["duration"], abs=0.003
        )
        assert bar["width"] / box["width"] == pytest.approx(
            (part["end_s"] - part["start_s"]) / record["duration"], abs=0.003
        )
    assert report.texts(".lane b")[:2] == ["first", "<second>"]
    # The first second is silent, what follows is not: waveform and spectrogram show it at that place.
    part = record["speech"][0]
    for silent, loud in report.run(INK, record["duration"], (part["start_s"] + part["end_s"]) / 2)[1:]:
        assert loud > silent + 30


def test_click_seeks_and_playing_moves_the_head(report: Page) -> None:
    report.click(find_pick(report, "plain.wav"))
    report.wait("document.querySelector('audio').readyState >= 2")
    report.run("document.querySelector('.stage').scrollIntoView({behavior: 'instant', block: 'center'})")
    report.click(".stage")  # its middle
    at, length = report.run(
        "[document.querySelector('audio').currentTime, document.querySelector('audio').duration]"
    )
    assert at == pytest.approx(length / 2, abs=0.05)
    left = "document.querySelector('{}').getBoundingClientRect().left"
    head = f"{left.format('.head')} - {left.format('.stage')}"
    width = report.run("document.querySelector('.stage').getBoundingClientRect().width")
    assert report.run(head) == pytest.approx(width / 2, abs=3)
    report.click("button.play")
    report.wait(f"document.querySelector('audio').currentTime > {at} + 0.3")
    assert report.run(head) > width / 2 + 5
    assert report.texts("button.play") == ["Pause"]
    assert report.run("document.querySelectorAll('.transcript .now').length") <= 1
    report.click("button.play")
    assert report.run("document.querySelector('audio').paused")


def test_keys(report: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    report.click(find_pick(report, "plain.wav"))
    report.wait("document.querySelector('audio').readyState >= 2")
    report.run("document.querySelector('.stage').focus()")
    now = "Number(document.querySelector('.stage').getAttribute('aria-valuenow'))"
    report.press(Keys.ARROW_RIGHT)
    report.wait(f"Math.abs({now} - 1) < 0.02")
    report.press(Keys.HOME)
    report.wait(f"{now} === 0")
    report.press(" ")
    report.wait("!document.querySelector('audio').paused")
    report.press(" ")
    report.wait("document.querySelector('audio').paused")
    report.press("+")
    assert report.run(
        "document.querySelector('.stage').clientWidth > 1.9 * document.querySelector('.scroll').clientWidth"
    )
    shown = report.texts("#viewer h3")
    report.press("j")
    assert report.texts("#viewer h3") != shown or report.texts(".picks [aria-current=true]")


def test_long_recordings_show_their_densest_stretch(report: Page) -> None:
    report.click(find_pick(report, "long.wav"))
    report.wait("document.querySelector('audio').readyState >= 2")
    start = report.run("Number(document.querySelector('.stage').getAttribute('aria-valuemin'))")
    end = report.run("Number(document.querySelector('.stage').getAttribute('aria-valuemax'))")
    assert start > 55  # a minute of silence comes first
    assert end - start == pytest.approx(30, abs=0.01)
    assert re.search(r"1:\d\d to \d:\d\d of \d:\d\d min", report.texts("#viewer .note")[0])
    assert report.texts(".lane b")


def test_table_sorts_finds_and_filters(report: Page) -> None:
    report.click("th.c-duration button")
    durations = report.texts("td.c-duration")
    assert durations[-1] == "1.00 s" or durations[-1] == "1.0 s"
    report.click("th.c-duration button")
    assert report.texts("td.c-duration") == durations[::-1]
    assert report.run("document.querySelector('th.c-duration').getAttribute('aria-sort')") == "ascending"
    report.run("document.querySelector('#find').value = 'LONG'")
    report.run("document.querySelector('#find').dispatchEvent(new Event('input'))")
    report.wait("document.querySelectorAll('#table tbody tr').length === 1")
    report.run("document.querySelector('#find').value = ''")
    report.run("document.querySelector('#find').dispatchEvent(new Event('input'))")
    report.wait("document.querySelectorAll('#table tbody tr').length === 4")
    silent = next(i for i, text in enumerate(report.texts("#filters button")) if text.startswith("No speech"))
    report.click(f"#filters button:nth-child({silent + 1})")
    assert report.texts("td.c-name button") == ["silent.wav"]


def test_failures_shards_scores_and_methods(report: Page) -> None:
    assert "broken.wav" in report.texts("#failures")[0]
    assert "cannot be decoded" in report.texts("#failures")[0]
    assert report.texts("#stages h3") == ["vad"]
    assert report.texts("#metrics tbody td")[:3] == ["text", "2", report.texts("#metrics tbody td")[2]]
    prose = report.texts("#prose")[0]
    for said in ("4 recordings", "TEN-VAD", "threshold 0.5", "nvidia/canary-qwen-2.5b", "revision abc123",
                 "One recording had no speech", "One recording failed at the stage vad",
                 "word error rate"):  # fmt: skip
        assert said in prose
    cited = " ".join(report.texts("#references li"))
    assert all(name in cited for name in ("TEN VAD", "Canary-Qwen", "SALM", "NeMo", "Radford", "Bisani"))
    assert report.texts("#bibtex")[0].count("@") >= 6


@EVERY_SCREEN
def test_nothing_overflows_and_colours_have_contrast(
    page: Page, work: Path, screen: tuple[int, float, str]
) -> None:
    page.open_and_check(work / "output" / "corpus_report.html", *screen)
    assert page.run("document.querySelector('.sound canvas').width") == pytest.approx(
        screen[1] * page.run("document.querySelector('.sound canvas').clientWidth"), abs=1)  # fmt: skip


def test_theme_button(report: Page) -> None:
    before = report.run("getComputedStyle(document.body).backgroundColor")
    report.click("#theme")
    report.click("#theme")
    assert report.texts("#theme") == ["Theme: dark"]
    assert report.run("getComputedStyle(document.body).backgroundColor") != before
    report.click("#theme")


def test_rows_without_embedded_sound_play_from_the_file(page: Page, work: Path) -> None:
    run("report.py", "metadata/corpus.json", "--examples", "0", "--output", "output/bare.html", cwd=work)
    page.open(work / "output" / "bare.html")
    assert page.run("document.querySelector('#listen').hidden")
    name = page.run(
        "[...document.querySelectorAll('td.c-name button')]"
        ".findIndex((one) => one.textContent.includes('</script>'))"
    )
    page.run("document.querySelectorAll('td.c-name button')[arguments[0]].click()", name)
    page.click("button.play")
    page.wait("document.querySelector('audio').currentTime > 0.1")
    assert not page.run("document.querySelector('#listen').hidden")
    assert page.texts(".lane b")


def test_ten_thousand_records_open_quickly(page: Page, work: Path) -> None:
    records = [json.loads(line) for line in (work / "metadata/corpus.json").read_text().splitlines()]
    big = work / "metadata" / "big.json"
    with open(big, "w") as file:
        for number in range(10_000):
            record = dict(records[number % len(records)])
            record["audio_filepath"] = f"/data/corpus/family{number % 97}/recording_{number:06d}.wav"
            file.write(json.dumps(record) + "\n")
    run("report.py", big, "--output", work / "output" / "big.html", cwd=work)
    assert (work / "output" / "big.html").stat().st_size < 20e6
    page.open(work / "output" / "big.html")
    assert page.run("performance.getEntriesByType('navigation')[0].domComplete") < 2500  # ms
    assert page.run("document.querySelectorAll('#table tbody tr').length") == 50
    assert "of 10,000" in page.texts("#shown")[0]
    page.click("#pages button:last-child")
    assert page.texts("#shown")[0].startswith("51–100")


def test_windows_and_channels_of_one_recording(work: Path, page: Page) -> None:
    manifest = work / "metadata" / "windows.json"
    path = str(work / "audio" / "long.wav")
    window = {"audio_filepath": path, "duration": 5.0, "channel": 0, "speaker": "CHI"}
    window["speech"] = [{"start_s": 1.0, "end_s": 2.0}]
    rows = [{**window, "offset": 60.0 + 5 * number, "text": f"window {number}"} for number in range(4)]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run("report.py", manifest, "--output", work / "output" / "windows.html", cwd=work)
    page.open(work / "output" / "windows.html")
    page.wait("document.querySelector('#viewer').dataset.drawn === 'true'")
    note = page.texts("#viewer .note")[0]
    assert "from 1:" in note
    assert "speaker CHI" in note
    assert page.run("document.querySelector('audio').duration") == pytest.approx(5.0, abs=0.01)
    assert page.texts(".tiles dt")[0] == "Records"


def test_manifest_of_which_nothing_is_known(tmp_path: Path, page: Page) -> None:
    """Records without audio, without duration, with names that are not UTF-8: still a page."""
    manifest = tmp_path / "bare.json"
    rows = [
        {"id": "x1"},
        {"audio_filepath": os.fsdecode(b"/nowhere/caf\xe9.wav")},
        {"id": "x2", "text": "only text"},
    ]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run("report.py", manifest, "--output", tmp_path / "bare.html", cwd=tmp_path)
    page.open(tmp_path / "bare.html")
    assert page.texts("td.c-name button") == ["x1", "caf\\udce9.wav", "x2"]
    assert page.run("document.querySelector('#listen').hidden")
    assert page.complaints() == []


def test_bad_calls(work: Path) -> None:
    assert "no such file" in run("report.py", "nowhere.json", cwd=work, status=2)
    said = run("report.py", "metadata/corpus.json", "--metrics", "nowhere.csv", cwd=work, status=2)
    assert "asr_eval.py" in said


def test_scores_of_another_manifest_are_not_mixed_in(work: Path) -> None:
    lines = (work / "metadata/corpus.json").read_text().splitlines()
    other = work / "metadata" / "other.json"
    other.write_text("\n".join(lines[::-1]) + "\n")
    said = run(
        "report.py",
        other,
        "--metrics",
        "output/corpus_global_metrics.csv",
        "--output",
        work / "o.html",
        cwd=work,
    )
    assert "run asr_eval.py again" in said

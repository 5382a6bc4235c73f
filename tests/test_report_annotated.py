"""report.py on words, speakers, pitch, emotion, phonemes and similar ones: the page in a real Chromium."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from browser import EVERY_SCREEN, Page, run, write_sound
from speech import SAMPLE_RATE, SENTENCES, speak

HOP_S, LENGTH_S = 0.01, 6.0
VOICED = [(0.5, 2.0, 100.0, 200.0), (3.0, 5.0, 250.0, 180.0)]  # s, s, Hz, Hz: glides
WORDS = [
    ("please", 0.5, 0.9, "A"),
    ("call", 0.9, 1.3, "A"),
    ("<b>Stella</b>", 1.3, 2.0, "B"),
    ("now", 3.0, 5.0, "B"),
]
SCORES = [0.01] * 28
MODEL = "SamLowe/roberta-base-go_emotions"


def pitch_hz(at_s: float) -> float:
    for start_s, end_s, low_hz, high_hz in VOICED:
        if start_s <= at_s < end_s:
            return low_hz + (high_hz - low_hz) * (at_s - start_s) / (end_s - start_s)
    return 0.0


def features(folder: Path, hops: list[float]) -> list[str]:
    """Return the sources of features whose pitch glides and whose energy rises by 10 dB a second."""
    import numpy as np

    from media.frames import store

    items = []
    for number, hop_s in enumerate(hops):
        times = np.arange(int(LENGTH_S / hop_s) + 1) * hop_s
        arrays = {"f0_hz": np.array([pitch_hz(at) for at in times], np.float32),
                  "energy_db": (10 * times - 70).astype(np.float16)}  # fmt: skip
        items.append((f"k{number}", {}, arrays, {"hop_s": hop_s, "sample_rate_hz": SAMPLE_RATE}))
    folder.mkdir(parents=True)
    return store(items, str(folder), "parquet", str, lambda path: open(path, "wb"))


def annotated(folder: Path, sources: list[str]) -> list[dict[str, Any]]:
    """Return records as the stages of annotation leave them; the first one has everything."""
    import numpy as np

    sound = np.resize(speak(SENTENCES[1]), round(LENGTH_S * SAMPLE_RATE)).astype(np.float32)
    paths = [folder / "audio" / f"{name}.wav" for name in ("all", "other", "third")]
    for path in paths:
        write_sound(path, sound)
    words = [{"word": word, "start_s": a, "end_s": b, "score": 0.9, "speaker": f"SPEAKER_0{'AB'.index(who)}"}
             for word, a, b, who in WORDS]  # fmt: skip
    segments = [
        {"start_s": 0.5, "end_s": 2.0, "text": "please call Stella 25", "speaker": "SPEAKER_00",
         "words": [*words[:3], {"word": "25"}]},
        {"start_s": 3.0, "end_s": 5.0, "text": "now", "speaker": "SPEAKER_01", "words": words[3:]},
    ]  # fmt: skip
    scores = [*SCORES[:17], 0.71, *SCORES[18:27], 0.4]  # joy and neutral
    records = [
        {"audio_filepath": str(path), "duration": LENGTH_S, "speech": [{"start_s": 0.5, "end_s": 5.0}]}
        for path in paths
    ]
    records[0].update({
        "whisperx": segments, "whisperx_text": "please call Stella 25 now", "lang": "en",
        "features_filepath": sources[0], "ipa": "pliːz kɔːl stˈɛlə", "ipa_lang": "en-us",
        "emotion": {"label": "joy", "score": 0.71, "scores": scores, "model": MODEL},
        "sentiment": {"label": "positive", "score": 0.32, "positive": 0.3, "neutral": 0.7, "negative": 0.0,
                      "engine": "vaderSentiment 3.3.2"},
        "similar": [{"key": str(paths[2]), "score": 0.91}, {"key": "/elsewhere/gone.wav", "score": 0.5}],
    })  # fmt: skip
    for record, pitch in zip(records, (110.0, 160.0, 240.0)):
        record.update(f0_median_hz=pitch, rate_syl_s=pitch / 40, whisperx_model="pocketsphinx en-us 5.1.1")
    records[1].update(text="no times", features_filepath=sources[1], duration=LENGTH_S)
    records[2].update(text="nothing else")
    return records


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the report of an annotated corpus."""
    folder = tmp_path_factory.mktemp("annotated")
    records = annotated(folder, features(folder / "output" / "features", [HOP_S, 0.001]))
    manifest = folder / "metadata" / "corpus.json"
    manifest.parent.mkdir()
    manifest.write_text("".join(json.dumps(record) + "\n" for record in records))
    run("report.py", "metadata/corpus.json", cwd=folder)
    return folder


@pytest.fixture
def report(page: Page, work: Path) -> Page:
    page.open(work / "output" / "corpus_report.html")
    show(page, "all.wav")
    return page


def show(page: Page, name: str) -> None:
    index = next(i for i, text in enumerate(page.texts(".picks button")) if name in text)
    page.click(f".picks li:nth-child({index + 1}) button")
    page.wait("document.querySelector('#viewer').dataset.drawn === 'true'")


def places_of(page: Page, selector: str) -> list[tuple[float, float]]:
    """Return start and end (s) of each box on the time axis."""
    found = page.run(
        "(() => { const s = document.querySelector('.stage').getBoundingClientRect(); return "
        "[...document.querySelectorAll(arguments[0])].map((one) => { const b = one.getBoundingClientRect(); "
        "return [(b.left - s.left) / s.width, (b.right - s.left) / s.width]; }); })()",
        selector,
    )
    return [(LENGTH_S * left, LENGTH_S * right) for left, right in found]


def colours_of(page: Page, selector: str) -> list[str]:
    script = "[...document.querySelectorAll(arguments[0])].map((one) => getComputedStyle(one).color)"
    return page.run(script, selector)


def test_words_stand_where_they_are_said_in_the_colours_of_their_speakers(report: Page) -> None:
    assert report.texts(".lane b.voice") == [word for word, *_ in WORDS]
    for place, (_, start_s, end_s, _) in zip(places_of(report, ".lane b.voice"), WORDS):
        assert place == pytest.approx((start_s, end_s), abs=0.02)
    a, b, c, d = colours_of(report, ".lane b.voice")
    assert a == b != c == d
    assert report.texts(".turns b") == ["SPEAKER_00", "SPEAKER_01"]
    assert places_of(report, ".turns b")[1] == pytest.approx((3.0, 5.0), abs=0.02)
    assert colours_of(report, ".turns b") == [a, d]
    assert report.texts(".transcript .who") == ["SPEAKER_00", "SPEAKER_01"]
    gutter = [text for text in report.texts(".gutter > div") if text]
    assert gutter == ["Sound", "8 kHz0", "Speech", "Speaker", "Text"]
    assert report.run("document.querySelectorAll('main b b').length") == 0, "names never become markup"
    assert report.complaints() == []


def test_another_text_stands_above_the_words(work: Path, page: Page) -> None:
    """With --field text the transcript of another recogniser has its own lane."""
    records = [json.loads(line) for line in (work / "metadata/corpus.json").read_text().splitlines()]
    records[0]["text"] = "a human heard this"
    (work / "metadata/two.json").write_text("".join(json.dumps(one) + "\n" for one in records))
    run("report.py", "metadata/two.json", "--field", "text", cwd=work)
    page.open(work / "output" / "two_report.html")
    show(page, "all.wav")
    gutter = [text for text in page.texts(".gutter > div") if text]
    assert gutter == ["Sound", "8 kHz0", "Speech", "Speaker", "Text", "Words"]
    assert page.texts(".lane b:not(.voice, .turns b)") == ["a human heard this"]
    assert page.texts(".lane b.voice") == [word for word, *_ in WORDS]


def curve(page: Page, name: str) -> list[list[list[float]]]:
    """Return the runs of a curve: points (s, share of the height from the top)."""
    script = (
        "[...document.querySelectorAll(`.curve-plot .${arguments[0]} polyline:not(.halo)`)]"
        ".map((one) => [...one.points].map((point) => [point.x, point.y]))"
    )
    return page.run(script, name)


def test_pitch_and_energy_lie_over_the_spectrogram_where_they_are(report: Page) -> None:
    import math

    runs = curve(report, "f0")
    assert len(runs) == 2, "silence and voiceless sounds break the line"
    for run_, (start_s, end_s, *_) in zip(runs, VOICED):
        assert (run_[0][0], run_[-1][0]) == pytest.approx((start_s, end_s), abs=0.02)
        heights = [0.94 - 0.88 * math.log(pitch_hz(x + 1e-4) / 100) / math.log(2.5) for x, _ in run_[5:-5]]
        assert [y for _, y in run_[5:-5]] == pytest.approx(heights, abs=0.01)
    ((first, *_, last),) = curve(report, "energy")
    assert first[0] == pytest.approx(0)
    assert last[0] == pytest.approx(LENGTH_S, abs=0.02)
    assert first[1] > last[1], "louder is higher"
    plot, spectrum = (report.run(f"document.querySelector('{one}').getBoundingClientRect().toJSON()")
                      for one in (".curve-plot", ".sound:nth-child(2) canvas"))  # fmt: skip
    assert plot == pytest.approx(spectrum, abs=1)


def test_the_line_below_says_pitch_and_energy_at_the_head(report: Page) -> None:
    report.run("document.querySelector('.stage').focus()")
    from selenium.webdriver.common.keys import Keys

    report.press(Keys.HOME, Keys.ARROW_RIGHT)
    assert report.texts(".curve-line output") == ["133 Hz (100 to 250 Hz)", "−60.0 dB (−70.0 to −10.0 dB)"]
    report.press(Keys.HOME)
    assert report.texts(".curve-line output")[0] == "– (100 to 250 Hz)"
    report.click(".curve-line button.f0")
    hidden = "getComputedStyle(document.querySelector('.curve-plot .{}')).display === 'none'"
    assert report.run(hidden.format("f0"))
    assert not report.run(hidden.format("energy"))
    report.click(".curve-line button.f0")
    assert not report.run(hidden.format("f0"))


def test_curves_grow_with_the_zoom_and_long_ones_are_thinned(report: Page) -> None:
    report.press("+")
    assert places_of(report, ".curve-plot")[0] == pytest.approx((0, LENGTH_S), abs=0.01)
    show(report, "other.wav")  # 6,001 frames of a millisecond
    runs = curve(report, "f0")
    assert 500 < sum(map(len, runs)) <= 1500
    assert len(runs) == 2
    assert runs[1][0][0] == pytest.approx(3.0, abs=0.01)


def test_emotion_and_the_lexicons_sentiment_are_never_confused(report: Page) -> None:
    heads = report.texts(".tags h4")
    assert heads == [
        f"Emotion: joy{MODEL}",
        "Sentiment: positivevaderSentiment 3.3.2",
    ]
    names = report.texts(".tags:first-child dt")
    assert names[:2] == ["joy", "neutral"]
    assert len(names) == 6
    widths = report.run(
        "[...document.querySelectorAll('.tags:first-child .meter i')].map((one) => one.style.width)"
    )
    assert widths[:2] == ["71%", "40%"]
    assert report.texts(".tags:nth-child(2) dt") == ["positive words", "neutral words", "negative words"]
    assert report.texts(".ipa span") == ["pliːz kɔːl stˈɛlə"]
    assert "en-us" in report.texts(".ipa small")[0]
    show(report, "other.wav")
    assert report.texts(".findings") == []


def test_a_click_on_a_similar_one_shows_it(report: Page) -> None:
    assert report.texts(".similar li") == ["third.wav0.910", "gone.wav0.500"]
    assert report.texts(".similar button") == ["third.wav"], "what is not on the page is no link"
    report.click(".similar button")
    assert report.texts("#viewer h3") == ["third.wav"]
    assert "third.wav" in report.texts(".picks [aria-current=true]")[0]


def test_features_that_cannot_be_read_cost_the_curves_and_not_the_page(work: Path, page: Page) -> None:
    records = [json.loads(line) for line in (work / "metadata/corpus.json").read_text().splitlines()]
    records[0]["features_filepath"] = "/nowhere/part.parquet#row=3"
    (work / "metadata/damaged.json").write_text("".join(json.dumps(one) + "\n" for one in records))
    said = run("report.py", "metadata/damaged.json", cwd=work)
    assert "/nowhere/part.parquet#row=3" in said
    assert "its pitch and energy are not shown" in said
    page.open(work / "output" / "damaged_report.html")
    show(page, "all.wav")
    assert page.texts(".curve-line") == []
    assert page.texts(".turns b") == ["SPEAKER_00", "SPEAKER_01"]


def test_distributions_are_of_pitch_rate_and_labels(report: Page) -> None:
    titles = [text.split("Median")[0] for text in report.texts(".charts figcaption")]
    assert titles[2:4] == ["Pitch, median of each", "Syllables a second of speech"]
    assert report.texts(".charts .midtext")[2:4] == ["median 160 Hz", "median 4.0 /s"]
    assert report.texts(".charts figure:nth-last-child(2) dt") == ["joy"]
    assert report.texts(".charts figure:last-child figcaption")[0].startswith("Sentiment of recordings")


def test_methods_name_what_was_used_and_cite_it(report: Page) -> None:
    from media.report import methods

    assert (
        "Words and their times in 3 recordings were found by pocketsphinx en-us" in report.texts("#prose")[0]
    )
    stages = {
        "features": {"features": "mfcc,pitch", "hop_ms": 10.0, "sample_rate": 16000, "n_mfcc": 20,
                     "pitch_engine": "ours", "f0_min_hz": 60.0, "f0_max_hz": 600.0},
        "emotion": {"model": MODEL, "revision": "58b6c5b"},
        "sentiment": {"model": "vaderSentiment", "revision": "3.3.2"},
        "phonemize": {"backend": "espeak", "espeak": "1.52.0"},
        "embed": {"model": "facebook/hubert-base-ls960", "revision": "dba3bb0", "layer": 9},
    }  # fmt: skip
    facts = {"noun": "records", "records": 3, "audio_s": 9.0, "speech_s": None, "words": 5, "no_speech": 0,
             "truncated": 0, "vad": {}, "asr": [], "failures": {}, "scores": [], "versions": {}, "units": 0,
             "encode": {}, "sts": {}, "runs": [], "varied": [], "config": {}, "generated": [],
             "transcribers": {"whisperx large-v3 f0fe81560": 1}, "stages": stages}  # fmt: skip
    said = methods.paragraph(facts)
    wanted = (
        "in 1 record were found by whisperx large-v3",
        "Frames every 10 ms of the audio at 16 kHz hold 20 mel-frequency cepstral coefficients, pitch by",
        "AMELA's own tracker (60 to 600 Hz)",
        f"28 emotions of GoEmotions by {MODEL}",
        "a lexicon, VADER (revision 3.3.2)",
        "phonemized by espeak-ng 1.52.0",
        "layer 9",
    )
    for part in wanted:
        assert part in said
    cited = " ".join(work.text for work in methods.references(facts))
    assert all(name in cited for name in ("WhisperX", "GoEmotions", "VADER", "Phonemizer"))


@EVERY_SCREEN
def test_nothing_overflows_and_colours_have_contrast(
    page: Page, work: Path, screen: tuple[int, float, str]
) -> None:
    page.open_and_check(work / "output" / "corpus_report.html", *screen)
    show(page, "all.wav")
    assert page.texts(".turns b")
    page.check(screen[0])

"""eval_units.py: scores worked out by hand, labels of each form, real phones of spoken speech, bad input."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import eval_units
from amela.errors import run_main
from media.abx import item_lines
from media.phone_labels import PhoneLabels, Phones, PhonesError
from media.unit_frames import UnitTimes
from media.unit_scores import UnitCounts, phone_scores

SENTENCES = (
    "the birch canoe slid on the smooth planks", "glue the sheet to the dark blue background",
    "it is easy to tell the depth of a well", "these days a chicken leg is a rare dish",
    "rice is often served in round bowls", "the juice of lemons makes fine punch",
    "the box was thrown beside the parked truck", "four hours of steady work faced us",
)  # fmt: skip
FLITE_VOICES = ("slt", "rms", "awb")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["eval_units.py"])
    return tmp_path


def evaluate(*words: object, ok: int = 0) -> str:
    """Run the script's main in the working folder; return what it printed."""
    said = io.StringIO()
    sys.argv[1:] = map(str, words)
    with pytest.raises(SystemExit) as ended, redirect_stdout(said), redirect_stderr(said):
        run_main(eval_units.main)
    assert ended.value.code == ok, said.getvalue()[-3000:]
    return said.getvalue()


def rows(name: str = "corpus") -> list[dict]:
    return json.loads(Path(f"output/{name}_units.json").read_text())["units"]


def put(folder: str, units: dict[str, list[int]], **settings: object) -> None:
    """Write a folder of units as encode.py does."""
    for name, values in units.items():
        path = Path(folder) / f"{name}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(torch.tensor(values, dtype=torch.int16), path)
    if settings:
        (Path(folder) / "settings.json").write_text(json.dumps(settings))


def write_lines(path: str, lines: list[dict]) -> None:
    Path(path).write_text("".join(json.dumps(line) + "\n" for line in lines))


def labels(phones: str, hop_s: float = 0.02) -> list[dict]:
    """A phone a frame, as the manifest holds them: "aab" is a for two frames, then b."""
    runs = [run for run in re.finditer(r"(.)\1*", phones) if run[1] != "."]
    return [{"start_s": run.start() * hop_s, "end_s": run.end() * hop_s, "phone": run[1]} for run in runs]


def test_hand_computed_scores(here: Path) -> None:
    """Ten frames, one without a label: phones a 5, b 4; counts a: 4 of unit 0, 1 of unit 2; b: 1, 2 and 1."""
    put("u", {"x": [0, 0, 2, 0, 0, 2, 2, 0, 1, 3]}, vocabulary=8, hop_s=0.02)
    write_lines("corpus.json", [{"id": "x", "ph": labels("aaaaabbbb.")}])
    said = evaluate("corpus.json", "--units-dir", "u", "--phones", "ph")
    (row,) = rows()
    assert (row["used"], row["dead"], row["vocabulary"], row["files"]) == (4, 4, 8, 1)
    assert row["labelled_share"] == pytest.approx(0.9)
    assert row["phone_purity"] == pytest.approx((4 + 2 + 1) / 9)  # units 0, 2, 1 mean a, b, b
    assert row["cluster_purity"] == pytest.approx((4 + 2) / 9)
    joint = np.array([[4, 0, 1], [1, 1, 2]]) / 9
    outer = joint.sum(1, keepdims=True) * joint.sum(0)
    there = joint > 0
    shared = (joint[there] * np.log(joint[there] / outer[there])).sum()
    entropy = -sum(p * math.log(p) for p in (5 / 9, 4 / 9))
    assert row["pnmi"] == pytest.approx(shared / entropy)
    shares = np.array([5, 1, 3, 1]) / 10
    bits = -(shares * np.log2(shares)).sum()
    assert row["perplexity"] == pytest.approx(2**bits)
    assert row["bitrate"] == pytest.approx(50 * bits)
    assert row["top_share"] == 0.5
    runs = np.array([3, 1, 2, 1]) / 7  # 0 2 0 2 0 1 3
    assert row["segments_per_s"] == pytest.approx(7 / 0.2)
    assert row["segment_ms"] == pytest.approx(200 / 7)
    assert row["bitrate_dedup"] == pytest.approx(35 * -(runs * np.log2(runs)).sum())
    with open("output/corpus_u_phones.csv") as file:
        table = list(csv.reader(file))
    assert [cells[:5] for cells in table] == [["phone", "0", "1", "2", "3"], ["a", "4", "0", "1", "0"],
                                              ["b", "1", "1", "2", "0"]]  # fmt: skip
    assert {len(cells) for cells in table} == {9}
    assert Path("output/corpus_u_phones.png").read_bytes().startswith(b"\x89PNG")
    assert "pnmi %" in said


def joint_of(phones: np.ndarray, units: np.ndarray) -> np.ndarray:
    table = np.zeros((phones.max() + 1, units.max() + 1), np.int64)
    np.add.at(table, (phones, units), 1)
    return table


def test_v_measure_is_that_of_scikit_learn_and_names_do_not_matter() -> None:
    from sklearn.metrics import homogeneity_completeness_v_measure

    chance = np.random.default_rng(0)
    phones = chance.integers(0, 12, 5000)
    units = (phones * 3 + chance.integers(0, 9, 5000)) % 40
    found = phone_scores(joint_of(phones, units), 5000)
    expected = homogeneity_completeness_v_measure(phones, units)
    assert [found[name] for name in ("pnmi", "completeness", "v_measure")] == pytest.approx(expected)
    renamed = phone_scores(joint_of(chance.permutation(12)[phones], chance.permutation(40)[units]), 5000)
    assert renamed == pytest.approx(found)


def test_perfect_units_say_all_and_random_ones_nothing() -> None:
    chance = np.random.default_rng(1)
    phones = chance.integers(0, 10, 40_000)
    perfect = phone_scores(joint_of(phones, phones * 2 + chance.integers(0, 2, 40_000)), 40_000)
    assert perfect["pnmi"] == pytest.approx(1)
    assert perfect["phone_purity"] == 1
    assert perfect["cluster_purity"] == pytest.approx(0.5, abs=0.02)  # two units a phone
    noise = phone_scores(joint_of(phones, chance.integers(0, 50, 40_000)), 40_000)
    assert noise["pnmi"] < 0.005
    assert noise["phone_purity"] < 0.15
    single = phone_scores(np.array([[7], [3]]), 10)
    assert (single["pnmi"], single["phone_purity"], single["v_measure"]) == (0, 0.7, 0)


def speakers_corpus(units_of, count: int = 60) -> None:
    """Write and score utterances of three speakers, whose units `units_of(speaker, chance)` gives."""
    chance = np.random.default_rng(2)
    put("u", {f"x{n}": units_of(n % 3, chance).tolist() for n in range(count)}, vocabulary=30, hop_s=0.02)
    write_lines("corpus.json", [{"id": f"x{n}", "speaker": f"s{n % 3}"} for n in range(count)])
    evaluate("corpus.json", "--units-dir", "u")


def test_units_that_code_the_speaker_leak_all(here: Path) -> None:
    speakers_corpus(lambda speaker, chance: 10 * speaker + chance.integers(0, 10, 80))
    (row,) = rows()
    assert row["speaker_nb"] == row["speaker_lr"] == 1
    assert (row["speaker_chance"], row["speaker_majority"]) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert row["speaker_nmi"] == pytest.approx(2 * math.log(3) / (math.log(3) + math.log(30)), abs=0.01)


def test_units_that_know_no_speaker_are_at_chance(here: Path) -> None:
    speakers_corpus(lambda _speaker, chance: chance.integers(0, 30, 80), count=240)
    (row,) = rows()
    for name in ("speaker_nb", "speaker_lr"):  # 240 draws at 1/3: 3 deviations are 0.09
        assert abs(row[name] - 1 / 3) < 0.1
    assert row["speaker_nmi"] < 0.01
    assert row["speaker_utterances"] == 240


def test_folders_side_by_side_and_each_way_to_write_units(here: Path) -> None:
    """Raw, deduplicated with durations and Parquet are the same units, so the same scores."""
    from networks.unit_files import write_parquet

    chance = np.random.default_rng(3)
    raw = {f"d/x{n}": np.repeat(chance.integers(0, 9, 20), chance.integers(1, 5, 20)) for n in range(4)}
    put("raw", {name: units.tolist() for name, units in raw.items()}, vocabulary=9, hop_s=0.02)
    from networks.encoder import deduplicate

    short = {name: deduplicate(units) for name, units in raw.items()}
    put("short", {name: units.tolist() for name, (units, _) in short.items()}, vocabulary=9, dedup=True)
    put("short_durations", {name: durations.tolist() for name, (_, durations) in short.items()})
    lines = []
    Path("parts").mkdir()
    for number, names in enumerate((["d/x0", "d/x1"], ["d/x2", "d/x3"])):
        table = [{"file_id": f"/data/{name}.wav", "units": short[name][0], "hop_s": 0.02,
                  "durations": short[name][1]} for name in names]  # fmt: skip
        with open(f"parts/part-{number}.parquet", "wb") as file:
            write_parquet(file, table)
        path = str(here / f"parts/part-{number}.parquet")
        lines += [{"audio_filepath": f"/data/{name}.wav", "units_filepath": path} for name in names]
    (Path("parts") / "settings.json").write_text(json.dumps({"vocabulary": 9, "dedup": True}))
    write_lines("corpus.json", lines)
    evaluate("corpus.json", "--units-dir", "raw", "short", "parts")
    one, two, three = ({k: v for k, v in row.items() if k != "units"} for row in rows())
    assert one == two == three
    assert [row["units"] for row in rows()] == ["raw", "short", "parts"]
    evaluate("corpus.json", "--name", "own")  # by the records' own units_filepath
    assert {k: v for k, v in rows("own")[0].items() if k != "units"} == three


TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 0.2
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "ann - words"
        xmin = 0
        xmax = 0.2
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 0.2
            text = "ab"
    item [2]:
        class = "IntervalTier"
        name = "ann - phones"
        xmin = 0
        xmax = 0.2
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.1
            text = "a"
        intervals [2]:
            xmin = 0.1
            xmax = 0.18
            text = "b"
        intervals [3]:
            xmin = 0.18
            xmax = 0.2
            text = ""
"""
FORMS = {
    "ph.ctm": ";; aligned\nx 1 0.0 0.1 a\nx 1 0.1 0.08 b 0.9\n",
    "ph.item": "#file onset offset #phone prev-phone next-phone speaker\nx 0 .1 a - b s\nx .1 .18 b a - s\n",
    "ph.align": "file start end phone\nx 0.0 0.1 a\nx 0.1 0.18 b\n",
    "ph.phn": "x 0 0.1 a\nx 0.1 0.18 b\n",
    "grids/deep/x.TextGrid": TEXTGRID,
}


@pytest.mark.parametrize("name", FORMS)
def test_each_form_of_labels_says_the_same(here: Path, name: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(FORMS[name])
    found = PhoneLabels("grids" if "grids" in name else name)
    for record in ({"id": "x"}, {"audio_filepath": "/data/deep/x.wav"}):
        phones = found.of(record, "key")
        assert phones.names == ["a", "b"]
        assert phones.starts_s.tolist() == [0, 0.1]
        assert phones.ends_s == pytest.approx([0.1, 0.18])
    window = found.of({"audio_filepath": "/data/deep/x.wav", "offset": 0.04, "duration": 0.1}, "key")
    assert window.starts_s == pytest.approx([-0.04, 0.06])
    assert window.at(np.array([0.0, 0.05, 0.07, 0.15])).tolist() == [0, 0, 1, -1]
    assert found.of({"id": "y"}, "y") is None
    assert found.unused() == []


BAD_LABELS = [
    ("ph.ctm", "x 1 0.0 0.1 a\nx 1 0.05 0.1 b\n", "'a' (0.0 to 0.1 s) overlaps 'b' (from 0.05 s)"),
    ("ph.phn", "x 0.1 0.05 a\n", "'a' from 0.1 to 0.05 s; wanted 0 <= start < end"),
    ("ph.phn", "x -1 0.05 a\n", "'a' from -1.0 to 0.05 s"),
    ("ph.phn", "x 0 0.05 a\nx 0.05 b\n", "ph.phn:2: found 'x 0.05 b"),
    ("ph.phn", "x 0 1600 a\n", "phones up to 1600.00 s, units up to 0.19 s; wanted labels of this recording"),
    ("ph.phn", "\n", "ph.phn: no line with a phone in it"),
    ("ph.phn", "z 0 0.1 a\n", "labels of no record: 1: z"),
    ("g/x.TextGrid", "no grid", "x.TextGrid: no TextGrid can be read"),
    (
        "g/x.TextGrid",
        TEXTGRID.replace("phones", "phone"),
        "its tiers are ann - words, ann - phone; wanted one",
    ),
    ("g/x.txt", "x", "g: no TextGrid in it"),
]


@pytest.mark.parametrize(("name", "text", "said"), BAD_LABELS)
def test_bad_labels_are_said(here: Path, name: str, text: str, said: str) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(text)
    put("u", {"x": [1] * 10}, vocabulary=3)
    write_lines("corpus.json", [{"id": "x"}])
    told = evaluate("corpus.json", "--units-dir", "u", "--phones", name.split("/", 1)[0], ok=2)
    assert said in told
    assert "Traceback" not in told


def test_what_is_left_out_is_named_and_the_rest_is_scored(here: Path) -> None:
    put("u", {"good": [0, 1] * 5, "wild": [0, 7], "none": [], "bare": [1, 1]}, vocabulary=3, hop_s=0.02)
    lines = [{"id": name, "ph": labels("ab"), "speaker": "s"} for name in ("good", "wild", "none", "gone")]
    lines += [{"id": "bare"}, {"id": "odd", "ph": [{"start": 1}]}]
    put("u", {"odd": [1]}, vocabulary=3, hop_s=0.02)
    write_lines("corpus.json", lines)
    told = evaluate("corpus.json", "--units-dir", "u", "--phones", "ph")
    assert "left out: 4 of 6: " in told
    assert "wild.pt: found units 0 to 7, wanted 0 to 2" in told
    assert "none.pt: empty" in told
    assert "gone: no units in" in told
    assert "odd: found [{'start': 1}], wanted [{start_s, end_s, phone}]" in told
    assert "no phone labels: 1 of 6: bare" in told
    assert "no `speaker`, left out of what is measured of speakers: 1 of 6: bare" in told
    (row,) = rows()
    assert (row["files"], row["left_out"], row["phones"]) == (2, 4, 2)
    assert "speaker_nb" not in row  # one speaker cannot be told from others


def test_bad_calls(here: Path) -> None:
    write_lines("corpus.json", [{"id": "x"}])
    assert "no record has `units_filepath`" in evaluate("corpus.json", ok=2)
    assert "no such folder" in evaluate("corpus.json", "--units-dir", "nowhere", ok=2)
    put("u", {"y": [1]})
    assert "no unit of 1 records could be scored" in evaluate("corpus.json", "--units-dir", "u", ok=2)
    assert "wanted --phones too" in evaluate("corpus.json", "--units-dir", "u", "--abx", ok=2)


def test_units_know_their_time_across_chunks() -> None:
    """HuBERT's 100 s give 4999 units: the 5000th lies at the start of the next chunk, not 20 ms early."""
    times = UnitTimes(0.02, 100.0, 4999)
    centres_s = times.centres_s(5001)
    assert centres_s[[0, 4998, 4999, 5000]] == pytest.approx([0.01, 99.97, 100.01, 100.03])
    even = times.even(np.arange(5001))
    assert even[[4998, 4999, 5000, 5001]].tolist() == [4998, 4998, 4999, 5000]
    assert UnitTimes(0.02).even(np.arange(9)).tolist() == list(range(9))


def test_items_are_those_that_every_folder_has_the_frames_for() -> None:
    names = ["sil", "a", "b", "c d", "e", "sil"]
    starts_s = np.array([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    phones = Phones(starts_s, starts_s + 0.1, names)
    lines = list(item_lines("triphone", "x", phones, "s 1", [(0.02, 30)]))
    assert lines == ["x 0.1000 0.4000 b a c%20d s%201\n", "x 0.2000 0.5000 c%20d b e s%201\n"]
    phoneme = next(item_lines("phoneme", "x", phones, "s", [(0.02, 30)]))
    assert phoneme == "x 0.2000 0.3000 b a c%20d s\n"
    assert (
        len(list(item_lines("triphone", "x", phones, "s", [(0.02, 30), (0.02, 24)]))) == 1
    )  # frame 24 lacks
    assert len(list(item_lines("triphone", "x", phones, "s", [(0.02, 25)]))) == 2
    short = Phones(np.array([0, 0.1, 0.104]), np.array([0.1, 0.104, 0.2]), ["a", "b", "c"])
    assert list(item_lines("phoneme", "x", short, "s", [(0.02, 30)])) == []  # no frame's centre is in it
    gap = Phones(np.array([0, 0.1, 0.25]), np.array([0.1, 0.2, 0.3]), ["a", "b", "c"])
    assert list(item_lines("triphone", "x", gap, "s", [(0.02, 30)])) == []  # not neighbours


def spoken(folder: Path) -> None:
    """Speak the sentences by flite in three voices; -psdur prints where each phone ends."""
    assert shutil.which("flite"), "flite is on every machine that runs these tests: apt-get install flite"
    lines, ctm = [], []
    for number, sentence in enumerate(SENTENCES):
        for voice in FLITE_VOICES:
            path = folder / "corpus" / voice / f"s{number}_{voice}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            words = ["flite", "-voice", voice, "-t", sentence, "-psdur", "-o", str(path)]
            said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
            start_s = 0.0
            for phone, end in re.findall(r"(\S+?):([\d.]+)", said):
                ctm.append(f"{path.stem} 1 {start_s:.3f} {float(end) - start_s:.3f} {phone}\n")
                start_s = float(end)
            assert start_s == pytest.approx(soundfile.info(path).duration, abs=0.03)
            lines.append({"audio_filepath": str(path), "speaker": voice})
    write_lines("corpus.json", lines)
    Path("phones.ctm").write_text("".join(ctm))


def cepstra(path: str) -> np.ndarray:
    """Mel cepstra (frames, 13) of 25 ms every 20 ms: plain numpy, so that nothing of ours is in it."""
    samples, rate_hz = soundfile.read(path)
    assert rate_hz == 16_000
    frames = np.lib.stride_tricks.sliding_window_view(samples, 400)[::320] * np.hanning(400)
    power = np.abs(np.fft.rfft(frames, 512)) ** 2
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28) / 2595) - 1) / 16_000 * 512
    bins = np.arange(257)
    bank = np.array([np.interp(bins, edges[n : n + 3], [0, 1, 0], 0, 0) for n in range(26)])
    loud = np.log(power @ bank.T + 1e-8)
    basis = np.cos(np.pi * np.outer(np.arange(26) + 0.5, np.arange(13)) / 26)
    found = loud @ basis
    return (found - found.mean(0)) / found.std(0)


def test_spoken_phones_end_to_end(here: Path) -> None:
    """k-means of cepstra knows real phones far better than chance; items and tensors fit each other."""
    from sklearn.cluster import KMeans

    spoken(here)
    records = [json.loads(line) for line in Path("corpus.json").read_text().splitlines()]
    features = [cepstra(record["audio_filepath"]) for record in records]
    fitted = KMeans(40, n_init=1, random_state=0).fit(np.concatenate(features))
    chance = np.random.default_rng(0)
    names = [Path(record["audio_filepath"]).stem for record in records]
    put("km40", {name: fitted.predict(part).tolist() for name, part in zip(names, features)}, vocabulary=40)
    put("random", {name: chance.integers(0, 40, len(part)).tolist() for name, part in zip(names, features)},
        vocabulary=40)  # fmt: skip
    told = evaluate("corpus.json", "--units-dir", "km40", "random", "--phones", "phones.ctm", "--abx")
    real, noise = rows()
    print({name: (real[name], noise[name]) for name in ("pnmi", "phone_purity", "bitrate", "speaker_lr")})
    assert real["pnmi"] > 0.3
    assert noise["pnmi"] < 0.12  # 4000 frames, 40 phones: what remains is the bias of few counts
    assert real["phone_purity"] > 2 * noise["phone_purity"]
    assert noise["bitrate"] == pytest.approx(50 * math.log2(40), rel=0.01)
    assert real["bitrate_dedup"] < real["bitrate"] < noise["bitrate"]
    assert "fastabx output/corpus_abx/triphone.item output/corpus_abx/km40 --frequency 50 --distance" in told
    items = [line.split() for line in Path("output/corpus_abx/triphone.item").read_text().splitlines()]
    assert items[0] == ["#file", "onset", "offset", "#phone", "prev-phone", "next-phone", "speaker"]
    assert len(items) > 400
    assert "pau" not in {cell for line in items[1:] for cell in line[3:6]}
    for file, onset, offset, *_, speaker in items[1:]:
        assert file.endswith(speaker)
        for folder in ("km40", "random"):
            units = torch.load(f"output/corpus_abx/{folder}/{file}.pt", weights_only=True)
            assert units.shape[1] == 1
            first = math.ceil(float(onset) * 50 - 0.5 - 1e-9)
            last = math.floor(float(offset) * 50 - 0.5 + 1e-9)
            assert 0 <= first <= last < len(units)
    again = {path.name: path.read_bytes() for path in Path("output").glob("*.[cj]s*")}
    evaluate("corpus.json", "--units-dir", "km40", "random", "--phones", "phones.ctm", "--abx")
    assert again == {path.name: path.read_bytes() for path in Path("output").glob("*.[cj]s*")}


def test_counts_grow_with_what_is_found() -> None:
    counts = UnitCounts(None, 0.02)
    counts.add(np.array([0, 0, 1]), "a")
    counts.add(np.array([9]), "b")
    assert counts.by_speaker.whole()[1].tolist() == [[2, 1, *[0] * 8], [0] * 9 + [1]]
    assert (counts.usage()["vocabulary"], counts.usage()["dead"], counts.frames) == (10, 7, 4)


def test_a_table_that_is_no_text_is_said(here: Path) -> None:
    Path("ph.ctm").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PhonesError, match=r"ph\.ctm: cannot be read"):
        PhoneLabels("ph.ctm")

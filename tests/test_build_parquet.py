"""build_parquet.py: what goes in comes out, whoever is killed; nothing leaks from train to test."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given as of
from hypothesis import settings
from hypothesis import strategies as st

import build_parquet
import media.dataset_builder
import train_tokenizer
from amela.manifest import record_key, write_manifest
from annotated import HOP_S, arrays_of, write_corpus
from arrays import Task, do_harm, run_array
from media.contexts import windows
from media.dataset import PROSODY, SPLITS, read_dataset
from media.dataset import arrays_of as arrays_in
from media.dataset_splits import joined
from media.emotions import LABELS
from media.frames import read_frames
from media.moments import Moments
from media.prosody import semitones
from media.tokens import load_tokenizer
from one_stage import run_script, write_records
from speech import SENTENCES, speak, write_wav

JOBS = itertools.count(500)
README = Path(__file__).resolve().parents[1] / "README.md"


def build(manifest: Path, out: Path, *words: object, status: int = 0) -> str:
    """Build a data set in a fork, and return what it said."""
    log = manifest.with_suffix(".log")
    ended = Task([manifest, out, *words], log=log, main=build_parquet.main).wait(120)
    said = log.read_text()
    log.unlink()
    assert ended == status, said
    return said


def train_on(manifest: Path) -> Path:
    """Train a small tokenizer on a manifest, and return its folder."""
    folder = manifest.parent / "tokenizer"
    run_script(train_tokenizer.main, manifest, folder, "--vocab-size", 400)
    return folder


def files_of(out: Path) -> dict[str, bytes]:
    """Return what a data set consists of, but for its state."""
    found = [path for path in out.rglob("*") if path.is_file() and ".amela" not in path.parts]
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


def table_of(out: Path, split: str) -> Any:
    parts = read_dataset(str(out)).splits[split]["parts"]
    return pq.read_table([out / part["file"] for part in parts]) if parts else None


def splits_of(out: Path) -> dict[str, str]:
    """Return the split of each key."""
    tables = {split: table_of(out, split) for split in SPLITS}
    return {key: split for split, table in tables.items() if table for key in table["key"].to_pylist()}


# ---- what goes in comes out


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict], list[dict]]:
    return write_corpus(tmp_path_factory.mktemp("corpus"), 400)


@pytest.fixture(scope="module")
def built(corpus: tuple, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the data set of the corpus, with tokens, in parts of 1 MB."""
    tokenizer = train_on(corpus[0])
    out = tmp_path_factory.mktemp("built") / "out"
    build(corpus[0], out, "--tokenizer", tokenizer, "--part-mb", 1)
    return out


def test_every_record_is_a_row_with_its_arrays_to_the_last_bit(corpus: tuple, built: Path) -> None:
    _, records, arrays = corpus
    expected = {record_key(record): (record, found) for record, found in zip(records, arrays)}
    tokenizer, speakers = load_tokenizer(corpus[0].parent / "tokenizer"), read_dataset(str(built)).speakers
    seen = 0
    for split in SPLITS:
        table = table_of(built, split)
        found = {name: arrays_in(table.combine_chunks().to_batches()[0], name) for name in arrays[0]}
        for row, cells in enumerate(table.drop_columns(list(found)).to_pylist()):
            record, wanted = expected[cells["key"]]
            seen += 1
            for name in ("audio_filepath", "duration", "text", "speaker", "lang"):
                assert cells[name] == record[name]
            assert cells["frames"] == len(wanted["mel"])
            for name, array in wanted.items():
                assert found[name][row].dtype == array.dtype
                np.testing.assert_array_equal(found[name][row], array)
            assert cells["prosody"] == pytest.approx([record.get(name) for name in PROSODY])
            assert cells["emotion"] == pytest.approx(record["emotion"]["scores"])
            assert cells["emotion_label"] == record["emotion"]["label"]
            ids = [tokenizer.bos_id, *tokenizer.encode(record["text"]), tokenizer.eos_id]
            assert cells["tokens"] == ids
            assert cells["control_tokens"] == tokenizer.control(record) != []
            place = speakers.index(record["speaker"]) if record["speaker"] in speakers else -1
            assert cells["speaker_id"] == place
            assert (place >= 0) == (split == "train")  # by speaker: those of valid and test are new
    assert seen == len(records)


def test_dataset_json_says_what_is_there(built: Path) -> None:
    import hashlib

    dataset = read_dataset(str(built))
    assert list(dataset.splits) == list(SPLITS)
    for split in dataset.splits.values():
        assert split["rows"] == sum(part["rows"] for part in split["parts"]) > 0
        for part in split["parts"]:
            content = (built / part["file"]).read_bytes()
            assert (part["bytes"], part["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert len(dataset.splits["train"]["parts"]) > 1
    schema = pq.read_schema(built / "train/part-00000.parquet")
    assert list(dataset.columns) == schema.names
    for field in schema:
        assert field.metadata[b"description"].decode() == dataset.columns[field.name]
    assert dataset.arrays["mel"] == {"width": 80, "dtype": "<f2"}
    assert (dataset.hop_s, dataset.sample_rate_hz) == (HOP_S, 16_000)
    assert (dataset.prosody_names, dataset.emotion_names) == (list(PROSODY), list(LABELS))
    assert "by speaker" in dataset.split_by


def test_statistics_are_those_of_train(corpus: tuple, built: Path) -> None:
    splits, dataset = splits_of(built), read_dataset(str(built))
    train = [place for place, record in enumerate(corpus[1]) if splits[record_key(record)] == "train"]
    arrays = [corpus[2][place] for place in train]
    expected = {name: np.concatenate([found[name] for found in arrays]).astype(np.float64)
                for name in ("mel", "mfcc", "energy_db", "voicing")}  # fmt: skip
    f0_hz = np.concatenate([found["f0_hz"] for found in arrays]).astype(np.float64)
    expected["f0_semitones"] = 12 * np.log2(f0_hz[f0_hz > 0] / 27.5)
    expected["emotion"] = np.array([corpus[1][place]["emotion"]["scores"] for place in train], np.float32)
    for name, values in expected.items():
        figures = dataset.statistics[name]
        np.testing.assert_allclose(figures["mean"], np.atleast_1d(values.mean(0)), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(figures["std"], np.atleast_1d(values.std(0)), rtol=1e-6)
    rate = [corpus[1][place]["rate_syl_s"] for place in train]
    prosody = dataset.statistics["prosody"]
    assert prosody["count"][PROSODY.index("rate_syl_s")] == sum(value is not None for value in rate)
    words = PROSODY.index("words_per_s")  # no record has it
    assert [prosody[name][words] for name in ("mean", "std", "count")] == [0, 1, 0]


def test_row_groups_are_small_and_parts_bounded(corpus: tuple, tmp_path: Path) -> None:
    place = [
        {"id": f"s{number:04d}", "text_filepath": f"/t/{number // 50:03d}.txt"} for number in range(9000)
    ]
    manifest = write_records(tmp_path / "texts.json", [{**one, "text": "word " * 40} for one in place])
    line_bytes = manifest.stat().st_size // 9000
    build(manifest, tmp_path / "out", "--part-mb", 1)
    dataset = read_dataset(str(tmp_path / "out"))
    parts = [part for split in dataset.splits.values() for part in split["parts"]]
    assert len(dataset.splits["train"]["parts"]) > 1
    for part in parts:
        meta = pq.read_metadata(tmp_path / "out" / part["file"])
        assert max(meta.row_group(group).num_rows for group in range(meta.num_row_groups)) <= 128
        assert part["rows"] * line_bytes <= 2**20
        assert part["rows"] % 50 == 0  # ends with a text
    assert dataset.counts["without_audio"] == 9000
    assert "without_text" not in {name for name, count in dataset.counts.items() if count}
    assert dataset.arrays == {}


# ---- whatever is killed, however many tasks


def test_killed_anywhere_and_dealt_anew_the_bytes_are_the_same(
    corpus: tuple, built: Path, tmp_path: Path
) -> None:
    tokenizer = corpus[0].parent / "tokenizer"
    rng, log = random.Random(3), tmp_path / "log"
    harmed = 0

    def harm(task: Task) -> None:
        if rng.random() < 0.1:  # else no part is ever whole
            do_harm(task, rng)

    for round_ in range(4):
        out = tmp_path / f"out{round_}"
        argv = [corpus[0], out, "--tokenizer", tokenizer, "--part-mb", 1]
        for size in rng.sample([1, 2, 3, 5], 3):
            statuses = run_array(argv, next(JOBS), range(size), harm=harm, rng=rng, log=log,
                                 main=build_parquet.main)  # fmt: skip
            # 99: a second signal while it ended
            assert set(statuses.values()) <= {0, -9, -10, -15, 75, 99}, log.read_text()
            harmed += sum(status != 0 for status in statuses.values())
        build(*argv)
        assert files_of(out) == files_of(built)
    assert harmed >= 2


def test_a_part_that_was_cut_or_lost_is_built_again(corpus: tuple, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(corpus[0], out, "--part-mb", 1)
    whole = files_of(out)
    (out / "train/part-00000.parquet").write_bytes(whole["train/part-00000.parquet"][:1000])
    (out / "test/part-00000.parquet").unlink()
    build(corpus[0], out, "--part-mb", 1)
    assert files_of(out) == whole


def test_the_last_task_of_an_array_writes_dataset_json_and_a_part_of_one_says_what_is_left(
    corpus: tuple, tmp_path: Path
) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    argv = [corpus[0], out, "--part-mb", 1]
    first = Task(argv, 77, 0, range(3), log=log, main=build_parquet.main)
    assert first.wait() == 0
    assert not (out / "dataset.json").exists()
    assert "parts are there" in log.read_text()
    for index in (2, 1):
        assert Task(argv, 77, index, range(3), log=log, main=build_parquet.main).wait() == 0
    assert (out / "dataset.json").exists()


def test_fresh_begins_anew_once_a_job_and_leaves_no_part_of_before(corpus: tuple, tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    build(corpus[0], out, "--part-mb", 1)
    before = set(files_of(out))
    features = out / "features/part-0123456789abcdef.parquet"  # as where OUT holds other things too
    features.parent.mkdir()
    features.touch()
    said = build(corpus[0], out, "--part-mb", 64, "--seed", 1, status=2)
    assert "part_mb: 1 before, 64 now" in said
    assert "seed: 0 before, 1 now" in said
    statuses = run_array([corpus[0], out, "--part-mb", 64, "--fresh"], next(JOBS), range(3), log=log,
                         main=build_parquet.main)  # fmt: skip
    assert set(statuses.values()) == {0}
    assert set(files_of(out)) - {"features/part-0123456789abcdef.parquet"} < before
    assert features.exists()
    assert len(list((out / ".amela").glob("plan-*.json"))) == 2  # the second, once for three tasks


def test_a_task_that_a_fresh_build_overtook_stops_and_leaves_the_data_set_alone(
    corpus: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    whole = media.dataset_builder.Builder.write

    def write_while_another_begins(*words: Any) -> Any:
        found = whole(*words)
        state = out / ".amela"
        (state / "plan-000002.json").write_bytes((state / "plan-000001.json").read_bytes())
        return found

    monkeypatch.setattr(media.dataset_builder.Builder, "write", write_while_another_begins)
    assert "another task began anew with --fresh" in build(corpus[0], out, status=2)
    assert files_of(out) == {}


def test_a_manifest_that_changed_is_refused_and_one_that_was_only_touched_is_not(tmp_path: Path) -> None:
    manifest, records, _ = write_corpus(tmp_path / "c", 30)
    out = tmp_path / "out"
    build(manifest, out)
    os.utime(manifest, (1, 1))
    assert "with the same content" in build(manifest, out)
    write_manifest(manifest, records[:-1])
    assert "its content changed since" in build(manifest, out, status=2)
    build(manifest, out, "--fresh")
    assert len(splits_of(out)) == 29


# ---- nothing leaks


def test_a_speaker_is_in_one_split_and_the_shares_are_near(corpus: tuple, built: Path) -> None:
    splits = splits_of(built)
    places = defaultdict(set)
    for record in corpus[1]:
        places[record["speaker"]].add(splits[record_key(record)])
    assert {len(found) for found in places.values()} == {1}
    assert {split for found in places.values() for split in found} == set(SPLITS)
    assert sum(found == {"train"} for found in places.values()) >= 8  # of 12


def segments(recordings: int, each: int, speaker: Any = lambda *_: None) -> list[dict[str, Any]]:
    records = []
    for recording, number in itertools.product(range(recordings), range(each)):
        record = {"id": f"{recording}-{number}", "audio_filepath": f"/d/{recording}.wav", "offset": number,
                  "duration": 1, "text": f"the words of {recording} {number}"}  # fmt: skip
        if (name := speaker(recording, number)) is not None:
            record["speaker"] = name
        records.append(record)
    return records


def places_of(out: Path) -> dict[str, set[str]]:
    """Return the splits of each recording of `segments`."""
    found = defaultdict(set)
    for key, split in splits_of(out).items():
        found[key.split("-")[0]].add(split)
    return found


def test_segments_of_a_recording_stay_together(tmp_path: Path) -> None:
    manifest = write_records(tmp_path / "m.json", segments(20, 6, lambda _, number: f"SPEAKER_0{number % 2}"))
    said = build(manifest, tmp_path / "out")
    assert "by recording, as 1 groups of speakers are fewer than 10" in said
    assert "2 speakers stand in several splits" in said
    assert {len(found) for found in places_of(tmp_path / "out").values()} == {1}


def test_speakers_who_share_a_recording_stay_together(tmp_path: Path) -> None:
    records = segments(
        24, 4, lambda recording, number: f"s{recording // 2 * 2 + (number % 2) * (recording % 2)}"
    )
    manifest = write_records(tmp_path / "m.json", records)
    assert "by speaker: 12 groups" in build(manifest, tmp_path / "out")
    splits = splits_of(tmp_path / "out")
    for field in ("speaker", "audio_filepath"):
        places = defaultdict(set)
        for record in records:
            places[record[field]].add(splits[record["id"]])
        assert {len(found) for found in places.values()} == {1}


def test_the_split_does_not_depend_on_the_order_of_lines(tmp_path: Path) -> None:
    records = segments(30, 3)
    found = []
    for order in (records, records[::-1]):
        manifest = write_records(tmp_path / "m.json", order)
        build(manifest, tmp_path / "out", "--fresh")
        found.append(splits_of(tmp_path / "out"))
    assert found[0] == found[1]
    build(manifest, tmp_path / "out", "--fresh", "--seed", 5)
    assert splits_of(tmp_path / "out") != found[0]


def test_a_split_of_the_manifests_own_wins(tmp_path: Path) -> None:
    speakers = segments(10, 1, lambda recording, _: f"s{recording}")
    given = itertools.cycle(("train", "dev", "test", "train"))
    records = [{**record, "split": next(given)} for record in speakers]
    manifest = write_records(tmp_path / "m.json", records)
    said = build(manifest, tmp_path / "out", "--split-by", "speaker")
    assert "as the field `split` says" in said
    names = {"dev": "valid"}
    assert splits_of(tmp_path / "out") == {r["id"]: names.get(r["split"], r["split"]) for r in records}
    del records[3]["split"]
    write_records(manifest, records)
    said = build(manifest, tmp_path / "out", "--fresh", status=2)
    assert "m.json:4: found no `split`, while line 1 has one" in said
    write_records(manifest, [{**record, "split": "eval"} for record in records])
    assert "m.json:1: found split 'eval'" in build(manifest, tmp_path / "out", "--fresh", status=2)


def test_an_empty_split_is_refused_and_what_to_type_works(tmp_path: Path) -> None:
    manifest = write_records(tmp_path / "m.json", segments(2, 40))
    said = build(manifest, tmp_path / "out", status=2)
    assert "test would be empty" in said
    typed = said.split("--ratios ")[1].split(" if that")[0].split()
    build(manifest, tmp_path / "out", "--ratios", *typed)
    assert {split for found in places_of(tmp_path / "out").values() for split in found} == {"train", "valid"}
    said = build(manifest, tmp_path / "out", "--split-by", "id", "--fresh")
    assert "recordings stand in several splits" in said
    counts = {name: split["rows"] for name, split in read_dataset(str(tmp_path / "out")).splits.items()}
    assert counts == {"train": 64, "valid": 8, "test": 8}
    assert "found no `accent`" in build(manifest, tmp_path / "out2", "--split-by", "accent", status=2)


@settings(max_examples=60, deadline=None)
@of(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=30))
def test_linked_records_have_one_label_and_others_another(pairs: list[tuple[int, int]]) -> None:
    left, right = (np.array(side, np.uint64) for side in zip(*pairs))
    labels = joined(left, right)
    parent = {("l", a): ("l", a) for a, _ in pairs} | {("r", b): ("r", b) for _, b in pairs}

    def root(node: tuple[str, int]) -> tuple[str, int]:
        return node if parent[node] == node else root(parent[node])

    for a, b in pairs:
        parent[root(("l", a))] = root(("r", b))
    roots = [root(("l", a)) for a, _ in pairs]
    for i, j in itertools.combinations(range(len(pairs)), 2):
        assert (labels[i] == labels[j]) == (roots[i] == roots[j])


# ---- contexts


def test_context_is_of_the_same_recording_and_does_not_depend_on_parts(tmp_path: Path) -> None:
    records = [*segments(8, 5), *segments(9, 400)[-400:]]  # the last one is longer than a part
    for record in records:
        record["note"] = "x" * 6000
    manifest = write_records(tmp_path / "m.json", records)
    tokenizer = train_on(manifest)
    contexts = []
    for megabytes in (1, 64):
        out = tmp_path / f"out{megabytes}"
        build(manifest, out, "--tokenizer", tokenizer, "--part-mb", megabytes, "--ratios", "1", "0", "0")
        table = table_of(out, "train")
        assert (len(read_dataset(str(out)).splits["train"]["parts"]) > 2) == (megabytes == 1)
        contexts.append(dict(zip(table["key"].to_pylist(), table["context_tokens"].to_pylist())))
    assert contexts[0] == contexts[1]
    engine = load_tokenizer(tokenizer)
    for record, previous, following in windows(records, 3, lambda record: record["text"]):
        assert contexts[0][record["id"]] == engine.context(previous, following)


def test_context_never_comes_from_another_split(tmp_path: Path) -> None:
    records = [{**record, "split": SPLITS[at % 3]} for at, record in enumerate(segments(1, 30))]
    manifest = write_records(tmp_path / "m.json", records)
    tokenizer = train_on(manifest)
    build(manifest, tmp_path / "out", "--tokenizer", tokenizer)
    engine, texts = load_tokenizer(tokenizer), {split: [] for split in SPLITS}
    for record in records:
        texts[record["split"]].append(record["text"])
    for split in SPLITS:
        contexts = table_of(tmp_path / "out", split)["context_tokens"].to_pylist()
        assert contexts[4] == engine.context(texts[split][1:4], texts[split][5:8])


# ---- bad input


def test_a_record_with_nan_is_left_out_by_name(tmp_path: Path) -> None:
    def change(index: int, _record: dict, arrays: dict) -> dict:
        if index in (3, 5):
            arrays["mel" if index == 3 else "f0_hz"][7] = np.nan if index == 3 else np.inf
        return arrays

    manifest, records, _ = write_corpus(tmp_path / "c", 60, change=change)
    out = tmp_path / "out"
    assert "2 records failed and are left out" in build(manifest, out)
    errors = [json.loads(line) for line in (out / "errors.jsonl").read_text().splitlines()]
    assert [(one["line"], one["key"]) for one in errors] == [
        (at + 1, record_key(records[at])) for at in (3, 5)
    ]
    assert "80 of" in errors[0]["message"]
    assert "mel NaN or infinite" in errors[0]["message"]
    assert len(splits_of(out)) == 58
    dataset = read_dataset(str(out))
    assert dataset.counts["errors"] == 2
    assert np.isfinite(dataset.statistics["mel"]["mean"]).all()


def test_too_many_errors_stop_with_3_and_the_same_command_goes_on_once_they_are_mended(
    tmp_path: Path,
) -> None:
    manifest, records, _ = write_corpus(tmp_path / "c", 60, form="npz")
    files = [Path(record["features_filepath"]) for record in records[:12]]
    for file in files:
        file.rename(file.with_suffix(".away"))
    out = tmp_path / "out"
    said = build(manifest, out, "--part-mb", 1, status=3)
    assert "records failed, more than --max-error-rate" in said
    assert "00000.npz" in said
    assert not (out / "dataset.json").exists()
    for file in files:
        file.with_suffix(".away").rename(file)
    build(manifest, out, "--part-mb", 1)
    assert len(splits_of(out)) == 60
    assert not (out / "errors.jsonl").exists()


def test_records_without_features_text_or_emotion_are_rows_with_nulls_and_counted(tmp_path: Path) -> None:
    def change(index: int, record: dict, arrays: dict) -> Any:
        if index % 5 == 1:
            del record["text"], record["emotion"]
        if index % 5 == 2:
            del arrays["mfcc"]
        return None if index % 5 == 0 else arrays

    manifest, _, _ = write_corpus(tmp_path / "c", 60, change=change)
    records = [json.loads(line) for line in manifest.read_text().splitlines()]
    records.append({"id": "a sentence", "text": "no audio at all", "speaker": "s00"})
    write_manifest(manifest, records)
    tokenizer = train_on(manifest)
    said = build(manifest, tmp_path / "out", "--tokenizer", tokenizer)
    lacks = {"features": 13, "text": 12, "emotion": 13, "audio": 1, "mfcc": 12}
    for name, count in lacks.items():
        assert f"{count} without {name}" in said
    rows = [row for split in SPLITS for row in table_of(tmp_path / "out", split).to_pylist()]
    alone = next(row for row in rows if row["key"] == "a sentence")
    assert (alone["frames"], alone["audio_filepath"], alone["mel"], alone["mel_shape"]) == (
        0,
        None,
        None,
        None,
    )
    assert alone["prosody"] == [None] * 7
    assert alone["tokens"]
    assert sum(row["tokens"] is None for row in rows) == 12
    assert sum(row["mfcc"] is None and row["mel"] is not None for row in rows) == 12
    assert sum(row["emotion"] is None for row in rows) == 13


def mel_of_40(index: int, _record: dict, arrays: dict) -> dict:
    return arrays if index != 20 else arrays_of(index, len(arrays["mel"]), mel_bands=40)


def mel_of_float32(index: int, _record: dict, arrays: dict) -> dict:
    return arrays if index != 20 else {**arrays, "mel": arrays["mel"].astype("float32")}


def only_pitch_first(index: int, _record: dict, arrays: dict) -> dict:
    return arrays if index else {name: arrays[name] for name in ("f0_hz", "voicing")}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (mel_of_40, "mel of 40 columns of <f2 here and 80 columns of <f2 there (line 1 of the manifest)"),
        (mel_of_float32, "mel of 80 columns of <f4 here and 80 columns of <f2 there"),
        (only_pitch_first, "mel of 80 columns of <f2 here and none there"),
    ],
)
def test_arrays_of_several_kinds_are_refused(change: Any, said: str, tmp_path: Path) -> None:
    manifest, _, _ = write_corpus(tmp_path / "c", 30, change=change, form="npz")
    assert said in build(manifest, tmp_path / "out", status=2)
    build(manifest, tmp_path / "out", "--fresh", "--features", "pitch")
    dataset = read_dataset(str(tmp_path / "out"))
    assert list(dataset.arrays) == ["f0_hz", "voicing"]


LEXICON = {"label": "positive", "score": 0.4, "positive": 0.3, "neutral": 0.7, "negative": 0.0, "engine": "x"}


def test_emotion_comes_from_scores_else_the_label_else_a_lexicon(tmp_path: Path) -> None:
    def build_with(change: Any) -> tuple[list[dict], Any]:
        manifest, _, _ = write_corpus(tmp_path / "c", 30, change=change)
        build(manifest, tmp_path / "out", "--fresh")
        rows = [row for split in SPLITS for row in table_of(tmp_path / "out", split).to_pylist()]
        return rows, read_dataset(str(tmp_path / "out"))

    def label(_index: int, record: dict, arrays: dict) -> dict:
        record["emotion"] = {"label": "anger", "score": 0.9}
        return arrays

    def lexicon(_index: int, record: dict, arrays: dict) -> dict:
        del record["emotion"]
        record["sentiment"] = LEXICON
        return arrays

    rows, dataset = build_with(label)
    assert {tuple(row["emotion"]) for row in rows} == {tuple(float(name == "anger") for name in LABELS)}
    assert dataset.emotion_names == list(LABELS)
    rows, dataset = build_with(lexicon)
    assert dataset.emotion_names == ["score", "positive", "neutral", "negative"]
    assert all(row["emotion"] == pytest.approx([0.4, 0.3, 0.7, 0.0]) for row in rows)
    assert {row["emotion_label"] for row in rows} == {"positive"}


@pytest.mark.parametrize(
    ("change", "said", "status"),
    [
        ({"emotion": None, "sentiment": LEXICON},
         ":4: found only a lexicon's `sentiment`, while line 1 has `emotion`", 2),
        ({"emotion": {"label": "angry"}}, "line 4, /data/corpus/00003.wav: RowError: found emotion.label", 3),
        ({"emotion": {"label": "joy", "scores": [0.5] * 4}}, "wanted 28 numbers", 3),
        ({"energy_db": "loud"}, "found energy_db 'loud', wanted a number", 3),
        ({"text": ["a"]}, "found text", 3),
    ],
)  # fmt: skip
def test_fields_that_are_not_what_they_should_be_are_named(
    change: dict, said: str, status: int, tmp_path: Path
) -> None:
    def spoil(index: int, record: dict, arrays: dict) -> dict:
        if index >= 3:
            record.update(change)
        return arrays

    manifest, _, _ = write_corpus(tmp_path / "c", 24, change=spoil)
    assert said in build(manifest, tmp_path / "out", status=status)


def test_a_call_that_cannot_be_is_refused(corpus: tuple, tmp_path: Path) -> None:
    for words, said in (
        (["--ratios", 0.5, 0.1, 0.1], "wanted three shares of 1 in all"),
        (["--tokenizer", tmp_path / "nowhere"], "wanted the folder that train_tokenizer.py wrote"),
        (["--features", "mel,pitsch"], "there are mel, mfcc, pitch, energy"),
    ):
        assert said in build(corpus[0], tmp_path / "out", *words, status=2)
    bare = write_records(tmp_path / "bare.json", [{"id": "a", "text": "x"}])
    said = build(bare, tmp_path / "out", "--features", "mel", status=2)
    assert "bare.json:1: found no mel in its features" in said
    lost = write_records(
        tmp_path / "lost.json", [{"id": "a", "text": "x", "features_filepath": "/no/p.parquet#row=1"}]
    )
    said = build(lost, tmp_path / "out", status=2)
    assert "lost.json:1: /no/p.parquet#row=1: [Errno 2] No such file" in said
    twice = write_records(tmp_path / "m.json", [{"id": "a", "text": "x"}] * 2)
    assert "found the id 'a' of line 1 again" in build(twice, tmp_path / "out", status=2)


# ---- the whole way


def test_from_speech_to_rows(tmp_path: Path) -> None:
    import extract_features
    import tag_emotion

    records = []
    for number, (voice, text) in enumerate(itertools.product(("slt", "rms"), SENTENCES)):
        path = tmp_path / f"{number}.wav"
        samples = speak(text, voice)
        write_wav(path, samples)
        audio_s = len(samples) / 16_000
        records.append({"audio_filepath": str(path), "text": text, "speaker": voice, "audio_s": audio_s})
    manifest = write_records(tmp_path / "m.json", records)
    output = ["--output", tmp_path / "features", "--workers", 1]
    run_script(extract_features.main, manifest, "--features", "mel,mfcc,pitch,energy,rate", *output)
    run_script(tag_emotion.main, manifest, "--backend", "lexicon")
    said = build(manifest, tmp_path / "out")
    assert "2 groups of speakers are fewer than 10" in said
    dataset = read_dataset(str(tmp_path / "out"))
    assert list(dataset.arrays) == ["mel", "mfcc", "f0_hz", "voicing", "energy_db"]
    assert dataset.emotion_names == ["score", "positive", "neutral", "negative"]
    made = {record["audio_filepath"]: record for record in map(json.loads, manifest.read_text().splitlines())}
    rows = [row for split in SPLITS for row in table_of(tmp_path / "out", split).to_pylist()]
    assert len(rows) == len(records)
    for row in rows:
        record = made[row["key"]]
        for name, array in read_frames(record["features_filepath"], tuple(dataset.arrays)).items():
            if name in dataset.arrays:
                assert row[name] == array.tobytes()
        assert row["prosody"][0] == pytest.approx(record["f0_median_hz"])
        assert row["frames"] * dataset.hop_s == pytest.approx(record["audio_s"], abs=0.02)
    assert 20 < dataset.statistics["f0_semitones"]["mean"][0] < 45  # 87 to 370 Hz
    assert -120 < dataset.statistics["mel"]["mean"][10] < 0


# ---- others read it


def test_the_lines_of_the_readme_read_the_parts(built: Path, tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(import duckdb.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "output").mkdir()
    (tmp_path / "output/corpus_parquet").symlink_to(built)
    code = block + "print(np.frombuffer(mel, '<f2').reshape(shape).shape == tuple(shape))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr


def test_duckdb_pandas_and_hugging_face_read_the_parts(corpus: tuple, built: Path) -> None:
    import duckdb
    import pandas as pd
    from datasets import load_dataset

    splits = splits_of(built)
    train = {record_key(r): (r, a) for r, a in zip(*corpus[1:]) if splits[record_key(r)] == "train"}
    speakers = defaultdict(int)
    for record, _ in train.values():
        speakers[record["speaker"]] += 1
    query = f"SELECT speaker, count(*), avg(emotion[18]) FROM '{built}/train/*.parquet' GROUP BY speaker"
    found = duckdb.sql(query).fetchall()
    assert {name: count for name, count, _ in found} == speakers
    shape_of = "SELECT key, mel, mel_shape, f0_hz FROM"
    cells = [duckdb.sql(f"{shape_of} '{built}/train/*.parquet'").fetchall()]
    frame = pd.read_parquet(built / "train")
    cells.append(frame[["key", "mel", "mel_shape", "f0_hz"]].itertuples(index=False))
    os.environ["HF_HUB_OFFLINE"] = "1"
    face = load_dataset("parquet", data_dir=str(built), cache_dir=str(built.parent / "cache"))
    assert {name: len(rows) for name, rows in face.items()} == {
        {"valid": "validation"}.get(name, name): split["rows"]
        for name, split in read_dataset(str(built)).splits.items()
    }
    cells.append((row["key"], row["mel"], row["mel_shape"], row["f0_hz"]) for row in face["train"])
    for rows in cells:
        seen = 0
        for key, mel, shape, f0_hz in rows:
            arrays = train[key][1]
            np.testing.assert_array_equal(np.frombuffer(mel, "<f2").reshape(shape), arrays["mel"])
            np.testing.assert_array_equal(np.frombuffer(f0_hz, "<f4"), arrays["f0_hz"])
            seen += 1
        assert seen == len(train)


# ---- moments


@settings(max_examples=50, deadline=None)
@of(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 1000), st.floats(-1e4, 1e4))
def test_moments_of_pieces_are_those_of_the_whole(lengths: list[int], seed: int, offset: float) -> None:
    draw = np.random.default_rng(seed)
    pieces = [draw.normal(offset, 1, (length, 3)) for length in lengths]
    for piece in pieces:
        piece[draw.random(piece.shape) < 0.2] = np.nan
    moments = Moments(3)
    for piece in pieces:
        one = Moments(3)
        one.add(piece)
        moments.join(Moments.from_json(json.loads(json.dumps(one.to_json()))))
    whole = np.concatenate(pieces)
    for column, count in enumerate(moments.figures()["count"]):
        values = whole[:, column][~np.isnan(whole[:, column])]
        assert count == len(values)
        if count:
            assert moments.figures()["mean"][column] == pytest.approx(values.mean(), rel=1e-12, abs=1e-12)
            expected = values.std() or 1.0
            assert moments.figures()["std"][column] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_semitones_count_from_the_lowest_a() -> None:
    np.testing.assert_allclose(semitones(np.array([27.5, 55, 0, 440.0])), [0, 12, np.nan, 48])

"""find_similar.py: exactly the nearest, none that overlaps, from whatever a record has, as any stage runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import find_similar
from amela.manifest import hash_key, record_key
from amela.outputs import write_output
from arrays import read_manifest
from media.frames import store
from networks.nearest import COLUMNS, FEW, QUERIES, Nearest, normalise, standardise
from networks.unit_files import write_pt
from networks.utterances import Utterances
from one_stage import run_batch_file, run_script, write_records
from speech import SENTENCES, speak, write_wav

torch.set_num_threads(1)
CPU = torch.device("cpu")


def brute_force(vectors: np.ndarray, query: int, among: np.ndarray, barred: np.ndarray, k: int) -> tuple:
    """Rows and cosines by sorting all, in float64."""
    cosines = (vectors[among].astype(float) @ vectors[query].astype(float)).clip(-1, 1).round(6)
    order = [at for at in np.lexsort((among, -cosines)) if among[at] not in barred][:k]
    return among[order].tolist(), cosines[order].tolist()


def unit_vectors(rows: int, width: int, *, alike: int = 0) -> np.ndarray:
    """Random vectors of length 1; the last `alike` differ by less than float32 can tell in a cosine."""
    chance = np.random.default_rng(rows + width)
    vectors = chance.standard_normal((rows, width)).astype(np.float32)
    vectors[rows - alike :] = vectors[0] + 1e-4 * chance.standard_normal((alike, width))
    normalise(vectors, np.arange(rows))
    return vectors


@pytest.mark.parametrize(
    ("rows", "width", "k", "alike"),
    [
        (7, 4, 10, 0),  # fewer than are asked for
        (FEW, 16, 5, 50),
        (FEW + 1, 26, 10, 0),
        (COLUMNS - 1, 8, 1, 300),
        (COLUMNS, 78, 10, 400),
        (2 * COLUMNS + 37, 32, 10, 1000),
        (COLUMNS + 700, 13, 300, 20),  # more than a chunk of each
    ],
)
def test_the_nearest_are_exactly_those_of_brute_force(rows: int, width: int, k: int, alike: int) -> None:
    vectors = unit_vectors(rows, width, alike=alike)
    chance = np.random.default_rng(1)
    queries = np.unique([0, rows - 1, *chance.integers(0, rows, 60)])
    barred = [np.append(chance.integers(0, rows, 5), query) for query in queries]
    among = np.sort(chance.choice(rows, rows - rows // 8, replace=False))
    found = Nearest(vectors, CPU).of(queries, among, barred, k)
    for query, bar, (near, cosines) in zip(queries, barred, found, strict=True):
        wanted = brute_force(vectors, query, among, bar, k)
        assert (near.tolist(), cosines.tolist()) == wanted


def test_equal_vectors_come_in_the_order_of_the_rows() -> None:
    vectors = np.zeros((COLUMNS + 100, 5), np.float32)
    vectors[:, 2] = 1
    queries = np.array([3, COLUMNS + 50])
    found = Nearest(vectors, CPU).of(queries, np.arange(len(vectors)), [queries[:1], queries[1:]], 4)
    assert [near.tolist() for near, _ in found] == [[0, 1, 2, 4], [0, 1, 2, 3]]


def test_what_is_found_does_not_depend_on_who_asks_with_it() -> None:
    vectors = unit_vectors(2 * COLUMNS + 500, 39, alike=100)
    rows = np.arange(len(vectors))
    queries = np.arange(0, len(vectors), 7)[: QUERIES + 90]
    together = Nearest(vectors, CPU).of(queries, rows, [np.array([query]) for query in queries], 6)
    for number in (0, 1, QUERIES - 1, QUERIES + 80):
        query = queries[number : number + 1]
        ((near, cosines),) = Nearest(vectors, CPU).of(query, rows, [query], 6)
        assert near.tolist() == together[number][0].tolist()
        assert cosines.tolist() == together[number][1].tolist()


def test_a_constant_dimension_and_a_vector_of_zeros_are_no_neighbours_of_anything() -> None:
    vectors = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    vectors[:, 1] = 7.0
    standardise(vectors, np.arange(50))
    assert np.abs(vectors[:, 1]).max() == 0
    assert np.allclose(vectors.mean(0), 0, atol=1e-6)
    assert np.allclose(vectors[:, [0, 2]].std(0), 1, atol=1e-5)
    vectors[4] = 0
    normalise(vectors, np.arange(50))
    assert not vectors[4].any()
    assert np.allclose(np.linalg.norm(np.delete(vectors, 4, 0), axis=1), 1)


A = "/corpus/a.wav"
FIRST_2_S = {"audio_filepath": A, "offset": 0.0, "duration": 2.0}
OVERLAPS = [  # two records, and whether one may be found for the other
    ({"audio_filepath": A}, {"audio_filepath": "/corpus/b.wav"}, True),
    ({"audio_filepath": A}, {"audio_filepath": A, "offset": 3.0, "duration": 1.0}, False),
    (FIRST_2_S, {"audio_filepath": A, "offset": 1.9, "duration": 1.0}, False),
    (FIRST_2_S, {"audio_filepath": A, "offset": 2.0, "duration": 1.0}, True),
    ({"audio_filepath": A, "channel": 0}, {"audio_filepath": A, "channel": 1}, True),
    ({"audio_filepath": A, "channel": 0}, {"audio_filepath": A}, False),
    ({"id": "call"}, {"id": "clip", "audio_filepath": "/clips/1.wav", "parent": "call"}, False),
    ({"audio_filepath": A}, {"id": "clip", "audio_filepath": "/clips/1.wav", "parent": A}, False),
    (
        {"id": "1", "audio_filepath": "/clips/1.wav", "parent": A},
        {"id": "2", "audio_filepath": "/clips/2.wav", "parent": A},
        True,
    ),
    (
        {"id": "1", "audio_filepath": "/clips/1.wav", "parent": A, "start_s": 0.0, "end_s": 2.0},
        {"id": "2", "audio_filepath": "/clips/2.wav", "parent": A, "start_s": 1.5, "end_s": 4.0},
        False,
    ),
    (
        {"id": "1", "audio_filepath": "/clips/1.wav", "parent": A, "start_s": 0.0, "end_s": 2.0},
        {"id": "2", "audio_filepath": "/clips/2.wav", "parent": A, "start_s": 2.0, "end_s": 4.0},
        True,
    ),
]  # fmt: skip


def known(tmp_path: Path, records: list[dict]) -> Utterances:
    who = Utterances(open(tmp_path / "keys", "w+b"), hash_key)  # noqa: SIM115
    for record in records:
        who.add(record_key(record), record)
    who.finish()
    return who


@pytest.mark.parametrize(("one", "other", "may_meet"), OVERLAPS)
def test_what_shares_sound_is_known_from_both_sides(
    tmp_path: Path, one: dict, other: dict, may_meet: bool
) -> None:
    who = known(tmp_path, [one, {"id": "else"}, other])
    assert (2 not in who.overlapping(0)) is may_meet
    assert (0 not in who.overlapping(2)) is may_meet
    assert 1 not in who.overlapping(0)
    assert 0 in who.overlapping(0)


def test_a_piece_of_a_piece_is_a_part_of_the_whole(tmp_path: Path) -> None:
    records = [
        {"id": "whole", "audio_filepath": A},
        {"id": "clip", "audio_filepath": "/clips/1.wav", "parent": "whole"},
        {"id": "word", "audio_filepath": "/words/1.wav", "parent": "clip"},
        {"id": "other", "audio_filepath": "/clips/2.wav", "parent": "whole"},
    ]
    who = known(tmp_path, records)
    assert set(who.overlapping(2)) == {0, 1, 2}
    assert set(who.overlapping(0)) == {0, 1, 2, 3}
    assert [who.key(row) for row in range(4)] == ["whole", "clip", "word", "other"]


# The stage.


def similar(manifest: Path, *words: object, status: int = 0) -> str:
    return run_script(find_similar.main, manifest, *words, status=status)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """Two speakers who say the same sentences; a window of one recording, a damaged file, one of no name."""
    folder = tmp_path_factory.mktemp("corpus")
    records = []
    for speaker in ("slt", "rms"):
        for number, sentence in enumerate(SENTENCES * 2):
            samples = speak(sentence if number < len(SENTENCES) else f"{sentence} And so on.", speaker)
            path = write_wav(folder / speaker / f"{number}.wav", samples)
            records.append(
                {"audio_filepath": str(path), "duration": len(samples) / 16_000, "speaker": speaker}
            )
    records.append({**records[0], "offset": 0.2, "duration": 1.0})
    (folder / "bad.wav").write_bytes(b"RIFF")
    records.append({"audio_filepath": str(folder / "bad.wav"), "duration": 1.0, "speaker": "slt"})
    records.append({"audio_filepath": records[3]["audio_filepath"], "channel": 0, "id": "nobody"})
    return records


def test_each_finds_its_speaker_and_a_bad_one_nothing(corpus: list[dict], tmp_path: Path) -> None:
    manifest = write_records(tmp_path / "m.json", corpus)
    said = similar(manifest, "--top-k", 3, "--max-error-rate", 0.5)
    assert "no `speaker` in the record, wanted it (manifest_tools.py join) or --within corpus" in said
    assert "cannot be decoded" in said or "bad.wav" in said
    whose = {record_key(record): record.get("speaker") for record in corpus}
    for record in read_manifest(manifest)[:13]:
        found = record["similar"]
        assert [whose[one["key"]] for one in found] == [record["speaker"]] * 3
        assert all(not one["key"].startswith(record["audio_filepath"]) for one in found)
        assert sorted((one["score"] for one in found), reverse=True) == [one["score"] for one in found]
    assert all("similar" not in record for record in read_manifest(manifest)[13:])
    assert not list(tmp_path.glob("tmp*"))


def test_a_sentence_said_again_is_the_nearest(corpus: list[dict], tmp_path: Path) -> None:
    copies = []
    for number, record in enumerate(corpus[:6]):
        path = shutil.copy(record["audio_filepath"], tmp_path / f"{number}.wav")
        copies.append({**record, "id": f"copy of {number}", "audio_filepath": str(path)})
    manifest = write_records(tmp_path / "m.json", corpus[:12] + copies)
    similar(manifest, "--top-k", 1, "--within", "corpus")
    nearest = [record["similar"][0] for record in read_manifest(manifest)]
    assert [one["key"] for one in nearest[:6]] == [record["id"] for record in copies]
    assert all(one["score"] == 1.0 for one in nearest[:6] + nearest[12:])


def test_an_array_and_its_merge_give_the_bytes_of_one_process(corpus: list[dict], checkout: Path) -> None:
    one, many = (
        write_records(checkout / "metadata" / name, corpus[:13]) for name in ("one.json", "many.json")
    )
    similar(one)
    run_batch_file(checkout, "similar", many, "similar")
    assert one.read_bytes() == many.read_bytes()
    before = many.read_bytes()
    similar(many)  # nothing is left to do
    assert many.read_bytes() == before


def test_one_record_is_shown_and_nothing_written(corpus: list[dict], tmp_path: Path) -> None:
    manifest = write_records(tmp_path / "m.json", corpus[:12])
    before = manifest.read_bytes()
    shown = json.loads(similar(manifest, "--only", corpus[2]["audio_filepath"], "--top-k", 2))
    assert len(shown["similar"]) == 2
    assert manifest.read_bytes() == before


def test_a_corpus_without_speakers_is_a_wrong_call(corpus: list[dict], tmp_path: Path) -> None:
    nobody = [{name: value for name, value in record.items() if name != "speaker"} for record in corpus[:4]]
    said = similar(write_records(tmp_path / "m.json", nobody), status=2)
    assert "no record has a `speaker`; wanted it (manifest_tools.py join), or --within corpus" in said


def test_a_lonely_speaker_has_no_neighbours(corpus: list[dict], tmp_path: Path) -> None:
    manifest = write_records(tmp_path / "m.json", [*corpus[:4], {**corpus[6], "speaker": "alone"}])
    similar(manifest, "--limit", 9)
    assert [len(record["similar"]) for record in read_manifest(manifest)] == [3, 3, 3, 3, 0]


# What vectors are made of.

CHANCE = np.random.default_rng(5)
EMBEDDINGS = {
    "codes": CHANCE.standard_normal((2, 20, 6)).astype(np.float32),
    "units": CHANCE.standard_normal((20, 6)).astype(np.float32),
}


def with_arrays(folder: Path, source: str, rows: int = 9) -> tuple[list[dict], np.ndarray]:
    """Records with arrays of a source, and what their vectors are before they get length 1."""
    items, vectors = [], []
    for row in range(rows):
        frames = int(CHANCE.integers(5, 30))
        codes = CHANCE.integers(0, 20, (frames, 2)).astype(np.int16)
        floats = CHANCE.standard_normal((frames, 13)).astype(np.float16)
        levels, mean = EMBEDDINGS["codes"], floats.astype(float).mean(0)
        arrays, vector = {
            "codes": ({"codes": codes}, (levels[0][codes[:, 0]] + levels[1][codes[:, 1]]).sum(0)),
            "units": ({"units": codes[:, 0]}, EMBEDDINGS["units"][codes[:, 0]].sum(0)),
            "embedding": ({"embedding": floats}, mean),
            "features": ({"mfcc": floats, "f0_hz": floats[:, 0]}, np.r_[mean, floats.astype(float).std(0)]),
        }[source]
        items.append((f"r{row}", {"id": f"r{row}"}, arrays, {"hop_s": 0.01}))
        vectors.append(vector)
    records = [{"id": item[0], "speaker": "s"} for item in items]
    if source == "units":
        for record, item in zip(records, items):
            record["units_filepath"] = str(folder / f"{record['id']}.pt")
            with open(record["units_filepath"], "wb") as file:
                write_pt(file, item[2]["units"])
    else:
        for record, path in zip(records, store(items, str(folder), "parquet", str, write_output)):
            record[f"{source}_filepath"] = path
    return records, np.array(vectors)


@pytest.mark.parametrize("source", ["features", "embedding", "units", "codes"])
def test_scores_are_the_cosines_of_what_a_source_means(tmp_path: Path, source: str) -> None:
    records, vectors = with_arrays(tmp_path, source)
    flags = [] if source == "features" else ["--by", source]
    if source in EMBEDDINGS:
        np.save(tmp_path / "table.npy", EMBEDDINGS[source])
        flags += ["--table", tmp_path / "table.npy"]
    manifest = write_records(tmp_path / "m.json", records)
    similar(manifest, *flags, "--top-k", 100)
    if source == "features":
        vectors = (vectors - vectors.mean(0)) / vectors.std(0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T
    for row, record in enumerate(read_manifest(manifest)):
        assert len(record["similar"]) == len(records) - 1
        for one in record["similar"]:
            assert one["score"] == pytest.approx(cosines[row, int(one["key"][1:])], abs=3e-6)


def test_a_table_is_found_in_a_model_by_its_name_or_that_of_a_known_codec(tmp_path: Path) -> None:
    from networks.tables import read_table

    codec = {
        f"quantizer.layers.{level}.codebook.embed": torch.full((4, 3), float(level)) for level in range(11)
    }
    torch.save({"model": {**codec, "embedding.weight": torch.eye(5)}}, tmp_path / "best.pt")
    assert read_table(f"{tmp_path}/best.pt:model.embedding.weight").tolist() == [np.eye(5).tolist()]
    assert read_table(str(tmp_path / "best.pt"))[:, 0, 0].tolist() == list(range(11))
    np.savez(tmp_path / "units.npz", centers=np.eye(3), counts=np.ones(3))
    assert read_table(str(tmp_path / "units.npz")).shape == (1, 3, 3)


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--by", "units"], "--table belongs to"),
        (["--table", "no.npy"], "--table belongs to"),
        (["--by", "units", "--table", "no.npy"], "no such file"),
        (["--by", "units", "--table", "words.pt:lm.weight"], "no tensor is named lm.weight"),
        (["--by", "codes", "--table", "bad.npy"], "wanted an array"),
        (["--by", "embedding"], "no record gives a vector"),
    ],
)
def test_a_wrong_call_is_one_sentence(tmp_path: Path, flags: list[str], what: str) -> None:
    torch.save({"words": torch.eye(3)}, tmp_path / "words.pt")
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    manifest = write_records(tmp_path / "m.json", [{"id": "a", "speaker": "s"}])
    flags = [str(tmp_path / word) if ".npy" in word or ".pt" in word else word for word in flags]
    said = similar(manifest, *flags, status=2)
    assert what in said
    assert "Traceback" not in said


def test_codes_that_a_table_lacks_are_an_error_record(tmp_path: Path) -> None:
    records, _ = with_arrays(tmp_path, "codes")
    np.save(tmp_path / "table.npy", EMBEDDINGS["codes"][:, :12])
    said = similar(
        write_records(tmp_path / "m.json", records),
        "--by",
        "codes",
        "--table",
        tmp_path / "table.npy",
        status=2,
    )
    assert "wanted 0 to 11, as the table has rows" in said

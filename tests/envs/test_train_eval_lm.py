"""eval_lm.py: figures against a slow definition and the run's own validation, pairs, files, bad input."""

from __future__ import annotations

import csv
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_language as toy
import training_runs as runs

from media import packed_units, units
from networks import ngram, surprisal, systems, unit_lm
from networks.surprisal import Tally

CUT = 50  # of the test's runs: the corpus has longer files


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a corpus, an LSTM run and a GPT-2 run on it."""
    folder = tmp_path_factory.mktemp("corpus")
    runs.write_corpus(folder, 60)
    for arch in ("lstm", "gpt2"):
        runs.train(folder, "--num-epochs", "3", "--arch", arch, "--dataset", arch, "--max-units", str(CUT))
    return folder


@pytest.fixture
def corpus(made: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may spoil; the runs still know their units where they were made."""
    return Path(shutil.copytree(made, tmp_path / "corpus"))


def run_of(folder: Path, arch: str) -> Path:
    (path,) = folder.glob(f"checkpoints/*/{arch}_s42")
    return path


def evaluate(folder: Path, *words: object, ok: int = 0) -> subprocess.CompletedProcess[str]:
    """Run eval_lm.py in a folder; it must end with the status `ok`."""
    command = [sys.executable, str(runs.SCRIPTS / "eval_lm.py"), *map(str, words)]
    done = subprocess.run(command, cwd=folder, env=runs.environment(), capture_output=True, text=True)
    assert done.returncode == ok, f"{done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    assert "Traceback" not in done.stderr
    return done


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with open(folder / "output" / name, newline="") as file:
        return list(csv.DictReader(file))


def files_of(folder: Path, arch: str, split: str) -> list[np.ndarray]:
    """Return the units of the files that a run trained or validated on."""
    lines = (run_of(folder, arch) / "files.json").read_text().splitlines()
    return [units.read(file["units_filepath"]).astype(int) for file in map(json.loads, lines)
            if file["split"] == split]  # fmt: skip


def pieces_of(files: list[np.ndarray]) -> list[np.ndarray]:
    return [file[start : start + CUT] for file in files for start in range(0, len(file), CUT)]


def test_runs_side_by_side_with_their_own_validation_loss(made: Path) -> None:
    done = evaluate(made, run_of(made, "lstm"), run_of(made, "gpt2") / "best.pt", "--hop-s", "0.02")
    rows = table(made, "lstm_s42_lm.csv")
    assert [row["model"] for row in rows] == ["lstm", "1-gram", "5-gram", "gpt2", "1-gram", "5-gram"]
    for arch in ("lstm", "gpt2"):
        (row,) = [row for row in rows if row["model"] == arch]
        best = json.loads((run_of(made, arch) / "done.json").read_text())
        assert float(row["nats_per_unit"]) == pytest.approx(best["best_loss"], abs=1e-5)
        assert float(row["bits_per_s"]) == pytest.approx(best["best_loss"] / math.log(2) / 0.02, rel=1e-5)
        assert f"{float(row['perplexity']):.4f}" in done.stdout
    assert "are read in pieces" in done.stdout
    stored = json.loads((made / "output" / "lstm_s42_lm.json").read_text())
    assert [f"{row['perplexity_new']}" for row in stored] == [row["perplexity_new"] for row in rows]


def slow_chances(model: torch.nn.Module, piece: np.ndarray) -> np.ndarray:
    """Return log-probabilities of all units at each place, a step at a time."""
    state, before, found = None, model.start_symbol, []
    for unit in piece:
        with torch.no_grad():
            logits, state = model.step(torch.tensor([before]), state)
        found.append(torch.log_softmax(logits[0].double(), -1).numpy())
        before = int(unit)
    return np.array(found)


@pytest.mark.parametrize("arch", ["lstm", "gpt2"])
def test_figures_are_those_of_the_definition(made: Path, arch: str) -> None:
    """Step by step: nats, at changes, and which unit comes given that another one comes."""
    evaluate(made, run_of(made, arch), "--ngram", "--name", f"slow-{arch}")
    (row,) = table(made, f"slow-{arch}_lm.csv")
    model, _ = unit_lm.load(str(run_of(made, arch) / "best.pt"))
    nats, changes, new, same = [], [], [], 0
    for piece in pieces_of(files_of(made, arch, "valid")):
        chances = slow_chances(model, piece)
        nats += list(-chances[np.arange(len(piece)), piece])
        for at in range(1, len(piece)):
            if piece[at] == piece[at - 1]:
                same += 1
                continue
            changes.append(-chances[at, piece[at]])
            new.append(changes[-1] + math.log(1 - math.exp(chances[at, piece[at - 1]])))
    assert row["bits_per_s"] == "nan"
    for name, wanted in [("nats_per_unit", np.mean(nats)), ("perplexity", np.exp(np.mean(nats))),
                         ("perplexity_changes", np.exp(np.mean(changes))),
                         ("perplexity_new", np.exp(np.mean(new))),
                         ("repetitions", same / (same + len(changes))), ("units", len(nats))]:  # fmt: skip
        assert float(row[name]) == pytest.approx(wanted, rel=1e-5), name


def test_n_grams_are_those_of_the_training_files(made: Path) -> None:
    evaluate(made, run_of(made, "lstm"), "--ngram", "3", "--name", "three", "--arpa")
    row = table(made, "three_lm.csv")[1]
    model = ngram.fit(files_of(made, "lstm", "train"), runs.UNITS, 3)
    pieces = pieces_of(files_of(made, "lstm", "valid"))
    wanted = -sum(model.score(piece).sum() for piece in pieces) / sum(map(len, pieces))
    assert float(row["nats_per_unit"]) == pytest.approx(wanted, abs=1e-9)
    (path,) = (made / "output").glob("three_*_3-gram.arpa")
    assert f"ngram 3={len(model.tables[2].keys)}" in path.read_text()


@pytest.mark.parametrize("arch", ["lstm", "gpt2"])
def test_a_batch_changes_nothing(made: Path, arch: str) -> None:
    """Alone or in company, each unit has the same log-probability within 1e-6 nats."""
    model, config = unit_lm.load(str(run_of(made, arch) / "best.pt"))
    pieces = systems.pieces_of([str(path) for path in sorted(made.glob("units/*.pt"))], runs.UNITS, CUT)
    together = {
        scored.piece: scored for scored in surprisal.by_network(model, config["vocab_size"], pieces, "cpu")
    }
    assert sorted(together) == list(range(len(pieces.lengths)))
    for number, (file, start) in enumerate(pieces.pieces):
        alone = systems.Units([0], np.array([pieces.lengths[number]]), 0, lambda _, n=number: pieces[n])
        (scored,) = surprisal.by_network(model, config["vocab_size"], alone, "cpu")
        assert (scored.units == together[number].units).all(), (file, start)
        assert scored.own == pytest.approx(together[number].own, abs=1e-6)
        assert scored.again[1:] == pytest.approx(together[number].again[1:], abs=1e-6)


def test_a_folder_and_a_manifest_are_scored_file_by_file(corpus: Path) -> None:
    torch.save(torch.zeros(0, dtype=torch.int16), corpus / "units" / "talk3.pt")
    (corpus / "units" / "settings.json").write_text(json.dumps({"vocabulary": runs.UNITS, "hop_s": 0.02}))
    run = run_of(corpus, "lstm")
    done = evaluate(corpus, run, "--tokens-dir", "units", "--scores")
    assert "1 of 60 files have no unit and are left out: talk3" in done.stdout
    by_folder = {(row["model"], row["id"]): row for row in table(corpus, "units_lm_scores.csv")}
    assert len(by_folder) == 3 * 59
    (total,) = [row for row in table(corpus, "units_lm.csv") if row["model"] == "5-gram"]
    own = [row for (model, _), row in by_folder.items() if model == "5-gram"]
    nats = -sum(float(row["sum"]) for row in own) / sum(int(row["units"]) for row in own)
    assert float(total["nats_per_unit"]) == pytest.approx(nats)
    assert float(total["bits_per_s"]) == pytest.approx(nats / math.log(2) / 0.02)
    evaluate(corpus, run, "--manifest", "corpus.json", "--tokens-dir", "units", "--scores")
    for row in table(corpus, "corpus_lm_scores.csv"):
        other = by_folder[row["model"], Path(row["id"]).stem]
        assert (row["sum"], row["units"]) == (other["sum"], other["units"])
        assert float(row["mean"]) == pytest.approx(float(row["sum"]) / int(row["units"]))


def test_deduplicated_units_have_no_bits_a_second(corpus: Path) -> None:
    settings = {"vocabulary": runs.UNITS, "hop_s": 0.02, "dedup": True}
    (corpus / "units" / "settings.json").write_text(json.dumps(settings))
    done = evaluate(corpus, run_of(corpus, "lstm"), "--tokens-dir", "units")
    assert "no bits a second" in done.stdout
    assert {row["bits_per_s"] for row in table(corpus, "units_lm.csv")} == {"nan"}


def test_tallies_of_nothing_are_not_numbers() -> None:
    found = systems.figures([Tally()], 0.02)
    assert all(math.isnan(found[name]) for name in ("nats_per_unit", "perplexity_new", "repetitions"))


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run on the toy language, and word and sentence pairs of it."""
    folder = tmp_path_factory.mktemp("toy")
    language = toy.write_corpus(folder, 40, 0)
    toy.write_word_pairs(folder / "lexical", language, 0)
    toy.write_sentence_pairs(folder / "syntactic", language, 0, count=5)
    runs.train(folder, "--num-epochs", "1", "--vocab-size", str(toy.PHONES), "--dataset", "lstm")
    return folder


def test_pairs_are_scored_by_sum_and_mean_and_handed_in(spoken: Path) -> None:
    done = evaluate(spoken, run_of(spoken, "lstm"), "--pairs", "lexical/dev", "--tokens-dir", "lexical/units")
    assert "babyslm-lexical, 192 pairs, 192 of them with units, 0 problems" in done.stdout
    pairs = table(spoken, "lexical_dev_pairs.csv")
    assert len(pairs) == 3 * 192
    for row in pairs:
        for pooling in ("sum", "mean"):
            right, wrong = float(row[f"right_{pooling}"]), float(row[f"wrong_{pooling}"])
            assert float(row[f"score_{pooling}"]) == (0.5 if right == wrong else right > wrong)
    groups = {
        (row["model"], row["by"], row["value"]): row for row in table(spoken, "lexical_dev_pairs_scores.csv")
    }
    five = [float(row["score_sum"]) for row in pairs if row["model"] == "5-gram"]
    # each word has as many non-words and voices as any other here: the mean of means is the mean
    assert float(groups["5-gram", "all", ""]["sum"]) == pytest.approx(np.mean(five))
    assert float(groups["5-gram", "all", ""]["sum"]) > 0.7
    assert {"1-4", "5-19", "20-99"} == {key[2] for key in groups if key[1] == "frequency"}
    (path,) = (spoken / "output" / "lexical_dev_pairs").glob("*_5-gram_mean/lexical/dev.txt")
    handed = dict(line.split(" ") for line in path.read_text().splitlines())
    names = {row["right"] for row in pairs} | {row["wrong"] for row in pairs}
    assert handed.keys() == names
    model = ngram.fit(files_of(spoken, "lstm", "train"), toy.PHONES)
    for name in sorted(names)[:5]:
        chances = model.score(torch.load(spoken / "lexical" / "units" / f"{name}.pt").numpy())
        assert float(handed[name]) == pytest.approx(chances.mean())


def test_sentence_pairs_go_by_type(spoken: Path) -> None:
    where = ["--pairs", "syntactic/dev/gold.csv", "--tokens-dir", "syntactic/units"]
    more = ["--format", "babyslm-syntactic", "--name", "s", "--ngram", "2"]
    evaluate(spoken, run_of(spoken, "lstm"), *where, *more)
    groups = [
        (row["model"], row["by"], row["value"], row["n"]) for row in table(spoken, "s_pairs_scores.csv")
    ]
    assert ("2-gram", "all", "", "10") in groups
    assert ("lstm", "type", "agreement", "5") in groups
    assert list((spoken / "output" / "s_pairs").glob("*_lstm_sum/syntactic/dev.txt"))


def test_missing_and_empty_members_are_named_and_counted(spoken: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(spoken, tmp_path / "toy"))
    (folder / "lexical" / "units" / "p0-1-v1.pt").unlink()
    torch.save(torch.zeros(0, dtype=torch.int16), folder / "lexical" / "units" / "p3-0-v2.pt")
    gold = folder / "lexical" / "dev" / "gold.csv"
    lines = gold.read_text().splitlines()
    assert lines[-1].startswith("95,p95-0-v2")
    gold.write_text("\n".join(lines[:-1]) + "\n")
    words = [run_of(folder, "lstm"), "--pairs", "lexical/dev", "--tokens-dir", "lexical/units"]
    told = evaluate(folder, *words, ok=2).stderr
    for part in ("no units for p0-1-v1", "no units for p3-0-v2", "95 v2: found 1 correct and 0 incorrect"):
        assert part in told
    assert "--skip-missing" in told
    done = evaluate(folder, *words, "--skip-missing")
    assert "191 pairs, 189 of them with units, 3 problems" in done.stdout
    rows = table(folder, "lexical_dev_pairs.csv")
    assert [row["error"] for row in rows if row["error"]] == [
        "95 v2: found 1 correct and 0 incorrect", "no units for p0-1-v1", "no units for p3-0-v2"
    ]  # fmt: skip
    assert len(rows) == 3 * 189 + 3


def test_bad_calls_and_bad_files_are_named(corpus: Path) -> None:
    run = run_of(corpus, "lstm")
    (corpus / "gold.csv").write_text("id,filename,voice\n1,a,b\n")
    (corpus / "no").mkdir()
    for words, said in [
        (["nowhere"], "nowhere: no such file; wanted the folder of a run"),
        ([corpus / "corpus.json"], "files.json: no such file"),
        ([run, "--manifest", "corpus.json"], "--tokens-dir"),
        ([run, "--pairs", "gold.csv"], "lexical pairs want frequency, word, phones, length, correct"),
        ([run, "--pairs", "none.csv"], "none.csv"),
        ([run, "--tokens-dir", "no"], "found no units in it"),
        ([run, "--format", "sblimp"], "--pairs"),
    ]:
        assert said in evaluate(corpus, *words, ok=2).stderr
    torch.save(torch.tensor([1, runs.UNITS]), corpus / "units" / "talk5.pt")
    told = evaluate(corpus, run, "--tokens-dir", "units", ok=2).stderr
    assert "talk5.pt: found units 1 to 12, wanted 0 to 11" in told
    (corpus / "units" / "talk5.pt").unlink()
    told = evaluate(corpus, run, "--tokens-dir", "units", "--manifest", "corpus.json", ok=2).stderr
    assert "no units for 1 of 60 records (/data/talk5.wav)" in told
    with pytest.raises(units.UnitsError, match=r"gone\.pt: No such file"):
        packed_units.pack([str(corpus / "gone.pt")], str(corpus), open)
    files = run / "files.json"
    lines = files.read_text()
    files.write_text(lines.replace("train", "valid", 1))
    assert "not the files that" in evaluate(corpus, run, ok=2).stderr
    files.write_text(lines)
    path = run / "best.pt"
    path.write_bytes(path.read_bytes()[:-200])
    assert "found no whole checkpoint" in evaluate(corpus, run, ok=2).stderr
    torch.save(torch.tensor([1]), path)
    assert "found no model with its config" in evaluate(corpus, run, ok=2).stderr

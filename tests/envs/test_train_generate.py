"""generate.py: a sample depends on model, setting, number and seed alone, whatever is drawn beside it."""

from __future__ import annotations

import csv
import itertools
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import training_runs as runs

from amela.merge import merge
from arrays import do_harm, run_array
from networks import sampling, unit_lm

sys.path.insert(0, str(runs.SCRIPTS))

import generate
import networks.encoder  # noqa: F401 (loaded once: tasks are forks)

ROUNDS = int(os.environ.get("AMELA_ROUNDS", "200")) // 40
JOBS = itertools.count(7000)
K = runs.UNITS
CPU = torch.device("cpu")
FEW = shlex.split("--temperature 0.8 0 --top-k 5 none --top-p 0.9 --samples 3 --max-length 40 --device cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a short run of an LSTM, one of a GPT-2 with 64 positions, and their units."""
    folder = tmp_path_factory.mktemp("trained")
    runs.write_corpus(folder, 40)
    runs.train(folder, "--num-epochs", "2")
    runs.train(folder, "--num-epochs", "1", "--arch", "gpt2", "--max-units", "64")
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of it, which is the working folder."""
    monkeypatch.chdir(shutil.copytree(trained, tmp_path / "here"))
    return Path.cwd()


def run_of(here: Path, arch: str = "lstm") -> Path:
    (path,) = here.glob(f"checkpoints/{arch}_*/corpus_s42")
    return path.relative_to(here)


def generate_py(*words: object, ok: int = 0) -> str:
    command = [sys.executable, str(runs.SCRIPTS / "generate.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=runs.environment())
    assert done.returncode == ok, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout + done.stderr


def files_of(folder: Path) -> dict[str, bytes]:
    """The bytes of all files that have their final name, but for the log's times."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*"))
             if path.is_file() and not path.name.startswith(".")}  # fmt: skip
    for row in log_of(folder) if "generation_log.csv" in found else []:
        found["generation_log.csv"] = found["generation_log.csv"].replace(row["timestamp"].encode(), b"")
    return found


def log_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "generation_log.csv", newline="") as file:
        return list(csv.DictReader(file))


def model_of(arch: str, vocabulary: int = 50) -> torch.nn.Module:
    torch.manual_seed(3)
    config = {"arch": arch, "vocab_size": vocabulary, "hidden_size": 48, "num_layers": 2, "dropout": 0.1,
              "embedding_dim": 24, "max_units": 64}  # fmt: skip
    model = unit_lm.build(config).eval()
    for weight in model.parameters():  # far from uniform
        weight.data.mul_(4)
    return model


def sample(name: str, number: int = 1, **fields: object) -> sampling.Sample:
    given = {"temperature": 1.0, "top_k": None, "top_p": None, "max_length": 30, "seed": 1, "prompt": None}
    return sampling.Sample(name, number, **{**given, **fields})


def test_the_default_grid_is_that_of_amela(here: Path) -> None:
    said = generate_py(run_of(here), "--max-length", 20)
    (folder,) = (here / "output").iterdir()
    assert folder.name == f"corpus_s42_{run_of(here).parent.name}_generated"
    names = {f"temp{t}_topk{k}_topp{p}_{n:05}" for t in ("0.8", "1.0", "1.2") for k in (50, 100, "none")
             for p in (0.9, 0.95, "none") for n in range(1, 6)}  # fmt: skip
    assert {path.stem for path in (folder / "tokens").glob("*.pt")} == names
    rows = log_of(folder)
    assert list(rows[0])[:9] == ["sample_id", "temperature", "top_k", "top_p", "max_length", "actual_length",
                                 "has_internal_sos", "token_file", "timestamp"]  # fmt: skip
    assert {row["sample_id"] for row in rows} == names
    for row in rows:
        units = torch.load(row["token_file"], weights_only=True)
        assert (units.dtype, units.dim(), len(units)) == (torch.int16, 1, 20)
        assert row["actual_length"] == "20"
        assert row["has_internal_sos"] == "false"
        assert 0 <= int(units.min()) <= int(units.max()) < K
    figures = json.loads((folder / "generation_report.json").read_text())["figures"]
    assert len(figures) == 1 + 27 + 2
    assert figures["all"]["units"] == 135 * 20
    assert "training units" in said


@pytest.mark.parametrize("arch", ["lstm", "gpt2"])
def test_a_sample_is_the_same_whatever_is_drawn_beside_it(arch: str) -> None:
    model = model_of(arch)
    asked = [
        sample(f"temp{t}_{n:05}", n, temperature=t, top_k=k, max_length=20 + n, prompt=prompt)
        for t, k, prompt in ((0.7, None, None), (1.0, 9, [3, 4, 5]), (1.5, None, [1]))
        for n in range(1, 12)
    ]
    together = sampling.draw(model, asked, CPU)
    for shuffled in ([[one] for one in asked], [asked[::-1]], [asked[::3], asked[1::3], asked[2::3]]):
        for batch in shuffled:
            for one, drawn in zip(batch, sampling.draw(model, batch, CPU)):
                before = together[asked.index(one)]
                assert np.array_equal(drawn.units, before.units)
                assert drawn.mean_log_probability == before.mean_log_probability
    assert len({drawn.units.tobytes() for drawn in together}) == len(asked)


def test_each_sample_has_a_stream_of_its_own_and_longer_ones_begin_alike() -> None:
    asked = [sample(f"temp{t}_{n:05}", n, seed=seed) for t in (0.8, 1.0) for n in (1, 2) for seed in (1, 2)]
    assert len({one.draws().tobytes() for one in asked}) == len(asked)
    assert np.array_equal(asked[0]._replace(max_length=99).draws()[:30], asked[0].draws())


def test_settings_asked_for_alone_give_the_same_files(here: Path) -> None:
    generate_py(run_of(here), "output/all", *FEW)
    generate_py(run_of(here), "output/some", *FEW, "--top-k", "none", "--samples", 2, "--batch-size", 1)
    every, some = files_of(here / "output/all/tokens"), files_of(here / "output/some/tokens")
    assert len(every) == 3 * 2 + 1 + 1  # temperature 0 says one thing only; settings.json
    assert len(some) == 2 + 1 + 1
    assert some.items() <= every.items()
    other = files_of_seed(here, 7)
    assert all(other[name] != every[name] for name in other if name.startswith("temp0.8"))


def files_of_seed(here: Path, seed: int) -> dict[str, bytes]:
    generate_py(run_of(here), f"output/seed{seed}", *FEW, "--seed", seed)
    return files_of(here / f"output/seed{seed}/tokens")


@pytest.mark.parametrize("arch", ["lstm", "gpt2"])
def test_temperature_0_takes_the_likeliest_unit_and_a_prompt_is_kept(arch: str) -> None:
    model = model_of(arch)
    prompt = [7, 7, 9]
    (drawn,) = sampling.draw(model, [sample("x", temperature=0.0, max_length=12, prompt=prompt)], CPU)
    units, state, told = [50], None, []
    with torch.no_grad():
        for step in range(12):
            logits, state = model.step(torch.tensor(units[-1:]), state)
            best = int(logits[0, :50].argmax())
            units.append(prompt[step] if step < 3 else best)
            told.append(float(logits[0].log_softmax(0)[units[-1]]))
    assert drawn.units.tolist() == units[1:]
    assert drawn.mean_log_probability == pytest.approx(np.mean(told[3:]), abs=1e-5)


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, None, None), (0.5, None, None), (2.0, 3, None), (1.0, None, 0.6), (1.3, 4, 0.7), (1.0, 1, None)],
)
def test_units_are_drawn_as_often_as_the_setting_says(temperature: float, top_k: int, top_p: float) -> None:
    """Against shares worked out by hand: temperature, then the k likeliest, then those that reach p."""
    logits = np.array([1.0, 2.5, 0.0, 2.0, -1.0, 1.5])
    order = np.argsort(-logits)[: top_k or 6]
    shares = np.exp(logits[order] / temperature) / np.exp(logits[order] / temperature).sum()
    kept = int(np.searchsorted(np.cumsum(shares), top_p) + 1) if top_p else len(shares)
    wanted = np.zeros(6)
    wanted[order[:kept]] = shares[:kept] / shares[:kept].sum()
    one = sample("x", temperature=temperature, top_k=top_k, top_p=top_p)
    choose = sampling._Chooser(dict.fromkeys(range(sampling.ROWS), one), 6, CPU)
    with_start = torch.tensor(
        [*logits, 99.0], dtype=torch.float64
    )  # the start symbol is likeliest, and never drawn
    draws = ((torch.arange(4096, dtype=torch.float64) + 0.5) / 4096).view(-1, sampling.ROWS)
    units = torch.cat([choose(with_start.expand(sampling.ROWS, 7), row) for row in draws])
    found = np.bincount(units.numpy(), minlength=6) / len(units)
    assert np.allclose(found, wanted, atol=2e-3)
    assert (found[wanted == 0] == 0).all()


def test_prompts_come_from_numbers_a_file_or_a_manifest(here: Path) -> None:
    flags = ["--temperature", 1, "--top-k", "none", "--top-p", "none", "--samples", 2, "--max-length", 30]
    generate_py(run_of(here), "output/numbers", *flags, "--prompt-units", "1,2", 3)
    torch.save(torch.tensor([1, 2, 3], dtype=torch.int16), "prompt.pt")
    generate_py(run_of(here), "output/file", *flags, "--prompt_units", "prompt.pt")
    assert files_of(here / "output/numbers/tokens") == files_of(here / "output/file/tokens")
    assert torch.load(log_of(here / "output/file")[0]["token_file"])[:3].tolist() == [1, 2, 3]
    assert log_of(here / "output/file")[0]["prompt"] == "1 2 3"
    units = sorted((here / "units").glob("*.pt"), key=lambda path: -path.stat().st_size)[:2]
    lines = [json.dumps({"id": path.stem, "units_filepath": str(path)}) + "\n" for path in units]
    (here / "some.json").write_text("".join(lines))
    generate_py(run_of(here), "output/parts", *flags, "--prompts", "some.json", "--prompt-s", 0.2)
    for path in units:
        begins = torch.load(path)[:10]
        made = [
            torch.load(here / f"output/parts/tokens/{path.stem}/temp1.0_topknone_toppnone_0000{n}.pt")
            for n in (1, 2)
        ]
        assert all(torch.equal(one[:10], begins) for one in made)
        assert not torch.equal(*made)


def test_the_list_grows_and_is_never_altered(here: Path) -> None:
    run = run_of(here)
    generate_py(run, "output/x", *FEW, "--temperature", 0.8, "--samples", 1)
    before = files_of(here / "output/x/tokens")
    generate_py(run, "output/x", *FEW)
    assert before.items() <= files_of(here / "output/x/tokens").items()
    generate_py(run, "output/y", *FEW)
    x, y = files_of(here / "output/x"), files_of(here / "output/y")
    rows = [
        sorted(files.pop("generation_log.csv").replace(b"output/y", b"output/x").splitlines())
        for files in (x, y)
    ]
    assert rows[0] == rows[1]
    assert x == y
    said = generate_py(run, "output/x", *FEW, "--seed", 7, ok=2)
    assert "is there with seed 42, wanted 7: give another OUTPUT_DIR" in said
    (here / "metadata/z.json").write_text('{"id": "a recording"}\n')
    assert "metadata/z.json: holds no samples" in generate_py(run, "output/z", *FEW, ok=2)
    (here / "a/output").mkdir(parents=True)
    assert "has its name" in generate_py(run, "here/here", *FEW, ok=2)


def test_bad_calls_say_what_was_found_and_wanted(here: Path) -> None:
    run, gpt2 = run_of(here), run_of(here, "gpt2")
    for words, told in (
        (["nowhere"], "nowhere: no such run; wanted a run folder of train_lstm.py"),
        (["units"], "no config.json in units"),
        ([run, "--prompt-units", K], f"--prompt-units: found unit {K}, wanted 0 to {K - 1}"),
        ([run, "--prompt-units", "a"], "found 'a', wanted numbers or one .pt file"),
        ([run, "--prompt-units", "none.pt"], "none.pt: no such file"),
        ([run, "--prompt-units", 1, 2, 3, "--max-length", 3], "3 units; wanted fewer than --max-length 3"),
        ([run, "--prompts", "corpus.json"], "/data/talk0.wav has no units_filepath"),
        ([gpt2, "--max-length", 65], "this gpt2 was trained on 64 positions; wanted no more"),
        ([run, "--figures"], "no such file"),
        ([run, "--top-k", 0], "0 is not at least 1"),
        ([run, "--temperature", -1], "-1 is no number of at least 0"),
    ):
        said = generate_py(*words, ok=2)
        assert told in said, said
        assert "Traceback" not in said
    assert not (here / "metadata").exists()
    generate_py(gpt2, "output/g", *FEW, "--max-length", 64)
    best = here / run / "best.pt"
    whole = best.read_bytes()
    runs_damage(best)
    assert "best.pt: damaged" in generate_py(run, "output/x", *FEW, ok=2)
    best.unlink()
    assert "best.pt: not there yet; wanted a run that was evaluated once" in generate_py(
        run, "output/x", ok=2
    )
    best.write_bytes(whole)
    generate_py(run, "output/x", *FEW)
    saved = torch.load(best, weights_only=True)
    torch.save({**saved, "step": 1}, best)
    assert "checkpoint_sha256" in generate_py(run, "output/x", *FEW, ok=2)  # the run went on meanwhile
    generate_py(run, "output/x", *FEW, "--fresh")


def runs_damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_killed_and_resized_arrays_make_the_same_files_log_and_report(here: Path) -> None:
    argv = [run_of(here), "output/x", *FEW, "--samples", 6, "--batch-size", 2, "--workers", 1, "--force",
            "--max-error-rate", 1]  # fmt: skip
    generate_py(*argv)
    expected, merged = files_of(here / "output/x"), (here / "metadata/x.json").read_bytes()
    for seed in range(ROUNDS):
        shutil.rmtree("output")
        shutil.rmtree("metadata")
        rng = random.Random(seed)
        more = {"at_once": 3, "rng": rng, "log": here / "log", "main": generate.main}
        for size in rng.sample([1, 3, 5, 16], rng.randrange(1, 3)):
            run_array(argv, next(JOBS), range(size), harm=lambda task, rng=rng: do_harm(task, rng), **more)
            if rng.random() < 0.5 and (here / "metadata/.amela").exists():
                merge("metadata/x.json", "generate", max_error_rate=1)
        run_array(argv, next(JOBS), range(rng.choice([2, 4])), **more)
        said = generate_py(*argv)
        assert files_of(here / "output/x") == expected, f"seed {seed}\n{said}"
        assert (here / "metadata/x.json").read_bytes() == merged, f"seed {seed}"

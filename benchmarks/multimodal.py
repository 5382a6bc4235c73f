"""Whether multimodal models hear: loss with real, shuffled and zero audio, and three fusions at equal cost.

    envs/.built/train/bin/python benchmarks/multimodal.py [gpt2 voices fusion] --seeds 3

Speech of make_corpus.py --kind emotion: a sentence is said in six manners; how one of four ends can only
be heard. A small GPT-2 (its weights random) writes the manner and the sentence, a small fusion model
fills in what is hidden. Means ± standard deviations over seeds, at each run's best evaluation. The fusions
have as many weights within 4 %, and as many steps as take the same CPU time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from common import SCRIPTS, Run, print_machine, print_table, run_command

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
AUDIO = ("real", "shuffled", "zero")
VOICES, UTTERANCES = 16, 144  # 12 voices to train on, 2 to validate on
LM = {"n_embd": 96, "n_layer": 4, "n_head": 4, "n_positions": 64}
LM_FLAGS = (
    "--audio-from mel --train-ratio 0.857 --cross-every 1 --stride 8 --max-length 32 "
    "--batch-size 16 --grad-accum-steps 1 --learning-rate 0.002 --audio-learning-rate 0.002 "
    "--weight-decay 0.05 --num-epochs 6 --checkpoint-epochs 0 --no-gradient-checkpointing --device cpu"
)
FUSION_FLAGS = (
    "--num-heads 4 --num-layers 2 --transformer-layers 1 --learning-rate 0.002 --batch-size 16 "
    "--early-stopping 0 --eval-steps 54 --device cpu"
)
SIZES = {"latent": "--hidden-dim 64 --latent-dim 56", "concat": "--hidden-dim 64", "cross": "--hidden-dim 60"}
STEPS = 216  # of the latent fusion: two epochs
SHORT, LONG = 10, 50  # steps of two runs whose difference tells the time of a step
MASKED = ("mel", "contour", "prosody", "emotion")


def run(script: str, *words: object, folder: Path, python: object = sys.executable) -> Run:
    """Run a script in a folder, with one thread."""
    return run_command([python, SCRIPTS / script, *words], cwd=folder, env=ONE_THREAD)


def prepare(folder: Path, local: Path) -> None:
    """Speak the corpus; make its features, tokenizer, data set, and a language model that knows nothing."""
    speak = ("--kind", "emotion", "--voices", VOICES, "--utterances", UTTERANCES)
    run("make_corpus.py", folder / "emotions", *speak, folder=folder, python=local)
    manifest = folder / "emotions/manifest.json"
    features = ("--features", "mel,pitch,energy,rate", "--output", folder / "features")
    run("extract_features.py", manifest, *features, folder=folder, python=local)
    run("train_tokenizer.py", manifest, folder / "tokenizer", "--vocab-size", 400, folder=folder)
    build = ("--tokenizer", folder / "tokenizer", "--features", "mel,pitch,energy")
    run("build_parquet.py", manifest, folder / "data", *build, folder=folder)
    heard = [record for record in map(json.loads, manifest.open()) if record["split"] != "test"]
    for record in heard:
        record["text"] = f"{record['emotion']['label']}: {record['text']}"
    with open(folder / "heard.json", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in heard)
    make_lm(folder / "lm", [record["text"] for record in heard])


def make_lm(folder: Path, texts: Sequence[str]) -> None:
    """Write a GPT-2 of random weights, and a tokenizer of these texts."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    end = "<|endoftext|>"
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[end], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=end, eos_token=end)
    tokenizer.save_pretrained(folder)
    drop = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.2)
    config = transformers.GPT2Config(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, **LM, **drop)
    torch.manual_seed(0)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)


def best_of(checkpoints: Path) -> dict[str, float]:
    """Return the figures of the best evaluation of the only run below a folder."""
    (metrics,) = checkpoints.glob("*/*/metrics.jsonl")
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    best = min((line for line in lines if "valid_loss" in line), key=lambda line: float(line["valid_loss"]))
    return {name.removeprefix("valid_"): value for name, value in best.items() if name.startswith("valid_")}


def gpt2(folder: Path, audio: str, seed: int, split_by: tuple[str, ...]) -> dict[str, float]:
    """Train the model that listens; return its figures."""
    where = folder / f"gpt2_{audio}_{seed}{'_voices' if split_by else ''}"
    flags = ("--base-model", folder / "lm", "--checkpoints", where, "--audio", audio, "--seed", seed)
    words = (*flags, *split_by, *LM_FLAGS.split())
    run("train_audio_gpt2.py", folder / "heard.json", *words, folder=folder)
    return best_of(where)


def fusion(folder: Path, kind: str, audio: str, seed: int, steps: int) -> tuple[dict[str, float], Run]:
    """Train a fusion model; return its figures and what it took."""
    where = folder / f"{kind}_{audio}_{seed}_{steps}"
    flags = ("--tokenizer", folder / "tokenizer", "--checkpoint-dir", where, "--fusion", kind)
    more = ("--audio", audio, "--seed", seed, "--max-steps", steps, *FUSION_FLAGS.split())
    words = (*flags, *SIZES[kind].split(), *more)
    took = run("train_multimodal.py", folder / "data", *words, folder=folder)
    return best_of(where), took


def mean_sd(values: Iterable[float], digits: int = 3) -> str:
    """Return the mean ± the standard deviation."""
    found = list(values)
    spread = statistics.stdev(found) if len(found) > 1 else 0.0
    return f"{statistics.mean(found):.{digits}f} ± {spread:.{digits}f}"


def print_figures(title: str, rows: dict[str, list[dict[str, float]]], names: dict[str, str]) -> None:
    """Print means ± deviations over seeds of the figures `names` {figure: its column}."""
    cells = [[row, *(mean_sd(one[name] for one in found) for name in names)] for row, found in rows.items()]
    print_table(title, ["", *names.values()], cells)


def print_gaps(found: dict[str, list[dict[str, float]]], figure: str) -> None:
    """Print by how much the loss is lower with real audio, seed by seed."""
    for other in AUDIO[1:]:
        gaps = [without[figure] - real[figure] for real, without in zip(found["real"], found[other])]
        print(f"{figure} with {other} audio minus with real audio: {mean_sd(gaps)}, least {min(gaps):.3f}")


def measure_gpt2(folder: Path, seeds: Sequence[int], split_by: tuple[str, ...], title: str) -> None:
    """Print what the audio is worth to the model that listens."""
    found = {audio: [gpt2(folder, audio, seed, split_by) for seed in seeds] for audio in AUDIO}
    names = {"loss": "nats a token", "perplexity": "perplexity", "accuracy": "tokens right"}
    print_figures(f"GPT-2 that listens, {title}", found, names)
    print_gaps(found, "loss")


def measure_fusion(folder: Path, seeds: Sequence[int]) -> None:
    """Print what the audio is worth to the fusion model, what it fills in, and how the fusions compare."""
    times = {}
    for kind in SIZES:
        short, long = (fusion(folder, kind, "real", 0, steps)[1] for steps in (SHORT, LONG))
        times[kind] = (long.cpu_s - short.cpu_s) / (LONG - SHORT)
    steps = {kind: round(STEPS * times["latent"] / times[kind]) for kind in SIZES}
    found = {audio: [fusion(folder, "latent", audio, seed, STEPS)[0] for seed in seeds] for audio in AUDIO}
    names = {"loss": "loss", "ce_masked": "masked text, nats", "accuracy": "masked text right",
             "emotion_accuracy": "emotion right"}  # fmt: skip
    print_figures("Fusion model (latent), voices never heard in training", found, names)
    for figure in ("loss", "ce_masked"):
        print_gaps(found, figure)
    fusions = {"latent": found["real"]}
    for kind in ("concat", "cross"):
        fusions[kind] = [fusion(folder, kind, "real", seed, steps[kind])[0] for seed in seeds]
    print_figures("R² of what was hidden", fusions, {f"r2_masked_{name}": name for name in MASKED})
    weights = {kind: weights_of(folder / f"{kind}_real_0_{SHORT}") for kind in SIZES}
    cost = [[kind, f"{weights[kind]:,}", f"{1000 * times[kind]:.0f}", steps[kind]] for kind in SIZES]
    print_table("Equal cost", ["fusion", "weights", "CPU ms a step", "steps"], cost)
    names = {"loss": "loss", "ce_masked": "masked text, nats", "emotion_accuracy": "emotion right",
             "retrieval": "retrieval@1"}  # fmt: skip
    print_figures("Fusions at equal weights and CPU time", fusions, names)


def weights_of(checkpoints: Path) -> int:
    """Return the number of weights of the only run below a folder."""
    import torch

    (checkpoint,) = checkpoints.glob("*/*/best.pt")
    content: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return sum(weight.numel() for weight in content["model"].values())


def main() -> None:
    """Prepare and measure."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("what", nargs="*", default=["gpt2", "voices", "fusion"], help="which (default: all)")
    flags.add_argument("--seeds", type=int, default=3)
    flags.add_argument("--local", type=Path, default=Path(sys.prefix).parent / "local/bin/python",
                       help="Python of the environment `local`, which speaks")  # fmt: skip
    args = flags.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory(prefix="amela_multimodal_") as name:
        folder = Path(name)
        prepare(folder, args.local)
        seeds = range(1, args.seeds + 1)
        if "gpt2" in args.what:
            measure_gpt2(folder, seeds, (), "utterances never heard in training")
        if "voices" in args.what:
            by_voice = ("--split-by", "speaker")
            measure_gpt2(folder, seeds, by_voice, "voices never heard in training, other ones with each seed")
        if "fusion" in args.what:
            measure_fusion(folder, seeds)


if __name__ == "__main__":
    main()

"""Emotion from speech: unseen voices, what further tasks are worth, how CTC leaves the blank.

    envs/.built/train/bin/python benchmarks/ser.py [emotion ctc] [--quick]

Speech of make_corpus.py --kind emotion: voices of the test set are in no other, a sentence is said in six
manners, its text does not tell which. The backbone is a small Whisper encoder with random weights, which
train_ser.py trains from scratch; the spectral baseline is logistic regression on means and deviations of
log-mel bands. emotion: UA of the test set by heads, a run a seed, with 95 % intervals. ctc: the recogniser
alone on a set of 40 words, by blank penalty, with a picture of the curves. One thread a run; of ctc two runs
at a time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common import ROOT, SCRIPTS, print_machine, print_table, run_command

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
WIDTH, LAYERS, WINDOW_FRAMES = 96, 3, 400  # 8 s
SPLITS = ("train", "valid", "test")
HEADS = {
    "SER alone": "--use_alpha_ser",
    "SER + ASR": "--use_alpha_ser --use_alpha_asr",
    "SER + ASR + prosody": "--use_alpha_ser --use_alpha_asr --use_alpha_prosody",
}
FLAGS = (
    "--vocab_size 64 --retrain_tokenizer --from_scratch --whisper_trim --device cpu --batch_size 16 "
    "--num_workers 1 --gradient_accumulation_steps 1 --checkpoint_interval 0 --log_steps 10 "
    "--early_stopping 0"
)
RATES = {"emotion": 0.0015, "ctc": 0.003}  # at the second one SER alone fails with one seed in three
PENALTIES = (0, 1, 50)  # of the blank; 50 is Prosody-SER's
PICTURE = ROOT / "output/benchmark_ser_ctc.png"


def prepare(folder: Path, local: Path, utterances: int) -> None:
    """Speak the corpus, 12 voices; write the config of a small Whisper of windows of 8 s."""
    speak = ("--kind", "emotion", "--voices", 12, "--utterances", utterances)
    run_command([local, SCRIPTS / "make_corpus.py", folder / "emotions", *speak], env=ONE_THREAD)
    (folder / "backbone").mkdir()
    config = {
        "model_type": "whisper", "d_model": WIDTH, "encoder_layers": LAYERS, "encoder_attention_heads": 4,
        "encoder_ffn_dim": 2 * WIDTH, "num_mel_bins": 80, "max_source_positions": WINDOW_FRAMES,
    }  # fmt: skip
    (folder / "backbone/config.json").write_text(json.dumps(config))


def data_flags(folder: Path) -> list[str]:
    """Return the flags that name the manifest of each split."""
    names = zip(("train", "val", "test"), SPLITS)
    return [f"--{name}_jsonl={folder / split}.json" for name, split in names]


def train(folder: Path, name: str, rate: float, *flags: object) -> Path:
    """Train a run at this learning rate; return its folder."""
    saved = folder / "runs" / name
    typed = [*data_flags(folder / "emotions"), "--audio_base_path", folder, "--tokenizer_path",
             folder / f"{name}.model", *FLAGS.split(), "--backbone_model", folder / "backbone", "--save_dir",
             saved, "--backbone_lr", rate, "--head_lr", rate, *flags]  # fmt: skip
    run_command([sys.executable, SCRIPTS / "train_ser.py", *typed], env=ONE_THREAD, cwd=folder)
    return next(saved.glob("*/done.json")).parent


def spectral_ua(folder: Path) -> tuple[float, float]:
    """Return UA of the spectral baseline and of the majority on the test set."""
    import numpy as np
    import soundfile
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import recall_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor()

    def read(split: str) -> tuple[Any, list[str]]:
        rows = [json.loads(line) for line in (folder / f"emotions/{split}.json").read_text().splitlines()]
        waves = [soundfile.read(row["audio_filepath"], dtype="float32")[0] for row in rows]
        mels = [
            extractor(wave, sampling_rate=16_000, padding="longest")["input_features"][0] for wave in waves
        ]
        vectors = [np.concatenate([mel.mean(1), mel.std(1)]) for mel in mels]
        return np.array(vectors), [row["emotion"]["label"] for row in rows]

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)).fit(*read("train"))
    vectors, labels = read("test")
    said = model.predict(vectors)
    return float(recall_score(labels, said, average="macro")), 1 / len(set(labels))


def emotion(folder: Path, seeds: int, epochs: int) -> None:
    """Print UA by heads."""
    spectral, majority = spectral_ua(folder)
    peers = {"majority": majority, "spectral, logistic regression": spectral}
    rows = [[name, "", f"{ua:.3f}", "", "", ""] for name, ua in peers.items()]
    for number, (name, heads) in enumerate(HEADS.items()):
        found = []
        for seed in range(seeds):
            flags = [*heads.split(), "--num_epochs", epochs, "--seed", seed, "--ctc_blank_penalty", 1]
            run = train(folder, f"heads_{number}_{seed}", RATES["emotion"], *flags)
            found.append(json.loads((run / "test_metrics.json").read_text()))
            low, high = found[-1]["ua_interval"]
            others = [_three(found[-1].get(key)) for key in ("wer", "prosody_f1")]
            rows.append([name, str(seed), _three(found[-1]["ua"]), f"{low:.3f}–{high:.3f}", *others])
        if seeds > 1:
            ua = [one["ua"] for one in found]
            spread = f"sd {statistics.stdev(ua):.3f}"
            rows.append([name, "mean", _three(statistics.mean(ua)), spread, "", ""])
    print_table(
        "UA on voices that were not heard before", ["", "seed", "UA", "95 %", "WER", "prosody F1"], rows
    )


def _three(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def ctc(folder: Path, epochs: int) -> None:
    """Print how CTC goes by penalty of the blank, and draw it."""

    def run(penalty: int) -> tuple[float, list[dict[str, Any]]]:
        flags = ["--use_alpha_asr", "--alpha_asr", 1, "--num_epochs", epochs, "--ctc_blank_penalty", penalty]
        start_s = time.perf_counter()
        found = train(folder, f"ctc_{penalty}", RATES["ctc"], *flags)
        lines = map(json.loads, (found / "metrics.jsonl").read_text().splitlines())
        return time.perf_counter() - start_s, [line for line in lines if "valid_wer" in line]

    with ThreadPoolExecutor(2) as pool:
        runs = dict(zip(PENALTIES, pool.map(run, PENALTIES)))
    rows = []
    for penalty, (seconds, lines) in runs.items():
        for line in lines[:: -max(1, len(lines) // 7)][::-1]:
            shown = [f"{line[f'valid_{name}']:.3f}" for name in SHOWN]
            rows.append([str(penalty), str(line["epoch"]), *shown, f"{seconds / 60:.1f}"])
    columns = ["penalty", "epoch", "CTC", "p(blank)", "blank is best", "empty", "WER", "min of the run"]
    print_table("CTC on a set of 40 words, validation", columns, rows)
    draw({f"penalty {penalty}": lines for penalty, (_, lines) in runs.items()})


SHOWN = ("ctc", "blank_share", "argmax_blank_share", "empty_share", "wer")


def draw(runs: dict[str, list[dict[str, Any]]]) -> None:
    """Draw the figures of some runs over the steps."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, all_axes = plt.subplots(1, len(SHOWN), figsize=(4 * len(SHOWN), 3.4), layout="constrained")
    for axes, name in zip(all_axes, SHOWN):
        for run, lines in runs.items():
            axes.plot([line["step"] for line in lines], [line[f"valid_{name}"] for line in lines], label=run)
        axes.set(xlabel="optimizer step", ylabel=f"{name}, validation")
        axes.legend()
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=100)
    print(f"\ncurves: {PICTURE.relative_to(ROOT)}")


def main() -> None:
    """Run what is asked for, all by default."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("what", nargs="*", default=["emotion", "ctc"])
    arguments.add_argument("--local", type=Path, default=Path("envs/.built/local/bin/python").absolute())
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--quick", action="store_true", help="one seed, 60 utterances a voice, few epochs")
    args = arguments.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, args.local, 60 if args.quick else 120)
        if "emotion" in args.what:
            emotion(folder, 1 if args.quick else args.seeds, 6 if args.quick else 12)
        if "ctc" in args.what:
            ctc(folder, 6 if args.quick else 16)


if __name__ == "__main__":
    main()

"""Emotion from speech: unseen voices, what further tasks are worth, how CTC leaves the blank, speed.

    envs/.built/train/bin/python benchmarks/ser.py [emotion ctc speed] [--quick]

Speech of make_corpus.py --kind emotion: voices of the test set are in no other, a sentence is said in six
manners, its text does not tell which. The backbone is a small Whisper encoder with random weights, which
train_ser.py trains from scratch; the spectral baseline is logistic regression on means and deviations of
log-mel bands. emotion: UA of the test set by heads, a run a seed, with 95 % intervals. ctc: the recogniser
alone on a set of 40 words, by blank penalty. speed: lengths batched together or at random, windows filled up
or not. One thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import SCRIPTS, print_machine, print_table, run_command

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
WIDTH, LAYERS, WINDOW_FRAMES = 96, 3, 400  # 8 s
SPLITS = ("train", "valid", "test")
HEADS = {
    "SER alone": "--use_alpha_ser",
    "SER + ASR": "--use_alpha_ser --use_alpha_asr",
    "SER + ASR + prosody": "--use_alpha_ser --use_alpha_asr --use_alpha_prosody",
}
FLAGS = (
    "--vocab_size 64 --retrain_tokenizer --whisper_trim --device cpu --batch_size 16 --num_workers 2 "
    "--gradient_accumulation_steps 1 --backbone_lr 0.001 --head_lr 0.001 --checkpoint_interval 0 "
    "--log_steps 10 --early_stopping 0"
)


def prepare(folder: Path, local: Path, utterances: int) -> None:
    """Speak the corpus, 12 voices; write a manifest a split, and a backbone that knows nothing."""
    speak = ("--kind", "emotion", "--voices", 12, "--utterances", utterances)
    run_command([local, SCRIPTS / "make_corpus.py", folder / "emotions", *speak], env=ONE_THREAD)
    lines = (folder / "emotions/manifest.json").read_text().splitlines(keepends=True)
    for split in SPLITS:
        chosen = [line for line in lines if json.loads(line)["split"] == split]
        (folder / f"{split}.json").write_text("".join(chosen))
    run_command([sys.executable, __file__, "--make-backbone", folder / "backbone"], env=ONE_THREAD)


def make_backbone(folder: Path) -> None:
    """Write a small Whisper with random weights."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=60, d_model=WIDTH, encoder_layers=LAYERS, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=2 * WIDTH, decoder_ffn_dim=48, num_mel_bins=80,
        max_source_positions=WINDOW_FRAMES, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    WhisperForConditionalGeneration(config).save_pretrained(folder)


def train(folder: Path, *flags: object) -> Path:
    """Train a run; return its folder."""
    data = [f"--{name}_jsonl={folder / split}.json" for name, split in zip(("train", "val", "test"), SPLITS)]
    saved = folder / "runs" / f"{len(list(folder.glob('runs/*'))):02}"
    typed = [*data, "--audio_base_path", folder, "--tokenizer_path", folder / "ser.model", *FLAGS.split(),
             "--backbone_model", folder / "backbone", "--save_dir", saved, *flags]  # fmt: skip
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
        rows = [json.loads(line) for line in (folder / f"{split}.json").read_text().splitlines()]
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
    for name, heads in HEADS.items():
        for seed in range(seeds):
            run = train(
                folder, *heads.split(), "--num_epochs", epochs, "--seed", seed, "--ctc_blank_penalty", 1
            )
            found = json.loads((run / "test_metrics.json").read_text())
            low, high = found["ua_interval"]
            others = [
                f"{found[key]:.3f}" if found.get(key) is not None else "" for key in ("wer", "prosody_f1")
            ]
            rows.append([name, str(seed), f"{found['ua']:.3f}", f"{low:.3f}–{high:.3f}", *others])
    print_table(
        "UA on voices that were not heard before", ["", "seed", "UA", "95 %", "WER", "prosody F1"], rows
    )


def ctc(folder: Path, epochs: int) -> None:
    """Print how CTC goes by penalty of the blank."""
    rows = []
    for penalty in (0, 1, 50):
        run = train(
            folder,
            "--use_alpha_asr",
            "--alpha_asr",
            1,
            "--num_epochs",
            epochs,
            "--ctc_blank_penalty",
            penalty,
        )
        lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        valid = [line for line in lines if "valid_wer" in line]
        marks = valid[:: max(1, len(valid) // 4)][:4] + valid[-1:]
        for line in marks:
            names = (
                "valid_ctc",
                "valid_blank_share",
                "valid_argmax_blank_share",
                "valid_empty_share",
                "valid_wer",
            )
            rows.append([str(penalty), str(line["epoch"]), *(f"{line[name]:.3f}" for name in names)])
    columns = ["penalty", "epoch", "CTC", "p(blank)", "blank is best", "empty", "WER"]
    print_table("CTC on a set of 40 words, validation", columns, rows)


def speed(folder: Path) -> None:
    """Print utterances a second and the share of padding."""
    rows = []
    for name, flags in {
        "by length": [],
        "at random": ["--no-group-by-length"],
        "by length, windows filled up": ["--no-whisper_trim"],
    }.items():
        run = train(folder, *HEADS["SER + ASR + prosody"].split(), "--num_epochs", 2, *flags)
        lines = [json.loads(line) for line in (run / "speed.jsonl").read_text().splitlines()]
        metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        padding = [line["padding"] for line in metrics if "padding" in line]
        rates = sorted(line["tokens_per_s"] for line in lines[1:])
        rows.append([name, f"{rates[len(rates) // 2]:.1f}", f"{sum(padding) / len(padding):.3f}"])
    print_table("Training, all heads", ["batches", "utterances/s", "padding"], rows)


def main() -> None:
    """Run what is asked for, all by default."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("what", nargs="*", default=["emotion", "ctc", "speed"])
    arguments.add_argument("--local", type=Path, default=Path("envs/.built/local/bin/python").absolute())
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--quick", action="store_true", help="one seed, 60 utterances a voice, few epochs")
    arguments.add_argument("--make-backbone", type=Path, help=argparse.SUPPRESS)
    args = arguments.parse_args()
    if args.make_backbone:
        make_backbone(args.make_backbone)
        return
    print_machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, args.local, 60 if args.quick else 120)
        if "emotion" in args.what:
            emotion(folder, 1 if args.quick else args.seeds, 6 if args.quick else 12)
        if "ctc" in args.what:
            ctc(folder, 8 if args.quick else 30)
        if "speed" in args.what:
            speed(folder)


if __name__ == "__main__":
    main()

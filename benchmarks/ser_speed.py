"""Training SER with CTC: utterances a second and memory, beside the plain way to write it, which pads.

    envs/.built/train/bin/python benchmarks/ser_speed.py [--rounds 3]

Speech of make_corpus.py --kind emotion, of one to six sentences (1.5 to 20 s), an epoch; 4,000 pieces,
encoders of four layers with random weights. «padded» is a loop of its own with less to do (no regularisers,
no figures): batches at random, every frame of the padded batch goes into the heads, torch's ctc_loss. Ours
is train_ser.py as users start it. Whisper's windows are of 30 s; --whisper_trim computes what is there. Peak
memory is that of the process, with what torch and transformers take. One thread.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import SCRIPTS, print_machine, print_table, run_command
from ser import ONE_THREAD, SPLITS, data_flags

sys.path.insert(0, str(SCRIPTS))

WIDTH, LAYERS, PIECES = 192, 4, 4000
BATCH = 8
SENTENCES = (1, 1, 1, 2, 2, 3, 4, 6)  # of an utterance
BLANK = 4


def prepare(folder: Path, local: Path) -> None:
    """Speak the corpus, join its sentences, and write a tokenizer, and encoders without weights."""
    import numpy as np
    import soundfile

    from media.sentencepiece_tokenizer import train_model

    spoken = folder / "spoken"
    speak = ("--kind", "emotion", "--voices", 12, "--utterances", 30)
    run_command([local, SCRIPTS / "make_corpus.py", spoken, *speak], env=ONE_THREAD)
    chance = random.Random(0)
    for split in SPLITS:
        rows = [json.loads(line) for line in (spoken / f"{split}.json").read_text().splitlines()]
        with open(folder / f"{split}.json", "w") as file:
            at = 0
            while at < len(rows) and (split == "train" or at < 16):
                joined = rows[at : at + chance.choice(SENTENCES)]
                waves = [soundfile.read(row["audio_filepath"], dtype="float32")[0] for row in joined]
                path = folder / f"{split}_{at}.wav"
                soundfile.write(path, np.concatenate(waves), 16_000)
                words = [word for row in joined for word in row["words"]]
                line = {"audio_filepath": str(path), "words": words, "emotion": joined[0]["emotion"]["label"],
                        "speaker": joined[0]["speaker"]}  # fmt: skip
                print(json.dumps(line), file=file)
                at += len(joined)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = {"".join(chance.choices(letters, k=chance.randint(2, 9))): 1 for _ in range(20_000)}
    (folder / "ser.model").write_bytes(train_model(words, PIECES))
    for kind, config in configs().items():
        (folder / kind).mkdir()
        config.save_pretrained(folder / kind)


def configs() -> dict[str, Any]:
    """Return the encoders, small ones of the published kinds."""
    from transformers import Wav2Vec2Config, WhisperConfig

    whisper = WhisperConfig(
        d_model=WIDTH, encoder_layers=LAYERS, encoder_attention_heads=4, encoder_ffn_dim=4 * WIDTH,
        decoder_layers=1, num_mel_bins=80, max_source_positions=1500,
    )  # fmt: skip
    xlsr = Wav2Vec2Config(
        hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=4, intermediate_size=4 * WIDTH,
        conv_dim=(64,) * 7, feat_extract_norm="layer", do_stable_layer_norm=True,
        num_conv_pos_embeddings=32, num_conv_pos_embedding_groups=4,
    )  # fmt: skip
    return {"whisper": whisper, "xlsr": xlsr}


def padded(folder: Path, kind: str) -> None:
    """Train as it is usually written; print utterances a second, and the share of padding."""
    import torch
    from torch import nn

    from media.audio import load_mono
    from media.sentencepiece_tokenizer import SentencePieceTokenizer
    from media.ser_data import read_splits
    from networks import ser_backbones

    (utterances,), names = read_splits([str(folder / "train.json")], ".")
    tokenizer = SentencePieceTokenizer(model_path=folder / "ser.model", log=lambda _: None)
    tokenizer.load_tokenizer()
    about = ser_backbones.described(str(folder / kind))
    backbone = ser_backbones.trainable(ser_backbones.empty_backbone(about, False), False).train()
    heads = nn.ModuleList([nn.Linear(WIDTH, len(names)), nn.Linear(WIDTH, PIECES)])
    optimizer = torch.optim.AdamW([*backbone.parameters(), *heads.parameters()], 1e-4)
    random.Random(0).shuffle(utterances)
    start_s, real, computed = time.perf_counter(), 0, 0
    for at in range(0, len(utterances), BATCH):
        chosen = utterances[at : at + BATCH]
        waves = [load_mono(sample_rate_hz=16_000, **one.window) for one in chosen]
        labels = [torch.tensor(tokenizer.encode(" ".join(one.words))) for one in chosen]
        inputs = backbone.prepare(waves)
        if kind == "whisper":
            hidden = backbone.encoder(inputs.values).last_hidden_state
        else:
            hidden = backbone.model(inputs.values, attention_mask=inputs.mask).last_hidden_state
        emotions = torch.tensor([one.emotion for one in chosen])
        loss = nn.functional.cross_entropy(heads[0](hidden.mean(1)), emotions)
        log_p = heads[1](hidden).log_softmax(2).transpose(0, 1)
        frames = torch.tensor(inputs.frames)
        sizes = torch.tensor([len(one) for one in labels])
        loss = loss + 0.1 * nn.functional.ctc_loss(log_p, torch.cat(labels), frames, sizes, BLANK)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(backbone.parameters(), 1.0)
        optimizer.step()
        real, computed = real + sum(inputs.frames), computed + len(chosen) * hidden.shape[1]
    print(json.dumps([len(utterances) / (time.perf_counter() - start_s), 1 - real / computed]))


def ours(folder: Path, kind: str, flags: list[str]) -> tuple[float, float, float]:
    """Train by train_ser.py; return utterances a second, the share of padding, and MB at the peak."""
    with tempfile.TemporaryDirectory(dir=folder) as saved:
        typed = [*data_flags(folder), "--audio_base_path", ".", "--tokenizer_path", folder / "ser.model",
                 "--backbone", kind, "--backbone_model", folder / kind, "--from_scratch", "--device", "cpu",
                 "--use_alpha_ser", "--use_alpha_asr", "--batch_size", BATCH, "--num_epochs", 1,
                 "--gradient_accumulation_steps", 1, "--num_workers", 1, "--log_steps", 1,
                 "--vocab_size", PIECES, "--save_dir", saved, *flags]  # fmt: skip
        run = run_command([sys.executable, SCRIPTS / "train_ser.py", *typed], env=ONE_THREAD, cwd=folder)
        found = next(Path(saved).glob("*/done.json")).parent
        speeds = [json.loads(line) for line in (found / "speed.jsonl").read_text().splitlines()]
        lines = [json.loads(line) for line in (found / "metrics.jsonl").read_text().splitlines()]
    counts = [0, *(line["tokens"] for line in lines if "padding" in line)]  # utterances so far
    seconds = sum((b - a) / line["tokens_per_s"] for a, b, line in zip(counts, counts[1:], speeds))
    padding = statistics.mean(line["padding"] for line in lines if "padding" in line)
    return counts[-1] / seconds, padding, run.peak_mb


def plain(folder: Path, kind: str) -> tuple[float, float, float]:
    """Train by `padded` in a process of its own; return the same three."""
    run = run_command([sys.executable, __file__, "--padded", folder / kind], env=ONE_THREAD)
    rate, share = json.loads(run.output.splitlines()[-1])
    return rate, share, run.peak_mb


CASES = {
    "whisper": {
        "at random": ["--no-group_by_length"],
        "by length": [],
        "by length, less memory": ["--gradient_checkpointing"],
        "by length, trimmed": ["--whisper_trim"],
        "by length, trimmed, less memory": ["--whisper_trim", "--gradient_checkpointing"],
    },
    "xlsr": {
        "at random": ["--no-group_by_length"],
        "by length": [],
        "by length, less memory": ["--gradient_checkpointing"],
    },
}


def main() -> None:
    """Print a table."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--local", type=Path, default=Path("envs/.built/local/bin/python").absolute())
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--padded", type=Path, help=argparse.SUPPRESS)
    args = arguments.parse_args()
    if args.padded:
        padded(args.padded.parent, args.padded.name)
        return
    print_machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, args.local)
        runs: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
        for _ in range(args.rounds):
            for kind, cases in CASES.items():
                runs.setdefault((kind, "padded"), []).append(plain(folder, kind))
                for case, flags in cases.items():
                    runs.setdefault((kind, case), []).append(ours(folder, kind, flags))
        rows = []
        for (kind, case), measured in runs.items():
            rate, share, peak_mb = (statistics.median(column) for column in zip(*measured))
            rows.append([kind, case, f"{rate:.1f}", f"{share:.3f}", f"{peak_mb:,.0f}"])
    print_table("Training, SER and CTC", ["", "", "utterances/s", "padding", "MB"], rows, left=2)


if __name__ == "__main__":
    main()

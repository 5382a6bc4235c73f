"""How much of what an ASR model computes is padding: asr.py against fixed batches in manifest order.

    envs/.built/asr/bin/python benchmarks/padding.py [--clips 20000] [--rounds 5]

The first table is arithmetic over lengths as they are found in corpora. The second runs a real NeMo model
(random weights, 6 Conformer layers) over real or spoken clips; it is left out where NeMo is not installed.
Peak is the largest batch in padded seconds: what the GPU's memory must hold.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from common import ROOT, SCRIPTS, Run, compare, print_machine, print_table, time_call

sys.path[:0] = [str(SCRIPTS), str(ROOT / "tests"), str(ROOT / "tests" / "envs")]

from media import padding  # noqa: E402 (needs the path)

FIXED = 16  # clips a batch
HANDED_OVER = 256  # records a call of asr.py's process on a GPU
CORPORA: dict[str, Callable[[random.Random], float]] = {
    # Read books: most clips 12-16 s, a tail of short ones (as LibriSpeech).
    "read books": lambda r: r.uniform(11, 16.5) if r.random() < 0.6 else r.uniform(1.5, 11),
    # Prompted sentences (as Common Voice).
    "prompted sentences": lambda r: min(20.0, r.lognormvariate(1.5, 0.4)),
    # Turns found by VAD in conversation or daylong recordings.
    "turns of conversation": lambda r: min(40.0, max(0.3, r.lognormvariate(0.6, 0.9))),
    # Pieces of long recordings, cut at silences.
    "pieces of long recordings": lambda r: r.uniform(20, 40),
}
Batches = list


def in_order(lengths_s: Sequence[float]) -> Batches:
    """Fixed batches in manifest order: the usual script."""
    return [list(range(i, min(i + FIXED, len(lengths_s)))) for i in range(0, len(lengths_s), FIXED)]


def by_length(lengths_s: Sequence[float]) -> Batches:
    """Fixed batches, all clips sorted: little padding, but memory follows the longest clips."""
    order = sorted(range(len(lengths_s)), key=lambda i: -lengths_s[i])
    return [order[i : i + FIXED] for i in range(0, len(order), FIXED)]


def ours(lengths_s: Sequence[float], batch_s: float) -> Batches:
    """What asr.py does: the run loop hands records over longest first, they are cut by padded seconds."""
    order = sorted(range(len(lengths_s)), key=lambda i: -lengths_s[i])
    batches = []
    for start in range(0, len(order), HANDED_OVER):
        part = order[start : start + HANDED_OVER]
        cut = padding.cut_batches([lengths_s[i] for i in part], batch_s)
        batches += [[part[k] for k in batch] for batch in cut]
    return batches


def simulate(clips: int) -> None:
    """Print padding, number of batches and peak of the three ways for each kind of corpus."""
    rows = []
    for corpus, draw in CORPORA.items():
        generator = random.Random(0)
        lengths_s = [draw(generator) for _ in range(clips)]
        peer = in_order(lengths_s)
        batch_s = max(max(lengths_s[i] for i in batch) * len(batch) for batch in peer)  # the same memory
        ways = {f"{FIXED} in manifest order": peer, f"{FIXED} by length": by_length(lengths_s)}
        ways["asr.py, the same memory"] = ours(lengths_s, batch_s)
        for way, batches in ways.items():
            cost_s = padding.padded_s(lengths_s, batches)
            peak_s = max(max(lengths_s[i] for i in batch) * len(batch) for batch in batches)
            share = padding.waste(sum(lengths_s), cost_s)
            rows.append([corpus, way, f"{share:.1%}", len(batches), f"{peak_s:.0f}"])
    print_table(f"{clips} clips", ["corpus", "batches", "padding", "number", "peak, padded s"], rows)


def measure(rounds: int) -> None:
    """Print the time of a real model over the same clips in the three ways."""
    import nemo_models
    import numpy as np
    import torch

    from media import audio, nemo_asr
    from speech import SENTENCES, real_speech, speak

    torch.set_num_threads(1)
    real = real_speech()
    if real is not None:
        speech = np.concatenate([audio.load_mono(path) for path in sorted((real / "asr").glob("*.wav"))])
    else:
        speech = np.concatenate([speak(sentence) for sentence in SENTENCES]).astype(np.float32)
    generator = random.Random(0)
    lengths_s = [CORPORA["turns of conversation"](generator) for _ in range(128)]
    clips = [
        np.resize(np.roll(speech, -generator.randrange(len(speech))), round(s * 16_000)) for s in lengths_s
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = nemo_models.build_ctc(Path(folder) / "model.nemo", layers=6, width=176)
        recognise = nemo_asr.load(str(path), "cpu", "float32", False, "en", "en")

    def run(batches: Batches) -> None:
        for batch in batches:
            recognise([clips[i] for i in batch])

    peer = in_order(lengths_s)
    batch_s = max(max(lengths_s[i] for i in batch) * len(batch) for batch in peer)
    ways = {f"{FIXED} in manifest order": peer, f"{FIXED} by length": by_length(lengths_s)}
    ways["asr.py, the same memory"] = ours(lengths_s, batch_s)
    cases: dict[str, Callable[[], Run]] = {
        way: lambda batches=batches: time_call(run, batches) for way, batches in ways.items()
    }
    found = compare(cases, rounds)
    first = next(iter(found.values()))
    rows = [
        [
            way,
            f"{padding.waste(sum(lengths_s), padding.padded_s(lengths_s, ways[way])):.1%}",
            f"{one.wall_s:.2f}",
            f"{one.cpu_s:.2f}",
            f"{first.cpu_s / one.cpu_s:.2f}",
        ]
        for way, one in found.items()
    ]
    title = (
        f"NeMo CTC model, 128 turns of conversation ({sum(lengths_s):.0f} s), one thread, median of {rounds}"
    )
    print_table(title, ["batches", "padding", "wall s", "CPU s", "times the first"], rows)


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=20_000, help="simulated clips a corpus (default: 20000)")
    parser.add_argument("--rounds", type=int, default=5, help="measured runs of each case (default: 5)")
    args = parser.parse_args()
    print_machine()
    simulate(args.clips)
    if importlib.util.find_spec("nemo") is None:
        print("\nno NeMo in this Python: run with envs/.built/asr/bin/python for times of a real model")
        return
    os.environ["HF_HUB_OFFLINE"] = "1"
    measure(args.rounds)


if __name__ == "__main__":
    main()

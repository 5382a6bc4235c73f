"""CTC: the loss with all regularisers, decoding and forced alignment, beside plainer ways to do the same.

    envs/.built/train/bin/python benchmarks/ctc.py losses [--device cuda]
    envs/.built/train/bin/python benchmarks/ctc.py decoding
    envs/.built/train/bin/python benchmarks/ctc.py alignment

losses: forwards and backwards through a linear head (1024 → V), eight utterances of 2 to 5 s at 50 frames/s.
The peers compute the same numbers (held against each other) on padded frames, by torch's ctc_loss and
autograd: 1,500 frames are what Whisper's encoder gives, however short the speech. Peak memory is that of the
process, less that of one that does a step of one frame; on a GPU torch's.
decoding: utterances of 3 s, one thread. «peaky»: nine frames in ten are blank, as of a trained model; «flat»:
random. The textbook search keeps a dictionary of prefixes; with every label it is timed on a few frames.
alignment: the textbook is a loop over frames and states, on the labels' columns only.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import defaultdict
from functools import partial
from typing import Any

from common import SCRIPTS, compare, print_machine, print_table, run_command, time_call

sys.path.insert(0, str(SCRIPTS))

BLANK, WIDTH = 4, 1024
VOCABULARIES = (32, 4000, 16000)
WAYS = ("padded to 1,500 frames", "padded to the longest", "real frames", "real frames, head within")
FRAMES, BEAM = 150, 16
EXACT = {"MALLOC_MMAP_THRESHOLD_": "1000000"}  # what is freed goes back: the peak is what is in use


def utterances(vocab_size: int) -> tuple[Any, ...]:
    """Return (hidden padded to 1,500 frames, lengths, targets, target lengths)."""
    import torch

    torch.manual_seed(0)
    lengths = torch.tensor([100, 150, 200, 250]).repeat(2)
    target_lengths = lengths // 12
    targets = torch.randint(BLANK + 1, vocab_size, (8, int(target_lengths.max())))
    return torch.randn(8, 1500, WIDTH), lengths, targets, target_lengths


def plain(hidden: Any, lengths: Any, targets: Any, target_lengths: Any, head: Any, options: Any) -> Any:
    """Return L_ASR of padded frames, written down as the definitions stand."""
    import torch

    log_p = head(hidden).float().log_softmax(2)
    mask = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
    p, frames = log_p.exp(), lengths.sum()
    ctc = torch.nn.functional.ctc_loss(
        log_p.transpose(0, 1), targets, lengths, target_lengths, BLANK, "none", zero_infinity=True
    )
    entropy = (-(p * log_p).sum(2) * mask).sum() / frames
    rate = (p[:, :, BLANK] * mask).sum(1) / lengths
    smoothing = ((-log_p.mean(2) - math.log(log_p.shape[2])) * mask).sum() / frames
    confidence = ((p.amax(2) - options.confidence_threshold).clamp(min=0) * mask).sum() / frames
    return (
        (1 - options.label_smoothing) * (ctc / target_lengths).mean()
        + options.blank_penalty * (rate - options.blank_threshold).clamp(min=0).mean()
        - options.entropy_weight * entropy
        + options.label_smoothing * smoothing
        + options.confidence_penalty * confidence
    )


def step(way: str, vocab_size: int, device: str) -> tuple[float, float, float]:
    """Return (seconds of a step, the better of two, of one core or of the GPU; loss; peak MB of the GPU)."""
    import torch

    from networks import ctc

    torch.set_num_threads(1)
    hidden, *rest = (part.to(device) for part in utterances(vocab_size))
    head = torch.nn.Linear(WIDTH, vocab_size, device=device)
    options = ctc.Regularisers(0.01, False, 50.0, 0.0, 0.1, 0.5, 0.0)  # thresholds that leave nothing asleep
    clock = time.process_time if device == "cpu" else time.perf_counter
    seconds, loss = [], 0.0
    if way == "nothing":  # what is loaded by a first call is not the step's
        one = torch.ones(1, dtype=torch.int64, device=device)
        hidden, rest = hidden[:1, :1], [one, one[None] * (BLANK + 1), one]
    for _ in range(2):
        started = clock()
        if way.startswith("padded"):
            padded = hidden if "1,500" in way else hidden[:, : int(rest[0].max())]
            value = plain(padded, *rest, head, options)
        else:
            frames = ctc.real_frames(hidden, rest[0])
            within = "within" in way
            found = ctc.ctc_losses(
                frames if within else head(frames), *rest, BLANK, options, head=head if within else None
            )
            value = found["loss"] / len(hidden)
        value.backward()
        loss = float(value.detach())
        seconds.append(clock() - started)
    peak_mb = torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else 0.0
    return min(seconds, default=0.0), loss, peak_mb


def losses(device: str) -> None:
    """Print the table of the loss; each way in a process of its own, for its memory."""
    rows = []
    for vocab_size in VOCABULARIES:
        again = [sys.executable, __file__, "step", "--vocab-size", vocab_size, "--device", device, "--way"]
        base = run_command([*again, "nothing"], env=EXACT).peak_mb
        wanted = None
        for way in WAYS:
            run = run_command([*again, way], env=EXACT)
            seconds, loss, peak_mb = map(float, run.output.split()[-3:])
            wanted = wanted or loss
            peak_mb = peak_mb or run.peak_mb - base
            rows.append([f"{vocab_size:,}", way, f"{seconds * 1e3:,.0f}", f"{peak_mb:,.0f}",
                         f"{abs(loss / wanted - 1):.0e}"])  # fmt: skip
    columns = ["V", "way", "ms a step", "peak MB", "loss, relative difference"]
    print_table(f"CTC with all regularisers, {device}", columns, rows, left=2)


def heard(kind: str, vocab_size: int, frames: int = FRAMES) -> Any:
    """Return log-probabilities (frames, V) of one utterance."""
    import torch

    torch.manual_seed(1)
    logits = torch.randn(frames, vocab_size)
    if kind == "peaky":
        logits[:, BLANK] += 12
        at = torch.arange(3, frames, 10)
        logits[at, torch.randint(BLANK + 1, vocab_size, (len(at),))] += 16
    return logits.log_softmax(1)


def textbook(log_probs: Any, beam: int, top_k: int) -> list[int]:
    """Return the labels by the search as it is usually written, of the `top_k` best labels of each frame."""
    now = {(): (1.0, 0.0)}
    best_of = log_probs.topk(min(top_k, log_probs.shape[1]), 1).indices
    for frame, few in zip(log_probs.exp().tolist(), best_of.tolist()):
        coming: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [0.0, 0.0])
        for prefix, (ends_blank, ends_label) in now.items():
            coming[prefix][0] += (ends_blank + ends_label) * frame[BLANK]
            if prefix:
                coming[prefix][1] += ends_label * frame[prefix[-1]]
            for label in few:
                if label != BLANK:
                    ends = ends_blank + (0.0 if prefix[-1:] == (label,) else ends_label)
                    coming[(*prefix, label)][1] += ends * frame[label]
        best = sorted(coming.items(), key=lambda found: -sum(found[1]))[:beam]
        now = {prefix: (ends[0], ends[1]) for prefix, ends in best}
    return list(next(iter(now)))


def decoding() -> None:
    """Print the table of decoding, in utterances a second."""
    import numpy as np
    import torch

    from networks import ngram
    from networks.ctc_decode import Fusion, greedy, prefix_beam

    torch.set_num_threads(1)
    rows = []
    for vocab_size in VOCABULARIES:
        random = np.random.default_rng(0)
        texts = [random.integers(BLANK + 1, vocab_size, 30) for _ in range(2000)]
        fusion = Fusion(ngram.fit(texts, vocab_size, 3))
        for kind in ("peaky", "flat"):
            log_probs = heard(kind, vocab_size)
            few = 20 if vocab_size < 100 else 2
            cases = {
                "greedy": partial(greedy, log_probs, torch.tensor([FRAMES]), BLANK),
                "beam": partial(prefix_beam, log_probs, BLANK, BEAM),
                "trigram": partial(prefix_beam, log_probs, BLANK, BEAM, fusion=fusion),
                "textbook, 20 labels": partial(textbook, log_probs, BEAM, 20),
                "textbook": partial(textbook, log_probs[:few], BEAM, vocab_size),
            }
            timed = {name: partial(time_call, case) for name, case in cases.items()}
            found = {name: 1 / run.cpu_s for name, run in compare(timed, rounds=5).items()}
            found["textbook"] *= few / FRAMES
            rows.append([f"{vocab_size:,}", kind, *(f"{speed:,.3g}" for speed in found.values())])
    columns = ["V", "frames", "greedy", f"beam {BEAM}", "with a trigram", "textbook, 20 labels",
               "textbook, every label"]  # fmt: skip
    print_table("Utterances of 3 s a second of one core", columns, rows, left=2)


def textbook_alignment(log_probs: Any, labels: list[int]) -> float:
    """Return the score of the best path by a loop over frames and states."""
    states = [BLANK]
    for label in labels:
        states += [label, BLANK]
    before = [0.0] + [-math.inf] * (len(states) - 1)
    for number, frame in enumerate(log_probs[:, states].tolist()):
        now = []
        for at, state in enumerate(states):
            ways = [before[at]] if number or at != 1 else [0.0]
            if number and at:
                ways.append(before[at - 1])
                if at > 2 and state not in (BLANK, states[at - 2]):
                    ways.append(before[at - 2])
            now.append(max(ways) + frame[at])
        before = now
    return max(before[-2:])


def alignment() -> None:
    """Print the table of forced alignment, in utterances a second."""
    import torch

    from networks.ctc_align import align, align_batch

    torch.set_num_threads(1)
    rows = []
    for frames, count, vocab_size in [(150, 12, 32), (150, 12, 16000), (500, 40, 4000), (1500, 120, 4000)]:
        torch.manual_seed(2)
        log_probs = torch.randn(frames, vocab_size).log_softmax(1)
        labels = torch.randint(BLANK + 1, vocab_size, (8, count))
        lengths, counts = torch.full((8,), frames), torch.full((8,), count)
        batch = log_probs.repeat(8, 1)
        cases = {
            "one": partial(align, log_probs, labels[0].tolist(), BLANK),
            "batch": partial(align_batch, batch, lengths, labels, counts, BLANK),
            "textbook": partial(textbook_alignment, log_probs, labels[0].tolist()),
        }
        timed = {name: partial(time_call, case) for name, case in cases.items()}
        found = {name: 1 / run.cpu_s for name, run in compare(timed, rounds=3).items()}
        found["batch"] *= 8
        rows.append([frames, count, f"{vocab_size:,}", *(f"{speed:,.0f}" for speed in found.values())])
    columns = ["frames", "labels", "V", "one by one", "eight at a time", "textbook"]
    print_table("Utterances aligned a second of one core", columns, rows, left=3)


def main() -> None:
    """Print the table asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=["losses", "decoding", "alignment", "step"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--vocab-size", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.table == "step":
        print(*step(args.way, args.vocab_size, args.device))
        return
    print_machine()
    if args.table == "losses":
        losses(args.device)
    else:
        {"decoding": decoding, "alignment": alignment}[args.table]()


if __name__ == "__main__":
    main()

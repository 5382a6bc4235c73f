"""Units: how fast encoders and vocoders are, beside a plain transformers loop and fairseq, on random weights.

    envs/.built/units/bin/python benchmarks/units.py [--sts envs/.built/sts/bin/python] [--rounds 3]

HuBERT base, 12 layers of 768, and 2000 centres. The transformers loop runs the whole model, keeps all
layers and takes one, as scripts on the web do; fairseq (0.12.2, environment `sts`) stops after the layer.
Each program is a process of its own that stays alive; every case runs once a round. × real time by wall; the
figures of one thread are those of a core.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import types
from functools import partial
from pathlib import Path
from typing import Any

from common import SCRIPTS, Run, compare, print_machine, print_table

sys.path.insert(0, str(SCRIPTS))

RATE_HZ = 16_000
CONVS = [(1, 512, 10, 5, False), *[(512, 512, 3, 2, False)] * 4, *[(512, 512, 2, 2, False)] * 2]
GENERATOR = {  # Expresso's: 2000 units, speakers and styles
    "resblock": "1", "upsample_rates": [5, 4, 4, 2, 2], "upsample_kernel_sizes": [11, 8, 8, 4, 4],
    "upsample_initial_channel": 512, "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5]] * 3, "model_in_dim": 384,
}  # fmt: skip


class Program:
    """A process that runs cases: `ours`, `transformers` or `fairseq`."""

    def __init__(self, python: str, name: str) -> None:
        command = [python, __file__, "--serve", name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, *case: object) -> Run:
        """Run a case there; RuntimeError where the process died."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.process.args} died at {case}")
        return Run(*json.loads(answer))


def serve(name: str) -> None:
    """Answer each case on standard input, [what, threads, seconds, …], with [wall s, CPU s]."""
    import torch

    made: dict[tuple[Any, ...], Any] = {}
    for line in sys.stdin:
        what, threads, *rest = json.loads(line)
        if any(key[:2] != (what, rest[0]) for key in made):  # another table, or length: room for its models
            made.clear()
        key = (what, *rest)
        if key not in made:
            torch.manual_seed(0)
            made[key] = MAKE[what if what != "encode" else name](*rest)
        torch.set_num_threads(threads)
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        with torch.no_grad():
            made[key]()
        print(json.dumps([time.perf_counter() - wall_s, time.process_time() - cpu_s]), flush=True)


def sound(seconds: float, dtype: str = "float32") -> Any:
    """Return noise (1, samples)."""
    import torch

    return (0.1 * torch.randn(1, round(RATE_HZ * seconds))).to(getattr(torch, dtype))


def ours(seconds: float, dtype: str, layer: int) -> Any:
    """Return a call of our encoder up to a layer, and its codebook."""
    import numpy as np
    import torch

    from networks.hubert import Hubert
    from networks.kmeans import KMeans

    form = types.SimpleNamespace(convs=CONVS, group_norm=True, width=768, projects=True, pos_kernel=128,
                                 pos_groups=16, batch_norm=False, layers=12, inner=3072, heads=12,
                                 norm_first=False)  # fmt: skip
    model = Hubert(form).eval().requires_grad_(False)
    del model.encoder["layers"][layer:]
    model = model.to(getattr(torch, dtype))
    kmeans = KMeans(np.random.default_rng(0).normal(size=(2000, 768)))
    samples = sound(seconds, dtype)

    def call() -> Any:
        with torch.inference_mode():
            return kmeans(model(samples)[0])

    return call


def theirs(seconds: float, dtype: str, layer: int) -> Any:
    """Return a call of the usual loop over transformers' HubertModel: all layers, one of them taken."""
    import torch
    from transformers import HubertConfig, HubertModel

    model = HubertModel(HubertConfig()).eval().to(getattr(torch, dtype))
    centres, samples = torch.randn(2000, 768), sound(seconds, dtype)

    def call() -> Any:
        features = model(samples, output_hidden_states=True).hidden_states[layer][0]
        return torch.cdist(features.float(), centres).argmin(1)

    return call


def fairseq(seconds: float, dtype: str, layer: int) -> Any:
    """Return a call of fairseq's HubertModel up to a layer, as simple_kmeans does."""
    import torch
    from fairseq.data.dictionary import Dictionary
    from fairseq.models.hubert.hubert import HubertConfig, HubertModel
    from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig

    config, words = HubertConfig(), Dictionary()
    config.label_rate, config.layerdrop = 50.0, 0.0
    words.add_symbol("1")
    task = HubertPretrainingConfig(label_rate=50.0, sample_rate=RATE_HZ)
    model = HubertModel(config, task, [words]).eval().to(getattr(torch, dtype))
    centres, samples = torch.randn(2000, 768), sound(seconds, dtype)

    def call() -> Any:
        features, _ = model.extract_features(samples, padding_mask=None, mask=False, output_layer=layer)
        return torch.cdist(features[0].float(), centres).argmin(1)

    return call


def vocoder(seconds: float, folded: bool) -> Any:
    """Return a call of the unit HiFi-GAN, weight norm folded or computed at each call."""
    import torch
    from torch.nn.utils.parametrizations import weight_norm

    from networks.hifigan import UnitHifigan

    tables = {"dict.weight": torch.randn(2000, 128), "spkr.weight": torch.randn(4, 128),
              "style.weight": torch.randn(4, 128)}  # fmt: skip
    model = UnitHifigan(GENERATOR, tables).eval().requires_grad_(False)
    if not folded:
        for module in model.modules():
            if isinstance(module, (torch.nn.Conv1d, torch.nn.ConvTranspose1d)):
                weight_norm(module)
    units = torch.randint(2000, (round(50 * seconds),))
    return lambda: [None for _ in model.chunks(units)]


def mfcc(seconds: float) -> Any:
    """Return a call of the encoder mfcc and a codebook of 100."""
    import numpy as np

    from networks.kmeans import KMeans
    from networks.mfcc import Mfcc

    model, kmeans = Mfcc(), KMeans(np.random.default_rng(0).normal(size=(100, 39)))
    samples = sound(seconds)[0].numpy()
    return lambda: [kmeans(found) for _, found in model.pieces([samples])]


def griffinlim(seconds: float) -> Any:
    """Return a call of the vocoder griffinlim."""
    import tempfile

    import numpy as np

    from networks.codebook import Codebook, write_codebook
    from networks.griffinlim import GriffinLim

    chance = np.random.default_rng(0)
    book = Codebook(np.zeros((100, 39), np.float32), chance.normal(size=(100, 80)).astype(np.float32),
                    np.ones(100, np.int64), {"hop_s": 0.01})  # fmt: skip
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        write_codebook(file, book)
        file.flush()
        model = GriffinLim(file.name, None, None, "cpu")
    units = chance.integers(0, 100, round(100 * seconds))
    return lambda: [None for _ in model.speak(units)]


MAKE = {"ours": ours, "transformers": theirs, "fairseq": fairseq, "vocoder": vocoder, "mfcc": mfcc,
        "griffinlim": griffinlim}  # fmt: skip


def encoders(programs: dict[str, Program], rounds: int) -> None:
    """Print the table of encoders."""
    rows = []
    for seconds in (10, 60):
        for dtype in ("float32", "bfloat16"):
            kinds = [("transformers, whole model", "transformers", 12), ("ours, layer 12", "ours", 12),
                     ("ours, layer 9", "ours", 9), ("ours, layer 6", "ours", 6)]  # fmt: skip
            if "fairseq" in programs and dtype == "float32":
                kinds.insert(1, ("fairseq, layer 12", "fairseq", 12))
            cases = {(name, threads): partial(programs[program].run, "encode", threads, seconds, dtype, layer)
                     for name, program, layer in kinds for threads in (1, 2)}  # fmt: skip
            found = compare(cases, rounds)
            peer = found[kinds[0][0], 1].wall_s, found[kinds[0][0], 2].wall_s
            for name, *_ in kinds:
                one, two = found[name, 1], found[name, 2]
                rows.append([f"{seconds} s, {dtype}", name, f"{seconds / one.wall_s:.1f}", f"{one.cpu_s:.2f}",
                             f"{peer[0] / one.wall_s:.2f}", f"{seconds / two.wall_s:.1f}",
                             f"{two.cpu_s:.2f}", f"{peer[1] / two.wall_s:.2f}"])  # fmt: skip
    columns = ["piece", "encoder", "1 thread: x real time", "CPU s", "transformers = 1",
               "2 threads: x real time", "CPU s", "transformers = 1"]  # fmt: skip
    print_table(f"HuBERT base → 2000 units, medians of {rounds} rounds", columns, rows, left=2)


def speakers(ours: Program, rounds: int) -> None:
    """Print the table of vocoders and of the stages that need no weights."""
    kinds = {"HiFi-GAN, weight norm folded": ("vocoder", 10, True),
             "HiFi-GAN, weight norm at each call": ("vocoder", 10, False),
             "griffinlim": ("griffinlim", 60), "encoder mfcc, 100 units": ("mfcc", 600)}  # fmt: skip
    cases = {(name, threads): partial(ours.run, kind[0], threads, *kind[1:])
             for name, kind in kinds.items() for threads in (1, 2)}  # fmt: skip
    found = compare(cases, rounds)
    rows = [[name, f"{kind[1] / found[name, 1].wall_s:.1f}", f"{found[name, 1].cpu_s:.2f}",
             f"{kind[1] / found[name, 2].wall_s:.1f}", f"{found[name, 2].cpu_s:.2f}"]
            for name, kind in kinds.items()]  # fmt: skip
    columns = ["step", "1 thread: x real time", "CPU s", "2 threads: x real time", "CPU s"]
    print_table(f"vocoders, and what needs no weights, medians of {rounds} rounds", columns, rows)


def main() -> None:
    """Run all cases and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sts", metavar="PYTHON", help="interpreter of the environment sts: fairseq too")
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds after one warm-up")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return
    print_machine()
    programs = {name: Program(sys.executable, name) for name in ("ours", "transformers")}
    if args.sts:
        programs["fairseq"] = Program(str(Path(args.sts).absolute()), "fairseq")
    encoders(programs, args.rounds)
    speakers(programs["ours"], args.rounds)


if __name__ == "__main__":
    main()

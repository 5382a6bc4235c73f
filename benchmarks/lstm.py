"""LSTMs on units: training in staircases against its peers, and drawing units.

    envs/.built/train/bin/python benchmarks/lstm.py speed [--threads 1] [--rounds 5] [--device cuda]
    envs/.built/train/bin/python benchmarks/lstm.py drawing

speed: an optimizer step of the real loop, for each way to batch over the batch that is most like its mean in
units and padding. Lengths are log-normal (mean 250, longest 1100), 2001 symbols. Padding is the share of what
the LSTM computes that is no unit. Losses of one batch are held against each other. Packed sequences are slow
on a CPU; on a GPU they are cuDNN's own, and --peak-tflops (of the numbers used) gives the share of the peak.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

from common import SCRIPTS, Run, compare, print_machine, print_table, time_call

sys.path.insert(0, str(SCRIPTS))

UNITS, SEQUENCES = 2000, 1600
SIZES = ((128, 256, 16), (256, 512, 32))  # embedding, hidden, sequences a batch; two layers
WAYS = {  # name: batching, by length
    "padded, random order": ("padded", False),
    "padded, by length": ("padded", True),
    "packed, random order": ("packed", False),
    "packed, by length": ("packed", True),
    "staircase, random order": ("staircase", False),
    "staircase, by length (the default)": ("staircase", True),
    "stream of 2048": ("stream", False),
}


def draw_lengths(count: int) -> Any:
    """Return lengths in units: log-normal, mean 250, at most 1100."""
    import numpy as np

    return np.clip(np.random.default_rng(0).lognormal(5.34, 0.65, count), 8, 1100).astype(int)


class Work:
    """A step of one way to batch; `run` does it, forwards and backwards."""

    def __init__(self, size: tuple[int, int, int], way: str, folder: str, device: Any) -> None:
        import numpy as np
        import torch

        from amela.files import write_aside
        from networks import run_state, unit_lm, unit_task
        from networks.distributed import Group
        from networks.training import Trainer

        batching, by_length = WAYS[way]
        lengths = draw_lengths(SEQUENCES)
        chance = np.random.default_rng(1)
        every = chance.integers(0, UNITS, int(lengths.sum()))
        ends = np.cumsum(lengths)
        config = self._config(size, batching, by_length)
        sequences = unit_task.Units(
            range(SEQUENCES),
            lengths,
            config["max_units"],
            lambda at: every[ends[at] - lengths[at] : ends[at]],
        )
        torch.manual_seed(0)
        model = unit_lm.build(config).to(device)
        task = unit_task.UnitTask(model, sequences, sequences, config, Group(0, 1, 0), device)
        self.device, self.trainer = device, Trainer(
            task, run_state.options(config), config, folder, task.group, device, write_aside, lambda: False,
            lambda _: None, lambda _: None
        )  # fmt: skip
        plan = task.plan(0)
        sizes = np.array(
            [(at.sum(), at.max() * len(at)) for at in (task.sequences(0).lengths[one] for one in plan)]
        )
        tokens, cells = sizes.T
        unlike = abs(tokens / tokens.mean() - 1) + abs(tokens / cells / (tokens.sum() / cells.sum()) - 1)
        step = task.load(0, int(unlike.argmin()))
        self.step, self.tokens = step, step.count
        self.padding = 1 - step.count / step.cells

    @staticmethod
    def _config(size: tuple[int, int, int], batching: str, by_length: bool) -> dict[str, Any]:
        embedding, hidden, batch = size
        stream = batching == "stream"
        return {
            "arch": "lstm", "vocab_size": UNITS, "embedding_dim": embedding, "hidden_size": hidden,
            "num_layers": 2, "dropout": 0.1, "max_units": 2048 if stream else 4096, "batching": batching,
            "batch_size": max(1, batch * 250 // 2048) if stream else batch, "batch_tokens": 0,
            "group_by_length": by_length, "grad_accum_steps": 1, "seed": 1, "learning_rate": 1e-3,
            "num_epochs": 10, "max_steps": 0, "eval_steps": 0, "save_steps": 10**9, "log_steps": 10**9,
            "early_stopping": 0, "schedule": "constant", "warmup_steps": 0, "weight_decay": 0.0, "beta1": 0.9,
            "beta2": 0.98, "clip": 1.0, "precision": "fp32",
        }  # fmt: skip

    def run(self) -> None:
        """Do the step."""
        import torch

        self.trainer._step(self.step)  # noqa: SLF001 (what is measured)
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def flops_a_token(self) -> float:
        """Return multiplications and additions of a unit, forwards and backwards, padding not counted."""
        model = self.trainer.task.model
        used = [
            weight
            for name, weight in model.named_parameters()
            if weight.dim() > 1 and "embedding" not in name
        ]
        return 6.0 * sum(weight.numel() for weight in used)


def speed(args: argparse.Namespace) -> None:
    """Print units a second of each way to batch, and how far their losses are apart."""
    import torch

    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    for size in SIZES if not args.size else [SIZES[args.size - 1]]:
        with tempfile.TemporaryDirectory() as folder:
            works = {way: Work(size, way, folder, device) for way in WAYS}
            cases: dict[str, Callable[[], Run]] = {
                way: partial(time_call, work.run) for way, work in works.items()
            }
            found = compare(cases, args.rounds)
        rows = [rates(args, works, found, way) for way in works]
        where = torch.cuda.get_device_name() if device.type == "cuda" else f"{args.threads} thread(s)"
        title = (
            f"E{size[0]}/H{size[1]}, 2 layers, {size[2]} sequences a batch, {where}, median of {args.rounds}"
        )
        columns = ["batches", "padding", "units/s", "units/CPU s", "times the first: wall", "CPU"]
        print_table(title, [*columns, "share of peak"] if args.peak_tflops else columns, rows)
        print_agreement(works, device)


def rates(args: argparse.Namespace, works: dict[str, Work], found: dict[str, Run], way: str) -> list[str]:
    """Return a row of the table, with the share of the peak that does useful work where that is known."""
    by_wall, by_cpu = ({name: works[name].tokens / seconds(run) for name, run in found.items()}
                       for seconds in (lambda run: run.wall_s, lambda run: run.cpu_s))  # fmt: skip
    first = next(iter(WAYS))
    share = by_wall[way] * works[way].flops_a_token() / (args.peak_tflops * 1e12) if args.peak_tflops else 0.0
    return [
        way,
        f"{works[way].padding:.1%}",
        f"{by_wall[way]:,.0f}",
        f"{by_cpu[way]:,.0f}",
        f"{by_wall[way] / by_wall[first]:.2f}",
        f"{by_cpu[way] / by_cpu[first]:.2f}",
        *([f"{share:.1%}"] if share else []),
    ]


def print_agreement(works: dict[str, Work], device: Any) -> None:
    """Print the loss of one batch in three layouts, with the same weights."""
    import numpy as np
    import torch
    from torch.nn.functional import cross_entropy

    from networks.staircase import MIN_STEPS, WHOLE, lay_out

    model = works["padded, random order"].trainer.task.model.eval()
    chance = np.random.default_rng(2)
    given = [chance.integers(0, UNITS, length) for length in draw_lengths(16)]
    with torch.no_grad():
        losses = {}
        for name, steps in (("padded", WHOLE), ("staircase", MIN_STEPS), ("packed", WHOLE)):
            batch = lay_out(given, UNITS, steps).to(device)
            losses[name] = float(cross_entropy(model(batch, packed=name == "packed"), batch.targets))
    spread = max(losses.values()) - min(losses.values())
    print(
        ", ".join(f"{name} {loss:.7f}" for name, loss in losses.items()), f"nats a unit: {spread:.1e} apart"
    )


def drawing(args: argparse.Namespace) -> None:
    """Print units a second of generate.py's batches, and of the loop that one writes at first."""
    import numpy as np
    import torch

    from networks import sampling, unit_lm

    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    torch.manual_seed(0)
    config = {"arch": "lstm", "vocab_size": UNITS, "embedding_dim": 256, "hidden_size": 512, "num_layers": 2,
              "dropout": 0.0}  # fmt: skip
    model = unit_lm.build(config).eval().to(device)
    asked = [sampling.Sample(f"temp1.0_{n:05}", n, 1.0, 50, 0.95, 250, 42, None) for n in range(1, 17)]

    @torch.inference_mode()
    def one_by_one() -> None:
        for _ in asked:
            unit, state = torch.tensor([UNITS], device=device), None
            for _ in range(250):
                logits, state = model.step(unit, state)
                best, names = logits[:, :UNITS].topk(50)
                shares = best.softmax(1)
                shares[shares.cumsum(1) - shares > 0.95] = 0.0
                unit = names[0, torch.multinomial(shares, 1)[0]]

    found = compare(
        {
            "a sample at a time, torch.multinomial": lambda: time_call(one_by_one),
            f"generate.py: {sampling.ROWS} rows, float64": lambda: time_call(
                sampling.draw, model, asked, device
            ),
        },
        args.rounds,
    )
    units = sum(len(np.array(drawn.units)) for drawn in sampling.draw(model, asked, device))
    rows = [[name, f"{units / run.wall_s:,.0f}", f"{units / run.cpu_s:,.0f}"] for name, run in found.items()]
    title = f"16 samples of 250 units, E256/H512, 2 layers, {args.threads} thread(s), median of {args.rounds}"
    print_table(title, ["way", "units/s", "units/CPU s"], rows)


def main() -> None:
    """Run the part asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = {"speed": speed, "drawing": drawing}
    parser.add_argument("part", choices=parts)
    parser.add_argument("--rounds", type=int, default=5, help="measured runs of each case (default: 5)")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch on a CPU (default: 1)")
    parser.add_argument(
        "--size", type=int, choices=(1, 2), help="only the first or the second size of the model"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--peak-tflops", type=float, help="of the device, for the share of it that is used")
    args = parser.parse_args()
    print_machine()
    parts[args.part](args)


if __name__ == "__main__":
    main()

"""Train a language model that listens: GPT-2, Llama or any causal LM of transformers, given audio with its
text.

    python scripts/train_audio_gpt2.py embeddings/audio_embeddings.pt --transcripts-dir texts
    python scripts/train_audio_gpt2.py metadata/corpus.json --audio-from mel --base-model gpt2
    sbatch slurm/audio_gpt2.slurm metadata/corpus.json --base-model /models/Llama-3.2-1B --freeze-lm

SOURCE is a file {stem: tensor} of embed_pairs.py, with its folder of transcripts or the manifest beside it,
or a manifest whose records have a text and `embedding_filepath` (or mel spectra, `features_filepath`). The
run's folder, checkpoints/audio_gpt2_<LM>_<fusion>_<audio>/<dataset>_s<seed>/, holds config.json, files.json
(which pair is in which part), lm/ (config and tokenizer), metrics.jsonl, curves.png, best.pt, last.pt and
checkpoint_epoch_N.pth of every epoch. The same command goes on where a run stopped. Without --precision a GPU
computes in bf16, an older one in fp16, a CPU in fp32. --plan says what a step takes and trains nothing.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from amela import audio_text_files, slurm, training_files
from amela.audio_text_files import EMBEDDING, MEL
from amela.cli import Parser, add_offline, parser, positive, ratio
from amela.errors import OK, STOPPED, CallError, run_main
from amela.files import make_folder, write_aside
from amela.leaving import leave
from amela.log import log
from amela.manifest import Record
from amela.run_folder import RunFolder
from amela.signals import Stop
from amela.training_flags import add_training

BASE = "openai-community/gpt2-medium"
PLANNED_FRAMES = 500  # of audio in the plan of a step: 10 s of wav2vec 2.0
MIB = 2**20


def parse_args() -> argparse.Namespace:
    """Return the arguments; `settings` pins the language model's revision."""
    flags = parser(__doc__)
    where = flags.add_speed_argument
    where("source", metavar="SOURCE", help="manifest, or .pt file {stem: tensor} of embed_pairs.py")
    where("--transcripts-dir", metavar="DIR", help="folder of a .txt a stem, for a .pt file")
    where("--dataset", metavar="NAME", help="name of the data in the run's folder (default: the source's)")
    where("--checkpoints", "--checkpoint-dir", default="checkpoints", metavar="DIR",
          help="folder of all runs")  # fmt: skip
    where("--plan", action="store_true", help="print the memory that a step takes, in MiB, and end")
    _add_model(flags)
    _add_data(flags)
    add_training(flags)
    flags.add_argument("--warmup-ratio", type=ratio, default=0.1,
                       help="share of all steps that rise, where there are no --warmup-steps")  # fmt: skip
    flags.set_defaults(batch_size=1, grad_accum_steps=16, learning_rate=5e-5, num_epochs=3, schedule="linear",
                       weight_decay=0.01, beta2=0.999, early_stopping=0, checkpoint_epochs=1, log_steps=10,
                       precision=None)  # fmt: skip
    args = flags.parse_args()
    args.dataset = args.dataset or Path(args.source).stem
    return args


def _add_model(flags: Parser) -> None:
    add, add_speed = flags.add_argument, flags.add_speed_argument
    add("--base-model", "--model", dest="model", default=BASE, help="causal LM: hub id or folder")
    add("--revision", default="main", help="branch, tag or commit of a hub model; pinned when a run begins")
    add_offline(add_speed)
    add("--fusion", choices=["cross", "prefix"], default="cross",
        help="text attends to the audio through gates, or the audio stands before it")  # fmt: skip
    add("--cross-every", type=positive, default=4, metavar="N",
        help="every N-th layer of the LM, from the first, listens")  # fmt: skip
    add("--stride", type=positive, default=4, metavar="N", help="frames of audio joined to one position")
    add("--freeze-lm", action="store_true", help="train the new weights only")
    add_speed("--gradient-checkpointing", action=argparse.BooleanOptionalAction, default=True,
              help="compute activations again in the backward pass: more time, less memory")  # fmt: skip


def _add_data(flags: Parser) -> None:
    add = flags.add_argument
    add("--audio-from", choices=[EMBEDDING, MEL], default=EMBEDDING, help="array of a manifest's records")
    add("--audio", choices=["real", "shuffled", "zero"], default="real",
        help="for ablations: audio of another text, or one frame of zeros")  # fmt: skip
    add("--text-field", metavar="FIELD", help="field with the text (default: whisperx_text, else text)")
    add("--max-length", type=positive, default=512, metavar="N",
        help="tokens of a text, its end among them; longer ones are cut")  # fmt: skip
    add("--audio-learning-rate", type=float, default=1e-3, help="of the new weights, which begin at random")
    add("--train-ratio", type=ratio, default=0.9, help="share of the recordings that is trained on")
    add("--split-by", metavar="FIELD", help="keep records of one value together, e.g. speaker")
    add("--skip-missing", action="store_true", help="leave out what lacks audio or text")


def resolve(args: argparse.Namespace) -> None:
    """Pin the language model, choose the precision, and say where the run goes."""
    from media import hub

    if args.source.endswith(".pt") and args.audio_from != EMBEDDING:
        raise CallError(
            f"{args.source}: holds embeddings; wanted a manifest for --audio-from {args.audio_from}"
        )
    if not os.path.exists(args.source):
        raise CallError(f"{args.source}: no such file; wanted a manifest, or a .pt of embed_pairs.py")
    hub.pin(args, CallError)
    if args.precision is None:
        args.precision = args.settings["precision"] = _precision(args.device)
    name = os.path.basename(args.settings["model"])
    kind = EMBEDDING if args.source.endswith(".pt") else args.audio_from
    parts = ["audio_gpt2", name, args.fusion, kind, *([] if args.audio == "real" else [args.audio])]
    args.folder = os.path.join(args.checkpoints, "_".join(parts), f"{args.dataset}_s{args.seed}")


def _precision(device: str) -> str:
    from networks.device import DeviceError, choose

    try:
        if choose(device) == "cpu":
            return "fp32"
    except DeviceError as exc:
        raise CallError(str(exc)) from exc
    import torch

    return "bf16" if torch.cuda.get_device_capability()[0] >= 8 else "fp16"  # 8: Ampere


def train(args: argparse.Namespace, stop: Stop) -> int:
    """Train the run to its end, or until a signal; returns the exit status."""
    from media import hub
    from media.frames import FramesError
    from networks import audio_text_run, curves, language_model, running
    from networks.weights import WeightsError

    base = hub.folder_of(args.model, args.revision)
    cache = str(make_folder(Path(args.checkpoints) / "audio"))
    run = RunFolder(args.folder, slurm.here())

    def prepare() -> tuple[dict[str, Any], list[Record]]:
        pairs = _pairs(args, run.path)
        made_with = audio_text_files.made_with(
            [pair["audio"] for pair in pairs], args.source, args.audio_from
        )
        width = audio_text_run.pack(pairs, args.audio_from, cache, write_aside).values.shape[1]
        language_model.save_shape(base, str(run.path / "lm"))
        counts = {split: sum(pair["split"] == split for pair in pairs) for split in ("train", "valid")}
        facts = {f"{split}_pairs": count for split, count in counts.items()}
        digest = training_files.digest(run.path / training_files.FILES)
        facts.update(files_sha256=digest, width=width, made_with=made_with, **audio_text_run.FACTS)
        return run.freeze(args.settings, facts), pairs

    def build(config: dict[str, Any], pairs: list[Record], group: Any, device: Any) -> Any:
        return audio_text_run.build(
            base, config, pairs, cache, write_aside, group, device, args.gradient_checkpointing, log
        )

    def gone(gained: bool) -> None:
        leave(stop, slurm.here(), gained, "step")

    bad_input = (FramesError, WeightsError, audio_text_run.AudioTextError)
    outside = running.Outside(run, stop, write_aside, log, gone, CallError, bad_input)
    ended = running.run(outside, args, prepare, build)
    if ended.first:
        log(curves.draw(str(run.path), "nats a token", write_aside))
    return STOPPED if ended.result is None else OK


def _pairs(args: argparse.Namespace, folder: Path) -> list[Record]:
    from media.texts import text_of
    from networks.embedding_file import stems_of

    return audio_text_files.choose_pairs(
        folder, args.source, args.settings, lambda record: text_of(record, args.text_field)[0],
        lambda: stems_of(args.source), args.transcripts_dir,
    )  # fmt: skip


def plan(args: argparse.Namespace) -> None:
    """Print what a step of --batch-size texts of --max-length tokens takes, with and without checkpoints."""
    from media import hub
    from networks.audio_text_run import step_bytes

    base = hub.folder_of(args.model, args.revision)
    kinds = ("weights", "gradients", "moments", "activations", "total")
    print(f"MiB, {args.batch_size} × {args.max_length} tokens, {args.precision}: {', '.join(kinds)}")
    for checkpoints in (True, False):
        found = step_bytes(base, args.settings, PLANNED_FRAMES, checkpoints)
        sizes = [f"{size // MIB:,}" for size in (*found, found.total())]
        print(f"{'with' if checkpoints else 'without'} gradient checkpointing: {', '.join(sizes)}")


def main() -> int:
    """Train, or plan; returns the exit status."""
    args = parse_args()
    stop = Stop().listen()
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # less lies idle between
    if args.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts
    resolve(args)
    if args.plan:
        plan(args)
        return OK
    return train(args, stop)


if __name__ == "__main__":
    run_main(main)

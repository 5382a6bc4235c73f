"""Let a model of train_audio_gpt2.py listen to a recording and go on after a text.

    python scripts/infer_audio_gpt2.py --model-path RUN_FOLDER --input-text "The" --audio-file talk.wav
    python scripts/infer_audio_gpt2.py --model-path RUN_FOLDER/checkpoint_epoch_2.pth --audio-file talk.wav

Prints what the model writes, without the text that was given. The recording goes through the encoder that
the training data went through, named in config.json; it is looked for in the hub's cache, or is
--audio-model. Without --input-text the model begins by itself; it ends where it has learnt to.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

from amela.cli import add_device, add_offline, not_negative, parser, positive
from amela.errors import OK, CallError, run_main
from amela.run_folder import CONFIG

BEST = "best.pt"
ARCH = "audio_gpt2"


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    flags = parser(__doc__)
    add = flags.add_argument
    add(
        "--model-path",
        required=True,
        metavar="PATH",
        help="run folder, or a best.pt, checkpoint_epoch_N.pth in it",
    )
    add("--input-text", default="", metavar="TEXT", help="what the text begins with")
    add("--audio-file", required=True, metavar="WAV", help="recording")
    add("--max-new-tokens", type=positive, default=128, metavar="N", help="tokens written at most")
    add("--temperature", type=temperature, default=0.0, metavar="T",
        help="flattens (above 1) or sharpens the probabilities; 0: the likeliest token")  # fmt: skip
    add("--seed", type=not_negative, default=42, help="of the draws, where the temperature is above 0")
    add(
        "--audio-model",
        metavar="PATH",
        help="folder or file of the encoder of the audio (default: the hub's)",
    )
    add_device(add)
    add_offline(add)
    return flags.parse_args()


def temperature(text: str) -> float:
    """Read a number of at least 0."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of at least 0")
    return number


def find(model_path: str) -> tuple[Path, Path, dict[str, Any]]:
    """Return (run folder, checkpoint, config); CallError where it is no run of train_audio_gpt2.py."""
    given = Path(model_path)
    folder = given if given.is_dir() else given.parent
    checkpoint = folder / BEST if given.is_dir() else given
    wanted = f"wanted a run folder of train_audio_gpt2.py, or its {BEST} in its place"
    if not given.exists():
        raise CallError(f"{given}: no such file; {wanted}")
    if not (folder / CONFIG).exists():
        raise CallError(f"{given}: no {CONFIG} in {folder}; {wanted}")
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if config.get("arch") != ARCH:
        raise CallError(f"{given}: a run of {config.get('arch')!r}; {wanted}")
    if not checkpoint.exists():
        raise CallError(f"{checkpoint}: not there yet; wanted a run that was evaluated once: go on training")
    return folder, checkpoint, config


def encoder_of(args: argparse.Namespace, made_with: dict[str, Any]) -> str:
    """Return the folder or file of the encoder of the audio, "" where it needs none; CallError where it is
    not here, or another one.
    """
    from media import hub

    if made_with["from"] == "mel":
        return ""
    name, revision = made_with.get("model"), made_with.get("revision")
    if args.offline:
        hub.go_offline()
    try:
        if args.audio_model is None:
            if name is None or ":" in str(
                revision
            ):  # a local path: its weights are known, not where they lie
                what = "does not say by which encoder" if name is None else f"says by {name}, a local path"
                raise CallError(
                    f"the run's audio was embedded, and {CONFIG} {what}; name it by --audio-model PATH"
                )
            return hub.folder_of(name, revision)
        found = hub.revision_of(args.audio_model, revision if not hub.is_local(args.audio_model) else "main")
    except hub.ModelError as exc:
        raise CallError(str(exc)) from exc
    except OSError as exc:  # of the hub's client
        raise CallError(f"{name}: {str(exc).splitlines()[0]}; name its folder by --audio-model PATH") from exc
    if revision is not None and hub.is_local(args.audio_model) and ":" in revision and found != revision:
        raise CallError(
            f"--audio-model {args.audio_model}: its weights are {found}; the run's audio was made by {name}, "
            f"{revision}"
        )
    return hub.folder_of(args.audio_model, found)


def write(args: argparse.Namespace) -> int:
    """Print what the model writes; returns the exit status."""
    from networks.audio_generate import Writer
    from networks.audio_text_run import AudioTextError
    from networks.checkpoints import CheckpointError
    from networks.device import DeviceError
    from networks.hearing import HearingError, hear
    from networks.weights import WeightsError

    if not os.path.exists(args.audio_file):
        raise CallError(f"--audio-file {args.audio_file}: no such file")
    folder, checkpoint, config = find(args.model_path)
    encoder = encoder_of(args, config["made_with"])
    try:
        frames = hear(args.audio_file, config["made_with"], encoder, args.device)
        writer = Writer(str(folder / "lm"), str(checkpoint), args.device)
        written = writer.write(frames, args.input_text, args.max_new_tokens, args.temperature, args.seed)
    except (AudioTextError, CheckpointError, DeviceError, HearingError, WeightsError) as exc:
        raise CallError(str(exc)) from exc
    print(written.text)
    if not written.ended:
        print(f"(cut at {written.tokens} tokens)", file=sys.stderr)
    return OK


def main() -> int:
    """Read the command line and do it; returns the exit status."""
    return write(parse_args())


if __name__ == "__main__":
    run_main(main)

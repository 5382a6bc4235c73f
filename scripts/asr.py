"""Transcribe the records of a manifest: adds `text`, `asr` (backend, model, revision, settings) and
`asr_segments`.

    python scripts/asr.py metadata/corpus.json
    sbatch --array=0-15 slurm/asr.slurm metadata/corpus.json --field pred_text

Backends: canary (NVIDIA Canary-Qwen 2.5B, English), nemo (any NeMo ASRModel by hub id or .nemo file) and
pocketsphinx (English on a CPU, its model in the package: for demos and tests). Records longer than
--max-duration-s are cut at the silences of the field `speech` (made by vad.py; where it is missing, speech is
searched on the fly) and joined again. A record without speech gets "" and the flag no_speech: recognisers
invent text in noise.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from typing import Any

from amela.cli import add_device, add_offline, cpus, positive, seconds, stage_parser
from amela.errors import CallError, run_main
from amela.log import log
from amela.manifest import record_key
from amela.stage import run_shard

SETTINGS = {  # which settings a backend has; the others do not touch its results and stay out of `asr`
    "canary": ("model", "revision", "dtype", "max_duration_s", "prompt", "max_new_tokens"),
    "nemo": ("model", "revision", "dtype", "max_duration_s", "timestamps", "source_lang", "target_lang"),
    "pocketsphinx": ("model", "revision", "max_duration_s", "timestamps"),
}
DTYPES = {"canary": "bfloat16", "nemo": "float32"}
GPU_RECORDS, CPU_RECORDS = 256, 8  # handed over at once: enough to fill a GPU with short clips
GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, WSL: seen without loading torch
AUDIO = "audio_filepath"
CPU_BATCH_S = 80.0  # padded seconds; on a CPU larger batches gain nothing


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line, `settings` reduced to those of the backend."""
    parser = stage_parser(__doc__, batch_size=None, workers=None)
    add, add_speed = parser.add_argument, parser.add_speed_argument
    add("--backend", choices=list(SETTINGS), default="canary", help="recogniser")
    add("--model", help="hub id, folder or .nemo file (default: nvidia/canary-qwen-2.5b for canary)")
    add("--revision", default="main", help="branch, tag or commit of a hub model; pinned at the first task")
    add(
        "--dtype",
        choices=["auto", "bfloat16", "float16", "float32"],
        default="auto",
        help="numbers of the weights (default: bfloat16 for canary, float32 for nemo)",
    )
    add("--max-duration-s", type=seconds, default=40.0, help="longer records are cut at silences, in seconds")
    add("--prompt", default="Transcribe the following: ", help="what canary is asked to do")
    add(
        "--max-new-tokens",
        type=positive,
        default=256,
        help="longest answer of canary, in tokens; more is flagged",
    )
    add("--timestamps", action="store_true", help="keep the times of words (nemo, pocketsphinx)")
    add(
        "--audio-field",
        default=AUDIO,
        metavar="FIELD",
        help="hear the file that this field names; what is heard in sts_filepath goes to sts_text",
    )
    add("--source-lang", default="en", help="language spoken, for nemo models that are told")
    add("--target-lang", default="en", help="language written, for nemo models that translate")
    add_device(add_speed)
    add_speed(
        "--batch-s", type=seconds, help="padded seconds of audio a batch (default: what fits on the GPU)"
    )
    add_offline(add_speed)
    args = parser.parse_args()
    resolve(args)
    return args


def resolve(args: argparse.Namespace) -> None:
    """Fill in what depends on the backend, and pin the model's revision: it is frozen in the deal."""
    from media import hub

    if args.offline:
        hub.go_offline()
    embedded = args.backend == "pocketsphinx"
    if embedded:
        _pin_pocketsphinx(args)
    else:
        _pin_model(args)
    values = {name: getattr(args, name) for name in SETTINGS[args.backend]}
    values["model"] = hub.name_of(args.model)
    if args.audio_field != AUDIO:
        values["audio_field"] = args.audio_field
        args.field = args.field or f"{stem_of(args.audio_field)}_text"
    args.settings.clear()
    args.settings.update(backend=args.backend, **values)
    on_gpu = args.device != "cpu" and any(map(os.path.exists, GPU_DEVICES))
    args.batch_size = args.batch_size or (1 if embedded else GPU_RECORDS if on_gpu else CPU_RECORDS)
    args.workers = args.workers or (cpus() if embedded else 1)


def _pin_pocketsphinx(args: argparse.Namespace) -> None:
    from media import pocketsphinx_asr

    if args.model:
        raise CallError(f"--model {args.model}: pocketsphinx has the model of its package only; leave it out")
    if importlib.util.find_spec("pocketsphinx") is None:
        raise CallError(_elsewhere(args.backend, "pocketsphinx", "local"))
    args.model, args.revision = pocketsphinx_asr.MODEL, pocketsphinx_asr.revision()


def _pin_model(args: argparse.Namespace) -> None:
    from media import canary, hub

    if args.backend == "canary" and args.timestamps:
        raise CallError("--timestamps: canary knows no times of words; use --backend nemo, or leave it out")
    if args.backend == "nemo" and not args.model:
        raise CallError(
            "--backend nemo needs --model: a hub id such as nvidia/parakeet-tdt-0.6b-v3, or a .nemo file"
        )
    if importlib.util.find_spec("nemo") is None:
        raise CallError(_elsewhere(args.backend, "NeMo", "asr") + ", or take --backend pocketsphinx")
    args.model = args.model or canary.MODEL
    args.dtype = DTYPES[args.backend] if args.dtype == "auto" else args.dtype
    try:
        args.revision = hub.revision_of(args.model, args.revision)
    except hub.ModelError as error:
        raise CallError(str(error)) from error


def _elsewhere(backend: str, package: str, environment: str) -> str:
    return (
        f"--backend {backend}: {package} is not in this environment ({sys.executable}); run with "
        f"envs/.built/{environment}/bin/python (made by `make env ENV={environment}`)"
    )


def load(args: argparse.Namespace) -> Any:
    """Return a function: batch of records → for each a dict (text, segments, vad, flags) or an Exception."""
    from media import any_vad, audio, padding
    from media.transcribing import Transcriber

    recognise, on_gpu = _recogniser(args)
    _try_out(args, recognise)
    vad, find_speech = any_vad.load()
    batch_s = args.batch_s or (0.0 if args.backend == "pocketsphinx" else CPU_BATCH_S)
    if on_gpu and not args.batch_s:
        batch_s = padding.seconds_that_fit(recognise, args.max_duration_s, audio.SAMPLE_RATE)
        log(f"batches of {batch_s:.0f} padded seconds fit on this GPU")
    threads = max(1, cpus() // args.workers)
    transcriber = Transcriber(recognise, find_speech, vad, batch_s, args.max_duration_s, threads, log)
    return transcriber, args.settings


def _recogniser(args: argparse.Namespace) -> tuple[Any, bool]:
    """The backend's function from clips to texts, and whether it runs on a GPU."""
    from media import hub

    if args.backend == "pocketsphinx":
        from media import pocketsphinx_asr

        return pocketsphinx_asr.load(args.timestamps), False
    import torch

    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    log(f"loading {args.model} at {args.revision} on {device}")
    if args.backend == "canary":
        from media import canary

        folder = hub.folder_of(args.model, args.revision)
        recognise = canary.load(folder, device, args.dtype, args.prompt, args.max_new_tokens)
    else:
        from media import nemo_asr

        path = hub.nemo_file_of(args.model, args.revision)
        recognise = nemo_asr.load(
            path, device, args.dtype, args.timestamps, args.source_lang, args.target_lang
        )
    return recognise, device.startswith("cuda")


def _try_out(args: argparse.Namespace, recognise: Any) -> None:
    """Let the model hear a second of noise: what it refuses on that, it refuses on every record."""
    import numpy as np

    from media.transcribing import is_device_broken, is_out_of_memory

    noise = np.random.default_rng(0).normal(0, 0.01, 16_000).astype(np.float32)
    try:
        recognise([noise])
    except Exception as error:
        if is_device_broken(error) or is_out_of_memory(error):
            raise
        settings = " ".join(f"{name}={value}" for name, value in args.settings.items())
        raise CallError(
            f"the model cannot transcribe as asked ({settings}): {type(error).__name__}: {error}"
        ) from error


def process(model: Any, batch: list[dict[str, Any]]) -> list[Any]:
    """Return the new fields of each record, or the Exception that its audio or its transcription raised."""
    transcriber, settings = model
    if "audio_field" in settings:
        batch = [made_audio(record, settings["audio_field"]) for record in batch]
    return [
        found if isinstance(found, Exception) else {
            "text": found["text"],
            "asr": {**settings, "vad": found["vad"], "flags": found["flags"]},
            "asr_segments": found["segments"],
        }
        for found in transcriber.records(batch)
    ]  # fmt: skip


def made_audio(record: dict[str, Any], field: str) -> dict[str, Any]:
    """Return the record of a file that a stage made of a record: all of it, with the speech found before."""
    if not record.get(field):
        raise ValueError(f"{record_key(record)}: no {field} to hear; wanted the stage that makes it before")
    made = {AUDIO: record[field], "duration": record.get(f"{stem_of(field)}_duration")}
    return {**made, "speech": record["speech"]} if "speech" in record else made


def stem_of(field: str) -> str:
    """Return what the fields of one stage's files have in common: sts of sts_filepath."""
    return field.removesuffix("_filepath")


def main() -> int:
    """Transcribe this task's shard; returns the exit status."""
    args = parse_args()
    return run_shard(args, stage="asr", fields=("text", "asr", "asr_segments"), load=load, process=process)


if __name__ == "__main__":
    run_main(main)

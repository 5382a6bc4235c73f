"""Speech to speech: encode each recording as units and speak them again, in one pass: adds `sts_filepath` and
`sts_duration` (s).

    sbatch --array=0-15 slurm/sts.slurm metadata/corpus.json DATASET [NUM_TASKS]
    python scripts/sts.py metadata/corpus.json DATASET --speaker lj --style read-default

Files go to output/DATASET/, 16 kHz WAV, and mirror the audio's path below the folder DATASET; a record whose
path has no such folder gets an error. A file that the same settings made of the same recording is left as it
is. Encoder, codebook and vocoder by name or path; each weight must have its place, or the file is refused.
--backend textless runs textlesslib and fairseq themselves, to compare with, in the environment `sts`:

    AMELA_ENV=sts AMELA_TEXTLESSLIB=/path/to/textlesslib sbatch slurm/sts.slurm … --backend textless
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from typing import Any

from amela.cli import add_device, cpus, positive, seconds, stage_parser
from amela.errors import CallError, run_main
from amela.manifest import record_key
from amela.outputs import below, check_collisions, claim_folder, relative_target, write_output
from amela.stage import run_shard
from networks import catalogue

SAMPLE_RATE = 16_000  # Hz


def parse_args() -> argparse.Namespace:
    """Return the arguments; `settings` names the models and pins their revisions."""
    parser = stage_parser(__doc__, batch_size=1, workers=None)
    add, add_speed = parser.add_argument, parser.add_speed_argument
    add(
        "dataset",
        help="folder in the audio's paths below which they are mirrored, and name of the output folder",
    )
    add("--encoder", default=catalogue.MHUBERT, metavar="M", help=catalogue.ENCODER_HELP)
    add("--kmeans", default="kmeans-expresso", metavar="K", help="name or file of the codebook")
    add("--vocoder", metavar="V", help=catalogue.VOCODER_HELP)
    add(
        "--layer",
        type=positive,
        metavar="L",
        help="features of this layer, from 1 (default: the named encoder's, else 12)",
    )
    add("--speaker", metavar="NAME", help="voice, of the vocoder's speakers.txt (default: the first)")
    add("--style", metavar="NAME", help="style, of the vocoder's styles.txt (default: the first)")
    add(
        "--dtype",
        choices=["float32", "bfloat16", "float16"],
        default="float32",
        help="numbers of the encoder",
    )
    add("--chunk-s", type=seconds, default=100.0, help="longer recordings are cut here, in seconds")
    add("--output", metavar="DIR", help="folder of the files (default: output/DATASET)")
    add_device(add_speed)
    add("--backend", choices=["native", "textless"], default="native", help="whose programs do it")
    args = parser.parse_args()
    resolve(args)
    return args


def resolve(args: argparse.Namespace) -> None:
    """Find the models, pin their revisions, and fill in what depends on the machine."""
    paths = {}
    try:
        args.layer = catalogue.layer_of(args.encoder, args.layer)
        paths["encoder"] = catalogue.find_encoder(args.encoder)
        paths["kmeans"] = catalogue.find_kmeans(args.encoder, args.kmeans)
        paths["vocoder"] = catalogue.find_vocoder(args.encoder, args.kmeans, args.vocoder)
        revisions = {f"{name}_revision": catalogue.revision_of(path) for name, path in paths.items()}
    except catalogue.NotHereError as error:
        raise CallError(str(error)) from error
    args.paths = paths
    names = {"encoder": args.encoder, "kmeans": args.kmeans, "vocoder": paths["vocoder"]}
    args.settings.update({name: catalogue.short_name(model) for name, model in names.items()})
    args.settings.update(layer=args.layer, **revisions)
    args.folder = os.path.abspath(args.output or os.path.join("output", args.dataset))
    args.workers = args.workers or (1 if catalogue.may_have_gpu(args.device) else cpus())


def load(args: argparse.Namespace) -> Any:
    """Return the encoder, the vocoder, and where files go."""
    from networks.codebook import check_encoder
    from networks.vocoder import same_codebook
    from networks.weights import WeightsError

    try:
        check_encoder(args.paths["kmeans"], args.settings)
        encoder, vocoder = load_native(args) if args.backend == "native" else load_textless(args)
        same_codebook(vocoder, encoder.kmeans.vocabulary)
    except WeightsError as error:
        raise CallError(str(error)) from error
    if not args.only:
        settings = {name: value for name, value in args.settings.items() if name != "output"}
        claim_folder(args.folder, settings, anew=args.fresh or args.overwrite)
    return encoder, vocoder, args


def load_native(args: argparse.Namespace) -> tuple[Any, Any]:
    """Return our encoder and vocoder."""
    from networks.encoder import Encoder
    from networks.vocoder import open_vocoder

    paths = args.paths
    encoder = Encoder(paths["encoder"], args.layer, paths["kmeans"], args.device, args.dtype, args.chunk_s)
    return encoder, open_vocoder(paths["vocoder"], paths["kmeans"], args.speaker, args.style, args.device)


def load_textless(args: argparse.Namespace) -> tuple[Any, Any]:
    """Return textlesslib's encoder and vocoder; our readers have looked at the files before."""
    from compat import textless_backend
    from networks.hifigan import index_of, load_hifigan
    from networks.hubert import load_fairseq

    if (args.dtype, args.chunk_s) != ("float32", textless_backend.CHUNK_S):
        raise CallError("--backend textless: it knows neither --dtype nor --chunk-s; leave them out")
    paths = args.paths
    if set(paths.values()) & set(catalogue.BUILT_IN):
        raise CallError("--backend textless: it knows neither mfcc nor griffinlim; leave --backend out")
    load_fairseq(paths["encoder"], args.layer)
    _, speakers, styles = load_hifigan(paths["vocoder"])
    voice = index_of(args.speaker, speakers, "speaker"), index_of(args.style, styles, "style")
    try:
        encoder = textless_backend.Encoder(paths["encoder"], args.layer, paths["kmeans"], args.device)
    except textless_backend.BackendError as error:
        raise CallError(str(error)) from error
    return encoder, textless_backend.Vocoder(paths["vocoder"], *voice, args.device)


def process(model: Any, batch: list[dict[str, Any]]) -> list[Any]:
    """Return the fields of each record whose file is there, or the exception of its audio."""
    found: list[Any] = []
    for record in batch:
        try:
            found.append(resynthesise(record, *model))
        except ValueError as error:  # of the audio, its length, its place
            found.append(error)
    return found


class PlaceError(ValueError):
    """A record whose path does not say where its file goes."""


def resynthesise(
    record: dict[str, Any], encoder: Any, vocoder: Any, args: argparse.Namespace
) -> dict[str, Any]:
    """Write a record's file unless it is there, and return its fields."""
    import numpy as np

    from media.audio import record_window, stream_mono
    from networks.vocoder import samples_of, write_wav

    target = target_of(record, args)
    if target is None:
        raise PlaceError(
            f"{record.get('audio_filepath') or record_key(record)}: no folder {args.dataset!r} in the path; "
            "wanted DATASET to be one, as files are mirrored below it"
        )
    if os.path.realpath(target) == os.path.realpath(record["audio_filepath"]):
        raise PlaceError(f"{target}: the resynthesis would replace the recording; wanted another --output")
    made_of = mark(record, args)
    anew = args.fresh or args.overwrite
    samples = None if anew or args.only else samples_of(target, made_of)
    if samples is None:
        units = encoder.units(stream_mono(**record_window(record)))
        if args.only:
            return {"sts_filepath": target, "sts_duration": round(len(units) * encoder.hop_s, 6)}
        with write_output(target) as file:
            samples = write_wav(file, vocoder.speak(units, np.ones(len(units), int)), made_of)
    return {"sts_filepath": target, "sts_duration": round(samples / SAMPLE_RATE, 6)}


def mark(record: dict[str, Any], args: argparse.Namespace) -> str:
    """Return what a file says of itself: a digest of the settings and of the recording it was made of."""
    settings = {name: value for name, value in args.settings.items() if name not in ("output", "dataset")}
    source = [record.get(name) for name in ("audio_filepath", "channel", "offset")]
    parts = [settings, source, record.get("duration") if record.get("offset") is not None else None]
    text = json.dumps(parts, sort_keys=True)
    return "AMELA sts " + hashlib.sha256(text.encode()).hexdigest()[:32]


def target_of(record: dict[str, Any], args: argparse.Namespace) -> str | None:
    """Return the path of a record's file, None where the dataset is not in the audio's path."""
    audio = record.get("audio_filepath")
    if audio is None or below(audio, args.dataset) is None:
        return None
    return os.path.join(args.folder, relative_target(record, args.dataset) + ".wav")


def main() -> int:
    """Resynthesise this task's shard; returns the exit status."""
    args = parse_args()
    if not args.only:
        check_collisions(args.manifest, lambda record: target_of(record, args))
    return run_shard(args, stage="sts", fields=("sts_filepath", "sts_duration"), load=load, process=process)


if __name__ == "__main__":
    run_main(main)

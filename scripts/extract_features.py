"""Mel spectra, cepstra, pitch, energy, rate of speech of each record: adds `features_filepath` and figures.

    sbatch --array=0-15 slurm/features.slurm metadata/corpus.json
    python scripts/extract_features.py metadata/corpus.json --features pitch,energy,rate

Frames stand every 10 ms, their centres at t · hop. In the files: `mel` and `mfcc` (librosa's definitions,
dB), `f0_hz` (0 where unvoiced), `voicing`, `energy_db`. In the records: f0_median_hz, f0_semitone_sd (around
the record's median), voiced_ratio, energy_db (RMS of all samples, dB re full scale), rate_syl_s (syllable
nuclei), words_per_s and phones_per_s where there is `text` and `ipa`, each a second of speech, and
`functionals`. What cannot be said of a record, as the pitch of silence, is null.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from amela.cli import cpus, positive, stage_parser
from amela.errors import CallError, run_main
from amela.manifest import record_key
from amela.outputs import check_collisions, claim_folder, relative_target, write_output
from amela.stage import run_shard

FEATURES = ("mfcc", "mel", "pitch", "energy", "rate", "functionals")
IN_FILES = {"mfcc", "mel", "pitch", "energy"}
FIELDS = (
    "features_filepath",
    "rate_syl_s",
    "functionals",
    "f0_median_hz",
    "f0_semitone_sd",
    "voiced_ratio",
    "energy_db",
    "words_per_s",
    "phones_per_s",
)
ENGINES = ("amela", "pyin", "praat", "swift")
RECORDS = {"parquet": 128, "npz": 32}  # handed over at once: at most so many in a part
STORED = 0  # --sample-rate: each recording's own


def features(text: str) -> str:
    """Read a list of features; return it in their own order, each once."""
    names = set(text.split(","))
    unknown = names - set(FEATURES)
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no feature {', '.join(sorted(unknown))}; there are {', '.join(FEATURES)}"
        )
    return ",".join(name for name in FEATURES if name in names)


def sample_rate(text: str) -> int:
    """Read a sample rate in Hz, or `stored`."""
    rate_hz = STORED if text == "stored" else int(text)
    if rate_hz != STORED and not 4000 <= rate_hz <= 192_000:
        raise argparse.ArgumentTypeError(f"{text} is not from 4000 to 192000 Hz")
    return rate_hz


def hop(text: str) -> float:
    """Read a hop in milliseconds."""
    number = float(text)
    if not 1 <= number <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to 1000 ms")
    return number


def hertz(text: str) -> float:
    """Read a pitch in Hz."""
    number = float(text)
    if not 20 <= number <= 5000:
        raise argparse.ArgumentTypeError(f"{text} is not from 20 to 5000 Hz")
    return number


def parse_args() -> argparse.Namespace:
    """Return the arguments; what depends on the machine is filled in."""
    parser = stage_parser(__doc__, batch_size=None, workers=None)
    add, add_speed = parser.add_argument, parser.add_speed_argument
    add(
        "--features",
        type=features,
        default=",".join(FEATURES),
        metavar="A,B",
        help="any of them, joined by commas (default: all)",
    )
    add("--sample-rate", type=sample_rate, default=16_000, metavar="HZ", help="in Hz; `stored`: as it is")
    add("--hop-ms", type=hop, default=10.0, help="from frame to frame, in milliseconds")
    add("--n-fft", type=positive, metavar="N", help="window of the spectrum, in samples (default: 25 ms)")
    add("--n-mels", type=positive, default=80, metavar="N", help="mel bands from 0 Hz to half the rate")
    add("--n-mfcc", type=positive, default=20, metavar="N", help="cepstra, the 0th included")
    add("--pitch-engine", choices=ENGINES, default=ENGINES[0], help="tracker of the pitch")
    add("--f0-min-hz", type=hertz, default=60.0, metavar="HZ", help="lowest pitch, in Hz")
    add("--f0-max-hz", type=hertz, default=600.0, metavar="HZ", help="highest pitch, in Hz")
    add(
        "--format", choices=list(RECORDS), default="parquet", help="parts of many records, or a file a record"
    )
    add("--output", metavar="DIR", help="folder of the files (default: output/<dataset>_features[_<field>])")
    add_speed("--device", default="cpu", help="cpu, cuda, cuda:1, or auto: a GPU where there is one")
    args = parser.parse_args()
    resolve(args)
    return args


def resolve(args: argparse.Namespace) -> None:
    """Check what must fit together, and fill in what depends on the machine."""
    args.wanted = frozenset(args.features.split(","))
    if args.n_mfcc > args.n_mels:
        raise CallError(
            f"--n-mfcc {args.n_mfcc} --n-mels {args.n_mels}: wanted at most as many cepstra as bands"
        )
    if "functionals" in args.wanted and args.n_mels < 5:
        raise CallError(f"--n-mels {args.n_mels}: wanted at least 5 for functionals")
    if args.n_fft and args.n_fft % 2:
        raise CallError(f"--n-fft {args.n_fft}: wanted an even number of samples")
    if not args.f0_min_hz < args.f0_max_hz:
        raise CallError(
            f"--f0-min-hz {args.f0_min_hz:g} --f0-max-hz {args.f0_max_hz:g}: wanted min below max"
        )
    if args.sample_rate != STORED and args.sample_rate < 4 * args.f0_max_hz:
        raise CallError(
            f"--sample-rate {args.sample_rate}: wanted at least 4 times --f0-max-hz {args.f0_max_hz:g}"
        )
    args.dataset = os.path.basename(args.manifest).removesuffix(".json")
    args.batch_size = args.batch_size or RECORDS[args.format]
    args.workers = args.workers or (cpus() if args.device == "cpu" else 1)


def load(args: argparse.Namespace) -> Any:
    """Return what makes the features of a batch, and the folder of the files."""
    from media.errors import EngineError
    from networks.device import DeviceError, choose
    from networks.encoder import prepare_device
    from networks.extraction import Extractor
    from networks.frame_features import Settings
    from networks.pitch_engines import load_pitch_engine

    try:
        device = prepare_device(choose(args.device))
        track = None if args.pitch_engine == ENGINES[0] else load_pitch_engine(args.pitch_engine)
    except (DeviceError, EngineError) as error:
        raise CallError(str(error)) from error
    name = "_".join([args.dataset, "features", *filter(None, [args.field])])
    folder = os.path.abspath(args.output or os.path.join("output", name))
    if args.wanted & IN_FILES and not args.only:
        made_with = {name: value for name, value in args.settings.items() if name != "output"}
        claim_folder(folder, made_with, anew=args.fresh or args.overwrite)
    settings = Settings(
        args.wanted, args.hop_ms, args.n_fft, args.n_mels, args.n_mfcc, args.f0_min_hz, args.f0_max_hz, track
    )
    return Extractor(settings, args.sample_rate, device), folder, args


def process(model: Any, batch: list[dict[str, Any]]) -> list[Any]:
    """Return the fields of each record whose arrays are written, or the exception of its audio."""
    from media.frames import store

    extractor, folder, args = model
    found = extractor.extract(batch)
    if args.only or not args.wanted & IN_FILES:
        return [one if isinstance(one, Exception) else one.figures for one in found]
    items = [
        one if isinstance(one, Exception) else (record_key(record), record, one.arrays, one.notes)
        for record, one in zip(batch, found)
    ]
    sources = store(
        items, folder, args.format, lambda record: relative_target(record, args.dataset), write_output
    )
    return [
        one if isinstance(one, Exception) else {"features_filepath": source, **one.figures}
        for one, source in zip(found, sources)
    ]


def main() -> int:
    """Extract the features of this task's shard; returns the exit status."""
    args = parse_args()
    if args.format == "npz" and args.wanted & IN_FILES and not args.only:
        check_collisions(args.manifest, lambda record: relative_target(record, args.dataset))
    own = {
        "features_filepath": args.wanted & IN_FILES,
        "rate_syl_s": "rate" in args.wanted,
        "functionals": True,
    }
    first = next(name for name, is_made in own.items() if is_made)  # its presence says that a record is done
    fields = (first, *(name for name in FIELDS if name != first))
    return run_shard(args, stage="features", fields=fields, load=load, process=process)


if __name__ == "__main__":
    run_main(main)

"""Codecs: encoding and decoding beside the original packages, full-size random weights, one thread.

    envs/.built/dac/bin/python benchmarks/codec.py [--rounds 3] [--seconds 5 60] [--codecs encodec_24khz …]

The environment `dac` has all packages but NeMo's, whose codec the project runs by NeMo itself. A peer is the
package's own call on one recording, with no more done to it: encodec's model.encode and model.decode, dac's
preprocess and encode, and decoder, vocos' codes_to_features and decode. × real time by wall, the medians of
the rounds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import ROOT, SCRIPTS, compare, print_machine, print_table, time_call

sys.path[:0] = [str(SCRIPTS), str(ROOT / "tests" / "envs")]

SPEECH_RATES = {"encoder_rates": [2, 4, 5, 8], "decoder_rates": [8, 5, 4, 2]}
DAC = {
    "dac_16khz": {"sample_rate": 16_000, "n_codebooks": 12, **SPEECH_RATES},
    "dac_24khz": {"sample_rate": 24_000, "n_codebooks": 32, **SPEECH_RATES},
    "dac_44khz": {"sample_rate": 44_100, "n_codebooks": 9},
}
NAMES = ("encodec_24khz", "encodec_48khz", *DAC, "mulaw")


def parse_args() -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, nargs="+", default=[5, 60], help="lengths of the recordings")
    parser.add_argument("--codecs", nargs="+", default=list(NAMES), choices=NAMES)
    return parser.parse_args()


def cases_of(name: str, seconds: float, folder: Path) -> dict[str, Callable[[], object]]:
    """Return what is timed: calls by «ours encode», «package decode» …"""
    from codec_models import blocks, signal

    from networks.codecs import open_codec

    path, package = None, None
    if name in DAC:
        import dac

        package, path = dac.DAC(**DAC[name]).eval(), str(folder / f"{name}.pth")
        package.save(path, package=False)
    elif name != "mulaw":
        import torch
        from codec_models import original_encodec

        package, path = original_encodec(24 if "24" in name else 48), str(folder / f"{name}.th")
        package.set_target_bandwidth(6.0)
        torch.save(package.state_dict(), path)
    codec = open_codec(name, path, "cpu")
    sound = signal(codec.channels, int(seconds * codec.sample_rate_hz))
    codes, scales, samples = codec.encode(blocks(sound))
    cases: dict[str, Callable[[], object]] = {
        "ours encode": lambda: codec.encode(blocks(sound)),
        "ours decode": lambda: list(codec.decode(codes, scales, samples)),
    }
    if name in DAC:
        cases |= dac_cases(package, sound, codes)
    elif package is not None:
        cases |= encodec_cases(package, sound)
    return cases


def encodec_cases(package: Any, sound: Any) -> dict[str, Callable[[], object]]:
    """Return the calls of Meta's package."""
    import torch

    given = torch.from_numpy(sound)[None]
    frames = package.encode(given)
    return {"package encode": lambda: package.encode(given), "package decode": lambda: package.decode(frames)}


def dac_cases(package: Any, sound: Any, codes: Any) -> dict[str, Callable[[], object]]:
    """Return the calls of Descript's package."""
    import torch

    given, known = torch.from_numpy(sound)[None], torch.from_numpy(codes.T.astype("int64"))[None]
    return {
        "package encode": lambda: package.encode(package.preprocess(given, package.sample_rate)),
        "package decode": lambda: package.decode(package.quantizer.from_codes(known)[0]),
    }


def main() -> None:
    """Print the table."""
    args = parse_args()
    import torch

    torch.set_num_threads(1)
    print_machine()
    rows = []
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        for name in args.codecs:
            for seconds in args.seconds:
                cases = cases_of(name, seconds, Path(folder))
                timed = compare(
                    {case: (lambda call=call: time_call(call)) for case, call in cases.items()}, args.rounds
                )
                speed = {case: seconds / run.wall_s for case, run in timed.items()}
                rows.append([name, f"{seconds:g}", *(cells(speed, what) for what in ("encode", "decode"))])
    print_table("× real time: ours / package (ratio)", ["codec", "recording s", "encode", "decode"], rows)


def cells(speed: dict[str, float], what: str) -> str:
    """Return «ours / package (ratio)» of encoding or decoding."""
    ours, theirs = speed[f"ours {what}"], speed.get(f"package {what}")
    return f"{ours:.1f}" if theirs is None else f"{ours:.1f} / {theirs:.1f} ({ours / theirs:.2f})"


if __name__ == "__main__":
    main()

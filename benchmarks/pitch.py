"""Pitch: our tracker beside librosa's pyin and yin, Praat and SwiftF0: errors on known and spoken sounds, and
speed.

    OMP_NUM_THREADS=1 envs/.built/oracles/bin/python benchmarks/pitch.py [--rounds 3] [--seconds 30]

One thread each, 10 ms hop, 60 to 600 Hz, the trackers' own settings otherwise; yin says no voicing. A cell
gives median error in cents / gross errors (over 20 %) in % of frames that both call voiced / frames with
wrong voicing in percent. tests/pitch_sounds.py says what the sounds are.
"""

from __future__ import annotations

import argparse
import sys

from common import ROOT, SCRIPTS, compare, print_machine, print_table, run_command, time_call

sys.path[:0] = [str(SCRIPTS), str(ROOT / "tests")]

LONG_S = 3 * 3600


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0, help="of audio that speed is measured on")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    print_machine()
    trackers = load_trackers()
    accuracy(trackers)
    speed(trackers, args.rounds, args.seconds)
    long_recording()


def load_trackers() -> dict[str, object]:
    """Return the trackers by name."""
    from networks.pitch_engines import ENGINES, load_pitch_engine

    found = {name: load_pitch_engine(name) for name in ENGINES}
    return {"amela": found.pop("amela"), "pyin": found.pop("pyin"), "yin": yin, **found}


def yin(samples: object, sample_rate_hz: int, hop: int, low_hz: float, high_hz: float) -> object:
    """librosa's yin, as a tracker that calls all frames voiced."""
    import librosa
    import torch

    from networks.pitch import Pitch

    f0_hz = librosa.yin(samples.numpy(), sr=sample_rate_hz, hop_length=hop, fmin=low_hz, fmax=high_hz)
    return Pitch(torch.from_numpy(f0_hz), torch.ones(len(f0_hz)))


def accuracy(trackers: dict[str, object]) -> None:
    """Print the errors of each tracker on each set in each condition."""
    from pitch_sounds import CONDITIONS, in_condition, judge, known_sets, spoken_sets, track

    sets = {**known_sets(), **spoken_sets([trackers["praat"], trackers["swift"]])}
    rows = []
    total = dict.fromkeys(trackers, 0.0)
    for name, sounds in sets.items():
        for condition in CONDITIONS:
            noisy = in_condition(sounds, condition)
            row = [f"{name}, {condition}"]
            for tracker, function in trackers.items():
                errors = judge([track(voice.samples, function) for voice in noisy], noisy)
                total[tracker] += errors.either / len(sets) / len(CONDITIONS)
                voicing = "-" if tracker == "yin" else f"{errors.voicing:.1f}"
                row.append(f"{errors.cents:.1f} / {errors.gross:.1f} / {voicing}")
            rows.append(row)
    rows.append(["gross or voicing, mean", *(f"{value:.1f} %" for value in total.values())])
    print_table("Errors: median cents / gross % / voicing %", ["", *trackers], rows)


def speed(trackers: dict[str, object], rounds: int, seconds: float) -> None:
    """Print the speed of each tracker, on one long sound and on utterances of 4 s."""
    import numpy as np
    import torch

    import voices

    samples = np.concatenate([voices.sentence(seed, 100 + 40 * seed, 7.0).samples for seed in range(5)])
    samples = np.resize(samples, round(seconds * voices.SAMPLE_RATE))
    long = torch.from_numpy(samples).float()
    parts = long.split(4 * voices.SAMPLE_RATE)

    def run(function: object, sounds: list[object]) -> None:
        for sound in sounds:
            function(sound, voices.SAMPLE_RATE, voices.HOP, 60.0, 600.0)

    cases = {name: lambda f=function: time_call(run, f, [long]) for name, function in trackers.items()}
    cases["amela, 4 s at a time"] = lambda: time_call(run, trackers["amela"], parts)
    runs = compare(cases, rounds)
    rows = []
    for name, measured in runs.items():
        ratio = measured.cpu_s / runs["amela"].cpu_s
        rows.append(
            [name, f"{seconds / measured.wall_s:.0f}", f"{seconds / measured.cpu_s:.0f}", f"{ratio:.1f}"]
        )
    columns = ["", "x real time", "x real time, CPU", "CPU, amela = 1"]
    print_table(f"Speed, one thread, {seconds:.0f} s in memory", columns, rows)


def long_recording() -> None:
    """Print what three hours, in blocks of 30 s, take."""
    code = f"""
import sys; sys.path[:0] = [{str(SCRIPTS)!r}, {str(ROOT / "tests")!r}]
import torch, voices
from memory import peak_mib
from networks.pitch import track_pitch, track_pitch_blocks
torch.set_num_threads(1)
block = torch.from_numpy(voices.sentence(1, 150, 30.0).samples[: 30 * 16000]).float()
track_pitch(block, 16000, 160)
print(peak_mib())
found = track_pitch_blocks((block for _ in range({LONG_S // 30})), 16000, 160)
print(peak_mib(), len(found.f0_hz))
"""
    run = run_command([sys.executable, "-c", code], env={"OMP_NUM_THREADS": "1"})
    before, after, frames = map(int, run.output.split())
    rows = [[f"{frames}", f"{LONG_S / run.wall_s:.0f}", f"{before}", f"{after}"]]
    print_table("Three hours in blocks", ["frames", "x real time", "MiB with 30 s", "MiB with 3 h"], rows)


if __name__ == "__main__":
    main()

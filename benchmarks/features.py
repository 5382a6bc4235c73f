"""Features: the whole set by extract_features.py against a script of librosa and pyin, a core each.

    envs/.built/features/bin/python benchmarks/features.py speed [--minutes 10] [--rounds 5]
    envs/.built/features/bin/python benchmarks/features.py hour [--workers 2]
    envs/.built/features/bin/python benchmarks/features.py syllables

Both read the same WAV files (10 s each), take frames every 10 ms, windows of 25 ms, 80 bands, 20 cepstra,
pitch from 60 to 600 Hz, and write their arrays as float16. Both are whole programs: what they take on a
single clip is start-up, and stands apart. Rates are of CPU time. syllables: nuclei found against those that
the synthesiser spoke.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

from common import ROOT, SCRIPTS, Run, compare, print_machine, print_table, run_command

CLIP_S = 10
RATE_HZ = 16_000
ONE_CORE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
PEER = """
import sys, pathlib, numpy, soundfile, librosa
spectrum = dict(n_fft=400, hop_length=160)
for path in sys.argv[2:]:
    samples, rate = soundfile.read(path, dtype="float32")
    mel = librosa.power_to_db(librosa.feature.melspectrogram(y=samples, sr=rate, n_mels=80, **spectrum))
    mfcc = librosa.feature.mfcc(S=mel, n_mfcc=20)
    rms = librosa.feature.rms(y=samples, frame_length=400, hop_length=160)
    f0, _, voicing = librosa.pyin(samples, sr=rate, fmin=60, fmax=600, hop_length=160, frame_length=1024)
    arrays = {"mel": mel, "mfcc": mfcc, "rms": rms, "f0": f0, "voicing": voicing}
    target = pathlib.Path(sys.argv[1]) / pathlib.Path(path).stem
    numpy.savez(target, **{name: array.astype("float16") for name, array in arrays.items()})
"""
SPEAK = """
import sys, pathlib, numpy
sys.path.insert(0, sys.argv[2])
from speech import SENTENCES, speak, write_wav
spoken = numpy.concatenate([speak(text, voice) for voice in ("slt", "rms", "awb") for text in SENTENCES])
folder, seconds, clip_s = pathlib.Path(sys.argv[1]), float(sys.argv[3]), int(sys.argv[4])
for number in range(max(1, round(seconds / clip_s))):
    write_wav(folder / f"{number:05}.wav", numpy.roll(spoken, -4999 * number)[: clip_s * 16000])
"""
VOWELS = r"(aa|ae|ah|ao|aw|ax|ay|eh|er|ey|ih|iy|ow|oy|uh|uw)\d?"  # of flite
TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "Please call Stella and ask her to bring these things with her from the store.",
    "A rainbow is a division of white light into many beautiful colours.",
    "It was a bright cold day in April, and the clocks were striking thirteen.",
    "Communication technologies have developed rapidly in recent decades.",
    "Strengths and twelfths are hard to pronounce.",
    "We were away a year ago.",
    "Mississippi, Alabama, Minnesota and Nevada.",
    "No, I do not think so.",
    "Banana.",
)


def main() -> None:
    """Print the table that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["speed", "hour", "syllables"])
    parser.add_argument("--minutes", type=float, default=10.0, help="audio for `speed` (default: 10)")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds after a warm-up (default: 5)")
    parser.add_argument("--workers", type=int, default=2, help="processes for `hour` (default: 2)")
    args = parser.parse_args()
    print_machine()
    folder = Path(tempfile.mkdtemp(prefix="amela-bench-"))
    try:
        if args.what == "speed":
            speed(folder, args.minutes * 60, args.rounds)
        elif args.what == "hour":
            hour(folder, args.workers)
        else:
            syllables(folder)
    finally:
        shutil.rmtree(folder)


def make_clips(folder: Path, seconds: float) -> list[Path]:
    """Speak so many seconds, a file each CLIP_S; a manifest of them lies beside the folder."""
    run_command([sys.executable, "-c", SPEAK, folder, ROOT / "tests", seconds, CLIP_S])
    paths = sorted(folder.glob("*.wav"))
    lines = [json.dumps({"audio_filepath": str(path), "duration": CLIP_S}) for path in paths]
    folder.with_suffix(".json").write_text("\n".join(lines) + "\n")
    return paths


def ours(clips: Path, *flags: object, workers: int = 1) -> Run:
    """Run the stage on a folder of clips, from nothing."""
    shutil.rmtree(clips.parent / ".amela", ignore_errors=True)
    shutil.copy(clips.with_suffix(".json"), clips.parent / "run.json")
    command = [
        sys.executable,
        SCRIPTS / "extract_features.py",
        clips.parent / "run.json",
        "--workers",
        workers,
    ]
    command += ["--output", clips.parent / "ours", "--overwrite", *flags]
    pinned = ["taskset", "-c", "0"] if workers == 1 else []
    return run_command([*pinned, *command], env=ONE_CORE)


def peer(clips: Path) -> Run:
    """Run the script of librosa on a folder of clips."""
    paths = sorted(clips.glob("*.wav"))
    (clips.parent / "peer").mkdir(exist_ok=True)
    command = [sys.executable, "-c", PEER, clips.parent / "peer", *paths]
    return run_command(["taskset", "-c", "0", *command], env=ONE_CORE)


def speed(folder: Path, seconds: float, rounds: int) -> None:
    """Print what both take, in all and without start-up."""
    make_clips(folder / "many", seconds)
    make_clips(folder / "one", CLIP_S)
    sets = {
        "all": (),
        "without functionals": ("--features", "mfcc,mel,pitch,energy,rate"),
        "pitch": ("--features", "pitch"),
        "mfcc, mel, energy": ("--features", "mfcc,mel,energy"),
    }
    cases = {}
    for name, flags in sets.items():
        for size in ("many", "one"):
            cases[f"{name} {size}"] = lambda flags=flags, size=size: ours(folder / size, *flags)
    cases |= {f"peer {size}": lambda size=size: peer(folder / size) for size in ("many", "one")}
    runs = compare(cases, rounds)
    rate = {
        name: (seconds - CLIP_S) / (runs[f"{name} many"].cpu_s - runs[f"{name} one"].cpu_s)
        for name in (*sets, "peer")
    }
    labels = {"peer": "librosa: mel, mfcc, rms, pyin", **{name: f"ours: {name}" for name in sets}}
    rows = []
    for name, label in labels.items():
        many, one = runs[f"{name} many"], runs[f"{name} one"]
        rows.append([label, f"{many.cpu_s:.1f}", f"{one.cpu_s:.1f}", f"{many.peak_mb:.0f}",
                     f"{rate[name]:.0f}", f"{rate[name] / rate['peer']:.1f}"])  # fmt: skip
    columns = ["program", "CPU s", "of it start-up", "peak MB", "x real time", "times librosa"]
    print_table(
        f"{seconds / 60:g} min in files of {CLIP_S} s, one core each, medians of {rounds}", columns, rows
    )


def hour(folder: Path, workers: int) -> None:
    """Print what an hour of audio takes, start-up and merge included."""
    make_clips(folder / "hour", 3600)
    run = ours(folder / "hour", workers=workers)
    row = [workers, f"{run.wall_s:.1f}", f"{run.cpu_s:.1f}", f"{3600 / run.wall_s:.0f}", f"{run.peak_mb:.0f}"]
    print_table(
        "an hour of audio, all features", ["workers", "wall s", "CPU s", "x real time", "peak MB"], [row]
    )


def syllables(folder: Path) -> None:
    """Print syllable nuclei found against vowels spoken, a voice of flite each."""
    records, spoken = [], []
    for voice in ("slt", "rms", "awb", "kal16"):
        for number, text in enumerate(TEXTS):
            path = folder / f"{voice}_{number}.wav"
            said = subprocess.run(["flite", "-voice", voice, "-ps", "-t", text, "-o", path],
                                  check=True, capture_output=True, text=True)  # fmt: skip
            spoken.append(sum(bool(re.fullmatch(VOWELS, phone)) for phone in said.stdout.split()))
            with wave.open(str(path)) as sound:
                duration_s = sound.getnframes() / sound.getframerate()
            speech = [{"start_s": 0.0, "end_s": duration_s}]  # all of it: the rate times this is the count
            records.append({"audio_filepath": str(path), "duration": duration_s, "speech": speech})
    manifest = folder / "corpus.json"
    manifest.write_text("".join(json.dumps(record) + "\n" for record in records))
    script = SCRIPTS / "extract_features.py"
    run_command([sys.executable, script, manifest, "--features", "rate"], env=ONE_CORE)
    made = [json.loads(line) for line in manifest.read_text().splitlines()]
    found = [round(record["rate_syl_s"] * record["duration"]) for record in made]
    apart = sum(abs(one - other) for one, other in zip(found, spoken))
    row = [len(found), sum(spoken), f"{sum(found) / sum(spoken):.3f}", f"{apart / sum(spoken):.3f}",
           f"{statistics.correlation(found, spoken):.3f}"]  # fmt: skip
    columns = ["sentences", "syllables", "found / spoken", "mean error / mean count", "correlation"]
    print_table("syllable nuclei", columns, [row])


if __name__ == "__main__":
    main()

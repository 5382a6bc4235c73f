"""What loading the models costs: transcribe.py against WhisperX's own command, a call a file or one for all.

    envs/.built/whisperx/bin/python benchmarks/transcribe.py [--files 20] [--rounds 3]

A tiny random Whisper, so nearly all of the time is start-up: imports, models, voice activity detection. No
alignment (WhisperX fetches data for it) and no speakers. All on one thread.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from common import ROOT, SCRIPTS, Run, compare, print_machine, print_table, run_command

CALLS = 3  # of WhisperX's command with a file each; all are alike
ENV = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYANNOTE_METRICS_ENABLED": "0"}
BUILD = (
    "import sys; sys.path[:0] = sys.argv[1:3]; import speech, whisper_models as w; from pathlib import Path; "
    "folder = Path(sys.argv[3]); w.convert(w.build_whisper(folder / 'hf'), folder / 'ct2'); "
    "(folder / 'audio').mkdir(); "
    "[speech.write_wav(folder / f'audio/{n:02d}.wav', speech.speak(speech.SENTENCES[n % 3], 'slt')) "
    "for n in range(int(sys.argv[4]))]"
)


def whisperx(folder: Path, files: list[Path], calls: int) -> Run:
    """WhisperX's command, all files in one call or a call each; times add up."""
    command = Path(sys.executable).with_name("whisperx")
    options = ["--model", folder / "ct2", "--device", "cpu", "--compute_type", "float32", "--language", "en",
               "--batch_size", "4", "--threads", "1", "--no_align", "--output_dir", folder / "out",
               "--output_format", "json"]  # fmt: skip
    parts = [files] if calls == 1 else [[file] for file in files]
    runs = [run_command([command, *part, *options], env=ENV) for part in parts]
    wall_s, cpu_s = sum(run.wall_s for run in runs), sum(run.cpu_s for run in runs)
    return Run(wall_s, cpu_s, max(run.peak_mb for run in runs))


def ours(folder: Path, files: list[Path]) -> Run:
    """transcribe.py over a fresh manifest of the files."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        manifest = Path(work) / "m.json"
        manifest.write_text("".join(f'{{"audio_filepath": "{file}"}}\n' for file in files))
        command = [sys.executable, SCRIPTS / "transcribe.py", manifest, "--model", folder / "ct2",
                   "--device", "cpu", "--language", "en", "--no-align", "--no-diarize"]  # fmt: skip
        return run_command(command, env=ENV)


def main() -> None:
    """Print the table."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--files", type=int, default=20, help="recordings of one sentence (default: 20)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each case (default: 3)")
    args = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build = [sys.executable, "-c", BUILD, ROOT / "tests", ROOT / "tests/envs", folder, args.files]
        run_command(build, env=ENV)
        files = sorted((folder / "audio").glob("*.wav"))
        cases = {
            "transcribe.py, 1 file": lambda: ours(folder, files[:1]),
            f"transcribe.py, {len(files)} files": lambda: ours(folder, files),
            f"whisperx, {len(files)} files in one call": lambda: whisperx(folder, files, 1),
            f"whisperx, a call a file ({CALLS} files)": lambda: whisperx(folder, files[:CALLS], CALLS),
        }
        results = compare(cases, rounds=args.rounds, warm_up=0)
    counts = [1, len(files), len(files), CALLS]
    rows = [[case, f"{run.wall_s:.1f}", f"{run.wall_s / count:.2f}", f"{run.cpu_s:.1f}", f"{run.peak_mb:.0f}"]
            for (case, run), count in zip(results.items(), counts)]  # fmt: skip
    print_table(f"tiny Whisper on one thread, {os.cpu_count()} CPUs; medians of {args.rounds}",
                ["case", "wall s", "s a file", "CPU s", "peak MB"], rows)  # fmt: skip


if __name__ == "__main__":
    main()

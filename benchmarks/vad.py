"""Voice activity detection: accuracy at the defaults, and speed against a bare C loop, the wheels and a naive
script.

    envs/.built/local/bin/python benchmarks/vad.py [--minutes 20] [--rounds 5]

The C loop (compiled here by gcc) reads a WAV, calls TEN-VAD frame by frame and keeps the probabilities: no
Python can be faster. Ratios above 1 mean that ours is faster. Wall time suffers from whatever else runs here;
CPU time hardly does.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from common import ROOT, SCRIPTS, Run, compare, print_machine, print_table, run_command, time_call

sys.path[:0] = [str(SCRIPTS), str(ROOT / "tests")]

from speech import frame_f1, labelled_files, real_speech  # noqa: E402 (needs the path)

VAD = [sys.executable, SCRIPTS / "vad.py"]
C_LOOP = r"""
#include <stdio.h>
#include <stdlib.h>
#include <stddef.h>
#include <stdint.h>
int ten_vad_create(void **, size_t, float);
int ten_vad_process(void *, const int16_t *, size_t, float *, int *);
int ten_vad_destroy(void **);
int speech(const int16_t *samples, long frames, float *probabilities, int *flags) {
    void *handle = NULL;
    if (ten_vad_create(&handle, 256, 0.5f)) return 1;
    for (long i = 0; i < frames; i++)
        ten_vad_process(handle, samples + 256 * i, 256, probabilities + i, flags + i);
    return ten_vad_destroy(&handle);
}
int main(int count, char **words) { /* PART PARTS FILE…: every PARTS-th file, from PART on */
    static int16_t samples[1 << 22]; static float probabilities[1 << 14]; static int flags[1 << 14];
    for (int i = 3 + atoi(words[1]); i < count; i += atoi(words[2])) {
        FILE *file = fopen(words[i], "rb"); fseek(file, 44, SEEK_SET);
        long n = fread(samples, 2, 1 << 22, file); fclose(file);
        for (long j = n; j % 256; j++) samples[j] = 0;
        if (speech(samples, (n + 255) / 256, probabilities, flags)) return 1;
    }
    return 0;
}
"""
NAIVE = """
import sys, numpy, soundfile, json
from ten_vad import TenVad
for path in sys.argv[1:]:
    samples, rate = soundfile.read(path, dtype="int16")
    vad = TenVad(256, 0.5)
    flags = [vad.process(samples[i:i + 256])[1] for i in range(0, len(samples) - 255, 256)]
    edges = numpy.flatnonzero(numpy.diff([0, *flags, 0])) * 0.016
    print(json.dumps({"audio_filepath": path, "speech": edges.reshape(-1, 2).tolist()}))
"""
PER_FRAME_SILERO = "silero, a call a frame"


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="audio a corpus (default: 20)")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds after a warm-up (default: 5)")
    args = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory(prefix="amela-bench-") as name:
        folder = Path(name)
        loop = compile_loop(folder)
        sources = [path for path, _ in labelled_files(folder)]
        corpora = {length_s: make_corpus(folder / f"files_{length_s}s", sources, length_s, args.minutes * 60)
                   for length_s in (10, 2)}  # fmt: skip
        for length_s, paths in corpora.items():
            stages(folder, loop, paths, length_s, args.rounds)
        engines(loop, corpora[10], args.rounds)
        accuracy(folder)


def compile_loop(folder: Path) -> Path:
    """The C loop as an executable that is a library too, linked against the library inside the wheel."""
    import importlib.util

    library = Path(importlib.util.find_spec("ten_vad").submodule_search_locations[0]) / "lib/Linux/x64"
    (folder / "loop.c").write_text(C_LOOP)
    for target, flags in (("loop", []), ("loop.so", ["-shared", "-fPIC"])):
        links = [f"-L{library}", "-lten_vad", f"-Wl,-rpath,{library}", "-Wl,--allow-shlib-undefined"]
        subprocess.run(["gcc", "-O2", *flags, "-o", folder / target, folder / "loop.c", *links], check=True)
    return folder / "loop"


def make_corpus(folder: Path, sources: Sequence[Path], length_s: int, total_s: float) -> list[str]:
    """16 kHz 16-bit WAV files of `length_s` seconds, cut from the sources in turn; their paths."""
    speech = b""
    for source in sources:
        with wave.open(str(source)) as file:
            speech += file.readframes(file.getnframes())
    folder.mkdir()
    paths = []
    for index in range(round(total_s / length_s)):
        start = index * length_s * 32_000 % (len(speech) - length_s * 32_000)
        path = str(folder / f"{index:05d}.wav")
        with wave.open(path, "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(speech[start : start + length_s * 32_000])
        paths.append(path)
    return paths


def stages(folder: Path, loop: Path, paths: Sequence[str], length_s: int, rounds: int) -> None:
    """The whole stage, folder to manifest, as a user runs it: start-up, reading, table and merge included."""
    audio_s = length_s * len(paths)
    silero = ("--engine", "silero")
    cases: dict[str, Callable[[], Run]] = {
        "C loop, 1 process": lambda: run_command([loop, 0, 1, *paths]),
        "vad.py, 1 worker": lambda: stage(folder, paths, "--workers", 1),
        "C loop, 2 processes": lambda: c_loop_twice(loop, paths),
        "vad.py, 2 workers": lambda: stage(folder, paths, "--workers", 2),
        "vad.py --engine silero, 1 worker": lambda: stage(folder, paths, "--workers", 1, *silero),
        "vad.py --engine silero, 2 workers": lambda: stage(folder, paths, "--workers", 2, *silero),
        "naive script": lambda: run_command([sys.executable, "-c", NAIVE, *paths]),
    }
    runs = compare(cases, rounds)
    base = runs["C loop, 1 process"]
    rows = []
    for name, run in runs.items():
        speeds = [f"{audio_s / run.wall_s:.0f}", f"{len(paths) / run.wall_s:.0f}"]
        ratios = [f"{base.wall_s / run.wall_s:.2f}", f"{base.cpu_s / run.cpu_s:.2f}", f"{run.peak_mb:.0f}"]
        rows.append([name, f"{run.wall_s:.2f}", f"{run.cpu_s:.2f}", *speeds, *ratios])
    print_table(
        f"Whole stage, {len(paths)} WAV files of {length_s} s (speed against the C loop on 1 process)",
        ["", "wall s", "CPU s", "x real time", "files/s", "speed, wall", "speed, CPU", "peak MB"],
        rows,
    )
    ours = runs["vad.py, 1 worker"].wall_s / runs["vad.py, 2 workers"].wall_s
    bare = base.wall_s / runs["C loop, 2 processes"].wall_s
    naive = runs["naive script"].wall_s / runs["vad.py, 2 workers"].wall_s
    print(
        f"two cores: C loop {bare:.2f} x, vad.py {ours:.2f} x: {ours / bare:.2f} of it (wanted 0.9); "
        f"files/s {naive:.2f} x the naive script's"
    )


def stage(folder: Path, paths: Sequence[str], *options: object) -> Run:
    """vad.py over a folder, from nothing."""
    with tempfile.TemporaryDirectory(dir=folder) as cwd:
        return run_command([*VAD, Path(paths[0]).parent, "bench", *options], cwd=Path(cwd))


def c_loop_twice(loop: Path, paths: Sequence[str]) -> Run:
    """Two C loops at once, each with every other file."""
    script = 'loop=$1; shift; "$loop" 0 2 "$@" & first=$!; "$loop" 1 2 "$@" && wait $first'
    return run_command(["bash", "-c", script, "bash", loop, *paths])


def engines(loop: Path, paths: Sequence[str], rounds: int) -> None:
    """Only the engines, samples in memory: a fresh handle a file, as everywhere."""
    import numpy as np

    from media import silero, ten
    from media.audio import load_mono

    floats = [load_mono(path) for path in paths[:30]]
    ints = [ten.to_int16(samples) for samples in floats]
    library, session = ten.load(), silero.load()
    bare = ctypes.CDLL(str(loop.with_suffix(".so")))

    def c_loop() -> None:
        for samples in ints:
            frames = len(samples) // 256
            probabilities, flags = np.empty(frames, np.float32), np.empty(frames, np.int32)
            addresses = [ctypes.c_void_p(array.ctypes.data) for array in (samples, probabilities, flags)]
            bare.speech(addresses[0], ctypes.c_long(frames), *addresses[1:])

    def wheel() -> None:
        from ten_vad import TenVad

        for samples in ints:
            vad = TenVad(256, 0.5)
            for start in range(0, len(samples) - 255, 256):
                vad.process(samples[start : start + 256])

    cases = {
        "ten: bare C loop": c_loop,
        "ten: ours": lambda: [ten.speech_probabilities(library, [samples]) for samples in floats],
        "ten: the wheel's TenVad.process": wheel,
        "silero: ours": lambda: [silero.speech_probabilities(session, [samples]) for samples in floats],
        f"{PER_FRAME_SILERO} (its own ONNX model)": lambda: [per_frame_silero(samples) for samples in floats],
    }
    runs = compare({name: lambda call=call: time_call(call) for name, call in cases.items()}, rounds)
    seconds = sum(map(len, floats)) / 16_000
    base, ours = runs["ten: bare C loop"], runs["ten: ours"]
    rows = []
    for name, run in runs.items():
        ratios = [base.wall_s / run.wall_s, base.cpu_s / run.cpu_s, ours.cpu_s / run.cpu_s]
        speed = [f"{run.wall_s:.3f}", f"{run.cpu_s:.3f}", f"{seconds / run.wall_s:.0f}"]
        rows.append([name, *speed, *(f"{value:.2f}" for value in ratios)])
    print_table(
        f"Engines alone, one thread, {seconds:.0f} s of audio in memory",
        ["", "wall s", "CPU s", "x real time", "speed, C loop = 1", "the same, CPU", "ten: ours = 1, CPU"],
        rows,
    )


def per_frame_silero(samples: object, cache: dict[str, object] = {}) -> None:  # noqa: B006 (made once, outside the timing)
    """Silero's stock ONNX model as its own wrapper drives it: 512 new samples a call, 64 of context."""
    import numpy as np
    import onnxruntime

    from media import silero

    if not cache:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = silero.find_model().replace(silero.MODEL_FILE, "silero_vad.onnx")
        cache["session"] = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros((1, 64), np.float32)
    for start in range(0, len(samples) - 511, 512):
        frame = np.concatenate((context, samples[None, start : start + 512]), axis=1)
        _, state = cache["session"].run(None, {"input": frame, "state": state, "sr": np.array(16_000)})
        context = frame[:, -64:]


def accuracy(folder: Path) -> None:
    """F1 on a 10 ms grid at vad.py's defaults, and what is found in files without speech."""
    from media import engines as vad_engines
    from media.audio import stream_mono

    real = real_speech()
    noise = sorted((real / "noise").glob("*.wav")) if real else []
    rows = []
    for name in vad_engines.ENGINES:
        engine = vad_engines.load_engine(name)
        for label, rules in variants():
            pairs = []
            for path, true in [*labelled_files(folder), *((path, []) for path in noise)]:
                speech, _ = vad_engines.find_speech(engine, stream_mono(path), rules)
                pairs.append(([(part["start_s"], part["end_s"]) for part in speech], true))
            voiced = pairs[: len(pairs) - len(noise)]
            false_s = [sum(end_s - start_s for start_s, end_s in found) for found, _ in pairs[len(voiced) :]]
            rows.append(
                [f"{name}, {label}", f"{frame_f1(voiced):.4f}", *(f"{value:.2f}" for value in false_s)]
            )
    kind = "labelled real recordings" if real else "synthetic speech (no real recordings here)"
    print_table(f"Accuracy: {kind}", ["", "frame F1", *(f"s found in {path.name}" for path in noise)], rows)


def variants() -> Iterator[tuple[str, object]]:
    """The defaults and single departures from them."""
    from media.segments import Rules

    yield "defaults", Rules()
    yield "--offset-ms 0", Rules(offset_s=0.0)
    yield "no rules at all", Rules(offset_s=0.0, min_silence_s=0.0, min_speech_s=0.0)
    yield "--adaptive-merge", Rules(merge_max_s=0.3)


if __name__ == "__main__":
    main()

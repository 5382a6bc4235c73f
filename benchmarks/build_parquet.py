"""Data sets: build_parquet.py against a script that makes one big table in pandas, a core each.

    envs/.built/dev/bin/python benchmarks/build_parquet.py [--hours 1 4] [--rounds 3]
    envs/.built/dev/bin/python benchmarks/build_parquet.py --records 1000000

Both read the same manifest and features (real ones of spoken sentences, in utterances of some 5 s of 20
speakers), split by speaker, take mean and deviation of train, and write zstd. --records: sentences without
audio, which cost time by their number: planning, and all.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from common import ROOT, SCRIPTS, Run, compare, print_machine, print_table, run_command

ONE_CORE = {"OMP_NUM_THREADS": "1", "OMP_THREAD_LIMIT": "1", "ARROW_NUM_THREADS": "1"}
UTTERANCE_S = 5.0
CORPUS = """
import json, sys, numpy
from pathlib import Path
folder, hours, root = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
sys.path[:0] = [f"{root}/scripts", f"{root}/tests"]
from media.frames import read_frames, store
from speech import SENTENCES, speak, write_wav
import subprocess
clips = folder / "clips"
clips.mkdir(parents=True)
lines = []
for voice in ("slt", "rms", "awb", "kal"):
    spoken = numpy.concatenate([speak(text, voice) for text in SENTENCES])
    write_wav(clips / f"{voice}.wav", spoken)
    lines.append(json.dumps({"audio_filepath": str(clips / f"{voice}.wav"), "duration": len(spoken) / 16000}))
(folder / "clips.json").write_text("\\n".join(lines) + "\\n")
extract = [sys.executable, f"{root}/scripts/extract_features.py", str(folder / "clips.json")]
flags = ["--workers", "1", "--features", "mfcc,mel,pitch,energy", "--output", str(clips)]
subprocess.run([*extract, *flags], check=True, stdout=2)
voices = [read_frames(json.loads(line)["features_filepath"]) for line in (folder / "clips.json").open()]
names, notes = ("mel", "mfcc", "f0_hz", "voicing", "energy_db"), {"hop_s": 0.01, "sample_rate_hz": 16000}
draw, records, batch, seconds = numpy.random.default_rng(0), [], [], 0.0
scores = numpy.round(draw.random((100, 28)), 4).tolist()
def flush():
    sources = store(batch, str(folder), "parquet", str, lambda path: open(path, "wb"))
    records.extend({**item[1], "features_filepath": source} for item, source in zip(batch, sources))
    batch.clear()
while seconds < hours * 3600:
    number = len(records) + len(batch)
    voice = voices[number % 4]
    frames = int(draw.integers(200, 800))
    start = int(draw.integers(0, len(voice["mel"]) - frames))
    record = {"audio_filepath": f"/data/{number:06}.wav", "duration": frames / 100,
              "speaker": f"s{number % 20:02}", "text": SENTENCES[number % len(SENTENCES)],
              "f0_median_hz": 150.0, "energy_db": -25.0,
              "emotion": {"label": "joy", "score": 0.9, "scores": scores[number % 100]}}
    arrays = {name: voice[name][start:start + frames] for name in names}
    for name in ("mel", "mfcc"):  # so that no two utterances are alike to zstd
        noise = draw.uniform(-0.3, 0.3, arrays[name].shape)
        arrays[name] = (arrays[name] + noise).astype("float16")
    batch.append((str(number), record, arrays, notes))
    seconds += frames / 100
    if len(batch) == 128:
        flush()
flush() if batch else None
(folder / "corpus.json").write_text("".join(json.dumps(record) + "\\n" for record in records))
"""
PEER = """
import os, sys, json, numpy, pandas
manifest, out = sys.argv[1:]
os.makedirs(out)
records = pandas.read_json(manifest, lines=True)
parts, rows = {}, []
for source in records.features_filepath:
    path, row = source.split("#row=")
    if path not in parts:
        parts[path] = pandas.read_parquet(path)
    rows.append(parts[path].iloc[int(row)])
features = pandas.DataFrame(rows).reset_index(drop=True)
table = pandas.concat([records.drop(columns="energy_db"), features], axis=1)
table["emotion"] = [one["scores"] for one in table.emotion]
speakers = numpy.random.default_rng(0).permutation(table.speaker.unique())
bounds = {"train": speakers[:-4], "valid": speakers[-4:-2], "test": speakers[-2:]}
statistics = {}
for split, names in bounds.items():
    some = table[table.speaker.isin(names)]
    some.to_parquet(f"{out}/{split}.parquet", compression="zstd")
    if split == "train":
        for name, dtype in (("mel", "<f2"), ("mfcc", "<f2"), ("f0_hz", "<f4"), ("energy_db", "<f2")):
            cells = [numpy.frombuffer(cell, dtype).reshape(shape)
                     for cell, shape in zip(some[name], some[f"{name}_shape"])]
            values = numpy.concatenate(cells).astype("float64")
            values = numpy.log2(values[values > 0]) if name == "f0_hz" else values
            statistics[name] = {"mean": values.mean(0).tolist(), "std": values.std(0).tolist()}
json.dump(statistics, open(f"{out}/statistics.json", "w"))
"""


def main() -> None:
    """Print the table that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, nargs="+", default=[1, 4], help="of audio (default: 1 4)")
    parser.add_argument("--records", type=int, help="sentences without audio instead")
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds after a warm-up (default: 3)")
    args = parser.parse_args()
    print_machine()
    folder = Path(tempfile.mkdtemp(prefix="amela-bench-"))
    try:
        if args.records:
            sentences(folder, args.records)
        else:
            speech(folder, args.hours, args.rounds)
    finally:
        shutil.rmtree(folder)


def ours(manifest: Path, out: Path) -> Run:
    """Build a data set from nothing."""
    shutil.rmtree(out, ignore_errors=True)
    return run_command([sys.executable, SCRIPTS / "build_parquet.py", manifest, out], env=ONE_CORE)


def peer(manifest: Path, out: Path) -> Run:
    """Run the script with pandas from nothing."""
    shutil.rmtree(out, ignore_errors=True)
    return run_command([sys.executable, "-c", PEER, manifest, out], env=ONE_CORE)


def speech(folder: Path, hours: list[float], rounds: int) -> None:
    """Compare both at each number of hours: speed, memory, size."""
    rows = []
    for number in hours:
        corpus = folder / f"{number:g}h"
        run_command([sys.executable, "-c", CORPUS, corpus, number, ROOT])
        manifest = corpus / "corpus.json"
        cases = {
            "build_parquet.py": lambda manifest=manifest: ours(manifest, manifest.parent / "ours"),
            "pandas, one table": lambda manifest=manifest: peer(manifest, manifest.parent / "peer"),
        }
        for (name, run), out in zip(compare(cases, rounds).items(), ("ours", "peer")):
            size = sum(path.stat().st_size for path in (corpus / out).rglob("*.parquet"))
            rows.append([f"{name}, {number:g} h", f"{run.wall_s:.1f}", f"{number * 3600 / run.wall_s:,.0f}",
                         f"{number * 3600 / run.cpu_s:,.0f}", f"{run.peak_mb:,.0f}",
                         f"{size / number / 1e6:.1f}"])  # fmt: skip
        shutil.rmtree(corpus)
    columns = ["case", "wall s", "x real time", "x real time a CPU s", "peak MB", "MB an hour of speech"]
    print_table("data sets, one core", columns, rows)


def sentences(folder: Path, count: int) -> None:
    """Time a manifest of texts."""
    manifest = folder / "texts.json"
    with open(manifest, "w") as file:
        for number in range(count):
            place = {"id": f"s{number}", "text_filepath": f"/data/{number // 100}.txt"}
            record = {**place, "text": f"this is sentence {number} of a long text without any audio"}
            file.write(json.dumps(record) + "\n")
    run = ours(manifest, folder / "out")
    print_table("sentences without audio, one core", ["records", "wall s", "peak MB"],
                [[f"{count:,}", f"{run.wall_s:.1f}", f"{run.peak_mb:,.0f}"]])  # fmt: skip
    print(run.output)


if __name__ == "__main__":
    main()

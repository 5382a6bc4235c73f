"""What manifest.py compares with, each step a process: json.loads of everything, lhotse, datatrove.

    manifest_peers.py json|lhotse|datatrove make|deal|open|results|merge FOLDER LINES

The same records in each tool's own format; 16 shards; a result has the same two fields. lhotse and datatrove
deal by files (contiguous sixteenths), so merging is joining those; neither knows what is missing or failed.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

SHARDS, SHARD = 16, 3
FIELDS = {"text": "the quick brown fox jumps over the lazy dog and runs away from it",
          "asr": {"backend": "canary", "model": "nvidia/canary-qwen-2.5b", "revision": "abc"}}


def read_manifest(folder: Path) -> Iterator[dict[str, Any]]:
    """The records of m.json as it was before the merge."""
    before = folder / "m.json.before"
    with open(before if before.exists() else folder / "m.json") as file:
        yield from map(json.loads, file)


def json_open(folder: Path, lines: int) -> None:
    """The plain script: load all, take every sixteenth."""
    records = list(read_manifest(folder))
    assert abs(len(records[SHARD::SHARDS]) - lines / SHARDS) < 1


def json_results(folder: Path, _lines: int) -> None:
    """A file of path and fields for each of 16 tasks."""
    with ExitStack() as stack:
        files = [stack.enter_context(open(folder / f"json_{n:02d}.jsonl", "w")) for n in range(SHARDS)]
        for line, record in enumerate(read_manifest(folder)):
            result = {"audio_filepath": record["audio_filepath"], **FIELDS}
            files[line % SHARDS].write(json.dumps(result) + "\n")


def json_merge(folder: Path, _lines: int) -> None:
    """The plain script: all records, all results in a dictionary by path, all written."""
    records, found = list(read_manifest(folder)), {}
    for path in sorted(folder.glob("json_*.jsonl")):
        with open(path) as file:
            for line in map(json.loads, file):
                found[line.pop("audio_filepath")] = line
    with open(folder / "json_merged.json", "w") as file:
        for record in records:
            record.update(found[record["audio_filepath"]])
            file.write(json.dumps(record) + "\n")


def lhotse_make(folder: Path, _lines: int) -> None:
    """The records as lhotse recordings with a supervision each: cuts."""
    with open(folder / "cuts.jsonl", "w") as file:
        for number, record in enumerate(read_manifest(folder)):
            name, duration_s = f"u{number:09d}", record["duration"]
            source = {"type": "file", "channels": [0], "source": record["audio_filepath"]}
            recording = {"id": name, "sources": [source], "sampling_rate": 16000, "duration": duration_s,
                         "num_samples": round(duration_s * 16000), "channel_ids": [0]}
            cut = {"id": name, "start": 0, "duration": duration_s, "channel": 0, "supervisions": [],
                   "recording": recording, "type": "MonoCut"}
            file.write(json.dumps(cut) + "\n")


def lhotse_deal(folder: Path, lines: int) -> None:
    """`lhotse split-lazy`: sixteen files."""
    from lhotse import CutSet

    cuts = CutSet.from_jsonl_lazy(folder / "cuts.jsonl")
    cuts.split_lazy(folder / "lhotse", chunk_size=-(-lines // SHARDS))


def lhotse_open(folder: Path, lines: int) -> None:
    """Read one of the sixteen files."""
    from lhotse import CutSet

    path = sorted((folder / "lhotse").glob("*.jsonl.gz"))[SHARD]
    assert abs(sum(1 for _ in CutSet.from_jsonl_lazy(path)) - lines / SHARDS) < SHARDS


def lhotse_results(folder: Path, _lines: int) -> None:
    """Sixteen files of cuts with the new fields, as 16 tasks write them."""
    (folder / "done").mkdir(exist_ok=True)
    for number, path in enumerate(sorted((folder / "lhotse").glob("*.jsonl.gz"))):
        with gzip.open(path, "rt") as source, open(folder / "done" / f"{number:02d}.jsonl", "w") as target:
            target.writelines(json.dumps({**json.loads(line), "custom": FIELDS}) + "\n" for line in source)


def lhotse_merge(folder: Path, _lines: int) -> None:
    """`lhotse combine`, streaming: the sixteen files, one after the other, to one."""
    from lhotse import CutSet, combine

    parts = [CutSet.from_jsonl_lazy(path) for path in sorted((folder / "done").glob("*.jsonl"))]
    combine(*parts).to_jsonl(folder / "lhotse_merged.jsonl")


def datatrove_make(folder: Path, lines: int) -> None:
    """Sixteen files, as datatrove gives whole files to its tasks."""
    (folder / "trove").mkdir(exist_ok=True)
    with ExitStack() as stack:
        files = [stack.enter_context(open(folder / "trove" / f"{n:02d}.jsonl", "w")) for n in range(SHARDS)]
        for number, record in enumerate(read_manifest(folder)):
            document = {"text": "-", "id": str(number), "metadata": record}
            files[number * SHARDS // lines].write(json.dumps(document) + "\n")


def datatrove_open(folder: Path, lines: int) -> None:
    """Read the one file of task 3."""
    from datatrove.pipeline.readers import JsonlReader

    reader = JsonlReader(str(folder / "trove"))
    assert abs(sum(1 for _ in reader.run(rank=SHARD, world_size=SHARDS)) - lines / SHARDS) < SHARDS


def datatrove_results(folder: Path, _lines: int) -> None:
    """Sixteen files of documents with the new fields."""
    (folder / "trove_done").mkdir(exist_ok=True)
    for path in sorted((folder / "trove").glob("*.jsonl")):
        with open(path) as source, open(folder / "trove_done" / path.name, "w") as target:
            for line in map(json.loads, source):
                line["metadata"].update(asr=FIELDS["asr"])
                target.write(json.dumps({**line, "text": FIELDS["text"]}) + "\n")


def datatrove_merge(folder: Path, _lines: int) -> None:
    """Read the sixteen files, write one."""
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    reader = JsonlReader(str(folder / "trove_done"))
    writer = JsonlWriter(str(folder / "trove_merged"), output_filename="all.jsonl", compression=None)
    with writer:
        for document in reader.run(rank=0, world_size=1):
            writer.write(document)


if __name__ == "__main__":
    tool, step, folder_name, count = sys.argv[1:]
    do = globals().get(f"{tool}_{step}")
    if do is not None:
        do(Path(folder_name), int(count))

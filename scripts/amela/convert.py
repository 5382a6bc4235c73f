"""Other people's lists as records: JSON arrays, CSV/TSV, Kaldi folders, lhotse cuts, audio with text files
beside it.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Callable

from amela.errors import CallError
from amela.manifest import BOM
from amela.tables import read_table

Record = dict[str, Any]
NAMES = {
    "audio_filepath": (
        "audio_filepath",
        "path",
        "audio",
        "wav",
        "file",
        "filename",
        "file_name",
        "audio_file",
    ),
    "text": ("text", "sentence", "transcript", "transcription"),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "lang": ("lang", "language", "locale"),
    "duration": ("duration", "duration_s"),
    "id": ("id", "utt_id"),
}
_NUMBERS = {"duration": float, "offset": float, "channel": int}
_TEXT_SUFFIXES = (".txt", ".lab", ".trans", ".normalized.txt")
WANTED = (
    "wanted a JSON array, JSON lines, .csv or .tsv with a header, a Kaldi folder (wav.scp), lhotse cuts "
    "(.jsonl, .jsonl.gz) or a folder of audio"
)


def convert_list(
    source: str, scan: Callable[[str], Iterable[str]], audio_dir: str | None = None
) -> Iterator[Record]:
    """Yield records with absolute paths; the kind of `source` is found by looking at it.

    `scan` lists the audio of a folder; relative paths count from `audio_dir`, else from the list's folder.
    Raises CallError that says where, for what cannot be understood.
    """
    root = os.path.abspath(audio_dir or (source if os.path.isdir(source) else os.path.dirname(source)))
    try:
        if os.path.exists(os.path.join(source, "wav.scp")):
            yield from _kaldi(Path(source), os.path.abspath(audio_dir or "."))
        elif os.path.isdir(source):
            yield from _folder(source, scan)
        elif source.endswith((".csv", ".tsv")):
            yield from (_renamed(dict(row), f"{source}:{line}", root) for line, row in read_table(source))
        else:
            yield from _json(source, root)
    except (OSError, ValueError) as exc:
        raise CallError(f"{source}: {str(exc)[:300]}; {WANTED}") from exc


def _json(source: str, root: str) -> Iterator[Record]:
    """A JSON array, or a line each: ours, NeMo's or lhotse's."""
    with (gzip.open if source.endswith(".gz") else open)(source, "rb") as file:
        start = file.readline(64)
        file.seek(0)
        if start.removeprefix(BOM).lstrip().startswith(b"["):  # read whole: an array has no lines
            for number, item in enumerate(_decode(file.read().decode("utf-8-sig")), 1):
                yield _from_json(item, f"{source}: item {number}", root)
            return
        for number, raw in enumerate(file, 1):
            if not raw.isspace():
                try:
                    item = _decode(raw.removeprefix(BOM).decode())
                except ValueError as exc:
                    raise ValueError(f"line {number}: {exc}") from exc
                yield _from_json(item, f"{source}:{number}", root)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


def _from_json(item: Any, where: str, root: str) -> Record:
    if not isinstance(item, dict):
        raise CallError(f"{where}: found {str(item)[:80]}, wanted a JSON object")
    if "recording" in item or "sources" in item:
        return _lhotse(item, where, root)
    return _renamed(item, where, root)


def _lhotse(item: Record, where: str, root: str) -> Record:
    """A MonoCut or a Recording of lhotse; of several supervisions the texts are joined."""
    recording = item.get("recording", item)
    sources = recording.get("sources") or [{}]
    if len(sources) != 1 or sources[0].get("type") != "file":
        raise CallError(
            f"{where}: found the sources {str(sources)[:120]}, wanted one audio file: "
            "export the cuts by `CutSet.save_audios` first"
        )
    record: Record = {
        "audio_filepath": _absolute(sources[0]["source"], root),
        "duration": item["duration"],
        "id": item["id"],
    }
    if "recording" in item:
        whole = item.get("start", 0) == 0 and abs(item["duration"] - recording["duration"]) < 1e-3
        record.update({} if whole else {"offset": item["start"]})
        channel = item.get("channel")
        record.update(
            {"channel": channel}
            if isinstance(channel, int) and recording.get("channel_ids", [0]) != [0]
            else {}
        )
    supervisions = item.get("supervisions", [])
    for ours, theirs in (("text", "text"), ("speaker", "speaker"), ("lang", "language")):
        values = [part[theirs] for part in supervisions if part.get(theirs)]
        if values:
            record[ours] = " ".join(values) if ours == "text" else values[0]
    return {**(item.get("custom") or {}), **record}


def _renamed(row: Record, where: str, root: str) -> Record:
    """Our names for the usual ones, numbers for text, an absolute path; empty cells make no field."""
    record: Record = {}
    for ours, theirs in NAMES.items():
        name = next((name for name in theirs if row.get(name) not in (None, "")), None)
        if name is not None:
            record[ours] = row.pop(name)
    record.update({name: value for name, value in row.items() if value not in (None, "")})
    if "audio_filepath" in record:
        record["audio_filepath"] = _absolute(str(record["audio_filepath"]), root)
    for name, kind in _NUMBERS.items():
        if isinstance(record.get(name), str):
            try:
                record[name] = kind(record[name])
            except ValueError:
                raise CallError(
                    f"{where}: found {name} {record[name]!r}, wanted a number (seconds)"
                ) from None
    return record


def _absolute(path: str, root: str) -> str:
    return os.path.normpath(os.path.join(root, path))


def _kaldi(folder: Path, root: str) -> Iterator[Record]:
    """wav.scp, with segments, text and utt2spk where they are; Kaldi's paths count from where it was run."""
    wavs = {}
    for line, name, value in _pairs(folder / "wav.scp"):
        if value.endswith("|"):
            raise CallError(
                f"{folder}/wav.scp:{line}: found a command ({value[:60]}), wanted a file: run the commands "
                "and name what they write"
            )
        wavs[name] = _absolute(value, root)
    texts = {name: value for _, name, value in _pairs(folder / "text")}
    speakers = {name: value for _, name, value in _pairs(folder / "utt2spk")}
    parts = list(_pairs(folder / "segments")) or [(0, name, name) for name in wavs]
    for line, name, value in parts:
        recording, *times = value.split()
        if recording not in wavs or len(times) not in (0, 2):
            raise CallError(
                f"{folder}/segments:{line}: found {value!r}, wanted RECORDING START END of wav.scp"
            )
        record: Record = {"audio_filepath": wavs[recording], "id": name}
        if times:
            start_s, end_s = map(float, times)
            record.update(offset=start_s, duration=round(end_s - start_s, 6))
        record.update({"text": texts[name]} if name in texts else {})
        record.update({"speaker": speakers[name]} if name in speakers else {})
        yield record


def _pairs(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line number, first word, the rest) of a Kaldi file; nothing where there is no such file."""
    if path.exists():
        with open(path, encoding="utf-8") as file:
            for line, text in enumerate(file, 1):
                name, _, value = text.strip().partition(" ")
                if name:
                    yield line, name, value.strip()


def _folder(folder: str, scan: Callable[[str], Iterable[str]]) -> Iterator[Record]:
    """Audio files, with the text of the file of the same name beside it (.txt, .lab …) where there is one."""
    for path in scan(folder):
        record: Record = {"audio_filepath": path}
        stem = os.path.splitext(path)[0]
        beside: str | None = next(
            (stem + suffix for suffix in _TEXT_SUFFIXES if os.path.exists(stem + suffix)), None
        )
        if beside is not None:
            record["text"] = " ".join(Path(beside).read_text(encoding="utf-8-sig").split())
        yield record


def with_durations(
    records: Iterable[Record], probe: Callable[[str], float], workers: int = 8
) -> Iterator[Record]:
    """Yield records with `duration` (s, by `probe` where it is missing), a thousand files in the works at a
    time.

    Raises CallError for the first file that cannot be read.
    """
    source = iter(records)
    with ThreadPoolExecutor(workers) as pool:
        while chunk := list(islice(source, 1000)):
            asked = [record for record in chunk if "duration" not in record and "audio_filepath" in record]
            try:
                for record, duration_s in zip(
                    asked, pool.map(probe, [record["audio_filepath"] for record in asked])
                ):
                    record["duration"] = round(duration_s, 6)
            except (OSError, ValueError) as exc:
                raise CallError(f"{exc}; take it out of the list, or give --no-durations") from exc
            yield from chunk

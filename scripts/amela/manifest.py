"""Manifests: one JSON object a line, NeMo's keys, in a file that ends in `.json`.

A record has `audio_filepath` (absolute) or at least an `id`; times are seconds; a window of a recording has
`offset` and `duration`. A bad line is a CallError that begins with `file:line`.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from amela.errors import CallError
from amela.files import StrPath, explain, make_folder, write_aside

Record = dict[str, Any]
MAX_S = 1e9  # 30 years; also keeps infinity and numbers beyond a float out
MAX_LINE_BYTES = 64 * 2**20  # a longer line is no record: a wrong file, or newlines lost in a copy
BOM = b"\xef\xbb\xbf"


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_encode_ascii = json.JSONEncoder(allow_nan=False).encode


def to_line(record: Record) -> bytes:
    """Return a record as one line of UTF-8; ValueError for NaN. Undecodable file names keep their escapes."""
    try:
        return _encode(record).encode() + b"\n"
    except UnicodeEncodeError:  # lone surrogates stand for the bytes of a file name that is not UTF-8
        return _encode_ascii(record).encode() + b"\n"


def from_line(raw: bytes) -> Record:
    """Return the object that a line of ours holds; ValueError where it is torn, cut or anything but an
    object.
    """
    text = raw.decode()
    try:
        if text.startswith("{") and text.endswith("}\n"):  # as we write it: no search for blanks
            value, end = _decoder.raw_decode(text)
            if end != len(text) - 1:
                raise ValueError(f"extra data after column {end}")
        else:
            value = _decoder.decode(text)
    except RecursionError:
        raise ValueError("too many brackets in brackets") from None
    if type(value) is not dict:
        raise ValueError("no JSON object")
    return value


def open_manifest(path: StrPath) -> BinaryIO:
    """Open a manifest for reading bytes; CallError where that cannot be."""
    try:
        if os.path.isdir(path):
            raise CallError(f"{path}: found a folder, wanted a manifest: make one by `vad.py {path}`")
        return open(path, "rb")
    except FileNotFoundError:
        raise CallError(
            f"{path}: no such file; wanted a manifest (JSON lines): make one by `vad.py DIR`"
        ) from None
    except OSError as exc:
        raise explain(exc, path, "reading") from exc


def read_lines(file: BinaryIO, name: StrPath) -> Iterator[bytes]:
    """Yield the lines of an open manifest, without a byte order mark; CallError for a line beyond 64 MiB."""
    for number, raw in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), 1):
        if len(raw) >= MAX_LINE_BYTES:
            raise CallError(
                f"{name}:{number}: found a line of more than {MAX_LINE_BYTES >> 20} MiB, "
                "wanted one JSON object a line"
            )
        yield (raw[len(BOM) :] or b"\n") if number == 1 and raw.startswith(BOM) else raw


def parse_record(raw: bytes, name: StrPath, index: int) -> Record:
    """Return the checked record of line `index` (from 0); CallError with file:line, what was found and
    wanted.
    """
    try:
        record = from_line(raw)
    except UnicodeDecodeError as exc:
        raise _bad(name, index, f"byte {exc.start} is not UTF-8", "UTF-8: convert with `iconv`") from None
    except ValueError as exc:
        if raw.lstrip()[:1] == b"[":
            raise _bad(
                name, index, "a JSON array", "one JSON object a line: `manifest_tools.py convert`"
            ) from None
        raise _bad(name, index, f"{str(exc)[:100]} in {_excerpt(raw)}", "one JSON object a line") from None
    check_record(record, name, index)
    return record


def check_record(record: Record, name: StrPath, index: int) -> None:
    """Raise CallError where the keys that say what to read are missing or senseless."""
    path, key = record.get("audio_filepath"), record.get("id")
    if path is None and key is None:
        raise _bad(name, index, "neither `audio_filepath` nor `id`", "one of them")
    if path is not None and not (isinstance(path, str) and path):
        raise _bad(name, index, f"`audio_filepath` {path!r}", "an absolute path")
    if path is not None and not path.startswith("/"):
        raise _bad(
            name,
            index,
            f"the relative path {path!r}",
            "an absolute one, as compute nodes have other working folders: `manifest_tools.py convert`",
        )
    if key is not None and not (isinstance(key, (str, int)) and key != ""):
        raise _bad(name, index, f"`id` {key!r}", "a string")
    for field in ("duration", "offset"):
        value = record.get(field)
        if value is not None and not (type(value) in (int, float) and 0 <= value < MAX_S):
            raise _bad(name, index, f"`{field}` {str(value)[:50]!r}", "seconds, at least 0")
    if record.get("offset") is not None and record.get("duration") is None:
        raise _bad(name, index, "`offset` without `duration`", "both for a part of a recording")


def _bad(name: StrPath, index: int, found: str, wanted: str) -> CallError:
    return CallError(f"{name}:{index + 1}: found {found}, wanted {wanted}")


def _excerpt(raw: bytes) -> str:
    text = raw[:60].decode("utf-8", "backslashreplace").strip()
    return repr(text + ("…" if len(raw) > 60 else ""))


def record_key(record: Record) -> str:
    """Return what a record is known by: its id, else path, channel and, of a part, offset and duration.

    The duration of a whole file is no part of the key, so that a stage may add it.
    """
    key = record.get("id")
    if key is not None:
        return str(key)
    path: str = record["audio_filepath"]
    channel, offset = record.get("channel"), record.get("offset")
    if channel is not None:
        path += f"#c{channel}"
    if offset is not None:
        path += f"@{float(offset)}+{float(record['duration'])}"
    return path


def read_records(path: StrPath) -> Iterator[tuple[int, Record]]:
    """Yield (line index from 0, checked record) of each line that is not blank; CallError where there is
    none.
    """
    empty = True
    with open_manifest(path) as file:
        for index, raw in enumerate(read_lines(file, path)):
            if not raw.isspace():
                empty = False
                yield index, parse_record(raw, path, index)
    if empty:
        raise CallError(f"{path}: found no record, wanted one JSON object a line")


def write_manifest(path: StrPath, records: Iterable[Record]) -> int:
    """Write records to a manifest that appears whole or not at all; return how many. Keys stay in order."""
    written = 0
    make_folder(Path(os.path.realpath(path)).parent)
    with write_aside(path, "wb") as file:
        for record in records:
            check_record(record, path, written)
            file.write(to_line(record))
            written += 1
    return written


class Scan(NamedTuple):
    """What one pass over a manifest tells: an entry a line, blank lines included."""

    keys: array[int]  # 64-bit hash of the record's key, 0 for a blank line; this process only
    has_field: bytearray  # 1 where the record has the asked field
    durations: array[float]  # s, 0 where unknown
    records: int  # lines that are not blank


def hash_key(key: str) -> int:
    """Return a number other than 0 for a key; equal within this process only."""
    return hash(key) or 1


def scan(path: StrPath, field: str) -> Scan:
    """Read a manifest once, checking every line; about 13 bytes of memory a line."""
    keys, has_field, durations = array("q"), bytearray(), array("f")
    records = 0
    for index, record in read_records(path):
        blank = index - len(keys)
        keys.extend([0] * blank)
        has_field.extend(bytes(blank))
        durations.extend([0.0] * blank)
        keys.append(hash_key(record_key(record)))
        has_field.append(field in record)
        durations.append(record.get("duration") or 0)
        records += 1
    return Scan(keys, has_field, durations, records)


def duplicates(keys: array[int]) -> list[int]:
    """Return the hashes that stand more than once. A table of 16 to 32 bits a key finds the few that may."""
    bits = max(10, len(keys).bit_length() + 4)
    table, mask = bytearray(1 << (bits - 3)), (1 << bits) - 1
    maybe: set[int] = set()
    for key in keys:
        place, bit = (key & mask) >> 3, 1 << (key & 7)
        if table[place] & bit:
            maybe.add(key)
        table[place] |= bit
    maybe.discard(0)
    once: set[int] = set()
    twice: set[int] = set()
    for key in keys:
        if key in maybe:
            (twice if key in once else once).add(key)
    return sorted(twice)


def check_duplicates(path: StrPath, keys: array[int]) -> dict[int, int]:
    """Return the line indices that repeat the key of an earlier line, with the first such line; CallError
    where an `id` is given twice.
    """
    twice = set(duplicates(keys))
    if not twice:
        return {}
    first: dict[str, int] = {}
    repeated = {}
    for index, record in read_records(path):
        key = record_key(record)
        if hash_key(key) not in twice:
            continue
        if key not in first:
            first[key] = index
        elif record.get("id") is not None:
            raise CallError(
                f"{path}:{index + 1}: found the id {key!r} of line {first[key] + 1} again, "
                "wanted an id once: `manifest_tools.py validate` lists all"
            )
        else:
            repeated[index] = first[key]
    return repeated

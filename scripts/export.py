"""Write what a manifest says as annotation files: speech, text and words, at their times in each recording.

    python scripts/export.py metadata/corpus.json --format textgrid eaf rttm
    python scripts/export.py metadata/corpus_segments.json --format nymph nymph-parquet

rttm and ctm make one file for the corpus, the others one for each recording, named and foldered like the
audio. Records that are windows of one recording (offset) come together in its file. nymph makes a row a
record, with its features as lists (JSONL) or bytes (nymph-parquet, which also takes a JSONL of Nymph's own).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from amela import cli
from amela.errors import OK, CallError, run_main
from amela.files import aside_name, explain, make_folder, write_aside
from amela.log import log
from amela.manifest import (
    Record,
    check_record,
    from_line,
    open_manifest,
    read_lines,
    read_records,
    to_line,
)

SUFFIXES = {"textgrid": ".TextGrid", "eaf": ".eaf", "srt": ".srt", "vtt": ".vtt", "audacity": ".txt"}
CORPUS_FORMATS = ("rttm", "ctm")
ROWS = {"nymph": ".jsonl", "nymph-parquet": ".parquet"}


class Recording(NamedTuple):
    """The records of one audio file, in the manifest's order, and the file's name among the outputs."""

    name: str
    line: int
    records: list[Record]


def main() -> int:
    """Write what is asked for; return the exit status."""
    parser = cli.parser(__doc__)
    parser.add_argument("manifest", help="JSON lines with `speech`, `whisperx`, `asr_segments` or `text`")
    parser.add_argument(
        "--format",
        nargs="+",
        required=True,
        choices=[*CORPUS_FORMATS, *SUFFIXES, *ROWS],
        help="one or more of: rttm (speech, speakers), ctm (words), textgrid (Praat), eaf (ELAN), srt, vtt, "
        "audacity (labels), nymph (JSONL), nymph-parquet",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="folder to write to (default: output/<manifest's name>)"
    )
    parser.add_argument(
        "--field",
        help="field with the text, as given to asr.py (default: whisperx_text of a record that has "
        "`whisperx`, else text)",
    )
    parser.add_argument(
        "--no-arrays",
        action="store_true",
        help="nymph: leave out mfccs and mel_spectrogram, which are nearly all of its size",
    )
    args = parser.parse_args()
    name = Path(args.manifest).stem
    output = make_folder(args.output or Path("output") / name)
    kinds = [kind for kind in dict.fromkeys(args.format) if kind not in ROWS]
    if kinds:
        export_tiers(args, kinds, output, name)
    for kind in dict.fromkeys(args.format):
        if kind in ROWS:
            export_rows(args, kind, output / f"{name}{ROWS[kind]}")
    return OK


def export_tiers(args: Any, kinds: list[str], output: Path, name: str) -> None:
    """Read the manifest twice: once for the names, once for the records; write what is at which time."""
    made: Counter[str] = Counter()
    with ExitStack() as stack:
        corpus = {
            kind: stack.enter_context(write_aside(output / f"{name}.{kind}"))
            for kind in CORPUS_FORMATS
            if kind in kinds
        }
        for recording in recordings(args.manifest):
            made += export(recording, kinds, args.field, output, corpus, args.manifest)
        if not made["speech"] + made["text"]:
            raise CallError(
                f"{args.manifest}: found neither speech nor text in {made['recordings']} recordings, "
                f"wanted `speech` (vad.py), `whisperx` (transcribe.py) or `{args.field or 'text'}` (asr.py) "
                "on the records"
            )
    for kind in kinds:
        where = (
            output / f"{name}.{kind}" if kind in CORPUS_FORMATS else f"{made[kind]} files in {output / kind}"
        )
        log(f"{kind}: {where}")
    if "ctm" in kinds and made["no_words"]:
        log(
            f"ctm: {made['no_words']} of {made['text']} segments have no word times and are left out: "
            "a NeMo model keeps them with `asr.py --timestamps`"
        )
    if made["no_times"]:
        log(f"{made['no_times']} words have no times (digits and the like): they stand in the text alone")


def export_rows(args: Any, kind: str, path: Path) -> None:
    """Write a row of Nymph's keys for each record, as they come."""
    from media import nymph

    with write_aside(path, "wb") as file:
        rows = nymph_rows(args.manifest, args.field, not args.no_arrays)
        if kind == "nymph-parquet":
            try:
                written = nymph.write_parquet(rows, file)
            except ValueError as exc:
                raise CallError(f"{args.manifest}: {exc}") from exc
        else:
            written = 0
            for row in rows:
                file.write(to_line(nymph.as_json(row)))
                written += 1
    log(f"{kind}: {path}, {written:,} rows, {path.stat().st_size / 1e6:,.1f} MB")


def nymph_rows(manifest: str, field: str | None, with_arrays: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows of a manifest, or of a JSONL that has them already; say what they lack."""
    from media import nymph

    count: Counter[str] = Counter()
    with open_manifest(manifest) as file:
        for line, raw in enumerate(read_lines(file, manifest), 1):
            if raw.isspace():
                continue
            try:
                record = from_line(raw)
                if record.keys() >= nymph.MARKS:
                    yield nymph.from_json(record)
                    continue
                check_record(record, manifest, line - 1)
                count["audio"] += "audio_filepath" in record
                count["features"] += bool(record.get("features_filepath"))
                count["several"] += nymph.several_segments(record, field)
                yield nymph.row_of(record, field, with_arrays)
            except (ValueError, OSError) as exc:
                raise CallError(f"{manifest}:{line}: {exc}") from exc
    if count["several"]:
        log(
            f"{count['several']:,} records are several segments and one row each; for a row a segment, and "
            f"its own features: manifest_tools.py explode {manifest} OUT.json --field whisperx"
        )
    if count["audio"] > count["features"]:
        log(
            f"{count['audio'] - count['features']:,} of {count['audio']:,} records have no features: "
            f"`extract_features.py {manifest}` makes them"
        )


def export(
    recording: Recording,
    formats: list[str],
    field: str | None,
    output: Path,
    corpus: dict[str, Any],
    manifest: str,
) -> Counter[str]:
    """Write one recording in all formats; return how many files, intervals and wordless segments."""
    from media.labels import ctm_lines, rttm_lines
    from media.tiers import recording_tiers, segments, text_field, timed_words

    try:
        tiers = recording_tiers(recording.records, field)
    except (ValueError, TypeError, AttributeError) as exc:
        raise CallError(f"{manifest}:{recording.line}: {recording.name}: speech or segments: {exc}") from exc
    count: Counter[str] = Counter(recordings=1)
    for tier in tiers:
        count[tier.kind] += len(tier.intervals)
    for record in recording.records:
        for part in segments(record, field or text_field(record)):
            timed = len(timed_words(part))
            count["no_words"] += bool(part.get("text")) and not timed
            count["no_times"] += len(part.get("words") or ()) - timed
    if "rttm" in corpus:
        corpus["rttm"].writelines(rttm_lines(recording.name, tiers))
    if "ctm" in corpus:
        corpus["ctm"].writelines(ctm_lines(recording.name, tiers))
    for kind, suffix in SUFFIXES.items():
        if kind in formats:
            path = output / kind / (recording.name + suffix)
            make_folder(path.parent)
            write_unsynced(path, content(kind, recording, tiers, field, path.parent))
            count[kind] += 1
    return count


def write_unsynced(path: Path, text: str) -> None:
    """Write a file that appears whole; not synced: it can be made again, and syncing took most time."""
    aside = aside_name(path)
    try:
        with open(aside, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            file.write(text)
        os.replace(aside, path)
    except OSError as exc:
        aside.unlink(missing_ok=True)
        raise explain(exc, path) from exc


def content(kind: str, recording: Recording, tiers: Iterable[Any], field: str | None, folder: Path) -> str:
    """Return the file of one recording in one format."""
    if kind == "audacity":
        from media.labels import audacity_lines

        return "".join(audacity_lines(tiers))
    if kind == "eaf":
        from media.eaf import eaf

        return eaf(tiers, recording.records[0].get("audio_filepath"), str(folder))
    if kind == "textgrid":
        from media.recording_names import duration_s
        from media.textgrid import textgrid

        return textgrid(tiers, duration_s(recording.records))
    from media.subtitles import cues, subtitles

    return subtitles(cues(recording.records, field), kind)


def recordings(manifest: str) -> Iterator[Recording]:
    """Yield the recordings of a manifest, each at its last record: only names are held in memory."""
    from media.recording_names import output_names, source_of

    left: Counter[str] = Counter(source_of(record) for _, record in read_records(manifest))
    names = output_names(list(left))
    waiting: dict[str, tuple[int, list[Record]]] = {}
    for index, record in read_records(manifest):
        source = source_of(record)
        line, records = waiting.setdefault(source, (index + 1, []))
        records.append(record)
        left[source] -= 1
        if left[source] <= 0:
            del waiting[source]
            yield Recording(names[source], line, records)


if __name__ == "__main__":
    run_main(main)

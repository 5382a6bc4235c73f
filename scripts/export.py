"""Write what a manifest says as annotation files: speech, text and words, at their times in each recording.

    python scripts/export.py metadata/corpus.json --format textgrid eaf rttm

rttm and ctm make one file for the corpus, the others one for each recording, named and foldered like the
audio. Records that are windows of one recording (offset) come together in its file.
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
from amela.manifest import Record, read_records

SUFFIXES = {"textgrid": ".TextGrid", "eaf": ".eaf", "srt": ".srt", "vtt": ".vtt", "audacity": ".txt"}
CORPUS_FORMATS = ("rttm", "ctm")


class Recording(NamedTuple):
    """The records of one audio file, in the manifest's order, and the file's name among the outputs."""

    name: str
    line: int
    records: list[Record]


def main() -> int:
    """Read the manifest twice: once for the names, once for the records; return the exit status."""
    parser = cli.parser(__doc__)
    parser.add_argument("manifest", help="JSON lines with `speech`, `asr_segments` or `text`")
    parser.add_argument(
        "--format",
        nargs="+",
        required=True,
        choices=[*CORPUS_FORMATS, *SUFFIXES],
        help="one or more of: rttm (speech), ctm (words), textgrid (Praat), eaf (ELAN), srt, vtt, "
        "audacity (labels)",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="folder to write to (default: output/<manifest's name>)"
    )
    parser.add_argument("--field", default="text", help="field with the text, as given to asr.py")
    args = parser.parse_args()
    name = Path(args.manifest).stem
    output = make_folder(args.output or Path("output") / name)
    made: Counter[str] = Counter()
    with ExitStack() as stack:
        corpus = {
            kind: stack.enter_context(write_aside(output / f"{name}.{kind}"))
            for kind in CORPUS_FORMATS
            if kind in args.format
        }
        for recording in recordings(args.manifest):
            made += export(recording, args.format, args.field, output, corpus, args.manifest)
        if not made["speech"] + made["text"]:
            raise CallError(
                f"{args.manifest}: found neither speech nor text in {made['recordings']} recordings, "
                f"wanted `speech` (vad.py) or `{args.field}` (asr.py) on the records"
            )
    for kind in dict.fromkeys(args.format):
        where = (
            output / f"{name}.{kind}" if kind in CORPUS_FORMATS else f"{made[kind]} files in {output / kind}"
        )
        log(f"{kind}: {where}")
    if "ctm" in args.format and made["no_words"]:
        log(
            f"ctm: {made['no_words']} of {made['text']} segments have no word times and are left out: "
            "a NeMo model keeps them with `asr.py --timestamps`"
        )
    return OK


def export(
    recording: Recording, formats: list[str], field: str, output: Path, corpus: dict[str, Any], manifest: str
) -> Counter[str]:
    """Write one recording in all formats; return how many files, intervals and wordless segments."""
    from media.labels import ctm_lines, rttm_lines
    from media.tiers import recording_tiers, segments

    try:
        tiers = recording_tiers(recording.records, field)
    except (ValueError, TypeError, AttributeError) as exc:
        raise CallError(f"{manifest}:{recording.line}: {recording.name}: speech or segments: {exc}") from exc
    count: Counter[str] = Counter(recordings=1)
    for tier in tiers:
        count[tier.kind] += len(tier.intervals)
    count["no_words"] = sum(
        bool(part.get("text")) and not part.get("words")
        for record in recording.records
        for part in segments(record, field)
    )
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


def content(kind: str, recording: Recording, tiers: Iterable[Any], field: str, folder: Path) -> str:
    """Return the file of one recording in one format."""
    if kind == "audacity":
        from media.labels import audacity_lines

        return "".join(audacity_lines(tiers))
    if kind == "eaf":
        from media.eaf import eaf

        return eaf(tiers, recording.records[0].get("audio_filepath"), str(folder))
    if kind == "textgrid":
        from media.textgrid import textgrid

        return textgrid(tiers, duration_s(recording.records))
    from media.subtitles import cues, subtitles

    return subtitles(cues(recording.records, field), kind)


def recordings(manifest: str) -> Iterator[Recording]:
    """Yield the recordings of a manifest, each at its last record: only names are held in memory."""
    left: Counter[str] = Counter(_source(record) for _, record in read_records(manifest))
    names = output_names(list(left))
    waiting: dict[str, tuple[int, list[Record]]] = {}
    for index, record in read_records(manifest):
        source = _source(record)
        line, records = waiting.setdefault(source, (index + 1, []))
        records.append(record)
        left[source] -= 1
        if left[source] <= 0:
            del waiting[source]
            yield Recording(names[source], line, records)


def output_names(sources: list[str]) -> dict[str, str]:
    """Return a name for each audio file: its path below the shared folder, suffix only where needed."""
    if not sources:
        return {}
    root = os.path.commonpath([os.path.dirname(source) for source in sources])
    whole = {source: os.path.relpath(source, root) for source in sources}
    stems = Counter(_stem(path) for path in whole.values())
    names = {source: _stem(path) if stems[_stem(path)] == 1 else path for source, path in whole.items()}
    return names if len(set(names.values())) == len(names) else whole  # a.wav, a.flac and a.wav.mp3


def duration_s(records: list[Record]) -> float:
    """Return the length of a recording: of its record, or of the file where records are windows."""
    end_s = max((record.get("offset") or 0.0) + (record.get("duration") or 0.0) for record in records)
    path = records[0].get("audio_filepath")
    if path and os.path.exists(path) and any(record.get("offset") is not None for record in records):
        from media.audio import AudioError, probe

        try:
            return max(end_s, probe(path).duration_s)
        except AudioError:
            return float(end_s)
    return float(end_s)


def _source(record: Record) -> str:
    path = record.get("audio_filepath")
    return os.path.normpath(path) if path else os.path.normpath("/" + str(record["id"]))


def _stem(path: str) -> str:
    from media.audio import AUDIO_SUFFIXES

    stem, suffix = os.path.splitext(path)
    return stem if suffix.lower() in AUDIO_SUFFIXES else path


if __name__ == "__main__":
    run_main(main)

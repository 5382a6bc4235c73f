"""Cut long recordings and their transcripts into chunks that match.

    python scripts/chunk_audio.py metadata/corpus.json metadata/chunks.json --window-s 20 --overlap-s 5
    python scripts/chunk_audio.py --audio-dir wavs --transcripts-dir texts --output-dir chunks

Of a manifest it makes a manifest of chunks: records with `offset` and `duration` in the same files, or with
--clips files of their own. Of two folders, paired by the stem of names, it makes
DIR/audio/STEM_0000000-0020000.wav (ms; mono, the recording's rate), DIR/transcripts/….txt and a manifest,
DIR/chunks.json. A word goes to the chunks in which its middle lies. Its time is that of --words (TextGrids or
a CTM, by the stem of the recording), else of the words in `whisperx` or `asr_segments`; without any the words
are spread over the speech (or the recording) by their letters, and the chunk has `text_times`: "proportion"
instead of "words". What is short enough stays whole. Files that are there are not cut again.
"""

from __future__ import annotations

import argparse
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from typing import Any

from amela.cli import cpus, parser, positive, seconds
from amela.errors import OK, TOO_MANY_ERRORS, CallError, run_main
from amela.log import error
from amela.manifest import Record, record_key
from amela.outputs import claim_folder, relative_target, write_output
from amela.pairs import find_pairs
from amela.pieces import Cutter, check_window
from amela.tally import Tally, check_output, print_some, write_tallied

AHEAD = 256  # recordings handed to the processes at a time
MAX_BAD = 0.1  # of the recordings: beyond, the folders or the environment are broken


def parse_args() -> argparse.Namespace:
    """Return the arguments, those of one of the two forms."""
    arguments = parser(__doc__)
    add, add_speed = arguments.add_argument, arguments.add_speed_argument
    add_speed("manifest", nargs="?", help="manifest to read")
    add_speed("output", nargs="?", help="manifest of chunks to write")
    add_speed("--audio-dir", metavar="DIR", help="instead of a manifest: folder of recordings")
    add_speed("--transcripts-dir", metavar="DIR", help="and of .txt files, UTF-8")
    add_speed("--output-dir", metavar="DIR", help="folder of the chunks of the two")
    add("--window-s", type=seconds, default=20.0, metavar="S", help="longest chunk, in seconds")
    add("--overlap-s", type=float, default=5.0, metavar="S", help="what neighbours share, in seconds")
    add("--words", metavar="PATH", help="folder of TextGrids, or a CTM, with the times of words")
    add("--tier", default="words", help="tier of the TextGrids")
    add("--text-field", metavar="FIELD", help="field with the text (default: whisperx_text, else text)")
    add_speed("--clips", metavar="DIR", help="of a manifest: write the chunks' audio there")
    add_speed("--workers", type=positive, default=cpus(), metavar="N", help="recordings cut at once")
    add_speed("--overwrite", action="store_true", help="replace the output, and cut again what is there")
    args = arguments.parse_args()
    folders = (args.audio_dir, args.transcripts_dir, args.output_dir)
    if all(folders) == bool(args.manifest and args.output) or any(folders) != all(folders):
        raise CallError("wanted MANIFEST OUTPUT, or --audio-dir, --transcripts-dir and --output-dir")
    check_window(args.window_s, args.overlap_s)
    return args


class Chunker:
    """Makes the chunks of records: cuts text, and audio and text files where there is a folder for them."""

    def __init__(self, args: argparse.Namespace) -> None:
        from media.phone_labels import PhoneLabels, PhonesError

        self.args = args
        self.audio = os.path.join(args.output_dir, "audio") if args.output_dir else args.clips
        self.texts = os.path.join(args.output_dir, "transcripts") if args.output_dir else None
        try:
            self.labels = PhoneLabels(args.words, args.tier) if args.words else None
        except PhonesError as exc:
            raise CallError(str(exc)) from exc

    def chunks(self, line: int, record: Record) -> list[Record]:
        """Return the chunks of a record, the files of each written; the record itself where it is short."""
        from media.texts import TEXT_FIELDS, cut_text, text_of

        if self.audio and record.get("duration") is None:
            from media.audio import probe

            record = {**record, "duration": probe(record["audio_filepath"]).duration_s}
        pieces = list(self._windows(line, record))
        text, field = "", ""  # of audio alone
        if self.args.text_field or any(record.get(name) is not None for name in TEXT_FIELDS):
            text, field = text_of(record, self.args.text_field)
        if field and len(pieces) > 1:
            words, measured = self._words(record, text, field)
            offset_s = record.get("offset") or 0.0
            windows = [
                (piece["offset"] - offset_s, piece["offset"] - offset_s + piece["duration"])
                for piece in pieces
            ]
            windows[-1] = (windows[-1][0], math.inf)  # words may be said to end behind the recording
            for piece, part in zip(pieces, cut_text(words, windows)):
                piece[field] = part
                piece["text_times"] = "words" if measured else "proportion"
        if self.audio:
            self._write(record, pieces, field)
        return pieces

    def _windows(self, line: int, record: Record) -> Iterator[Record]:
        cutter = Cutter(self.args.manifest or self.args.audio_dir)
        return cutter.windows([(line, record)], self.args.window_s, self.args.overlap_s)

    def _words(self, record: Record, text: str, field: str) -> tuple[list[Any], bool]:
        """Return the words of a text with their times; those of a label file have the text's own spelling
        where there are as many.
        """
        from media.texts import Word, timed_words

        found = self.labels.of(record, record_key(record)) if self.labels else None
        if found is None:
            return timed_words(record, field)
        words = text.split()
        names = words if len(words) == len(found.names) else found.names
        return list(map(Word, found.starts_s.tolist(), found.ends_s.tolist(), names)), True

    def _write(self, record: Record, pieces: list[Record], field: str) -> None:
        """Write audio and text of the chunks, and make their records name the files."""
        from media.clips import Clip, write_clips

        clips = []
        for piece in pieces:
            name = os.path.normpath(f"/{piece.get('id') or relative_target(record, '')}").lstrip("/")
            start_s = (piece.get("offset") or 0.0) - (record.get("offset") or 0.0)
            clips.append(Clip(start_s, start_s + piece["duration"], os.path.join(self.audio, f"{name}.wav")))
        if self.args.overwrite or not all(os.path.exists(clip.path) for clip in clips):
            write_clips(record, clips, write_output)
        for piece, clip in zip(pieces, clips):
            if self.texts:
                stem = os.path.relpath(clip.path, self.audio).removesuffix(".wav")
                with write_output(os.path.join(self.texts, f"{stem}.txt")) as file:
                    file.write(f"{piece.get(field, '')}\n".encode())
            piece["audio_filepath"] = clip.path
            for name in ("offset", "channel"):
                piece.pop(name, None)


_chunker: list[Chunker] = []  # one, which the processes inherit


def chunks_of(item: tuple[int, Record]) -> list[Record] | Exception:
    """Return the chunks of a record, or what is wrong with it."""
    from media.audio import AudioError
    from media.phone_labels import PhonesError
    from media.texts import TextError

    try:
        return _chunker[0].chunks(*item)
    except (AudioError, PhonesError, TextError) as exc:
        return exc


def all_chunks(
    args: argparse.Namespace, items: Iterable[tuple[int, Record]], bad: list[str]
) -> Iterator[Record]:
    """Yield the chunks of all records, in order; the keys of those that cannot be cut go to `bad`."""
    _chunker[:] = [Chunker(args)]
    source = iter(items)
    with ProcessPoolExecutor(args.workers) as pool:
        while part := list(islice(source, AHEAD)):
            cut = pool.map(chunks_of, part) if _chunker[0].audio else map(chunks_of, part)
            for (_, record), found in zip(part, cut):
                if isinstance(found, Exception):
                    bad.append(record_key(record))
                    error(f"{record_key(record)}: {found}")
                else:
                    yield from found


def main() -> int:
    """Cut what is asked for; returns the exit status."""
    args = parse_args()
    from media.audio import scan_audio

    read, bad = Tally(), []
    if args.output_dir:
        args.output = os.path.join(args.output_dir, "chunks.json")
        items = enumerate(read.count(find_pairs(args.audio_dir, args.transcripts_dir, scan_audio)))
    else:
        check_output(args.output, args.manifest, args.overwrite)
        items = read.read(args.manifest)
    for name in ("output_dir", "clips"):
        if folder := getattr(args, name):
            setattr(args, name, os.path.abspath(folder))
            sizes = {size: args.settings[size] for size in ("window_s", "overlap_s")}
            claim_folder(folder, sizes, anew=False)
    how: Counter[str] = Counter()

    def counted() -> Iterator[Record]:
        for chunk in all_chunks(args, items, bad):
            how[chunk.get("text_times", "")] += 1
            yield chunk

    write_tallied(args.output, counted(), read)
    print_some("chunks whose text was cut in proportion, as its words have no times", how["proportion"])
    print_some("recordings that could not be cut", len(bad), bad)
    return TOO_MANY_ERRORS if len(bad) > MAX_BAD * read.records else OK


if __name__ == "__main__":
    run_main(main)

"""A clip a segment: files cut from recordings, and the manifest that lists them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO, Callable

from amela.manifest import Record, read_records, record_key, write_manifest
from amela.outputs import relative_target, write_output
from amela.pieces import Cutter

WriteClip = Callable[[Record, "IO[bytes]"], None]


class Clips:
    """Cuts the items of a list field into files of their own; what is there already is left as it is.

    A clip is named by its recording and its times, `<path below the data set>_<start>-<end>.wav` in ms.
    `write_clip(piece, file)` is given a record with `audio_filepath`, `offset` and `duration`.
    """

    def __init__(self, manifest: str, folder: str, field: str, write_clip: WriteClip) -> None:
        self.folder, self.field, self.write_clip = os.path.abspath(folder), field, write_clip
        self.dataset = os.path.basename(manifest).removesuffix(".json")
        self.cutter = Cutter(manifest)

    def of(self, record: Record) -> list[Record]:
        """Return the records of a record's clips, all of which exist then.

        Each has `id`, `parent`, `audio_filepath` (the clip), `duration`, the fields of its item with times
        from the clip's start, and where it comes from: `parent_filepath`, `start_s`, `end_s` in that file.
        """
        found = []
        for piece in self.cutter.explode([(0, record)], self.field):
            path = os.path.join(self.folder, relative_target(piece, self.dataset) + ".wav")
            if not os.path.exists(path):
                with write_output(path) as file:
                    self.write_clip(piece, file)
            start_s = piece.pop("offset")
            piece.pop("channel", None)
            source = {"parent_filepath": piece["audio_filepath"], "start_s": start_s}
            end_s = round(start_s + piece["duration"], 3)
            found.append({**piece, "audio_filepath": path, **source, "end_s": end_s})
        return found

    def write_manifest(self, manifest: str, path: str) -> int:
        """Write the manifest of all clips, return their number; fields that stages gave to them are kept."""
        kept: dict[str, Record] = {}
        if os.path.exists(path):
            kept = {record_key(record): record for _, record in read_records(path)}

        def clips() -> Iterator[Record]:
            for _, record in read_records(manifest):
                for clip in self.of(record) if record.get("audio_filepath") else []:
                    yield {**kept.get(record_key(clip), {}), **clip}

        return write_manifest(path, clips())

"""ELAN annotation files (.eaf), written by pympi."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from media.tiers import Tier, clean, layers

# What ELAN itself writes; it goes by the extension for the others.
MIME_TYPES = {".wav": "audio/x-wav", ".mp3": "audio/mpeg", ".m4a": "audio/mp4", ".mp4": "video/mp4"}


def eaf(tiers: Iterable[Tier], audio: str | None = None, folder: str = ".") -> str:
    """Return an .eaf of a recording, for a file in `folder`: one more tier where annotations overlap.

    Times are whole milliseconds. `audio` is linked absolutely and, as archives move, relative to `folder`.
    """
    import pympi

    document = pympi.Elan.Eaf(author="AMELA")
    document.remove_tier("default")
    if audio is not None:
        relative = Path(os.path.relpath(audio, folder)).as_posix()
        relative = relative if relative.startswith("../") else f"./{relative}"
        mime = MIME_TYPES.get(Path(audio).suffix.lower(), "unknown")
        # ELAN takes what follows file:// as a path: spaces stand as spaces.
        document.add_linked_file(clean(f"file://{audio}"), relpath=clean(relative), mimetype=mime)
    for tier in tiers:
        for depth, layer in enumerate(layers(tier.intervals) or [[]], 1):
            name = tier.name + (f" ({depth})" if depth > 1 else "")
            document.add_tier(name, part=tier.speaker or None)
            for start_s, end_s, label in layer:
                start_ms, end_ms = round(start_s * 1000), round(end_s * 1000)
                document.add_annotation(name, start_ms, end_ms, label)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return head + str(pympi.Elan.to_string(document, pretty=True, encoding="unicode")) + "\n"

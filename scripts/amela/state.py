"""Where the state of a stage lives: `.amela/<manifest>/<stage>[.<field>]/` beside the manifest's real path.

deals/000001.json   what the tasks of one submission share (deals.py)
jobs/<job>          the deal that a job belongs to
results/*.jsonl     task_0003.<attempt>.jsonl of each attempt; merged.<attempt>.jsonl after a merge
(results.py)
beats/*.json        heartbeats (beats.py)
"""

from __future__ import annotations

import os
from pathlib import Path

from amela.errors import CallError
from amela.files import StrPath

KEY_FIELDS = ("audio_filepath", "id", "duration", "offset", "channel")  # say what a record is


def manifest_folder(manifest: StrPath) -> Path:
    """Return the folder that holds the states of all stages of a manifest."""
    real = Path(os.path.realpath(manifest))
    return real.parent / ".amela" / real.name


def stage_folder(manifest: StrPath, stage: str, field: str | None = None) -> Path:
    """Return the folder of a stage's state; it need not exist yet."""
    if field is not None and (not field.replace("_", "").isalnum() or field in KEY_FIELDS):
        raise CallError(f"--field {field!r}: wanted letters, digits and _, not {', '.join(KEY_FIELDS)}")
    return manifest_folder(manifest) / (f"{stage}.{field}" if field else stage)


def stage_folders(manifest: StrPath) -> list[Path]:
    """Return the states of a manifest's stages that have a deal, sorted by name."""
    return sorted(
        deals.parent for deals in manifest_folder(manifest).glob("*/deals") if any(deals.glob("[0-9]*.json"))
    )

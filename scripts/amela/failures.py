"""Which records of a manifest failed, over all the stages that ran on it."""

from __future__ import annotations

import os
from pathlib import Path

from amela.deals import read_deals
from amela.manifest import read_records, record_key
from amela.state import manifest_folder, stage_folders
from amela.summary import errors


def states(manifest: str) -> list[Path]:
    """Return the state folders of all stages, also of the listing that vad.py made the manifest from."""
    real = Path(os.path.realpath(manifest))
    name = "".join(f"[{char}]" if char in "*?[" else char for char in real.name)
    listings = sorted((real.parent / ".amela" / "listings").glob(f"*/{name}"))
    return [
        folder
        for source in [*listings, real]
        if manifest_folder(source).is_dir()
        for folder in stage_folders(source)
    ]


def failures(manifest: str, folders: list[Path]) -> dict[str, tuple[str, str, str]]:
    """Return stage, class and message of each record that failed and got no result later, by key."""
    found = {
        error["key"]: (folder.name, str(error["class"]), str(error["message"]))
        for folder in folders
        for error in errors(folder)
    }
    fields = {folder.name: read_deals(folder)[-1].header["field"] for folder in folders}
    for _, record in read_records(manifest) if found else ():
        key = record_key(record)
        if key in found and fields[found[key][0]] in record:
            del found[key]
    return found

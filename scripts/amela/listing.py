"""A folder of audio as a frozen manifest: listed once, so that a job killed and requeued goes on with the
same files.

    <output folder>/.amela/listings/<folder>-<hash>/
        corpus_20-11-25.json   a record a file; named like the manifest that will be made from it
        corpus_20-11-25.note   one JSON object: the folder listed, the job that listed it, and, when finished,
        counts

The hash is that of the folder's path and the name asked for. A listing that is not finished is gone on with,
also after midnight.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any, Callable, NamedTuple

from amela.errors import CallError
from amela.files import make_folder, write_aside
from amela.log import log
from amela.manifest import write_manifest


class Listing(NamedTuple):
    """A frozen listing and where its results go."""

    manifest: Path  # the listing itself: a manifest with `audio_filepath` only
    output: Path  # the manifest to make of it

    @property
    def note_path(self) -> Path:
        """Return the file that says what was listed, when, and whether it is finished."""
        return self.manifest.with_suffix(".note")

    def note(self) -> dict[str, Any]:
        """Return what is noted: `folder`, `job`, and after `finish` its `counts`."""
        noted: dict[str, Any] = json.loads(self.note_path.read_text(encoding="utf-8"))
        return noted

    def finish(self, counts: dict[str, Any]) -> None:
        """Note that everything was made, with counts to compare a later run by."""
        with write_aside(self.note_path) as file:
            json.dump({**self.note(), "counts": counts}, file)


def take_listing(
    folder: str, name: str | None, scan_audio: Callable[[str], list[str]], fresh: bool, job: str | None
) -> Listing:
    """Return the listing to work on: the unfinished one, else that of today (or of `name`), else a new one.

    Args:
        folder: what to list.
        name: of the output, or its path without ending; None names it `metadata/<folder>_<dd-mm-yy>`.
        scan_audio: returns the sorted paths of all audio files below a folder.
        fresh: list anew, once a job.
        job: SLURM's job id, None outside of SLURM.

    Raises CallError where there is no audio, or where the name is taken by something else.
    """
    output_folder, stem = _output(folder, name)
    home = _home(folder, output_folder, name)
    earlier = sorted(home.glob("*.note"), key=lambda path: path.stat().st_mtime)
    known = [Listing(path.with_suffix(".json"), output_folder / f"{path.stem}.json") for path in earlier]
    own = [listing for listing in known if job is not None and listing.note()["job"] == job]
    unfinished = [listing for listing in known if "counts" not in listing.note()]
    today = [listing for listing in known if listing.output.stem == stem]
    if own or not fresh:
        for listing in (own or unfinished or today)[-1:]:
            listed = time.strftime("%d-%m-%y %H:%M", time.localtime(listing.manifest.stat().st_mtime))
            log(
                f"{folder}: goes on with the listing of {listed}, for {_short(listing.output)}; "
                "--fresh lists anew"
            )
            return listing
    new = Listing(home / f"{stem}.json", output_folder / f"{stem}.json")
    if not today:
        _check_free(new, folder)
    _list(folder, new, scan_audio, job)
    for listing in unfinished:  # given up by --fresh
        if listing.manifest != new.manifest:
            listing.note_path.unlink(missing_ok=True)
    return new


def _output(folder: str, name: str | None) -> tuple[Path, str]:
    if name is None:
        base = os.path.basename(os.path.abspath(folder)) or "root"
        base = os.path.splitext(base)[0] if os.path.isfile(folder) else base
        return Path("metadata").absolute(), f"{base}_{time.strftime('%d-%m-%y')}"
    path = Path(name.removesuffix(".json"))
    if not path.name or name.endswith("/"):
        raise CallError(f"NAME {name!r}: found a folder, wanted a name or a path without ending")
    return (
        Path("metadata") if path.parent == Path() and not name.startswith("./") else path.parent
    ).absolute(), path.name


def _home(folder: str, output_folder: Path, name: str | None) -> Path:
    told = os.fsencode(os.path.realpath(folder)) + b"\0" + os.fsencode(name or "")
    base = os.path.basename(os.path.abspath(folder))[:40] or "root"
    return output_folder / ".amela" / "listings" / f"{base}-{hashlib.sha256(told).hexdigest()[:12]}"


def _check_free(listing: Listing, folder: str) -> None:
    """Raise CallError where the output would replace a manifest that is not made from this folder."""
    notes = listing.manifest.parent.parent.glob(f"*/{glob.escape(listing.note_path.name)}")
    for other in notes:
        source = json.loads(other.read_text(encoding="utf-8"))["folder"]
        raise CallError(
            f"{listing.output}: made from {source}, not from {folder}; give this one a NAME of its own: "
            f"`vad.py {folder} NAME`"
        )
    if listing.output.exists():
        raise CallError(
            f"{listing.output}: there already, and not made from {folder} by this script; move it away "
            f"or give a NAME: `vad.py {folder} NAME`"
        )


def _short(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _list(folder: str, listing: Listing, scan_audio: Callable[[str], list[str]], job: str | None) -> None:
    try:
        paths = scan_audio(folder)
    except OSError as exc:
        raise CallError(
            f"{exc.filename or folder}: {exc.strerror or exc}; wanted folders that can be listed: a part "
            "of the corpus would be left out"
        ) from exc
    if not paths:
        raise CallError(
            f"{folder}: found no audio file in it or below, wanted .wav, .flac, .mp3, .ogg, .opus or .m4a"
        )
    make_folder(listing.manifest.parent)
    write_manifest(listing.manifest, ({"audio_filepath": path} for path in paths))
    with write_aside(listing.note_path) as file:  # last: without it the listing does not count
        json.dump({"folder": os.path.abspath(folder), "job": job}, file)
    log(f"{folder}: {len(paths)} audio files listed, for {_short(listing.output)}")

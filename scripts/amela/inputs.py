"""What a script was given that wants a manifest: a manifest, or audio or text that becomes one first."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from typing import Any, Callable

from amela import slurm
from amela.errors import CallError
from amela.files import make_folder
from amela.log import log
from amela.manifest import Record, read_records, write_manifest

MANIFEST_SUFFIXES = (".json", ".jsonl")


def is_kind(path: str, suffixes: tuple[str, ...]) -> bool:
    """Tell whether a path is a file with one of these endings."""
    return path.lower().endswith(suffixes) and not os.path.isdir(path)


def check_input(path: str, script: str, audio: tuple[str, ...], text: tuple[str, ...]) -> None:
    """Raise CallError for what is neither manifest, audio, text nor folder, and for a source in an array."""
    if not os.path.exists(path):
        raise CallError(
            f"{path}: no such file or folder; wanted a manifest (.json), audio, text (.txt) or a folder"
        )
    if is_kind(path, MANIFEST_SUFFIXES):
        return
    if not os.path.isdir(path) and not is_kind(path, audio + text):
        raise CallError(
            f"{path}: found another kind of file, wanted a manifest (.json), audio ({', '.join(audio)}), "
            f"text ({', '.join(text)}) or a folder of these"
        )
    if slurm.in_batch_job() and slurm.here().is_array:
        quoted = shlex.quote(path)
        raise CallError(
            f"{path}: each task of an array would list it; list it first: `python scripts/manifest_tools.py "
            f"convert {quoted} metadata/NAME.json`, then `sbatch --array=0-15 slurm/{script}.slurm "
            "metadata/NAME.json`"
        )


def manifest_of(source: str, output: str | None) -> str:
    """Return the manifest that is made of a source: `<output>/<name>.json`, in metadata/ without output; an
    output that ends in `.json` is the manifest.
    """
    if output and output.endswith(".json"):
        return output
    name = os.path.basename(os.path.abspath(source))
    stem = name if os.path.isdir(source) else os.path.splitext(name)[0]
    return os.path.join(output or "metadata", f"{stem}.json")


def list_audio(source: str, paths: list[str], manifest: str, probe: Callable[[str], float]) -> None:
    """Write a manifest of audio files, with `duration` (s) where a header tells it, unless it is there.

    One that is there is gone on with, as it may hold results; CallError where it lists other files.
    """
    root = os.path.abspath(source)
    if os.path.exists(manifest):
        first = next(read_records(manifest))[1].get("audio_filepath") or ""
        if first != root and not first.startswith(os.path.join(root, "")):
            raise CallError(
                f"{manifest}: there already, and not of {source} (its first record is {first or 'text'}); "
                "wanted another OUTPUT_DIR, or that manifest itself as input"
            )
        log(
            f"goes on with {manifest}; files that came to {source} since are not in it: remove it to list "
            "anew"
        )
        return
    make_folder(os.path.dirname(manifest) or ".")
    count = write_manifest(manifest, (_with_duration(path, probe) for path in paths))
    log(f"{manifest}: {count} audio files of {source}")


def _with_duration(path: str, probe: Callable[[str], float]) -> Record:
    try:
        return {"audio_filepath": path, "duration": round(probe(path), 6)}
    except (OSError, ValueError):  # its own stage will say what is wrong with it
        return {"audio_filepath": path}


def sentence_records(
    root: str, paths: Iterable[str], sentences_of: Callable[[str], Iterator[str]], bad: list[str]
) -> Iterator[Record]:
    """Yield a record a sentence: `id`, `text`, `text_filepath`, `sentence` (from 0); no audio fields.

    An id is the file's path below `root`, without ending, and the number. What is not UTF-8 goes to `bad`.
    """
    folder = root if os.path.isdir(root) else os.path.dirname(root)
    for path in paths:
        stem = os.path.splitext(os.path.relpath(path, folder))[0]
        try:
            texts: Iterable[str] = list(sentences_of(path))
        except UnicodeDecodeError as exc:
            bad.append(f"{path}: byte {exc.start} is not UTF-8")
            continue
        fields: dict[str, Any] = {"text_filepath": path}
        for number, text in enumerate(texts):
            yield {"id": f"{stem}_{number:05d}", "text": text, **fields, "sentence": number}

"""Models by name: which revision a name stands for, and where its files lie. Nothing is fetched when
offline.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from pathlib import Path
from typing import Callable

WHOLE_BYTES = (
    1 << 30
)  # larger files are identified by their size and both ends: 16 tasks hash 5 GB each otherwise
END_BYTES = 16 << 20
# The same weights again: 20 GB of Whisper's.
COPIES = ("*.msgpack", "*.h5", "*.ot", "*.onnx", "onnx/*", "*.fp32-*")
WEIGHTS = (".nemo", ".safetensors", ".bin", ".pt", ".ckpt", ".json")


class ModelError(ValueError):
    """A model that is not there; the message says where it was looked for and what to type."""


def go_offline() -> None:
    """Keep every library from asking the hub (before any of them is imported)."""
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"


def is_local(model: str) -> bool:
    """Tell a path from a hub id: what exists here, or looks like a path, is a path."""
    return os.path.exists(model) or model.startswith(("/", "./", "../", "~")) or model.endswith(".nemo")


def name_of(model: str) -> str:
    """Return what stands in results: the hub id, or the last part of a path (its revision tells which it
    was).
    """
    return Path(model).expanduser().resolve().name if is_local(model) else model


def revision_of(model: str, revision: str = "main") -> str:
    """Return what pins the model: the hub's commit, or for a local path `size:sha256` of its weights.

    The commit comes from the local cache where the model is there, else from the hub. Raises ModelError.
    """
    if is_local(model):
        return _local_revision(Path(model).expanduser())
    try:
        from huggingface_hub import HfApi, constants
        from huggingface_hub.file_download import repo_folder_name
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{model}: {error.name} is not in this environment ({sys.executable}), which has no models of "
            "the hub; give a local path in its place, or run in its environment (README, Environments)"
        ) from error
    if len(revision) == 40 and set(revision) <= set("0123456789abcdef"):
        return revision
    try:
        folder = repo_folder_name(repo_id=model, repo_type="model")
    except ValueError as error:
        raise ModelError(
            f"{model}: no such model file or folder, and no hub id; wanted one of them, as nvidia/NAME"
        ) from error
    cached = Path(constants.HF_HUB_CACHE) / folder / "refs" / revision
    if cached.exists():
        return cached.read_text().strip()
    try:
        commit = HfApi().model_info(model, revision=revision).sha
    except Exception as error:
        raise ModelError(
            f"{model}: not in the cache ({cached.parent.parent}) and the hub does not answer "
            f"({type(error).__name__}); on a node with network: `hf download {model} --revision {revision}`, "
            "or give a local path in its place"
        ) from error
    if not commit:
        raise ModelError(f"{model}: the hub names no commit for revision {revision}")
    return commit


def pin(args: argparse.Namespace, fail: Callable[[str], Exception]) -> None:
    """Pin `args.revision` of `args.model`, and let the settings name both; go offline first if asked to.

    Raises what `fail` makes of the message where the model is not to be had.
    """
    if args.offline:
        go_offline()
    try:
        args.revision = revision_of(args.model, args.revision)
    except ModelError as error:
        raise fail(str(error)) from error
    args.settings.update(model=name_of(args.model), revision=args.revision)


def folder_of(model: str, commit: str) -> str:
    """Return the local folder of the model's files at this commit, fetched where needed and allowed."""
    if is_local(model):
        return os.path.expanduser(model)
    from huggingface_hub import snapshot_download

    return snapshot_download(model, revision=commit, ignore_patterns=list(COPIES))


def nemo_file_of(model: str, commit: str) -> str:
    """Return the path of the model's .nemo file at this commit, fetched where needed and allowed."""
    if is_local(model):
        return os.path.expanduser(model)
    from huggingface_hub import hf_hub_download

    return hf_hub_download(model, model.rsplit("/", 1)[-1] + ".nemo", revision=commit)


def _local_revision(path: Path) -> str:
    if not path.exists():
        raise ModelError(
            f"{path}: no such model file or folder; wanted a path that exists or a hub id like nvidia/NAME"
        )
    below = os.walk(path, followlinks=True)  # a folder of models may consist of links
    files = sorted(Path(folder, name) for folder, _, names in below for name in names)
    files = [path] if path.is_file() else [file for file in files if file.suffix in WEIGHTS]
    if not files:
        raise ModelError(f"{path}: no weights in this folder; wanted config.json and model.safetensors")
    digest, size = hashlib.sha256(), 0
    for file in files:
        size += file.stat().st_size
        _digest(file, digest)
    ends = "ends-" if any(file.stat().st_size > WHOLE_BYTES for file in files) else ""
    return f"{size}:{ends}sha256:{digest.hexdigest()[:16]}"


def _digest(file: Path, digest: hashlib._Hash) -> None:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size > WHOLE_BYTES:
            digest.update(stream.read(END_BYTES))
            stream.seek(size - END_BYTES)
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)

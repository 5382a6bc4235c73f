"""A copy of the code, so that queued tasks run what was submitted and not what was edited since."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from amela.files import make_folder
from amela.provenance import git_hash

COPIED = ("scripts", "slurm")


def take_snapshot(repository: Path, home: Path) -> Path:
    """Copy the git-tracked files of scripts/ and slurm/, edits too, to `home/<version>`; return that.

    Where there is no git, all files are taken. An unedited version that was copied before is used again.
    """
    version = git_hash(repository) or "no-git"
    stamp = "" if version != "no-git" and not version.endswith("-edited") else time.strftime("-%Y%m%d-%H%M%S")
    folder = home / (version + stamp)
    if (folder / ".git_version").exists():
        return folder
    aside = make_folder(home) / f".{folder.name}.{os.getpid()}"
    for name in _files(repository):
        target = aside / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(repository / name, target)
    (aside / ".git_version").write_text(version + "\n")
    try:
        os.rename(aside, folder)
    except OSError:  # another submission made the same one just now
        shutil.rmtree(aside)
    return folder


def _files(repository: Path) -> list[str]:
    tracked = _git(repository, "ls-files", "-z", *COPIED)
    if tracked:
        return [name for name in tracked.split("\0") if name and (repository / name).exists()]
    return [
        str(path.relative_to(repository))
        for top in COPIED
        for path in sorted((repository / top).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]


def _git(repository: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(repository), *words], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

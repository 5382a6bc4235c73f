"""What ran: git hash, Python and package versions. Recorded, and warned about when it changes, never
refused.
"""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "numpy",
    "soundfile",
    "soxr",
    "torch",
    "transformers",
    "scikit-learn",
    "nemo_toolkit",
    "onnxruntime",
    "ten-vad",
    "silero-vad",
    "pocketsphinx",
)


def git_hash(folder: Path | None = None) -> str | None:
    """Return the version of the code: the launcher's word, else the checkout's hash, `-edited` where files
    differ.
    """
    if "AMELA_GIT_VERSION" in os.environ:
        return os.environ["AMELA_GIT_VERSION"]
    folder = folder or Path(__file__).parent
    # not `describe --dirty`: it locks the index whatever it is told; a task killed just then leaves it locked
    version = _git(folder, "describe", "--always", "--abbrev=12", "--exclude=*")
    edited = version and _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{version}-edited" if edited else version or None


def _git(folder: Path, *words: str) -> str:
    try:
        command = ["git", "--no-optional-locks", "-C", str(folder), *words]
        out = subprocess.run(command, capture_output=True, check=False, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return out.stdout.strip()


@functools.cache
def versions() -> dict[str, str | None]:
    """Return the versions that a result may depend on, by name; only packages that are installed."""
    found: dict[str, str | None] = {"amela": git_hash(), "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found

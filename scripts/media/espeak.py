"""Which espeak-ng is used, and which release it is: IPA differs from release to release.

The library that PHONEMIZER_ESPEAK_LIBRARY names, else the one in the wheel espeakng-loader, which an
environment pins, so that all nodes of a cluster write the same; else the system's.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os

ELSEWHERE = "install the environment `text` (envs/create.sh text), or Debian's espeak-ng"


class EspeakError(ValueError):
    """No espeak-ng, or one that does not load; the message says what to install."""


def find_library() -> tuple[str, str | None]:
    """Return the library, a path or a name that the loader knows, and the folder of its data (None: its own).

    EspeakError where there is none.
    """
    given = os.environ.get("PHONEMIZER_ESPEAK_LIBRARY")
    if given:
        return given, os.environ.get("PHONEMIZER_ESPEAK_DATA_PATH")
    try:
        import espeakng_loader
    except ImportError:
        return system_library(), None
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


def system_library() -> str:
    """Return the name of the system's library; EspeakError where there is none."""
    found = ctypes.util.find_library("espeak-ng")
    if found is None:
        raise EspeakError(f"no espeak-ng on this machine: {ELSEWHERE}")
    return found


def release_of(library: str) -> str:
    """Return the release of a library, such as 1.52.0; EspeakError where it does not load."""
    try:
        info = ctypes.CDLL(library).espeak_Info
    except (OSError, AttributeError) as error:
        raise EspeakError(f"{library}: no espeak-ng ({error}): {ELSEWHERE}") from error
    info.restype = ctypes.c_char_p
    return str(info(None).decode().split()[0])

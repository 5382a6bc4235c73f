"""TEN-VAD: probability of speech a 16 ms frame, by ctypes over the library inside the `ten-vad` wheel.

Its licence is Apache-2.0 with added conditions (no competing offers, own applications only): not open source.
Facts this file stands on, all measured: the native code carries state over calls, so every file gets a fresh
handle; it reads a raw pointer, so samples must lie contiguously; a probability below 0 means that the frame
is not valid; calling it from Python costs 2 to 4 % against a loop in C. Source of the interface: ten_vad.h in
the wheel.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from media.errors import EngineError

if TYPE_CHECKING:
    import numpy as np

HOP = 256  # samples a frame: 16 ms at 16 kHz, the size the library works in
CXX_LIBRARIES = ("libunwind.so.1", "libc++abi.so.1", "libc++.so.1")  # in the order they need each other
REMEDY = (
    "install LLVM's C++ runtime: `conda install -c conda-forge libcxx` in this environment, or `apt install "
    "libc++1`, or put libc++.so.1 and libc++abi.so.1 into {lib}; or use `--engine silero`, which needs none"
)


def load() -> ctypes.CDLL:
    """The native library, with its functions declared. Raises EngineError that says what to install."""
    package = importlib.util.find_spec("ten_vad")
    if package is None or not package.submodule_search_locations:
        raise EngineError(
            "engine ten: the package ten-vad is not installed here; `pip install ten-vad==1.0.6.9`"
        )
    folder = package.submodule_search_locations[0]
    path = os.path.join(folder, "lib", "Linux", "x64", "libten_vad.so")
    if sys.platform == "darwin":
        path = os.path.join(folder, "lib", "macOS", "ten_vad.framework", "Versions", "A", "ten_vad")
    elif platform.machine() not in ("x86_64", "AMD64"):
        raise EngineError(
            f"engine ten: no build for {platform.machine()}, only for x86_64; use `--engine silero`"
        )
    library = _open_library(path)
    library.ten_vad_create.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.c_float]
    library.ten_vad_process.argtypes = [
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p,
    ]  # fmt: skip
    library.ten_vad_destroy.argtypes = [ctypes.POINTER(ctypes.c_void_p)]
    return library


def _open_library(path: str) -> ctypes.CDLL:
    """Open libten_vad; where the system has no libc++, with that of the environment's own lib folder.

    Always RTLD_LOCAL (ctypes' default): with RTLD_GLOBAL, LLVM's unwinder takes over the process and
    importing onnxruntime afterwards is a segmentation fault.
    """
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        if path in str(error):  # else it is one of the libraries that this one needs
            raise EngineError(f"engine ten: {error}; reinstall: `pip install ten-vad==1.0.6.9`") from error
    lib = os.path.join(sys.prefix, "lib")
    for name in CXX_LIBRARIES:
        if os.path.exists(os.path.join(lib, name)):
            ctypes.CDLL(os.path.join(lib, name), mode=ctypes.RTLD_LOCAL)
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        raise EngineError(f"engine ten: {error}; {REMEDY.format(lib=lib)}") from error


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Float samples (n,) in [-1, 1] → contiguous int16 (n,); what exceeds the range is clipped, never
    wrapped.

    The factor is 32768, as libsndfile divides by it: 16-bit files come out exactly as they went in.
    """
    import numpy as np

    return np.clip(np.rint(samples * np.float32(32768.0)), -32768, 32767).astype(np.int16)


def speech_probabilities(library: ctypes.CDLL, blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, int]:
    """Probabilities of speech, float32 of shape (frames,), and the number of samples that came in.

    `blocks` are float samples of one file, 16 kHz mono, in order. The last frame is padded with zeros. A
    frame that the library calls invalid gets probability 0.
    """
    import numpy as np

    handle = ctypes.c_void_p()
    if library.ten_vad_create(ctypes.byref(handle), HOP, 0.5) != 0:
        raise EngineError("engine ten: the library cannot make a handle (out of memory?)")
    parts: list[np.ndarray] = []
    rest = np.zeros(0, np.int16)
    n_samples = 0
    try:
        for block in blocks:
            n_samples += len(block)
            samples = to_int16(block)
            if len(rest):
                samples = np.concatenate((rest, samples))
            whole = len(samples) // HOP * HOP
            parts.append(_process(library, handle, samples[:whole]))
            rest = samples[whole:]
        if len(rest):
            parts.append(
                _process(library, handle, np.concatenate((rest, np.zeros(HOP - len(rest), np.int16))))
            )
    finally:
        library.ten_vad_destroy(ctypes.byref(handle))
    return np.concatenate(parts) if parts else np.zeros(0, np.float32), n_samples


def _process(library: ctypes.CDLL, handle: ctypes.c_void_p, samples: np.ndarray) -> np.ndarray:
    """Probabilities (frames,) of contiguous int16 samples (frames * HOP,). Raw addresses make no objects."""
    import numpy as np

    frames = len(samples) // HOP
    probabilities = np.empty(frames, np.float32)
    flags = np.empty(frames, np.int32)
    process = library.ten_vad_process
    start, probability, flag = samples.ctypes.data, probabilities.ctypes.data, flags.ctypes.data
    failed = 0
    for frame in range(frames):
        failed |= process(handle, start + 2 * HOP * frame, HOP, probability + 4 * frame, flag + 4 * frame)
    if failed:
        raise EngineError(f"engine ten: ten_vad_process returned {failed}")
    probabilities[(flags < 0) | (flags > 1)] = 0.0
    return probabilities

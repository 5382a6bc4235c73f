"""Silero VAD: probability of speech a 32 ms frame, by onnxruntime over the model inside the `silero-vad`
wheel.

MIT licence. `silero_vad_16k_sequence.onnx` takes a whole stretch of frames in one call (about 3 times the
speed of a call a frame, same numbers bit for bit); its recurrent state is handed from block to block, so any
length of file runs in the same memory. The wheel's Python code, which wants torch, is never imported.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from media.errors import EngineError

if TYPE_CHECKING:
    import numpy as np

HOP = 512  # samples a frame: 32 ms at 16 kHz
CONTEXT = 64  # samples of the frame before that the model sees too
STATE_SHAPE = (1, 1, 128)
MODEL_FILE = "silero_vad_16k_sequence.onnx"
MAX_FRAMES = 1024  # frames a call: 33 s of audio, 2.4 MB of input


def find_model() -> str:
    """The path of the model in the installed wheel. Raises EngineError that says what to install."""
    package = importlib.util.find_spec("silero_vad")
    folders = (package.submodule_search_locations if package else None) or [""]
    path = os.path.join(folders[0], "data", MODEL_FILE)
    if not os.path.exists(path):
        raise EngineError(
            f"engine silero: {MODEL_FILE} of the package silero-vad is not here; "
            "`pip install --no-deps silero-vad==6.2.3` has it"
        )
    return path


def load() -> Any:
    """An onnxruntime session on one thread. Raises EngineError that says what to install."""
    path = find_model()
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(f"engine silero: {error}; `pip install onnxruntime==1.31.1`") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def speech_probabilities(session: Any, blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, int]:
    """Probabilities of speech, float32 of shape (frames,), and the number of samples that came in.

    `blocks` are float samples of one file, 16 kHz mono, in order. The last frame is padded with zeros.
    """
    import numpy as np

    state = {"h": np.zeros(STATE_SHAPE, np.float32), "c": np.zeros(STATE_SHAPE, np.float32)}
    parts: list[np.ndarray] = []
    rest = np.zeros(
        CONTEXT, np.float32
    )  # the context of the next frame, then samples that do not fill one yet
    n_samples = 0
    for block in blocks:
        n_samples += len(block)
        samples = np.concatenate((rest, np.clip(block, -1.0, 1.0)))
        while len(samples) >= CONTEXT + HOP:
            frames = min((len(samples) - CONTEXT) // HOP, MAX_FRAMES)
            parts.append(_process(session, state, samples, frames))
            samples = samples[frames * HOP :]
        rest = samples
    if len(rest) > CONTEXT:
        padded = np.concatenate((rest, np.zeros(CONTEXT + HOP - len(rest), np.float32)))
        parts.append(_process(session, state, padded, 1))
    return np.concatenate(parts) if parts else np.zeros(0, np.float32), n_samples


def _process(session: Any, state: dict[str, np.ndarray], samples: np.ndarray, frames: int) -> np.ndarray:
    """Probabilities (frames,) of the first `frames` frames of `samples`, each with its context before it."""
    import numpy as np

    windows = np.lib.stride_tricks.sliding_window_view(samples, CONTEXT + HOP)[: frames * HOP : HOP]
    out, state["h"], state["c"] = session.run(None, {"input": np.ascontiguousarray(windows), **state})
    return out.reshape(-1)

"""The voice activity engines `ten` and `silero` behind one call: blocks of samples in, segments of speech
out.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from media import segments, silero, ten
from media.audio import SAMPLE_RATE
from media.errors import EngineError

if TYPE_CHECKING:
    import numpy as np

ENGINES = ("ten", "silero")
# Both engines lag: on clean synthetic speech in faint noise ten is 20 ms late at onsets and 57 ms at ends,
# silero 4 and 70 ms (medians). 32 ms is about the middle; on labelled recordings F1 is flat from 16 to 64 ms
# around it.
OFFSET_MS = 32.0
LEVEL_FRAME = 256  # samples over which the level is measured
LEVEL_PERCENTILE = (
    95.0  # of the frames' levels: that of the loud syllables, whatever share of the file is silent
)


class Engine(NamedTuple):
    """A loaded engine: frames of `hop` samples, and what makes probabilities of blocks."""

    name: str
    hop: int
    model: Any
    speech_probabilities: Callable[[Any, Iterable[np.ndarray]], tuple[np.ndarray, int]]


def load_engine(name: str) -> Engine:
    """Load `ten` or `silero` in this process. Raises EngineError that names the remedy."""
    module: Any = {"ten": ten, "silero": silero}[name]
    return Engine(name, module.HOP, module.load(), module.speech_probabilities)


def check_engine(name: str) -> str:
    """The version of an engine that will work here, without loading numpy or a model. Raises EngineError."""
    from importlib import metadata

    if name == "ten":
        ten.load()
        return f"ten-vad {metadata.version('ten-vad')}"
    silero.find_model()
    if importlib.util.find_spec("onnxruntime") is None:
        raise EngineError(
            "engine silero: onnxruntime is not installed here; `pip install onnxruntime==1.31.1`"
        )
    return f"silero-vad {metadata.version('silero-vad')}"


def find_speech(
    engine: Engine, blocks: Iterable[np.ndarray], rules: segments.Rules
) -> tuple[list[dict[str, float]], float]:
    """The speech in one recording, `[{"start_s", "end_s"}, …]`, and how long the recording is in seconds.

    `blocks` are its float32 samples at 16 kHz mono, in order (see media.audio.stream_mono).
    """
    probabilities, n_samples = engine.speech_probabilities(engine.model, blocks)
    found = segments.find_segments(probabilities, engine.hop, n_samples, rules)
    return [{"start_s": start_s, "end_s": end_s} for start_s, end_s in found], n_samples / SAMPLE_RATE


def gain_to(blocks: Iterable[np.ndarray], level_dbfs: float) -> float:
    """The factor that brings the loud frames of a recording to `level_dbfs` (RMS, dB below full scale).

    Loud is the 95th percentile of 16 ms frames. Digital silence gives 1.
    """
    import numpy as np

    powers: list[np.ndarray] = []
    for block in blocks:
        whole = len(block) // LEVEL_FRAME * LEVEL_FRAME
        powers.append(np.square(block[:whole].reshape(-1, LEVEL_FRAME)).mean(axis=1))
    loud = float(np.percentile(np.concatenate(powers), LEVEL_PERCENTILE)) if sum(map(len, powers)) else 0.0
    return float(10 ** (level_dbfs / 20) / loud**0.5) if loud > 0 else 1.0


def scaled(blocks: Iterable[np.ndarray], gain: float) -> Iterator[np.ndarray]:
    """The blocks times `gain`; the engines clip what exceeds full scale."""
    for block in blocks:
        yield block * gain

"""Speech of a record that no `vad.py` has seen: with the best engine here, named in the result."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Callable

from media.engines import OFFSET_MS, Engine, find_speech, load_engine
from media.errors import EngineError
from media.segments import Rules

if TYPE_CHECKING:
    import numpy as np

FindSpeech = Callable[[Iterable["np.ndarray"]], list]

RULES = Rules(offset_s=OFFSET_MS / 1000, min_silence_s=0.1, min_speech_s=0.1)
ENERGY_RULES = Rules(min_silence_s=0.2, min_speech_s=0.1, pad_s=0.1)
ENERGY_HOP = 512  # samples a frame: 32 ms at 16 kHz
ENERGY_FLOOR_DB = -55.0  # of full scale; nothing below it is speech
ENERGY_ABOVE_NOISE_DB = 9.0  # how far speech stands above the quietest tenth of the recording


def load() -> tuple[str, FindSpeech]:
    """Return the engine's name (`silero`, `ten` or `energy`) and a function: blocks of samples → speech.

    Blocks are float32, 16 kHz, one record in order; speech is `[{"start_s", "end_s"}]`. The function may be
    called from several threads at once.
    """
    for name in ("silero", "ten"):
        try:
            engine = load_engine(name)
        except EngineError:
            continue
        return name, partial(_find_by_engine, engine)
    return "energy", find_by_energy


def _find_by_engine(engine: Engine, blocks: Iterable[np.ndarray]) -> list[dict[str, float]]:
    return find_speech(engine, blocks, RULES)[0]


def find_by_energy(blocks: Iterable[np.ndarray]) -> list[dict[str, float]]:
    """Speech by loudness alone: the last resort. It cuts at pauses well, but takes any sound for speech."""
    engine = Engine("energy", ENERGY_HOP, None, _energy_probabilities)
    return find_speech(engine, blocks, ENERGY_RULES)[0]


def _energy_probabilities(_: None, blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, int]:
    """1 for frames well above the recording's own noise, else 0, float32 of shape (frames,); samples."""
    import numpy as np

    powers, rest, n_samples = [], np.zeros(0, np.float32), 0
    for block in blocks:
        n_samples += len(block)
        samples = np.concatenate((rest, block))
        whole = len(samples) // ENERGY_HOP * ENERGY_HOP
        powers.append((samples[:whole].reshape(-1, ENERGY_HOP).astype(np.float64) ** 2).mean(axis=1))
        rest = samples[whole:]
    if len(rest):
        powers.append(np.array([np.mean(rest.astype(np.float64) ** 2)]))
    power = np.concatenate(powers) if powers else np.zeros(0)
    if not len(power):
        return np.zeros(0, np.float32), n_samples
    level_db = 10 * np.log10(power + 1e-12)
    noise_db = float(np.percentile(level_db, 10))
    if (
        level_db.max() - noise_db < ENERGY_ABOVE_NOISE_DB
    ):  # the same level all through: no pauses to measure noise in
        noise_db = -np.inf
    threshold_db = max(ENERGY_FLOOR_DB, noise_db + ENERGY_ABOVE_NOISE_DB)
    return (level_db > threshold_db).astype(np.float32), n_samples

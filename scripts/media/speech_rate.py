"""How fast somebody speaks: syllable nuclei, words and phones, each a second of speech.

A nucleus is a peak of loudness. The loudness is the power from 250 to 2500 Hz, where vowels are strong and
hisses weak, smoothed over 60 ms, in dB. Peaks count that rise at least 1.5 dB above the dips on both sides
and lie within 25 dB of the loud parts (the 99th percentile). The method is that of de Jong & Wempe 2009; the
band, after Pfitzinger et al. 1996, stands in for their check of voicing.

Speech is what the field `speech` says (vad.py). Where it is missing: the frames within those 25 dB, pauses
shorter than 0.3 s filled.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

from media.texts import TEXT_FIELDS

if TYPE_CHECKING:
    import numpy as np

SMOOTH_S = 0.06  # length of the Hann window
DIP_DB = 1.5
RANGE_DB = 25.0
LOUD = 99  # percentile
PAUSE_S = 0.3
SHORTEST_S = 0.1  # of speech: less than a syllable, a clip of 20 ms would have 33 of them a second
QUIET = 1e-10  # power below which nothing is a sound: -100 dB
# Scripts that set no blanks between words: Thai to Burmese, Khmer, kana, Han.
WITHOUT_BLANKS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
)
TIES = "\u0361\u035c"
SWITCH = re.compile(r"\([a-z-]+\)")  # espeak's mark of another language


def rates(record: dict[str, Any], power: np.ndarray, hop_s: float) -> dict[str, float | None]:
    """Return `rate_syl_s`, and `words_per_s` and `phones_per_s` where the record has text and ipa; None
    where there is less than SHORTEST_S of speech.

    power: (frames,), from 250 to 2500 Hz, of frames every hop_s.
    """
    import numpy as np

    level, at = nuclei(power, hop_s)
    if record.get("speech") is None:
        spoken = sounding(level, hop_s)
    else:
        spoken = np.zeros(len(level), bool)
        for part in record["speech"]:
            spoken[round(part["start_s"] / hop_s) : round(part["end_s"] / hop_s)] = True
    speech_s = float(spoken.sum()) * hop_s
    counts: dict[str, int | None] = {"rate_syl_s": int(spoken[at].sum())}
    text = next((record[name] for name in TEXT_FIELDS if record.get(name)), None)
    if text:
        counts["words_per_s"] = words(text)
    if record.get("ipa"):
        counts["phones_per_s"] = phones(record["ipa"])
    return {
        name: round(count / speech_s, 3) if speech_s >= SHORTEST_S and count is not None else None
        for name, count in counts.items()
    }


def nuclei(power: np.ndarray, hop_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the smoothed level (frames,) in dB and the frames (nuclei,) that are syllable nuclei."""
    import numpy as np

    half = round(SMOOTH_S / 2 / hop_s)
    window = np.hanning(2 * half + 3)[1:-1]
    smooth = np.convolve(np.pad(power, half), window / window.sum(), "valid")
    level = 10 * np.log10(np.maximum(smooth, QUIET))
    at = peaks(level)
    return level, at[level[at] > floor_db(level)]


def peaks(level: np.ndarray) -> np.ndarray:
    """Return the frames (peaks,) from which a level falls by DIP_DB after it rose to them by as much; before
    and after all of it lies silence.
    """
    import numpy as np

    turns = 1 + np.flatnonzero(np.diff(np.sign(np.diff(level))))
    found = []
    top, low, best = -np.inf, -np.inf, 0
    for at in [0, *turns.tolist(), len(level) - 1]:
        here = level[at]
        low = min(low, here)
        if here > top and here >= low + DIP_DB:
            top, best = here, at
        elif here <= top - DIP_DB:
            found.append(best)
            top, low = -np.inf, here
    if top > -np.inf:
        found.append(best)
    return np.array(found, int)


def floor_db(level: np.ndarray) -> float:
    """Return the level in dB from which a frame is loud enough for speech."""
    import numpy as np

    return max(float(np.percentile(level, LOUD)) - RANGE_DB, -99.0)


def sounding(level: np.ndarray, hop_s: float) -> np.ndarray:
    """Return whether each frame (frames,) is speech, by its level in dB alone."""
    import numpy as np

    loud = np.flatnonzero(level > floor_db(level))
    spoken = np.zeros(len(level), bool)
    spoken[loud] = True
    gaps = np.diff(loud)
    for index in np.flatnonzero((gaps > 1) & ((gaps - 1) * hop_s < PAUSE_S)):
        spoken[loud[index] : loud[index + 1]] = True
    return spoken


def words(text: str) -> int | None:
    """Return the number of words, parted by blanks; None where the script parts none (Chinese, Thai …)."""
    if WITHOUT_BLANKS.search(text):
        return None
    return sum(any(map(str.isalnum, word)) for word in text.split())


def phones(ipa: str) -> int:
    """Return the number of phones: letters of the IPA, two joined by a tie being one; marks do not count."""
    ipa = SWITCH.sub("", ipa)
    letters = sum(unicodedata.category(sign) in ("Ll", "Lu", "Lo") for sign in ipa)
    return letters - sum(ipa.count(tie) for tie in TIES)

"""Input files of ABX tools: items (which stretch of which file is which phone) and a tensor of units a file.

An item file is a table with spaces, its header being `#file onset offset #phone prev-phone next-phone
speaker` (ABXpy, libri-light, ZeroSpeech 2021, fastabx). Times are seconds; the item of a phone spans the
phone alone, that of a triphone its neighbours too. fastabx takes frame i of a file to lie at (i + 1/2) hops,
and wants at least one frame in an item, and all of them in the file.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import ceil, floor

from media.labels import line_id
from media.phone_labels import SILENCE, Phones

HEADER = "#file onset offset #phone prev-phone next-phone speaker\n"
KINDS = ("triphone", "phoneme")
PRECISION = 10_000  # times of items are multiples of 0.1 ms


class FileNames:
    """Names without spaces for the column #file, the stem of a recording, or that and a number."""

    def __init__(self) -> None:
        self._count: dict[str, int] = {}

    def new(self, stem: str) -> str:
        """Return a name that no other recording has."""
        name = line_id(stem)
        number = self._count[name] = self._count.get(name, 0) + 1
        return name if number == 1 else self.new(f"{name}_{number}")


def item_lines(
    kind: str, name: str, phones: Phones, speaker: str, sizes: Sequence[tuple[float, int]]
) -> Iterator[str]:
    """Yield the items of a recording: each phone between two others, none of them silence, all touching.

    `sizes` are the hop (s) and the frames of the recording in each folder of units: an item stands in all.
    """
    rows = list(zip(phones.starts_s, phones.ends_s, phones.names))
    for before, this, after in zip(rows, rows[1:], rows[2:]):
        if any(phone.lower() in SILENCE for _, _, phone in (before, this, after)):
            continue
        if this[0] - before[1] > 1 / PRECISION or after[0] - this[1] > 1 / PRECISION:
            continue
        start_s, end_s = (before[0], after[1]) if kind == "triphone" else this[:2]
        onset, offset = round(start_s * PRECISION), round(end_s * PRECISION)
        if all(_stands(onset, offset, hop_s, frames) for hop_s, frames in sizes):
            labels = " ".join(line_id(phone) for phone in (this[2], before[2], after[2], speaker))
            yield f"{name} {onset / PRECISION:.4f} {offset / PRECISION:.4f} {labels}\n"


def _stands(onset: int, offset: int, hop_s: float, frames: int) -> bool:
    """Tell whether a file has the frames of an item, exactly: a float may round a frame away."""
    hop = Fraction(str(hop_s)) * PRECISION
    first, last = ceil(onset / hop - Fraction(1, 2)), floor(offset / hop - Fraction(1, 2))
    return 0 <= first <= last < frames


def command_lines(folder: str, label: str, hop_s: float) -> list[str]:
    """Return the lines to type for fastabx, within and across speakers, on the tensors in `folder`/`label`.

    `identical`: two units are at distance 0 or 1. --max-size-group 10 and --max-x-across 5 are ZeroSpeech's.
    """
    frequency_hz = round(1 / hop_s, 6)
    items, features = f"{folder}/triphone.item", f"{folder}/{label}"
    if not frequency_hz.is_integer():  # the command takes whole numbers only
        return [f'Dataset.from_item("{items}", "{features}", "{frequency_hz}")']
    words = ["fastabx", items, features, "--frequency", f"{frequency_hz:.0f}", "--distance", "identical"]
    line = shlex.join([*words, "--max-size-group", "10"])
    return [line, f"{line} --speaker across --max-x-across 5"]

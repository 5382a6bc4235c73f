"""Annotation formats that are plain lines: RTTM, CTM and Audacity labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from media.tiers import Tier


def line_id(name: str) -> str:
    """Return a name for formats whose columns are split at spaces: spaces and % become %20 and %25."""
    return re.sub(r"[\s%]", lambda found: quote(found.group()), name)


def rttm_lines(name: str, tiers: Iterable[Tier]) -> Iterator[str]:
    """Yield SPEAKER lines for the speech of a recording, or for its text where that alone has speakers or no
    speech was looked for.

    Columns: type, file, channel from 1, start (s), duration (s), <NA>, <NA>, speaker, <NA>, <NA>.
    Source: NIST, Rich Transcription evaluation plans.
    """
    tiers = list(tiers)
    named = {tier.kind for tier in tiers if tier.speaker}
    speech = any(tier.kind == "speech" for tier in tiers) and not ("text" in named and "speech" not in named)
    kind = "speech" if speech else "text"
    for tier in tiers:
        if tier.kind != kind:
            continue
        speaker = line_id(tier.speaker) or "speech"
        for start_s, end_s, _ in tier.intervals:
            yield (
                f"SPEAKER {line_id(name)} {(tier.channel or 0) + 1} {start_s:.3f} {end_s - start_s:.3f} "
                f"<NA> <NA> {speaker} <NA> <NA>\n"
            )


def ctm_lines(name: str, tiers: Iterable[Tier]) -> Iterator[str]:
    """Yield a line a word: file, channel from 1, start (s), duration (s), word. Source: NIST SCTK."""
    for tier in tiers:
        if tier.kind == "words":
            for start_s, end_s, word in tier.intervals:
                yield (
                    f"{line_id(name)} {(tier.channel or 0) + 1} {start_s:.3f} {end_s - start_s:.3f} "
                    f"{word.replace(' ', '_')}\n"
                )


def audacity_lines(tiers: Iterable[Tier]) -> Iterator[str]:
    """Yield the labels of a recording: start (s), end (s), label. Source: Audacity manual, label tracks."""
    rows = [(interval, tier) for tier in tiers if tier.kind != "words" for interval in tier.intervals]
    for interval, tier in sorted(rows, key=lambda row: row[0][:2]):
        label = f"{tier.speaker}: {interval.label}" if tier.speaker else interval.label
        yield f"{interval.start_s:.3f}\t{interval.end_s:.3f}\t{label}\n"

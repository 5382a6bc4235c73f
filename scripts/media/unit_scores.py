"""How good discrete units are: usage, bitrate, what they say of phones, and of speakers.

Only counts are kept, so memory does not grow with the corpus, but for a seeded sample of utterances.
Sources: Hsu et al. 2021, HuBERT, section IV-C (phone purity, cluster purity, PNMI); Dunbar et al. 2019, The
Zero Resource Speech Challenge 2019 (bitrate); Rosenberg and Hirschberg 2007 (V-measure).
"""

from __future__ import annotations

import math
import random
from typing import Any

SAMPLED_UTTERANCES = 5000  # whose speakers are told apart: more only takes longer
FOLDS = 5


class Table:
    """Counts of units by a label (phone, speaker): `counts` is (labels, units), int64."""

    def __init__(self) -> None:
        import numpy as np

        self.rows: dict[str, int] = {}
        self.counts = np.zeros((0, 0), np.int64)

    def add(self, label: str, counts: Any) -> None:
        """Add counts (units,) to those of a label."""
        import numpy as np

        row = self.rows.setdefault(label, len(self.rows))
        rows, width = self.counts.shape
        if row >= rows or len(counts) > width:
            more = ((0, max(0, 2 * row + 8 - rows) if row >= rows else 0), (0, max(0, len(counts) - width)))
            self.counts = np.pad(self.counts, more)
        self.counts[row, : len(counts)] += counts

    def whole(self) -> tuple[list[str], Any]:
        """Return the labels, sorted, and their counts in that order."""
        labels = sorted(self.rows)
        return labels, self.counts[[self.rows[label] for label in labels]]


class UnitCounts:
    """What is counted of the units of one folder; `vocabulary` is None where nobody says it."""

    def __init__(self, vocabulary: int | None, hop_s: float) -> None:
        self.vocabulary, self.hop_s = vocabulary, hop_s
        self.files = 0
        self.units, self.segments = Table(), Table()
        self.by_phone, self.by_speaker = Table(), Table()

    def add(self, units: Any, speaker: str | None) -> Any:
        """Count the units (frames,) of a recording; return how often each occurs."""
        import numpy as np

        self.files += 1
        counts = np.bincount(units)
        starts = np.flatnonzero(np.diff(units, prepend=-1))
        self.units.add("", counts)
        self.segments.add("", np.bincount(units[starts]))
        if speaker is not None:
            self.by_speaker.add(speaker, counts)
        return counts

    def add_phones(self, units: Any, names: list[str], index: Any) -> None:
        """Count units (frames,) by phone: index (frames,) into the names, -1 for none."""
        import numpy as np

        for number in np.unique(index[index >= 0]):
            counts = np.bincount(units[index == number], minlength=self.vocabulary or 0)
            self.by_phone.add(names[number], counts)

    @property
    def frames(self) -> int:
        """Return how many units were counted."""
        return int(self.units.counts.sum())

    def usage(self) -> dict[str, Any]:
        """Return how the units are used, and the bits a second of the raw and of the deduplicated ones.

        Bitrate is symbols a second times the entropy of a symbol, in bits, as in ZeroSpeech 2019: symbols are
        taken as independent, so it is what a code without memory would need.
        """
        units, segments = (table.counts[0] for table in (self.units, self.segments))
        frames, runs = int(units.sum()), int(segments.sum())
        seconds, used = frames * self.hop_s, int((units > 0).sum())
        vocabulary = self.vocabulary or len(units)
        bits, bits_dedup = _entropy(units) / math.log(2), _entropy(segments) / math.log(2)
        return {
            "files": self.files,
            "hours": seconds / 3600,
            "vocabulary": vocabulary,
            "used": used,
            "dead": vocabulary - used,
            "perplexity": 2**bits,
            "top_share": float(units.max() / frames),
            "units_per_s": frames / seconds,
            "segments_per_s": runs / seconds,
            "segment_ms": 1000 * seconds / runs,
            "bitrate": bits * frames / seconds,
            "bitrate_dedup": bits_dedup * runs / seconds,
        }


def _entropy(counts: Any) -> float:
    """Return the entropy of counts, in nats."""
    import numpy as np

    shares = counts[counts > 0] / counts.sum()
    return max(0.0, float(-(shares * np.log(shares)).sum()))


def _information(table: Any) -> tuple[float, float, float]:
    """Return the mutual information of rows and columns, and the entropy of each, in nats."""
    from sklearn.metrics import mutual_info_score

    shared = float(mutual_info_score(None, None, contingency=table))
    return max(0.0, shared), _entropy(table.sum(1)), _entropy(table.sum(0))


def phone_scores(table: Any, frames: int) -> dict[str, Any]:
    """Return what units say of phones, by counts (phones, units) of those of all `frames` that have a label.

    phone_purity: share of frames right where each unit stands for its commonest phone; cluster_purity: share
    right where each phone stands for its commonest unit; pnmi: share of the phones' entropy that the unit
    removes (the same as V-measure's homogeneity); v_measure: its harmonic mean with completeness.
    """
    shared, of_phones, of_units = _information(table)
    total = int(table.sum())
    homogeneity = shared / of_phones if of_phones else 1.0
    completeness = shared / of_units if of_units else 1.0
    both = homogeneity + completeness
    return {
        "phones": int((table.sum(1) > 0).sum()),
        "labelled_share": total / frames,
        "phone_purity": float(table.max(0).sum() / total),
        "cluster_purity": float(table.max(1).sum() / total),
        "pnmi": homogeneity,
        "completeness": completeness,
        "v_measure": 2 * homogeneity * completeness / both if both else 0.0,
    }


class Sample:
    """A seeded sample of utterances, the same for all folders: histograms of units, and their speakers."""

    def __init__(self, folders: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.seen = 0
        self.speakers: list[str] = []
        self.histograms: list[list[Any]] = [[] for _ in range(folders)]

    def add(self, speaker: str, counts: list[Any]) -> None:
        """Take an utterance into the sample, or not (reservoir): its counts (units,) by folder."""
        import numpy as np

        self.seen += 1
        full = len(self.speakers) == SAMPLED_UTTERANCES
        slot = self.random.randrange(self.seen) if full else len(self.speakers)
        if slot >= SAMPLED_UTTERANCES:
            return
        if slot == len(self.speakers):
            self.speakers.append("")
            for histograms in self.histograms:
                histograms.append(None)
        self.speakers[slot] = speaker
        for histograms, found in zip(self.histograms, counts):
            there = np.flatnonzero(found)
            histograms[slot] = (there.astype(np.int32), found[there])


def speaker_scores(table: Any, sample: Sample, folder: int, seed: int) -> dict[str, Any]:
    """Return how well units tell speakers: normalised mutual information of unit and speaker by counts
    (speakers, units), and the share of utterances whose speaker is found from the histogram of their units.

    Cross-validated by utterance, the speaker's other utterances being known; by naive Bayes on counts and
    logistic regression on roots of shares. `speaker_chance`: 1 / speakers; `speaker_majority`: the commonest.
    """
    import numpy as np
    from scipy import sparse
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.naive_bayes import MultinomialNB

    shared, one, other = _information(table)
    scores: dict[str, Any] = {"speaker_nmi": 2 * shared / (one + other) if one + other else 0.0}
    _, index, sizes = np.unique(sample.speakers, return_inverse=True, return_counts=True)
    kept = np.flatnonzero(sizes[index] >= 2)  # one utterance can be learnt from or asked for, not both
    speakers = index[kept]
    sizes = sizes[sizes >= 2]
    scores.update(speakers=len(sizes), speaker_utterances=len(kept))
    if len(sizes) < 2:
        return scores
    found = [sample.histograms[folder][number] for number in kept]
    ends = np.cumsum([0, *(len(units) for units, _ in found)])
    units, counts = (np.concatenate(part) for part in zip(*found))
    shape = (len(found), int(units.max()) + 1)
    histogram = sparse.csr_matrix((counts.astype(np.float64), units, ends), shape)
    totals = np.repeat(np.asarray(histogram.sum(1)).ravel(), np.diff(ends))
    shares = sparse.csr_matrix((np.sqrt(counts / totals), units, ends), shape)
    folds = StratifiedKFold(min(FOLDS, int(sizes.min())), shuffle=True, random_state=seed)
    ways = {"speaker_nb": (MultinomialNB(), histogram),
            "speaker_lr": (LogisticRegression(C=10.0, max_iter=1000), shares)}  # fmt: skip
    for name, (model, data) in ways.items():
        scores[name] = float(cross_val_score(model, data, speakers, cv=folds).mean())
    return {
        **scores,
        "speaker_chance": 1 / len(sizes),
        "speaker_majority": float(sizes.max() / sizes.sum()),
    }

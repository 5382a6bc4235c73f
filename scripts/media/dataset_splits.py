"""Which records stay together, so that no speaker and no recording is in two splits of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, NamedTuple

from media.dataset import SPLITS
from media.dataset_survey import BLANK, Survey, SurveyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

MIN_SPEAKERS = 10  # fewer groups of speakers: the shares would be far off
BUCKETS = 1 << 16  # groups are dealt by so many values of their hash
Deal = Callable[["Sequence[float]", "Sequence[int]", "Sequence[float]"], "Sequence[int]"]


def split_lines(
    survey: Survey, by: str | None, ratios: Sequence[float], deal: Deal
) -> tuple[np.ndarray, str]:
    """Return the split of each line (its place in SPLITS, BLANK where it has none), and in words how.

    A field `split` wins; else groups are dealt to their shares by deal(amounts, records, ratios).
    SurveyError where a split that should have records would have none.
    """
    import numpy as np

    if "split" in survey.first:
        splits, how = np.frombuffer(survey.given, np.uint8), "as the field `split` says"
    else:
        labels, how = groups_of(survey, by)
        splits = splits_of(survey, labels, deal(*amounts_of(survey, labels, BUCKETS), ratios))
    counts = [int((splits == split).sum()) for split in range(len(SPLITS))]
    empty = [name for name, count, ratio in zip(SPLITS, counts, ratios) if ratio and not count]
    if empty:
        raise SurveyError(
            f" {' and '.join(empty)} would be empty ({how}; {survey.records:,} records); wanted more groups, "
            f"--ratios {_without(ratios, empty)} if that is meant, a field `split` on each record, or "
            "--split-by id, which may part a recording"
        )
    several = in_several(survey, splits)
    how += "".join(f"; {count:,} {what} stand in several splits" for what, count in several.items() if count)
    return splits, how


def _without(ratios: Sequence[float], empty: Sequence[str]) -> str:
    """Return ratios as one types them, without the empty splits."""
    kept = [0.0 if name in empty else ratio for name, ratio in zip(SPLITS, ratios)]
    return " ".join(f"{ratio / (sum(kept) or 1):.3g}" for ratio in kept)


class Groups(NamedTuple):
    """Records that must not be parted: a label a line, and how they were found."""

    labels: np.ndarray
    by: str


def groups_of(survey: Survey, by: str | None) -> Groups:
    """Return the groups that stay in one split: by speaker and recording (`by` speaker, or None where there
    are enough speakers), by recording (hash), or by the values of the field `by`. SurveyError where a record
    lacks it.
    """
    import numpy as np

    recordings, speakers = (np.frombuffer(one, np.uint64) for one in (survey.recordings, survey.speakers))
    if by not in (None, "hash") and f"no {by}" in survey.first:
        raise SurveyError(
            f"{survey.first[f'no {by}'] + 1}: found no `{by}` to split by; wanted it on every record, "
            "or --split-by hash: by recording"
        )
    if by == "speaker" or (by is None and "no speaker" not in survey.first):
        labels = joined(speakers, recordings)
        count = len(np.unique(labels[np.frombuffer(survey.given, np.uint8) != BLANK]))
        if by or count >= MIN_SPEAKERS:
            return Groups(labels, f"by speaker: {count:,} groups that share neither speaker nor recording")
        why = f"{count} groups of speakers are fewer than {MIN_SPEAKERS}"
    else:
        why = "not every record has a speaker"
    if by in (None, "hash"):
        return Groups(recordings, "by recording" + (f", as {why}" if by is None else ""))
    return Groups(np.frombuffer(survey.values, np.uint64), f"by {by}")


def joined(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return a label a record, the same for records that are linked by equal values in either array, over any
    number of steps; the label does not depend on the order of records.
    """
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    (lefts, first), (rights, second) = (np.unique(one, return_inverse=True) for one in (left, right))
    nodes = len(lefts) + len(rights)
    links = coo_array((np.ones(len(left), bool), (first, second + len(lefts))), (nodes, nodes))
    of_node = connected_components(links, directed=False)[1]
    least = np.full(nodes, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(least, of_node[: len(lefts)], lefts)
    return least[of_node[first]]


def amounts_of(survey: Survey, labels: np.ndarray, buckets: int) -> tuple[list[float], list[int]]:
    """Return seconds (records, where not all durations are known) and records of each bucket of groups."""
    import numpy as np

    bucket = (labels % np.uint64(buckets)).astype(np.int64)
    there = (np.frombuffer(survey.given, np.uint8) != BLANK).astype(np.float64)
    records = np.bincount(bucket, there, buckets)
    if "no duration" in survey.first:
        return records.tolist(), records.astype(int).tolist()
    seconds = np.bincount(bucket, there * np.frombuffer(survey.durations, np.float32), buckets)
    return seconds.tolist(), records.astype(int).tolist()


def splits_of(survey: Survey, labels: np.ndarray, split_of: Sequence[int]) -> np.ndarray:
    """Return the split of each line, BLANK where it has none, by the split of each bucket of groups."""
    import numpy as np

    given = np.frombuffer(survey.given, np.uint8)
    bucket = (labels % np.uint64(len(split_of))).astype(np.int64)
    return np.where(given == BLANK, np.uint8(BLANK), np.array(split_of, np.uint8)[bucket])


def in_several(survey: Survey, splits: np.ndarray) -> dict[str, int]:
    """Return how many speakers and recordings stand in more than one split."""
    import numpy as np

    counts = {}
    for name, values in (("speakers", survey.speakers), ("recordings", survey.recordings)):
        labels = np.frombuffer(values, np.uint64)
        found = [np.unique(labels[(splits == split) & (labels > 0)]) for split in range(len(SPLITS))]
        places = np.unique(np.concatenate(found), return_counts=True)[1]
        counts[name] = int((places > 1).sum())
    return counts


def speakers_of(survey: Survey, splits: np.ndarray) -> list[str]:
    """Return the names of the speakers of train, sorted."""
    import numpy as np

    hashes = np.unique(np.frombuffer(survey.speakers, np.uint64)[splits == 0])
    return sorted(survey.names[int(one)] for one in hashes if one)

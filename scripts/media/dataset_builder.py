"""The rows of a part of a multimodal data set, and in the end what all the parts come to."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any

from media.contexts import windows
from media.dataset import FORMAT, LEXICON, PROSODY, SPLITS, Dataset, DatasetError, descriptions, schema_of
from media.dataset_parts import Row, Statistics, write_part
from media.dataset_rows import MODEL, WORDS, Kind, MixedError, RowMaker
from media.emotions import LABELS

if TYPE_CHECKING:
    from media.tokens import Tokenizer

Record = dict[str, Any]
Place = tuple[int, str, Record]  # line of the manifest, key, record
EMOTIONS = {MODEL: LABELS, WORDS: LEXICON, None: ()}
LACKS = ("audio", "features", "text", "speaker", "emotion")


class Builder:
    """Makes the parts of one data set by its plan (media/dataset_splits.py and dataset_survey.py)."""

    def __init__(
        self, plan: Record, names: tuple[str, ...], tokenizer: Tokenizer | None, text_field: str | None
    ) -> None:
        """names: the arrays that are wanted."""
        self.kind = Kind(*plan["kind"]) if plan["kind"] else Kind({}, None, None)
        self.emotions = list(EMOTIONS[plan["feeling"]])
        self.schema = schema_of(self.kind.arrays, len(self.emotions))
        self._plan, self._tokenizer = plan, tokenizer
        self._maker = RowMaker(
            names, self.kind, plan["feeling"], plan["speakers"], tokenizer, text_field, plan["first"]
        )

    def write(self, part: Record, places: Iterable[Place], file: IO[bytes]) -> Record:
        """Write a part of the records that `places` yields, and `lead` and `trail` more for their context.

        Returns rows, counts, errors (line, key, class, message a record that became no row) and the
        statistics of train. MixedError where records do not go together.
        """
        found: Record = {"errors": [], "counts": Counter()}
        statistics = Statistics(self.kind.arrays, len(self.emotions)) if part["split"] == SPLITS[0] else None
        rows = self._rows(part, places, found)
        counted = _counted(rows, self.kind.arrays, found["counts"], statistics)
        found["rows"] = write_part(counted, self.schema, file)
        return {**found, "statistics": statistics and statistics.to_json()}

    def _rows(self, part: Record, places: Iterable[Place], found: Record) -> Iterator[Row]:
        waiting: deque[tuple[int, str]] = deque()

        def records() -> Iterator[Record]:
            for line, key, record in places:
                waiting.append((line, key))
                yield record

        size = self._tokenizer.config["context_window_size"] if self._tokenizer else 0
        for index, (record, previous, following) in enumerate(windows(records(), size, self._text_or_none)):
            line, key = waiting.popleft()
            if not 0 <= index - part["lead"] < part["rows"]:
                continue
            try:
                yield self._maker.row(key, record, previous, following)
            except MixedError as error:
                raise MixedError(f"{line + 1}: {error}") from error
            except ValueError as error:
                text = " ".join(str(error).split())[:500]
                found["errors"].append(
                    {"line": line + 1, "key": key, "class": type(error).__name__, "message": text}
                )

    def _text_or_none(self, record: Record) -> str | None:
        try:
            return self._maker.text(record)
        except ValueError:  # its own row will say so
            return None

    def dataset(self, folder: str, built: list[tuple[Record, Record]], settings: Record) -> Dataset:
        """Return the data set of all (part, what was written of it), in their order; DatasetError where a
        split has lost all of its records.
        """
        statistics = Statistics(self.kind.arrays, len(self.emotions))
        counts: Counter[str] = Counter()
        splits: dict[str, dict[str, Any]] = {name: {"rows": 0, "parts": []} for name in SPLITS}
        for part, found in built:
            split = splits[part["split"]]
            if found["rows"]:
                split["rows"] += found["rows"]
                split["parts"].append({name: found[name] for name in ("file", "rows", "bytes", "sha256")})
            counts.update(found["counts"])
            counts["errors"] += len(found["errors"])
            if found["statistics"]:
                statistics.join(found["statistics"])
        lost = {part["split"] for part, _ in built if not splits[part["split"]]["rows"]}
        if lost:
            raise DatasetError(f"{folder}: all records of {', '.join(sorted(lost))} failed: see errors.jsonl")
        tokenizer, plan = self._tokenizer, self._plan
        return Dataset(
            folder, FORMAT, splits, plan["split_by"], descriptions(self.kind.arrays), self.kind.arrays,
            self.kind.hop_s, self.kind.sample_rate_hz, list(PROSODY), self.emotions, plan["speakers"],
            statistics.figures(), dict(sorted(counts.items())), tokenizer and tokenizer.sha256,
            tokenizer and tokenizer.vocab_size, settings,
        )  # fmt: skip


def _counted(
    rows: Iterator[Row], arrays: Iterable[str], counts: Counter[str], statistics: Statistics | None
) -> Iterator[Row]:
    """Yield rows; count what they lack, and take the statistics."""
    for row in rows:
        has = {
            "audio": row["audio_filepath"] is not None,
            "features": row["frames"] > 0,
            "text": row["text"] is not None,
            "speaker": row["speaker"] is not None,
            "emotion": row["emotion"] is not None,
        }
        counts["rows"] += 1
        counts["frames"] += row["frames"]
        for name in LACKS:
            counts[f"without_{name}"] += not has[name]
        for name in arrays if row["frames"] else ():
            counts[f"without_{name}"] += row[name] is None
        if statistics:
            statistics.add(row)
        yield row

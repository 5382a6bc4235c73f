"""Choosing records by a seed: parts for training and test that share no speaker, and samples. Flat memory."""

from __future__ import annotations

import random
import re
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from hashlib import blake2b
from typing import Any, Callable
from urllib.parse import quote

from amela.errors import CallError
from amela.files import write_aside
from amela.manifest import read_records, to_line

Record = dict[str, Any]
MAX_PARTS = 500  # open files
MAX_GROUPS = 1_000_000
_BUCKETS = 1 << 16
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)(h?)")


class Target:
    """One part of a split: its name and what it wants, `share` of everything or `hours`, neither for the
    rest.
    """

    def __init__(self, name: str, share: float | None, hours: float | None) -> None:
        self.name, self.share, self.hours = name, share, hours


class Part:
    """What one written part holds: records, hours, and how many groups (values of the field that keeps
    together).
    """

    def __init__(self, path: str) -> None:
        self.path, self.records, self.hours = path, 0, 0.0
        self._groups: set[int] = set()

    def add(self, record: Record, by: str | None) -> None:
        """Count a record that was written."""
        self.records += 1
        self.hours += (record.get("duration") or 0.0) / 3600
        if by and len(self._groups) < MAX_GROUPS:
            self._groups.add(hash(str(record.get(by))))

    @property
    def groups(self) -> str:
        """The number of groups as text; counting ends at a million, for the memory's sake."""
        return f"{len(self._groups)}" if len(self._groups) < MAX_GROUPS else f"over {MAX_GROUPS}"


def parse_targets(text: str) -> list[Target]:
    """Read `train=0.9,dev=0.05,test=0.05` or `train=rest,dev=2h,test=2h`; CallError for anything else."""
    targets = []
    for word in text.split(","):
        name, _, amount = word.strip().partition("=")
        found = _AMOUNT.fullmatch(amount)
        if not re.fullmatch(r"[\w-]+", name) or not (found or amount == "rest"):
            raise CallError(
                f"--parts {text!r}: found {word!r}, wanted NAME=SHARE, NAME=HOURSh or NAME=rest, "
                "e.g. train=0.9,dev=0.05,test=0.05 or train=rest,dev=2h,test=2h"
            )
        value = float(found[1]) if found else None
        in_hours = bool(found and found[2])
        targets.append(Target(name, None if in_hours else value, value if in_hours else None))
    shares = sum(target.share or 0.0 for target in targets)
    rest = [target.name for target in targets if target.share is None and target.hours is None]
    if len({target.name for target in targets}) < len(targets) or len(rest) > 1 or shares > 1 + 1e-9:
        raise CallError(
            f"--parts {text!r}: wanted each name once, one `rest` at most and shares of 1 in all, found "
            f"{shares:g}"
        )
    if not rest and not any(target.hours for target in targets) and shares < 1 - 1e-9:
        raise CallError(f"--parts {text!r}: the shares make {shares:g}, wanted 1, or one part =rest")
    return targets


def share_out(manifest: str, targets: list[Target], by: str, seed: int) -> Callable[[Record], str]:
    """Read the manifest once and return a function that names the part of a record (a target's name).

    Records that agree in field `by` always share a part. The groups are drawn into 2**16 buckets by a hash of
    seed and value, so the answer does not depend on the order of lines, and the memory not on their number;
    buckets then go, in that random order, to the part that lacks most. Amounts are hours, records where no
    record has a duration. Raises CallError where `by` is missing or a target asks for more than there is.
    """
    amounts, records, with_duration = array("d", bytes(8 * _BUCKETS)), array("d", bytes(8 * _BUCKETS)), 0
    for line, record in read_records(manifest):
        value = record.get(by)
        if value is None:
            raise CallError(
                f"{manifest}:{line + 1}: the record has no field `{by}`, by which to keep records together; "
                f"add it (`manifest_tools.py join`), leave such records out (`filter --where '{by} is not "
                "None'`) or choose another field with --by"
            )
        bucket = draw(seed, value) % _BUCKETS
        records[bucket] += 1
        amounts[bucket] += (record.get("duration") or 0.0) / 3600
        with_duration += record.get("duration") is not None
    amounts = amounts if with_duration else records
    part_of = deal_out(amounts, records, _wanted(targets, sum(amounts)))
    names = [target.name for target in targets]
    filled = {part for part, count in zip(part_of, records) if count}
    empty = [name for part, name in enumerate(names) if part not in filled]
    if empty:
        raise CallError(
            f"{manifest}: nothing would be left for {', '.join(empty)}: found {sum(map(bool, records))} "
            f"values of `{by}` for {len(names)} parts; wanted more, or another --by or --seed"
        )
    return lambda record: names[part_of[draw(seed, record[by]) % _BUCKETS]]


def deal_out(amounts: Sequence[float], records: Sequence[float], wanted: Sequence[float]) -> bytearray:
    """Return the part of each bucket that has records: each in turn to the part that lacks most."""
    left = list(wanted)
    part_of = bytearray(len(amounts))
    for bucket, amount in enumerate(amounts):
        if records[bucket]:
            best = _neediest(left, amount)
            part_of[bucket] = best
            left[best] -= amount
    return part_of


def deal_shares(amounts: Sequence[float], records: Sequence[int], shares: Sequence[float]) -> list[int]:
    """Return the part of each bucket, by shares; a part with a share gets one while there are enough."""
    parts = [part for part, share in enumerate(shares) if share]
    total = sum(amounts)
    part_of = deal_out(amounts, records, [shares[part] * total for part in parts])
    for part in range(len(parts)):
        buckets: list[list[int]] = [[] for _ in parts]
        for bucket, count in enumerate(records):
            if count:
                buckets[part_of[bucket]].append(bucket)
        richest = max(buckets, key=len)
        if not buckets[part] and len(richest) > 1:
            part_of[min(richest, key=lambda bucket: (amounts[bucket], bucket))] = part
    return [parts[part] for part in part_of]


def _wanted(targets: list[Target], total: float) -> list[float]:
    wanted = [
        target.hours if target.hours is not None else (target.share or 0.0) * total for target in targets
    ]
    rest = total - sum(wanted)
    if rest < -1e-6 * total:
        raise CallError(
            f"--parts asks for {sum(wanted):.2f}, but there are {total:.2f} (hours, or records where no "
            "duration is known)"
        )
    return [
        rest if target.share is None and target.hours is None else amount
        for target, amount in zip(targets, wanted)
    ]


def _neediest(left: list[float], amount: float) -> int:
    """The part that lacks most among those where the amount fits, else among all."""
    fitting = [i for i, lacking in enumerate(left) if lacking >= amount]
    return max(fitting or range(len(left)), key=lambda i: left[i])


def draw(seed: int, value: object) -> int:
    """64 random bits that depend on seed and value only, on any machine."""
    text = f"{seed}:{value}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


def by_value(field: str) -> Callable[[Record], str]:
    """Return a function that makes a part of a file name of a record's field; two values never make the same.
    """
    return lambda record: quote(str(record.get(field, "none")), safe="")


def write_parts(
    manifest: str, name_of: Callable[[Record], str], path_of: Callable[[str], str], by: str | None = None
) -> dict[str, Part]:
    """Write each record to the manifest of its part, in one pass and manifest order; return what went where.
    """
    parts: dict[str, Part] = {}
    with ExitStack() as stack:
        files: dict[str, Any] = {}
        for _, record in read_records(manifest):
            name = name_of(record)
            if name not in files:
                if len(files) == MAX_PARTS:
                    raise CallError(
                        f"{manifest}: found more than {MAX_PARTS} values, wanted fewer manifests than that"
                    )
                parts[name] = Part(path_of(name))
                files[name] = stack.enter_context(write_aside(parts[name].path, "wb"))
            files[name].write(to_line(record))
            parts[name].add(record, by)
    return parts


def sample(
    manifest: str, records: int | None, hours: float | None, each: str | None, seed: int
) -> Iterator[Record]:
    """Yield so many random records, or hours of them, in manifest order; of each value of field `each` if
    given.

    Selection sampling (Knuth, TAOCP 3.4.2 S): one pass to count, one to choose, each record with the chance
    of what is still wanted over what is still to come: exact for records, within the last recording for
    hours. Raises CallError where all of the manifest is less than was wanted.
    """

    def amount(record: Record) -> float:
        return 1.0 if records is not None else (record.get("duration") or 0.0) / 3600

    to_come: defaultdict[str, float] = defaultdict(float)
    for _, record in read_records(manifest):
        to_come[str(record.get(each)) if each else ""] += amount(record)
    wanted = float(records if records is not None else hours or 0.0)
    there = sum(to_come.values())
    if not each and there < wanted:
        raise CallError(f"{manifest}: found {there:g}, wanted {wanted:g} {'records' if records else 'hours'}")
    lacking = dict.fromkeys(to_come, wanted)
    generator = random.Random(seed)
    for _, record in read_records(manifest):
        value = str(record.get(each)) if each else ""
        size = amount(record)
        if lacking[value] > 1e-9 and generator.random() * to_come[value] < lacking[value]:
            lacking[value] -= size
            yield record
        to_come[value] -= size

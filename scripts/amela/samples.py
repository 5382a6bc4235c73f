"""Samples to generate from a language model, as records of a manifest: what each is to be says its record."""

from __future__ import annotations

import csv
import itertools
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from amela.errors import CallError
from amela.files import link_first, make_folder, write_aside
from amela.manifest import Record, read_records, record_key, to_line, write_manifest
from amela.merge import lock
from amela.outputs import relative_target

LOG = "generation_log.csv"
SPEC = ("temperature", "top_k", "top_p", "max_length", "seed", "prompt")  # of a sample; None is left out
COLUMNS = (
    "sample_id", "temperature", "top_k", "top_p", "max_length", "actual_length", "has_internal_sos",
    "token_file", "timestamp", "seed", "prompt", "mean_log_probability",
)  # fmt: skip


class Prompt(NamedTuple):
    """Units that a sample begins with; `name` is that of its folder, "" where there is one prompt for all."""

    name: str
    units: list[int]


def settings_grid(
    temperatures: Sequence[float], top_ks: Sequence[int | None], top_ps: Sequence[float | None]
) -> list[Record]:
    """Return every combination, the last varying fastest; temperature 0, the likeliest unit each time, needs
    no others.
    """
    found: list[Record] = []
    for temperature, top_k, top_p in itertools.product(temperatures, top_ks, top_ps):
        setting = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        if temperature == 0:
            setting.update(top_k=None, top_p=None)
        if setting not in found:
            found.append(setting)
    return found


def setting_name(sample: Record) -> str:
    """Return the name of a sample's setting, as in its file's name: temp0.8_topk50_toppnone."""
    top_k, top_p = ("none" if sample.get(name) is None else sample[name] for name in ("top_k", "top_p"))
    return f"temp{sample['temperature']}_topk{top_k}_topp{top_p}"


def samples(
    folder: str, settings: Iterable[Record], prompts: Sequence[Prompt], count: int, max_length: int, seed: int
) -> list[Record]:
    """Return a record for each sample of each prompt at each setting, one where all would be the same.

    `audio_filepath` is where synthesize.py will put its speech. CallError where that could not be, as a
    folder above is named like `folder`.
    """
    found = []
    for prompt, setting in itertools.product(prompts, settings):
        for number in range(1, (count if setting["temperature"] else 1) + 1):
            name = os.path.join(prompt.name, f"{setting_name(setting)}_{number:05}")
            record: Record = {"id": name, "audio_filepath": os.path.join(folder, "speech", f"{name}.wav")}
            given = {**setting, "max_length": max_length, "seed": seed, "prompt": prompt.units or None}
            record.update((key, given[key]) for key in SPEC if given[key] is not None)
            found.append({**record, "sample": number})
    speech = os.path.join(folder, f"{relative_target(found[0], os.path.basename(folder))}.wav")
    if speech != found[0]["audio_filepath"]:
        raise CallError(
            f"{folder}: a folder above it has its name, so that its files cannot be told from others; wanted "
            "another OUTPUT_DIR"
        )
    return found


def list_samples(manifest: str, wanted: list[Record]) -> None:
    """Write the samples into their manifest; those that stand there stay as they are, with what was made of
    them.

    Several tasks may do this at once. CallError where the manifest has other things, or samples of these
    names that were to be different.
    """
    make_folder(os.path.dirname(manifest))
    with lock(manifest):
        if not os.path.exists(manifest) and link_first(manifest, b"".join(map(to_line, wanted))):
            return
        there = {record_key(record): record for _, record in read_records(manifest)}
        for record in there.values():
            if "sample" not in record:
                raise CallError(f"{manifest}: holds no samples; wanted another name for OUTPUT_DIR")
        for record in wanted:
            old = there.get(record["id"], record)
            names = [name for name in ("audio_filepath", *SPEC) if old.get(name) != record.get(name)]
            if names:
                name = names[0]
                raise CallError(
                    f"{manifest}: {record['id']} is there with {name} {old.get(name)!r}, wanted "
                    f"{record.get(name)!r}: give another OUTPUT_DIR"
                )
        new = [record for record in wanted if record["id"] not in there]
        if new:
            write_manifest(manifest, [*there.values(), *new])


def made(manifest: str) -> list[Record]:
    """Return the samples of a manifest whose units were made and merged into it."""
    return [record for _, record in read_records(manifest) if "units_filepath" in record]


def write_log(folder: str, records: Iterable[Record]) -> Path:
    """Write generation_log.csv, a row a sample, and return its path; the time is that of the units' file."""
    path = Path(folder) / LOG
    with write_aside(path) as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(_row, records))
    return path


def _row(record: Record) -> dict[str, Any]:
    when = time.localtime(os.stat(record["units_filepath"]).st_mtime)
    return {
        **dict.fromkeys(("top_k", "top_p"), "none"),
        **{name: record[name] for name in COLUMNS if name in record},
        "sample_id": record["id"],
        "actual_length": record["unit_count"],
        "has_internal_sos": "false",  # the start symbol is never drawn
        "token_file": record["units_filepath"],
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", when),
        "prompt": " ".join(map(str, record.get("prompt", ()))),
    }

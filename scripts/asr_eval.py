"""Word and character error rates of one or more transcripts of a manifest against a reference.

    python scripts/asr_eval.py metadata/corpus.json --ref text --hyp pred_text
    python scripts/asr_eval.py metadata/corpus.json --ref ls-clean.csv:transcription --hyp text pred_nemo

Writes output/NAME_metrics.csv (a row a file, columns SYSTEM_wer and SYSTEM_cer) and
output/NAME_global_metrics.csv (a row a system, over all files, with 95 % bootstrap intervals), and prints the
table. Of several systems, each is compared with the first on the same files. A record without a reference, or
without one of the transcripts, is left out and named.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

from amela import cli
from amela.errors import OK, CallError, run_main
from amela.files import make_folder, write_aside
from amela.log import log
from amela.manifest import read_records
from media.references import References, ReferencesError, read_references

NAMED = 5  # how many of the records left out are named on the screen; the CSV has all


class Row(NamedTuple):
    """One record: its texts as they stand in the manifest, None where there is none."""

    file_id: str
    path: str
    reference: str | None
    hypotheses: list[str | None]

    @property
    def lacks(self) -> str:
        """What it cannot be scored for want of, or nothing."""
        if self.reference is None:
            return "no reference"
        return "no transcript" if None in self.hypotheses else ""


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("manifest", help="JSON lines with the transcripts")
    add(
        "--ref",
        default="text",
        metavar="FIELD|FILE",
        help="reference: a field of the manifest; FILE.csv:COLUMN (column `transcription` where none is "
        "named); another manifest; or lines of NAME, tab or space, text",
    )
    add(
        "--hyp", nargs="+", action="extend", metavar="FIELD", help="transcripts to score (default: pred_text)"
    )
    add(
        "--normalizer",
        choices=["english", "basic", "none"],
        default="english",
        help="Whisper's text normaliser for English, the one for any language, or spaces only",
    )
    add("--name", help="of the files in --output (default: the manifest's)")
    add("--output", default="output", metavar="DIR", help="folder of the two CSV files")
    add("--resamples", type=cli.positive, default=1000, metavar="N", help="bootstrap draws")
    add("--seed", type=int, default=0, help="of the bootstrap")
    args = parser.parse_args()
    args.hyp = args.hyp or ["pred_text"]
    args.name = args.name or Path(args.manifest).name.rsplit(".", 1)[0]
    if len(set(args.hyp)) < len(args.hyp):
        raise CallError(f"--hyp {' '.join(args.hyp)}: a field is named twice")
    return args


def open_reference(ref: str) -> References | str:
    """Return the references of a file, or the name of a field of the manifest: a word without dot and
    slash.
    """
    if os.sep not in ref and "." not in ref:
        return ref
    if os.path.isfile(ref):
        return _read(ref, None)
    path, _, column = ref.rpartition(":")
    if os.path.isfile(path):
        return _read(path, column)
    raise CallError(f"--ref {ref}: no such file; wanted a field of the manifest, or a file (FILE.csv:COLUMN)")


def _read(path: str, column: str | None) -> References:
    try:
        return read_references(path, column)
    except ReferencesError as error:
        raise CallError(str(error)) from error


def read_rows(manifest: str, reference: References | str, hyps: list[str]) -> list[Row]:
    """Return a row a record. Raises CallError where no record has a transcript or a reference of that
    name.
    """
    rows = []
    seen: set[str] = set()
    for _, record in read_records(manifest):
        seen.update(record)
        try:
            text = record.get(reference) if isinstance(reference, str) else reference.of(record)
        except ReferencesError as error:
            raise CallError(str(error)) from error
        hypotheses = [record.get(hyp) for hyp in hyps]
        path = record.get("audio_filepath", "")
        rows.append(Row(str(record.get("id") or Path(path).stem), path, text, hypotheses))
    wanted = [*hyps, reference] if isinstance(reference, str) else hyps
    for field in wanted:
        if field not in seen:
            names = ", ".join(sorted(seen)) or "no records"
            raise CallError(f"{manifest}: no record has the field `{field}`; it has {names}")
    if not any(row.reference is not None for row in rows):
        raise CallError(
            f"{manifest}: none of its {len(rows)} records has a reference in {reference.source}: compare "
            "the names"
        )
    return rows


def count_all(rows: list[Row], systems: int, normalizer: str) -> list[dict[str, list[Any]]]:
    """Return for each system {"wer": counts, "cer": counts}, one count a row that can be scored."""
    from media import scoring

    normalize = scoring.normalizer(normalizer)
    counts: list[dict[str, list[Any]]] = [{"wer": [], "cer": []} for _ in range(systems)]
    for row in rows:
        if row.lacks:
            continue
        reference = normalize(str(row.reference))
        for system, hypothesis in zip(counts, row.hypotheses):
            text = normalize(str(hypothesis))
            system["wer"].append(scoring.count_words(reference, text))
            system["cer"].append(scoring.count_characters(reference, text))
    return counts


def global_metrics(
    args: argparse.Namespace, counts: list[dict[str, list[Any]]], left_out: int
) -> list[dict[str, Any]]:
    """Return a row a system: rates over all files, intervals, kinds of error, difference to the first
    system.
    """
    import numpy as np

    from media import scoring

    found: list[dict[str, Any]] = []
    draws = {
        kind: scoring.bootstrap([system[kind] for system in counts], args.resamples, args.seed)
        for kind in ("wer", "cer")
    }
    for index, (hyp, system) in enumerate(zip(args.hyp, counts)):
        words = system["wer"]
        row: dict[str, Any] = {
            "system": hyp,
            "files": len(words),
            "left_out": left_out,
            "ref_words": sum(count.length for count in words),
        }
        for kind in ("wer", "cer"):
            row[kind] = scoring.rate(system[kind])
            row[f"{kind}_low"], row[f"{kind}_high"] = scoring.interval(draws[kind][index])
        for error in ("substitutions", "deletions", "insertions"):
            row[error] = sum(getattr(count, error) for count in words)
        row.update(compared_with="", wer_diff="", wer_diff_low="", wer_diff_high="", better_share="")
        if index:
            differences = draws["wer"][index] - draws["wer"][0]
            low, high = scoring.interval(differences)
            better = float(np.mean(differences < 0) + np.mean(differences == 0) / 2)
            row.update(
                compared_with=args.hyp[0],
                wer_diff=row["wer"] - found[0]["wer"],
                wer_diff_low=low,
                wer_diff_high=high,
                better_share=better,
            )
        row.update(reference=args.ref, normalizer=args.normalizer, resamples=args.resamples, seed=args.seed)
        found.append(row)
    return found


def write_metrics(args: argparse.Namespace, rows: list[Row], counts: list[dict[str, list[Any]]]) -> str:
    """Write the CSV of all files, those that could not be scored too; return its path."""
    path = os.path.join(args.output, f"{args.name}_metrics.csv")
    scores = [f"{hyp}_{kind}" for hyp in args.hyp for kind in ("wer", "cer")]
    scored = iter(range(len(rows)))
    with write_aside(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file_id", "audio_filepath", "transcription", *args.hyp, *scores, "error"])
        for row in rows:
            values: list[Any] = [""] * len(scores)
            if not row.lacks:
                index = next(scored)
                values = [_per_file(system[kind][index]) for system in counts for kind in ("wer", "cer")]
            texts = ["" if text is None else text for text in (row.reference, *row.hypotheses)]
            writer.writerow([row.file_id, row.path, *texts, *values, row.lacks])
    return path


def _per_file(count: Any) -> str:
    """A rate of one file, empty where its reference is: there is nothing to divide by."""
    return f"{count.errors / count.length:.6f}" if count.length else ""


def write_global_metrics(args: argparse.Namespace, found: list[dict[str, Any]]) -> str:
    """Write the CSV of all systems; return its path."""
    path = os.path.join(args.output, f"{args.name}_global_metrics.csv")
    with write_aside(path) as file:
        writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
        writer.writeheader()
        for row in found:
            writer.writerow({k: f"{v:.6f}" if isinstance(v, float) else v for k, v in row.items()})
    return path


def table(found: list[dict[str, Any]]) -> str:
    """Return the systems side by side as text."""
    wide = max(len("system"), *(len(row["system"]) for row in found))
    lines = [
        (
            f"{'system':<{wide}}  {'files':>6} {'words':>7}  {'WER % [95 %]':<22} {'CER % [95 %]':<22} "
            f"{'sub':>6} {'del':>6} {'ins':>6}"
        )
    ]
    lines += [
        f"{row['system']:<{wide}}  {row['files']:>6} {row['ref_words']:>7}  {_with_interval(row, 'wer'):<22} "
        f"{_with_interval(row, 'cer'):<22} {row['substitutions']:>6} {row['deletions']:>6} "
        f"{row['insertions']:>6}"
        for row in found
    ]
    lines += [
        f"{row['system']} against {row['compared_with']}: WER {100 * row['wer_diff']:+.2f} points "
        f"[{100 * row['wer_diff_low']:+.2f}, {100 * row['wer_diff_high']:+.2f}], better in "
        f"{row['better_share']:.0%} of the draws"
        for row in found[1:]
    ]
    return "\n".join(lines)


def _with_interval(row: dict[str, Any], kind: str) -> str:
    if math.isnan(row[kind]):
        return "no reference words"
    return f"{100 * row[kind]:.2f} [{100 * row[kind + '_low']:.2f}, {100 * row[kind + '_high']:.2f}]"


def main() -> int:
    """Score, write the two files and print the table; returns the exit status."""
    args = parse_args()
    rows = read_rows(args.manifest, open_reference(args.ref), args.hyp)
    left_out = [row for row in rows if row.lacks]
    for lack in ("no reference", "no transcript"):
        keys = [row.path or row.file_id for row in left_out if row.lacks == lack]
        if keys:
            more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
            log(f"left out, {lack}: {len(keys)} of {len(rows)} records: {', '.join(keys[:NAMED])}{more}")
    if len(left_out) == len(rows):
        raise CallError(
            f"{args.manifest}: no record has a reference and all of {', '.join(args.hyp)}: nothing to score"
        )
    make_folder(args.output)
    counts = count_all(rows, len(args.hyp), args.normalizer)
    found = global_metrics(args, counts, len(left_out))
    paths = [write_metrics(args, rows, counts), write_global_metrics(args, found)]
    print(table(found))
    print("\n".join(paths))
    return OK


if __name__ == "__main__":
    run_main(main)

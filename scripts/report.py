"""Write one HTML page about a manifest: sound, distributions, speed and errors by shard, files, methods.

    python scripts/report.py metadata/corpus.json

The page holds all it needs (a few examples with their sound too) and loads nothing: it can be mailed, or
opened years later. Of a large manifest the table shows an even sample; counts and charts are of every record.
"""

from __future__ import annotations

import html
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from amela import cli
from amela.deals import read_deals
from amela.errors import OK, CallError, run_main
from amela.files import make_folder, write_aside
from amela.log import log
from amela.manifest import Record, open_manifest, read_records, record_key
from amela.state import manifest_folder, stage_folders
from amela.summary import errors, summarise

MAX_ROWS = 20_000  # in the table: about 10 MB of page


def states(manifest: str) -> list[Path]:
    """Return the state folders of all stages, also of the listing that vad.py made the manifest from."""
    real = Path(os.path.realpath(manifest))
    name = "".join(f"[{char}]" if char in "*?[" else char for char in real.name)
    listings = sorted((real.parent / ".amela" / "listings").glob(f"*/{name}"))
    return [
        folder
        for source in [*listings, real]
        if manifest_folder(source).is_dir()
        for folder in stage_folders(source)
    ]


def failures(manifest: str, folders: list[Path]) -> dict[str, tuple[str, str, str]]:
    """Return stage, class and message of each record that failed and got no result later, by key."""
    found = {
        error["key"]: (folder.name, str(error["class"]), str(error["message"]))
        for folder in folders
        for error in errors(folder)
    }
    fields = {folder.name: read_deals(folder)[-1].header["field"] for folder in folders}
    for _, record in read_records(manifest) if found else ():
        key = record_key(record)
        if key in found and fields[found[key][0]] in record:
            del found[key]
    return found


def scores_of(
    path: Path, system: str, records: Iterator[tuple[int, Record, bool]]
) -> Iterator[tuple[Any, ...]]:
    """Yield (line, record, whether it goes into the table, (word error rate, reference)) of each record.

    The table of asr_eval.py has a row a record, in order; where it does not fit, it is of another manifest.
    """
    from media.report.scores import read_files

    rows = read_files(path, system)
    for line, record, in_table in records:
        scored = next(rows, None)
        if scored and scored[0] != record.get("audio_filepath", ""):
            log(
                f"{path}: line {line + 2} is of {scored[0]}, not of {record.get('audio_filepath')}: word "
                "error rates of single files are left out from here on; run asr_eval.py again"
            )
            rows = iter(())
            scored = None
        yield line, record, in_table, scored[1:] if scored else (None, None)


def sampled(manifest: str) -> Iterator[tuple[int, Record, bool]]:
    """Yield (line, record, whether it goes into the table) of each record."""
    with open_manifest(manifest) as file:
        lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    step = max(1, -(-lines // MAX_ROWS))
    for line, record in read_records(manifest):
        yield line, record, line % step == 0


def play(manifest: str, corpus: Any, wanted: int) -> list[dict[str, Any]]:
    """Return up to `wanted` examples with their sound, within the page's budget."""
    from media.report import examples

    reasons = dict(examples.choose(corpus.rows, wanted))
    rows = {corpus.lines[row]: row for row in reasons}
    last = max(rows, default=0)
    records: dict[int, Record] = {}
    for line, record in read_records(manifest) if rows else ():
        if line in rows and "audio_filepath" in record:
            records[rows[line]] = record
        if line == last:
            break
    made: list[dict[str, Any]] = []
    budget = examples.BUDGET_BYTES * 4 // 3
    for row, why in reasons.items():
        if row in records and len(made) < wanted and budget > 0:
            example = examples.embed(records[row], why, row, corpus.field)
            if example and len(example["audio"]) <= budget:
                budget -= len(example["audio"])
                made.append(example)
    return made


def main() -> int:
    """Gather everything and write the page; return the exit status."""
    parser = cli.parser(__doc__)
    parser.add_argument("manifest", help="JSON lines, best after a merge")
    parser.add_argument(
        "--output", metavar="HTML", help="the page (default: output/<manifest's name>_report.html)"
    )
    parser.add_argument(
        "--metrics",
        metavar="CSV",
        help="corpus-level scores that asr_eval.py wrote (default: "
        "output/<manifest's name>_global_metrics.csv where it exists)",
    )
    parser.add_argument(
        "--examples",
        type=cli.not_negative,
        default=12,
        metavar="N",
        help="records to embed with up to 30 s of sound each, 12 MB in all",
    )
    parser.add_argument(
        "--field",
        help="field with the text, as given to asr.py (default: the first one that asr_eval.py "
        "scored, else text)",
    )
    args = parser.parse_args()
    name = Path(args.manifest).stem
    output = Path(args.output or Path("output") / f"{name}_report.html")
    make_folder(output.parent)
    data, texts = gather(args, name, output)
    from media.report.page import page

    with write_aside(output) as file:
        file.write(page(data, texts))
    log(
        f"{output}: {output.stat().st_size / 1e6:.1f} MB, {data['counts']['records']:,} records, "
        f"{len(data['examples'])} with sound; open it in a browser"
    )
    return OK


def gather(args: Any, name: str, output: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the data of the page and its texts, as HTML."""
    from media.report import methods, page
    from media.report.corpus import Corpus, name_rows
    from media.report.scores import HEADS, read_systems, systems_table
    from media.report.sections import charts, grouped, lead, stage_table, tiles

    folders = states(args.manifest)
    failed = failures(args.manifest, folders)
    metrics = Path(args.metrics or Path("output") / f"{name}_global_metrics.csv")
    if args.metrics and not metrics.is_file():
        raise CallError(f"{metrics}: no such file; wanted the table that `asr_eval.py` writes")
    systems = read_systems(metrics)
    args.field = args.field or (systems[0]["system"] if systems else "text")
    corpus = Corpus(args.field)
    files = metrics.with_name(metrics.name.replace("_global_metrics", "_metrics"))
    headers = {folder: read_deals(folder)[-1].header for folder in folders}
    done: Counter[str] = Counter()
    for line, record, in_table, score in scores_of(files, args.field, sampled(args.manifest)):
        why = failed.get(record_key(record), (None, None, None))[2]
        corpus.add(line, record, score, why, in_table or why is not None)
        done.update(folder.name for folder, header in headers.items() if header["field"] in record)
    facts = facts_of(corpus, headers, failed, systems)
    data = {
        "rate": 16_000,
        "counts": {"records": corpus.records},
        "tiles": tiles(facts),
        "charts": charts(corpus.durations, corpus.ratios, corpus.wers, facts["noun"]),
        "metrics": {"columns": HEADS, "rows": systems_table(systems)},
        "stages": [
            stage_table(
                summarise(folder), done[folder.name], corpus.records, facts["failures"].get(folder.name, 0)
            )
            for folder in folders
        ],
        "failures": grouped(failed),
        "examples": play(args.manifest, corpus, args.examples),
        "rows_note": ""
        if len(corpus.rows) == corpus.records
        else f"An even sample of all {corpus.records:,}, with all failures.",
    }
    data["base"], data["rows"] = name_rows(corpus.rows, output), corpus.rows
    cited = methods.references(facts)
    texts = {
        "TITLE": html.escape(page.shown(name)),
        "LEAD": html.escape(lead(facts)),
        "METHODS": page.paragraphs([methods.paragraph(facts)]),
        "REFERENCES": page.items([work.text for work in cited]),
        "BIBTEX": html.escape("\n\n".join(work.bibtex for work in cited)),
        "SETTINGS": page.settings(
            [
                {"stage": folder.name, "settings": header["settings"], "versions": header["made_by"]}
                for folder, header in headers.items()
            ]
        ),
        "FOOTER": html.escape(
            page.shown(f"{os.path.abspath(args.manifest)}, read {time.strftime('%d %B %Y, %H:%M')}.")
        ),
    }
    return data, texts


def facts_of(
    corpus: Any,
    headers: dict[Path, Record],
    failed: dict[str, tuple[str, str, str]],
    scores: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return what the methods paragraph and the tiles say, see media/report/methods.py."""
    vad = next(
        (header["settings"] for folder, header in headers.items() if folder.name.split(".")[0] == "vad"), {}
    )
    versions: dict[str, Any] = {}
    for header in headers.values():
        versions.update({name: value for name, value in header["made_by"].items() if value})
    commits = {
        str(header["made_by"].get("amela")) for header in headers.values() if header["made_by"].get("amela")
    }
    versions["amela"] = " and ".join(sorted(commits))
    return {
        "noun": "records" if corpus.windows else "recordings",
        "records": corpus.records,
        "words": corpus.words,
        "audio_s": sum(corpus.durations),
        "speech_s": corpus.speech_s,
        "no_speech": corpus.no_speech,
        "truncated": corpus.truncated,
        "vad": vad,
        "versions": versions,
        "scores": scores,
        "asr": [{**corpus.settings[text], "records": number} for text, number in corpus.asr.most_common(8)],
        "failures": dict(Counter(stage for stage, _, _ in failed.values())),
    }


if __name__ == "__main__":
    run_main(main)

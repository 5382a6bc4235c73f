"""Write one HTML page about a manifest: sound, units, distributions, language models, files, methods.

    python scripts/report.py metadata/corpus.json
    python scripts/report.py metadata/corpus.json --generated metadata/babble.json

The page holds all it needs (a few examples with their sound too) and loads nothing: it can be mailed, or
opened years later. Of a large manifest the table shows an even sample; counts and charts are of every record.
Records that went through encode.py show their units, through sts.py what was made of them; the runs of the
data set's grids show their curves, and what generate.py and synthesize.py made with them can be heard.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from amela import cli
from amela.deals import read_deals
from amela.errors import OK, CallError, run_main
from amela.failures import failures, states
from amela.files import make_folder, write_aside
from amela.grid_runs import config_of, ranked_runs, varied
from amela.log import log
from amela.manifest import Record, open_manifest, read_records, record_key
from amela.summary import summarise
from amela.trained import run_name

MAX_ROWS = 20_000  # in the table: about 10 MB of page


def scores_of(
    path: Path, system: str, records: Iterator[tuple[int, Record, bool]]
) -> Iterator[tuple[Any, ...]]:
    """Yield (line, record, whether it goes into the table, its scores) of each record.

    The table of asr_eval.py has a row a record, in order; where it does not fit, it is of another manifest.
    """
    from media.report.scores import Score, read_files

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
        yield line, record, in_table, scored[1] if scored else Score()


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
            size = len(example["audio"]) + len(example.get("sts", "")) if example else 0
            if example and size <= budget:
                budget -= size
                made.append({**example, **found_beside(records[row], example, corpus.places)})
    return made


def found_beside(record: Record, example: dict[str, Any], places: dict[str, int]) -> dict[str, Any]:
    """Return units, curves and findings of an example's stretch as the page has them, without what cannot be
    read.
    """
    from media.report import annotations, units

    start_s = example["start_s"]
    end_s = start_s + example["duration_s"]
    found: dict[str, Any] = annotations.findings_of(record, places)
    try:
        found["curves"] = annotations.curves_of(record, start_s, end_s)
    except ValueError as exc:
        log(f"{exc}: its pitch and energy are not shown")
    try:
        if record.get("units_filepath"):
            found["units"] = units.strip_of(record, record_key(record), start_s, end_s)
    except (ValueError, ImportError) as exc:
        log(f"{exc}: its units are not shown")
    return {name: value for name, value in found.items() if value}


def default_field(manifest: str, systems: list[dict[str, Any]]) -> str:
    """Return the first field that asr_eval.py scored, else that of the first record."""
    from media.tiers import text_field

    return systems[0]["system"] if systems else text_field(next(read_records(manifest))[1])


def samples_of(manifests: list[str] | None, runs: list[Record]) -> list[Record]:
    """Return the records of samples that have their units, of the manifests or of those named after runs."""
    if manifests is None:
        named = [f"metadata/{run_name(run['run'])}_generated.json" for run in runs]
        manifests = list(filter(os.path.exists, named))
    records = (record for path in manifests for _, record in read_records(path))
    return [record for record in records if record.get("units_filepath")]


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
        "scored, else whisperx_text or text)",
    )
    parser.add_argument(
        "--generated",
        nargs="+",
        metavar="MANIFEST",
        help="samples of language models (default: those that generate.py named after the data set's runs)",
    )
    parser.add_argument("--checkpoints", default="checkpoints", metavar="DIR", help="folder of all runs")
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
    from media.report import methods, models, page, palette, samples
    from media.report.corpus import Corpus, name_rows
    from media.report.scores import HEADS, read_systems, systems_table
    from media.report.sections import charts, grouped, lead, stage_table, tiles

    folders = states(args.manifest)
    failed = failures(args.manifest, folders)
    metrics = Path(args.metrics or Path("output") / f"{name}_global_metrics.csv")
    if args.metrics and not metrics.is_file():
        raise CallError(f"{metrics}: no such file; wanted the table that `asr_eval.py` writes")
    systems = read_systems(metrics)
    args.field = args.field or default_field(args.manifest, systems)
    corpus = Corpus(args.field)
    files = metrics.with_name(metrics.name.replace("_global_metrics", "_metrics"))
    headers = {folder: read_deals(folder)[-1].header for folder in folders}
    done: Counter[str] = Counter()
    for line, record, in_table, score in scores_of(files, args.field, sampled(args.manifest)):
        key = record_key(record)
        why = failed.get(key, (None, None, None))[2]
        corpus.add(line, record, score, why, key if in_table or why is not None else None)
        done.update(folder.name for folder, header in headers.items() if header["field"] in record)
    facts = facts_of(corpus, headers, failed, systems)
    facts["runs"] = ranked_runs(args.checkpoints, name)
    facts["generated"] = samples_of(args.generated, facts["runs"])
    facts["varied"], facts["config"] = varied(facts["runs"]), config_of(facts["runs"])
    data = {
        "rate": 16_000,
        "counts": {"records": corpus.records},
        "tiles": tiles(facts),
        "charts": charts(corpus, facts["noun"]),
        "metrics": {"columns": HEADS, "rows": systems_table(systems)},
        "stages": [
            stage_table(
                summarise(folder), done[folder.name], corpus.records, facts["failures"].get(folder.name, 0)
            )
            for folder in folders
        ],
        "failures": grouped(failed),
        "models": models.section(facts["runs"], facts["varied"]),
        "samples": samples.section(facts["generated"]),
        "examples": play(args.manifest, corpus, args.examples),
        "rows_note": ""
        if len(corpus.rows) == corpus.records
        else f"An even sample of all {corpus.records:,}, with all failures.",
    }
    strips = [one["units"] for one in [*data["examples"], *data["samples"]["cards"]] if "units" in one]
    data["palette"] = palette.section(strips, f"models/{facts['encode'].get('kmeans')}.npz")
    data["base"], data["rows"] = name_rows(corpus.rows, output), corpus.rows
    return data, page.texts(
        name,
        lead(facts),
        methods.paragraph(facts),
        methods.references(facts),
        {folder.name: {**header["settings"], **header["made_by"]} for folder, header in headers.items()},
        f"{os.path.abspath(args.manifest)}, read {time.strftime('%d %B %Y, %H:%M')}.",
    )


def facts_of(
    corpus: Any,
    headers: dict[Path, Record],
    failed: dict[str, tuple[str, str, str]],
    scores: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return what the methods paragraph and the tiles say, see media/report/methods.py."""
    from media.report.units import settings_of

    encoded = settings_of(corpus.made.get("units_filepath", ""))
    stages = {folder.name.split(".")[0]: header["settings"] for folder, header in headers.items()}
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
        "units": corpus.units,
        "encode": encoded if "kmeans" in encoded else {},
        "sts": settings_of(corpus.made.get("sts_filepath", "")),
        "no_speech": corpus.no_speech,
        "truncated": corpus.truncated,
        "vad": stages.get("vad", {}),
        "stages": stages,
        "transcribers": dict(corpus.transcribers.most_common(8)),
        "versions": versions,
        "scores": scores,
        "asr": [{**corpus.settings[text], "records": number} for text, number in corpus.asr.most_common(8)],
        "failures": dict(Counter(stage for stage, _, _ in failed.values())),
    }


if __name__ == "__main__":
    run_main(main)

"""Tag the texts of a manifest's records with emotions: adds `emotion`, or `sentiment` by a lexicon.

    sbatch --array=0-3 slurm/emotion.slurm metadata/corpus.json
    python scripts/tag_emotion.py metadata/corpus.json --backend lexicon

`emotion` is {label, score, scores, model, text_field, flags}: the probabilities of the 28 emotions of
GoEmotions, in the order of media.emotions.LABELS, of which several may be high, and the highest with its
name. The model is one of these 28, by bare name, hub id or folder. A text longer than the model takes is read
in windows, and has their mean (flag long_text). `--backend lexicon` needs no model: VADER's lexicon gives
`sentiment` {label, score, positive, neutral, negative, engine, …}, which is one scale from -1 to 1 and none
of the 28. Both read English: other languages (`lang`) are tagged too, with the flag not_english and a
warning. A text without a word has nulls and the flag no_text; a record without the field is an error record.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import sys
from typing import Any, Callable

from amela.cli import add_hub_model, cpus, stage_parser
from amela.errors import CallError, run_main
from amela.log import log
from amela.stage import run_shard

GPU_RECORDS, CPU_RECORDS = 1024, 64  # handed over at once


def parse_args() -> argparse.Namespace:
    """Return the arguments; `settings` names the model and pins its revision."""
    parser = stage_parser(__doc__, batch_size=None, workers=None)
    add = parser.add_argument
    add(
        "--backend",
        choices=["transformers", "lexicon"],
        default="transformers",
        help="a model of the 28 emotions, or VADER's lexicon",
    )
    add_hub_model(parser, "roberta-base-go_emotions", "bare name, hub id or folder of a model of the 28")
    add("--text-field", metavar="FIELD", help="field with the text (default: whisperx_text, else text)")
    args = parser.parse_args()
    resolve(args)
    return args


def resolve(args: argparse.Namespace) -> None:
    """Pin what makes the results, and fill in what depends on the machine."""
    from media import emotions, hub
    from networks.catalogue import may_have_gpu

    lexicon = args.backend == "lexicon"
    package = emotions.LEXICON if lexicon else "transformers"
    if importlib.util.find_spec(package) is None:
        raise CallError(
            f"--backend {args.backend}: {package} is not in this environment ({sys.executable}); run with "
            "envs/.built/features/bin/python (made by `make env ENV=features`)"
        )
    if lexicon:
        args.revision = importlib.metadata.version(emotions.LEXICON)
        args.settings.update(model=emotions.LEXICON, revision=args.revision)
    else:
        args.model = emotions.hub_id(args.model)
        hub.pin(args, CallError)
    on_gpu = not lexicon and may_have_gpu(args.device)
    args.batch_size = args.batch_size or (GPU_RECORDS if on_gpu else CPU_RECORDS)
    args.workers = args.workers or (1 if on_gpu else cpus())


def load(args: argparse.Namespace) -> Any:
    """Return the function from texts to findings, the field asked for, and the languages warned of so far."""
    if args.backend == "lexicon":
        from media.emotions import LEXICON, LEXICON_WORDS, Lexicon

        lexicon, engine = Lexicon(), f"{LEXICON} {args.revision}"

        def find(texts: list[str]) -> list[tuple[dict[str, Any], bool]]:
            return [
                ({**lexicon.sentiment(text), "engine": engine}, len(text.split()) > LEXICON_WORDS)
                for text in texts
            ]
    else:
        find = _classifier(args)
    return find, args.text_field, set()


def _classifier(args: argparse.Namespace) -> Callable[[list[str]], list[tuple[dict[str, Any], bool]]]:
    """Return a function: texts → for each `emotion` and whether it was too long for one window."""
    from media import hub
    from media.emotions import LABELS, EmotionError
    from networks.device import DeviceError
    from networks.text_emotion import TextEmotion
    from networks.weights import WeightsError

    log(f"loading {args.model} at {args.revision}")
    try:
        model = TextEmotion(hub.folder_of(args.model, args.revision), args.device)
    except (WeightsError, DeviceError, EmotionError) as error:
        raise CallError(str(error)) from error

    def find(texts: list[str]) -> list[tuple[dict[str, Any], bool]]:
        said = [index for index, text in enumerate(texts) if text.strip()]
        emotions: list[dict[str, Any]] = [dict.fromkeys(("label", "score", "scores")) for _ in texts]
        long = set()
        for index, (scores, windows) in zip(said, model.scores([texts[index] for index in said])):
            best = max(range(len(scores)), key=scores.__getitem__)
            emotions[index] = {"label": LABELS[best], "score": scores[best], "scores": scores}
            long.update([index] if windows > 1 else [])
        return [
            ({**one, "model": args.settings["model"]}, index in long) for index, one in enumerate(emotions)
        ]

    return find


def process(model: Any, batch: list[dict[str, Any]]) -> list[Any]:
    """Return the tag of each record, or the exception of its text."""
    from media.texts import TextError, is_english, text_of

    find, field, warned = model
    results: list[Any] = []
    for record in batch:
        try:
            results.append(text_of(record, field))
        except TextError as error:
            results.append(error)
    texts = [text for text, _ in (one for one in results if not isinstance(one, Exception))]
    found = iter(find(texts))
    for index, record in enumerate(batch):
        if isinstance(results[index], Exception):
            continue
        (text, name), (tag, long) = results[index], next(found)
        english, lang = is_english(record.get("lang")), str(record.get("lang"))
        if not english and lang not in warned:
            warned.add(lang)
            log(f"warning: lang {lang!r}: the model reads English; flagged not_english")
        flags = {"no_text": not text.strip(), "long_text": long, "not_english": not english}
        tag.update(text_field=name, flags=[flag for flag, is_so in flags.items() if is_so])
        results[index] = {("sentiment" if "engine" in tag else "emotion"): tag}
    return results


def main() -> int:
    """Tag this task's shard; returns the exit status."""
    args = parse_args()
    name = "sentiment" if args.backend == "lexicon" else "emotion"
    return run_shard(args, stage=name, fields=(name,), load=load, process=process)


if __name__ == "__main__":
    run_main(main)

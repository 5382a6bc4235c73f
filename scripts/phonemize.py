"""Phonemize the text of a manifest's records: adds `ipa` and `ipa_lang`, the code of the voice.

    sbatch --array=0-3 slurm/phonemize.slurm metadata/corpus.json
    python scripts/phonemize.py metadata/corpus.json --lang de --no-stress --no-punctuation

The language is the record's own `lang`, else --lang; with `auto` it is told from the text (langdetect), and
where that finds no letters, or a language without voice, --default-lang is taken. espeak-ng speaks;
Japanese goes to it in hiragana, Mandarin by syllables of pinyin, each followed by the letters of its tone:
ma˥ ma˧˥ ma˨˩˦ ma˥˩ ma. A record without text gets "". espeak-mbrola and festival have signs of their own,
no IPA: those go to `phones` (with `phones_ipa_lang`). segments maps graphemes by a table: --lang names one
of phonemizer's, or a file of yours.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from argparse import BooleanOptionalAction
from typing import Any

from amela.cli import cpus, stage_parser
from amela.errors import CallError, run_main
from amela.stage import run_shard
from media.phonemes import ESPEAK, FESTIVAL, MBROLA, SEGMENTS, BackendError, Options, Phonemizer

AUTO = "auto"
BATCH = 256
NOT_HERE = "is not in this environment; run it with `text` or `local`: envs/create.sh text"


class NoLanguageError(ValueError):
    """A text that is in no language."""


def parse_args() -> argparse.Namespace:
    """Return the arguments; `settings` pins the release of espeak-ng."""
    parser = stage_parser(__doc__, batch_size=BATCH, workers=None)
    add = parser.add_argument
    add("--backend", choices=[ESPEAK, MBROLA, FESTIVAL, SEGMENTS], default=ESPEAK, help="what speaks")
    add("--text-field", metavar="FIELD", help="what is phonemized (default: whisperx_text, else text)")
    add(
        "--lang",
        default=AUTO,
        metavar="CODE",
        help="language of records without `lang`: de, en-gb, zh-cn …, or auto; for espeak-mbrola a voice "
        "(mb-us1), for segments a table",
    )
    add("--default-lang", metavar="CODE", help="where auto finds none (default: an error record)")
    add("--punctuation", action=BooleanOptionalAction, default=True, help="keep punctuation marks")
    add("--stress", action=BooleanOptionalAction, default=True, help="keep stress marks (espeak)")
    add("--strip", action=BooleanOptionalAction, default=True, help="no separator at the end")
    args = parser.parse_args()
    args.workers = args.workers or cpus()
    resolve(args)
    return args


def resolve(args: argparse.Namespace) -> None:
    """Check what goes together, and pin the release of espeak-ng."""
    from media.espeak import EspeakError, find_library, release_of, system_library

    if importlib.util.find_spec("phonemizer") is None:
        raise CallError(f"phonemizer {NOT_HERE}")
    if args.backend in (MBROLA, SEGMENTS) and args.lang == AUTO:
        raise CallError(f"--backend {args.backend}: wanted --lang too: a voice (mb-us1), or a table's name")
    if args.backend == SEGMENTS and os.path.isfile(args.lang):
        from media.hub import revision_of

        args.settings["table"] = revision_of(args.lang)
    if args.backend in (ESPEAK, MBROLA):
        try:
            library = find_library()[0] if args.backend == ESPEAK else system_library()
            args.settings["espeak"] = release_of(library)
        except EspeakError as error:
            raise CallError(str(error)) from error
    if args.backend in (MBROLA, FESTIVAL):
        args.field = args.field or "phones"


def load(args: argparse.Namespace) -> Any:
    """Return what phonemizes, and the arguments; CallError for a language that no record could have."""
    from media.languages import LanguageError

    options = Options(args.punctuation, args.stress, args.strip)
    try:
        phonemizer = Phonemizer(args.backend, options)
        for flag, code in (("--lang", args.lang), ("--default-lang", args.default_lang)):
            if code not in (None, AUTO):
                _check(flag, code, phonemizer)
    except (BackendError, LanguageError) as error:
        raise CallError(str(error)) from error
    return phonemizer, args


def _check(flag: str, code: str, phonemizer: Phonemizer) -> None:
    from media.languages import LanguageError
    from media.phonemes import speaker_of

    try:
        voice = phonemizer.voice(code)
        if phonemizer.backend == SEGMENTS:
            speaker_of(SEGMENTS, voice, phonemizer.options.punctuation, phonemizer.options.stress)
    except LanguageError as error:
        raise LanguageError(f"{flag} {code}: {error}") from error


def process(model: Any, batch: list[dict[str, Any]]) -> list[Any]:
    """Return `ipa` and `ipa_lang` of each record, or what is wrong with it."""
    phonemizer, args = model
    found: list[Any] = []
    for record in batch:
        try:
            found.append(fields_of(record, phonemizer, args))
        except ValueError as error:  # no text, no such language, a letter that a table lacks
            found.append(error)
    return found


def fields_of(record: dict[str, Any], phonemizer: Phonemizer, args: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of a record; ValueError where it has no text, or has it in
    no language that is spoken.
    """
    from media.texts import text_of

    text, _ = text_of(record, args.text_field)
    if not text.strip():
        return {"ipa": "", "ipa_lang": None}
    voice = voice_of(record, text, phonemizer, args)
    return {"ipa": phonemizer.phones(text, voice), "ipa_lang": voice}


def voice_of(record: dict[str, Any], text: str, phonemizer: Phonemizer, args: argparse.Namespace) -> str:
    """Return the voice that speaks a record; NoLanguageError where its language cannot be told, LanguageError
    where none speaks it.
    """
    from media.languages import LanguageError, detect

    given = record.get("lang")
    if args.backend in (MBROLA, SEGMENTS):  # --lang is a voice or a table, not a language
        return phonemizer.voice(args.lang)
    if isinstance(given, str) and given.strip():
        return phonemizer.voice(given)
    if args.lang != AUTO:
        return phonemizer.voice(args.lang)
    code = detect(text) or args.default_lang
    if code is None:
        raise NoLanguageError(
            f"found no letters in {text[:40]!r} to tell the language by, wanted `lang` in the record, --lang "
            "CODE or --default-lang CODE"
        )
    try:
        return phonemizer.voice(code)
    except LanguageError:
        if args.default_lang is None:
            raise
        return phonemizer.voice(args.default_lang)  # a short text is easily taken for a rare language


def main() -> int:
    """Phonemize this task's shard; returns the exit status."""
    args = parse_args()
    return run_shard(args, stage="phonemize", fields=("ipa", "ipa_lang"), load=load, process=process)


if __name__ == "__main__":
    run_main(main)

"""Train a tokenizer on the texts of a manifest.

    python scripts/train_tokenizer.py metadata/corpus.json --config tokenizer_config.json
    python scripts/train_tokenizer.py metadata/corpus.json --model sentencepiece --vocab-size 1000

bpe (Hugging Face tokenizers, over bytes: no character is unknown) writes OUT/tokenizer.json and OUT/
tokenizer_config.json. Special tokens have the first ids and are never split: those of the config, context
([CONTEXT_PREV_SENT]), emotions ([EMO_ANGER]) and prosody ([PITCH_q0] to [PITCH_q7], ENERGY, RATE: eighths of
f0_median_hz, energy_db, rate_syl_s in the training records).

sentencepiece (for CTC) writes OUT/tokenizer.model, .vocab and tokenizer_config.json; <unk> 0, <s> 1, </s> 2,
<pad> 3, <blank> 4, which no text can spell.

The text is that of whisperx_text, else text. Where records have `split`, only those of train are used. The
corpus streams through: memory holds its different words. Same texts and settings, same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any, Callable

from amela.cli import parser, positive, ratio
from amela.errors import OK, CallError, run_main
from amela.files import make_folder, write_aside
from amela.log import log
from amela.manifest import read_records
from media import sentencepiece_tokenizer, token_report, token_settings, tokens
from media.bpe import train_bpe
from media.token_corpus import Corpus
from media.token_settings import TokenizerError


def parse_args() -> argparse.Namespace:
    """Return the arguments, with `config` read into them (token_settings.DEFAULTS)."""
    arguments = parser(__doc__)
    add = arguments.add_argument
    add("manifest", help="JSON lines with text")
    add(
        "output",
        nargs="?",
        metavar="OUT",
        help="folder (default: output/<name>_tokenizer, of sentencepiece output/<name>_sentencepiece)",
    )
    add("--config", metavar="JSON", help="settings of bpe (default: those of tokenizer_config.json)")
    add("--model", choices=["bpe", "sentencepiece"], default="bpe", help="kind of tokenizer")
    add("--text-field", metavar="FIELD", help="of the text, e.g. ipa (default: whisperx_text, else text)")
    add("--vocab-size", type=positive, metavar="N", help="tokens, the special ones among them (default: the "
        "config's; else 1000, sentencepiece 4000)")  # fmt: skip
    add("--character-coverage", type=ratio, default=sentencepiece_tokenizer.COVERAGE, metavar="R",
        help="sentencepiece: share of the characters that it keeps, 1 for all")  # fmt: skip
    args = arguments.parse_args()
    name = os.path.splitext(os.path.basename(args.manifest))[0]
    is_bpe = args.model == "bpe"
    args.output = args.output or f"output/{name}_{'tokenizer' if is_bpe else args.model}"
    size = token_settings.DEFAULTS["vocab_size"] if is_bpe else sentencepiece_tokenizer.VOCAB_SIZE
    args.config = token_settings.read_settings(args.config, size)
    args.config["vocab_size"] = args.vocab_size or args.config["vocab_size"]
    if is_bpe:
        token_settings.check_size(args.config)
    return args


def read_corpus(args: argparse.Namespace) -> Corpus:
    """Return what one pass over the manifest found, and say what of it is used."""
    corpus = Corpus(args.text_field, args.config["context_window_size"])
    corpus.read(read_records(args.manifest), args.manifest)
    found = corpus.described()
    different = f"{found['different_words']} different"
    log(f"{args.manifest}: {found['texts']} texts, {found['words']} words, {different}")
    left_out = [f"{count} of {split}" for split, count in found["left_out"].items()]
    left_out += [f"{found['without_text']} without text"] if found["without_text"] else []
    if left_out:
        log(f"left out: {', '.join(left_out)}")
    if corpus.words.forgotten:
        log(f"rare words were forgotten {corpus.words.forgotten} times, so that memory holds the others")
    return corpus


def make_bpe(args: argparse.Namespace, corpus: Corpus) -> dict[str, bytes]:
    """Return the files of a BPE tokenizer by name."""
    settings = args.config
    specials = token_settings.special_tokens(settings)
    made = train_bpe(corpus.words, specials, settings["vocab_size"])
    content = {
        "format": tokens.FORMAT, "model": "bpe", **settings, "prosody_bins": corpus.prosody_bins(),
        "ids": {token: number for number, token in enumerate(specials)},
        "tokenizer_sha256": hashlib.sha256(made.encode()).hexdigest(),
        "trained_on": trained_on(args, corpus, "tokenizers"),
    }  # fmt: skip
    tokenizer = tokens.Tokenizer(made, content, "")
    content.update(vocab_size=tokenizer.vocab_size, vocab_size_asked=settings["vocab_size"])
    content["report"] = reported(corpus, tokenizer, tokenizer.names(), lambda text: text)
    spans = [len(tokenizer.context(text.previous, text.following)) for text in corpus.train.texts]
    content["report"]["context_tokens"] = token_report.lengths(spans)
    content["config_sha256"] = tokens.config_sha256(content)
    no_token = [
        f"{token} ({count})" for token, count in corpus.emotions.items() if token not in content["ids"]
    ]
    if no_token:
        log(f"WARNING: emotions that are not among emotion_labels get no token: {', '.join(no_token[:10])}")
    missing = sorted(set(corpus.values) - set(content["prosody_bins"]))
    if missing:
        log(f"no record has a value for {', '.join(missing)}: their tokens stay unused (extract_features.py)")
    return {tokens.TOKENIZER: made.encode(), tokens.CONFIG: as_json(content)}


def make_sentencepiece(args: argparse.Namespace, corpus: Corpus) -> dict[str, bytes]:
    """Return the files of a SentencePiece tokenizer by name."""
    model = sentencepiece_tokenizer.train_model(
        corpus.words.counts, args.config["vocab_size"], args.character_coverage
    )
    tokenizer = sentencepiece_tokenizer.SentencePieceTokenizer(log=log)
    tokenizer.take_model(model, args.output)
    content = {
        "format": tokens.FORMAT, "model": "sentencepiece", "vocab_size": tokenizer.vocab_size,
        "vocab_size_asked": args.config["vocab_size"], "ids": sentencepiece_tokenizer.IDS,
        "character_coverage": args.character_coverage, "normalisation": "identity",
        "tokenizer_sha256": hashlib.sha256(model).hexdigest(),
        "trained_on": trained_on(args, corpus, "sentencepiece"),
    }  # fmt: skip
    content["report"] = reported(corpus, tokenizer, tokenizer.pieces(), lambda text: " ".join(text.split()))
    content["config_sha256"] = tokens.config_sha256(content)
    return {
        "tokenizer.model": model,
        "tokenizer.vocab": tokenizer.vocab().encode(),
        tokens.CONFIG: as_json(content),
    }


def trained_on(args: argparse.Namespace, corpus: Corpus, package: str) -> dict[str, Any]:
    """Return what the tokenizer was made of and by; no place or time, as the same gives the same bytes."""
    return {
        "manifest": os.path.basename(args.manifest),
        **corpus.described(),
        package: metadata.version(package),
    }


def reported(corpus: Corpus, tokenizer: Any, names: list[str], shown: Callable[[str], str]) -> dict[str, Any]:
    """Return the report on samples of the training and of the held-out texts, and the characters that are
    lost; `shown` is the text as the tokenizer means to give it back.
    """
    found: dict[str, Any] = {}
    for part, sample in (("train", corpus.train), ("held_out", corpus.held_out)):
        texts = [shown(text.text) for text in sample.texts]
        if texts:
            found[part] = token_report.report(
                texts, tokenizer.encode, tokenizer.decode, names, tokenizer.unk_id
            )
    counts = Counter(corpus.words.characters())
    for text in corpus.held_out.texts:
        counts.update("".join(text.text.split()))
    found["lost_characters"] = token_report.lost_characters(counts, tokenizer.encode, tokenizer.decode)
    return found


def as_json(content: dict[str, Any]) -> bytes:
    """Return a config's file."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def warn_of_another(path: Path, config: bytes) -> None:
    """Say so where the folder holds another tokenizer, which others may have used."""
    try:
        before = path.read_bytes()
    except FileNotFoundError:
        return
    if before != config:
        log(f"WARNING: {path} was of another tokenizer: what was made with that has to be made again")


def say(output: str, content: dict[str, Any]) -> None:
    """Log the report."""
    asked, size = content["vocab_size_asked"], content["vocab_size"]
    log(f"{output}: {size} tokens, {content['tokenizer_sha256'][:12]}")
    if size < asked:
        log(f"WARNING: asked for {asked} tokens, the text supports {size}, which is the size now")
    for part, name in (("train", "training"), ("held_out", "held out")):
        found = content["report"].get(part)
        if found:
            log(
                f"{name}: {100 * found['exact']:.2f} % of {found['texts']} texts come back exactly, "
                f"{found['tokens_a_word']:.3f} tokens a word, {found['tokens_a_character']:.3f} a character, "
                f"{found['unknown']} unknown, {found['never_used']} tokens not used"
            )
            log("  most used: " + " ".join(f"{token!r}" for token, _ in found["most_used"]))
            log("  least used: " + " ".join(f"{token!r}" for token, _ in found["least_used"]))
    lost = content["report"]["lost_characters"]
    shown = ", ".join(f"{one['character']!r} {one['code']} ({one['count']} times)" for one in lost[:20])
    log(f"lost characters: {shown or 'none'}" + (f" and {len(lost) - 20} more" if len(lost) > 20 else ""))


def main() -> int:
    """Train and write; returns the exit status."""
    try:
        args = parse_args()
        folder = make_folder(args.output)
        make = {"bpe": make_bpe, "sentencepiece": make_sentencepiece}[args.model]
        files = make(args, read_corpus(args))
    except TokenizerError as exc:
        raise CallError(str(exc)) from exc
    except ImportError as exc:
        raise CallError(f"{exc}: wanted the environment train or local: envs/create.sh train") from exc
    warn_of_another(folder / tokens.CONFIG, files[tokens.CONFIG])
    for name, content in files.items():
        with write_aside(folder / name, "wb") as file:
            file.write(content)
    say(args.output, json.loads(files[tokens.CONFIG]))
    return OK


if __name__ == "__main__":
    run_main(main)

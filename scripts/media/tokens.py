"""The tokenizer that train_tokenizer.py made: texts, emotions, prosody and context as token ids.

A folder holds `tokenizer.json` (Hugging Face `tokenizers`) and `tokenizer_config.json`, which says what its
special tokens mean and holds the hashes of both. Source of the design: Nymph (special tokens for emotions and
context); prosody as quantile bins, since a token for each number would be an open vocabulary.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from media.prosody_bins import bin_tokens
from media.token_settings import NEXT, PREVIOUS, TokenizerError, emotion_of, roles

TOKENIZER, CONFIG = "tokenizer.json", "tokenizer_config.json"
FORMAT = "amela-tokenizer-1"


class Tokenizer:
    """Token ids of texts and of what is known about them; see load_tokenizer."""

    def __init__(self, tokenizer: str, config: dict[str, Any], sha256: str) -> None:
        from tokenizers import Tokenizer as Engine

        self._made_of = (tokenizer, config, sha256)
        self.config = config
        self.sha256 = sha256  # of both files
        self._engine = Engine.from_str(tokenizer)
        self._literal = Engine.from_str(tokenizer)
        self._literal.encode_special_tokens = True
        self.vocab_size: int = self._engine.get_vocab_size()
        self.ids: dict[str, int] = config["ids"]  # of the special tokens
        self.unk_id, self.pad_id, self.bos_id, self.eos_id = (
            self.ids[token] for token in roles(config["special_tokens"], config["oov_token"])
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Let worker processes make it anew: a copied engine forgets that it takes specials for letters."""
        return type(self), self._made_of

    def encode(self, text: str, literal: bool = False) -> list[int]:
        """Return the ids of a text; no <bos> or <eos> is added. Characters that are no Unicode become `?`.

        A special token that stands in the text is that token, whatever surrounds it; with `literal` it is
        only its letters, as in texts that are not to be trusted.
        """
        engine = self._literal if literal else self._engine
        text = text.encode("utf-8", "replace").decode("utf-8")
        ids: list[int] = engine.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids, special tokens by their names; that of encode's ids is the text itself."""
        text: str = self._engine.decode([int(one) for one in ids], skip_special_tokens=False)
        return text

    def names(self) -> list[str]:
        """Return all tokens in the order of their ids; parts of a character as `tokenizers` writes bytes."""
        texts = [self.decode([number]) for number in range(self.vocab_size)]
        return [self._engine.id_to_token(at) if "\ufffd" in text else text for at, text in enumerate(texts)]

    def control(self, record: dict[str, Any]) -> list[int]:
        """Return the ids of a record's emotion (else its sentiment) and of the bins of its prosody, in the
        order emotion, pitch, energy, rate; what the record has not, or the tokenizer no token for, is left
        out.
        """
        names = [emotion_of(record), *bin_tokens(record, self.config["prosody_bins"])]
        return [self.ids[name] for name in names if name in self.ids]

    def context(self, previous: Sequence[str], following: Sequence[str]) -> list[int]:
        """Return the ids of the sentences around a text (media.contexts.windows), each after the token that
        says on which side it stood; sentences whose token the tokenizer has not are left out.
        """
        found: list[int] = []
        for token, sentences in ((PREVIOUS, previous), (NEXT, following)):
            if token in self.ids:
                for sentence in sentences:
                    found += [self.ids[token], *self.encode(sentence)]
        return found


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """Return the tokenizer of a folder, or of the tokenizer.json in it.

    TokenizerError where a file is missing or is not the one that was written.
    """
    folder = os.fspath(path)
    if os.path.isfile(folder):
        folder = os.path.dirname(folder) or "."
    config_bytes = _read(folder, CONFIG)
    try:
        config = json.loads(config_bytes)
        kind, made = config["format"], config["model"]
    except (ValueError, KeyError, TypeError):
        raise TokenizerError(
            f"{folder}/{CONFIG}: found no config of a trained tokenizer, wanted the one that "
            "train_tokenizer.py wrote"
        ) from None
    if kind != FORMAT or made != "bpe":
        raise TokenizerError(
            f"{folder}/{CONFIG}: found format {kind!r} and model {made!r}, wanted {FORMAT!r} and 'bpe': "
            "train one with train_tokenizer.py --model bpe"
        )
    if config.get("config_sha256") != config_sha256(config):
        raise TokenizerError(f"{folder}/{CONFIG}: edited since it was written; {_AGAIN}")
    tokenizer_bytes = _read(folder, TOKENIZER)
    if config["tokenizer_sha256"] != hashlib.sha256(tokenizer_bytes).hexdigest():
        raise TokenizerError(f"{folder}/{TOKENIZER}: not the file that {CONFIG} was written for; {_AGAIN}")
    sha256 = hashlib.sha256(tokenizer_bytes + config_bytes).hexdigest()
    return Tokenizer(tokenizer_bytes.decode(), config, sha256)


_AGAIN = "copy both files anew, or train it again: the same manifest and settings give the same bytes"


def config_sha256(config: dict[str, Any]) -> str:
    """Return the hash of a config's content, its own hash left out."""
    content = {name: value for name, value in config.items() if name != "config_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read(folder: str, name: str) -> bytes:
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return file.read()
    except OSError as error:
        raise TokenizerError(
            f"{os.path.join(folder, name)}: {error.strerror}; wanted the folder that train_tokenizer.py wrote"
        ) from error

"""What a tokenizer's config says (tokenizer_config.json): its keys, their defaults, and the special tokens.

The keys are those of Nymph's tokenizer_trainer.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from media.emotions import LABELS
from media.prosody_bins import TOKENS as PROSODY_TOKENS

PREVIOUS, NEXT = "[CONTEXT_PREV_SENT]", "[CONTEXT_NEXT_SENT]"
DEFAULTS: dict[str, Any] = {
    "vocab_size": 1000,
    "special_tokens": ["<unk>", "<pad>", "<bos>", "<eos>"],
    "oov_token": "<unk>",
    "emotion_labels": list(LABELS),
    "context_tokens": [PREVIOUS, NEXT],
    "context_window_size": 3,
}
WRITTEN = (
    "vocab_size_asked",
    "format",
    "model",
    "prosody_bins",
    "ids",
    "tokenizer_sha256",
    "config_sha256",
    "trained_on",
    "report",
)
BYTES = 256  # tokens of the alphabet: every text can be written with them
LARGEST = 1_000_000  # tokens; more is a slip
_ROLES = {"pad": ("pad",), "bos": ("bos", "s", "begin"), "eos": ("eos", "/s", "end", "endoftext")}


class TokenizerError(ValueError):
    """A tokenizer or a config of one that cannot be used; the message says where and why."""


def read_settings(path: str | None, vocab_size: int = DEFAULTS["vocab_size"]) -> dict[str, Any]:
    """Return the settings of a JSON file, completed by DEFAULTS and `vocab_size`. TokenizerError where one
    makes no sense.

    The config that stands beside a trained tokenizer is understood too; what training adds is left out.
    """
    found: Any = {}
    if path is not None:
        try:
            with open(path, encoding="utf-8-sig") as file:
                found = json.load(file)
        except OSError as error:
            raise TokenizerError(
                f"{path}: {error.strerror}; wanted a JSON file like tokenizer_config.json"
            ) from error
        except ValueError as error:
            raise TokenizerError(f"{path}: found no JSON ({error}), wanted one object") from error
    where = path or "the defaults"
    if not isinstance(found, dict):
        raise TokenizerError(f"{where}: found a {type(found).__name__}, wanted one JSON object")
    unknown = sorted(set(found) - set(DEFAULTS) - set(WRITTEN))
    if unknown:
        raise TokenizerError(f"{where}: found the key {unknown[0]!r}, wanted one of {', '.join(DEFAULTS)}")
    settings = {**DEFAULTS, "vocab_size": vocab_size}
    settings = {name: found.get(name, default) for name, default in settings.items()}
    _check(settings, where)
    return settings


def _check(settings: dict[str, Any], where: str) -> None:
    for name, least in (("vocab_size", 1), ("context_window_size", 0)):
        value = settings[name]
        if type(value) is not int or not least <= value <= LARGEST:
            raise TokenizerError(f"{where}: found {name} {value!r}, wanted a whole number from {least} on")
    for name in ("special_tokens", "emotion_labels", "context_tokens"):
        value = settings[name]
        if not isinstance(value, list) or not all(map(_is_token, value)):
            raise TokenizerError(
                f"{where}: found {name} {str(value)[:60]}, wanted a list of strings, none blank"
            )
    tokens = special_tokens(settings)
    twice = sorted({token for token in tokens if tokens.count(token) > 1})
    if twice:
        raise TokenizerError(f"{where}: found the token {twice[0]} twice, wanted each special token once")
    try:
        roles(settings["special_tokens"], settings["oov_token"])
    except TokenizerError as error:
        raise TokenizerError(f"{where}: {error}") from None


def _is_token(value: Any) -> bool:
    """Tell whether a value is a string of Unicode that is not blank."""
    if not isinstance(value, str) or not value.strip():
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def check_size(settings: dict[str, Any]) -> None:
    """Raise TokenizerError where a vocabulary has no room for its special tokens and the alphabet."""
    size, specials = settings["vocab_size"], len(special_tokens(settings))
    if size < specials + BYTES:
        raise TokenizerError(
            f"found a vocabulary of {size} tokens, wanted at least {specials + BYTES}: {specials} special "
            f"tokens and the {BYTES} bytes"
        )


def special_tokens(settings: dict[str, Any]) -> list[str]:
    """Return all special tokens in the order of their ids, from 0: those of the config, context, emotions,
    prosody.
    """
    emotions = [emotion_token(label) for label in settings["emotion_labels"]]
    return [*settings["special_tokens"], *settings["context_tokens"], *emotions, *PROSODY_TOKENS]


def emotion_of(record: dict[str, Any]) -> str | None:
    """Return the token of a record's emotion, else of its sentiment; None where it has neither."""
    felt = record.get("emotion") or record.get("sentiment")
    label = felt.get("label") if isinstance(felt, dict) else felt
    return emotion_token(label) if isinstance(label, str) else None


def emotion_token(label: str) -> str:
    """Return the token of an emotion: anger and [EMO_ANGER] are [EMO_ANGER]."""
    if re.fullmatch(r"\[EMO_.+\]", label):
        return label
    name = re.sub(r"\W+", "_", label.strip().upper())
    return f"[EMO_{name}]"


def roles(specials: Sequence[str], oov_token: Any) -> tuple[str, str, str, str]:
    """Return which special tokens stand for unknown, padding, begin and end; TokenizerError where one is
    missing.
    """
    if oov_token not in specials:
        raise TokenizerError(f"found oov_token {oov_token!r}, wanted one of special_tokens")
    found = [oov_token]
    for role, names in _ROLES.items():
        bare = [token for token in specials if token.strip("<>[]|_").lower() in names]
        if not bare:
            raise TokenizerError(
                f"found special_tokens {', '.join(specials)}, wanted one for {role}: <{role}>"
            )
        found.append(bare[0])
    return found[0], found[1], found[2], found[3]

"""The tokenizer of a CTC head: SentencePiece BPE, with a blank that no text can spell.

Ids are fixed: <unk> 0, <s> 1, </s> 2, <pad> 3, <blank> 4. The blank is a control symbol: as a user-defined
one the letters "<blank>" in a text would be encoded as it, and decoding would print it. Characters are kept
as they are (identity); runs of white space are one blank.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping
from typing import Any, Callable

from media.token_settings import TokenizerError
from media.word_counts import LONGEST, WordCounts

IDS = {"unk": 0, "bos": 1, "eos": 2, "pad": 3, "blank": 4}
BLANK = "<blank>"
COVERAGE = 0.995  # of the characters of the text; the rarest beyond it become unknown
VOCAB_SIZE = 4000


class SentencePieceTokenizer:
    """Texts as ids of pieces, and back. Made by train_tokenizer, or read by load_tokenizer from `model_path`.

    `vocab_size` is what is asked for; where the text supports less, training takes less and says so by `log`,
    and from then on it is the true size.
    """

    unk_id, bos_id, eos_id, pad_id, blank_id = IDS.values()

    def __init__(
        self,
        vocab_size: int | None = None,
        model_prefix: str = "tokenizer",
        model_path: str | os.PathLike[str] | None = None,
        log: Callable[[str], None] = print,
    ) -> None:
        self.asked, self.model_prefix, self._log = vocab_size, model_prefix, log
        self.model_path = os.fspath(model_path) if model_path is not None else None
        self._processor: Any = None

    def train_tokenizer(self, text_data: Iterable[str]) -> None:
        """Train on texts, write `<model_prefix>.model` and `.vocab`, and be ready to encode."""
        words = WordCounts()
        words.add(text_data)
        model = train_model(words.counts, self.asked or VOCAB_SIZE)
        self.take_model(model, self.model_prefix)
        for suffix, content in ((".model", model), (".vocab", self.vocab().encode())):
            with open(self.model_prefix + suffix, "wb") as file:
                file.write(content)
        self.model_path = self.model_prefix + ".model"

    def load_tokenizer(self) -> None:
        """Read `model_path`; TokenizerError for a file that is no model, or one of other ids."""
        path = self.model_path or self.model_prefix + ".model"
        try:
            with open(path, "rb") as file:
                model = file.read()
        except OSError as error:
            raise TokenizerError(f"{path}: {error.strerror}; wanted a model of SentencePiece") from error
        self.take_model(model, path)

    def take_model(self, model: bytes, where: str) -> None:
        """Take the bytes of a .model; TokenizerError as load_tokenizer, with `where` they come from."""
        from sentencepiece import SentencePieceProcessor

        processor = SentencePieceProcessor()
        try:
            processor.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise TokenizerError(f"{where}: found no model of SentencePiece ({error})") from None
        found = {name: getattr(processor, f"{name}_id")() for name in ("unk", "bos", "eos", "pad")}
        found["blank"] = processor.piece_to_id(BLANK)
        if found != IDS or not processor.is_control(IDS["blank"]):
            ids = ", ".join(f"{name} {number}" for name, number in found.items())
            raise TokenizerError(
                f"{where}: found the ids {ids}, wanted unk 0, bos 1, eos 2, pad 3 and the control symbol "
                f"{BLANK} 4: train it with train_tokenizer.py --model sentencepiece"
            )
        self._processor = processor
        if self.asked is not None and self.asked != self.vocab_size:
            self._log(
                f"WARNING: {where}: asked for {self.asked} pieces, has {self.vocab_size}, which is taken"
            )

    @property
    def vocab_size(self) -> int:
        """Return the number of pieces, the five fixed ones among them."""
        return int(self._ready().get_piece_size())

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, of its first and last no <s> or </s>; runs of white space are one blank,
        what is no Unicode is `?`. Never 4, the blank's.
        """
        text = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
        return list(self._ready().encode(text))

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids; the fixed ones but <unk> vanish, which is written as ⁇."""
        return str(self._ready().decode([int(one) for one in ids]))

    def pieces(self) -> list[str]:
        """Return all pieces in the order of their ids; ▁ stands for a blank before."""
        processor = self._ready()
        return [processor.id_to_piece(number) for number in range(processor.get_piece_size())]

    def vocab(self) -> str:
        """Return the pieces as SentencePiece's `.vocab` has them: a line each, a tab and the score."""
        score = self._ready().get_score
        return "".join(f"{piece}\t{score(number):g}\n" for number, piece in enumerate(self.pieces()))

    def __len__(self) -> int:
        return self.vocab_size

    def _ready(self) -> Any:
        if self._processor is None:
            raise TokenizerError(
                "found a tokenizer without a model: load_tokenizer() or train_tokenizer(…) first"
            )
        return self._processor


def train_model(counts: Mapping[str, int], vocab_size: int, coverage: float = COVERAGE) -> bytes:
    """Return a SentencePiece model (the bytes of a .model) of at most `vocab_size` pieces, trained on words
    and how often they occur. TokenizerError where there is no word, or no room for their characters.
    """
    from sentencepiece import SentencePieceTrainer

    if not counts:
        raise TokenizerError("found no word to train on, wanted texts")
    if vocab_size <= len(IDS):
        raise TokenizerError(
            f"found a vocabulary of {vocab_size}, wanted more than the {len(IDS)} fixed pieces"
        )
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=(f"{word}\t{count}" for word, count in sorted(counts.items())),
            input_format="tsv",
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            hard_vocab_limit=False,  # less where the text does not support it
            character_coverage=coverage,
            normalization_rule_name="identity",
            unk_id=IDS["unk"],
            bos_id=IDS["bos"],
            eos_id=IDS["eos"],
            pad_id=IDS["pad"],
            control_symbols=[BLANK],
            max_sentence_length=16 * LONGEST,  # bytes; a longer one would be left out without a word
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        said = str(error)
        if "smaller than required_chars" in said:
            least = said.split(" vs ")[1].split(".", maxsplit=1)[0]
            raise TokenizerError(
                f"found a vocabulary of {vocab_size}, wanted at least {least}: the characters of the text "
                f"(a share of {coverage:g} of it) and the {len(IDS)} fixed pieces"
            ) from None
        raise TokenizerError(f"SentencePiece: {said}") from error
    return model.getvalue()

"""Byte-pair encoding over bytes, by Hugging Face `tokenizers`: no character is unknown, none is dropped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# A blank belongs to the word after it. Marks (IPA's tie bar, Indic vowel signs) stay with their letters, which
# GPT-2's pattern parts from them, and so do apostrophes between letters.
WORDS = r" ?[\p{L}\p{M}]+(?:['’][\p{L}\p{M}]+)*| ?\p{N}+| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"
LEAST = 2  # times that a pair is seen before it becomes a token


def train_bpe(batches: Iterable[list[str]], specials: Sequence[str], vocab_size: int) -> str:
    """Return the tokenizer.json of a BPE of at most `vocab_size` tokens, trained on batches of texts.

    `specials` have the ids from 0 on and are never split. In memory stand the words of the texts, each once,
    not the texts. The same texts give the same bytes, on any number of threads.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=LEAST,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in specials],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(batches, trainer)
    return str(tokenizer.to_str(pretty=True)) + "\n"

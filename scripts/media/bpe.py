"""Byte-pair encoding over bytes, by Hugging Face `tokenizers`: no character is unknown, none is dropped."""

from __future__ import annotations

from collections.abc import Sequence

from media.word_counts import WordCounts

# A blank belongs to the word after it. Unlike in GPT-2's pattern, marks (IPA's tie bar, Indic vowel signs)
# and apostrophes stay with their letters.
WORDS = r" ?[\p{L}\p{M}]+(?:['’][\p{L}\p{M}]+)*| ?\p{N}+| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"
MOST = 20_000_000  # words that `tokenizers` is shown; of more, each in proportion
LEAST = 2  # times that a pair is seen before it becomes a token


def train_bpe(words: WordCounts, specials: Sequence[str], vocab_size: int) -> str:
    """Return the tokenizer.json of a BPE of at most `vocab_size` tokens, trained on words and their counts:
    as on their texts, where these have no more than MOST words.

    `specials` have the ids from 0 on and are never split. The same counts give the same bytes, on any number
    of threads.
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
    tokenizer.train_from_iterator(words.texts(MOST), trainer)
    return str(tokenizer.to_str(pretty=True)) + "\n"

"""tag_emotion.py: texts a second in batches and one by one, beside transformers' pipeline, on one thread.

    envs/.built/features/bin/python benchmarks/emotion.py [--texts 96] [--rounds 3]

The model has the size of roberta-base (12 layers of 768, 50,265 tokens) and random weights; texts have as
many words as utterances do (log-normal, mean about 13), a token each. All cases stand in one process; every
one runs once a round. The lexicon takes part with a hundred times as many texts.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import SCRIPTS, compare, print_machine, print_table, time_call

sys.path.insert(0, str(SCRIPTS))

WORDS = [f"{start}{end}" for start in "bdfgklmnprst" for end in ("a", "on", "ir", "ent", "ack", "ow")]
BATCH = 16  # of the pipeline, in the texts' order


def make_texts(count: int) -> list[str]:
    """Return texts whose lengths are those of utterances."""
    chance = random.Random(0)
    return [
        " ".join(chance.choices(WORDS, k=max(1, min(80, round(chance.lognormvariate(2.3, 0.7))))))
        for _ in range(count)
    ]


def make_model(folder: Path, texts: list[str]) -> None:
    """Write a classifier of roberta-base's size that knows the texts' words as tokens."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaForSequenceClassification, RobertaTokenizerFast

    from media.emotions import LABELS

    bpe = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe.train_from_iterator(texts, vocab_size=2000, special_tokens=special, show_progress=False)
    bpe.save_model(str(folder))
    RobertaTokenizerFast.from_pretrained(str(folder), model_max_length=512).save_pretrained(folder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=50_265, max_position_embeddings=514, type_vocab_size=1, pad_token_id=1,
        id2label=dict(enumerate(LABELS)), label2id={label: n for n, label in enumerate(LABELS)},
        problem_type="multi_label_classification",
    )  # fmt: skip
    RobertaForSequenceClassification(config).save_pretrained(folder)


def cases_of(folder: Path, texts: list[str]) -> dict[str, tuple[Any, int]]:
    """Return what to call, and how many texts a call tags, by name."""
    from transformers import pipeline

    from media.emotions import Lexicon
    from networks.text_emotion import TextEmotion

    ours, lexicon = TextEmotion(str(folder), "cpu"), Lexicon()
    peer = pipeline("text-classification", model=str(folder), top_k=None, device="cpu")
    alone = [ours.scores([text])[0][0] for text in texts]
    together = [scores for scores, _ in ours.scores(texts)]
    differ = max(abs(a - b) for one, other in zip(alone, together) for a, b in zip(one, other))
    print(f"largest difference of a probability, in batches against one by one: {differ:.0e}")
    return {
        "pipeline, one by one": (lambda: [peer(text) for text in texts], len(texts)),
        f"pipeline, batch_size={BATCH}": (lambda: peer(texts, batch_size=BATCH), len(texts)),
        "ours, one by one": (lambda: [ours.scores([text]) for text in texts], len(texts)),
        "ours, batches by length": (lambda: ours.scores(texts), len(texts)),
        "lexicon": (lambda: [lexicon.sentiment(text) for text in texts * 100], 100 * len(texts)),
    }


def main() -> None:
    """Run all cases and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=int, default=96, help="texts a case (default: 96)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="measured rounds after one warm-up (default: 3)"
    )
    args = parser.parse_args()
    print_machine()
    texts = make_texts(args.texts)
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder), texts)
        cases = cases_of(Path(folder), texts)
        found = compare(
            {name: lambda call=call: time_call(call) for name, (call, _) in cases.items()}, args.rounds
        )
    first = cases["pipeline, one by one"][1] / found["pipeline, one by one"].cpu_s
    rows = [
        [name, f"{count / found[name].wall_s:.1f}", f"{count / found[name].cpu_s:.1f}",
         f"{count / found[name].cpu_s / first:.2f}"]
        for name, (_, count) in cases.items()
    ]  # fmt: skip
    mean = statistics.mean(len(text.split()) for text in texts)
    title = f"{args.texts} texts of {mean:.1f} words on average, one thread, medians of {args.rounds} rounds"
    print_table(title, ["case", "texts a second", "texts a CPU second", "pipeline, one by one = 1"], rows)


if __name__ == "__main__":
    main()

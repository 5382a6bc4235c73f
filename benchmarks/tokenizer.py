"""train_tokenizer.py on a large manifest: time and memory, beside the usual way, all texts in a list.

    envs/.built/train/bin/python benchmarks/tokenizer.py [--mb 1000] [--vocab-size 4000]

The texts are invented: words of two to twenty letters, three million of them by Zipf's law (exponent 1.05, so
far more rare words than a language has), 13 a text. `naive` reads all texts into a list and gives it to the
library itself, which has to hold every different word as well. `same tokens` is the share of naive's tokens
that ours has too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from common import SCRIPTS, Run, print_machine, print_table, run_command

GENERATE = """
import json, sys
import numpy as np
chance = np.random.default_rng(0)
different = 3_000_000
often = np.array([8, 2, 3, 4, 13, 2, 2, 6, 7, 1, 1, 4, 2, 7, 8, 2, 1, 6, 6, 9, 3, 1, 2, 1, 2, 1])  # a to z
lengths = np.clip(2 + chance.poisson(6, different), 2, 20)
lengths[:2000].sort()  # frequent words are short
letters = (97 + chance.choice(26, lengths.sum(), p=often / often.sum())).astype(np.uint8).tobytes().decode()
ends = np.cumsum(lengths).tolist()
words = [letters[end - length : end] for end, length in zip(ends, lengths.tolist())]
law = np.cumsum(np.arange(1, different + 1) ** -1.05)
written = 0
with open(sys.argv[1], "w") as file:
    while written < 1e6 * int(sys.argv[2]):
        drawn = np.searchsorted(law, law[-1] * chance.random(130_000)).tolist()
        for start in range(0, len(drawn), 13):
            text = " ".join([words[one] for one in drawn[start : start + 13]])
            written += len(text)
            file.write(json.dumps({"id": str(written), "text": text}) + "\\n")
"""
NAIVE_BPE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from tokenizers import Tokenizer, Regex, decoders, models, pre_tokenizers, trainers
from media.bpe import WORDS
from media.token_settings import DEFAULTS, special_tokens
texts = [json.loads(line)["text"] for line in open(sys.argv[2])]
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(WORDS), "isolated"),
    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=int(sys.argv[4]), min_frequency=2,
    show_progress=False, special_tokens=special_tokens(DEFAULTS),
    initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
print(json.dumps(tokenizer.get_vocab()))
"""
NAIVE_SENTENCEPIECE = """
import io, json, sys
import sentencepiece
texts = [json.loads(line)["text"] for line in open(sys.argv[2])]
model = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(texts), model_writer=model, model_type="bpe",
    vocab_size=int(sys.argv[4]), character_coverage=0.995, normalization_rule_name="identity", minloglevel=2)
found = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
print(json.dumps([found.id_to_piece(number) for number in range(found.get_piece_size())]))
"""


def tokens_of(folder: Path) -> set[str]:
    """Return the tokens of a tokenizer that we trained, as its library writes them."""
    if (folder / "tokenizer.json").exists():
        return set(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
    return {line.split("\t")[0] for line in (folder / "tokenizer.vocab").read_text().splitlines()}


def row(name: str, run: Run, megabytes: int, same: str) -> list[str]:
    """Return a row of the table."""
    return [name, f"{run.wall_s:.0f}", f"{megabytes / run.cpu_s:.2f}", f"{run.peak_mb:.0f}", same]


def main() -> None:
    """Run all cases once and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mb", type=int, default=1000, help="text, MB (default: 1000)")
    parser.add_argument("--vocab-size", type=int, default=4000, help="tokens (default: 4000)")
    parser.add_argument("--without-naive", action="store_true", help="leave the naive way out")
    args = parser.parse_args()
    print_machine()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = folder / "corpus.json"
        run_command([sys.executable, "-c", GENERATE, manifest, args.mb])
        for model, naive in (("bpe", NAIVE_BPE), ("sentencepiece", NAIVE_SENTENCEPIECE)):
            command = [sys.executable, SCRIPTS / "train_tokenizer.py", manifest, folder / model]
            ours = run_command([*command, "--model", model, "--vocab-size", args.vocab_size])
            print(ours.output, flush=True)
            if args.without_naive:
                rows.append(row(f"{model}, ours", ours, args.mb, ""))
                continue
            peer = run_command([sys.executable, "-c", naive, SCRIPTS, manifest, "", args.vocab_size])
            theirs = set(json.loads(peer.output.strip().splitlines()[-1]))
            same = len(theirs & tokens_of(folder / model)) / len(theirs)
            rows.append(row(f"{model}, ours", ours, args.mb, f"{100 * same:.1f} %"))
            rows.append(row(f"{model}, naive", peer, args.mb, ""))
    title = f"{args.mb} MB of text, {args.vocab_size} tokens, one run each"
    print_table(title, ["case", "wall s", "MB a CPU second", "peak MB", "same tokens"], rows)


if __name__ == "__main__":
    main()

"""N-gram models as ARPA files, which kenlm, SRILM and others read: log10, one line an n-gram.

The interpolated model stands in its back-off form: each known n-gram has its whole probability, and a context
the weight of the shorter probability of what it was not seen with. Units are written as numbers, the start
symbol as <s>. <unk> and </s> stand there with probability 0, as readers want them; neither occurs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import IO

import numpy as np

from networks.ngram import NGram, Table, places

NEVER = -99.0  # log10 of what cannot happen, by custom
START, END, UNKNOWN = "<s>", "</s>", "<unk>"
LOG10 = math.log(10)


class ArpaError(ValueError):
    """An ARPA file that is no model of units; the message says where, what was found and what was wanted."""


def write(file: IO[str], model: NGram) -> None:
    """Write a model to a text file."""
    sizes = [len(table.keys) for table in model.tables]
    print("\\data\\", file=file)
    for n, size in enumerate(sizes, start=1):
        print(f"ngram {n}={size + 2 * (n == 1)}", file=file)
    names = [str(unit) for unit in range(model.vocab_size)] + [START]
    words: list[str] = []
    for n, table in enumerate(model.tables, start=1):
        print(f"\n\\{n}-grams:", file=file)
        last = [names[unit] for unit in (table.keys % (model.vocab_size + 1)).tolist()]
        context = (table.keys // (model.vocab_size + 1)).tolist()
        words = last if n == 1 else [f"{words[before]} {unit}" for before, unit in zip(context, last)]
        for text, chance, backoff in zip(words, table.log_probability.tolist(), table.log_backoff.tolist()):
            shown = chance / LOG10 if chance > -math.inf else NEVER
            weight = f"\t{backoff / LOG10:.9g}" if n < model.order else ""
            print(f"{shown:.9g}\t{text}{weight}", file=file)
        if n == 1:
            print(f"{NEVER:g}\t{UNKNOWN}\n{NEVER:g}\t{END}", file=file)
    print("\n\\end\\", file=file)


def read(path: str) -> NGram:
    """Return the model of an ARPA file whose words are 0..K-1; ArpaError where it is something else."""
    grams: list[list[tuple[list[int], float, float]]] = []
    for line_number, n, fields in _lines(path):
        grams += [[] for _ in range(n - len(grams))]
        try:
            words = fields[1].split() if len(fields) > 1 else []
            if n == 1 and words[:1] in ([UNKNOWN], [END]):
                if float(fields[0]) > NEVER:
                    raise ValueError(f"{words[0]} has a probability")
                continue
            row = [-1 if word == START else int(word) for word in words]
            if len(row) != n:
                raise ValueError(f"found {len(row)} words")
            grams[n - 1].append((row, float(fields[0]), float(fields[2] if len(fields) > 2 else 0)))
        except ValueError as error:
            raise ArpaError(
                f"{path}:{line_number}: {error}; wanted a {n}-gram of units as numbers, or <s>"
            ) from error
    if not grams:
        raise ArpaError(f"{path}: found no n-gram, wanted an ARPA file")
    return _model(path, grams)


def _lines(path: str) -> Iterator[tuple[int, int, list[str]]]:
    """Yield (line number, n, fields between tabs) of each n-gram."""
    n = 0
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            text = line.strip()
            if text.startswith("\\") and text.endswith("-grams:"):
                n = int(text[1:-7])
            elif text == "\\end\\":
                return
            elif text and n:
                yield number, n, text.split("\t")
    raise ArpaError(f"{path}: found no \\end\\, wanted a whole ARPA file: copy it again")


def _model(path: str, grams: list[list[tuple[list[int], float, float]]]) -> NGram:
    vocab_size = sum(row != [-1] for row, _, _ in grams[0])
    tables: list[Table] = []
    for n, rows in enumerate(grams, start=1):
        units = np.array([row for row, _, _ in rows], np.int64).reshape(-1, n)
        units[units == -1] = vocab_size
        if len(units) and units.max() > vocab_size:
            raise ArpaError(f"{path}: found unit {units.max()}, wanted 0 to {vocab_size - 1}")
        context = np.zeros(len(units), np.int64) if n == 1 else units[:, 0]
        for size in range(2, n):
            context = places(tables[size - 1].keys, context, units[:, size - 1], vocab_size)
        if (context < 0).any():
            raise ArpaError(f"{path}: a {n}-gram has no {n - 1}-gram of its first words, wanted all")
        keys = context * (vocab_size + 1) + units[:, -1]
        order = np.argsort(keys)
        chances = np.array([chance for _, chance, _ in rows])[order]
        log_probability = np.where(chances > NEVER, chances * LOG10, -np.inf)
        weights = np.array([weight for _, _, weight in rows])[order] * LOG10
        tables.append(Table(keys[order], log_probability, weights))
    return NGram(vocab_size, tables, [])

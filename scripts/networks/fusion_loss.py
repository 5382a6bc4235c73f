"""What the fusion model is judged by: squared errors of normalised inputs, cross-entropy of tokens, and the
sums that scores are made of.

R² = 1 - SSE / SST over the values that are there, SST around the mean of the training set, which is 0 after
normalisation: 0 is as good as always saying that mean. Errors, masks and scores keep to the same values.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from networks.fusion import Output
from networks.fusion_batch import ARRAYS, Batch

SPLIT = ("seen", "masked")  # what the model was shown, and what it was not


def losses(output: Output, batch: Batch) -> dict[str, Tensor]:
    """Return the sum over utterances of each modality's mean error over its values that are there, and
    `loss`, the sum of these.

    Text: nats a token, else mean squared error. An utterance that lacks a modality has error 0 in it.
    """
    found = {}
    for name in output.found:
        error, valid, _ = errors(output, batch, name)
        total = torch.where(valid, error, 0.0).flatten(1).sum(1)
        found[f"loss_{name}"] = (total / valid.flatten(1).sum(1).clamp(min=1)).sum()
    return {"loss": torch.stack(list(found.values())).sum(), **found}


def errors(output: Output, batch: Batch, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return (error, valid, hidden) of each value of a modality, of one shape."""
    given, hide = output.found[name].float(), batch.hide[name]
    if name == "text":
        error = cross_entropy(given.flatten(0, 1), batch.tokens.flatten(), reduction="none")
        return error.view_as(batch.tokens), batch.valid["text"], hide
    error, valid = (given - batch.target[name]) ** 2, batch.valid[name]
    if name in ARRAYS:
        hide = hide.repeat_interleave(error.shape[1] // max(1, hide.shape[1]), 1)
    return error, valid, hide.unflatten(-1, (-1, 1)).expand_as(valid)


def sums_of(output: Output, batch: Batch) -> dict[str, Tensor]:
    """Return what the scores of a batch are made of, float64: by modality and SPLIT [SSE, SST], of text [sum
    of nats, tokens given back, tokens], and `loss` [sum, utterances].
    """
    sums = {"loss": _pair(losses(output, batch)["loss"], len(batch.speaker))}
    for name in output.found:
        error, valid, hidden = errors(output, batch, name)
        for part, chosen in zip(SPLIT, (valid & ~hidden, valid & hidden)):
            if name == "text":
                right = (output.found[name].argmax(-1) == batch.tokens) & chosen
                values = [torch.where(chosen, error, 0.0).double().sum(), right.sum(), chosen.sum()]
            else:
                squares = torch.where(chosen, batch.target[name], 0.0).double() ** 2
                values = [torch.where(chosen, error, 0.0).double().sum(), squares.sum()]
            sums[f"{part}_{name}"] = torch.stack([value.double() for value in values])
    embedding = output.embedding().double()
    sums["embedding"] = embedding.sum(0)
    sums["embedding_square"] = _pair((embedding**2).sum(), len(embedding))
    return sums


def _pair(first: Any, second: Any) -> Tensor:
    return torch.stack([torch.as_tensor(first).double(), torch.as_tensor(second).double().to(first.device)])


def scores(sums: dict[str, list[float]]) -> dict[str, float | None]:
    """Return the figures of added-up sums: `r2_NAME` of what was shown and `r2_masked_NAME`, of text
    `ce_masked` (nats a token), `accuracy` (share of masked tokens given back) and `accuracy_seen`; None where
    there was nothing to judge.
    """
    found: dict[str, float | None] = {}
    for key, values in sums.items():
        part, _, name = key.partition("_")
        if part not in SPLIT:
            continue
        infix = "_masked" if part == "masked" else ""
        if name == "text":
            nats, right, tokens = values
            found["accuracy" if infix else "accuracy_seen"] = _ratio(right, tokens)
            if infix:
                found["ce_masked"] = _ratio(nats, tokens)
        else:
            error = _ratio(*values)
            found[f"r2{infix}_{name}"] = None if error is None else 1 - error
    found["embedding_spread"] = spread(sums["embedding"], *sums["embedding_square"])
    return found


def spread(total: list[float], squares: float, count: float) -> float | None:
    """Return which share of the embeddings' mean square is their variance, 0 to 1; 0: all are the same.

    None for fewer than two.
    """
    if count < 2:
        return None
    mean_square = sum((value / count) ** 2 for value in total)
    return max(0.0, 1 - mean_square / (squares / count)) if squares > 0 else 0.0


def _ratio(over: float, under: float) -> float | None:
    return over / under if under else None


def retrieved(output: Output, batch: Batch) -> Tensor:
    """Return [utterances found, utterances] of a batch of which only text was shown: for each audio, is it
    its own text that made the model expect the nearest to it?

    Pooled over time: the mean frame of each array, and prosody; mean squared distance over what is there. To
    look for the text and not for the audio keeps what no text can tell, as the level, out of the comparison.
    """
    has_audio = batch.steps_valid.any(-1)
    rows = int(has_audio.sum())
    distances = torch.zeros(rows, rows, device=has_audio.device)
    for name in output.found:
        if name in (*ARRAYS, "prosody"):
            valid = batch.valid[name][has_audio]
            own = _pooled(batch.target[name][has_audio], valid)
            is_frame = valid.any(-1, keepdim=True).expand_as(valid)  # which are voiced is not given away
            expected = _pooled(output.found[name][has_audio].float(), is_frame)
            there = (valid.any(1) if valid.dim() > 2 else valid).float()[None]
            squares = (expected[:, None] - own[None]) ** 2 * there
            distances += squares.sum(-1) / there.sum(-1).clamp(min=1)
    right = (distances.argmin(0) == torch.arange(rows, device=distances.device)).sum() if rows > 1 else 0
    return _pair(torch.as_tensor(right, device=distances.device), rows if rows > 1 else 0)


def _pooled(values: Tensor, valid: Tensor) -> Tensor:
    """Return the mean over time of arrays (rows, frames, width); vectors (rows, width) as they are."""
    if values.dim() == 2:
        return values
    weights = valid.float()
    return (values * weights).sum(1) / weights.sum(1).clamp(min=1)

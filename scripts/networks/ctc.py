"""CTC for training: the loss, its regularisers, and the figures that tell whether it has collapsed.

Over real frames only, p = softmax in fp32, o the blank, V classes, y_b the |y_b| labels of utterance b:
    ctc         mean over utterances of -log P(y_b | x_b) / max(1, |y_b|), as torch's "mean"
    entropy     mean over frames of H = -sum_k p_k log p_k, in nats or as a share of log V
    hinge       mean over utterances of max(0, r_b - threshold), r_b the mean of p(o) over its frames
    smoothing   mean over frames of KL(u || p) = -log V - (1/V) sum_k log p_k, u = 1/V
    confidence  mean over frames of max(0, max_k p_k - threshold)
    loss        (1 - e) ctc + e smoothing - w1 entropy + w2 hinge + w3 confidence
Means are those of a whole step. The confidence penalty of Pereyra et al., KL(p || u), is log V - H: the
entropy term again, up to a constant; hence the hinge on the largest p here.

Sources: Graves et al. 2006 (CTC); Pereyra et al. 2017 (entropy, and smoothing in the direction u || p).
"""

from __future__ import annotations

import math
from typing import Any, Callable, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

FRAMES_AT_ONCE = 256  # whose V classes are in memory at a time


class Regularisers(NamedTuple):
    """Weights and thresholds; as they stand here it is plain CTC."""

    entropy_weight: float = 0.0
    entropy_is_share: bool = False  # of log V, so that a weight means the same for any vocabulary
    blank_penalty: float = 0.0
    blank_threshold: float = 0.3  # of the mean probability of the blank over an utterance
    label_smoothing: float = 0.0
    confidence_penalty: float = 0.0
    confidence_threshold: float = 0.95


class _Frames(NamedTuple):
    """What is known of each real frame, (F,) each but the first."""

    log_p: Tensor  # (F, 1 + U): of the blank, then of the labels of the frame's utterance
    entropy: Tensor
    from_uniform: Tensor  # KL(u || p)
    largest: Tensor  # max_k p_k
    is_blank: Tensor  # bool: the blank is the most probable


def real_frames(padded: Tensor, lengths: Tensor) -> Tensor:
    """Return the frames of (B, T, …) within their utterance, one utterance after the other, (F, …)."""
    return padded[_mask(lengths, padded.shape[1])]


def ctc_losses(
    frames: Tensor,
    lengths: Tensor,
    targets: Tensor,
    target_lengths: Tensor,
    blank: int,
    options: Regularisers,
    mean_frames: float | None = None,
    head: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return what is minimised as "loss", its parts and some shares: sums, means once the utterances of the
    step divide them.

    frames: (F, V) logits of the real frames (see real_frames), F the sum of `lengths` (B,); with a `head`
    what it makes logits of, a few frames at a time, so that (F, V) is never in memory.
    targets: (B, U) labels, padded with anything behind `target_lengths` (B,).
    mean_frames: frames an utterance of the whole step, all its batches and processes; None: of this batch.
    Shares: blank_share (mean of p(o) over frames), argmax_blank_share (of frames), empty_share (of utterances
    whose best path is blank throughout), infeasible (of utterances that have fewer frames than labels and
    blanks between equal ones: their ctc is 0 and teaches nothing).

    ValueError where the numbers of frames disagree, or the blank stands among the labels.
    """
    _check(frames, lengths, targets, target_lengths, blank)
    real = _mask(target_lengths, targets.shape[1])
    targets = targets.masked_fill(~real, blank)
    columns = torch.cat([targets.new_full((len(targets), 1), blank), targets], 1).long()
    found = _measure(frames, columns[torch.repeat_interleave(lengths)], options, head)

    feasible = lengths >= target_lengths + _repetitions(targets, real)
    inside = _mask(lengths, max(1, int(lengths.max())))
    log_p = _padded(found.log_p, inside)
    negative = _NegativeLogLikelihood.apply(log_p, columns, lengths, target_lengths, feasible)
    blanks = found.log_p[:, 0].exp()
    blank_rate = _padded(blanks, inside).sum(1) / lengths.clamp(min=1)
    spoken = _padded(~found.is_blank, inside).any(1)
    per_utterance = mean_frames or max(1, len(frames)) / len(lengths)
    parts = {
        "ctc": (negative / target_lengths.clamp(min=1)).sum(),
        "entropy": found.entropy.sum() / per_utterance,
        "hinge": (blank_rate - options.blank_threshold).clamp(min=0).sum(),
        "smoothing": found.from_uniform.sum() / per_utterance,
        "confidence": (found.largest - options.confidence_threshold).clamp(min=0).sum() / per_utterance,
    }
    shares = {
        "blank_share": blanks.sum() / per_utterance,
        "argmax_blank_share": found.is_blank.sum() / per_utterance,
        "empty_share": (~spoken).sum(),
        "infeasible": (~feasible).sum(),
    }
    logged = {name: value.detach().to(negative.dtype) for name, value in {**parts, **shares}.items()}
    return {"loss": _total(parts, options), **logged}


def _total(parts: dict[str, Tensor], options: Regularisers) -> Tensor:
    """Return the loss; what has no weight is left out of the graph."""
    loss = (1 - options.label_smoothing) * parts["ctc"]
    for name, weight in [
        ("entropy", -options.entropy_weight),
        ("hinge", options.blank_penalty),
        ("smoothing", options.label_smoothing),
        ("confidence", options.confidence_penalty),
    ]:
        if weight:
            loss = loss + weight * parts[name]
    return loss


def _check(frames: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor, blank: int) -> None:
    if len(frames) != int(lengths.sum()):
        raise ValueError(f"found {len(frames)} frames, wanted the {int(lengths.sum())} that the lengths say")
    if bool(((targets == blank) & _mask(target_lengths, targets.shape[1])).any()):
        raise ValueError(f"found the blank {blank} among the labels, which CTC puts there itself")


def _measure(frames: Tensor, columns: Tensor, options: Regularisers, head: Any) -> _Frames:
    """Return what is known of each frame, a few at a time: the backward pass computes their classes again."""

    def measure(few: Tensor, of: Tensor) -> tuple[Tensor, ...]:
        logits = few if head is None else head(few)
        log_p = torch.log_softmax(logits if logits.dtype == torch.float64 else logits.float(), -1)
        log_v = math.log(log_p.shape[1])
        largest, best = log_p.max(1)
        entropy = -(log_p.exp() * log_p).sum(1)
        entropy = entropy / log_v if options.entropy_is_share else entropy
        return log_p.gather(1, of), entropy, -log_p.mean(1) - log_v, largest.exp(), best == of[:, 0]

    few = zip(frames.split(FRAMES_AT_ONCE), columns.split(FRAMES_AT_ONCE))
    return _Frames(*map(torch.cat, zip(*(checkpoint(measure, *part, use_reentrant=False) for part in few))))


class _NegativeLogLikelihood(torch.autograd.Function):
    """-log P(y | x) of each utterance, (B,), by the log-probabilities of the blank and of its labels only,
    (B, T, 1 + U); 0 where `feasible` is not.

    torch's own gradient counts on a softmax over the classes it is given: it is p - q, q how often the paths
    of y pass a class in a frame, so q is found from it. In fp64: where -log P is 10,000 nats, fp32 leaves q
    two digits. torch's kernel for CUDA sums in no fixed order: where one is asked for, the CPU computes.
    """

    @staticmethod
    def forward(
        ctx: Any, log_p: Tensor, columns: Tensor, lengths: Tensor, target_lengths: Tensor, feasible: Tensor
    ) -> Tensor:
        # a label is called by its first column, so that two equal neighbours are known as equal
        places = (columns[:, 1:, None] == columns[:, None, :]).int().argmax(2)
        device = torch.device("cpu") if torch.are_deterministic_algorithms_enabled() else log_p.device
        wanted = ctx.needs_input_grad[0]
        given = log_p.detach().to(device, torch.float64).transpose(0, 1).requires_grad_(wanted)
        lengths, target_lengths = lengths.to(device), target_lengths.to(device)
        with torch.enable_grad():
            negative = torch.nn.functional.ctc_loss(
                given, places.to(device), lengths, target_lengths, reduction="none", zero_infinity=True
            )
        if wanted:
            (slope,) = torch.autograd.grad(negative, given, torch.ones_like(negative))
            passed = (given.detach().exp() - slope).transpose(0, 1)
            ctx.save_for_backward(passed.to(log_p) * feasible[:, None, None])
        return negative.detach().to(log_p) * feasible

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None, None]:  # type: ignore[override]
        (passed,) = ctx.saved_tensors
        return -slope[:, None, None] * passed, None, None, None, None


def _repetitions(targets: Tensor, real: Tensor) -> Tensor:
    """Return how many labels follow an equal one, (B,): each needs a blank, a frame more, between them."""
    return ((targets[:, 1:] == targets[:, :-1]) & real[:, 1:]).sum(1)


def _mask(lengths: Tensor, size: int) -> Tensor:
    """Return (B, size), true where a place is within its length."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def _padded(flat: Tensor, inside: Tensor) -> Tensor:
    """Return (B, T, …) of the frames in a row, zeros behind each utterance."""
    padded = flat.new_zeros((*inside.shape, *flat.shape[1:]))
    padded[inside] = flat
    return padded

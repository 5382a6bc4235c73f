"""CTC's loss and regularisers: against every path, torch, hand-made frames; what each weight moves."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ctc_paths import draw, labellings
from networks import ctc
from networks.ctc import Regularisers, ctc_losses, real_frames

BLANK = 2
PLAIN = Regularisers()
EACH = {
    "plain": PLAIN,
    "entropy": Regularisers(entropy_weight=0.7),
    "entropy as a share": Regularisers(entropy_weight=0.7, entropy_is_share=True),
    "hinge": Regularisers(blank_penalty=5.0, blank_threshold=0.1),
    "smoothing": Regularisers(label_smoothing=0.3),
    "confidence": Regularisers(confidence_penalty=2.0, confidence_threshold=0.3),
    "all": Regularisers(0.1, False, 3.0, 0.2, 0.1, 1.0, 0.4),
}


def batch(*rows: tuple[int, list[int]], classes: int = 5, seed: int = 0) -> tuple[Tensor, ...]:
    """Return (logits, lengths, targets, target lengths) of utterances of so many frames and these labels; the
    targets are padded with what would be seen if it were read.
    """
    lengths = torch.tensor([frames for frames, _ in rows])
    target_lengths = torch.tensor([len(labels) for _, labels in rows])
    targets = torch.full((len(rows), max(len(labels) for _, labels in rows)), -100)
    for row, (_, labels) in enumerate(rows):
        targets[row, : len(labels)] = torch.tensor(labels, dtype=torch.int64)
    return draw(int(lengths.sum()), classes, seed), lengths, targets, target_lengths


def of_probabilities(rows: list[list[float]], options: Regularisers = PLAIN) -> dict[str, float]:
    """Return the sums of one utterance with these probabilities in its frames, and the label 0."""
    frames = torch.tensor(rows, dtype=torch.float64).log()
    found = ctc_losses(
        frames, torch.tensor([len(rows)]), torch.tensor([[0]]), torch.tensor([1]), BLANK, options
    )
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("labels", [[0], [0, 1], [1, 1], [3, 1, 3], [0, 0, 0], []])
def test_ctc_is_the_sum_over_all_paths(labels: list[int]) -> None:
    given = batch((6, labels), classes=4)
    wanted = -labellings(given[0], BLANK)[tuple(labels)] / max(1, len(labels))
    assert float(ctc_losses(*given, BLANK, PLAIN)["ctc"]) == pytest.approx(wanted, abs=1e-12)


def test_ctc_and_its_gradient_are_those_of_torch() -> None:
    """With frames to spare and with none, with no label, with equal neighbours."""
    logits, lengths, targets, target_lengths = given = batch(
        (40, [1, 1, 3, 0, 0, 4]), (3, [3, 3]), (2, [1, 0]), (7, []), (1, [4]), classes=6
    )
    logits.requires_grad_()
    ours = ctc_losses(*given, BLANK, PLAIN)["loss"]
    padded = torch.nn.utils.rnn.pad_sequence(logits.split(lengths.tolist())).log_softmax(2)
    each = torch.nn.functional.ctc_loss(
        padded, targets.clamp(min=0), lengths, target_lengths, blank=BLANK, reduction="none"
    )
    theirs = (each / target_lengths.clamp(min=1)).sum()
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=1e-10)
    slopes = [torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)]
    assert torch.allclose(*slopes, rtol=0, atol=1e-10)


@pytest.mark.parametrize("options", EACH.values(), ids=EACH)
def test_gradients_are_those_of_the_definition(options: Regularisers) -> None:
    logits, *rest = batch((5, [1, 1]), (2, [3]), (1, [1, 0]), classes=4)

    def of(given: Tensor) -> Tensor:
        return ctc_losses(given, *rest, BLANK, options)["loss"]

    assert torch.autograd.gradcheck(of, logits.requires_grad_(), eps=1e-6, atol=1e-7)


def test_a_head_and_what_it_reads_get_the_gradients_of_its_logits() -> None:
    """The logits of a few frames at a time give the loss of all of them together."""
    hidden, *rest = batch((ctc.FRAMES_AT_ONCE + 9, [1, 0, 3]), (ctc.FRAMES_AT_ONCE // 2, [4]), classes=3)
    seen: list[int] = []
    head = torch.nn.Linear(3, 5, dtype=torch.float64)
    head.register_forward_hook(lambda *call: seen.append(len(call[2])))
    hidden.requires_grad_()
    leaves = [hidden, *head.parameters()]
    whole = ctc_losses(head(hidden), *rest, BLANK, EACH["all"])["loss"]
    wanted = torch.autograd.grad(whole, leaves)
    seen.clear()
    parted = ctc_losses(hidden, *rest, BLANK, EACH["all"], head=head)["loss"]
    found = torch.autograd.grad(parted, leaves)
    assert max(seen) == ctc.FRAMES_AT_ONCE
    assert torch.allclose(parted, whole, rtol=1e-12)
    assert all(torch.allclose(*pair, rtol=1e-9, atol=1e-12) for pair in zip(found, wanted))


def test_frames_worked_out_by_hand() -> None:
    """Two frames of (label 0, label 1, blank): (.25, .25, .5) and (.5, .5, 0+)."""
    found = of_probabilities([[0.25, 0.25, 0.5], [0.5, 0.5, 1e-30]])
    assert found["ctc"] == pytest.approx(-math.log(0.25 * 0.5 + 0.5 * 0.5))
    assert found["entropy"] == pytest.approx((1.5 * math.log(2) + math.log(2)) / 2)
    assert found["blank_share"] == pytest.approx(0.25)
    assert found["argmax_blank_share"] == pytest.approx(0.5)
    assert found["empty_share"] == 0
    assert found["hinge"] == 0
    certain = [[0.97, 0.02, 0.01], [0.01, 0.01, 0.98], [0.4, 0.3, 0.3]]
    found = of_probabilities(certain, Regularisers(blank_threshold=0.35))
    assert found["hinge"] == pytest.approx((0.01 + 0.98 + 0.3) / 3 - 0.35)
    assert found["confidence"] == pytest.approx((0.02 + 0.03 + 0) / 3)
    assert of_probabilities(certain, Regularisers(confidence_threshold=0.3))["confidence"] == pytest.approx(
        (0.67 + 0.68 + 0.1) / 3
    )
    log_ratios = [math.log(1 / 3 / p) for row in certain for p in row]
    assert found["smoothing"] == pytest.approx(sum(log_ratios) / 9)


def test_uniform_frames_have_all_the_entropy_and_no_distance_from_uniform() -> None:
    rows = [[1 / 3] * 3] * 4
    assert of_probabilities(rows)["entropy"] == pytest.approx(math.log(3))
    assert of_probabilities(rows, Regularisers(entropy_is_share=True))["entropy"] == pytest.approx(1)
    assert of_probabilities(rows)["smoothing"] == pytest.approx(0, abs=1e-12)


def test_the_loss_is_made_of_its_logged_parts() -> None:
    given = batch((9, [1, 0]), (6, [3]))
    found = {name: float(value) for name, value in ctc_losses(*given, BLANK, EACH["all"]).items()}
    wanted = 0.9 * found["ctc"] - 0.1 * found["entropy"] + 3 * found["hinge"]
    assert found["loss"] == pytest.approx(wanted + 0.1 * found["smoothing"] + found["confidence"])


def test_pereyras_confidence_penalty_is_the_entropy_term() -> None:
    """KL(p || u) = log V - H, hence the same gradient: --ctc-confidence-penalty has to be something else."""
    logits = batch((7, [1]))[0].requires_grad_()
    p = logits.softmax(1)
    from_uniform = (p * (p.log() + math.log(5))).sum(1).mean()
    entropy = ctc_losses(logits, torch.tensor([7]), torch.tensor([[1]]), torch.tensor([1]), BLANK,
                         Regularisers(entropy_weight=1.0))["loss"]  # fmt: skip
    plain = ctc_losses(logits, torch.tensor([7]), torch.tensor([[1]]), torch.tensor([1]), BLANK, PLAIN)[
        "loss"
    ]
    slopes = [torch.autograd.grad(loss, logits)[0] for loss in (from_uniform, entropy - plain)]
    assert torch.allclose(*slopes, atol=1e-12)


def test_the_blank_penalty_sleeps_below_its_threshold() -> None:
    logits, *rest = batch((8, [1, 0]))
    logits.requires_grad_()
    slopes = [
        torch.autograd.grad(ctc_losses(logits, *rest, BLANK, options)["loss"], logits)[0]
        for options in (PLAIN, Regularisers(blank_penalty=50.0, blank_threshold=0.999))
    ]
    assert torch.equal(*slopes)


@pytest.mark.parametrize(
    ("name", "options", "up"),
    [
        ("entropy", Regularisers(entropy_weight=1.0), True),
        ("blank_share", Regularisers(blank_penalty=5.0, blank_threshold=0.2), False),
        ("hinge", Regularisers(blank_penalty=5.0, blank_threshold=0.2), False),
        ("smoothing", Regularisers(label_smoothing=0.5), False),
        ("confidence", Regularisers(confidence_penalty=5.0, confidence_threshold=0.5), False),
    ],
)
def test_each_regulariser_moves_what_it_is_defined_on(name: str, options: Regularisers, up: bool) -> None:
    """From the same start, 200 steps with it and without; the labels are learnt either way."""
    ended = {}
    for which in (options, PLAIN._replace(**{key: value for key, value in options._asdict().items()
                                              if key.endswith("threshold")})):  # fmt: skip
        logits, *rest = batch((20, [1, 3, 3, 0]), (12, [0, 4]), seed=1)
        logits.requires_grad_()
        optimizer = torch.optim.Adam([logits], 0.1)
        for _ in range(200):
            optimizer.zero_grad()
            losses = ctc_losses(logits, *rest, BLANK, which)
            losses["loss"].backward()
            optimizer.step()
        ended[which] = losses
    there, without = (float(losses[name]) for losses in ended.values())
    assert there > without * 1.05 if up else there < without * 0.95
    assert all(float(losses["ctc"]) < 2.0 for losses in ended.values())


def test_what_stands_behind_an_utterance_changes_nothing() -> None:
    logits, lengths, targets, target_lengths = batch((9, [1, 0]), (4, [3, 3]), (5, [1]), (0, []))
    padded = torch.nn.utils.rnn.pad_sequence(logits.split(lengths.tolist()), True, padding_value=1e9)
    found = ctc_losses(real_frames(padded, lengths), lengths, targets, target_lengths, BLANK, EACH["all"])
    targets[targets == -100] = 10**6
    again = ctc_losses(logits, lengths, targets, target_lengths, BLANK, EACH["all"])
    assert found == again


def test_batches_of_a_step_add_up_to_the_step() -> None:
    """However a step is shared out over batches and processes, its sums are those of the whole."""
    rows = [(9, [1, 0]), (4, [3, 3]), (30, [1, 4, 4, 0]), (2, [0, 0])]
    logits, lengths, targets, target_lengths = batch(*rows)
    mean_frames = float(lengths.sum()) / len(lengths)
    whole = ctc_losses(logits, lengths, targets, target_lengths, BLANK, EACH["all"])
    parts = logits.split(lengths.tolist())
    for shares in ([[0], [1, 3], [2]], [[2, 1], [3, 0]]):
        sums = dict.fromkeys(whole, 0.0)
        for share in shares:
            frames = torch.cat([parts[row] for row in share])
            found = ctc_losses(frames, lengths[share], targets[share], target_lengths[share], BLANK,
                               EACH["all"], mean_frames)  # fmt: skip
            sums = {name: value + float(found[name]) for name, value in sums.items()}
        assert sums == pytest.approx({name: float(value) for name, value in whole.items()}, abs=1e-6)


def test_too_few_frames_are_counted_and_poison_nothing() -> None:
    """Two frames cannot hold three labels, nor two equal ones: a blank has to stand between these."""
    logits, lengths, targets, target_lengths = given = batch(
        (8, [1, 0]), (2, [1, 0, 3]), (2, [3, 3]), (2, [3])
    )
    found = ctc_losses(*given, BLANK, PLAIN)
    assert float(found["infeasible"]) == 2
    logits.requires_grad_()
    (slope,) = torch.autograd.grad(ctc_losses(*given, BLANK, PLAIN)["loss"], logits)
    assert slope.isfinite().all()
    assert not slope[8:12].any()
    good = torch.cat([logits[:8], logits[12:]]).detach().requires_grad_()
    rest = [part[[0, 3]] for part in (lengths, targets, target_lengths)]
    alone = ctc_losses(good, *rest, BLANK, PLAIN)["loss"]
    assert float(alone.detach()) == pytest.approx(float(found["ctc"]))
    assert torch.allclose(torch.autograd.grad(alone, good)[0], torch.cat([slope[:8], slope[12:]]))


def test_an_utterance_of_blanks_is_an_empty_hypothesis() -> None:
    logits, *rest = batch((6, [1]), (5, [0]), (3, []))
    logits[:6, BLANK] += 20
    logits[6:, BLANK] -= 20
    found = ctc_losses(logits, *rest, BLANK, PLAIN)
    assert float(found["empty_share"]) == 1
    assert float(found["argmax_blank_share"]) == pytest.approx(3 * 6 / 14)


def test_an_utterance_without_frames_or_labels_is_no_number_but_nought() -> None:
    nothing = (torch.tensor([0]), torch.zeros(1, 0, dtype=torch.int64), torch.tensor([0]))
    frames = torch.zeros(0, 5, requires_grad=True)
    found = ctc_losses(frames, *nothing, BLANK, EACH["all"])
    found["loss"].backward()
    assert {name: float(value.detach()) for name, value in found.items() if value} == {"empty_share": 1.0}


def test_half_precision_is_computed_in_full() -> None:
    logits, *rest = batch((60, [1, 0, 3, 3]), classes=40)
    half = logits.bfloat16().requires_grad_()
    found = ctc_losses(half, *rest, BLANK, EACH["all"])
    wanted = ctc_losses(half.detach().double(), *rest, BLANK, EACH["all"])
    assert {value.dtype for value in found.values()} == {torch.float32}
    for name, value in wanted.items():
        assert float(found[name].detach()) == pytest.approx(float(value), rel=1e-5, abs=1e-6), name
    found["loss"].backward()
    assert half.grad.dtype == torch.bfloat16


def test_long_utterances_keep_their_digits() -> None:
    """1,500 frames of an untrained model: -log P is 10,000 nats. torch's own fp32 gradient is off by 1 %."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1500, 2000, generator=generator)
    labels = torch.randint(3, 2000, (1, 60), generator=generator)
    rest = (torch.tensor([1500]), labels, torch.tensor([60]))
    slopes = []
    for given in (logits, logits.double()):
        given.requires_grad_()
        slopes.append(torch.autograd.grad(ctc_losses(given, *rest, BLANK, PLAIN)["loss"], given)[0].double())
    theirs = torch.nn.functional.ctc_loss(logits.log_softmax(1)[:, None], labels, *rest[::2], blank=BLANK)
    ours, exact = slopes
    off = [
        float((slope - exact).abs().max() / exact.abs().max())
        for slope in (ours, torch.autograd.grad(theirs, logits)[0].double())
    ]
    assert off[0] < 2e-6
    assert off[1] > 5e-3  # else fp32 would do


def test_batches_that_cannot_be_are_refused() -> None:
    logits, lengths, targets, target_lengths = batch((6, [1, 0]))
    with pytest.raises(ValueError, match="found 5 frames, wanted the 6"):
        ctc_losses(logits[:5], lengths, targets, target_lengths, BLANK, PLAIN)
    with pytest.raises(ValueError, match="found the blank 2 among the labels"):
        ctc_losses(logits, lengths, torch.tensor([[1, 2]]), target_lengths, BLANK, PLAIN)

"""The staircase is a padded batch without the padding; batches are pure functions of seed and epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from networks import sampler, schedules, staircase
from networks.unit_lm import GptLM, LstmLM
from networks.unit_task import Stream, Units

K = 40


def sequences(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(0, K, length) for length in lengths]


def loss_and_gradient(
    model: torch.nn.Module, batch: staircase.Stairs, packed: bool
) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(batch, packed=packed), batch.targets)
    loss.backward()
    return float(loss), torch.cat([weight.grad.flatten() for weight in model.parameters()])


@pytest.mark.parametrize("lengths", [[1], [5, 5], [1, 1, 40, 77, 3, 12, 12, 100], list(range(1, 60))])
@pytest.mark.parametrize("min_steps", [1, 4, 16])
def test_loss_and_gradients_are_those_of_a_padded_batch(lengths: list[int], min_steps: int) -> None:
    torch.manual_seed(0)
    model = LstmLM(K, 16, 24, 2, dropout=0.0)
    given = sequences(lengths)
    padded = staircase.lay_out(given, K, staircase.WHOLE)
    stairs = staircase.lay_out(given, K, min_steps)
    assert len(padded.shapes) == 1
    assert torch.equal(padded.targets, stairs.targets)
    loss, gradient = loss_and_gradient(model, padded, packed=False)
    for batch, packed in ((stairs, False), (padded, True)):
        own_loss, own_gradient = loss_and_gradient(model, batch, packed)
        assert own_loss == pytest.approx(loss, abs=1e-6)
        torch.testing.assert_close(own_gradient, gradient, atol=1e-6, rtol=1e-4)


def test_against_plain_torch() -> None:
    """An ordinary padded LSTM with ignored targets, written out: nothing of ours but the weights."""
    torch.manual_seed(1)
    model = LstmLM(K, 8, 12, 2, dropout=0.0).double()
    given = sequences([3, 50, 21])
    inputs, targets = torch.zeros(3, 50, dtype=torch.long), torch.full((3, 50), -100)
    for row, units in enumerate(given):
        inputs[row, 0], inputs[row, 1 : len(units)] = K, torch.from_numpy(units[:-1])
        targets[row, : len(units)] = torch.from_numpy(units)
    hidden, _ = model.lstm(model.embedding(inputs).transpose(0, 1))
    logits = model.head(hidden.transpose(0, 1)).flatten(0, 1)
    wanted = torch.nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=-100)
    batch = staircase.lay_out(given, K, 4)
    found = torch.nn.functional.cross_entropy(model(batch), batch.targets)
    assert float(found) == pytest.approx(float(wanted), abs=1e-12)


def test_targets_know_their_sequence() -> None:
    given = sequences([4, 9, 2])
    batch = staircase.lay_out(given, K, 4)
    for index, units in enumerate(given):
        assert batch.targets[batch.sequences() == index].tolist() == units.tolist()


def test_little_is_padded() -> None:
    lengths = np.clip(np.random.default_rng(0).lognormal(5.2, 0.7, 32), 10, 788).astype(int).tolist()
    padded, stairs = (staircase.lay_out(sequences(lengths), K, steps) for steps in (staircase.WHOLE, 16))
    waste = [1 - len(batch.targets) / len(batch.inputs) for batch in (padded, stairs)]
    assert waste[0] > 0.4
    assert waste[1] < 0.05


@pytest.mark.parametrize("arch", ["lstm", "gpt2"])
def test_one_step_at_a_time_gives_the_same(arch: str) -> None:
    torch.manual_seed(0)
    model = LstmLM(K, 8, 12, 2, 0.0) if arch == "lstm" else GptLM(K, 64, 2, 0.0, max_units=64)
    (units,) = sequences([30])
    whole = model.double().eval()(staircase.lay_out([units], K, staircase.WHOLE))
    state, found = None, []
    for unit in [K, *units[:-1].tolist()]:
        logits, state = model.step(torch.tensor([unit]), state)
        found.append(logits[0])
    torch.testing.assert_close(torch.stack(found), whole)


LENGTHS = np.random.default_rng(3).integers(1, 300, 500)
WAYS = [{"batch_size": 16}, {"batch_size": 16, "by_length": False}, {"batch_size": 1, "batch_tokens": 1000},
        {"batch_size": 1, "batch_tokens": 1000, "padded": True}]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_an_epoch_has_each_sequence_once_and_is_a_function_of_seed_and_epoch(way: dict) -> None:
    first, again, next_epoch, other_seed = (
        [batch.tolist() for batch in sampler.batches(LENGTHS, seed, epoch, **way)]
        for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0))
    )
    assert first == again
    assert first not in (next_epoch, other_seed)
    assert sorted(index for batch in first for index in batch) == list(range(500))


@pytest.mark.parametrize("padded", [True, False])
def test_the_budget_is_kept(padded: bool) -> None:
    for batch in sampler.batches(LENGTHS, 0, 0, 1, batch_tokens=1000, padded=padded):
        cost = LENGTHS[batch].max() * len(batch) if padded else LENGTHS[batch].sum()
        assert cost <= 1000 or len(batch) == 1


def test_shares_of_processes_are_the_batch() -> None:
    batch = np.arange(10)
    shares = [sampler.share(batch, LENGTHS, rank, 3) for rank in range(3)]
    assert sorted(np.concatenate(shares).tolist()) == batch.tolist()
    assert sampler.share(batch[:1], LENGTHS, 1, 2).size == 0


def test_the_stream_is_all_sequences_behind_start_symbols() -> None:
    given = sequences([5, 1, 30, 7, 2, 64])
    units = Units(range(6), np.array([len(one) for one in given]), 0, lambda file: given[file])
    order = np.array([3, 0, 5, 1, 4, 2])
    whole = np.concatenate([np.concatenate([[K], given[index]]) for index in order])
    for steps in (4, 16, 1000):
        blocks = Stream(units, order, steps, K)
        joined = np.concatenate([blocks[0][:1], *(blocks[index][1:] for index in range(len(blocks.lengths)))])
        assert joined.tolist() == whole.tolist()


def test_long_files_are_cut() -> None:
    given = sequences([10, 3])
    units = Units([0, 1], np.array([10, 3]), 4, lambda file: given[file])
    wanted = [given[0][:4], given[0][4:8], given[0][8:], given[1]]
    assert [units[index].tolist() for index in range(4)] == [part.tolist() for part in wanted]


def test_schedules() -> None:
    assert schedules.factor("inverse-sqrt", 999, 1000, 0) == 1.0
    assert schedules.factor("inverse-sqrt", 3999, 1000, 0) == 0.5
    assert schedules.factor("cosine", 100, 0, 100) == pytest.approx(0.0)
    assert schedules.factor("linear", 55, 10, 100) == 0.5
    assert [schedules.factor(name, 4, 10, 100) for name in schedules.NAMES] == [0.5] * 5

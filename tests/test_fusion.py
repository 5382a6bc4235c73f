"""The fusion model by its mathematics: time runs one way, what is hidden stays hidden, scores are what they
say.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from media.dataset import DatasetError, batch_of, schema_of
from media.dataset_parts import Statistics
from media.emotions import LABELS, labels_of
from networks import fusion_loss, sampler
from networks.distributed import Group
from networks.fusion import MultimodalModel, Output
from networks.fusion_batch import MODALITIES, Batch, Example, collate
from networks.fusion_blocks import MLA, Attention, MultimodalLatentAttention
from networks.fusion_masks import draw
from networks.fusion_rows import Rows, columns_of, shape_of
from networks.fusion_task import CollapsedError, FusionTask
from toy_dataset import ARRAYS, toy_row

FUSIONS = ("latent", "concat", "cross")
CONFIG: dict[str, Any] = {
    "fusion": "latent",
    "modalities": list(MODALITIES),
    "reconstruct": list(MODALITIES[:-1]),
    "widths": {"mel": 80, "mfcc": 20, "contour": 3, "prosody": 7, "emotion": 28},
    "vocab_size": 60,
    "hidden_dim": 32,
    "latent_dim": 16,
    "num_heads": 4,
    "num_layers": 2,
    "transformer_layers": 2,
    "max_seq_length": 32,
    "num_speakers": 3,
    "window_size": 512,
    "audio_stride": 4,
    "causal": True,
    "dropout": 0.0,
    "mask_rate": 0.3,
    "audio": "real",
    "retrieves": True,
    "seed": 1,
    "batch_size": 4,
    "group_by_length": True,
    "grad_accum_steps": 1,
}
ROWS = [toy_row(index, index % 4, audio=index != 3) for index in range(8)]


def statistics() -> dict[str, Any]:
    found = Statistics(ARRAYS, len(LABELS))
    for row in ROWS:
        found.add(row)
    return found.figures()


STATISTICS = statistics()


def model(**changes: Any) -> MultimodalModel:
    torch.manual_seed(0)
    return MultimodalModel({**CONFIG, **changes}).eval()


def examples(rows: Sequence[dict[str, Any]] = tuple(ROWS), **changes: Any) -> list[Example]:
    reader = Rows(STATISTICS, {**CONFIG, **changes})
    return [reader.of_row(row) for row in rows]


def masks(
    found: Sequence[Example], rate: float, seed: int = 0, names: Sequence[str] = MODALITIES
) -> list[Any]:
    return [
        draw(np.random.default_rng([seed, at]), names, -(-one.frames // 4), len(one.text), rate)
        for at, one in enumerate(found)
    ]


def batch(rows: Sequence[dict[str, Any]] = tuple(ROWS), rate: float = 0.0, audio: str = "real") -> Batch:
    found = examples(rows)
    return collate(found, masks(found, rate), 4, CONFIG["num_speakers"], audio)


def states(made: MultimodalModel, given: Batch) -> Output:
    with torch.no_grad():
        return made(given)


# ---- time


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("what", ["audio", "text"])
def test_nothing_said_later_changes_what_came_before(fusion: str, what: str) -> None:
    """Also through the layers: a change of frames from step 5 on, or of tokens from time 5 on."""
    given = batch(ROWS[:2])
    changed = given
    if what == "audio":
        later = {name: values.clone() for name, values in given.shown.items()}
        for name in ("mel", "mfcc", "contour"):
            later[name][:, 4 * 5 :] += 1.0
        changed = given._replace(shown=later)
    else:
        changed = given._replace(tokens=torch.where(given.token_times > 5, 4, given.tokens))
    for causal in (True, False):
        made = model(fusion=fusion, causal=causal)
        one, two = states(made, given), states(made, changed)
        early = one.valid & (one.times <= 5)
        late = one.valid & (one.times > 5)
        assert not torch.allclose(one.states[late], two.states[late], atol=1e-3)
        assert torch.allclose(one.states[early], two.states[early], atol=1e-5) == causal


def test_a_token_stands_where_it_would_end() -> None:
    """n tokens over T steps: the i-th at T (i + 1) / n; without audio a step each; context before all."""
    given = batch([ROWS[0], ROWS[3]])
    for row, source in enumerate((ROWS[0], ROWS[3])):
        tokens, context = len(source["tokens"]), len(source["context_tokens"])
        steps = -(-source["frames"] // 4) or tokens
        expected = [-1.0] * context + [steps * (at + 1) / tokens for at in range(tokens)]
        assert given.token_times[row, : len(expected)].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_window_ends_what_a_token_looks_back_to(fusion: str) -> None:
    """One layer, a window of 3 steps: the first frame reaches no token beyond it; a wide one lets it."""
    given = batch(ROWS[:2])
    louder = {name: values.clone() for name, values in given.shown.items()}
    louder["mel"][:, :4] += 1.0
    for window, reaches in ((3, False), (512, True)):
        made = model(fusion=fusion, num_layers=1, window_size=window)
        one, two = states(made, given), states(made, given._replace(shown=louder))
        far = one.valid & (one.times > 5) & one.times.isfinite()
        if fusion == "cross":  # text alone looks at audio, then audio at that text
            far[:, : -given.tokens.shape[1]] = False
        assert (not torch.allclose(one.states[far], two.states[far], atol=1e-6)) == reaches
        summary = one.times.isinf()  # sees all, however far
        assert fusion == "cross" or not torch.allclose(one.states[summary], two.states[summary], atol=1e-6)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_padding_changes_nothing(fusion: str) -> None:
    made = model(fusion=fusion)
    together = states(made, batch())
    for row in (0, 3, 5):
        alone = states(made, batch([ROWS[row]]))
        for name, values in alone.found.items():
            shape = tuple(map(slice, values.shape[1:]))
            assert torch.allclose(values[0], together.found[name][(row, *shape)], atol=1e-5), name
        assert torch.allclose(alone.embedding()[0], together.embedding()[row], atol=1e-5)


def test_a_row_that_lacks_all_that_is_read_costs_nothing() -> None:
    """Text alone, for a model of mfcc and speakers."""
    names = ["mfcc", "speaker"]
    found = examples([ROWS[0], ROWS[3]], modalities=names)
    given = collate(found, masks(found, 0.3, names=names), 4, 3)
    made = model(modalities=names, reconstruct=["mfcc"])
    both = fusion_loss.losses(states(made, given), given)["loss"]
    (one,) = found[:1]
    alone = collate([one], masks([one], 0.3, names=names), 4, 3)
    assert float(both) == pytest.approx(
        float(fusion_loss.losses(states(made, alone), alone)["loss"]), rel=1e-4
    )


@pytest.mark.parametrize("rows", [[3, 3], [3], [0, 3]])
def test_text_alone_and_audio_alone_are_utterances_too(rows: list[int]) -> None:
    silent = [
        {**ROWS[row], "tokens": None, "context_tokens": None} if row == 0 else ROWS[row] for row in rows
    ]
    given = batch(silent, rate=0.5)
    output = model()(given)
    losses = fusion_loss.losses(output, given)
    losses["loss"].backward()
    assert torch.isfinite(torch.stack(list(losses.values()))).all()


# ---- what is hidden


@pytest.mark.parametrize("fusion", FUSIONS)
def test_what_is_hidden_never_reaches_the_model(fusion: str) -> None:
    """Another value behind each mask, and every output is the same to the bit; in the open, it is not."""
    given = batch(rate=0.4)
    made = model(fusion=fusion)
    before = states(made, given).states
    for name in MODALITIES:
        hide = given.hide[name]
        shown, tokens, speaker = (
            {key: values.clone() for key, values in given.shown.items()},
            given.tokens,
            given.speaker,
        )
        for hidden in (True, False):
            where = hide == hidden
            if name == "text":
                changed = given._replace(tokens=torch.where(where & given.valid["text"], 5, tokens))
            elif name == "speaker":
                changed = given._replace(speaker=torch.where(where, (speaker + 1) % 4, speaker))
            else:
                if name in ("mel", "mfcc", "contour"):
                    where = where.repeat_interleave(4, 1)[..., None]
                else:
                    where = where[:, None]
                other = {**shown, name: torch.where(where, shown[name] + 3.0, shown[name])}
                changed = given._replace(shown=other)
            assert torch.equal(before, states(made, changed).states) == hidden, (name, hidden)


def test_masks_hide_about_as_much_as_asked_and_never_all() -> None:
    found = [draw(np.random.default_rng([1, row]), MODALITIES, 60, 12, 0.3) for row in range(600)]
    for one in found:
        assert not all(mask[1:].all() if name == "text" else mask.all() for name, mask in one.items())
        assert not one["text"][0], "<bos> is shown"
        assert np.array_equal(one["mel"], one["mfcc"]), "one would give the other away"
    whole = np.mean([one["emotion"][0] for one in found])
    assert 0.3 < whole < 0.5
    within = [one["mel"].mean() for one in found if not one["mel"].all()]
    assert 0.25 < np.mean(within) < 0.35
    again = draw(np.random.default_rng([1, 7]), MODALITIES, 60, 12, 0.3)
    assert all(np.array_equal(found[7][name], mask) for name, mask in again.items()), "of seed and row alone"


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_masks_at_both_ends(rate: float) -> None:
    one = draw(np.random.default_rng(0), MODALITIES, 10, 5, rate)
    hidden = {name: mask[1:].all() if name == "text" else mask.all() for name, mask in one.items()}
    assert not any(hidden.values()) if rate == 0 else hidden["mel"] and hidden["text"]


def test_another_audio_is_shown_and_the_own_one_wanted() -> None:
    real, shuffled, zero = (batch(audio=audio) for audio in ("real", "shuffled", "zero"))
    for name in ("mel", "mfcc", "contour", "prosody"):
        assert torch.equal(real.target[name], shuffled.target[name])
        assert torch.equal(real.target[name], zero.target[name])
        assert not zero.shown[name].any()
        assert not torch.equal(shuffled.shown[name], real.shown[name])
    assert torch.equal(shuffled.shown["emotion"], real.shown["emotion"])
    frames = min(ROWS[0]["frames"], ROWS[1]["frames"])
    assert torch.equal(shuffled.shown["mel"][0, :frames], real.shown["mel"][1, :frames])
    last = len(ROWS) - 1  # the last one takes the first's
    frames = min(ROWS[last]["frames"], ROWS[0]["frames"])
    assert torch.equal(shuffled.shown["mel"][last, :frames], real.shown["mel"][0, :frames])
    assert not batch([ROWS[0]], audio="shuffled").shown["mel"].any(), "nobody else there"


# ---- losses and scores


def test_the_loss_is_the_mean_over_what_is_there_then_the_sum_over_utterances() -> None:
    given = batch(rate=0.3)
    output = states(model(), given)
    found = fusion_loss.losses(output, given)
    expected = 0.0
    for row, source in enumerate(ROWS):
        frames = source["frames"]
        if frames:
            error = (output.found["mel"][row, :frames] - given.target["mel"][row, :frames]) ** 2
            expected += float(error.mean())
    assert float(found["loss_mel"]) == pytest.approx(expected, rel=1e-5)
    voiced = ROWS[1]["f0_hz"] > 0
    count = voiced.sum() + 2 * len(voiced)
    assert int(given.valid["contour"][1].sum()) == count, "an unvoiced frame has no pitch to miss"
    parts = [value for name, value in found.items() if name != "loss"]
    assert float(found["loss"]) == pytest.approx(float(sum(parts)), rel=1e-6)


def test_sums_of_parts_are_the_sum_of_the_whole() -> None:
    """So neither the size of batches nor the number of processes changes a loss or a score."""
    made, found = model(), examples()
    hidden = masks(found, 0.3)
    whole = collate(found, hidden, 4, 3)
    parts = [collate(found[at : at + 3], hidden[at : at + 3], 4, 3) for at in (0, 3, 6)]
    sums = fusion_loss.sums_of(states(made, whole), whole)
    for name, value in sums.items():
        added = sum(fusion_loss.sums_of(states(made, part), part)[name] for part in parts)
        assert torch.allclose(value, added, rtol=1e-4, atol=1e-5), name


def test_r2_by_hand() -> None:
    """R² = 1 - SSE / SST around 0, the mean of training, apart for what was shown and what was hidden."""
    given = batch(rate=0.4)
    output = states(model(), given)
    sums = fusion_loss.sums_of(output, given)
    scores = fusion_loss.scores({name: value.tolist() for name, value in sums.items()})
    there, hidden = given.valid["prosody"].numpy(), given.hide["prosody"].numpy()[:, None]
    target, found = given.target["prosody"].numpy(), output.found["prosody"].numpy()
    for name, chosen in (("r2_prosody", there & ~hidden), ("r2_masked_prosody", there & hidden)):
        sse, sst = ((found - target)[chosen] ** 2).sum(), (target[chosen] ** 2).sum()
        assert scores[name] == pytest.approx(1 - sse / sst, rel=1e-5)
    right = (output.found["text"].argmax(-1) == given.tokens) & given.valid["text"] & given.hide["text"]
    tokens = given.valid["text"] & given.hide["text"]
    assert scores["accuracy"] == pytest.approx(float(right.sum() / tokens.sum()))


def test_a_text_finds_its_audio_only_where_it_expects_it() -> None:
    given = batch()
    output = states(model(), given)
    wanted = {name: given.target[name] for name in ("mel", "mfcc", "contour", "prosody")}
    perfect = output._replace(found={**output.found, **wanted})
    audible = sum(row["frames"] > 0 for row in ROWS)
    assert fusion_loss.retrieved(perfect, given).tolist() == [audible, audible]
    same = {name: torch.zeros_like(values) for name, values in output.found.items()}
    assert fusion_loss.retrieved(output._replace(found=same), given)[0] <= 1
    one = batch([ROWS[0]])
    assert fusion_loss.retrieved(states(model(), one), one).tolist() == [0, 0], "alone, it is no feat"


def test_labels_of_both_kinds_of_emotion() -> None:
    assert labels_of([[0.0] * 27 + [1.0]], LABELS) == ["neutral"]
    scores = [[0.4, 1, 0, 0], [-0.4, 9, 0, 0], [0, 9, 9, 9]]
    found = labels_of(scores, ["score", "positive", "neutral", "negative"])
    assert found == ["positive", "negative", "neutral"]


# ---- sizes


def test_the_latent_is_what_latent_attention_saves() -> None:
    """Queries and output of width x latent instead of width², keys and values out of one latent vector."""
    width, latent = 32, 16
    assert MLA is MultimodalLatentAttention
    layers = {"latent": MLA(width, latent, 4, 0.0), "concat": Attention(width, 4, 0.0)}
    count = {name: sum(weight.numel() for weight in layer.parameters()) for name, layer in layers.items()}
    assert count["concat"] == 4 * width * width + 4 * width
    matrices = 3 * width * latent + 2 * latent * latent
    assert count["latent"] == matrices + latent + 2 * latent + 2 * latent + width
    assert count["latent"] < 0.52 * count["concat"], "half the width, half the weights"


def test_all_fusions_take_and_give_the_same() -> None:
    given = batch(rate=0.3)
    shapes = [
        {name: values.shape for name, values in states(model(fusion=fusion), given).found.items()}
        for fusion in FUSIONS
    ]
    assert shapes[0] == shapes[1] == shapes[2]
    assert set(shapes[0]) == set(MODALITIES) - {"speaker"}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_weight_learns(fusion: str) -> None:
    made = model(fusion=fusion)
    given = batch(rate=0.4)
    fusion_loss.losses(made(given), given)["loss"].backward()
    idle = [name for name, weight in made.named_parameters() if weight.grad is None]
    assert not idle


# ---- rows


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mel": np.full((ROWS[0]["frames"], 80), np.nan, "<f2")}, "row00000: mel holds NaN"),
        ({"mel": np.full((ROWS[0]["frames"], 80), np.inf, "<f2")}, "row00000: mel holds an infinite number"),
        ({"mel": ROWS[0]["mel"][:-1]}, r"row00000: found mel of shape \(\d+, 80\), wanted"),
        ({"mel": ROWS[0]["mel"][:, :40]}, r"row00000: found mel of shape \(\d+, 40\), wanted"),
        ({"prosody": [float("nan")] * 7}, "row00000: prosody holds NaN"),
        ({"emotion": [0.5] * 4}, "row00000: found 4 values of emotion, wanted 28"),
        ({"tokens": [2, 60, 3]}, "row00000: found token 60, wanted 0 to 59"),
    ],
)
def test_a_broken_row_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        examples([{**ROWS[0], **change}])


def test_a_part_without_a_column_is_told() -> None:
    whole = batch_of(ROWS[:2], schema_of(ARRAYS, len(LABELS)))
    reader = Rows(STATISTICS, CONFIG)
    assert [one.key for one in reader.of_batch(whole.select(columns_of(MODALITIES)))] == [
        "row00000",
        "row00001",
    ]
    lacking = whole.select([name for name in whole.schema.names if name != "prosody"])
    with pytest.raises(DatasetError, match="a part without prosody; its parts are of mixed schemas"):
        reader.of_batch(lacking)


def test_a_batch_and_its_rows_are_the_same() -> None:
    table = batch_of(ROWS[:4], schema_of(ARRAYS, len(LABELS)))
    for one, two in zip(Rows(STATISTICS, CONFIG).of_batch(table), examples(ROWS[:4])):
        assert one.key == two.key
        assert all(np.allclose(one.values[name], two.values[name], atol=1e-6) for name in one.values)


@pytest.mark.parametrize(
    ("lacks", "said"),
    [
        ({"arrays": {}}, "no array mel"),
        ({"emotion_names": []}, "no emotions"),
        ({"vocab_size": None}, "no tokens"),
    ],
)
def test_a_modality_that_is_not_there_is_told(lacks: dict[str, Any], said: str) -> None:
    data = {"arrays": ARRAYS, "emotion_names": list(LABELS), "vocab_size": 60, **lacks}
    with pytest.raises(DatasetError, match=said):
        shape_of(data, ["text", "mel", "emotion"])


def test_long_texts_are_cut_context_first() -> None:
    (one,) = examples([{**ROWS[0], "tokens": [2, *[5] * 20, 3], "context_tokens": [6] * 20}])
    assert (len(one.text), len(one.context)) == (22, 10)
    reader = Rows(STATISTICS, CONFIG)
    assert len(reader.of_row({**ROWS[0], "tokens": [5] * 40}).text) == 32
    assert reader.cut == 1


# ---- the task


class Reader:
    """Answers tickets out of memory."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.rows = rows
        self.schema = schema_of(ARRAYS, len(LABELS))

    def count(self, _split: str) -> int:
        return len(self.rows)

    def lengths(self, _split: str) -> np.ndarray:
        return np.array([row["frames"] or len(row["tokens"]) for row in self.rows])

    def batches(self, ticket: Any) -> Any:
        lengths = self.lengths("")
        if ticket.seed is None:
            plan = [
                np.arange(at, min(at + ticket.batch_size, len(lengths)))
                for at in range(0, len(lengths), ticket.batch_size)
            ]
        else:
            plan = sampler.batches(
                lengths, ticket.seed, ticket.epoch, ticket.batch_size, by_length=ticket.by_length
            )
        for numbers in plan[ticket.start : ticket.stop : ticket.every]:
            share = (
                sampler.share(numbers, lengths, ticket.rank, ticket.world)
                if ticket.world > 1 or ticket.seed is not None
                else numbers
            )
            yield batch_of([self.rows[row] for row in share], self.schema)


def task(rank: int = 0, world: int = 1, rows: Sequence[dict[str, Any]] = tuple(ROWS)) -> FusionTask:
    data = {"emotion_names": list(LABELS), "statistics": STATISTICS}
    return FusionTask(
        model(), Reader(rows), data, CONFIG, Group(rank, world, rank), torch.device("cpu"), print
    )


def test_a_step_is_the_same_from_wherever_it_is_reached() -> None:
    """Opened in the middle, and by two processes: the same utterances, the same of them hidden."""
    through = task()
    steps = [through.load(2, step) for step in range(through.steps_in(2))]
    (late,) = task().load(2, 1).batches
    for one, two in zip(steps[1].batches[0].hide.values(), late.hide.values()):
        assert torch.equal(one, two)
    whole = sum(float(through.loss(one)["loss"].detach()) for one in steps[1].batches)
    shares = [task(rank, 2).load(2, 1).batches[0] for rank in range(2)]
    assert sum(float(through.loss(one)["loss"].detach()) for one in shares) == pytest.approx(whole, rel=1e-4)


def test_a_process_without_a_row_has_no_batch() -> None:
    step = task(rank=1, world=2, rows=ROWS[:1]).load(0, 0)
    assert (step.batches, step.count, step.cells) == ([], 1, 0)


def test_processes_validate_together_as_one_does(tmp_path: Path) -> None:
    rows = [toy_row(index, index % 4) for index in range(70)]
    one, *two = [task(rank, world, rows) for rank, world in ((0, 1), (0, 2), (1, 2))]
    with torch.no_grad():
        sums, parts = one.validate(), [part.validate() for part in two]
    assert all(list(part) == list(sums) for part in parts), "they are added up in this order"
    for name, value in sums.items():
        assert torch.allclose(value, sum(part[name] for part in parts), rtol=1e-6, atol=1e-6), name


def test_a_collapse_is_loud() -> None:
    collapsed = task()
    with torch.no_grad():
        fine = collapsed.figures({name: value.tolist() for name, value in collapsed.validate().items()})
        assert fine["embedding_spread"] > 0.01
        collapsed.model.norm.weight.zero_()
        collapsed.model.norm.bias.fill_(1.0)
        sums = {name: value.tolist() for name, value in collapsed.validate().items()}
    with pytest.raises(CollapsedError, match=r"over 8 utterances .* it says the same of all"):
        collapsed.figures(sums)

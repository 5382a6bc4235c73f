"""AdamW (Loshchilov & Hutter 2019), with a learning rate of its own for each part of a model."""

from __future__ import annotations

from torch import nn, optim

from networks.run_state import Options


def adamw(model: nn.Module, rates: dict[str, float], options: Options) -> tuple[optim.AdamW, list[float]]:
    """Return the optimizer of a model's weights, and the factor of the learning rate of each of its groups.

    `rates` has factors by the beginning of weights' names. Matrices are decayed, biases and norms are not.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            rate = next((rate for start, rate in rates.items() if name.startswith(start)), 1.0)
            groups.setdefault((rate, weight.dim() < 2), []).append(weight)
    kinds = sorted(groups)  # the same order each time: checkpoints know groups by their place
    decays = [0.0 if is_vector else options.weight_decay for _, is_vector in kinds]
    optimizer = optim.AdamW(
        [{"params": groups[kind], "weight_decay": decay} for kind, decay in zip(kinds, decays)],
        lr=options.learning_rate,
        betas=(options.beta1, options.beta2),
        fused=True,
    )
    return optimizer, [rate for rate, _ in kinds]

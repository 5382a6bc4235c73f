"""How much memory a training step takes, found without having it: the step is run on tensors that have
shapes but no numbers.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ADAM_MOMENTS = 2  # numbers a weight that AdamW keeps


class Bytes(NamedTuple):
    """What a training step holds at most: `activations` is all that is neither weight, gradient nor moment
    (outputs kept for the backward pass, weights in half precision, logits and their gradient).
    """

    weights: int
    gradients: int
    moments: int
    activations: int

    def total(self) -> int:
        """Return the bytes at the peak."""
        return sum(self)


class Live(TorchDispatchMode):
    """Counts the bytes of tensors made while it is entered that are alive: `now`, and the most there ever
    were, `peak`. What a model holds itself is not counted, nor are views of it.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.now = self.peak = 0
        held = [*model.parameters(), *model.buffers()]
        self.own = {id(storage): storage for storage in (tensor.untyped_storage() for tensor in held)}
        self.sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return found

    def _add(self, storage: Any) -> None:
        key = id(storage)
        if key not in self.sizes and key not in self.own:
            self.sizes[key] = storage.nbytes()
            self.now += self.sizes[key]
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        self.now -= self.sizes.pop(key)


def training_bytes(
    build: Callable[[], tuple[torch.nn.Module, Callable[[], Tensor]]], precision: torch.dtype | None
) -> Bytes:
    """Return the memory of training steps with AdamW and gradient accumulation.

    `build()` gives a model in training mode and a function that computes the loss of a batch; both are made
    and run without memory, so any size can be asked for. `precision` is that of autocast, None for float32.
    Two batches are counted, the second meeting the gradients of the first. Sizes are those of the kernels of
    a CPU: a GPU's differ by a few percent, and its driver takes some 300 to 500 MB more.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        model, loss = build()
        sizes = {weight: weight.numel() * weight.element_size() for weight in model.parameters()}
        buffers = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
        trained = sum(size for weight, size in sizes.items() if weight.requires_grad)
        with Live(model) as live:
            for _ in range(2):
                live.peak = live.now
                with torch.autocast("cpu", precision or torch.bfloat16, enabled=precision is not None):
                    value = loss()
                value.backward()
                del value
    return Bytes(sum(sizes.values()) + buffers, trained, ADAM_MOMENTS * trained, live.peak - trained)

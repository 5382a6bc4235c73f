"""Reading others' checkpoints without trusting them: tensors and plain values only, each key accounted for.

`torch.load(weights_only=True)` refuses every class that is not on its list. fairseq's files hold two more,
its Dictionary and argparse's Namespace; for these an inert stand-in is read, so no code of a file ever runs.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Iterable
from typing import Any

import torch

State = dict[str, torch.Tensor]


class WeightsError(ValueError):
    """A checkpoint that cannot be used; the message says which, what was found and what was wanted."""


class Inert:
    """Stands for a class of another program: takes any state and does nothing with it."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


STAND_INS = ("fairseq.data.dictionary.Dictionary", "argparse.Namespace")


def read_weights(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the top level of a .pt file; WeightsError where it is damaged or asks for any other class."""
    try:
        content = _load(path)
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}; wanted a checkpoint") from error
    except pickle.UnpicklingError as error:
        reason = " ".join(str(error).split())
        asked = re.search(r"GLOBAL (\S+)", reason)
        why = f"it asks for {asked[1]}, which could run code" if asked else f"damaged: {reason[:200]}"
        raise WeightsError(f"{path}: refused: {why}; wanted tensors and plain values") from error
    except Exception as error:  # a cut file raises whatever its bytes lead to
        first = (str(error).splitlines() or [""])[0][:200]
        raise WeightsError(
            f"{path}: damaged: {type(error).__name__}: {first}; wanted a PyTorch checkpoint: copy it again"
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds {type(content).__name__}; wanted a dictionary of tensors")
    return content


def _load(path: str | os.PathLike[str]) -> Any:
    if hasattr(torch.serialization, "safe_globals"):
        with torch.serialization.safe_globals([(type(name, (Inert,), {}), name) for name in STAND_INS]):
            return torch.load(path, map_location="cpu", weights_only=True)
    return torch.load(path, map_location="cpu", pickle_module=Restricted)  # torch 1.12, environment `sts`


class Restricted:
    """A pickle module for a PyTorch that knows no `weights_only`: finds what makes tensors, and stand-ins."""

    class Unpickler(pickle.Unpickler):
        """Refuses every other name."""

        def find_class(self, module: str, name: str) -> Any:
            if f"{module}.{name}" in STAND_INS:
                return type(name, (Inert,), {})
            tensor = module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_parameter")
            kind = module == "torch" and (name.endswith("Storage") or name.startswith(("float", "int")))
            if tensor or kind or (module, name) == ("collections", "OrderedDict"):
                return super().find_class(module, name)
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")

    @staticmethod
    def load(file: Any, **options: Any) -> Any:
        """As pickle.load, which files from before torch 1.6 are read with."""
        return Restricted.Unpickler(file, **options).load()


def tensors_of(content: dict[str, Any], key: str, path: str | os.PathLike[str]) -> State:
    """Return the state dict under `key` of a checkpoint, as float32 (integers stay)."""
    state = content.get(key)
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(
            f"{path}: no dictionary of tensors under {key!r}; its keys are {some(map(str, content))}"
        )
    bad = [name for name, value in state.items() if not torch.isfinite(value.float()).all()]
    if bad:
        raise WeightsError(f"{path}: NaN or infinite weights in {some(bad)}; copy the file again")
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def fold_weight_norm(state: State, keep_dim: int, path: str | os.PathLike[str]) -> State:
    """Return `state` with every weight_g, weight_v pair as one weight = g · v / |v| (norm over all dimensions
    but `keep_dim`); also of the names that newer versions of PyTorch write.
    """
    folded = dict(state)
    for name in state:
        if name.endswith(".weight_v"):
            base, gain = name[: -len("_v")], name[:-1] + "g"
        elif name.endswith(".parametrizations.weight.original1"):
            base, gain = name.replace(".parametrizations.weight.original1", ".weight"), name[:-1] + "0"
        else:
            continue
        if gain not in state:
            raise WeightsError(f"{path}: missing {gain}, which belongs to {name}")
        v, g = folded.pop(name), folded.pop(gain)
        wanted = tuple(size if dim == keep_dim % v.dim() else 1 for dim, size in enumerate(v.shape))
        if tuple(g.shape) != wanted:
            raise WeightsError(f"{path}: {gain} has shape {tuple(g.shape)}, wanted {wanted}")
        folded[base] = torch._weight_norm(v, g, keep_dim)  # noqa: SLF001 (the kernel itself: same bits)
    return folded


def fill(module: torch.nn.Module, state: State, path: str | os.PathLike[str]) -> None:
    """Load `state` into `module`, every key and none more, or raise a WeightsError that names them."""
    own = module.state_dict()
    problems = [f"missing {name}" for name in own if name not in state]
    problems += [f"unknown {name}" for name in state if name not in own]
    problems += [
        f"{name} has shape {tuple(state[name].shape)}, wanted {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    if problems:
        raise WeightsError(f"{path}: not every weight fits, and none is left random: {some(problems)}")
    module.load_state_dict(state)


def shape_of(state: State, name: str, dims: int, path: str | os.PathLike[str]) -> tuple[int, ...]:
    """Return the shape of a weight that must be there with so many dimensions."""
    if name not in state:
        raise WeightsError(f"{path}: missing {name}")
    shape = tuple(state[name].shape)
    if len(shape) != dims:
        raise WeightsError(f"{path}: {name} has shape {shape}, wanted {dims} dimensions")
    return shape


def some(names: Iterable[str], most: int = 8) -> str:
    """Return the first of many names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

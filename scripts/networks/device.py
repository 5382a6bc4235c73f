"""The device that a user names."""

from __future__ import annotations

import torch


class DeviceError(ValueError):
    """A device that is not here; the message says what to type."""


def choose(name: str) -> str:
    """Return cpu, cuda or cuda:1 for a name, of which `auto` is a GPU where there is one."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(
            f"--device {name}: PyTorch finds no GPU here; wanted cpu, or a node that has one (--gres=gpu:1)"
        )
    try:
        torch.device(name)
    except RuntimeError as error:
        raise DeviceError(
            f"--device {name}: PyTorch knows no such device; wanted cpu, cuda or cuda:1"
        ) from error
    return name

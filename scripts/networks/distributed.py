"""Several processes, one run: under torchrun, or one SLURM task a GPU by srun; gloo on CPUs, nccl on GPUs."""

from __future__ import annotations

import os
import re
import subprocess
from functools import lru_cache
from itertools import count
from typing import Any, Callable, NamedTuple, TypeVar

import torch
from torch import Tensor, distributed

from networks.device import choose

PORTS, FIRST_PORT = 20_000, 20_000
T = TypeVar("T")
_RUNS = count()


class Group(NamedTuple):
    """Which of how many processes this is."""

    rank: int
    world: int
    local_rank: int

    def sum(self, values: Tensor) -> Tensor:
        """Add a tensor up over all processes, in place."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values

    def add_up(self, parameters: list[Tensor], sums: dict[str, Tensor], stop: bool) -> bool:
        """Add gradients, named sums and the wish to stop over the processes, in one message; return whether
        any wants to stop.

        Not DistributedDataParallel: it groups gradients by the order it saw them in, which a resumed run
        does not know; here the layout is fixed.
        """
        if self.world == 1:
            return stop
        for weight in parameters:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        told = torch.tensor(float(stop), device=parameters[0].device)
        extra = torch.stack([*sums.values(), told])
        flat = self.sum(torch.cat([*(weight.grad.flatten() for weight in parameters), extra]))
        *gradients, extra = flat.split([*(weight.numel() for weight in parameters), len(extra)])
        for weight, gradient in zip(parameters, gradients):
            weight.grad.copy_(gradient.view_as(weight))
        sums.update(zip(sums, extra))
        return bool(extra[-1] > 0)

    def union(self, names: list[str]) -> list[str]:
        """Return the names of all processes, sorted by who first has them: the same list in each."""
        if self.world == 1:
            return names
        every: list[list[str]] = [[] for _ in range(self.world)]
        distributed.all_gather_object(every, names)
        return list(dict.fromkeys(name for some in every for name in some))

    def first_does(self, work: Callable[[], T], failure: type[Exception]) -> T:
        """Let the first process do something for all; return its result everywhere, or raise its failure
        everywhere.
        """
        if self.world == 1:
            return work()
        told: list[Any] = [None, None]
        caught = None
        if self.rank == 0:
            try:
                told[1] = work()
            except BaseException as error:  # the others must not wait for ever
                caught, told[0] = error, f"{type(error).__name__}: {error}"
        distributed.broadcast_object_list(told)
        if caught is not None:
            raise caught
        if told[0] is not None:
            raise failure(f"the first process failed: {told[0]}")
        return told[1]

    def barrier(self) -> None:
        """Wait for all."""
        if self.world > 1:
            distributed.barrier()

    def leave(self) -> None:
        """End the group."""
        if self.world > 1:
            distributed.destroy_process_group()


def join(device: str) -> tuple[Group, torch.device]:
    """Return (group, device) of this process; DeviceError where there is no such device."""
    env = os.environ
    by_slurm = "RANK" not in env and int(env.get("SLURM_NTASKS") or 1) > 1 and "SLURM_STEP_ID" in env
    if by_slurm:
        env["RANK"], env["WORLD_SIZE"] = env["SLURM_PROCID"], env["SLURM_NTASKS"]
        env["LOCAL_RANK"] = env["SLURM_LOCALID"]
        env.setdefault("MASTER_ADDR", _first_host(env.get("SLURM_STEP_NODELIST") or env["SLURM_NODELIST"]))
        env.setdefault("MASTER_PORT", str(FIRST_PORT + int(env["SLURM_JOB_ID"]) % PORTS))
    group = Group(int(env.get("RANK", 0)), int(env.get("WORLD_SIZE", 1)), int(env.get("LOCAL_RANK", 0)))
    device = choose(device)
    if device == "cuda":
        device = f"cuda:{group.local_rank % max(1, torch.cuda.device_count())}"
        torch.cuda.set_device(device)
    if group.world > 1:
        store = distributed.PrefixStore(f"run_{next(_RUNS)}", _meeting(group.rank, group.world))
        backend = "nccl" if device.startswith("cuda") else "gloo"
        distributed.init_process_group(backend, store=store, rank=group.rank, world_size=group.world)
    return group, torch.device(device)


def lost_another(error: RuntimeError) -> bool:
    """Tell whether an error is that of a process whose counterpart is gone."""
    return isinstance(error, distributed.DistError) or "/gloo/" in str(error)


@lru_cache(maxsize=1)
def _meeting(rank: int, world: int) -> Any:
    """Return the store by which the processes find each other, one for all runs of theirs: in a second run
    they would take each other's addresses of the first one, hence a prefix for each.
    """
    store, _, _ = next(distributed.rendezvous("env://", rank, world))
    return store


def _first_host(nodes: str) -> str:
    """Return the address that SLURM has for the first of some nodes: names need not resolve."""
    name = _scontrol("hostnames", nodes).split()[0]
    address = re.search(r"NodeAddr=(\S+)", _scontrol("node", name))
    return address[1] if address else name


def _scontrol(*what: str) -> str:
    return subprocess.run(["scontrol", "show", *what], capture_output=True, check=True, text=True).stdout

"""What a task that was told to stop says and does last."""

from __future__ import annotations

from amela import slurm
from amela.log import log
from amela.signals import Stop


def leave(stop: Stop, place: slurm.Place, gained: bool, what: str, but: str = "") -> None:
    """Say why a task stops, and requeue it at the time limit, unless it gained no new record, step ….

    `but` says what the command that goes on differs in.
    """
    if not (stop.wants_requeue and place.job and slurm.in_batch_job()):
        log(f"stopped by {stop.name if stop else 'another process'}: the same command goes on from here{but}")
    elif not gained:
        log(
            f"stopped by SIGUSR1 without one new {what}: not requeued, as that would go on for ever; "
            "give it more time"
        )
    else:
        problem = slurm.requeue(place)
        log(f"stopped by SIGUSR1{': requeued' if problem is None else f', not requeued: {problem}'}")

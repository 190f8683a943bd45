"""Threads within a walker: each needs a core of its own, as they wait for each other by spinning."""

import os

from dsm_hpc.errors import InputError
from dsm_hpc.kernels.levels import OPENMP
from dsm_hpc.parallel.world import World


def check_threads(threads: int, world: World) -> None:
    """Raises InputError, on all ranks, unless each has so many cores, and those of a host suffice for all."""
    if threads == 1:
        return
    if not OPENMP:
        raise InputError(f"dynamics.threads = {threads}: this build has no OpenMP; allowed is 1")
    seats = world.share((world.host, _cores()))
    for host in dict.fromkeys(host for host, _ in seats):
        ranks = [cores for there, cores in seats if there == host]
        fewest, together = min(map(len, ranks)), len(frozenset().union(*ranks))
        if fewest < threads or together < threads * len(ranks):
            raise InputError(
                f"dynamics.threads = {threads}: {host} has {len(ranks)} rank{'s' * (len(ranks) > 1)}, which "
                f"may use {fewest} core{'s' * (fewest > 1)} each and {together} together: take fewer threads "
                f"or ranks, or give each rank {threads} cores "
                f"(mpirun --map-by slot:PE={threads}, srun --cpus-per-task={threads})"
            )


def _cores() -> frozenset[int]:
    """The cores that this process may use; all where the system does not say."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))

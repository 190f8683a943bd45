"""Threads within one walker: the same sweeps by one thread and by more, in turn."""

import os
from collections.abc import Iterator
from time import perf_counter_ns

from numpy.random import BitGenerator

from benchmarks.machines import BETA, REGIMES, STEP, draw, stream, student
from benchmarks.timing import print_head, print_row, quotients
from dsm_hpc.kernels import Student
from dsm_hpc.kernels.levels import OPENMP

MACHINES = (
    (2000, 20, 6, 400),
    (1000, 100, 4, 4000),
    (100, 100, 4, 10_000),
)
"""N, c, L, M: whole sweeps of them take seconds."""

SECONDS, LEAST = 6.0, 3
"""Pairs are added for so long, and at least so many are taken."""


def report() -> None:
    """Prints one row per machine and regime."""
    most = min(4, len(os.sched_getaffinity(0))) if OPENMP else 1
    numbers = range(2, most + 1)
    print(f"\n## Threads within a walker: ns per proposal, step {STEP}, greedy ({most} cores at most)\n")
    print_head(
        "N, c, L, M", "regime", "1 thread", *(f"1 / {threads} threads" for threads in numbers), "pairs"
    )
    for size in MACHINES if most > 1 else ():
        for regime in REGIMES:
            times = list(zip(*_pairs(size, regime, (1, *numbers)), strict=True))
            print_row(
                ", ".join(map(str, size)),
                regime,
                f"{sorted(times[0])[len(times[0]) // 2]:.0f}",
                *(quotients(times[0], more) for more in times[1:]),
                str(len(times[0])),
            )
    print(
        "\nWall-clock time; quotients of times: medians (min–max).  Other programs on the machine spoil them."
    )


def _pairs(
    size: tuple[int, int, int, int], regime: str, numbers: tuple[int, ...]
) -> Iterator[tuple[float, ...]]:
    """ns per proposal with each number of threads, of the same sweep."""
    of, spent, pairs, clone = draw(*size), 0.0, 0, 0
    while pairs < LEAST or spent < SECONDS * 1e9:
        walking = [(student(of, regime, clone, threads), stream(clone)) for threads in numbers]
        if regime != "learning":
            for one, moves in walking:
                one.sweep(moves, BETA, STEP, 1)
        while pairs < LEAST or spent < SECONDS * 1e9:
            order = walking if pairs % 2 else walking[::-1]
            times = [_timed(one, moves) for one, moves in order]
            yield tuple(times if pairs % 2 else times[::-1])
            spent, pairs = spent + sum(times) * of.wiring.size, pairs + 1
            assert all(one.energy == walking[0][0].energy for one, _ in walking)
            if regime == "learning":
                break
        clone += 1


def _timed(walking: Student, moves: BitGenerator) -> float:
    """ns per proposal of a sweep."""
    start = perf_counter_ns()
    walking.sweep(moves, BETA, STEP, 1)
    return (perf_counter_ns() - start) / walking.weights.size

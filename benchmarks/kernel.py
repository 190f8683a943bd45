"""Time per proposal of Student.sweep, of Numba and of NumPy, on the same trajectory."""

from collections.abc import Iterator
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import Baseline, NumbaMachine, NumpyMachine, PlainNumbaMachine
from benchmarks.machines import BETA, REGIMES, SIZES, STEP, draw, sample, stream, student, title
from benchmarks.timing import print_head, print_row, quotients, timed
from dsm_hpc.kernels import Student
from dsm_hpc.machine.sample import Sample

CHECKED = 200
"""Proposals of each reference machine that every baseline must decide as we do before it is timed."""

NUMPY_PROPOSALS = 512

SECONDS, MIN_PAIRS = 2.0, 3
"""Pairs are added for so long, and at least so many are taken."""


def report() -> None:
    """Prints the table."""
    for size in ((12, 5, 4, 70), (9, 9, 3, 130)):
        for regime in REGIMES:
            _check_to_the_end(draw(*size), regime)
    print("\n## Kernel: ns per proposal, step 0.3, greedy, random numbers included\n")
    print_head(
        "machine", "regime", "accepted", "dsm_hpc", "Numba", "Numba, plain", "NumPy", "Numba / dsm_hpc",
        "plain / dsm_hpc", "pairs",
    )  # fmt: skip
    for name in SIZES:
        for regime in REGIMES:
            _row(name, regime)
    print(
        "\nMedians; of ratios, medians (min–max) over pairs of sweeps that start from equal states with\n"
        "equal random numbers.  Learning: first sweeps of different random starts.  Solution space:\n"
        "successive sweeps at E = 0.  Numba: with our early exit, whole layers recomputed; plain: without.\n"
        f"NumPy: the first {NUMPY_PROPOSALS} proposals of the first sweep."
    )


def _row(name: str, regime: str) -> None:
    of = sample(name)
    for baseline in (NumpyMachine, NumbaMachine, PlainNumbaMachine):  # compiles Numba's loops, too
        _check_start(of, regime, baseline)
    size = of.wiring.size
    ours, numba, plain, accepted = zip(*_pairs(of, regime), strict=True)
    machine = NumpyMachine(student(of, regime))
    numpy, _ = timed(lambda: machine.run(stream(0), STEP, NUMPY_PROPOSALS))
    print_row(
        title(name),
        regime,
        f"{median(accepted):.3f}",
        f"{median(ours) / size:.0f}",
        f"{median(numba) / size:.0f}",
        f"{median(plain) / size:.0f}",
        f"{numpy / NUMPY_PROPOSALS:.0f}",
        quotients(numba, ours),
        quotients(plain, ours),
        str(len(ours)),
    )


def _pairs(of: Sample, regime: str) -> Iterator[tuple[float, float, float, float]]:
    """ns of a sweep of ours, of the same sweep by Numba with and without early exit, and its acceptance.

    A sweep is the shortest chunk that Student.sweep can run.
    """
    spent, pairs = 0.0, 0
    for ours, baselines, moves in _states(of, regime):
        before = moves.state
        time, flags = timed(lambda ours=ours, moves=moves: _sweep(ours, moves))
        numba, plain = (_baseline(machine, before, flags) for machine in baselines)
        yield time, numba, plain, float(flags.mean())
        spent, pairs = spent + time + numba, pairs + 1
        if pairs >= MIN_PAIRS and spent > SECONDS * 1e9:
            return


def _baseline(machine: Baseline, before: Any, flags: NDArray[np.uint8]) -> float:
    """ns of the same sweep by a baseline, with the random numbers from `before` on."""
    moves = np.random.PCG64DXSM()
    moves.state = before
    time, same = timed(lambda: machine.run(moves, STEP, machine.weights.size))
    assert np.array_equal(flags, same), f"{type(machine).__name__} took another path"
    return time


def _states(of: Sample, regime: str) -> Iterator[tuple[Student, list[Baseline], np.random.PCG64DXSM]]:
    """Equal states of all, and the random numbers to come: of one trajectory, or (learning) of many."""
    clone = 0
    while True:
        ours, moves = student(of, regime, clone), stream(clone)
        baselines: list[Baseline] = [NumbaMachine(ours), PlainNumbaMachine(ours)]
        yield ours, baselines, moves
        while regime != "learning":
            yield ours, baselines, moves
        clone += 1


def _sweep(of: Student, moves: np.random.BitGenerator) -> NDArray[np.uint8]:
    """One sweep of ours; returns which proposals were accepted."""
    flags = np.empty(of.weights.size, np.uint8)
    of.sweep(moves, BETA, STEP, 1, flags)
    return flags


def _check_start(of: Sample, regime: str, kind: type[Baseline]) -> None:
    """The baseline decides the first proposals as we do."""
    flags = _sweep(student(of, regime), stream(0))[:CHECKED]
    same = kind(student(of, regime)).run(stream(0), STEP, CHECKED)
    assert np.array_equal(flags, same), f"{kind.__name__} took another path"


def _check_to_the_end(of: Sample, regime: str) -> None:
    """Five sweeps of a small machine end in the same state."""
    ours, moves = student(of, regime), stream(0)
    baselines = [(kind(ours), stream(0)) for kind in (NumpyMachine, NumbaMachine, PlainNumbaMachine)]
    for _ in range(5):
        flags = _sweep(ours, moves)
        for baseline, theirs in baselines:
            assert np.array_equal(baseline.run(theirs, STEP, len(flags)), flags)
            assert np.array_equal(baseline.weights, ours.weights)
            assert baseline.energy == ours.energy

"""Ising weights: the kernel of bits, and the kernel that Gaussian machines of the same size get, in turn."""

from collections.abc import Callable, Iterator
from statistics import median

from benchmarks.machines import BETA, REGIMES, STEP, draw, stream
from benchmarks.timing import print_head, print_row, quotients, timed
from dsm_hpc.kernels import Student, kernels_for
from dsm_hpc.machine.sample import Sample
from dsm_hpc.machine.wiring import draw_weights
from dsm_hpc.rng import Purpose, generator

SIZES = (
    (20, 20, 10, 320),
    (64, 64, 5, 640),
    (100, 100, 5, 1000),
    (128, 128, 4, 1000),
    (128, 128, 2, 1000),
    (100, 3, 10, 200),
    (100, 10, 10, 200),
    (128, 40, 5, 400),
)
"""N, c, L, M."""

SECONDS, LEAST = 2.0, 3
"""Pairs are added for so long, and at least so many are taken."""

PROPOSALS = 200_000
"""That a pair at E = 0 makes at least."""


def report() -> None:
    """Prints one row per machine and regime."""
    print("\n## Ising weights: ns per proposal, greedy, random numbers included\n")
    print_head("N, c, L, M", "regime", "accepted", "bits", "other", "its ns", "other / bits", "pairs")
    for width, fan_in, depth, patterns in SIZES:
        of, other = draw(width, fan_in, depth, patterns, "ising"), kernels_for(depth, width, fan_in)[0]
        for regime in REGIMES:
            pairs = list(_pairs(of, regime, ("bits", other)))
            bits, theirs = ([times[place] for times, _ in pairs] for place in (0, 1))
            print_row(
                f"{width}, {fan_in}, {depth}, {patterns}",
                regime,
                f"{median(accepted for _, accepted in pairs):.2g}",
                f"{median(bits):.0f}",
                other,
                f"{median(theirs):.0f}",
                quotients(theirs, bits),
                str(len(pairs)),
            )
    print("\nMedians; of ratios, medians (min–max) over pairs of equal sweeps.")


def _pairs(of: Sample, regime: str, kernels: tuple[str, ...]) -> Iterator[tuple[tuple[float, ...], float]]:
    """ns per proposal with each kernel, and the acceptance."""
    spent, clone = 0.0, 0
    while clone < LEAST or spent < SECONDS * 1e9:
        walking = [_student(of, regime, clone, kernel) for kernel in kernels]
        if regime != "learning":
            for one in walking:  # what is kept comes into the caches
                one.sweep(stream(clone), BETA, STEP, 1)
        ordered = range(len(kernels)) if clone % 2 else range(len(kernels))[::-1]
        sweeps = 1 if regime == "learning" else 1 + PROPOSALS // walking[0].weights.size
        times = [0.0] * len(kernels)
        for place in ordered:
            walking[place].reset_counters()
            time, _ = timed(_sweeps(walking[place], clone, sweeps))
            times[place] = time / sweeps / walking[place].weights.size
            spent += time
        first = walking[0]
        if not all(first.same_state(one) for one in walking):
            raise AssertionError(f"{of.config.network}, {regime}: kernels {kernels} differ")
        yield tuple(times), first.accepted.sum() / first.proposed.sum()
        clone += 1


def _sweeps(student: Student, clone: int, sweeps: int) -> Callable[[], None]:
    return lambda: student.sweep(stream(clone), BETA, STEP, sweeps)


def _student(of: Sample, regime: str, clone: int, kernel: str) -> Student:
    """A student at the start of its regime; random starts differ by clone."""
    weights = of.teacher.weights
    if regime == "learning":
        weights = draw_weights(generator(1, Purpose.START, 0, 1, clone, 0), weights.shape, ising=True)
    train, patterns = of.teacher.train, of.config.patterns.train
    return Student(of.wiring, weights, train[0], train[-1], patterns, ising=True, kernel=kernel)

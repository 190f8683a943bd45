"""The reference machines A-D, and students of them in both regimes."""

from collections.abc import Callable, Iterator
from functools import cache

from numpy.random import PCG64DXSM

from dsm_hpc.config import Config
from dsm_hpc.kernels import Student
from dsm_hpc.machine.sample import Sample, draw_sample
from dsm_hpc.machine.wiring import draw_weights
from dsm_hpc.rng import Purpose, bit_generator, generator

BETA, STEP = float("inf"), 0.3
"""Greedy; the size of a step."""

TEST_PATTERNS = 10_000

SIZES = {"A": (20, 20, 10, 320), "B": (100, 10, 10, 200), "C": (100, 100, 5, 1000), "D": (1000, 20, 3, 400)}
"""N, c, L, M."""

REGIMES = ("learning", "solution space")
"""The first sweep from random weights; sweeps from the planted start, where E = 0."""


def title(name: str) -> str:
    """`A: N = 20, c = 20, L = 10, M = 320`"""
    width, fan_in, depth, patterns = SIZES[name]
    return f"{name}: N = {width}, c = {fan_in}, L = {depth}, M = {patterns}"


def draw(width: int, fan_in: int, depth: int, patterns: int, weights: str = "gaussian") -> Sample:
    """The first sample of a machine of this size."""
    config = {
        "seed": 1,
        "network": {"width": width, "depth": depth, "fan_in": fan_in, "weights": weights},
        "patterns": {"train": patterns, "test": TEST_PATTERNS},
        "schedule": {"sweeps": 0},
    }
    return draw_sample(Config.model_validate(config), 0)


@cache
def sample(name: str) -> Sample:
    """The sample of a reference machine."""
    return draw(*SIZES[name])


def student(of: Sample, regime: str, clone: int = 0, threads: int = 1) -> Student:
    """A student at the start of its regime; random starts differ by clone."""
    weights = of.teacher.weights
    if regime == "learning":
        weights = draw_weights(generator(1, Purpose.START, of.index, 1, clone, 0), weights.shape, ising=False)
    train = of.teacher.train
    return Student(
        of.wiring, weights, train[0], train[-1], of.config.patterns.train, ising=False, threads=threads
    )


def sweeps(of: Sample, regime: str) -> Iterator[tuple[Callable[[], None], int]]:
    """Sweep after sweep to be run, and its proposals.

    Learning: first sweeps of different starts.  Solution space: successive sweeps, the first not among them.
    """
    clone = 0
    while True:
        walking, moves = student(of, regime, clone), stream(clone)

        def sweep(walking: Student = walking, moves: PCG64DXSM = moves) -> None:
            walking.sweep(moves, BETA, STEP, 1)

        if regime != "learning":
            sweep()
        yield sweep, walking.weights.size
        while regime != "learning":
            yield sweep, walking.weights.size
        clone += 1


def stream(clone: int) -> PCG64DXSM:
    """The random numbers of a clone's moves."""
    return bit_generator(1, Purpose.MOVES, 0, 0, clone, 0)

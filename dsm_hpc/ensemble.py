"""Who is there: the walkers of a run and the pairs of clones, in the order of the results file."""

from dataclasses import dataclass
from itertools import combinations, product
from typing import NamedTuple

from dsm_hpc.config import Config


class LadderKey(NamedTuple):
    """The walkers that differ in temperature only."""

    sample: int
    start: int
    clone: int


class WalkerKey(NamedTuple):
    """Position of a walker on the axes sample, start, clone, beta of the results; keys sort in file order.

    Where replicas exchange temperatures, a replica keeps the key it began with, and its `seat` is the key of
    the temperature it has now.
    """

    sample: int
    start: int
    clone: int
    beta: int

    @property
    def ladder(self) -> LadderKey:
        return LadderKey(self.sample, self.start, self.clone)


@dataclass(frozen=True)
class Pair:
    """Two clones of one sample, start and beta; `index` is their place on the axis `pair`."""

    first: WalkerKey
    second: WalkerKey
    index: int

    @property
    def position(self) -> tuple[int, int, int, int]:
        """Position on the axes sample, start, pair, beta."""
        return self.first.sample, self.first.start, self.index, self.first.beta


def clone_pairs(config: Config) -> list[tuple[int, int]]:
    """The axis `pair`: (0, 1), (0, 2), ..., (1, 2), ..."""
    return list(combinations(range(config.ensemble.clones), 2))


def walker_count(config: Config) -> int:
    """Samples x starts x clones x betas."""
    ensemble = config.ensemble
    return ensemble.samples * len(ensemble.starts) * ensemble.clones * len(config.dynamics.ladder)


def walkers(config: Config) -> list[WalkerKey]:
    """All walkers, in file order."""
    ensemble = config.ensemble
    axes = (ensemble.samples, len(ensemble.starts), ensemble.clones, len(config.dynamics.ladder))
    return [WalkerKey(*indices) for indices in product(*map(range, axes))]


def pairs(config: Config) -> list[Pair]:
    """All pairs of clones, in file order."""
    ensemble = config.ensemble
    return [
        Pair(WalkerKey(sample, start, a, beta), WalkerKey(sample, start, b, beta), index)
        for sample in range(ensemble.samples)
        for start in range(len(ensemble.starts))
        for index, (a, b) in enumerate(clone_pairs(config))
        for beta in range(len(config.dynamics.ladder))
    ]

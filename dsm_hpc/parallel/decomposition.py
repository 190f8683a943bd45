"""Which rank has which walkers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.config import Config
from dsm_hpc.ensemble import WalkerKey, walkers

FOLLOWING_COST = 5.0
"""Proposals that have errors to win or lose cost about five times as much as those in the solution space,
where the first flipped pattern rejects them (measured on the machines of benchmarks/)."""

UNEVEN = 1.1
"""How much slower the slowest rank may be for the sake of ladders that are not split."""


@dataclass(frozen=True)
class Decomposition:
    """Walkers in file order, cut into one contiguous piece per rank."""

    walkers: tuple[WalkerKey, ...]
    first: tuple[int, ...]
    """first[r] : first[r + 1] are the walkers of rank r."""

    def of(self, rank: int) -> tuple[WalkerKey, ...]:
        return self.walkers[self.first[rank] : self.first[rank + 1]]

    @property
    def largest(self) -> int:
        """Walkers of the rank that has most."""
        return max(last - first for first, last in pairwise(self.first))

    def owners(self) -> dict[WalkerKey, int]:
        return {key: rank for rank in range(len(self.first) - 1) for key in self.of(rank)}


def decompose(config: Config, ranks: int) -> Decomposition:
    """Spreads the walkers of a run over the ranks as evenly as their cost allows, in fixed order."""
    keys = walkers(config)
    costs = [_cost(config, key) for key in keys]
    borders = split(costs, ranks)
    if config.dynamics.tempered:
        borders = _whole_ladders(costs, borders, len(config.dynamics.ladder))
    return Decomposition(tuple(keys), borders)


def _whole_ladders(costs: list[float], borders: tuple[int, ...], betas: int) -> tuple[int, ...]:
    """Borders between ladders, where that makes the slowest rank little slower: such ladders send nothing."""
    ranks = len(borders) - 1
    ladders = [sum(costs[first : first + betas]) for first in range(0, len(costs), betas)]
    whole = tuple(betas * border for border in split(ladders, ranks))
    if ranks > len(ladders) or _slowest(costs, whole) > UNEVEN * _slowest(costs, borders):
        return borders
    return whole


def _slowest(costs: list[float], borders: tuple[int, ...]) -> float:
    return max(sum(costs[first:last]) for first, last in pairwise(borders))


def split(costs: Sequence[float], ranks: int) -> tuple[int, ...]:
    """Cuts a sequence into contiguous pieces with the smallest possible largest sum.

    Returns ranks + 1 borders; with more ranks than items the last ranks get nothing.
    """
    total = np.concatenate([[0.0], np.cumsum(costs)])
    low, high = max(total[-1] / ranks, max(costs)), total[-1]
    for _ in range(60):  # bisection on the largest sum: exact to a relative 2^-60 of the total
        middle = (low + high) / 2
        low, high = (low, middle) if _borders(total, ranks, middle) else (middle, high)
    borders = _borders(total, ranks, high)
    assert borders is not None
    return _without_idle(borders)


def _borders(total: NDArray[np.float64], ranks: int, largest: float) -> list[int] | None:
    """Fills rank after rank up to `largest`; None if that leaves items over."""
    borders = [0]
    tolerance = 1e-12 * total[-1]
    for _ in range(ranks):
        limit = total[borders[-1]] + largest + tolerance
        borders.append(int(np.searchsorted(total, limit, side="right")) - 1)
    return borders if borders[-1] == len(total) - 1 else None


def _without_idle(borders: list[int]) -> tuple[int, ...]:
    """Gives one item to every rank while there are items: filling greedily can leave the last ranks empty."""
    items, ranks = borders[-1], len(borders) - 1
    for rank in range(ranks - 1, 0, -1):
        borders[rank] = min(borders[rank], max(items - (ranks - rank), min(rank, items)))
    return tuple(borders)


def _cost(config: Config, key: WalkerKey) -> float:
    """Relative cost of a sweep: cheap only where the walker stays at E = 0."""
    planted = config.ensemble.starts[key.start] == "planted"
    return 1.0 if planted and math.isinf(config.dynamics.ladder[key.beta]) else FOLLOWING_COST

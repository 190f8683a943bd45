"""Both branches along α: where they part and meet again, which one rules, where layers begin to learn.

The solutions are ordered: more examples never teach less.  The uninformed branch is therefore followed to
larger α, each solution being a start from below for the next one, and the informed branch to smaller α.
A branch ends (its spinodal) where it jumps; everything is located by bisection in α between solved points.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
from scipy.optimize import brentq

from dsm_hpc.errors import InputError
from dsm_hpc.theory.closures import closure_named
from dsm_hpc.theory.overlap import Array
from dsm_hpc.theory.priors import prior_named
from dsm_hpc.theory.saddle import SaddlePoint
from dsm_hpc.theory.solver import MOST_ALPHA, Branch, Solution, solve

SAME = 1e-6
"""Branches whose overlaps differ by less are one."""
JUMP = 0.05
"""A q(l) that changes by more within the tolerance of a bisection jumps."""
PRECISION = 1e-4
"""Of a bisection, relative to α."""


@dataclass(frozen=True)
class Point:
    """Both branches at one α."""

    uninformed: Solution
    informed: Solution

    @property
    def alpha(self) -> float:
        """α = M/c."""
        return self.uninformed.alpha

    @property
    def converged(self) -> bool:
        """Whether both branches were solved."""
        return self.uninformed.converged and self.informed.converged

    @property
    def coincide(self) -> bool:
        """Whether there is one solution only."""
        a, b = self.uninformed, self.informed
        return bool(np.abs(a.q - b.q).max() < SAME and np.abs(a.r - b.r).max() < SAME)

    @property
    def ruling(self) -> Solution:
        """The solution with the larger free entropy: the one of equilibrium."""
        wins = not self.coincide and self.informed.free_entropy > self.uninformed.free_entropy
        return self.informed if wins else self.uninformed

    def branch(self, name: Branch) -> Solution:
        """The solution of one branch."""
        return self.informed if name == "informed" else self.uninformed


Place = TypeVar("Place", Point, Solution)


@dataclass(frozen=True)
class Bracket:
    """Something happens between two values of α."""

    low: float
    high: float

    @property
    def alpha(self) -> float:
        """The middle."""
        return (self.low + self.high) / 2


@dataclass(frozen=True)
class Jump(Bracket):
    """A branch jumps: its spinodal.  change : q(l) above minus q(l) below (L,)."""

    branch: Branch
    change: Array


def point(closure: str, depth: int, alpha: float, prior: str = "gaussian") -> Point:
    """Both branches at one α.  Raises InputError for impossible arguments."""
    return Point(
        solve(closure, depth, alpha, "uninformed", prior), solve(closure, depth, alpha, "informed", prior)
    )


def follow(closure: str, depth: int, alphas: Sequence[float], prior: str = "gaussian") -> list[Point]:
    """Both branches at ascending values of α.  Raises InputError for impossible arguments."""
    if not alphas or any(a >= b for a, b in pairwise(alphas)):
        raise InputError(f"alphas {', '.join(f'{a:g}' for a in alphas)}: allowed are ascending numbers")
    up = _chain(closure, depth, alphas, "uninformed", prior)
    down = _chain(closure, depth, alphas[::-1], "informed", prior)[::-1]
    return [Point(*pair) for pair in zip(up, down, strict=True)]


def coexistence(points: Sequence[Point], precision: float = PRECISION) -> list[tuple[Bracket, Bracket]]:
    """Where there are two solutions: brackets of the α from which and up to which.

    A region that reaches an end of the points is bracketed by that end and 0 or infinity.
    """
    edges = list(_changes(points, lambda p: p.coincide, precision))
    if not points[0].coincide:
        edges.insert(0, Bracket(0, points[0].alpha))
    if not points[-1].coincide:
        edges.append(Bracket(points[-1].alpha, np.inf))
    return list(zip(edges[::2], edges[1::2], strict=True))


def crossings(points: Sequence[Point], precision: float = PRECISION) -> list[Bracket]:
    """Where another branch begins to rule: the first-order transitions of equilibrium."""
    return list(_changes(points, lambda p: p.ruling is p.informed, precision))


def onsets(
    points: Sequence[Point],
    branch: Branch = "uninformed",
    threshold: float = 0.0,
    precision: float = PRECISION,
) -> list[Bracket | None]:
    """Where q(l) first exceeds a threshold, per layer; None where it does not.

    With threshold 0: where the layer begins to learn at all, as told by the stability of knowing nothing.
    """

    solutions = [p.branch(branch) for p in points]

    def first(layer: int) -> Bracket | None:
        def above(solution: Solution) -> bool:
            return bool(solution.q[layer] > threshold)

        if above(solutions[0]):
            return Bracket(0, solutions[0].alpha)
        place = next((place for place, solution in enumerate(solutions) if above(solution)), None)
        if place is None:
            return None
        return _bisected(solutions[place - 1], solutions[place], _halfway, above, precision)

    return [first(layer) for layer in range(solutions[0].depth)]


def jumps(points: Sequence[Point], branch: Branch, precision: float = PRECISION) -> list[Jump]:
    """Where a branch jumps.  The bracket is wide where solutions between its ends did not converge."""
    solutions = [p.branch(branch) for p in points]
    return [jump for low, high in pairwise(solutions) for jump in _jumps(low, high, precision)]


def critical_alpha(closure: str, depth: int, prior: str = "gaussian") -> float:
    """The α above which knowing nothing, q = r = 0, is unstable; 0 for one layer, which always learns.

    At it the Perron root of the saddle point, linear in tiny strengths, is 1: `dense_limit` π²/8 for two
    layers and π²/4 for more, `cavity` (√5-1)π²/8 for two and π²/4 for more.
    """

    def excess(alpha: float) -> float:
        problem = SaddlePoint(closure_named(closure), prior_named(prior), depth, alpha)
        return problem.growth(np.zeros(3 * depth - 2))[0] - 1

    if depth == 1:
        return 0.0
    return float(brentq(excess, 1e-3, MOST_ALPHA, xtol=1e-12, rtol=1e-12))


# ---------------------------------------------------------------------------------------------- bisection


def _chain(closure: str, depth: int, alphas: Sequence[float], branch: Branch, prior: str) -> list[Solution]:
    """One branch, each solution the start of the next."""
    solutions: list[Solution] = []
    start = None
    for alpha in alphas:
        solutions.append(solve(closure, depth, alpha, branch, prior, start))
        start = solutions[-1] if solutions[-1].converged else None
    return solutions


def _halfway(low: Solution, high: Solution) -> Solution:
    """The same branch halfway between two solutions of it, from the one that bounds it."""
    start = low if low.branch == "uninformed" else high
    alpha = (low.alpha + high.alpha) / 2
    return solve(low.closure, low.depth, alpha, low.branch, low.prior, start if start.converged else None)


def _between(low: Point, high: Point) -> Point:
    """Both branches halfway between two points."""
    return Point(_halfway(low.uninformed, high.uninformed), _halfway(low.informed, high.informed))


def _changes(points: Sequence[Point], holds: Callable[[Point], bool], precision: float) -> Iterator[Bracket]:
    """Where a statement about a point begins or ceases to hold."""
    for low, high in pairwise(points):
        if holds(low) != holds(high):
            yield _bisected(low, high, _between, holds, precision)


def _bisected(
    low: Place,
    high: Place,
    between: Callable[[Place, Place], Place],
    holds: Callable[[Place], bool],
    precision: float,
) -> Bracket:
    """Bisection of the place where a statement changes; it ends early at one that was not solved."""
    before = holds(low)
    while high.alpha - low.alpha > precision * high.alpha:
        middle = between(low, high)
        if not middle.converged:
            break
        low, high = (middle, high) if holds(middle) == before else (low, middle)
    return Bracket(low.alpha, high.alpha)


def _jumps(low: Solution, high: Solution, precision: float) -> Iterator[Jump]:
    change = high.q - low.q
    if np.abs(change).max() < JUMP:
        return
    middle = _halfway(low, high) if high.alpha - low.alpha > precision * high.alpha else None
    if middle is None or not middle.converged:
        yield Jump(low.alpha, high.alpha, low.branch, change)
    else:
        yield from _jumps(low, middle, precision)
        yield from _jumps(middle, high, precision)

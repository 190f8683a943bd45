"""The α-L phase diagram: the ruling solution on a grid, and the lines of transitions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dsm_hpc.theory.continuation import Point, coexistence, critical_alpha, crossings, follow
from dsm_hpc.theory.overlap import Array

PRECISION = 1e-3
"""Of the lines, relative to α."""


@dataclass(frozen=True)
class Lines:
    """Transitions of networks of one depth.

    critical : α above which knowing nothing is unstable.
    informed_from, uninformed_to : the first α with two solutions (0 if below the grid) and the last one
        (infinite if above the grid); NaN where there is never more than one.
    rules_from : the α from which the informed branch rules, as long as there are two solutions; NaN if it
        does not on the grid, 0 if it does at the first α.
    """

    critical: float
    informed_from: float
    uninformed_to: float
    rules_from: float


@dataclass(frozen=True)
class PhaseDiagram:
    """One closure and prior.  points : [depth][α]; lines : [depth]."""

    closure: str
    prior: str
    depths: tuple[int, ...]
    alphas: tuple[float, ...]
    points: list[list[Point]]
    lines: list[Lines]

    @property
    def ruling_q(self) -> Array:
        """Mean over layers of q of the ruling solution (depth, α); NaN where a branch was not solved."""
        return np.array([[p.ruling.q.mean() if p.converged else np.nan for p in row] for row in self.points])


def phase_diagram(
    closure: str, depths: Sequence[int], alphas: Sequence[float], prior: str = "gaussian"
) -> PhaseDiagram:
    """Both branches on the grid, and the lines between its points.  Raises InputError."""
    points = [follow(closure, depth, alphas, prior) for depth in depths]
    return PhaseDiagram(
        closure, prior, tuple(depths), tuple(alphas), points, [lines_of(row) for row in points]
    )


def lines_of(points: Sequence[Point]) -> Lines:
    """The transitions along one row of points."""
    one = points[0].uninformed
    two = coexistence(points, PRECISION)
    # Where the branches meet again between two points of the grid, the informed one may rule just before.
    ends = [end.low for _, end in two if np.isfinite(end.high)]
    inside = [p for alpha in ends for p in follow(one.closure, one.depth, [alpha], one.prior)]
    finer = sorted({p.alpha: p for p in [*points, *inside]}.values(), key=lambda p: p.alpha)
    rules = [bracket.alpha for bracket in crossings(finer, PRECISION)]
    if points[0].ruling is points[0].informed:
        rules = [0.0]
    return Lines(
        critical_alpha(one.closure, one.depth, one.prior),
        two[0][0].alpha if two and two[0][0].low > 0 else 0.0 if two else np.nan,
        two[-1][1].alpha if two else np.nan,
        rules[0] if rules else np.nan,
    )

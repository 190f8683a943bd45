"""Solutions of the saddle-point equations, from below and from above.

The map is monotone (`saddle`), so that iteration from nothing known climbs to the smallest solution, the
`uninformed` branch, and iteration from all known falls to the largest one, the `informed` branch.  Where the
two differ a first-order transition is near, and the free entropy says which one rules.

Layers that know nothing are an exact fixed point of their own.  The uninformed branch keeps them at 0 as long
as that is stable, and else seeds them along the direction that grows fastest.  All others are iterated in the
logarithm of their strengths, in which the map is nearly linear over many orders of magnitude.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dsm_hpc.errors import InputError
from dsm_hpc.theory.anderson import FixedPoint, fixed_point
from dsm_hpc.theory.closures import OrderParameters, closure_named, perfect
from dsm_hpc.theory.generalization import Generalization, generalization
from dsm_hpc.theory.overlap import Array
from dsm_hpc.theory.priors import prior_named
from dsm_hpc.theory.saddle import SaddlePoint

Branch = Literal["uninformed", "informed"]
BRANCHES: tuple[Branch, ...] = ("uninformed", "informed")

MOST_LAYERS = 100
MOST_ALPHA = 1000.0

TOLERANCE = 1e-11
"""Largest change of the logarithm of a strength in one iteration."""
MOST_ITERATIONS = 2000
"""Of one fixed point; the uninformed branch may need several, one after the other."""

_ROUGH = 1e-3
"""Tolerance as long as other layers are still to begin."""
_SEED = 1e-3
"""Strength given to layers that begin to learn."""
_MARGIN = 1e-2
"""A growth that is above 1 by less is computed again with the final tolerance."""
_NOTHING = 1e-12
"""Strengths are not followed below this when they fall."""
_LITTLE = 1e-9
"""What has fallen below this is put to 0, from where it climbs again if it must."""


@dataclass(frozen=True)
class Solution:
    """A solution of the saddle-point equations.

    closure, prior, depth, alpha, branch : what was solved, α = M/c.
    state : order parameters, with what they lack to 1.
    coupling : λ_l (L,).
    free_entropy : f per weight of a layer; ln(Gardner volume) = N c f.
    residual : largest change of the logarithm of a strength (q̂, r̂, -ln(1 - r)) in one more iteration.
    iterations : calls of the map, those for the stability of unknown layers not counted.
    converged : residual below TOLERANCE.  If not, no number here is to be trusted.
    growth : rate at which unknown layers (q = r = 0) would learn; they stay unknown at ≤ 1.
    generalization : predicted test overlaps and errors.
    """

    closure: str
    prior: str
    depth: int
    alpha: float
    branch: Branch
    state: OrderParameters
    coupling: Array
    free_entropy: float
    residual: float
    iterations: int
    converged: bool
    growth: float
    generalization: Generalization

    @property
    def q(self) -> Array:
        """Weight overlaps q(l), l = 1…L."""
        return self.state.q.value

    @property
    def r(self) -> Array:
        """Spin overlaps r(l) on the training set, l = 1…L; r(L) = 1."""
        return self.state.here.value

    @property
    def qhat(self) -> Array:
        """q̂_l, l = 1…L."""
        return self.state.qhat

    @property
    def rhat(self) -> Array:
        """r̂_l, l = 1…L; r̂_L is infinite, for the output is known."""
        return np.append(self.state.rhat, np.inf)


def solve(
    closure: str,
    depth: int,
    alpha: float,
    branch: Branch = "uninformed",
    prior: str = "gaussian",
    start: Solution | None = None,
) -> Solution:
    """The solution of one branch.

    start : a solution of the same branch to start from: at a smaller or the same α for the uninformed branch,
    at a larger or the same one for the informed branch.  It then bounds the solution from the right side.
    Raises InputError for impossible arguments.  Check `converged`.
    """
    check(depth, alpha)
    if branch not in BRANCHES:
        raise InputError(f"branch {branch}: allowed are {', '.join(BRANCHES)}")
    problem = SaddlePoint(closure_named(closure), prior_named(prior), depth, float(alpha))
    begin = None if start is None else problem.strengths(start.state)
    x, found, growth = _climb(problem, begin) if branch == "uninformed" else _fall(problem, begin)
    state = problem.state(x)
    exact = perfect(state)
    return Solution(
        closure,
        prior,
        depth,
        problem.alpha,
        branch,
        exact,
        problem.closure.coupling(exact).value,
        problem.closure.free_entropy(state, problem.alpha, problem.prior),
        found.residual,
        found.iterations,
        found.converged,
        growth,
        generalization(exact, problem.closure.name, branch),
    )


def check(depth: int, alpha: float) -> None:
    """Raises InputError for a depth or an α that cannot be solved for."""
    if not 1 <= depth <= MOST_LAYERS:
        raise InputError(f"depth {depth}: allowed are whole numbers from 1 to {MOST_LAYERS}")
    if not 0 < alpha <= MOST_ALPHA:
        raise InputError(f"alpha {alpha:g}: allowed are numbers above 0, to {MOST_ALPHA:g}")


def _fall(problem: SaddlePoint, begin: Array | None) -> tuple[Array, FixedPoint, float]:
    """From all known; layers that lose everything on the way are put to 0."""
    if begin is None:
        depth, scale = problem.depth, 1 + problem.alpha
        begin = np.repeat([100 * scale**2, 1000 * scale, 100.0], [depth, depth - 1, depth - 1])
    found = _iterate(problem, begin, TOLERANCE)
    x = _with(begin, found)
    if (x > _LITTLE).all() or not found.converged:
        return x, found, 0.0
    x, again, growth = _climb(problem, np.where(x > _LITTLE, x, 0))
    return x, replace(again, iterations=found.iterations + again.iterations), growth


def _climb(problem: SaddlePoint, begin: Array | None) -> tuple[Array, FixedPoint, float]:
    """From nothing known: layers begin to learn in turn."""
    x = np.zeros(3 * problem.depth - 2) if begin is None else begin
    iterations, tolerance = 0, _ROUGH
    while True:
        x = _told(problem, x)
        found = _iterate(problem, x, tolerance)
        iterations += found.iterations
        found = FixedPoint(found.x, found.residual, iterations, found.residual < TOLERANCE)
        x = _with(x, found)
        growth, direction = problem.growth(x)
        if growth > 1 + _MARGIN or (growth > 1 and tolerance == TOLERANCE):
            x = x + min(_SEED, (growth - 1) / 10) * direction
            tolerance = _ROUGH
        elif tolerance == TOLERANCE:
            return x, found, growth
        else:
            tolerance = TOLERANCE


def _told(problem: SaddlePoint, x: Array) -> Array:
    """Strengths that are 0 become tiny where others force them to be more."""
    while True:
        y = problem(x)
        new = (x == 0) & (y > 1e-300)
        if not new.any():
            return x
        x = np.where(new, np.minimum(y, _SEED / 10), x)


def _iterate(problem: SaddlePoint, x: Array, tolerance: float) -> FixedPoint:
    """Iterates ln x of the positive strengths; the others stay 0."""
    positive = x > 0
    if not positive.any():
        return FixedPoint(np.zeros(0), 0.0, 0, True)

    def logarithms(logs: Array) -> Array:
        strengths = np.zeros_like(x)
        strengths[positive] = np.exp(logs)
        return np.log(np.maximum(problem(strengths)[positive], _NOTHING))

    return fixed_point(logarithms, np.log(x[positive]), tolerance, MOST_ITERATIONS)


def _with(x: Array, found: FixedPoint) -> Array:
    """x with its positive strengths where the iteration has ended."""
    strengths = np.zeros_like(x)
    strengths[x > 0] = np.exp(found.x)
    return strengths

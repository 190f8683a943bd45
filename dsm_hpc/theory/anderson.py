"""Fixed points by Anderson acceleration (D. G. Anderson, J. ACM 12, 547 (1965); type II), kept on a leash.

A saddle point of many layers has several solutions, and bottlenecks where one has just vanished; a long
extrapolation may jump past the solution that plain iteration leads to.  Extrapolations are therefore short,
and one that made things worse is undone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dsm_hpc.theory.overlap import Array

_MEMORY = 8
_DAMPING = 0.7
"""Below 1: a map that links neighbouring layers only would let even and odd iterations go their own ways."""
_LONGEST = 1.0
"""Extrapolations are made, and trusted, when residual and step are no longer than this."""
_WORSE = 2.0
"""An extrapolation after which the residual is so many times the best one is undone."""
_CONDITION = 1e-10


@dataclass(frozen=True)
class FixedPoint:
    """x, the largest |f(x) - x|, how often f was called, and whether the residual is below the tolerance."""

    x: Array
    residual: float
    iterations: int
    converged: bool


def fixed_point(function: Callable[[Array], Array], x: Array, tolerance: float, most: int) -> FixedPoint:
    """Iterates x -> f(x) from x (n,), extrapolating from the last few steps; at most so many calls."""
    points: list[Array] = []
    changes: list[Array] = []
    best, after_best, residual, iteration = np.inf, x, np.inf, 0
    for iteration in range(1, most + 1):
        change = function(x) - x
        residual = float(np.abs(change).max())
        if residual < tolerance:
            return FixedPoint(x, residual, iteration, True)
        if residual > _WORSE * best:
            x, best, points, changes = after_best, np.inf, [], []
            continue
        plain = x + _DAMPING * change
        if residual < best:
            best, after_best = residual, plain
        points, changes = [*points, x][-_MEMORY - 1 :], [*changes, change][-_MEMORY - 1 :]
        x = plain
        if len(points) > 2 and residual < _LONGEST:
            step = _DAMPING * change - _correction(points, changes)
            if step @ change > 0:
                x = points[-1] + step * min(1.0, _LONGEST / np.abs(step).max())
    return FixedPoint(x, residual, iteration, False)


def _correction(points: list[Array], changes: list[Array]) -> Array:
    """What takes the plain step to where the change, linear in the last points, is smallest."""
    moved, changed = np.diff(points, axis=0).T, np.diff(changes, axis=0).T
    mix = np.linalg.lstsq(changed, changes[-1], rcond=_CONDITION)[0]
    correction: Array = (moved + _DAMPING * changed) @ mix
    return correction

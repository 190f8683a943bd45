"""What the numbers say about heterogeneity and equilibrium: contrasts in standard errors, and a verdict.

Every statement is a tree of plain numbers and words; NaN stands where a number cannot be had.
"""

from math import isnan
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import t as student_t

from dsm_hpc.analysis.statistics import (
    Estimate,
    contrast,
    ends_above_middle,
    in_errors,
)

SIGNIFICANT = 2.0
"""Standard errors from which on an end of the network counts as above or below the middle."""

LEVEL = 0.05
"""Probability of calling a difference that is none, over all layers together."""

UNDECIDED = "cannot be judged (a standard error needs two samples)"


def heterogeneity(q: xr.DataArray, unlearnt: xr.DataArray | None) -> dict[str, Any]:
    """Whether both ends of the network are learnt better than its middle.

    q : aligned teacher overlap of one start and beta, (sample, layer) with L >= 3.
    unlearnt : the same of students that have learnt nothing, or None.  Alignment lifts it, in the first layer
        most: a perceptron of c weights whose sign is free has E|cos| > 0.  The verdict is on q less this.
    """
    ends = _ends(q)
    learnt = None if unlearnt is None else _ends(q - unlearnt)
    judged = ends if learnt is None else learnt
    first, last = (_side(judged[end]["in_errors"]) for end in ("first", "last"))
    if "" in (first, last):
        verdict = UNDECIDED
    elif first == last:
        verdict = f"both ends {first} the middle"
    else:
        verdict = f"the first layer {first}, the last layer {last} the middle"
    return {**ends, "learnt": learnt, "verdict": verdict}


def _ends(q: xr.DataArray) -> dict[str, Any]:
    """First and last layer minus middle."""
    return {end: _difference(value) for end, value in ends_above_middle(q).items()}


def merging(planted: xr.DataArray, random: xr.DataArray) -> dict[str, Any]:
    """Whether planted and random start have met.

    Arguments: aligned teacher overlap q, (sample, layer); paired over samples, as they share their teacher.
    """
    statement = _by_layer(contrast(planted, random))
    merged = _agree(statement)
    words = {
        True: "no difference is seen, so they have merged",
        False: "they have not merged",
        None: UNDECIDED,
    }
    return {**statement, "merged": merged, "verdict": words[merged]}


def exchangeability(teacher: xr.DataArray, clones: xr.DataArray) -> dict[str, Any]:
    """Teacher-clone against clone-clone overlap, equal in the equilibrium of the posterior.

    Arguments: aligned q of one start and beta, (sample, layer); paired over samples.
    """
    statement = _by_layer(contrast(teacher, clones))
    equal = _agree(statement)
    words = {True: "no difference is seen", False: "they differ", None: UNDECIDED}
    return {**statement, "equal": equal, "verdict": words[equal]}


def _by_layer(difference: Estimate) -> dict[str, Any]:
    """The difference in every layer, and the layer where it is largest in standard errors."""
    layers = [
        {"layer": int(layer), **_difference(difference.sel(layer=layer))}
        for layer in difference.mean["layer"].values
    ]
    known = [layer for layer in layers if not isnan(layer["in_errors"])]
    return {"layers": layers, "largest": max(known, key=lambda layer: abs(layer["in_errors"]), default=None)}


def _agree(statement: dict[str, Any]) -> bool | None:
    """Whether chance explains the largest difference; None if no difference has an error.

    The largest of L differences is judged at the level LEVEL / L (Bonferroni) of Student's t: 2 standard
    errors in one of many layers, from few samples, mean nothing.
    """
    largest = statement["largest"]
    if largest is None:
        return None
    chance = 2 * student_t.sf(abs(largest["in_errors"]), largest["samples"] - 1)
    return bool(chance * len(statement["layers"]) > LEVEL)


def _difference(value: Estimate) -> dict[str, Any]:
    mean, error = float(value.mean), float(value.error)
    return {
        "difference": mean,
        "error": error,
        "in_errors": in_errors(mean, error) if np.isfinite(error) else np.nan,
        "samples": int(value.samples),
    }


def _side(errors: float) -> str:
    """Where an end of the network stands against its middle; empty if that cannot be said."""
    if isnan(errors):
        return ""
    if abs(errors) < SIGNIFICANT:
        return "level with"
    return "above" if errors > 0 else "below"

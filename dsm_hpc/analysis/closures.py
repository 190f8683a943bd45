"""Simulation against the theory of the dense limit: deviations per layer, and which closure the data support.

Predictions are those of the ruling saddle point at L and alpha = M/c (dsm_hpc.theory).  What is left of a
deviation at finite N, c and D is to be read beside the loop counts.
"""

from functools import cache
from math import isinf
from typing import Any

import numpy as np
import xarray as xr

from dsm_hpc.analysis.measured import coldest
from dsm_hpc.analysis.results import Results
from dsm_hpc.analysis.statistics import contrast, estimate, in_errors, window, windowed
from dsm_hpc.errors import InputError
from dsm_hpc.presentation.wording import column, in_words, item, number, table
from dsm_hpc.theory.prediction import Prediction, predict

OVERLAPS = ("q", "r", "r_test")


@cache
def prediction(closure: str, depth: int, alpha: float, weights: str) -> Prediction:
    """The ruling solution; raises InputError where the solver does not reach it."""
    try:
        return predict(depth, alpha, closure, weights)
    except ArithmeticError as error:
        raise InputError(f"--theory {closure}: {error}") from None


def prediction_for(results: Results, closure: str) -> Prediction:
    """What a closure says of a run."""
    network = results.config.network
    alpha = results.config.patterns.train / network.inputs
    return prediction(closure, network.depth, alpha, network.weights)


def against_theory(results: Results, closures: tuple[str, ...]) -> dict[str, Any] | None:
    """Per start and closure the deviations in each layer; None if nothing has been measured yet.

    Raises InputError for a run at finite temperature only, which the theory (E = 0) does not describe.
    """
    times, place = window(results), coldest(results)
    beta = float(results.layout.coordinates["beta"][place])
    if not isinf(beta):
        raise InputError(f"--theory: is of students with E = 0; {results.path} ends at beta = {beta:g}")
    if times is None:
        return None
    averages = {
        name: windowed(results, f"teacher/{name}_aligned", times).isel(beta=place) for name in OVERLAPS
    }
    starts = {}
    for start in results.config.ensemble.starts:
        measured = {name: values.sel(start=start) for name, values in averages.items()}
        starts[str(start)] = {
            closure: _closure(measured, prediction_for(results, closure)) for closure in closures
        }
    return {"closures": list(closures), "starts": starts, "supports": _supported(starts)}


def _closure(measured: dict[str, xr.DataArray], predicted: Prediction) -> dict[str, Any]:
    """Deviations of one start from one closure."""
    q = measured["q"]
    slope = estimate(q.isel(layer=-1, drop=True) - q.isel(layer=0, drop=True))
    told = float(predicted.q[-1] - predicted.q[0])
    numbers: dict[str, Any] = {name: _layers(measured[name], getattr(predicted, name)) for name in OVERLAPS}
    every = [abs(row["in_errors"]) for name in ("q", "r") for row in numbers[name] if row["error"] > 0]
    return {
        **numbers,
        "branch": predicted.branch,
        "coexist": predicted.coexist,
        "test_error": predicted.test_error,
        "typical": float(np.sqrt(np.mean(np.square(every)))) if every else None,
        "last_minus_first": {
            "predicted": told,
            "measured": float(slope.mean),
            "error": float(slope.error),
            "difference": float(slope.mean) - told,
            "in_errors": in_errors(float(slope.mean) - told, float(slope.error)),
        },
    }


def _layers(measured: xr.DataArray, predicted: Any) -> list[dict[str, Any]]:
    """Measured less predicted in every layer."""
    told = xr.DataArray(predicted, {"layer": measured["layer"]}, ("layer",))
    value, difference = estimate(measured), contrast(measured, told)
    return [
        {
            "layer": int(layer),
            "predicted": float(told.sel(layer=layer)),
            "measured": float(value.mean.sel(layer=layer)),
            "error": float(value.error.sel(layer=layer)),
            "difference": float(difference.mean.sel(layer=layer)),
            "in_errors": in_errors(
                float(difference.mean.sel(layer=layer)), float(difference.error.sel(layer=layer))
            ),
        }
        for layer in measured["layer"].values
    ]


def _supported(starts: dict[str, Any]) -> dict[str, str | None]:
    """Per start the closure nearest in q(L) - q(1), in standard errors; None where that cannot decide.

    Finite N and c shift q in all layers alike, so the slope tells more than the values.
    """
    return {start: _nearest(closures) for start, closures in starts.items()}


def _nearest(closures: dict[str, Any]) -> str | None:
    slopes = {name: numbers["last_minus_first"] for name, numbers in closures.items()}
    told = {slope["predicted"] for slope in slopes.values()}
    if len(told) < 2 or any(not slope["error"] > 0 for slope in slopes.values()):
        return None
    return min(slopes, key=lambda name: abs(slopes[name]["in_errors"]))


def closures_text(numbers: dict[str, Any]) -> str:
    """The section of `dsm analyze`."""
    heading = item(
        "Theory of the dense limit (N >> c >> 1): aligned overlaps less those of the ruling solution, in "
        "parentheses in standard errors. Alignment adds about sqrt(2/(pi M)) to r of an uncorrelated layer."
    )
    blocks = [
        block
        for start, closures in numbers["starts"].items()
        for block in (_table(start, closures), _verdict(start, closures, numbers["supports"][start]))
    ]
    return "\n".join([heading, *blocks])


def _table(start: str, closures: dict[str, Any]) -> str:
    titles, columns = ["l"], [[str(row["layer"]) for row in next(iter(closures.values()))["q"]]]
    for closure, numbers in closures.items():
        for name in ("q", "r"):
            rows = numbers[name]
            words = column([row["difference"] for row in rows], [row["error"] for row in rows])
            titles.append(f"{name} - {closure}")
            columns.append(
                [
                    f"{word} ({number(row['in_errors'], 1)})" if row["error"] > 0 else word
                    for word, row in zip(words, rows, strict=True)
                ]
            )
    lines = [list(line) for line in zip(*columns, strict=True)]
    return f"  {start} start\n{table(titles, lines, '  ')}"


def _verdict(start: str, closures: dict[str, Any], supported: str | None) -> str:
    """Which closure the slope of the profile supports, and how far the values are from each."""
    typical = ", ".join(
        f"{name} {number(numbers['typical'], 1)}"
        for name, numbers in closures.items()
        if numbers["typical"] is not None
    )
    slopes = "; ".join(
        f"{name} predicts {number(numbers['last_minus_first']['predicted'])}, measured less predicted "
        f"{in_words(numbers['last_minus_first'])}"
        for name, numbers in closures.items()
    )
    verdict = (
        f"The slope of the profile, {start} start, supports {supported}"
        if supported is not None
        else f"Slope of the profile, {start} start"
    )
    tail = f" Typical deviation of q and r in standard errors: {typical}." if typical else ""
    return item(f"{verdict}: q last layer minus first, {slopes}.{tail}")

"""Whether a run is in equilibrium: three criteria, layer by layer, and one verdict.

All on the aligned overlap q(l) of student and teacher, averaged over clones and over the times of a window,
then compared within each sample, so that the samples are the independent units:

starts : the planted start minus the random one, over the last half of the run.
clones : teacher-clone minus clone-clone overlap of one start, over the last half.  Teacher and student are
    exchangeable where the student is drawn from the posterior, which at beta = inf and E = 0 it is; nowhere
    else are the two expected to be equal, and there this criterion is left out (None).
windows : the last half minus the quarter before it, and so on back: the drift over the last doubling of time.

A difference is tested by Student's t over samples.  The p-values of all comparisons of one temperature are
adjusted together (Benjamini and Hochberg, J. R. Stat. Soc. B 57, 289 (1995)), so that a run in equilibrium is
called out of it with a probability of about LEVEL at most.  No difference found proves nothing where errors
are large: agreement is granted only where the difference is at most TOLERANCE and its standard error at most
RESOLUTION.

`equilibrium` returns None before anything is measured, and otherwise this tree of plain values:

    {"verdict": of the coldest temperature, "sentence": the same with its reasons,
     "tolerance": TOLERANCE, "resolution": RESOLUTION, "level": LEVEL,
     "windows": [{"first": sweeps, "last": sweeps, "measurements": n}, ...],  # oldest first
     "coldest": position in "betas",
     "betas": [{
         "beta": ..., "verdict": ..., "sentence": ...,
         "alone": {start: verdict by its own clones and windows, without the other start},
         "errors": {start: {"training_error": E/(NM), "students": n, "wrong": how many of them have E > 0}},
         "layers": [{
             "layer": l, "verdict": "equilibrated" | "not equilibrated" | "cannot be judged",
             "reasons": [words, ...],               # what speaks against equilibrium, or hinders judging
             "starts": comparison or None,          # None: there is one start only
             "clones": {start: comparison or None},
             "windows": {start: {"means": [...], "errors": [...],   # one for each window above
                                 "drift": comparison or None}},     # None: only one window so far
         }, ...]}, ...],
     "rhat": [{"layer": l, "clones": {start: spread or None}, "starts": spread or None}, ...],     # coldest
     "tau": {"every": sweeps or None,               # None: the times are not equally spaced, so no tau
             "layers": [{"layer": l, start: time or None, ...}, ...],
             "energy": {start: time or None, ...}},                                                # coldest
     "remarks": [words, ...]}

    comparison: {"difference": mean, "error": standard error, "in_errors": difference / error, "samples": n,
                 "chance": adjusted p-value, "outcome": "agree" | "differ" | "unresolved"}
    spread:     {"median": R-hat, "worst": R-hat, "samples": n}
    time:       {"sweeps": tau, "effective": independent values in the window, all walkers together,
                 "windows": length of the window in tau, "enough": whether that is at least LONG_ENOUGH,
                 "walkers": n, "still": walkers that never moved}
"""

from collections.abc import Iterator
from math import isinf, isnan
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import false_discovery_control
from scipy.stats import t as student_t

from dsm_hpc.analysis.measured import coldest
from dsm_hpc.analysis.mixing import FEWEST_DRAWS, LONG_ENOUGH, autocorrelation_time, r_hat, spacing
from dsm_hpc.analysis.results import Results
from dsm_hpc.analysis.statistics import (
    Estimate,
    Window,
    contrast,
    doublings,
    estimate,
    in_errors,
    per_sample,
    windowed,
)

LEVEL = 0.05
"""Probability of calling a run in equilibrium out of it, over all layers and criteria of a temperature."""

TOLERANCE = 0.1
"""Of q: a larger difference is not called agreement, even where chance explains it."""

RESOLUTION = 0.05
"""Of q: where the standard error of a difference is larger, there are too few samples to grant agreement."""

EQUILIBRATED, NOT_EQUILIBRATED, UNDECIDED = "equilibrated", "not equilibrated", "cannot be judged"
_BEST_TO_WORST = (EQUILIBRATED, UNDECIDED, NOT_EQUILIBRATED)
AGREE, DIFFER, UNRESOLVED = "agree", "differ", "unresolved"

Array = NDArray[np.float64]
Tree = dict[str, Any]


def equilibrium(results: Results) -> Tree | None:
    """The verdict and all that it rests on, as the tree above; None if nothing has been measured yet."""
    windows = _at_one_temperature(results, doublings(results))
    if not windows:
        return None
    q = results.variable("teacher/q_aligned")
    cold = coldest(results)
    betas = list(_betas(results, q, windows))
    rhat, tau = _rhat(q.isel(beta=cold), windows[-1]), _tau(results, q.isel(beta=cold), windows[-1], cold)
    return {
        "verdict": betas[cold]["verdict"],
        "sentence": betas[cold]["sentence"],
        "tolerance": TOLERANCE,
        "resolution": RESOLUTION,
        "level": LEVEL,
        "windows": [dict(vars(window)) for window in windows],
        "coldest": cold,
        "betas": betas,
        "rhat": rhat,
        "tau": tau,
        "remarks": _remarks(rhat, tau, windows[-1]),
    }


# ---------------------------------------------------------------------------------------------- criteria


def _cooled(results: Results) -> int:
    """The time from which on the temperature is constant, in sweeps."""
    anneal = results.config.dynamics.anneal
    return 0 if anneal is None else anneal.sweeps


def _at_one_temperature(results: Results, windows: list[Window]) -> list[Window]:
    """The last window, and those before it in which an annealed run was not cooled any more."""
    return [*(window for window in windows[:-1] if window.first >= _cooled(results)), *windows[-1:]]


def _betas(results: Results, q: xr.DataArray, windows: list[Window]) -> Iterator[Tree]:
    """The criteria at every temperature, in the order of the file."""
    starts = [str(start) for start in q["start"].values]
    means = [per_sample(window.of(q)) for window in windows]
    compared = _compared(results, windows[-1], means, starts)
    courses = {start: [_by_layer(estimate(mean.sel(start=start))) for mean in means] for start in starts}
    errors = _errors(results, windows[-1], starts)
    cooling = ""
    if windows[-1].first < _cooled(results):
        cooling = f"the run is cooled until t = {_cooled(results)}, so its last half has no one temperature"
    for place, beta in enumerate(results.layout.coordinates["beta"]):
        exchangeable = {start for start in starts if isinf(beta) and not errors[place][start]["wrong"]}
        layers = {}
        for number, layer in enumerate(q["layer"].values):
            at = (place, number)
            layers[int(layer)] = {
                "starts": _at(compared["starts"], at),
                "clones": {
                    start: _at(compared[f"clones {start}"], at) if start in exchangeable else None
                    for start in starts
                },
                "windows": {
                    start: {
                        "means": [float(mean[at]) for mean, _ in courses[start]],
                        "errors": [float(error[at]) for _, error in courses[start]],
                        "drift": _at(compared[f"windows {start}"], at),
                    }
                    for start in starts
                },
            }
        yield _beta(float(beta), errors[place], layers, cooling)


def _compared(
    results: Results, window: Window, means: list[xr.DataArray], starts: list[str]
) -> dict[str, Estimate | None]:
    """All differences, on the axes beta and layer; None where there is nothing to compare.

    means : q of student and teacher on the axes sample, start, beta, layer for each window, oldest first;
    window : the last one.
    """
    last = means[-1]
    found: dict[str, Estimate | None] = {"starts": None}
    if len(starts) == 2:
        found["starts"] = contrast(last.sel(start="planted"), last.sel(start="random"))
    pairs = windowed(results, "clones/q_aligned", window) if results.has("clones/q_aligned") else None
    for start in starts:
        one = last.sel(start=start)
        found[f"clones {start}"] = None if pairs is None else contrast(one, pairs.sel(start=start))
        found[f"windows {start}"] = contrast(one, means[-2].sel(start=start)) if len(means) > 1 else None
    return found


def _by_layer(value: Estimate) -> tuple[Array, Array]:
    """Means and errors as arrays (beta, layer)."""
    return value.mean.transpose("beta", "layer").values, value.error.transpose("beta", "layer").values


def _at(value: Estimate | None, at: tuple[int, int]) -> Tree | None:
    """The difference at one temperature and layer, with the p-value of Student's t, which `_judge` adjusts;
    NaN where there is no error."""
    if value is None:
        return None
    mean, error = _by_layer(value)
    difference, deviation = float(mean[at]), float(error[at])
    samples = int(value.samples.transpose("beta", "layer").values[at])
    relative = in_errors(difference, deviation) if np.isfinite(deviation) else np.nan
    return {
        "difference": difference,
        "error": deviation,
        "in_errors": relative,
        "samples": samples,
        "chance": float(2 * student_t.sf(abs(relative), samples - 1)) if samples > 1 else np.nan,
        "outcome": UNRESOLVED,
    }


def _errors(results: Results, window: Window, starts: list[str]) -> list[Tree]:
    """For every beta and start the training error, and how many students make errors at any time of the
    window."""
    config = results.config
    energy = window.of(results.variable("energy"))
    mean = energy.mean(["sample", "clone", "time"]) / (config.network.width * config.patterns.train)
    students = energy.notnull().any("time").sum(["sample", "clone"])
    wrong = (energy > 0).any("time").sum(["sample", "clone"])
    return [
        {
            start: {
                "training_error": float(mean.values[number, place]),
                "students": int(students.values[number, place]),
                "wrong": int(wrong.values[number, place]),
            }
            for number, start in enumerate(starts)
        }
        for place in range(energy.sizes["beta"])
    ]


def _beta(beta: float, errors: Tree, compared: dict[int, Tree], cooling: str) -> Tree:
    """One temperature, judged.  compared : the criteria of each layer.  cooling : why there is nothing to
    judge, if the window is not at this temperature."""
    _judge([comparison for layer in compared.values() for comparison in _comparisons(layer)])
    layers = [
        {"layer": layer, **_verdict(beta, errors, tree, cooling), **tree} for layer, tree in compared.items()
    ]
    verdict = max((layer["verdict"] for layer in layers), key=_BEST_TO_WORST.index)
    sentence = f"{verdict}: {'; '.join(_because(layers, beta, errors, verdict))}"
    return {
        "beta": beta,
        "verdict": verdict,
        "sentence": sentence,
        "alone": {start: _alone(start, beta, errors, layers, cooling) for start in errors},
        "errors": errors,
        "layers": layers,
    }


def _alone(start: str, beta: float, errors: Tree, layers: list[Tree], cooling: str) -> str:
    """The verdict on one start as if there were no other."""
    found: list[str] = [
        _verdict(
            beta,
            {start: errors[start]},
            {
                "starts": None,
                "clones": {start: layer["clones"][start]},
                "windows": {start: layer["windows"][start]},
            },
            cooling,
        )["verdict"]
        for layer in layers
    ]
    return max(found, key=_BEST_TO_WORST.index)


def _comparisons(layer: Tree) -> list[Tree]:
    """Those of a layer that apply."""
    drifts = [window["drift"] for window in layer["windows"].values()]
    return [one for one in (layer["starts"], *layer["clones"].values(), *drifts) if one is not None]


def _judge(comparisons: list[Tree]) -> None:
    """Adjusts the p-values of all comparisons of one temperature together, and sets their outcomes."""
    tested = [one for one in comparisons if not isnan(one["chance"])]
    if not tested:
        return
    for one, chance in zip(tested, false_discovery_control([t["chance"] for t in tested]), strict=True):
        one["chance"] = float(chance)
        if chance <= LEVEL:
            one["outcome"] = DIFFER
        elif abs(one["difference"]) <= TOLERANCE and one["error"] <= RESOLUTION:
            one["outcome"] = AGREE


# ---------------------------------------------------------------------------------------------- verdicts


def _verdict(beta: float, errors: Tree, layer: Tree, cooling: str) -> Tree:
    """The verdict on one layer, with its reasons."""
    if cooling:
        return {"verdict": UNDECIDED, "reasons": [cooling]}
    against, missing = [], []
    for words, one in _named(layer):
        if one is None:
            missing.append(f"{words} have not been measured")
        elif one["outcome"] == DIFFER:
            against.append(f"{words} differ")
        elif one["outcome"] == UNRESOLVED:
            missing.append(f"{words} are not resolved: too few samples")
    against += _wrong(beta, errors)
    if layer["starts"] is None and not any(layer["clones"].values()):
        missing.append("there is one start, and no clones at E = 0 to compare it with")
    if against:
        return {"verdict": NOT_EQUILIBRATED, "reasons": against}
    return {"verdict": UNDECIDED if missing else EQUILIBRATED, "reasons": missing}


def _named(layer: Tree) -> Iterator[tuple[str, Tree | None]]:
    """The comparisons that a verdict needs, in words.  Clones need not be there if there are two starts."""
    if layer["starts"] is not None:
        yield "planted and random start", layer["starts"]
    for start, comparison in layer["clones"].items():
        if comparison is not None:
            yield f"teacher-clone and clone-clone overlap ({start} start)", comparison
    for start, window in layer["windows"].items():
        yield f"the last two windows ({start} start)", window["drift"]


def _wrong(beta: float, errors: Tree) -> list[str]:
    """At beta = inf the equilibrium is the set of students with E = 0."""
    return [
        f"{of['wrong']} of {of['students']} students of the {start} start make errors"
        for start, of in errors.items()
        if isinf(beta) and of["wrong"]
    ]


def _because(layers: list[Tree], beta: float, errors: Tree, verdict: str) -> list[str]:
    """Why the verdict on the worst layers is what it is."""
    if verdict == EQUILIBRATED:
        agreed = ["the starts agree"] if layers[0]["starts"] is not None else []
        if any(layers[0]["clones"].values()):
            agreed.append("teacher-clone and clone-clone overlaps agree")
        return [
            ", ".join([*agreed, f"and the last doubling of time changes nothing, within {TOLERANCE:g} in q"])
        ]
    everywhere = _wrong(beta, errors)
    reasons: dict[str, list[int]] = {}
    for layer in layers:
        for reason in layer["reasons"] if layer["verdict"] == verdict else ():
            reasons.setdefault(reason, []).append(layer["layer"])
    return everywhere + [
        f"{reason} at l = {numbered(places)}"
        for reason, places in reasons.items()
        if reason not in everywhere
    ]


def numbered(layers: list[int]) -> str:
    """Layers in ascending order: 1-3, 5."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


# ---------------------------------------------------------------------------------------------- mixing


def _rhat(q: xr.DataArray, window: Window) -> list[Tree]:
    """R-hat of every layer; q of the coldest temperature."""
    starts = [str(start) for start in q["start"].values]
    measured = window.of(q)
    return [
        {
            "layer": int(layer),
            "clones": {
                start: r_hat(measured.sel(layer=layer, start=start).rename(clone="chain")) for start in starts
            },
            "starts": r_hat(measured.sel(layer=layer).stack(chain=("start", "clone")))
            if len(starts) == 2
            else None,
        }
        for layer in q["layer"].values
    ]


def _tau(results: Results, q: xr.DataArray, window: Window, cold: int) -> Tree:
    """Autocorrelation times of q in every layer and of the energy; q of the coldest temperature."""
    starts, every = [str(start) for start in q["start"].values], spacing(results, window)
    if every is None:
        return {"every": None, "layers": [], "energy": {}}
    energy, measured = window.of(results.variable("energy").isel(beta=cold)), window.of(q)
    return {
        "every": every,
        "layers": [
            {
                "layer": int(layer),
                **{
                    start: autocorrelation_time(measured.sel(layer=layer, start=start), every)
                    for start in starts
                },
            }
            for layer in q["layer"].values
        ],
        "energy": {start: autocorrelation_time(energy.sel(start=start), every) for start in starts},
    }


def _remarks(rhat: list[Tree], tau: Tree, window: Window) -> list[str]:
    """What to know before tau and R-hat are used."""
    remarks = []
    if tau["every"] is None:
        remarks.append(
            "No autocorrelation time tau: measurements are not equally spaced in time. "
            "With `measurements: {kind: linear, every: ...}` there is one."
        )
    short = _short(tau)
    if short:
        remarks.append(
            f"The window is shorter than {LONG_ENOUGH} tau for {'; '.join(short)}: it comes out too "
            "small there, and a longer run is needed to know it."
        )
    if window.measurements < FEWEST_DRAWS:
        remarks.append(
            f"No R-hat: it needs {FEWEST_DRAWS} measurements in the window, there are {window.measurements}."
        )
    return remarks


def _short(tau: Tree) -> list[str]:
    """Where the window is too short for tau, in words."""
    starts = list(tau["energy"])
    found = []
    for start in starts:
        layers = [row["layer"] for row in tau["layers"] if row[start] and not row[start]["enough"]]
        if layers:
            found.append(f"q at l = {numbered(layers)} ({start} start)")
        energy = tau["energy"][start]
        if energy and not energy["enough"] and not isnan(energy["sweeps"]):
            found.append(f"the energy ({start} start)")
    return found

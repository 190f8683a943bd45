"""Parallel tempering: how replicas move along the ladder of temperatures, and what that says of the ladder.

Counts are those of all swaps since t = 0.  Ladders are shown from hot to cold, whatever their order in the
file.  r_e is the rejection rate of swaps on edge e, between neighbours of the ladder.  «Syed» is Syed,
Bouchard-Cote, Deligiannidis and Doucet, J. R. Stat. Soc. B 84, 321 (2022).
"""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dsm_hpc.analysis.results import Results
from dsm_hpc.analysis.statistics import Estimate, estimate, window
from dsm_hpc.errors import InputError
from dsm_hpc.presentation.wording import column, counted, item, number, table, with_error

Array = NDArray[np.float64]

SATURATED = 0.9
"""Rejection rate from which on an edge may hide a larger barrier: one edge adds at most 1."""


FEWER = 2.0
"""Standard errors from which on round trips count as fewer than half of what is predicted."""


def is_tempered(results: Results) -> bool:
    """Whether replicas exchanged temperatures in this run."""
    return results.has("exchange/attempts")


def exchange(results: Results) -> dict[str, Any] | None:
    """Diagnostics of the swaps, per start; None for a run without them, or before anything is measured.

    Every `Estimate` is over samples; clones of one sample are added up first.
    """
    times = window(results)
    if not is_tempered(results) or times is None:
        return None
    every = results.config.dynamics.exchange_every
    assert every is not None
    return {
        "every": every,
        "time": times.last,
        "betas": results.layout.coordinates["beta"][hot_to_cold(results)].tolist(),
        "tuning": tuning(results),
        "starts": {start: _start(results, start, times.last) for start in results.config.ensemble.starts},
    }


def hot_to_cold(results: Results) -> NDArray[np.int64]:
    """Positions on the axis beta in ascending order of beta."""
    return np.argsort(results.layout.coordinates["beta"])


def swap_counts(results: Results, start: str, time: int) -> tuple[xr.DataArray, xr.DataArray]:
    """Swaps tried and made since t = 0 on each edge, hot to cold, on the axes sample, clone, edge."""
    betas = results.layout.coordinates["beta"]
    edges = slice(None) if betas[0] < betas[-1] else slice(None, None, -1)
    attempts, accepts = (
        results.variable(f"exchange/{name}").sel(start=start, time=time).isel(edge=edges)
        for name in ("attempts", "accepts")
    )
    return attempts, accepts


def _start(results: Results, start: str, time: int) -> dict[str, Any]:
    """One start at the last measured time."""
    attempts, accepts = swap_counts(results, start, time)
    tried = attempts.sum("clone")
    rejection = 1 - accepts.sum("clone") / tried.where(tried > 0)
    trips = results.variable("exchange/round_trips").sel(start=start, time=time)
    trips = trips.isel(replica=hot_to_cold(results))
    every = results.config.dynamics.exchange_every or 1
    rate = trips.mean(["clone", "replica"]) / time if time else trips.mean(["clone", "replica"]) * np.nan
    accumulated = rejection.cumsum("edge", skipna=False)
    second = _by_sample(second_eigenvalue, 1 - rejection)
    return {
        "attempts": attempts.sum(["sample", "clone"]).values.tolist(),
        "accepts": accepts.sum(["sample", "clone"]).values.tolist(),
        "acceptance": estimate(1 - rejection),
        "barrier": estimate(accumulated),
        "temperatures": suggested_temperatures(float(accumulated.isel(edge=-1).mean("sample"))),
        "round_trips": estimate(trips.mean("clone")),
        "rate": estimate(rate),
        "rate_per_round": estimate(rate * every * trips.sizes["replica"]),
        "predicted_per_round": estimate(_by_sample(predicted_round_trips, rejection)),
        "mixing": {
            "matrix": mixing_matrix(1 - rejection.mean("sample").values).tolist(),
            "second": estimate(second),
            "relaxation": _relaxation(estimate(second), 2 * every),
        },
        "bottlenecks": _bottlenecks(results, attempts, accepts),
    }


def _by_sample(function: Any, rates: xr.DataArray) -> xr.DataArray:
    """A function of the rates of all edges, for every sample."""
    return xr.DataArray([function(row) for row in rates.transpose("sample", "edge").values], dims="sample")


# ---------------------------------------------------------------------------------------------- the theory


def suggested_temperatures(barrier: float) -> float:
    """About 2 Lambda + 1, so that every other swap is rejected (Syed); NaN if the barrier is not known."""
    return float(max(2, round(2 * barrier + 1))) if np.isfinite(barrier) else np.nan


def predicted_round_trips(rejection: Array) -> float:
    """Round trips of all replicas per round of swaps of the deterministic even-odd scheme (Syed):

    1 / (2 + 2 sum_e r_e / (1 - r_e)), where energies of a replica are independent from swap to swap; 0 where
    an edge rejects everything.
    """
    if (rejection == 1).any():
        return 0.0
    return float(1 / (2 + 2 * (rejection / (1 - rejection)).sum()))


def mixing_matrix(acceptance: Array) -> Array:
    """Transitions of a replica between temperatures in one double round, even edges and then odd edges.

    acceptance : (B - 1,).  Returns (B, B), doubly stochastic.  As in `predicted_round_trips`, swaps are taken
    to be independent of each other.
    """
    rounds = [np.eye(len(acceptance) + 1), np.eye(len(acceptance) + 1)]
    for edge, accepted in enumerate(acceptance):
        pair = np.ix_([edge, edge + 1], [edge, edge + 1])
        rounds[edge % 2][pair] = [[1 - accepted, accepted], [accepted, 1 - accepted]]
    mixing: Array = rounds[0] @ rounds[1]
    return mixing


def second_eigenvalue(acceptance: Array) -> float:
    """Second largest modulus of an eigenvalue of the mixing matrix; NaN where an acceptance is missing."""
    if not np.isfinite(acceptance).all():
        return np.nan
    # The largest is that of the uniform distribution, 1.
    moduli = np.sort(np.abs(np.linalg.eigvals(mixing_matrix(acceptance))))
    return float(min(moduli[-2], 1.0))


def _relaxation(second: Estimate, sweeps: int) -> dict[str, float]:
    """Relaxation time -sweeps / ln |lambda_2| in sweeps, with the error of |lambda_2| carried over."""
    modulus, error = float(second.mean), float(second.error)
    if np.isnan(modulus) or modulus == 0:
        return {"mean": modulus, "error": np.nan}
    if modulus > 1 - 1e-12:
        return {"mean": np.inf, "error": np.nan}
    rate = -np.log(modulus)
    return {"mean": float(sweeps / rate), "error": float(sweeps * error / (modulus * rate**2))}


def _bottlenecks(results: Results, attempts: xr.DataArray, accepts: xr.DataArray) -> list[dict[str, Any]]:
    """Edges on which some ladders never tried, or never made, a swap."""
    betas = results.layout.coordinates["beta"][hot_to_cold(results)]
    found = []
    for edge in range(attempts.sizes["edge"]):
        tried, made = attempts.isel(edge=edge), accepts.isel(edge=edge)
        for never, where in (("tried", tried == 0), ("accepted", (tried > 0) & (made == 0))):
            if where.any():
                ends = [float(betas[edge]), float(betas[edge + 1])]
                found.append({"betas": ends, "never": never, "ladders": int(where.sum()), "of": where.size})
    return found


def tuning(results: Results) -> dict[str, Any] | None:
    """How an adaptive ladder was found, or None; raises InputError if the file has that damaged."""
    told = results.tuning
    if told is None:
        return None
    try:
        rounds = [
            {"betas": [float(beta) for beta in a["betas"]], "rejection": [float(r) for r in a["rejection"]]}
            for a in told["rounds"]
        ]
        return {"burn_in": int(told["burn_in"]), "rounds": rounds}
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InputError(
            f"{results.path}: damaged: the attribute `ladder_tuning` is not burn_in and rounds of betas"
        ) from None


# ---------------------------------------------------------------------------------------------- in words


def exchange_text(numbers: dict[str, Any]) -> str:
    """The section of `dsm analyze`, from the numbers with their estimates as plain values."""
    heading = item(
        f"Exchange of replicas: swaps of neighbours are tried every {counted(numbers['every'], 'sweep')}, "
        f"even and odd edges in turn. All swaps since t = 0, up to t = {numbers['time']}. {_tuning(numbers)}"
    )
    starts = [_start_text(start, values, numbers) for start, values in numbers["starts"].items()]
    return "\n".join([heading, *starts])


def _tuning(numbers: dict[str, Any]) -> str:
    tuned = numbers["tuning"]
    if tuned is None or not tuned["rounds"]:
        return ""
    first, last = (tuned["rounds"][place]["rejection"] for place in (0, -1))
    return (
        f"The ladder was tuned before t = 0, in {counted(tuned['burn_in'], 'sweep')}: rejection "
        f"{_range(first)} in the first of {counted(len(tuned['rounds']), 'round')}, {_range(last)} in the "
        "last."
    )


def _range(values: list[float]) -> str:
    return f"{number(min(values), 2)} to {number(max(values), 2)}" if values else "unknown"


def _start_text(start: str, values: dict[str, Any], numbers: dict[str, Any]) -> str:
    """A table along the ladder, and what it comes to."""
    betas = [f"{beta:.4g}" for beta in numbers["betas"]]
    acceptance, barrier, trips = values["acceptance"], values["barrier"], values["round_trips"]
    columns = [
        betas,
        [*column(acceptance["mean"], acceptance["error"]), ""],
        ["0", *column(barrier["mean"], barrier["error"])],
        [with_error(mean, error, "±", 2) for mean, error in zip(trips["mean"], trips["error"], strict=True)],
    ]
    rows = [list(line) for line in zip(*columns, strict=True)]
    titles = ["beta", "accepted with next", "Lambda", "round trips from here"]
    return "\n".join(
        [
            f"  {start} start",
            table(titles, rows, "  "),
            *map(item, [_travel(values), _barrier(values, len(betas)), _mixing(values)]),
            *(item(f"Bottleneck, {_bottleneck(edge)}.") for edge in values["bottlenecks"]),
        ]
    )


def _travel(values: dict[str, Any]) -> str:
    rate, round_rate, predicted = (values[n] for n in ("rate", "rate_per_round", "predicted_per_round"))
    words = (
        f"Round trips hot - cold - hot: {_scaled(rate, 1000)} per replica in 1000 sweeps. Of all replicas, "
        f"per round of swaps: {_scaled(round_rate)}; predicted from the rejection rates r, "
        f"1/(2 + 2 sum r/(1 - r)): {_scaled(predicted)}."
    )
    short = predicted["mean"] / 2 - round_rate["mean"]
    if short > FEWER * np.hypot(predicted["error"] / 2, round_rate["error"]):
        words += (
            " They are fewer than half of that: replicas remember their energies from swap to swap, as where "
            "the dynamics at some temperatures is slow or a transition of first order is crossed."
        )
    return words


def _scaled(value: dict[str, Any], factor: float = 1) -> str:
    return with_error(factor * value["mean"], factor * value["error"])


def _barrier(values: dict[str, Any], temperatures: int) -> str:
    barrier, acceptance = values["barrier"], values["acceptance"]["mean"]
    words = (
        f"Communication barrier Lambda = {with_error(barrier['mean'][-1], barrier['error'][-1])}: about "
        f"2 Lambda + 1 = {number(values['temperatures'], 0)} temperatures are suggested, {temperatures} are "
        "used."
    )
    if any(accepted < 1 - SATURATED for accepted in acceptance):
        words += " An edge that rejects nearly everything may hide a larger barrier."
    return words


def _mixing(values: dict[str, Any]) -> str:
    """The mixing matrix in words."""
    mixing = values["mixing"]
    words = (
        "Mixing of temperatures if swaps were independent: second largest eigenvalue modulus "
        f"{_scaled(mixing['second'])}"
    )
    time = mixing["relaxation"]["mean"]
    if np.isinf(time):
        return f"{words}: a replica never forgets its temperature."
    return f"{words}, relaxation time {with_error(time, mixing['relaxation']['error'], decimals=1)} sweeps."


def _bottleneck(edge: dict[str, Any]) -> str:
    low, high = edge["betas"]
    return (
        f"beta = {low:.4g} to {high:.4g}: no swap was {edge['never']} "
        f"in {edge['ladders']} of {counted(edge['of'], 'ladder')}"
    )

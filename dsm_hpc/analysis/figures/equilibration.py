"""Equilibrium judged three ways, layer by layer: what `analysis.equilibrium` finds, drawn."""

from collections.abc import Sequence
from math import isinf
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, NoNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from dsm_hpc.analysis.equilibrium import AGREE, DIFFER, EQUILIBRATED, NOT_EQUILIBRATED, UNDECIDED, UNRESOLVED
from dsm_hpc.analysis.equilibrium import equilibrium as judged
from dsm_hpc.analysis.figures.style import temperature, title
from dsm_hpc.analysis.measured import coldest, measured_window
from dsm_hpc.analysis.results import Results
from dsm_hpc.presentation.style import OKABE_ITO, STARTS, Look, layer_axis, legend, panels

_BOTH = Look(OKABE_ITO[2], "D", "none")
"""Of the difference between the two starts."""

_ASIDE = {"planted": -0.1, "random": 0.1}
"""By how much the points of a start stand beside their layer."""

_COLOURS = (OKABE_ITO[2], OKABE_ITO[1], "0.75", "white")
_SIGNS = ("✓", "✗", "?", "")
_PLACES = {AGREE: 0, EQUILIBRATED: 0, DIFFER: 1, NOT_EQUILIBRATED: 1, UNRESOLVED: 2, UNDECIDED: 2, None: 3}
"""Colour and sign of an outcome or verdict; None: a criterion that does not apply."""

MOST_SIGNS = 30
"""Layers up to which the cells carry signs, too."""


def draw(results: Results) -> Figure:
    """The three criteria in aligned q(l) with standard errors, in grey the tolerance: planted minus random
    start; teacher-clone minus clone-clone overlap; last half of the run minus the quarter before it.  Below
    right the outcomes, and the verdict on each layer, by colour and sign."""
    measured_window(results)
    found = judged(results)
    assert found is not None
    beta, tolerance = found["betas"][found["coldest"]], found["tolerance"]
    starts = [str(start) for start in results.config.ensemble.starts]
    layers = beta["layers"]
    heading = f"{title(results, temperature(results, coldest(results)))}\n{found['verdict']}"
    figure, (between, clones, windows, outcomes) = panels(2, 2, heading, height=2.5)
    _draw_differences(between, [("", [layer["starts"] for layer in layers])], tolerance, "there is one start")
    _draw_differences(
        clones,
        [(start, [layer["clones"][start] for layer in layers]) for start in starts],
        tolerance,
        "no clones, or $E>0$: equality\nis not expected",
    )
    _draw_differences(
        windows,
        [(start, [layer["windows"][start]["drift"] for layer in layers]) for start in starts],
        tolerance,
        "there is one window so far",
    )
    between.set_title("planted $-$ random")
    clones.set_title("teacher-clone $-$ clone-clone")
    windows.set_title(_windows_in_words(found["windows"]))
    for panel in (between, windows):
        panel.set_ylabel(r"$\Delta q(l)$")
    _draw_outcomes(outcomes, outcome_table(beta, starts))
    handles = [STARTS[start].but(line="none").handle(f"{start} start") for start in starts]
    legend(
        figure,
        [
            *([_BOTH.handle("between starts")] if len(starts) > 1 else []),
            *handles,
            Patch(color="0.9", label=f"tolerance, {tolerance:g}"),
        ],
        columns=4,
    )
    return figure


def outcome_table(beta: dict[str, Any], starts: Sequence[str]) -> dict[str, list[str | None]]:
    """Outcomes of the criteria and the verdict, by layer; None where a criterion does not apply.

    beta : a temperature in the tree of `equilibrium`.
    """
    layers = beta["layers"]
    rows: dict[str, list[Any]] = {"starts": [layer["starts"] for layer in layers]}
    rows |= {f"clones, {start}": [layer["clones"][start] for layer in layers] for start in starts}
    rows |= {f"windows, {start}": [layer["windows"][start]["drift"] for layer in layers] for start in starts}
    outcomes = {name: [one and one["outcome"] for one in row] for name, row in rows.items()}
    wrong = any(errors["wrong"] for errors in beta["errors"].values())
    solved = (DIFFER if wrong else AGREE) if isinf(beta["beta"]) else None
    return {**outcomes, "$E=0$": [solved] * len(layers), "verdict": [layer["verdict"] for layer in layers]}


def sign(outcome: str | None) -> str:
    """The sign of an outcome or a verdict."""
    return _SIGNS[_PLACES[outcome]]


def _draw_differences(
    panel: Axes, rows: Sequence[tuple[str, Sequence[Any]]], tolerance: float, missing: str
) -> None:
    """Differences with errors against the layer, one row per start; `missing` says why there are none."""
    panel.axhspan(-tolerance, tolerance, color="0.9", linewidth=0)
    panel.axhline(0, color="0.35", linestyle=":", linewidth=0.9)
    largest, depth = 1.3 * tolerance, len(rows[0][1])
    for start, row in rows:
        look, aside = (STARTS[start].but(line="none"), _ASIDE[start]) if start else (_BOTH, 0.0)
        points = [(layer + aside, one) for layer, one in enumerate(row, start=1) if one is not None]
        if points:
            values = np.array([one["difference"] for _, one in points])
            errors = np.array([one["error"] for _, one in points])
            panel.errorbar(
                [x for x, _ in points], values, errors, capsize=0, elinewidth=1.0, **look.properties()
            )
            largest = np.nanmax([largest, *(np.abs(values) + np.nan_to_num(errors))])
    if not any(one is not None for _, row in rows for one in row):
        panel.text(0.5, 0.75, missing, transform=panel.transAxes, ha="center", va="center", color="0.35")
    panel.set_xlim(0.5, depth + 0.5)
    panel.set_ylim(-1.1 * largest, 1.1 * largest)
    layer_axis(panel)


def _draw_outcomes(panel: Axes, table: dict[str, list[str | None]]) -> None:
    """One cell per criterion and layer; a line sets the verdict apart."""
    places = np.array([[_PLACES[outcome] for outcome in row] for row in table.values()])
    depth = places.shape[1]
    panel.imshow(
        places,
        cmap=ListedColormap(list(_COLOURS)),
        norm=NoNorm(0, len(_COLOURS) - 1),
        aspect="auto",
        extent=(0.5, depth + 0.5, len(table) - 0.5, -0.5),
        alpha=0.6,
    )
    for row, line in enumerate(places):
        for layer, place in enumerate(line, start=1):
            if depth <= MOST_SIGNS:
                panel.text(layer, row, _SIGNS[place], ha="center", va="center", fontsize=9)
    panel.axhline(len(table) - 1.5, color="black", linewidth=0.8)
    panel.set_yticks(range(len(table)), list(table))
    panel.tick_params(length=0)
    panel.set_title("✓ agree   ✗ differ   ? unresolved")
    layer_axis(panel)


def _windows_in_words(windows: Sequence[dict[str, Any]]) -> str:
    if len(windows) < 2:
        return "windows"
    before, last = windows[-2:]
    return f"$[{last['first']},{last['last']}]$ $-$ $[{before['first']},{before['last']}]$"

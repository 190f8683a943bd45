"""Figures of theory: profiles, curves against α, the α-L phase diagram."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from dsm_hpc.presentation.style import OKABE_ITO, Look, layer_axis, legend, marker, panels
from dsm_hpc.theory.continuation import Point
from dsm_hpc.theory.overlap import Array
from dsm_hpc.theory.phase_diagram import PhaseDiagram
from dsm_hpc.theory.solver import Branch, Solution

CLOSURES = {"dense_limit": OKABE_ITO[0], "cavity": OKABE_ITO[1]}
BRANCHES: dict[Branch, Any] = {"uninformed": "--", "informed": "-"}

Curves = dict[str, Callable[[Solution], float]]


def draw_profiles(points: Sequence[Point]) -> Figure:
    """q(l), r(l) and r_test(l) of both branches, one colour per closure; all of one depth and α.

    A branch that rules is drawn with filled markers.
    """
    one = points[0].uninformed
    figure, axes = panels(1, 3, f"theory, {one.prior} weights, $L={one.depth}$, $\\alpha={one.alpha:g}$")
    layers, handles = np.arange(1, one.depth + 1), []
    for p in points:
        for solution in [p.ruling] if p.coincide else [p.uninformed, p.informed]:
            rules = solution is p.ruling
            look = Look(
                CLOSURES[solution.closure],
                marker(list(CLOSURES).index(solution.closure)),
                BRANCHES[solution.branch],
                filled=rules,
            )
            rows = (solution.q, solution.r, solution.generalization.forward)
            for panel, values in zip(axes, rows, strict=True):
                panel.plot(layers, values, **look.properties())
            name = "one solution" if p.coincide else solution.branch + (", rules" if rules else "")
            handles.append(look.handle(f"{solution.closure}: {name}"))
    for panel, label in zip(axes, ("$q(l)$", "$r(l)$", r"$r_{\mathrm{test}}(l)$, forward"), strict=True):
        panel.set_ylabel(label)
        panel.set_ylim(-0.03, 1.03)
        layer_axis(panel)
    legend(figure, handles, columns=2)
    return figure


def draw_curves(rows: Sequence[Sequence[Point]]) -> Figure:
    """q of first, middle and last layer and both test errors against α, of one depth, one row per closure.

    Both branches; the one that rules is drawn thick.
    """
    one = rows[0][0].uninformed
    title = f"theory, {one.prior} weights, $L={one.depth}$"
    figure, axes = panels(len(rows), 2, title, height=2.5)
    places = {"$q(1)$": 0, f"$q({(one.depth + 1) // 2})$": (one.depth - 1) // 2, f"$q({one.depth})$": -1}
    values: Curves = {name: partial(_overlap, place=place) for name, place in places.items()}
    errors: Curves = {
        "forward": lambda solution: solution.generalization.forward_error,
        "saddle": lambda solution: solution.generalization.saddle_error,
    }
    for row, points in enumerate(rows):
        closure = points[0].uninformed.closure
        for panel, curves in zip(axes[2 * row : 2 * row + 2], (values, errors), strict=True):
            first = 0 if curves is values else 3
            for colour, value in zip(OKABE_ITO[first:], curves.values(), strict=False):
                _branches(panel, points, value, colour)
            panel.set_xlabel(r"$\alpha=M/c$")
            panel.set_xscale("log")
            panel.set_title(closure)
        axes[2 * row].set_ylabel("$q(l)$")
        axes[2 * row].set_ylim(-0.03, 1.03)
        axes[2 * row + 1].set_ylabel(r"test error $\epsilon_g$")
        axes[2 * row + 1].set_ylim(-0.01, 0.53)
    names = [*values, *errors]
    handles = [Line2D([], [], color=c, label=n) for c, n in zip(OKABE_ITO, names, strict=False)]
    styles = [Line2D([], [], color="0.4", linestyle=line, label=name) for name, line in BRANCHES.items()]
    thick = Line2D([], [], color="0.4", linewidth=2.2, label="rules")
    legend(figure, [*handles, *styles, thick], columns=4)
    return figure


def _overlap(solution: Solution, place: int) -> float:
    return float(solution.q[place])


def _branches(panel: Axes, points: Sequence[Point], value: Callable[[Solution], float], colour: str) -> None:
    """Both branches of one curve."""
    alphas = [p.alpha for p in points]
    for name, line in BRANCHES.items():
        solutions = [p.branch(name) for p in points]
        y = np.array([value(s) if s.converged else np.nan for s in solutions])
        rules = np.array([p.ruling is s or p.coincide for p, s in zip(points, solutions, strict=True)])
        panel.plot(alphas, y, color=colour, linestyle=line, linewidth=1.0)
        panel.plot(alphas, np.where(rules, y, np.nan), color=colour, linestyle=line, linewidth=2.2)


def draw_phase_diagram(diagrams: Sequence[PhaseDiagram]) -> Figure:
    """Mean q of the ruling solution over depth and α, and the lines of transitions; one panel per closure."""
    figure, axes = panels(1, len(diagrams), f"theory, {diagrams[0].prior} weights", height=3.8)
    for panel, diagram in zip(axes, diagrams, strict=True):
        alphas = np.array(diagram.alphas)
        mesh = panel.pcolormesh(
            _edges(np.array(diagram.depths, float)),
            np.exp(_edges(np.log(alphas))),
            diagram.ruling_q.T,
            cmap="cividis",
            norm=Normalize(0, 1),
            rasterized=True,
        )
        _lines(panel, diagram)
        panel.set_yscale("log")
        panel.set_ylim(alphas[0], alphas[-1])
        panel.set_title(diagram.closure)
        panel.set_xlabel("depth $L$")
        panel.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes[0].set_ylabel(r"$\alpha=M/c$")
    figure.colorbar(mesh, ax=axes, label=r"mean $q(l)$ of the branch that rules", pad=0.01)
    legend(figure, [Line2D([], [], label=name, **look) for name, look in _LINES.values()], columns=2)
    return figure


_LINES: dict[str, tuple[str, dict[str, Any]]] = {
    "critical": ("layers begin to learn", {"color": OKABE_ITO[5], "linestyle": ":", "linewidth": 1.6}),
    "informed_from": (
        "two solutions from here (informed spinodal)",
        {"color": OKABE_ITO[4], "linestyle": "--", "linewidth": 1.6},
    ),
    "uninformed_to": (
        "to here (uninformed spinodal)",
        {"color": OKABE_ITO[3], "linestyle": "-.", "linewidth": 1.6},
    ),
    "rules_from": (
        "informed branch rules from here",
        {"color": OKABE_ITO[1], "linestyle": "-", "linewidth": 2.0},
    ),
}


def _lines(panel: Axes, diagram: PhaseDiagram) -> None:
    for name, (_, look) in _LINES.items():
        y = np.array([getattr(lines, name) for lines in diagram.lines])
        shown = np.where(np.isfinite(y) & (y > 0), y, np.nan)
        panel.plot(diagram.depths, shown, marker=".", markersize=3, **look)


def _edges(centres: Array) -> Array:
    """Edges of cells around centres."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])

"""Theory of the dense limit, laid over data: lines without markers."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dsm_hpc.analysis.closures import prediction_for
from dsm_hpc.analysis.results import Results

LINES: dict[str, dict[str, Any]] = {
    "cavity": {"linestyle": "-", "linewidth": 1.1},
    "dense_limit": {"linestyle": (0, (5, 2)), "linewidth": 1.1},
}


def theory_profiles(panel: Axes, files: Sequence[Results], closures: Sequence[str], name: str) -> None:
    """One overlap of each closure against the layer; files of equal L and alpha share a line."""
    for closure in closures:
        for predicted in dict.fromkeys(prediction_for(results, closure) for results in files):
            profile = getattr(predicted, name)
            panel.plot(range(1, len(profile) + 1), profile, color="black", zorder=1, **LINES[closure])


def theory_errors(
    axes: Axes, places: Sequence[tuple[float, Results]], closures: Sequence[str], colour: str
) -> None:
    """Test error of each closure at the values of the axis."""
    for closure in closures:
        points = sorted({x: prediction_for(results, closure).test_error for x, results in places}.items())
        axes.plot(*zip(*points, strict=True), color=colour, zorder=1, **LINES[closure])


def theory_handles(closures: Sequence[str]) -> list[Line2D]:
    """Legend entries."""
    return [Line2D([], [], color="black", label=f"theory: {name}", **LINES[name]) for name in closures]

"""Test error against what a scan varies: width, depth, dimension of the inputs, alpha."""

from collections.abc import Sequence
from typing import Any

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from dsm_hpc.analysis.figures.parameters import SYMBOLS, parameters, shared, symbolic
from dsm_hpc.analysis.figures.style import curve
from dsm_hpc.analysis.figures.theory import theory_errors, theory_handles
from dsm_hpc.analysis.measured import coldest, measured_window
from dsm_hpc.analysis.results import Results
from dsm_hpc.analysis.statistics import Estimate, estimate, windowed
from dsm_hpc.errors import InputError
from dsm_hpc.presentation.style import STARTS, Look, colours, legend, panels

AXES = {
    "depth": "depth $L$",
    "width": "width $N$",
    "dimension": "dimension $D$ of the inputs",
    "alpha": r"$\alpha=M/c$",
}


def draw(files: Sequence[Results], closures: Sequence[str] = ()) -> Figure:
    """Test error in the last half of each run against the scanned parameter; further ones by colour.

    closures : theory of the dense limit (`forward`), lines without markers, in black or a family's colour.
    """
    values = [parameters(results) for results in files]
    axis = _axis(files, values)
    families = _families(files, values, axis)
    figure, (axes,) = panels(1, 1, shared(files, "last half of each run", "dotted: guessing"), height=3.6)
    starts = list(dict.fromkeys(start for results in files for start in results.config.ensemble.starts))
    handles = []
    for (name, members), colour in zip(families.items(), colours(len(families)), strict=True):
        for start in starts:
            look = STARTS[start] if len(families) == 1 else STARTS[start].but(colour=colour)
            _family(
                axes,
                [(parameters(m)[axis], m) for m in members if start in m.config.ensemble.starts],
                start,
                look,
            )
            handles.append(look.handle(", ".join(filter(None, [f"{start} start", name]))))
        places = [(parameters(m)[axis], m) for m in members if parameters(m)[axis] is not None]
        theory_errors(axes, places, closures, "black" if len(families) == 1 else colour)
    handles += theory_handles(closures)
    _finish(axes, axis, sorted({value[axis] for value in values if value[axis] is not None}))
    legend(figure, handles, columns=len(starts) if len(families) == 1 else min(len(families), 3))
    return figure


def _axis(files: Sequence[Results], values: Sequence[dict[str, Any]]) -> str:
    """The parameter with the most values."""
    counts = {name: len({value[name] for value in values} - {None}) for name in AXES}
    name = max(counts, key=lambda name: counts[name])
    if counts[name] < 2:
        raise InputError(
            f"--kind generalization: needs files that differ in {', '.join(AXES)}; "
            f"{', '.join(str(results.path) for results in files)} do not"
        )
    return name


def _families(
    files: Sequence[Results], values: Sequence[dict[str, Any]], axis: str
) -> dict[str, list[Results]]:
    """The files by those parameters that vary for a fixed value of the axis; named by them."""
    others = [name for name in SYMBOLS if name not in (axis, "train") and not _follows(values, name, axis)]
    families: dict[str, list[Results]] = {}
    for results, value in zip(files, values, strict=True):
        words = [symbolic(name, value[name]) for name in others if value[name] is not None]
        families.setdefault(", ".join(words), []).append(results)
    return families


def _follows(values: Sequence[dict[str, Any]], name: str, axis: str) -> bool:
    """Whether a parameter is given by that on the axis, or does not vary at all."""
    return len({(value[axis], value[name]) for value in values}) == len({value[axis] for value in values})


def _family(axes: Axes, members: Sequence[tuple[Any, Results]], start: str, look: Look) -> None:
    """One curve; a run that has no value on the axis (independent inputs have no dimension) is a level."""
    for x, results in members:
        if x is None:
            axes.axhline(
                float(_error(results, start).mean), color=look.colour, linestyle=look.line, alpha=0.6
            )
    points = sorted(((x, results) for x, results in members if x is not None), key=lambda point: point[0])
    if points:
        errors = [_error(results, start) for _, results in points]
        curve(axes, [x for x, _ in points], _joined(errors), look)


def _error(results: Results, start: str) -> Estimate:
    errors = windowed(results, "test_error", measured_window(results))
    return estimate(errors.sel(start=start).isel(beta=coldest(results)))


def _joined(errors: Sequence[Estimate]) -> Estimate:
    """Estimates of several files along one axis."""
    parts = [
        [getattr(error, part).drop_vars(["start", "beta"]) for error in errors] for part in vars(errors[0])
    ]
    return Estimate(*(xr.concat(part, "point") for part in parts))


def _finish(axes: Axes, axis: str, values: list[float]) -> None:
    """Labels, a logarithmic axis for a wide range, the level of guessing, ticks at the values."""
    axes.set_xlabel(AXES[axis])
    axes.set_ylabel("test error")
    axes.axhline(0.5, color="0.35", linestyle=":", linewidth=0.9)
    axes.set_ylim(0, 0.53)
    if values[0] > 0 and values[-1] / values[0] >= 8:
        axes.set_xscale("log")
    if len(values) <= 10:
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.xaxis.set_minor_locator(NullLocator())

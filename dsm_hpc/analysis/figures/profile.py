"""Overlaps against layers: where in the network the teacher is found (DSM's spatial profile)."""

from collections.abc import Sequence
from math import pi, sqrt
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dsm_hpc.analysis.figures.parameters import names, shared
from dsm_hpc.analysis.figures.style import curve, temperature, title
from dsm_hpc.analysis.figures.theory import theory_handles, theory_profiles
from dsm_hpc.analysis.measured import coldest, measured_window
from dsm_hpc.analysis.results import Results
from dsm_hpc.analysis.statistics import Estimate, estimate, unlearnt, windowed
from dsm_hpc.presentation.style import STARTS, colours, layer_axis, legend, panels

_PANELS = {"q": "aligned $q(l)$", "r": "aligned $r(l)$", "r_test": r"aligned $r_{\mathrm{test}}(l)$"}
_CHANCE: dict[str, Any] = {"color": "0.35", "linestyle": ":", "linewidth": 0.9}


def draw(files: Sequence[Results], closures: Sequence[str] = ()) -> Figure:
    """Aligned q(l), r(l), r_test(l) in the last half of the run: filled markers for student and teacher,
    rings for two clones; one colour per start, or per file if there are several.  Dotted: what alignment
    alone makes of students that have learnt nothing.

    closures : theory of the dense limit, black lines without markers.

    Where both starts are there, a second row shows the planted one on its own scale: near q = 1 the
    difference between the ends and the middle of the network would be lost beside the random start.
    """
    starts = list(dict.fromkeys(start for results in files for start in results.config.ensemble.starts))
    rows: list[Sequence[str]] = [starts, ["planted"]] if len(starts) > 1 else [starts]
    figure, axes = panels(len(rows), len(_PANELS), _title(files), height=2.3)
    for row, shown in enumerate(rows):
        for column, (name, label) in enumerate(_PANELS.items()):
            panel = axes[row * len(_PANELS) + column]
            _draw_panel(panel, files, name, shown)
            theory_profiles(panel, files, closures, name)
            panel.set_ylabel(label if row == 0 else f"{label}, planted")
            if row == 0:
                _draw_chance(panel, files, name)
            layer_axis(panel)
    legend(figure, [*_legend(files, starts), *theory_handles(closures)], columns=3)
    return figure


def _draw_panel(panel: Axes, files: Sequence[Results], name: str, starts: Sequence[str]) -> None:
    """One overlap of all files, for some of their starts."""
    for place, results in enumerate(files):
        for start in (start for start in results.config.ensemble.starts if start in starts):
            look = STARTS[start] if len(files) == 1 else STARTS[start].but(colour=colours(len(files))[place])
            looks = {"teacher": look, "clones": look.but(filled=False, line="none")}
            for group, drawn in looks.items():
                if results.has(f"{group}/{name}_aligned"):
                    profile = _profile(results, f"{group}/{name}_aligned", start)
                    curve(panel, profile.mean["layer"].values, profile, drawn)


def _draw_chance(panel: Axes, files: Sequence[Results], name: str) -> None:
    """Unlearnt students as measured at t = 0; else r = sqrt(2 / (pi M)) of an uncorrelated hidden layer."""
    if _measured_chance(files):
        start = unlearnt(files[0], f"teacher/{name}_aligned")
        assert start is not None
        panel.plot(start["layer"].values, start.mean("sample").values, **_CHANCE)
    elif name == "r":
        for train in sorted({results.config.patterns.train for results in files}):
            panel.axhline(sqrt(2 / (pi * train)), **_CHANCE)


def _measured_chance(files: Sequence[Results]) -> bool:
    """Whether unlearnt students are in the data; those of several files would bury their curves."""
    return len(files) == 1 and "random" in files[0].config.ensemble.starts


def _profile(results: Results, name: str, start: str) -> Estimate:
    values = windowed(results, name, measured_window(results))
    return estimate(values.sel(start=start).isel(beta=coldest(results)))


def _title(files: Sequence[Results]) -> str:
    if len(files) > 1:
        return shared(files, "last half of each run")
    times = measured_window(files[0])
    return (
        title(files[0])
        + "\n"
        + f"{temperature(files[0], coldest(files[0]))}, ${times.first} \\leq t \\leq {times.last}$"
    )


def _legend(files: Sequence[Results], starts: Sequence[str]) -> list[Line2D]:
    looks = {start: STARTS[start] if len(files) == 1 else STARTS[start].but(colour="0.4") for start in starts}
    named = zip(colours(len(files)), names(files), strict=True) if len(files) > 1 else ()
    clones = {start: look.but(filled=False, line="none") for start, look in looks.items()}
    cloned = any(results.config.ensemble.clones > 1 for results in files)
    chance = "unlearnt (random, $t=0$)" if _measured_chance(files) else r"bias $\sqrt{2/\pi M}$ of $r$"
    return [
        *(Line2D([], [], color=colour, linewidth=2.5, label=name) for colour, name in named),
        *(look.handle(f"{start}: student, teacher") for start, look in looks.items()),
        *(look.handle(f"{start}: two clones") for start, look in clones.items() if cloned),
        Line2D([], [], label=chance, **_CHANCE),
    ]

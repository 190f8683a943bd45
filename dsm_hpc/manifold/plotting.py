"""`dsm plot --kind manifold`: the figure that fits what the files hold, and what is to be said about it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dsm_hpc.errors import InputError
from dsm_hpc.manifold import figures, layout, storage
from dsm_hpc.manifold.curves import Curves, largest_gap
from dsm_hpc.manifold.figures import Dependence
from dsm_hpc.manifold.inputfile import Case
from dsm_hpc.manifold.storage import Results
from dsm_hpc.presentation.style import MOST_CURVES, escaped

Array = NDArray[np.float64]

_MOST_ENTRIES = 6
"""Entries of R that can be told apart in one panel; beyond these each unit of the student has its own."""

_FEWEST_VALUES = 3
"""Values of a parameter from which on the error at the end is shown against it."""

Pair = tuple[Curves | None, Curves | None]
"""Simulation and equations of one case."""


def draw(paths: Sequence[Path]) -> tuple[Figure, list[str]]:
    """The figure of some files, and sentences that go with it.

    gep: the equivalence.  One case: eps_g, Q and R in time, or with many units how they specialise.
    Several cases or files: eps_g at the end against each of K, D/N and eta that takes three values or more;
    where none does, eps_g in time.
    """
    kinds = {path: storage.kind_of(path) for path in paths}
    if storage.GEP in kinds.values():
        if len(paths) > 1:
            raise InputError(f"{paths[0]}: of a check of the equivalence one file is shown at a time")
        title = escaped(storage.read_job(paths[0]).config.name)
        return figures.equivalence(storage.read_equivalence(paths[0]), title), []
    files = [storage.read(path) for path in paths]
    cases = [(file, place) for file in files for place in range(len(file.job.cases))]
    pairs = _labelled(files, cases)
    if not pairs:
        raise InputError(f"{paths[0]}: nothing has been measured yet")
    title = escaped(files[0].job.config.name)
    sentences = [_gap(label, *pair) for label, pair in pairs.items()]
    if len(pairs) == 1:
        return _single(files[0].job.cases[0], *next(iter(pairs.values())), title), sentences
    dependences = _dependences([file.job.cases[place] for file, place in cases], list(pairs.values()))
    if dependences:
        return figures.asymptotic(dependences, title), sentences
    if len(pairs) > MOST_CURVES:
        raise InputError(
            f"{paths[0]}: {len(pairs)} curves: at most {MOST_CURVES} can be told apart in one figure"
        )
    return figures.comparison(pairs, title, _level(files)), sentences


def _single(case: Case, simulated: Curves | None, expected: Curves | None, title: str) -> Figure:
    data, networks = case.config.data, case.config.networks
    numbers = (
        f"{data.scenario}, $f$ = {data.f}, $N={data.width}$, $D={data.dimension}$, $\\eta={case.rate:g}$"
    )
    title = f"{title}: {numbers}".replace("_", " ")
    if simulated is None or networks.student * networks.teacher > _MOST_ENTRIES:
        return figures.specialisation(simulated, expected, title)
    return figures.against_equations(simulated, expected, title)


def _labelled(files: Sequence[Results], cases: Sequence[tuple[Results, int]]) -> dict[str, Pair]:
    """Curves by the name of their case, with that of the file where there are several."""
    found: dict[str, Pair] = {}
    for file, place in cases:
        name = file.job.cases[place].name.replace("_", " ")
        label = f"{file.path.stem}: {name}" if len(files) > 1 else name
        pair = curves(file, place, ""), curves(file, place, "equations/")
        if pair != (None, None):
            found[label] = pair
    return found


def curves(file: Results, place: int, group: str) -> Curves | None:
    """A case's simulation (group "") or equations; None where there is nothing.

    Of repetitions that have begun, up to the last measurement that all of them have.
    """
    if f"{group}error" not in file.arrays:
        return None
    case, repetitions = file.job.cases[place], file.job.repetitions
    rows = slice(place * repetitions, (place + 1) * repetitions)
    times = layout.steps(case) / case.config.data.width
    error = file.arrays[f"{group}error"][rows, : len(times)]
    begun = ~np.isnan(error[:, 0])
    if not begun.any():
        return None
    count = int((~np.isnan(error[begun])).all(axis=0).sum())
    K, M = case.config.networks.student, case.config.networks.teacher

    def of(name: str) -> Array:
        return file.arrays[f"{group}{name}"][rows][begun]

    test = of("test_error")[:, :count] if not group else np.full(1, np.nan)
    return Curves(
        times[:count],
        error[begun][:, :count],
        of("Q")[:, :count, :K, :K],
        of("R")[:, :count, :K, :M],
        of("T")[:, :M, :M],
        None if np.isnan(test).all() else test,
    )


def _gap(label: str, simulated: Curves | None, expected: Curves | None) -> str:
    some = simulated if simulated is not None else expected
    assert some is not None
    end = f"eps_g {some.mean[-1]:.4g} at t = {some.times[-1]:g}"
    if simulated is None or expected is None:
        return f"{label}: {end}"
    seen = len(simulated.times)
    expected = Curves(expected.times[:seen], expected.error[:, :seen], expected.Q, expected.R, expected.T)
    gap = largest_gap(simulated, expected)
    told = f"{gap:.1%}" if np.isfinite(gap) else "n/a"
    return f"{label}: {end}; largest relative gap between simulation and equations for t >= 1: {told}"


def _level(files: Sequence[Results]) -> dict[str, float]:
    """The error of the best linear student, where it is the same for all cases."""
    levels = [
        file.arrays["equations/linear_error"] for file in files if "equations/linear_error" in file.arrays
    ]
    by_case = [
        part.mean() for file, level in zip(files, levels, strict=False) for part in _by_case(file, level)
    ]
    if len(levels) < len(files) or not np.allclose(by_case, by_case[0], rtol=1e-6):
        return {}
    return {"best linear student": float(by_case[0])}


def _by_case(file: Results, values: Array) -> list[Array]:
    return np.split(values, len(file.job.cases))


_PARAMETERS = {
    "$K$": ("networks", "student"),
    r"$\delta = D/N$": ("data", "dimension"),
    r"$\eta$": ("learning", "rates"),
}
"""Labels, and where the configuration says them."""


def _dependences(cases: Sequence[Case], pairs: Sequence[Pair]) -> list[Dependence]:
    """The error at the end against each of K, D/N and eta that takes several values, all else being equal."""
    if len(pairs) < len(cases):
        return []
    found = []
    for label in _PARAMETERS:
        chosen = sorted(_alike(cases, label), key=lambda place: _value(cases[place], label))
        x = [_value(cases[place], label) for place in chosen]
        if len(set(x)) >= _FEWEST_VALUES:
            found.append(_dependence(label, x, [pairs[place] for place in chosen]))
    return found


def _value(case: Case, label: str) -> float:
    if label == "$K$":
        return case.config.networks.student
    return case.rate if label == r"$\eta$" else case.config.data.dimension / case.config.data.width


def _alike(cases: Sequence[Case], label: str) -> list[int]:
    """The largest set of cases that differ in nothing but this parameter."""
    section, key = _PARAMETERS[label]

    def rest(case: Case) -> str:
        tree = case.config.model_dump(mode="json")
        tree[section][key] = None
        return str(tree)

    keys = [rest(case) for case in cases]
    most = max(keys, key=keys.count)
    return [place for place, key in enumerate(keys) if key == most]


def _dependence(label: str, x: Sequence[float], pairs: Sequence[Pair]) -> Dependence:
    simulated = [one[0] for one in pairs if one[0] is not None]
    expected = [one[1].mean[-1] for one in pairs if one[1] is not None]
    nothing = np.full(len(x), np.nan)
    whole = len(simulated) == len(pairs)
    return Dependence(
        label,
        np.array(x, np.float64),
        np.array([one.mean[-1] for one in simulated]) if whole else nothing,
        np.array([one.spread[-1] for one in simulated]) if whole else nothing,
        np.array(expected) if len(expected) == len(pairs) else None,
        log=label != "$K$",
    )

"""Solutions in HDF5, readable as netCDF-4: `xarray.open_dataset(f, engine="h5netcdf")`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dsm_hpc.errors import InputError
from dsm_hpc.theory.overlap import Array
from dsm_hpc.theory.phase_diagram import Lines
from dsm_hpc.theory.solver import BRANCHES, Branch, Solution

FORMAT = "dsm-hpc-theory"
FORMAT_VERSION = 1

Key = tuple[str, int, float, Branch]

_AXES = ("closure", "depth", "alpha", "branch", "layer")
_PROFILES = {
    "q": ("weight overlap q(l)", lambda s: s.q),
    "r": ("spin overlap r(l) on the training set", lambda s: s.r),
    "qhat": ("conjugate of q(l)", lambda s: s.qhat),
    "rhat": ("conjugate of r(l), infinite at the output", lambda s: s.rhat),
    "r_test_forward": ("spin overlap r(l) on a test set, forward", lambda s: s.generalization.forward),
    "r_test_saddle": ("spin overlap r(l) on a test set, saddle", lambda s: s.generalization.saddle),
}
_NUMBERS = {
    "free_entropy": ("free entropy per weight of a layer", lambda s: s.free_entropy),
    "test_error_forward": ("test error, forward", lambda s: s.generalization.forward_error),
    "test_error_saddle": ("test error, saddle", lambda s: s.generalization.saddle_error),
    "residual": ("largest change of ln(strength) in one more iteration", lambda s: s.residual),
    "iterations": ("calls of the saddle-point map", lambda s: s.iterations),
    "converged": ("1 if the residual is below the tolerance", lambda s: s.converged),
    "growth": ("rate at which layers that know nothing would learn", lambda s: s.growth),
}
_LINES = {
    "critical": "alpha above which knowing nothing is unstable",
    "informed_from": "first alpha with two solutions; 0 if below the grid, NaN if there is none",
    "uninformed_to": "last alpha with two solutions; infinite if above the grid, NaN if there is none",
    "rules_from": "alpha from which the informed branch rules; NaN if it does not, 0 if below the grid",
}


def write(
    path: Path,
    prior: str,
    solutions: Mapping[Key, Solution],
    lines: Mapping[tuple[str, int], Lines] | None = None,
) -> None:
    """Writes solutions by (closure, depth, alpha, branch), and lines by (closure, depth), in a single step.

    What was not computed is NaN; layers above a network's depth too.  Raises InputError if it cannot be done.
    """
    axes: dict[str, list[Any]] = {
        "closure": _unique(key[0] for key in solutions),
        "depth": sorted({key[1] for key in solutions}),
        "alpha": sorted({key[2] for key in solutions}),
        "branch": [branch for branch in BRANCHES if any(key[3] == branch for key in solutions)],
    }
    axes["layer"] = list(range(1, axes["depth"][-1] + 1))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with h5py.File(temporary, "w") as file:
            file.attrs.update({"format": FORMAT, "format_version": FORMAT_VERSION, "prior": prior})
            _write_axes(file, axes)
            for name, (meaning, value) in (_NUMBERS | _PROFILES).items():
                profile = name in _PROFILES
                values = _gathered(axes, solutions, value, profile)
                _write_variable(file, name, meaning, _AXES[: 5 if profile else 4], values)
            if lines:
                for name, meaning in _LINES.items():
                    rows = [[getattr(lines[c, d], name) for d in axes["depth"]] for c in axes["closure"]]
                    _write_variable(file, f"line_{name}", meaning, _AXES[:2], np.array(rows))
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _gathered(
    axes: dict[str, list[Any]], solutions: Mapping[Key, Solution], value: Any, profile: bool
) -> Array:
    """Values of all solutions on all axes, without that of layers for a single number each."""
    values = np.full([len(axes[axis]) for axis in _AXES], np.nan)
    for (closure, depth, alpha, branch), solution in solutions.items():
        place = (
            axes["closure"].index(closure),
            axes["depth"].index(depth),
            axes["alpha"].index(alpha),
            axes["branch"].index(branch),
        )
        values[place][: depth if profile else 1] = value(solution)
    return values if profile else values[..., 0]


def _write_axes(file: h5py.File, axes: dict[str, list[Any]]) -> None:
    for name, values in axes.items():
        text = isinstance(values[0], str)
        kind = h5py.string_dtype() if text else np.asarray(values).dtype
        file.create_dataset(name, data=values, dtype=kind).make_scale(name)


def _write_variable(file: h5py.File, name: str, meaning: str, axes: Sequence[str], values: Array) -> None:
    dataset = file.create_dataset(name, data=values)
    dataset.attrs["long_name"] = meaning
    for place, axis in enumerate(axes):
        dataset.dims[place].attach_scale(file[axis])


def _unique(values: Any) -> list[str]:
    return list(dict.fromkeys(values))

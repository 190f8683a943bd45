"""Opens results files, also while a run writes them.

A file is believed only as far as it can be checked: sizes in it must agree with its configuration and be
backed by bytes on disk before anything of that size is read.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import comb, prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dsm_hpc.config import Config
from dsm_hpc.errors import InputError
from dsm_hpc.inputfile import MAX_INPUT_BYTES, parse_resolved
from dsm_hpc.storage.layout import FORMAT, FORMAT_VERSION, VARIABLES, Layout, Variable

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MAY_BE_EMPTY = ("pair", "waiting", "edge", "replica")
_AXES = tuple(dict.fromkeys(axis for variable in VARIABLES for axis in variable.dimensions))


@dataclass(frozen=True)
class Results:
    """A checked results file.  Data are read when asked for, so that a running job's latest are seen."""

    path: Path
    config: Config
    finished: bool
    provenance: dict[str, Any]
    point: dict[str, Any]
    layout: Layout

    def has(self, name: str) -> bool:
        """Whether the run has this variable: no `clones/...` for a single clone, for example."""
        return any(variable.name == name for variable in self.layout.variables)

    def variable(self, name: str) -> xr.DataArray:
        """One variable with its axes, coordinates and `long_name`; NaN is what has not been measured yet."""
        variable = next((v for v in self.layout.variables if v.name == name), None)
        if variable is None:
            known = ", ".join(v.name for v in self.layout.variables)
            raise InputError(f"{self.path}: has no variable {name}; there are {known}")
        with _reading(self.path) as file:
            dataset = _checked_dataset(file, variable, self.layout, self.path)
            values: NDArray[np.float64] = dataset[()]
        coordinates = {axis: self.layout.coordinates[axis] for axis in variable.dimensions}
        return xr.DataArray(
            values, coordinates, variable.dimensions, name=name, attrs={"long_name": variable.meaning}
        )


def open_results(path: Path) -> Results:
    """Checks that `path` is a results file of this program and reads what describes the run.

    Raises InputError, in one line that names the file, what was found and what is allowed.
    """
    _check_is_hdf5(path)
    with _reading(path) as file:
        _check_format(file, path)
        text = _text(file, "config_resolved", path)
        config = parse_resolved(text, f"{path}: config_resolved")
        layout = Layout({axis: _coordinate(file, axis, path) for axis in _AXES}, {})
        _check_axes(layout, config, path)
        for variable in layout.variables:
            _checked_dataset(file, variable, layout, path)
        return Results(
            path,
            config,
            bool(_attribute(file, "finished", path)),
            _mapping(file, "provenance", path),
            _mapping(file, "point", path),
            layout,
        )


# ---------------------------------------------------------------------------------------------- the file


def _check_is_hdf5(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(len(_SIGNATURE))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if start != _SIGNATURE:
        found = "is empty" if not start else "is not an HDF5 file"
        raise InputError(f"{path}: {found}; a results file that `dsm run` wrote is needed")


@contextmanager
def _reading(path: Path) -> Iterator[h5py.File]:
    """The open file.  No lock: a run may be writing it.  What HDF5 cannot read becomes an InputError."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        reason = "truncated" if "truncated" in str(error) else "damaged"
        raise InputError(f"{path}: the HDF5 file is {reason}: {' '.join(str(error).split())}") from None


def _check_format(file: h5py.File, path: Path) -> None:
    if _shown(file.attrs.get("format")) != FORMAT:
        found = _shown(file.attrs.get("format"))
        what = "has no attribute `format`" if found is None else f"has format {found!r:.40}"
        raise InputError(f"{path}: HDF5, but {what}, so not of this program: needed is {FORMAT!r}")
    version = file.attrs.get("format_version")
    if not isinstance(version, np.integer) or version < 1:
        raise InputError(f"{path}: format_version {version!r:.40} is not a number from 1 to {FORMAT_VERSION}")
    if version > FORMAT_VERSION:
        raise InputError(
            f"{path}: format_version {version} is of a newer dsm_hpc; this one reads up to {FORMAT_VERSION}"
        )


# ---------------------------------------------------------------------------------------------- attributes


def _attribute(file: h5py.File, name: str, path: Path) -> Any:
    if name not in file.attrs:
        raise InputError(f"{path}: damaged: the attribute `{name}` is missing")
    return file.attrs[name]


def _text(file: h5py.File, name: str, path: Path) -> str:
    value = _shown(_attribute(file, name, path))
    if not isinstance(value, str) or len(value) > MAX_INPUT_BYTES:
        raise InputError(
            f"{path}: damaged: the attribute `{name}` is not text of at most {MAX_INPUT_BYTES} bytes"
        )
    return value


def _mapping(file: h5py.File, name: str, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(file, name, path))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError(f"{path}: damaged: the attribute `{name}` is not a JSON object")
    return value


def _shown(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


# ---------------------------------------------------------------------------------------------- datasets


def _coordinate(file: h5py.File, axis: str, path: Path) -> NDArray[Any]:
    """Values along an axis; those of an empty axis are not in the file."""
    if axis not in file and axis in _MAY_BE_EMPTY:
        return np.empty(0, np.int64)
    dataset = _backed(file, axis, path)
    if dataset.ndim != 1 or not len(dataset):
        raise InputError(f"{path}: damaged: the axis {axis} has shape {dataset.shape}, not one dimension")
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return np.array(dataset.asstr()[()], dtype=object)
    return np.asarray(dataset[()])


def _checked_dataset(file: h5py.File, variable: Variable, layout: Layout, path: Path) -> h5py.Dataset:
    dataset = _backed(file, variable.name, path)
    wanted = layout.shape(variable.dimensions)
    if dataset.shape != wanted or dataset.dtype != np.float64:
        raise InputError(
            f"{path}: damaged: {variable.name} is {dataset.dtype} of shape {dataset.shape}, "
            f"not float64 of shape {wanted} ({', '.join(variable.dimensions)})"
        )
    return dataset


def _backed(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """A dataset whose size is on disk, as `dsm run` allocates it: not merely a number in the header."""
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise InputError(f"{path}: damaged: the dataset {name} is missing")
    size = prod(dataset.shape) * dataset.dtype.itemsize
    if dataset.chunks is not None or dataset.is_virtual or dataset.external or size > path.stat().st_size:
        raise InputError(
            f"{path}: {name} announces {size} bytes that the file does not hold in one piece "
            "(repacked or damaged): needed is the file as `dsm run` wrote it"
        )
    return dataset


def _check_axes(layout: Layout, config: Config, path: Path) -> None:
    """The axes against the configuration."""
    ensemble = config.ensemble
    sizes = {
        "sample": ensemble.samples,
        "start": len(ensemble.starts),
        "clone": ensemble.clones,
        "pair": comb(ensemble.clones, 2),
        "beta": len(config.dynamics.ladder),
        "layer": config.network.depth,
    }
    if config.dynamics.tempered:
        sizes |= {"edge": sizes["beta"] - 1, "replica": sizes["beta"]}
    for axis, size in sizes.items():
        if layout.size(axis) != size:
            raise InputError(
                f"{path}: damaged: the axis {axis} has {layout.size(axis)} values, the configuration {size}"
            )
    if tuple(layout.coordinates["start"]) != ensemble.starts:
        raise InputError(f"{path}: damaged: the axis start is not {', '.join(ensemble.starts)}")
    for axis in ("time", "waiting"):
        values = layout.coordinates[axis]
        if values.dtype.kind != "i" or (np.diff(values) <= 0).any() or (values < 0).any():
            raise InputError(f"{path}: damaged: the axis {axis} is not an increasing list of sweeps")

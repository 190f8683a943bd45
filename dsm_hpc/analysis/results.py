"""Opens results files, also while a run writes them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dsm_hpc.config import Config
from dsm_hpc.errors import InputError
from dsm_hpc.storage import scan_list
from dsm_hpc.storage.layout import Layout
from dsm_hpc.storage.reading import Header, part, read_header, values

LARGEST = 2.0**53
"""No overlap, energy or count of a run is larger; what is, has been damaged."""


@dataclass(frozen=True)
class Results:
    """A checked results file.  Data are read when asked for, so that a running job's latest are seen."""

    header: Header

    @property
    def path(self) -> Path:
        return self.header.path

    @property
    def config(self) -> Config:
        return self.header.config

    @property
    def finished(self) -> bool:
        return self.header.finished

    @property
    def provenance(self) -> dict[str, Any]:
        return self.header.provenance

    @property
    def point(self) -> dict[str, Any]:
        """The values that a scan set."""
        return self.header.point

    @property
    def tuning(self) -> dict[str, Any] | None:
        """How an adaptive ladder was found."""
        return self.header.tuning

    @property
    def layout(self) -> Layout:
        return self.header.layout

    def has(self, name: str) -> bool:
        """Whether the run has this variable: no `clones/...` for a single clone, for example."""
        return any(variable.name == name for variable in self.layout.variables)

    def variable(self, name: str, **at: int) -> xr.DataArray:
        """One variable with its axes, coordinates and `long_name`; NaN is what has not been measured yet.

        at : position along some axes, `time=-1`; only what stands there is read, and the axis is gone.

        Raises InputError if the run has no such variable, or its numbers cannot be those of a run.
        """
        variable = next((v for v in self.layout.variables if v.name == name), None)
        if variable is None:
            known = ", ".join(v.name for v in self.layout.variables)
            raise InputError(f"{self.path}: has no variable {name}; there are {known}")
        key = tuple(at.get(axis, slice(None)) for axis in variable.dimensions)
        data = part(self.header, variable, key) if at else values(self.header, variable)
        for extreme in (np.fmin.reduce(data, axis=None), np.fmax.reduce(data, axis=None)):
            if abs(extreme) > LARGEST:
                raise InputError(f"{self.path}: damaged: {name} holds {extreme:g}, which no run measures")
        dimensions = [axis for axis in variable.dimensions if axis not in at]
        coordinates = {axis: self.layout.coordinates[axis] for axis in dimensions}
        return xr.DataArray(
            data,
            coordinates,
            dimensions,
            name=name,
            attrs={"long_name": variable.meaning},
        )


def load(path: Path) -> Results:
    """Checks that `path` is a results file of this program and reads what describes the run.

    Raises InputError, in one line that names the file, what was found and what is allowed.
    """
    return Results(read_header(path))


def files_of(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The results files that are meant: the folder of a scan stands for those of its points that have begun.

    Raises InputError if there is none.
    """
    given = [Path(path) for path in paths]
    found = [file for path in given for file in (_scan(path) if path.is_dir() else [path])]
    if not found:
        raise InputError("no results file was given; needed is at least one")
    return found


def _scan(folder: Path) -> list[Path]:
    files = [folder / f"{point.name}.h5" for point in scan_list.read(folder)[0].points]
    begun = [file for file in files if file.exists()]
    if not begun:
        raise InputError(f"{folder}: no point of this scan has begun, so there are no results yet")
    return begun

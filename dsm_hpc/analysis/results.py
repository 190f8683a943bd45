"""Opens results files, also while a run writes them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from dsm_hpc.config import Config
from dsm_hpc.errors import InputError
from dsm_hpc.storage.layout import Layout
from dsm_hpc.storage.reading import Header, read_header, values


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

    def variable(self, name: str) -> xr.DataArray:
        """One variable with its axes, coordinates and `long_name`; NaN is what has not been measured yet."""
        variable = next((v for v in self.layout.variables if v.name == name), None)
        if variable is None:
            known = ", ".join(v.name for v in self.layout.variables)
            raise InputError(f"{self.path}: has no variable {name}; there are {known}")
        coordinates = {axis: self.layout.coordinates[axis] for axis in variable.dimensions}
        return xr.DataArray(
            values(self.header, variable),
            coordinates,
            variable.dimensions,
            name=name,
            attrs={"long_name": variable.meaning},
        )


def load(path: Path) -> Results:
    """Checks that `path` is a results file of this program and reads what describes the run.

    Raises InputError, in one line that names the file, what was found and what is allowed.
    """
    return Results(read_header(path))

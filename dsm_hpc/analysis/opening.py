"""Results files as xarray: `dsm_hpc.open_results`."""

import json
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dsm_hpc.analysis.lazy import Joined, Stored, lazy
from dsm_hpc.analysis.results import Results, files_of, load
from dsm_hpc.analysis.scan import short, varied
from dsm_hpc.errors import InputError
from dsm_hpc.presentation.wording import parameter
from dsm_hpc.storage.layout import VARIABLES, layout

PathLike = str | os.PathLike[str]

POINT = "point"
"""The axis of files that differ in several parameters."""

SWEEPS, DIMENSIONLESS = "sweeps", "1"
_IN_SWEEPS = ("time", "waiting")


def open_results(paths: PathLike | Sequence[PathLike]) -> xr.DataTree:
    """Opens results files of `dsm run`, also while they are written.

    paths : a results file, several of them, or the folder of a scan.

    Returns a tree with the groups of a file, `teacher`, `clones`, `autocorrelation`, `exchange`, `loops`, as
    far as the run has them, and `energy`, `test_error` and `acceptance` at its root.  Every axis has its
    coordinate, and everything its `long_name` and `units`: times are in sweeps (N c L proposals), all else is
    dimensionless.  NaN is what has not been measured (yet).  Attributes of the root: `name`, `path`,
    `finished` (0 or 1), `config_resolved` (YAML) and `provenance` (JSON text).

    Data stay in the file until they are used, and are read anew at each use; `.load()` keeps them.

    Several files are joined along the parameter that tells them apart, an axis named after the last part of
    its key: `depth` for `network.depth`; where that is several parameters, along an axis `point` with one
    coordinate for each.  The other axes hold the values of all files, and what a file lacks is NaN: layers
    beyond its depth, times at which it was not measured.  The attributes are lists then, one entry a file.

    Raises InputError for what is not a results file, and for files that no parameter tells apart.

    >>> tree = open_results("quickstart.h5")                                        # doctest: +SKIP
    >>> tree["teacher/q_aligned"].sel(start="planted", layer=1).mean("sample")      # doctest: +SKIP
    """
    files = [load(path) for path in files_of([paths] if isinstance(paths, str | os.PathLike) else paths)]
    trees = [_groups(results) for results in files]
    if len(files) == 1:
        return xr.DataTree.from_dict(
            {f"/{group}": xr.Dataset(variables) for group, variables in trees[0].items()}
            | {"/": xr.Dataset(trees[0][""], _axes(files[0]), _attributes(files[0]))}
        )
    return _joined(files, trees)


# ---------------------------------------------------------------------------------------------- one file

Groups = dict[str, dict[str, xr.Variable]]
"""Variables by the name of their group; the root's is empty."""


def _groups(results: Results) -> Groups:
    groups: Groups = {"": {}}
    for variable in results.layout.variables:
        group, _, name = variable.name.rpartition("/")
        attributes = {"long_name": variable.meaning, "units": DIMENSIONLESS}
        array = Stored(results.header, variable)
        groups.setdefault(group, {})[name] = lazy(variable.dimensions, array, attributes)
    return groups


def _axes(results: Results) -> dict[str, xr.Variable]:
    """The coordinates of the axes that have any."""
    found = results.layout.coordinates
    return {axis: _axis(axis, values, results) for axis, values in found.items() if len(values)}


def _axis(axis: str, values: NDArray[Any], results: Results) -> xr.Variable:
    attributes = {"long_name": layout(results.config).meanings[axis]}
    if values.dtype != object:
        attributes["units"] = SWEEPS if axis in _IN_SWEEPS else DIMENSIONLESS
    return xr.Variable((axis,), values, attributes)


def _attributes(results: Results) -> dict[str, Any]:
    return {
        "name": results.config.name,
        "path": os.fsencode(results.path).decode(errors="replace"),  # the name of a file need not be text
        "finished": int(results.finished),
        "config_resolved": results.config.as_yaml(),
        "provenance": json.dumps(results.provenance),
    }


# ---------------------------------------------------------------------------------------------- several files


def _joined(files: list[Results], trees: list[Groups]) -> xr.DataTree:
    along, coordinates = _parameters(files)
    axes = {axis: _union(axis, files) for axis in files[0].layout.coordinates}
    places = [
        {axis: _places(results.layout.coordinates[axis], values) for axis, values in axes.items()}
        for results in files
    ]
    groups: Groups = {"": {}}
    for variable in VARIABLES:
        group, _, name = variable.name.rpartition("/")
        parts = [tree.get(group, {}).get(name) for tree in trees]
        if any(part is not None for part in parts):
            shape = tuple(len(axes[axis]) for axis in variable.dimensions)
            attributes = {"long_name": variable.meaning, "units": DIMENSIONLESS}
            joint = lazy((along, *variable.dimensions), Joined(parts, places, shape), attributes)
            groups.setdefault(group, {})[name] = joint
    each = [_attributes(results) for results in files]
    root = xr.Dataset(
        groups[""],
        {axis: _axis(axis, values, files[0]) for axis, values in axes.items() if len(values)} | coordinates,
        {key: [entry[key] for entry in each] for key in each[0]},
    )
    # Coordinates that are no axis are not passed on from the root, so each group has them.
    own = coordinates if along == POINT else {}
    return xr.DataTree.from_dict(
        {f"/{group}": xr.Dataset(variables, own) for group, variables in groups.items()} | {"/": root}
    )


def _parameters(files: list[Results]) -> tuple[str, dict[str, xr.Variable]]:
    """The new axis and its coordinates, one for each parameter that tells the files apart."""
    columns = varied(files)
    told = [repr([values[place] for values in columns.values()]) for place in range(len(files))]
    for place, values in enumerate(told):
        if values in told[:place]:
            raise InputError(
                f"{files[place].path}: cannot be joined with {files[told.index(values)].path}: no parameter "
                "tells them apart (name, seed and output do not count); open them one by one"
            )
    names = _names(list(columns))
    along = names[0] if len(names) == 1 else POINT
    coordinates = {
        name: xr.Variable((along,), _values(values), {"long_name": key})
        for name, (key, values) in zip(names, columns.items(), strict=True)
    }
    if along == POINT:
        numbers = xr.Variable(POINT, np.arange(len(files)), {"long_name": "files in the order given"})
        coordinates[POINT] = numbers
    return along, coordinates


def _names(keys: list[str]) -> list[str]:
    """The last part of each key, or the whole key if something else has that name: `ensemble_clones`."""
    taken = {POINT, *(part for variable in VARIABLES for part in variable.name.split("/"))}
    taken |= {axis for variable in VARIABLES for axis in variable.dimensions}
    last = [short(key) for key in keys]
    return [
        name if name not in taken and last.count(name) == 1 else key.replace(".", "_")
        for key, name in zip(keys, last, strict=True)
    ]


def _values(values: list[Any]) -> NDArray[Any]:
    """Numbers as they are, a missing one NaN; anything else as text."""
    numbers = [value for value in values if value is not None]
    if numbers and all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers):
        return np.array([np.nan if value is None else value for value in values])
    return np.array([parameter(value) for value in values], dtype=object)


def _union(axis: str, files: list[Results]) -> NDArray[Any]:
    """What any file has along an axis, in order."""
    found = [results.layout.coordinates[axis] for results in files]
    if any(values.dtype == object for values in found):
        words = {str(word) for values in found for word in values}
        return np.array(sorted(words, key=_numbers_first), dtype=object)
    return np.unique(np.concatenate(found))


def _numbers_first(word: str) -> tuple[list[int], str]:
    """Sorts pairs of clones by their numbers, 0-2 before 0-10, and starts by their names."""
    return [int(number) for number in re.findall(r"\d+", word)], word


def _places(own: NDArray[Any], joint: NDArray[Any]) -> NDArray[np.int64]:
    """For each value of the joint axis its position on a file's own axis, -1 if it is not there."""
    position = {value: place for place, value in enumerate(own.tolist())}
    return np.array([position.get(value, -1) for value in joint.tolist()], dtype=np.int64)

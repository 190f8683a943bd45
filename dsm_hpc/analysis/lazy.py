"""Arrays for xarray that stay in their files until they are used."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core.indexing import (
    ExplicitIndexer,
    IndexingSupport,
    LazilyIndexedArray,
    explicit_indexing_adapter,
)

from dsm_hpc.errors import InputError
from dsm_hpc.storage.layout import Variable
from dsm_hpc.storage.reading import Header, part

Array = NDArray[np.float64]
Places = Mapping[str, NDArray[np.int64]]
"""For every axis the position in a file of each position on the joint axis; -1 where the file has none."""


class Stored(BackendArray):
    """One variable of one results file, read anew at each use: a running job's latest values are seen."""

    def __init__(self, header: Header, variable: Variable) -> None:
        self._header, self._variable = header, variable
        self._file = _identity(header)
        self.shape = header.layout.shape(variable.dimensions)
        self.dtype = np.dtype(np.float64)

    def __getitem__(self, key: ExplicitIndexer) -> Any:
        return explicit_indexing_adapter(key, self.shape, IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[int | slice, ...]) -> Array:
        if _identity(self._header) != self._file:
            raise InputError(f"{self._header.path}: was replaced after it had been opened; open it again")
        return part(self._header, self._variable, key)


class Joined(BackendArray):
    """The same variable of several files, one after another along a new first axis.

    files : what each file has, None where it lacks the variable.  What a file lacks along an axis is NaN.
    """

    def __init__(
        self, files: Sequence[xr.Variable | None], places: Sequence[Places], shape: tuple[int, ...]
    ) -> None:
        self._files, self._places = files, places
        self.shape = (len(files), *shape)
        self.dtype = np.dtype(np.float64)

    def __getitem__(self, key: ExplicitIndexer) -> Any:
        return explicit_indexing_adapter(key, self.shape, IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> Array:
        wanted = [np.arange(size)[one] for size, one in zip(self.shape, key, strict=True)]
        rows, *axes = [np.atleast_1d(one) for one in wanted]
        data = np.full([len(rows), *map(len, axes)], np.nan)
        for row, number in enumerate(rows):
            file = self._files[number]
            if file is not None:
                self._fill(data[row], file, self._places[number], axes)
        return data.reshape([size for one in wanted for size in one.shape])

    @staticmethod
    def _fill(data: Array, file: xr.Variable, places: Places, axes: list[NDArray[np.int64]]) -> None:
        """Copies what a file has of the wanted positions on each axis."""
        found = [places[str(axis)][wanted] for axis, wanted in zip(file.dims, axes, strict=True)]
        there = [np.flatnonzero(positions >= 0) for positions in found]
        if all(map(len, there)):
            inside = {
                axis: positions[kept] for axis, positions, kept in zip(file.dims, found, there, strict=True)
            }
            data[np.ix_(*there)] = file.isel(inside).values


def lazy(dimensions: Sequence[str], array: BackendArray, attributes: dict[str, Any]) -> xr.Variable:
    """A variable that is read when it is used."""
    return xr.Variable(dimensions, LazilyIndexedArray(array), attributes)


def _identity(header: Header) -> tuple[int, int]:
    """Tells a file from one that took its name."""
    try:
        found = header.path.stat()
    except OSError as error:
        raise InputError(f"{header.path}: cannot be read: {error.strerror}") from None
    return found.st_dev, found.st_ino

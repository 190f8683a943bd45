"""Creating and writing the results file.

Rank 0 creates the whole file alone: every dataset at full size, filled with NaN, its storage allocated.
Later writes touch raw data only, never metadata, so that a killed job leaves a readable file and both
writers produce the same bytes.  The file is opened without HDF5's lock: others may read it at any time.
"""

import json
import os
import shutil
from collections.abc import Callable
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from dsm_hpc.errors import InputError, RunError, Stopped
from dsm_hpc.faults import reached
from dsm_hpc.parallel.world import World
from dsm_hpc.storage.boxes import boxes
from dsm_hpc.storage.disk import bring_to_disk, replace_hdf5
from dsm_hpc.storage.layout import BUFFER_BYTES, FORMAT, FORMAT_VERSION, Layout, Variable
from dsm_hpc.storage.provenance import as_text, finished
from dsm_hpc.storage.reading import Header, values

Rows = list[int]
"""Ascending flat positions on the owner axes of a variable."""


def check_output(path: Path, overwrite: bool, size: int) -> None:
    """Raises InputError if a results file of `size` bytes cannot or must not be written.  Touches nothing."""
    try:
        if path.exists() and not overwrite:
            raise InputError(
                f"{path}: exists already; give --overwrite to replace it, or go on with it by `dsm resume`"
            )
        if path.is_dir():
            raise InputError(f"{path}: is a folder; give the name of a file")
        if path.exists() and not h5py.is_hdf5(path):
            raise InputError(f"{path}: is not a results file, so it is not overwritten; give another name")
        if not path.parent.is_dir():
            raise InputError(f"{path}: there is no folder {path.parent}")
        if not os.access(path.parent, os.W_OK):
            raise InputError(f"{path}: no permission to write into {path.parent}")
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    if size > free:
        raise InputError(
            f"{path}: results and checkpoints take {size / 2**20:.3g} MiB, "
            f"{path.parent} has {free / 2**20:.3g} MiB left"
        )


def make_folder(folder: Path) -> None:
    """The folder of a scan's files, created where it is missing; raises InputError if it cannot be."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made a folder for the scan: {error.strerror}") from None


def create(
    path: Path, layout: Layout, attributes: dict[str, Any], before: Callable[[], None] = lambda: None
) -> None:
    """Creates a results file, or replaces one in a single step.  Only rank 0 calls this.

    before : what to do when nothing can fail any more, just before the file is in its place.
    """
    replace_hdf5(path, lambda file: _begin(file, layout, attributes), before)


def extend(begun: Header, layout: Layout, attributes: dict[str, Any], times: int) -> None:
    """Replaces a results file by one with the same data up to its first `times` measurement times, and room
    for what follows.  Only rank 0 calls this."""

    def fill(file: h5py.File) -> None:
        _begin(file, layout, attributes)
        for variable in layout.variables:
            _copy(begun, file[variable.name], variable, times)

    replace_hdf5(begun.path, fill)


def _copy(begun: Header, new: h5py.Dataset, variable: Variable, times: int) -> None:
    """Copies what stands at the first `times` measurement times, a part of the first axis at a time."""
    kept = tuple(slice(0, times if axis == "time" else None) for axis in variable.dimensions[1:])
    rows, *row = begun.layout.shape(variable.dimensions)
    part = max(1, BUFFER_BYTES // (8 * prod(row)))
    for first in range(0, rows, part):
        old = values(begun, variable, first, first + part)
        new[(slice(first, first + part), *kept)] = old[(slice(None), *kept)]


def _begin(file: h5py.File, layout: Layout, attributes: dict[str, Any]) -> None:
    """Everything but data."""
    file.attrs.update({"format": FORMAT, "format_version": FORMAT_VERSION, "finished": 0} | attributes)
    _create_datasets(file, layout)


def finish(path: Path) -> None:
    """Marks the file as finished.  Only rank 0 calls this, after all ranks have closed it.

    Both attributes are changed in place: a kill in between leaves a file that can be read, and resumed.
    """
    with h5py.File(path, "r+", locking=False) as file:
        file.attrs.modify("provenance", finished(file.attrs["provenance"]))
        file.flush()
        reached("finish", 0)
        file.attrs.modify("finished", 1)
    bring_to_disk(path)


def _create_datasets(file: h5py.File, layout: Layout) -> None:
    for axis, ticks in layout.coordinates.items():
        if len(ticks):
            kind = h5py.string_dtype() if ticks.dtype == object else ticks.dtype
            scale = file.create_dataset(axis, data=ticks, dtype=kind)
            scale.attrs["long_name"] = layout.meanings[axis]
            scale.make_scale(axis)
    # Early allocation: parallel writers cannot allocate, and a full disk is noticed now.
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    early.set_fill_value(np.array(np.nan))
    for variable in layout.variables:
        space = h5py.h5s.create_simple(layout.shape(variable.dimensions))
        group, _, name = variable.name.rpartition("/")
        parent = file.require_group(group) if group else file
        identifier = h5py.h5d.create(parent.id, name.encode(), h5py.h5t.IEEE_F64LE, space, dcpl=early)
        dataset = h5py.Dataset(identifier)
        dataset.attrs["long_name"] = variable.meaning
        dataset.attrs["_FillValue"] = np.nan
        for place, axis in enumerate(variable.dimensions):
            dataset.dims[place].attach_scale(file[axis])


class Writer(Protocol):
    """Writes blocks of a results file; every call is collective."""

    def check(self) -> None:
        """Raises RunError if the file has been deleted, replaced or cut; not collective."""

    def write(
        self, variable: Variable, rows: Rows, tail: tuple[slice, ...], block: NDArray[np.float64]
    ) -> None:
        """Writes block[n] to row rows[n] of the owner axes, at `tail` of the further axes."""

    def flush(self) -> None:
        """Hands what was written to the operating system."""

    def sync(self) -> None:
        """Brings what was written to disk."""

    def __enter__(self) -> "Writer": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class _Open:
    """An open results file, closed at the end of a `with` block."""

    file: h5py.File | None = None

    def __init__(self, path: Path) -> None:
        self._path, self._found = path, path.stat()

    def check(self) -> None:
        try:
            now = self._path.stat()
        except OSError as error:
            raise RunError(f"{self._path}: is gone ({error.strerror}) while the run goes on") from None
        if now.st_ino != self._found.st_ino:
            raise RunError(f"{self._path}: was replaced by another file while the run went on")
        if now.st_size < self._found.st_size:
            raise RunError(
                f"{self._path}: was cut from {self._found.st_size} to {now.st_size} bytes during the run"
            )

    def flush(self) -> None:
        if self.file is not None:
            self.file.flush()

    def sync(self) -> None:
        self.flush()  # through MPI-IO this is MPI_File_sync on all ranks
        if self.file is not None and self.file.driver != "mpio":
            bring_to_disk(self._path)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Closing is collective: after an error on one rank the others would never come.
        if self.file is not None and (kind is None or issubclass(kind, Stopped)):
            self.file.close()


class ParallelWriter(_Open):
    """Collective writes of all ranks through MPI-IO."""

    def __init__(self, path: Path, world: World) -> None:
        super().__init__(path)
        self.file = h5py.File(path, "r+", driver="mpio", comm=world.comm, locking=False)
        self._collective = h5py.h5p.create(h5py.h5p.DATASET_XFER)
        self._collective.set_dxpl_mpio(h5py.h5fd.MPIO_COLLECTIVE)

    def __enter__(self) -> "ParallelWriter":
        return self

    def write(
        self, variable: Variable, rows: Rows, tail: tuple[slice, ...], block: NDArray[np.float64]
    ) -> None:
        # h5py's high level skips the HDF5 call for an empty selection, which hangs the other ranks:
        # every rank takes part here, with nothing selected if it has nothing.
        assert self.file is not None
        dataset = self.file[variable.name]
        owner = dataset.shape[: len(variable.owner)]
        target = dataset.id.get_space()
        target.select_none()
        for box in boxes(rows, owner):
            corner = [*box, *tail]
            target.select_hyperslab(
                tuple(part.start for part in corner),
                tuple(part.stop - part.start for part in corner),
                op=h5py.h5s.SELECT_OR,
            )
        source = h5py.h5s.create_simple((max(block.size, 1),))
        if not rows:
            source.select_none()
        dataset.id.write(
            source,
            target,
            np.ascontiguousarray(block).ravel() if rows else np.zeros(1),
            dxpl=self._collective,
        )


class GatherWriter(_Open):
    """Rank 0 receives everything and writes."""

    def __init__(self, path: Path, world: World) -> None:
        self._world = world
        if world.is_root:
            super().__init__(path)
            self.file = h5py.File(path, "r+", locking=False)

    def __enter__(self) -> "GatherWriter":
        return self

    def write(
        self, variable: Variable, rows: Rows, tail: tuple[slice, ...], block: NDArray[np.float64]
    ) -> None:
        for sender_rows, sender_block in self._world.one_by_one((rows, block)):
            assert self.file is not None
            dataset = self.file[variable.name]
            owner = dataset.shape[: len(variable.owner)]
            done = 0
            for box in boxes(sender_rows, owner):
                sizes = tuple(part.stop - part.start for part in box)
                count = int(np.prod(sizes))
                part = sender_block[done : done + count]
                dataset[(*box, *tail)] = part.reshape(*sizes, *part.shape[1:])
                done += count


def writer_kind(mode: str, world: World) -> str:
    """`mpio` or `gather`: what `output.mode` means here."""
    parallel = bool(h5py.get_config().mpi) and world.comm is not None
    if mode == "mpio" and not parallel:
        raise InputError(
            "output.mode: mpio needs h5py built on parallel HDF5, and mpi4py; allowed here are gather, auto"
        )
    return "mpio" if parallel and mode != "gather" else "gather"


def open_writer(path: Path, kind: str, world: World) -> Writer:
    """Opens a created results file for writing by all ranks."""
    return ParallelWriter(path, world) if kind == "mpio" else GatherWriter(path, world)


def attributes(
    text: str,
    overrides: tuple[str, ...],
    resolved: str,
    point: dict[str, Any],
    origin: dict[str, Any],
    tuning: dict[str, Any] | None,
) -> dict[str, Any]:
    """Root attributes that say what was run; tuning : how an adaptive ladder was found."""
    return ({} if tuning is None else {"ladder_tuning": json.dumps(tuning)}) | {
        "config": text,
        "config_overrides": json.dumps(overrides),
        "config_resolved": resolved,
        "point": json.dumps(point),
        "provenance": as_text(origin),
    }

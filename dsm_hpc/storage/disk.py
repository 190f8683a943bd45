"""Bringing what was written to disk, so that it survives a kill, and a crash of the machine."""

import os
from collections.abc import Callable
from pathlib import Path

import h5py

from dsm_hpc.errors import RunError
from dsm_hpc.faults import reached


def bring_to_disk(path: Path) -> None:
    """The contents of a file; of a folder: the names in it, after one was created or renamed."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_hdf5(
    path: Path, fill: Callable[[h5py.File], None], before: Callable[[], None] = lambda: None
) -> None:
    """Creates an HDF5 file, or replaces one in a single step.  Only rank 0 calls this.

    fill : writes the contents; before : what to do when nothing can fail any more, just before the file is in
    its place.  Raises RunError where that is not possible: what was there is as it was.
    """
    path = path.resolve()  # a link stays a link
    temporary = path.with_name(f".{path.name}.tmp")  # one that a kill left behind is used again
    try:
        with h5py.File(temporary, "w", locking=False) as file:
            fill(file)
        bring_to_disk(temporary)
        reached("creation", 0)
        before()
        temporary.replace(path)
        bring_to_disk(path.parent)
    except (OSError, ValueError, RuntimeError) as error:  # what h5py raises on a full disk varies
        raise RunError(f"{path}: cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)

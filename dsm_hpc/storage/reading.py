"""Reads what describes a results file, also while a run writes it.

A file is believed only as far as it can be checked: sizes in it must agree with its configuration and be
backed by bytes on disk before anything of that size is read.

On a damaged file libhdf5 1.10 may crash, loop, or overwrite memory that is not its own, and go on.  So it
opens the file in a child process (`guarded`), which says where the data stand; `values` reads them there.
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
from numpy.typing import NDArray

from dsm_hpc.config import Config
from dsm_hpc.errors import InputError
from dsm_hpc.inputfile import parse_resolved
from dsm_hpc.storage.guard import guarded
from dsm_hpc.storage.layout import FORMAT, FORMAT_VERSION, Layout, Variable, layout
from dsm_hpc.tree import MAX_INPUT_BYTES, is_text

_SIGNATURE = b"\x89HDF\r\n\x1a\n"

MAX_ATTRIBUTE_BYTES = 64 << 20
"""Of a JSON attribute: how a ladder was tuned takes some MiB where it has thousands of temperatures."""


@dataclass(frozen=True)
class Header:
    """What stands in a checked results file besides its data.

    text, overrides : the input as given, and its --set words; point : the values that a scan set.
    tuning : how an adaptive ladder was found; None where there is none (yet).  places : the byte of the file
    at which the data of each variable begin.
    """

    path: Path
    config: Config
    finished: bool
    provenance: dict[str, Any]
    text: str
    overrides: tuple[str, ...]
    point: dict[str, Any]
    tuning: dict[str, Any] | None
    layout: Layout
    places: dict[str, int]


def read_header(path: Path) -> Header:
    """Checks that `path` is a results file of this program and reads what describes the run.

    Raises InputError, in one line that names the file, what was found and what is allowed.
    """
    _check_is_hdf5(path)
    return guarded(lambda: _read_header(path), path)


def _read_header(path: Path) -> Header:
    with reading(path) as file:
        _check_format(file, path)
        text = _text(file, "config_resolved", path, MAX_INPUT_BYTES)
        config = parse_resolved(text, f"{path}: config_resolved")
        axes = _axes(file, config, path)
        places = {
            variable.name: checked_dataset(file, variable, axes, path).id.get_offset()
            for variable in axes.variables
        }
        return Header(
            path,
            config,
            _flag(file, "finished", path),
            _provenance(file, path),
            _text(file, "config", path, MAX_INPUT_BYTES),
            _words(file, "config_overrides", path),
            _mapping(file, "point", path),
            _mapping(file, "ladder_tuning", path) if "ladder_tuning" in file.attrs else None,
            axes,
            places,
        )


def values(
    header: Header, variable: Variable, first: int = 0, last: int | None = None
) -> NDArray[np.float64]:
    """The data of a variable as they are now; NaN is what has not been measured yet.

    first, last : only first <= i < last of the first axis.
    """
    rows, *row = header.layout.shape(variable.dimensions)
    count = (rows if last is None else min(last, rows)) - first
    place = header.places[variable.name] + 8 * first * prod(row)
    try:
        data = np.fromfile(header.path, "<f8", count * prod(row), offset=place)
    except OSError as error:
        raise InputError(f"{header.path}: cannot be read: {error.strerror}") from None
    if data.size < count * prod(row):
        raise InputError(f"{header.path}: truncated: it ends in {variable.name}")
    return data.reshape(count, *row)


def part(header: Header, variable: Variable, key: tuple[int | slice, ...]) -> NDArray[np.float64]:
    """`values(header, variable)[key]`, of which little more than these values is read."""
    shape = header.layout.shape(variable.dimensions)
    try:
        data = np.memmap(header.path, "<f8", "r", header.places[variable.name], shape)
    except OSError as error:
        raise InputError(f"{header.path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise InputError(f"{header.path}: truncated: it ends in {variable.name}") from None
    return np.array(data[key])


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
def reading(path: Path) -> Iterator[h5py.File]:
    """The open file.  No lock: a run may be writing it.  What HDF5 cannot read becomes an InputError."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        reason = "truncated" if "truncated" in str(error) else "damaged"
        raise InputError(f"{path}: the HDF5 file is {reason}: {' '.join(str(error).split())}") from None


def _check_format(file: h5py.File, path: Path) -> None:
    found = _shown(file.attrs.get("format"))
    if not isinstance(found, str) or found != FORMAT:
        what = "has no attribute `format`" if found is None else f"has format {found!r:.40}"
        raise InputError(f"{path}: HDF5, but {what}, so not of `dsm run`: needed is {FORMAT!r}")
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


def _text(file: h5py.File, name: str, path: Path, most: int = MAX_ATTRIBUTE_BYTES) -> str:
    value = _shown(_attribute(file, name, path))
    if not isinstance(value, str) or len(value) > most or not is_text(value):
        raise InputError(f"{path}: damaged: the attribute `{name}` is not text of at most {most} bytes")
    return value


def _flag(file: h5py.File, name: str, path: Path) -> bool:
    value = _attribute(file, name, path)
    if not isinstance(value, np.integer) or value not in (0, 1):
        raise InputError(f"{path}: damaged: the attribute `{name}` is {value!r:.40}, not 0 or 1")
    return bool(value)


def _provenance(file: h5py.File, path: Path) -> dict[str, Any]:
    value = _mapping(file, "provenance", path)
    if not isinstance(value.get("resumes"), list):
        raise InputError(f"{path}: damaged: the attribute `provenance` has no list of resumes")
    return value


def _mapping(file: h5py.File, name: str, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(file, name, path))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError(f"{path}: damaged: the attribute `{name}` is not a JSON object")
    return value


def _words(file: h5py.File, name: str, path: Path) -> tuple[str, ...]:
    try:
        value = json.loads(_text(file, name, path))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise InputError(f"{path}: damaged: the attribute `{name}` is not a JSON list of words")
    return tuple(value)


def _shown(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


# ---------------------------------------------------------------------------------------------- datasets


def _axes(file: h5py.File, config: Config, path: Path) -> Layout:
    """The axes of the file, which must be those that its configuration leads to.

    Their sizes come first: a configuration alone must not make the reader build axes of its size.
    """
    for axis, size in _sizes(config).items():
        _check_size(axis, _backed(file, axis, path), size, path)
    wanted = layout(config).coordinates
    found = Layout(
        {axis: _coordinate(file, axis, values, path) for axis, values in wanted.items()},
        {},
    )
    times, waiting = found.coordinates["time"], found.coordinates["waiting"]
    if times[0] != 0 or times[-1] != config.schedule.sweeps or not np.isin(waiting, times).all():
        raise InputError(
            f"{path}: damaged: the axes time and waiting are not sweeps from 0 to {config.schedule.sweeps}"
        )
    return found


def _sizes(config: Config) -> dict[str, int]:
    ensemble = config.ensemble
    sizes = {
        "sample": ensemble.samples,
        "start": len(ensemble.starts),
        "clone": ensemble.clones,
        "pair": comb(ensemble.clones, 2),
        "beta": len(config.dynamics.ladder),
        "layer": config.network.depth,
    }
    return {axis: size for axis, size in sizes.items() if size}


def _check_size(axis: str, dataset: h5py.Dataset, size: int, path: Path) -> None:
    if dataset.shape != (size,):
        found = f"{dataset.shape[0]} values" if dataset.ndim == 1 else f"shape {dataset.shape}"
        raise InputError(f"{path}: damaged: the axis {axis} has {found}, the configuration {size}")


def _coordinate(file: h5py.File, axis: str, wanted: NDArray[Any], path: Path) -> NDArray[Any]:
    """Values along an axis; those of an empty axis are not in the file."""
    if not len(wanted) and not file.id.links.exists(axis.encode()):
        return wanted
    dataset = _backed(file, axis, path)
    _check_size(axis, dataset, len(wanted), path)
    if wanted.dtype == object:
        words = h5py.check_string_dtype(dataset.dtype) is not None
        values = np.array(dataset.asstr()[()] if words else [None] * len(wanted), dtype=object)
    else:
        values = np.asarray(dataset[()])
    if not _fits(axis, values, wanted):
        raise InputError(f"{path}: damaged: the axis {axis} is {_some(values)}, not {_some(wanted)}")
    return values


def _fits(axis: str, values: NDArray[Any], wanted: NDArray[Any]) -> bool:
    """Whether an axis can be what the configuration says.  Rounding, of betas and of log-spaced times, may
    differ from machine to machine."""
    if values.dtype.kind != wanted.dtype.kind:
        return False
    if axis in ("time", "waiting"):
        return bool((np.diff(values) > 0).all())
    if axis == "beta":
        return bool(np.allclose(values, wanted, rtol=1e-9, atol=0))
    return bool(np.array_equal(values, wanted))


def _some(values: NDArray[Any]) -> str:
    return ", ".join(f"{value!s:.20}" for value in values[:4]) + ", ..." * (len(values) > 4)


def checked_dataset(file: h5py.File, variable: Variable, layout: Layout, path: Path) -> h5py.Dataset:
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
    dataset = _item(file, name)
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise InputError(f"{path}: damaged: the dataset {name} is missing")
    size, place = prod(dataset.shape) * dataset.dtype.itemsize, dataset.id.get_offset()
    split = dataset.chunks is not None or dataset.is_virtual or dataset.external or place is None
    if split or place + size > path.stat().st_size:
        raise InputError(
            f"{path}: {name} announces {size} bytes that the file does not hold in one piece "
            "(repacked or damaged): needed is the file as `dsm run` wrote it"
        )
    return dataset


def _item(file: h5py.File, name: str) -> Any:
    """What stands at a path of this very file; None if a link leads elsewhere, or nothing is there."""
    links, parts = file.id.links, name.encode().split(b"/")
    for depth in range(len(parts)):
        place = b"/".join(parts[: depth + 1])
        if not links.exists(place) or links.get_info(place).type != h5py.h5l.TYPE_HARD:
            return None
    return file[name]

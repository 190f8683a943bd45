"""Results of the hidden manifold model in HDF5, readable as netCDF-4.

The data are small, so rank 0 gathers them and writes the file anew, beside the old one, then renames it.
While a run goes on the file also holds, in the group `state`, the weights of unfinished students: it is the
checkpoint; data and state cannot be of different moments.  Nothing is believed before its digest is right.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dsm_hpc.errors import InputError
from dsm_hpc.manifold import layout
from dsm_hpc.manifold.equivalence import Equivalence
from dsm_hpc.manifold.format import FORMAT, FORMAT_VERSION
from dsm_hpc.manifold.inputfile import ManifoldJob, parse_resolved
from dsm_hpc.manifold.layout import Arrays
from dsm_hpc.storage.disk import replace_hdf5
from dsm_hpc.storage.guard import guarded
from dsm_hpc.storage.provenance import as_text, finished
from dsm_hpc.storage.reading import reading

ONLINE, ODE, GEP = "online", "ode", "gep"
"""What a file may hold."""

State = dict[str, NDArray[Any]]
"""An unfinished student: w, v, steps, stream."""


@dataclass(frozen=True)
class Results:
    """What stands in a file; arrays by run.

    measured : (runs,) measurements that are in the arrays; states : of runs that have begun and not ended.
    """

    path: Path
    kind: str
    job: ManifoldJob
    origin: dict[str, Any]
    finished: bool
    arrays: Arrays
    measured: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    states: dict[int, State] = field(default_factory=dict)


# ---------------------------------------------------------------------------------------------- writing


def write(results: Results) -> None:
    """Writes a file in a single step.  Only rank 0 calls this."""

    def fill(file: h5py.File) -> None:
        cases = results.job.cases
        lengths = layout.sizes(cases) | {"repetition": results.job.repetitions}
        _write_axes(file, lengths, [case.name for case in cases])
        for name, (meaning, values) in layout.parameters(cases).items():
            _write(file, name, meaning, ("case",), values)
        _write(file, "t", "time, steps / N", ("case", "measurement"), layout.times(cases))
        for variable in layout.variables(results.job, results.kind == ONLINE):
            shape = [lengths[axis] for axis in variable.dimensions]
            _write(
                file,
                variable.name,
                variable.meaning,
                variable.dimensions,
                results.arrays[variable.name].reshape(shape),
            )
        if not results.finished:
            _write_states(file, results)

    _replace(results.path, results.kind, results.job, results.origin, results.finished, fill)


def _write_axes(file: h5py.File, lengths: Mapping[str, int], names: Sequence[str]) -> None:
    for axis, length in lengths.items():
        of_cases = axis == "case"
        kind = h5py.string_dtype() if of_cases else None
        values = list(names) if of_cases else np.arange(length) + (axis in "klmn")
        scale = file.create_dataset(axis, data=values, dtype=kind)
        scale.attrs["long_name"] = layout.MEANINGS[axis]
        scale.make_scale(axis)


def _write(file: h5py.File, name: str, meaning: str, axes: Sequence[str], values: NDArray[Any]) -> None:
    dataset = file.create_dataset(name, data=values)
    dataset.attrs["long_name"] = meaning
    if values.dtype.kind == "f":
        dataset.attrs["_FillValue"] = np.nan
    for place, axis in enumerate(axes):
        dataset.dims[place].attach_scale(file[axis])


def _write_states(file: h5py.File, results: Results) -> None:
    group = file.create_group("state")
    group["measured"] = results.measured
    for run, state in results.states.items():
        for name, values in state.items():
            group[f"{run}/{name}"] = values


def write_equivalence(
    path: Path, job: ManifoldJob, origin: dict[str, Any], found: Sequence[Equivalence]
) -> None:
    """The table of the Gaussian equivalence: a row for each f, N and student."""
    K = found[0].units
    fields = [f"lambda_{k + 1}" for k in range(K)] + [f"nu_{m + 1}" for m in range(len(found[0].mean) - K)]
    words = {"f": [one.f for one in found], "student": [one.student for one in found]}

    def fill(file: h5py.File) -> None:
        for axis, values in (("row", np.arange(len(found))), ("field", fields), ("field_too", fields)):
            kind = None if axis == "row" else h5py.string_dtype()
            file.create_dataset(axis, data=values, dtype=kind).make_scale(axis)
        for name, texts in words.items():
            file.create_dataset(name, data=texts, dtype=h5py.string_dtype())
            file[name].dims[0].attach_scale(file["row"])
        for name, (meaning, axes) in _EQUIVALENCE.items():
            values = np.array([getattr(one, name) for one in found])
            _write(file, name, meaning, ("row", *axes), values)

    _replace(path, GEP, job, origin, True, fill)


_PAIR, _FIELD = ("field", "field_too"), ("field",)
_EQUIVALENCE: dict[str, tuple[str, tuple[str, ...]]] = {
    "width": ("N", ()),
    "dimension": ("D", ()),
    "inputs": ("fresh inputs", ()),
    "units": ("K", ()),
    "covariance": ("measured covariance of (lambda, nu)", _PAIR),
    "expected": ("the same by the formulas for Q, R, T", _PAIR),
    "error": ("standard error of covariance", _PAIR),
    "mean": ("measured mean", _FIELD),
    "mean_error": ("standard error of mean", _FIELD),
    "kurtosis": ("excess kurtosis, 0 for a Gaussian", _FIELD),
    "kurtosis_error": ("standard error of kurtosis", _FIELD),
}


def _replace(
    path: Path,
    kind: str,
    job: ManifoldJob,
    origin: dict[str, Any],
    done: bool,
    fill: Callable[[h5py.File], None],
) -> None:
    told = as_text(origin)

    def whole(file: h5py.File) -> None:
        fill(file)
        file.attrs.update(
            {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "kind": kind,
                "finished": int(done),
                "config": job.text,
                "config_overrides": json.dumps(job.overrides),
                "config_resolved": job.as_yaml(),
                "provenance": finished(told) if done else told,
                "digest": _digest(file, job.as_yaml()),
            }
        )

    replace_hdf5(path, whole)


def _digest(file: h5py.File, resolved: str) -> str:
    """BLAKE2b of the configuration and of every number in the file."""
    digest = hashlib.blake2b(resolved.encode(), digest_size=16)

    def add(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype != object:
            digest.update(name.encode() + np.ascontiguousarray(item[()]).tobytes())

    file.visititems(add)
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------- reading


def read(path: Path) -> Results:
    """A file of simulations or equations.  Raises InputError if it is damaged, or something else."""
    return guarded(lambda: _read(path, (ONLINE, ODE)), path)


def kind_of(path: Path) -> str:
    """What a file of this program holds; raises InputError if it is none."""

    def look() -> str:
        with reading(path) as file:
            _check_format(file, path)
            return str(file.attrs["kind"])

    return guarded(look, path)


def read_job(path: Path) -> ManifoldJob:
    """The job of any file."""

    def look() -> ManifoldJob:
        with reading(path) as file:
            _check_format(file, path)
            return _job(file, path)

    return guarded(look, path)


def read_equivalence(path: Path) -> list[Equivalence]:
    """The rows that `write_equivalence` wrote."""

    def look() -> list[Equivalence]:
        with reading(path) as file:
            _check(file, path)
            columns = {name: file[name][()] for name in _EQUIVALENCE}
            words = {name: file[name].asstr()[()] for name in ("f", "student")}
        return [
            Equivalence(**{name: _scalar(values[row]) for name, values in (words | columns).items()})
            for row in range(len(words["f"]))
        ]

    return guarded(look, path)


def _scalar(value: Any) -> Any:
    return int(value) if isinstance(value, np.integer) else value


def _read(path: Path, kinds: Sequence[str]) -> Results:
    with reading(path) as file:
        _check(file, path)
        kind = str(file.attrs["kind"])
        if kind not in kinds:
            raise InputError(f"{path}: holds {kind}: needed is {' or '.join(kinds)}")
        job = _job(file, path)
        runs = len(job.runs)
        arrays = {
            v.name: file[v.name][()].reshape(runs, *file[v.name].shape[2:])
            for v in layout.variables(job, kind == ONLINE)
        }
        state = file.get("state", {})
        states = {
            int(run): {name: values[()] for name, values in group.items()}
            for run, group in state.items()
            if run != "measured"
        }
        measured = state["measured"][()] if "measured" in state else np.zeros(runs, np.int64)
        done, origin = bool(file.attrs["finished"]), json.loads(file.attrs["provenance"])
    return Results(path, kind, job, origin, done, arrays, measured, states)


def _job(file: h5py.File, path: Path) -> ManifoldJob:
    overrides = tuple(json.loads(file.attrs["config_overrides"]))
    where = f"{path}: config_resolved"
    return parse_resolved(str(file.attrs["config"]), overrides, str(file.attrs["config_resolved"]), where)


def _check(file: h5py.File, path: Path) -> None:
    _check_format(file, path)
    if _digest(file, str(file.attrs["config_resolved"])) != file.attrs["digest"]:
        raise InputError(f"{path}: damaged: its numbers do not have their digest")


def _check_format(file: h5py.File, path: Path) -> None:
    found, version = file.attrs.get("format"), file.attrs.get("format_version")
    if found != FORMAT:
        raise InputError(
            f"{path}: has format {found!r:.40}: needed is {FORMAT!r}, a file that `dsm manifold` wrote"
        )
    if version != FORMAT_VERSION:
        raise InputError(f"{path}: format_version {version!r:.40}: this dsm_hpc reads {FORMAT_VERSION}")

"""Input patterns of a sample, as sign words (see kernels.signs): iid, hidden manifold, or the user's own."""

import math
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from dsm_hpc.config import Config, FileInputs, HiddenManifoldInputs
from dsm_hpc.errors import InputError
from dsm_hpc.kernels import pack
from dsm_hpc.rng import Purpose, generator

GRID = 2.0**16
"""Features and latent coordinates are multiples of 2^-16, so that their products sum exactly in float64
(D below 10^6) and no sign depends on the order of summation, hence on BLAS, its threads or the machine."""

ROWS_AT_A_TIME = 1024

Words = NDArray[np.uint64]


def draw_inputs(config: Config, sample: int) -> tuple[Words, Words]:
    """Training and test inputs of one sample: uint64 (N, ceil(M / 64)) each."""
    kind = config.patterns.inputs
    if isinstance(kind, FileInputs):
        return _from_file(config, kind, sample)
    purposes = (Purpose.TRAIN, Purpose.TEST)
    counts = (config.patterns.train, config.patterns.test)
    streams = [generator(config.seed, purpose, sample) for purpose in purposes]
    if isinstance(kind, HiddenManifoldInputs):
        features = _on_grid(
            generator(config.seed, Purpose.MANIFOLD, sample), (kind.dimension, config.network.width)
        )
        train, test = (
            hidden_manifold(stream, features, n) for stream, n in zip(streams, counts, strict=True)
        )
    else:
        train, test = (
            iid(stream, config.network.width, n) for stream, n in zip(streams, counts, strict=True)
        )
    return train, test


def iid(random: np.random.Generator, width: int, patterns: int) -> Words:
    """Independent +-1."""
    words = random.integers(0, 2**64, (width, math.ceil(patterns / 64)), dtype=np.uint64)
    if patterns % 64:
        words[:, -1] &= np.uint64(2 ** (patterns % 64) - 1)
    return words


def hidden_manifold(random: np.random.Generator, features: NDArray[np.float64], patterns: int) -> Words:
    """S_i = sgn(sum_d F_di C_d / sqrt(D)) with C ~ N(0, 1) fresh for each pattern (PHYSICS section 1).

    features : F, (D, N).
    """
    dimension, width = features.shape
    words = np.zeros((width, math.ceil(patterns / 64)), np.uint64)
    for first in range(0, patterns, ROWS_AT_A_TIME):
        rows = min(ROWS_AT_A_TIME, patterns - first)
        latent = _on_grid(random, (rows, dimension))
        block = pack(np.where(latent @ features >= 0, 1, -1).astype(np.int8))
        words[:, first // 64 : first // 64 + block.shape[1]] = block
    return words


def _on_grid(random: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """N(0, 1) rounded to the grid; integers, since a common factor changes no sign."""
    values = random.standard_normal(shape)
    values *= GRID
    return np.rint(values, out=values)


# ---------------------------------------------------------------------------------------------- user's file


def check_inputs(config: Config) -> None:
    """Raises InputError if the user's file of inputs is missing or does not fit the network."""
    kind = config.patterns.inputs
    if isinstance(kind, FileInputs):
        with _UserInputs(kind) as data:
            _check_shape(config, kind, data.shape, data.dtype)


def _from_file(config: Config, kind: FileInputs, sample: int) -> tuple[Words, Words]:
    """Distinct rows of the user's array, drawn anew for each sample, training set first."""
    random = generator(config.seed, Purpose.ROWS, sample)
    train, test = config.patterns.train, config.patterns.test
    with _UserInputs(kind) as data:
        _check_shape(config, kind, data.shape, data.dtype)
        rows = random.choice(data.shape[0], train + test, replace=False)
        order = np.argsort(rows)  # HDF5 reads rows in ascending order only
        chosen = np.empty((train + test, config.network.width), np.int8)
        for first in range(0, len(order), ROWS_AT_A_TIME):
            part = order[first : first + ROWS_AT_A_TIME]
            values = data.read(rows[part])
            if not np.isin(values, (-1, 1)).all():
                bad = values[~np.isin(values, (-1, 1))][0]
                raise InputError(f"patterns.inputs.path: {kind.path} holds {bad}: allowed are -1 and 1")
            chosen[part] = values
    return pack(chosen[:train]), pack(chosen[train:])


class _UserInputs:
    """The user's array in an .npy or HDF5 file, read row by row."""

    def __init__(self, kind: FileInputs) -> None:
        where = f"patterns.inputs.path: {kind.path}"
        path = Path(kind.path)
        self._file: h5py.File | None = None
        try:
            if path.suffix == ".npy":
                self._array = np.lib.format.open_memmap(path, mode="r")
            else:
                self._file = h5py.File(path, "r", locking=False)
                self._array = self._dataset(kind)
        except FileNotFoundError:
            raise InputError(f"{where}: no such file") from None
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{where}: not readable as .npy or HDF5: {error}") from None
        self.shape, self.dtype = self._array.shape, self._array.dtype

    def _dataset(self, kind: FileInputs) -> h5py.Dataset:
        assert self._file is not None
        names: list[str] = []
        self._file.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
        if kind.dataset is None and len(names) != 1:
            raise InputError(
                f"patterns.inputs.dataset: required, for {kind.path} holds {len(names)} datasets"
                + (f": {', '.join(names)}" if names else "")
            )
        wanted = kind.dataset if kind.dataset is not None else names[0]
        if wanted.strip("/") not in names:
            raise InputError(
                f"patterns.inputs.dataset: {wanted!r} is not in {kind.path}: there are {', '.join(names)}"
            )
        return self._file[wanted]

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        return np.asarray(self._array[rows])

    def __enter__(self) -> "_UserInputs":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _check_shape(
    config: Config, kind: FileInputs, shape: tuple[int, ...], dtype: np.dtype[np.generic]
) -> None:
    needed, width = config.patterns.train + config.patterns.test, config.network.width
    if len(shape) != 2 or shape[1] != width or shape[0] < needed or dtype.kind not in "iuf":
        raise InputError(
            f"patterns.inputs.path: {kind.path} is {dtype} of shape {tuple(shape)}: "
            f"needed are numbers of shape (at least train + test = {needed}, width = {width})"
        )

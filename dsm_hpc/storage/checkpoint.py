"""Checkpoints: everything that time has changed, in a file of its own beside the results.

    magic (16 bytes) | length of the header (uint64) | its digest (16) | header (JSON)
    one record per walker, then one per ladder, in file order: arrays of fixed size | their digest (16)

All little-endian.  Where a record stands follows from the configuration in the header, so that any rank can
write and read its own, however many there are.  Nothing is believed before its digest (BLAKE2b) is right.

OUT.h5.checkpoint is the newest, OUT.h5.checkpoint.old the one before; a new one is written beside them,
brought to disk, and renamed.
"""

import contextlib
import hashlib
import json
import os
import struct
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.config import AdaptiveLadder, Config
from dsm_hpc.ensemble import LadderKey, WalkerKey, walker_count
from dsm_hpc.errors import InputError, RunError
from dsm_hpc.faults import reached
from dsm_hpc.inputfile import parse_resolved
from dsm_hpc.parallel.world import World
from dsm_hpc.sampling.schedule import measurement_times, waiting_times
from dsm_hpc.sampling.walker import State
from dsm_hpc.storage.disk import bring_to_disk

MAGIC = b"dsm-hpc state\r\n\x1a"
VERSION = 1
MAX_HEADER = 64 << 20
PIECE = 64 << 20
"""Bytes that are written, sent or read at a time."""

_DIGEST = 16
_PREFIX = len(MAGIC) + 8 + _DIGEST


class Damaged(InputError):
    """A checkpoint that cannot be what was written: the one before may serve."""


class Field(NamedTuple):
    """One array of a record."""

    name: str
    kind: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return np.dtype(self.kind).itemsize * prod(self.shape)


@dataclass(frozen=True)
class Moment:
    """What a checkpoint says of itself.

    run : identity of the run, the same in its results file; config : YAML; sweep : Monte Carlo time;
    measured : measurement times whose data are in the results file; remembered : how many of them started
    an autocorrelation; burn_in : where the tuning of a ladder is, None once the run itself has begun.
    """

    run: str
    config: str
    sweep: int
    measured: int
    remembered: int
    burn_in: dict[str, Any] | None


def newest(results: Path) -> Path:
    """Where the newest checkpoint of a results file stands."""
    return results.with_name(results.name + ".checkpoint")


def older(results: Path) -> Path:
    """Where the one before it stands."""
    return results.with_name(results.name + ".checkpoint.old")


def remove(results: Path) -> None:
    """Removes the checkpoints of a results file that is to be replaced."""
    for path in (newest(results), older(results), _temporary(results)):
        path.unlink(missing_ok=True)


def put_aside(results: Path) -> None:
    """Renames a newest checkpoint that cannot be used: it must not push out the older one."""
    newest(results).replace(results.with_name(results.name + ".checkpoint.damaged"))


def checkpoint_bytes(config: Config) -> int:
    """Size of one checkpoint at the end of a run (all waiting times remembered), without its header."""
    return _Map(config, config.schedule.waiting_times, 0).end


# ---------------------------------------------------------------------------------------------- the records


def walker_fields(config: Config, remembered: int) -> list[Field]:
    network = config.network
    weights = (network.depth, network.width, network.inputs)
    return [
        Field("weights", "<f8", weights),
        *(Field(f"remembered_{number}", "<f8", weights) for number in range(remembered)),
        Field("stream", "<u8", (6,)),
        Field("temperature", "<i8", ()),
        Field("counts", "<i8", (2, network.depth)),
    ]


def ladder_fields(config: Config) -> list[Field]:
    betas = len(config.dynamics.ladder)
    return [
        Field("replica_at", "<i8", (betas,)),
        Field("coming", "<i8", (betas,)),
        Field("round_trips", "<i8", (betas,)),
        Field("attempts", "<i8", (betas - 1,)),
        Field("accepts", "<i8", (betas - 1,)),
        Field("rounds", "<i8", ()),
    ]


class _Map:
    """Where the records stand, from byte `start` on."""

    def __init__(self, config: Config, remembered: int, start: int) -> None:
        ensemble = config.ensemble
        self._axes = (
            ensemble.samples,
            len(ensemble.starts),
            ensemble.clones,
            len(config.dynamics.ladder),
        )
        self.walker, self.ladder = walker_fields(config, remembered), ladder_fields(config)
        self._start, walkers = start, walker_count(config)
        self._walker_size, self._ladder_size = _size(self.walker), _size(self.ladder)
        self._ladders = start + walkers * self._walker_size
        self.end = self._ladders + walkers // self._axes[-1] * self._ladder_size

    def fields(self, key: WalkerKey | LadderKey) -> list[Field]:
        return self.walker if isinstance(key, WalkerKey) else self.ladder

    def place(self, key: WalkerKey | LadderKey) -> int:
        number = int(np.ravel_multi_index(key, self._axes[: len(key)]))
        if isinstance(key, WalkerKey):
            return self._start + number * self._walker_size
        return self._ladders + number * self._ladder_size


def _size(fields: list[Field]) -> int:
    return sum(field.bytes for field in fields) + _DIGEST


# ---------------------------------------------------------------------------------------------- writing

Records = Iterable[tuple[WalkerKey | LadderKey, State]]


def save(results: Path, moment: Moment, config: Config, records: Records, kind: str, world: World) -> None:
    """Writes a checkpoint of all ranks' records and keeps the one before; collective.

    Raises RunError where the file system fails: the older checkpoints are as they were.
    """
    path = _temporary(results)
    header = json.dumps(asdict(moment) | {"format_version": VERSION}).encode()
    try:
        with _open_sink(path, kind, world) as sink:
            if world.is_root:
                prefix = MAGIC + struct.pack("<Q", len(header)) + _digest(header)
                sink.write(0, np.frombuffer(prefix + header, np.uint8))
            where = _Map(config, moment.remembered, _PREFIX + len(header))
            for key, state in records:
                _write_record(sink, where.place(key), where.fields(key), state, header)
                reached("checkpoint", world.rank)
        world.barrier()
    except (OSError, RuntimeError) as error:  # mpi4py's own exception is a RuntimeError
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise _failed(path, moment, error) from error
    try:
        if world.is_root:
            _rotate(results, path, world)
        world.barrier()
    except (OSError, RuntimeError) as error:
        raise _failed(path, moment, error) from error


def _failed(path: Path, moment: Moment, error: BaseException) -> RunError:
    return RunError(
        f"{path}: the checkpoint of sweep {moment.sweep} cannot be written: {_reason(error)}; "
        "make room, then `dsm resume` goes on from the one before"
    )


def _write_record(sink: "_Sink", place: int, fields: list[Field], state: State, header: bytes) -> None:
    digest = _started(header, place)
    for field in fields:
        array = np.asarray(state[field.name], dtype=field.kind, order="C")
        assert array.shape == field.shape, (field, array.shape)
        data = array.reshape(-1).view(np.uint8)
        for first in range(0, len(data), PIECE):
            piece = data[first : first + PIECE]
            digest.update(piece.data)
            sink.write(place + first, piece)
        place += len(data)
    sink.write(place, np.frombuffer(digest.digest(), np.uint8))


class _Sink(Protocol):
    """A file that all ranks write."""

    def write(self, place: int, data: NDArray[np.uint8]) -> None:
        """Writes this rank's bytes at `place`; not collective."""

    def __enter__(self) -> "_Sink": ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Brings everything to disk; collective if there was no error."""


def _open_sink(path: Path, kind: str, world: World) -> _Sink:
    if kind == "mpio" and world.size > 1:
        return _SharedFile(path, world)
    return _RootFile(path, world) if world.is_root else _ThroughRoot(world)


class _SharedFile:
    """Every rank writes its own bytes, through MPI-IO."""

    def __init__(self, path: Path, world: World) -> None:
        from mpi4py import MPI

        if world.is_root:
            path.unlink(missing_ok=True)
        world.barrier()
        self._file = MPI.File.Open(world.comm, str(path), MPI.MODE_CREATE | MPI.MODE_WRONLY)

    def write(self, place: int, data: NDArray[np.uint8]) -> None:
        self._file.Write_at(place, data)

    def __enter__(self) -> "_SharedFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._file.Sync()
            self._file.Close()


class _RootFile:
    """Rank 0 writes, what others send as well."""

    def __init__(self, path: Path, world: World) -> None:
        self._file, self._world = path.open("wb"), world

    def write(self, place: int, data: NDArray[np.uint8]) -> None:
        self._file.seek(place)
        self._file.write(data.data)

    def __enter__(self) -> "_RootFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if kind is None:
                for rank in range(1, self._world.size):
                    self._receive(rank)
                self._file.flush()
                os.fsync(self._file.fileno())

    def _receive(self, rank: int) -> None:
        """Writes what a rank sends, until it sends nothing more."""
        while (announced := self._world.receive(np.empty(2, np.int64), rank))[1]:
            place, size = map(int, announced)
            self.write(place, self._world.receive(np.empty(size, np.uint8), rank))


class _ThroughRoot:
    """Sends to rank 0 what is to be written."""

    def __init__(self, world: World) -> None:
        self._world = world

    def write(self, place: int, data: NDArray[np.uint8]) -> None:
        announced = np.array([place, data.size], np.int64)
        self._world.finish([self._world.send(announced, to=0), self._world.send(data, to=0)])

    def __enter__(self) -> "_ThroughRoot":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._world.finish([self._world.send(np.zeros(2, np.int64), to=0)])


def _rotate(results: Path, fresh: Path, world: World) -> None:
    """The newest becomes the older one, the fresh one the newest.  A kill in between leaves the older one."""
    if newest(results).exists():
        newest(results).replace(older(results))
    reached("rotation", world.rank)
    fresh.replace(newest(results))
    bring_to_disk(results.parent)


def _temporary(results: Path) -> Path:
    return results.with_name(results.name + ".checkpoint.tmp")


def _reason(error: BaseException) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())


# ---------------------------------------------------------------------------------------------- reading


class Checkpoint:
    """A checkpoint whose header has been verified.  Records are read, and verified, when asked for."""

    def __init__(self, path: Path) -> None:
        """Raises InputError if the file is damaged, of a newer format, or no checkpoint."""
        self.path = path
        try:
            with path.open("rb") as file:
                prefix = file.read(_PREFIX)
                if len(prefix) < _PREFIX or not prefix.startswith(MAGIC):
                    raise Damaged(f"{path}: damaged: is not a checkpoint of dsm_hpc")
                (length,) = struct.unpack_from("<Q", prefix, len(MAGIC))
                header = file.read(min(length, MAX_HEADER))
            size = path.stat().st_size
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        if _digest(header) != prefix[-_DIGEST:]:
            raise Damaged(f"{path}: damaged: the header does not have its digest")
        self.moment, self.config = _understood(header, path)
        self._header = header
        self._map = _Map(self.config, self.moment.remembered, _PREFIX + len(header))
        if size != self._map.end:
            raise Damaged(f"{path}: damaged: {size} bytes instead of {self._map.end}")

    def read(self, key: WalkerKey | LadderKey) -> State:
        """The record of a walker or ladder; raises InputError if it is damaged."""
        state = {}
        digest = _started(self._header, self._map.place(key))
        try:
            with self.path.open("rb") as file:
                file.seek(self._map.place(key))
                for field in self._map.fields(key):
                    array = np.empty(field.shape, field.kind)
                    filled = file.readinto(array.reshape(-1).data.cast("B")) if field.bytes else 0
                    if filled < field.bytes:
                        raise Damaged(f"{self.path}: damaged: it ends in the record of {key}")
                    digest.update(array.reshape(-1).view(np.uint8).data)
                    state[field.name] = array
                if file.read(_DIGEST) != digest.digest():
                    raise Damaged(f"{self.path}: damaged: the record of {key} does not have its digest")
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror}") from None
        return state


def _understood(header: bytes, path: Path) -> tuple[Moment, Config]:
    """The header's contents, whose digest is right: what is wrong now was written so."""
    try:
        told = json.loads(header)
    except (ValueError, RecursionError):
        told = None
    version = told.pop("format_version", None) if isinstance(told, dict) else None
    if not isinstance(version, int):
        raise Damaged(f"{path}: damaged: the header is not a JSON object with a format_version")
    if version > VERSION:
        raise InputError(
            f"{path}: format_version {version!r:.40} is of a newer dsm_hpc; this one reads up to {VERSION}"
        )
    if set(told) != set(_KINDS) or not all(isinstance(told[key], kind) for key, kind in _KINDS.items()):
        raise Damaged(f"{path}: damaged: the header is not {', '.join(_KINDS)} of a checkpoint")
    moment = Moment(**told)
    config = parse_resolved(moment.config, f"{path}: config")
    _check_moment(moment, config, path)
    return moment, config


_KINDS: dict[str, Any] = {
    "run": str,
    "config": str,
    "sweep": int,
    "measured": int,
    "remembered": int,
    "burn_in": dict | None,
}


def _check_moment(moment: Moment, config: Config, path: Path) -> None:
    """Raises InputError unless the moment is one of a run with this configuration."""
    schedule, ladder = config.schedule, config.dynamics.betas
    end = ladder.burn_in if isinstance(ladder, AdaptiveLadder) else schedule.sweeps
    for name, most in (
        ("sweep", end),
        ("measured", len(measurement_times(schedule))),
        ("remembered", len(waiting_times(schedule))),
    ):
        value = getattr(moment, name)
        if not 0 <= value <= most:
            raise Damaged(f"{path}: damaged: {name} is {value!r:.40}: allowed are 0 to {most}")
    tuned = isinstance(ladder, AdaptiveLadder)
    if tuned != (moment.burn_in is not None) or (tuned and not _is_burn_in(moment.burn_in or {}, config)):
        raise Damaged(f"{path}: damaged: burn_in is not that of the ladder of its configuration")


def _is_burn_in(told: dict[str, Any], config: Config) -> bool:
    """Whether this is what `burn_in.BurnIn` says of itself."""
    betas = len(config.dynamics.ladder)
    try:
        ladder, before = np.array(told["betas"], np.float64), np.array(told["before"], np.int64)
        rounds = [(len(entry["betas"]), len(entry["rejection"])) for entry in told["rounds"]]
    except (KeyError, TypeError, ValueError, OverflowError):
        return False
    return (
        ladder.shape == (betas,)
        and bool((ladder >= 0).all())
        and before.shape == (2, betas - 1)
        and rounds == [(betas, betas - 1)] * len(rounds)
    )


def _started(header: bytes, place: int) -> "hashlib.blake2b":
    """A record's digest knows its checkpoint and place: records of different ones cannot be mixed."""
    return hashlib.blake2b(_digest(header) + struct.pack("<Q", place), digest_size=_DIGEST)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()

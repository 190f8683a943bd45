"""The sign of life of a run: a small file beside its results, written every few seconds by rank 0.

It tells how far the run is between measurements, and whether it still goes on; nothing depends on it.
"""

import contextlib
import json
import os
import socket
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import psutil

from dsm_hpc.errors import InputError
from dsm_hpc.tree import is_text

MAX_BYTES = 1 << 16

SILENT = 60.0
"""Seconds without a sign after which a run on another machine is taken for dead, unless it said otherwise."""

PULSE = 10.0
"""Seconds from one sign to the next at most, however long a sweep or a measurement takes."""

DYING = 5.0
"""Seconds that a killed process of this machine may take to be gone."""


@dataclass(frozen=True)
class SignOfLife:
    """One sign.

    state : stopped is on request, with a checkpoint.  rate : proposals per second over all ranks.
    errors : mean training error E/(NM) at the lowest temperature, by start.
    """

    run: str
    state: Literal["running", "stopped"]
    reason: str
    sweep: int
    sweeps: int
    phase: str
    ranks: int
    rate: float
    errors: dict[str, float]
    host: str = field(default_factory=socket.gethostname)
    process: int = field(default_factory=os.getpid)
    at: float = field(default_factory=time.time)

    @property
    def age(self) -> float:
        """Seconds since it was given."""
        return time.time() - self.at

    @property
    def alive(self) -> bool:
        """Whether the run still goes on, as far as can be told from here."""
        if self.state != "running":
            return False
        if self.host == socket.gethostname():
            return _is_running(self.process, self.at)
        return abs(self.age) < SILENT


class Pulse:
    """A context in which a run is known to live: its last sign is repeated every PULSE seconds."""

    def __init__(self, results: Path, first: SignOfLife) -> None:
        self._results, self._sign = results, first
        self._lock, self._end = threading.Lock(), threading.Event()

    def __enter__(self) -> "Pulse":
        self.give(self._sign)
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end.set()

    def give(self, sign: SignOfLife) -> None:
        """Says something new."""
        with self._lock:
            self._sign = sign
            give(self._results, sign)

    def _beat(self) -> None:
        while not self._end.wait(PULSE):
            with self._lock:
                if self._sign.state == "running" and not self._end.is_set():
                    give(self._results, replace(self._sign, at=time.time()))


def give(results: Path, sign: SignOfLife) -> None:
    """Replaces the last sign.  One that cannot be written is left out: the run matters more."""
    path = _path(results)
    temporary = path.with_name(f".{path.name}.tmp")
    with contextlib.suppress(OSError):
        temporary.write_text(json.dumps(asdict(sign)))
        temporary.replace(path)


def last(results: Path) -> SignOfLife | None:
    """The last sign, if there is one that can be understood."""
    try:
        with _path(results).open("rb") as file:
            told: dict[str, Any] = json.loads(file.read(MAX_BYTES))
        sign = SignOfLife(**told)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    fits = all(_fits(told.get(name), kind) for name, kind in _KINDS.items())
    return sign if fits and sign.state in ("running", "stopped") else None


def _fits(value: Any, kind: type) -> bool:
    """Whether a value is what it must be; numbers are finite, not negative, and those of a run."""
    if kind is dict:
        return isinstance(value, dict) and all(_fits(v, float) for v in value.values())
    if kind is str:
        return isinstance(value, str) and is_text(value)
    numbers = (int, float) if kind is float else int
    return isinstance(value, numbers) and not isinstance(value, bool) and 0 <= value < 2**63


def refuse_if_alive(results: Path) -> None:
    """Raises InputError if another process runs this very run.

    One that has just been killed may seem alive: waits until it is silent for long enough, or speaks.
    """
    sign = first = last(results)
    until = time.monotonic() + DYING
    while sign is not None and sign.alive:
        here = sign.host == socket.gethostname()
        if sign.at != first.at or (here and time.monotonic() > until):  # type: ignore[union-attr]
            raise InputError(
                f"{results}: is being run by process {sign.process} on {sign.host} (sweep {sign.sweep} of "
                f"{sign.sweeps}, {sign.age:.0f} s ago): stop that one first"
            )
        time.sleep(0.2)
        sign = last(results)


def remove(results: Path) -> None:
    """The run has finished: its results file says so."""
    _path(results).unlink(missing_ok=True)


_KINDS: dict[str, type] = {
    "run": str,
    "reason": str,
    "phase": str,
    "host": str,
    "sweep": int,
    "sweeps": int,
    "ranks": int,
    "process": int,
    "rate": float,
    "at": float,
    "errors": dict,
}


def _path(results: Path) -> Path:
    return results.with_name(results.name + ".progress")


def _is_running(process: int, at: float) -> bool:
    """Whether the process that ran at that time still does; its number may have been given to another."""
    try:
        found = psutil.Process(process)
        return found.create_time() <= at and found.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError, OverflowError):
        return False

"""Requests to stop: signals, and the end of the time that the job has."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

from dsm_hpc.errors import EXIT_FAILED

REQUESTS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
"""Signals that ask for a checkpoint and an end."""

SLURM_END = "SLURM_JOB_END_TIME"
"""Where Slurm tells the end of a job, in seconds since 1970."""

TEAR_DOWN = 10.0
"""Seconds left for MPI to end and for the script that follows, in a job of some minutes or longer."""


class Signals:
    """A context in which a request to stop is noted instead of obeyed at once.

    A second SIGINT ends this process at once: a thread sees it even while the kernel sweeps.  Other signals
    may come twice (a batch system and mpirun both send them), so they are never taken for impatience.
    """

    def __init__(self) -> None:
        self.received = 0
        """Number of the first signal that came; 0 for none."""
        self._interrupts = 0

    def __enter__(self) -> "Signals":
        self._before = [(number, signal.signal(number, _noted)) for number in REQUESTS]
        # Handlers run between two sweeps at best; the number is written to this socket at once.
        self._incoming, self._outgoing = socket.socketpair()
        self._outgoing.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._outgoing.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before:
            signal.signal(number, handler)
        self._outgoing.close()

    def _listen(self) -> None:
        """Takes note of signals until the context ends."""
        with self._incoming:
            while numbers := self._incoming.recv(64):
                for number in numbers:
                    self._take(number)

    def _take(self, number: int) -> None:
        self.received = self.received or number
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            print(
                "dsm: interrupted twice: stops at once; `dsm resume` goes on from the last checkpoint",
                file=sys.stderr,
                flush=True,
            )
            os._exit(EXIT_FAILED)


def _noted(number: int, frame: object) -> None:
    """Handlers do nothing: the listening thread does."""


class Deadline:
    """The end of the time that the job has, by the clock of this process.

    walltime : seconds from the start of the process; without it, Slurm's end of the job if there is one.
    """

    def __init__(
        self, walltime: float | None, started: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._end = started + walltime if walltime is not None else _slurm_end()
        self.source = "--walltime" if walltime is not None else f"Slurm's end of the job ({SLURM_END})"
        self._reserve = 0.0 if self._end is None else min(TEAR_DOWN, 0.05 * max(self._end - started, 0.0))

    def near(self, needed: float) -> bool:
        """Whether what takes `needed` seconds, and the end of the job after it, no longer fits twice."""
        return self._end is not None and self._clock() + 2 * needed + self._reserve > self._end


def _slurm_end() -> float | None:
    told = os.environ.get(SLURM_END, "")
    return float(told) if told.isdigit() and int(told) > 0 else None

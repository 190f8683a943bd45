"""Looking up from the work: all ranks together, about every second, at a sweep boundary.

Then it is decided whether a checkpoint is due and whether the run must stop, by a signal that any rank has
received or because its time ends.
"""

import signal
from collections.abc import Callable
from time import perf_counter

import numpy as np

from dsm_hpc.errors import Stopped
from dsm_hpc.parallel.stopping import Deadline, Signals
from dsm_hpc.parallel.watchdog import Watchdog, patience
from dsm_hpc.parallel.world import World

DISK = 100e6
"""Bytes per second at which the first checkpoint is expected to be written."""

TURN = 1.0
"""Seconds from one look to the next, where a sweep is not longer than that."""


class Watch:
    """Decides for all ranks.

    turn : sweeps until the next look, the same on all ranks.
    """

    def __init__(self, world: World, signals: Signals, deadline: Deadline) -> None:
        self._world, self._signals, self._deadline = world, signals, deadline
        self._watchdog = Watchdog(world.rank, patience() if world.size > 1 else 0.0)
        self.begin(0)

    def begin(self, checkpoint_bytes: int) -> None:
        """Another point of a scan: what was learnt about the length of its sweeps is forgotten."""
        self.turn = 1
        self._longest, self._saving = 0.0, checkpoint_bytes / DISK
        self._looked = self._saved = perf_counter()
        self._watchdog.busy()

    def busy(self) -> None:
        """What comes now, until the next look, may take any time: a measurement, a checkpoint."""
        self._watchdog.busy()

    def look_up(self, sweeps: int, took: float, every: float, save: Callable[[], None]) -> None:
        """Called after each turn of `sweeps` sweeps that took this rank `took` seconds; collective.

        every : seconds between checkpoints; save : writes one.  Raises Stopped, on all ranks, after a last
        checkpoint, if the run must stop.
        """
        clock, root = perf_counter(), self._world.is_root
        self._longest = max(self._longest, clock - self._looked)  # with what was measured and written
        told = [
            self._signals.received,
            took,
            root and clock - self._saved > every,
            root and self._deadline.near(self._longest + self._saving),
        ]
        request, slowest, due, late = self._world.largest(np.array(told, np.float64))
        self._watchdog.met()
        self.turn = max(1, min(2 * self.turn, int(sweeps * TURN / max(slowest, 1e-9))))
        if due or request or late:
            self.busy()
            began = perf_counter()
            save()
            self._saved = perf_counter()
            self._saving = max(self._saving, self._saved - began)
        self._looked = perf_counter()
        if request:
            raise Stopped(f"received {signal.Signals(int(request)).name}")
        if late:
            raise Stopped(f"the time that it has is over ({self._deadline.source})")

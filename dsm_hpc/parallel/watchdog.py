"""A rank that hears nothing of the others ends: after a host or its network is lost, waiting has no end.

Open MPI's daemons notice most losses sooner and end all ranks; some they do not notice (a daemon with output
under way, launchers without a keepalive), and then a job would burn its allocation.
"""

import os
import sys
import threading
import time

from dsm_hpc.errors import EXIT_FAILED, InputError

PATIENCE = 600.0
"""Seconds without the others, at least, until a rank gives up: file systems may stall for minutes."""

SLACK = 10.0
"""A rank gives up after so many times the longest wait that there has been, if that is longer."""

TICK = 1.0
"""Seconds from one look to the next.  Ticks count, not the clock: a job that was suspended is not late."""

VARIABLE = "DSM_PATIENCE"
"""Environment variable with another PATIENCE in whole seconds; 0 waits for ever."""


class Watchdog:
    """A thread that ends this process.

    patience : seconds; 0 waits for ever.
    """

    def __init__(self, rank: int, patience: float) -> None:
        self._rank, self._patience = rank, patience
        self._met, self._busy = False, True
        if patience > 0:
            threading.Thread(target=self._look, daemon=True).start()

    def busy(self) -> None:
        """What comes until the ranks meet again may take any time."""
        self._busy = True

    def met(self) -> None:
        """The ranks have just come together."""
        self._met, self._busy = True, False

    def _look(self) -> None:
        silent, longest = 0.0, 0.0
        while self._busy or silent <= max(self._patience, SLACK * longest):
            time.sleep(TICK)
            silent += TICK
            if self._met:
                longest = max(longest, silent)
                self._met, silent = False, 0.0
        self._end(silent)

    def _end(self, silent: float) -> None:
        # Writing may block for ever: what reads it may be what was lost.
        threading.Thread(target=self._say, args=[silent], daemon=True).start()
        time.sleep(TICK)
        os._exit(EXIT_FAILED)

    def _say(self, silent: float) -> None:
        told = (
            f"dsm: rank {self._rank} has heard nothing of the other ranks for {silent:.0f} s: "
            "it ends; `dsm resume` goes on from the last checkpoint\n"
        )
        os.write(sys.stderr.fileno(), told.encode())


def patience() -> float:
    """Seconds, as the environment asks for or PATIENCE."""
    told = os.environ.get(VARIABLE, str(int(PATIENCE)))
    if not told.isdigit():
        raise InputError(f"{VARIABLE}={told}: allowed are whole seconds; 0 waits for ever")
    return float(told)

"""The course of a run in time: this rank's walkers moved on, swapping where it is time to."""

from collections.abc import Callable
from time import perf_counter

from dsm_hpc.config import Config
from dsm_hpc.parallel.ladders import SharedLadder
from dsm_hpc.progress import Progress
from dsm_hpc.watch import Watch


class Course:
    """This rank's ladders at time `now` (sweeps), in step with those of all other ranks."""

    def __init__(
        self, config: Config, ladders: list[SharedLadder], now: int, watch: Watch, progress: Progress
    ) -> None:
        self.ladders, self.now = ladders, now
        self._every = config.dynamics.exchange_every if config.dynamics.tempered else None
        self._checkpoint_every = config.output.checkpoint_every
        self._watch, self._progress = watch, progress

    def sweep_to(self, time: int, save: Callable[[], None]) -> None:
        """Moves on to `time`, in turns after which all ranks look up; collective.

        save : writes a checkpoint.  Raises Stopped, on all ranks, if the run must stop.
        """
        while self.now < time:
            began, start = perf_counter(), self.now
            self._move(min(time, start + self._watch.turn))
            took = perf_counter() - began
            self._progress.moved(self.now)
            self._watch.look_up(self.now - start, took, self._checkpoint_every, save)

    def _move(self, time: int) -> None:
        """Moves on to `time` without looking up."""
        while self.now < time:
            swap = time if self._every is None else (self.now // self._every + 1) * self._every
            until = min(time, swap)
            for shared in self.ladders:
                for walker in shared.replicas:
                    walker.advance(self.now, until)
            self.now = until
            if self._every is not None and until % self._every == 0:
                for shared in self.ladders:
                    shared.exchange()

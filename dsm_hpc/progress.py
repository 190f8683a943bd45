"""How far a run is: a bar on a terminal, plain lines in a batch log, a sign of life for `dsm status`.

Only rank 0 tells.
"""

import sys
from time import perf_counter
from types import TracebackType
from typing import Literal, Never

import numpy as np
from tqdm import tqdm

from dsm_hpc.config import Config
from dsm_hpc.errors import Stopped
from dsm_hpc.parallel.world import World
from dsm_hpc.sampling.walker import Walker
from dsm_hpc.storage.sign_of_life import Pulse, SignOfLife

LINE_EVERY = 10.0
"""Seconds between lines in a batch log."""

SIGN_EVERY = 2.0
"""Seconds between signs of life."""


class Progress:
    """Reports sweeps, proposals per second over all ranks, training error, and the time left.

    pulse : where rank 0 gives its signs of life, None on the others.
    begin, end : sweeps at which this process starts and at which the run, or its burn-in (`phase`), is done.
    """

    def __init__(
        self,
        config: Config,
        walkers: int,
        world: World,
        pulse: Pulse | None,
        run: str,
        begin: int,
        end: int,
        phase: str,
    ) -> None:
        self._config, self._world, self._pulse, self._run = config, world, pulse, run
        self._begin, self._end, self._phase = begin, end, phase
        self._proposals_per_sweep = config.network.weight_count * walkers
        self._started = self._printed = perf_counter()
        self._signed, self._now = 0.0, begin
        self._errors: dict[str, float] = {}
        self._bar: tqdm[Never] | None = None
        title = f"{config.name}, {phase}" if phase else config.name
        if world.is_root and sys.stderr.isatty():
            self._bar = tqdm(total=end, initial=begin, unit="sweep", dynamic_ncols=True, desc=title)
        self._title = title
        self._say(
            f"{title}: {walkers} walkers on {world.size} rank{'s' * (world.size > 1)}, "
            f"{end} sweeps of {config.network.weight_count} proposals"
            + (f"; goes on from sweep {begin}" if begin else "")
        )
        self._sign("running", "")

    @property
    def _rate(self) -> float:
        """Proposals per second since this process started."""
        elapsed = max(perf_counter() - self._started, 1e-9)
        return (self._now - self._begin) * self._proposals_per_sweep / elapsed

    @property
    def _training(self) -> str:
        errors = ", ".join(f"{start} {error:.4f}" for start, error in self._errors.items())
        return f"  training error {errors}" if errors else ""

    def moved(self, sweep: int) -> None:
        """All ranks' walkers have reached this sweep."""
        self._now = sweep
        if not self._world.is_root:
            return
        clock = perf_counter()
        if self._bar is not None:
            self._bar.update(sweep - self._bar.n)
            self._bar.set_postfix_str(f"{self._rate:.3g} proposals/s{self._training}")
        elif clock - self._printed > LINE_EVERY:
            left = (clock - self._started) * (self._end - sweep) / (sweep - self._begin)
            self._say(
                f"sweep {sweep}/{self._end} ({sweep / self._end:.0%})  {self._rate:.3g} proposals/s"
                f"{self._training}  ETA {clock_time(left)}"
            )
            self._printed = clock
        if clock - self._signed > SIGN_EVERY:
            self._sign("running", "")

    def measured(self, walkers: list[Walker]) -> None:
        """Takes note of the training error at the lowest temperature; collective."""
        starts, ladder = self._config.ensemble.starts, self._config.dynamics.ladder
        sums = np.zeros((len(starts), 2))
        for walker in walkers:
            if walker.temperature == ladder.index(max(ladder)):
                sums[walker.key.start] += walker.energy, 1
        gathered = self._world.gather(sums)
        if gathered is not None:
            bits = self._config.network.width * self._config.patterns.train
            totals = np.sum(gathered, axis=0)
            self._errors = {
                start: float(wrong / count / bits)
                for start, (wrong, count) in zip(starts, totals, strict=True)
            }

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Says how it ended, if that was as it should be."""
        if self._bar is not None:
            self._bar.close()
        if error is None:
            elapsed = perf_counter() - self._started
            self._say(
                f"{self._title}: done in {clock_time(elapsed)}, {self._rate:.3g} proposals/s{self._training}"
            )
        elif isinstance(error, Stopped):
            self._say(f"{self._title}: stopped at sweep {self._now} of {self._end}: {error}")
            self._sign("stopped", str(error))

    def _sign(self, state: Literal["running", "stopped"], reason: str) -> None:
        if self._pulse is None:
            return
        clock = perf_counter()
        self._signed = clock
        sign = SignOfLife(
            self._run,
            state,
            reason,
            self._now,
            self._end,
            self._phase,
            self._world.size,
            self._rate,
            self._errors,
        )
        self._pulse.give(sign)

    def _say(self, line: str) -> None:
        if self._world.is_root:
            if self._bar is not None:
                tqdm.write(line, file=sys.stderr)
            else:
                print(line, file=sys.stderr, flush=True)


def clock_time(seconds: float) -> str:
    """hh:mm:ss"""
    whole = round(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"

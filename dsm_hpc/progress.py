"""How far a run is: a bar on a terminal, plain lines in a batch log.  Only rank 0 prints."""

import sys
from time import perf_counter
from typing import Never

import numpy as np
from tqdm import tqdm

from dsm_hpc.config import Config
from dsm_hpc.parallel.world import World
from dsm_hpc.sampling.walker import Walker

LINE_EVERY = 10.0
"""Seconds between lines in a batch log."""


class Progress:
    """Reports sweeps, proposals per second over all ranks, training error, and the time left."""

    def __init__(self, config: Config, walkers: int, world: World) -> None:
        self._config, self._world = config, world
        self._proposals_per_sweep = config.network.weight_count * walkers
        self._started = self._printed = perf_counter()
        self._training = ""
        self._bar: tqdm[Never] | None = None
        if world.is_root and sys.stderr.isatty():
            self._bar = tqdm(total=config.schedule.sweeps, unit="sweep", dynamic_ncols=True, desc=config.name)
        self._say(
            f"{config.name}: {walkers} walkers on {world.size} rank{'s' * (world.size > 1)}, "
            f"{config.schedule.sweeps} sweeps of {config.network.weight_count} proposals"
        )

    def moved(self, sweep: int) -> None:
        """Rank 0's walkers have reached this sweep; the others are taken to be as far."""
        if not self._world.is_root:
            return
        elapsed = perf_counter() - self._started
        rate = sweep * self._proposals_per_sweep / elapsed
        if self._bar is not None:
            self._bar.update(sweep - self._bar.n)
            self._bar.set_postfix_str(f"{rate:.3g} proposals/s{self._training}")
        elif perf_counter() - self._printed > LINE_EVERY:
            left = elapsed * (self._config.schedule.sweeps - sweep) / sweep
            done = sweep / self._config.schedule.sweeps
            self._say(
                f"sweep {sweep}/{self._config.schedule.sweeps} ({done:.0%})  {rate:.3g} proposals/s"
                f"{self._training}  ETA {_clock(left)}"
            )
            self._printed = perf_counter()

    def measured(self, sweep: int, walkers: list[Walker]) -> None:
        """Takes note of the training error at the lowest temperature; collective."""
        starts, ladder = self._config.ensemble.starts, self._config.dynamics.ladder
        sums = np.zeros((len(starts), 2))
        for walker in walkers:
            if walker.temperature == ladder.index(max(ladder)):
                sums[walker.key.start] += walker.energy, 1
        gathered = self._world.gather(sums)
        if gathered is not None:
            bits = self._config.network.width * self._config.patterns.train
            errors = (
                f"{name} {wrong / count / bits:.4f}"
                for name, (wrong, count) in zip(starts, np.sum(gathered, axis=0), strict=True)
            )
            self._training = f"  training error {', '.join(errors)}"

    def close(self) -> None:
        """The run is done."""
        if self._bar is not None:
            self._bar.close()
        elapsed = perf_counter() - self._started
        rate = self._config.schedule.sweeps * self._proposals_per_sweep / elapsed
        self._say(f"{self._config.name}: done in {_clock(elapsed)}, {rate:.3g} proposals/s{self._training}")

    def _say(self, line: str) -> None:
        if self._world.is_root:
            if self._bar is not None:
                tqdm.write(line, file=sys.stderr)
            else:
                print(line, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    """hh:mm:ss"""
    whole = round(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"

"""How long a run will take: a few sweeps of the very input, measured on this machine.

One student of each kind (start, beta) of the first sample is moved for a moment.  Students that learn become
faster as their errors vanish, so what is left is reckoned at the speed of the second half of that moment.
Annealed students are moved at both ends of the cooling, which is reckoned at the mean of the two speeds.
CPU time is measured: others on the machine do not count, and each rank of the run is supposed to have a core
like this one for itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from time import thread_time
from typing import TypeVar

import numpy as np

from dsm_hpc.config import AdaptiveLadder, Config
from dsm_hpc.ensemble import WalkerKey
from dsm_hpc.machine.overlaps import overlaps
from dsm_hpc.machine.sample import Sample, draw_sample
from dsm_hpc.parallel.decomposition import decompose
from dsm_hpc.sampling.schedule import measurement_times, waiting_times
from dsm_hpc.sampling.walker import Walker

BUDGET = 10.0
"""Seconds to spend on all kinds of walkers and all points of a scan; at least one sweep of each is made."""

MOST_BETAS = 8
"""Temperatures that are measured; of more, those between are taken to be as fast as the nearest of them."""

MOST_COLD = 1000
"""Sweeps at most at the end of a cooling that takes the whole run."""

MOST_LINES = 4
"""Temperatures that get a line each."""

START_UP = 2.0
"""Seconds until a rank has loaded its libraries and MPI has started; measured."""

Result = TypeVar("Result")

Kind = tuple[int, int]
"""(start, beta) as indices: walkers of one kind cost the same."""


@dataclass(frozen=True)
class Pace:
    """How fast one kind of walker moves.

    sweep : seconds per sweep at the end; sweeps : seconds that all sweeps of the run will take (burn-in
    included); sweeps_made : while it was measured; energy : wrong output bits after them.
    """

    sweep: float
    sweeps: float
    sweeps_made: int
    energy: int


@dataclass(frozen=True)
class Calibration:
    """Seconds that the parts of a run take, on this machine."""

    paces: dict[Kind, Pace]
    drawing: float
    measuring: float
    ranks: int
    slowest: float
    seen: float

    @property
    def total(self) -> float:
        """Of the whole run, on its ranks."""
        return START_UP + self.slowest


def calibrate(config: Config, ranks: int, budget: float = BUDGET) -> Calibration:
    """Measures a few sweeps of this configuration and reckons the time of the whole run on `ranks` ranks.

    budget : seconds to spend on sweeps.
    """
    began = thread_time()
    sample, drawing = _timed(lambda: draw_sample(config, 0))
    starts, count = len(config.ensemble.starts), len(config.dynamics.ladder)
    betas = sorted({round(place) for place in np.linspace(0, count - 1, min(count, MOST_BETAS))})
    measured = {}
    for kind in product(range(starts), betas):  # one at a time: a node need not hold them all
        walker = Walker(WalkerKey(0, kind[0], 0, kind[1]), sample, config)
        measured[kind] = _pace(walker, config, budget / (starts * len(betas)))
    paces = {
        (start, beta): measured[start, min(betas, key=lambda one: abs(one - beta))]
        for start, beta in product(range(starts), range(count))
    }
    measuring = _measuring(walker, sample, config)
    spread = decompose(config, ranks)
    slowest = max(_rank(spread.of(rank), paces, drawing, measuring) for rank in range(ranks))
    return Calibration(paces, drawing, measuring, ranks, slowest, thread_time() - began)


def in_words(config: Config, found: Calibration) -> str:
    """What `dsm validate --calibrate` adds."""
    lines = [
        f"calibration:     {found.seen:.1f} s of CPU time on this machine; one core, one sample",
        *(
            line
            for start, name in enumerate(config.ensemble.starts)
            for line in _start(name, config, [pace for kind, pace in found.paces.items() if kind[0] == start])
        ),
        f"  all measurements of one walker {span(found.measuring)}, drawing one sample {span(found.drawing)}",
        f"time of the run: {span(found.total)} on {found.ranks} rank{'s' * (found.ranks > 1)}, "
        "if each has a core like this one for itself",
    ]
    return "\n".join(lines)


def _start(name: str, config: Config, paces: list[Pace]) -> list[str]:
    """A line for each temperature, or one for a ladder."""
    betas, proposals = config.dynamics.ladder, config.network.weight_count
    if len(betas) > MOST_LINES:
        fastest, slowest = (edge(pace.sweep for pace in paces) for edge in (min, max))
        return [f"  {name} start, {len(betas)} betas: {span(fastest)} to {span(slowest)} per sweep"]
    return [
        f"  {name} start, beta = {beta:g}: {span(pace.sweep)} per sweep, {span(pace.sweep / proposals)} per "
        f"proposal (E = {pace.energy} after {pace.sweeps_made} sweeps)"
        for beta, pace in zip(betas, paces, strict=True)
    ]


def _pace(walker: Walker, config: Config, budget: float) -> Pace:
    """How fast a walker moves, and how long it will take for all sweeps."""
    most, anneal = config.schedule.sweeps, config.dynamics.anneal
    if anneal is not None:
        return _annealed(walker, most, min(most, anneal.sweeps), budget)
    betas = config.dynamics.betas
    burn_in = betas.burn_in if isinstance(betas, AdaptiveLadder) else 0
    spent, made, sweep = _moved(walker, 0, most, budget)
    return Pace(sweep, spent + sweep * (most - made + burn_in), made, walker.energy)


def _annealed(walker: Walker, most: int, cooled: int, budget: float) -> Pace:
    """The same of one that is cooled until `cooled`: half of the budget is spent at either end."""
    spent, made, hot = _moved(walker, 0, cooled, budget / 2)
    _, made_cold, cold = _moved(walker, cooled, max(most, cooled + MOST_COLD), budget / 2)
    sweeps = spent + (cooled - made) * (hot + cold) / 2 + (most - cooled) * cold
    return Pace(cold, sweeps, made + made_cold, walker.energy)


def _moved(walker: Walker, begin: int, end: int, budget: float) -> tuple[float, int, float]:
    """Moves a walker on from time `begin` in doubling turns until the budget is spent, up to `end`.

    Returns the seconds spent, the sweeps made, and seconds per sweep of the last turn.
    """
    spent = last = sweep = 0.0
    now, turn = begin, 1
    while now < end and (now == begin or spent + 2 * last < budget):
        until = min(end, now + turn)
        _, last = _timed(lambda now=now, until=until: walker.advance(now, until))  # type: ignore[misc]
        spent, sweep, turn, now = spent + last, last / (until - now), 2 * (until - now), until
    return spent, now - begin, sweep


def _measuring(walker: Walker, sample: Sample, config: Config) -> float:
    """Seconds for all measurements of one walker, its pairs with other clones and its autocorrelations."""
    machine, look = _timed(lambda: walker.machine)
    _, error = _timed(lambda: walker.test_error(machine))
    _, compare = _timed(lambda: overlaps(sample, machine, sample.teacher))
    walker.remember()
    _, recall = _timed(lambda: walker.autocorrelations(machine))
    times, waits = measurement_times(config.schedule), waiting_times(config.schedule)
    remembered = int(np.searchsorted(waits, times, side="right").sum())
    pairs = (config.ensemble.clones - 1) / 2
    return len(times) * (look + error + (1 + pairs) * compare) + remembered * recall


def _rank(walkers: tuple[WalkerKey, ...], paces: dict[Kind, Pace], drawing: float, measuring: float) -> float:
    """Seconds that a rank with these walkers needs."""
    samples = len({key.sample for key in walkers})
    moving = sum(paces[key.start, key.beta].sweeps for key in walkers)
    return moving + samples * drawing + len(walkers) * measuring


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """What `work` returned, and its CPU time in seconds."""
    start = thread_time()
    result = work()
    return result, thread_time() - start


def span(seconds: float) -> str:
    """A time with its unit."""
    for unit, length in (
        ("d", 86400.0),
        ("h", 3600.0),
        ("min", 60.0),
        ("s", 1.0),
        ("ms", 1e-3),
        ("us", 1e-6),
    ):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"

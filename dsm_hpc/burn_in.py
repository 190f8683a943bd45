"""The burn-in of a run with an adaptive ladder: rounds of pilots, after each of which the ladder is retuned.

It has streams of its own and its students are thrown away: the run starts afresh at t = 0.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.config import Config
from dsm_hpc.course import Course
from dsm_hpc.ensemble import WalkerKey
from dsm_hpc.parallel.decomposition import Decomposition
from dsm_hpc.parallel.ladders import SharedLadder
from dsm_hpc.parallel.world import World
from dsm_hpc.sampling.tuning import rejections, retuned, round_lengths

Counts = NDArray[np.int64]


@dataclass
class BurnIn:
    """Where the tuning is.

    betas : the ladder of the present round; before : (2, B - 1), swaps tried and made when it began;
    rounds : the ladders and rejection rates of the rounds before.
    """

    betas: tuple[float, ...]
    before: Counts
    rounds: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {"betas": list(map(str, self.betas)), "before": self.before.tolist(), "rounds": self.rounds}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> "BurnIn":
        return cls(tuple(map(float, told["betas"])), np.array(told["before"], np.int64), told["rounds"])


def begin(config: Config) -> BurnIn:
    """The burn-in at its start."""
    betas = config.dynamics.ladder
    return BurnIn(betas, np.zeros((2, len(betas) - 1), np.int64))


def tune(
    config: Config,
    burn_in: int,
    tuning: BurnIn,
    course: Course,
    spread: Decomposition,
    world: World,
    save: Callable[[], None],
) -> None:
    """Goes on with the tuning to its end, `burn_in` sweeps in all; collective.

    course : the pilots.  Afterwards tuning.betas is the ladder.
    """
    ends = np.cumsum(round_lengths(burn_in)).tolist()
    for end in ends[len(tuning.rounds) :]:
        for shared in course.ladders:
            shared.configure(config.with_betas(tuning.betas))
        course.sweep_to(end, save)
        counts = _swap_counts(course.ladders, spread, world)
        attempts, accepts = counts - tuning.before
        rates = rejections(attempts, accepts).tolist()
        tuning.rounds.append({"betas": list(map(str, tuning.betas)), "rejection": rates})
        tuning.betas, tuning.before = retuned(tuning.betas, attempts, accepts), counts


def _swap_counts(ladders: list[SharedLadder], spread: Decomposition, world: World) -> Counts:
    """(2, B - 1): swaps tried and made on each edge so far, over all ladders; collective."""
    owners = spread.owners()
    counts = sum(
        np.stack([shared.ladder.attempts, shared.ladder.accepts])
        for shared in ladders
        if owners[WalkerKey(*shared.ladder.key, 0)] == world.rank
    )
    return np.asarray(sum(world.share(counts)))

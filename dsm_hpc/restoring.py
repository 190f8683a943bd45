"""Going on from a checkpoint: whether it belongs to the run, and this rank's part of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.config import Config
from dsm_hpc.ensemble import LadderKey, WalkerKey
from dsm_hpc.errors import InputError
from dsm_hpc.machine.sample import Sample
from dsm_hpc.parallel.ladders import SharedLadder
from dsm_hpc.sampling.walker import State, Walker
from dsm_hpc.storage.checkpoint import Checkpoint, Moment
from dsm_hpc.storage.reading import Header


@dataclass(frozen=True)
class Saved:
    """One rank's part of a checkpoint.

    counts : (2, L), proposals accepted and made since the last measurement, kept with each walker.
    """

    moment: Moment
    walkers: list[Walker]
    ladders: dict[LadderKey, State]
    counts: dict[WalkerKey, NDArray[np.int64]]

    @classmethod
    def read(
        cls, found: Checkpoint, config: Config, samples: dict[int, Sample], keys: tuple[WalkerKey, ...]
    ) -> "Saved":
        """Reads and verifies the records of some walkers; raises InputError if one is damaged."""
        walkers, counts = [], {}
        for key in keys:
            state = found.read(key)
            counts[key] = state["counts"]
            walkers.append(Walker(key, samples[key.sample], config, state=state))
        ladders = {key: found.read(key) for key in dict.fromkeys(key.ladder for key in keys)}
        return cls(found.moment, walkers, ladders, counts)

    def put_back(self, ladders: list[SharedLadder]) -> None:
        """Gives ladders of these walkers their state."""
        for shared in ladders:
            counts = {walker.key.beta: self.counts[walker.key] for walker in shared.replicas}
            shared.restore(self.ladders[shared.ladder.key], counts)


def check_belongs(found: Checkpoint, begun: Header, config: Config) -> None:
    """Raises InputError if a checkpoint is of another run than the results file, or of another configuration.

    config : that of the results file, perhaps extended.
    """
    if found.moment.run != begun.provenance.get("run"):
        raise InputError(f"{found.path}: is of another run than {begun.path}")
    before = found.config
    if found.moment.burn_in is not None:  # the ladder may have been found since
        before = before.with_betas(config.dynamics.betas)  # type: ignore[arg-type]
    stages = before.schedule.stages
    if config.schedule.stages[: len(stages)] == stages:
        before = before.model_copy(update={"schedule": config.schedule})
    differences = list(_differences(before.model_dump(), config.model_dump()))
    if differences:
        raise InputError(
            "\n".join(
                [f"{found.path}: its configuration is not that of {begun.path}:"]
                + [
                    f"  {key}: {there} in the checkpoint, {here} in the results"
                    for key, there, here in differences
                ]
            )
        )


def _differences(there: Any, here: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The keys at which two configurations differ, with both values."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in dict.fromkeys([*there, *here]):
            yield from _differences(there.get(name), here.get(name), f"{key}.{name}" if key else name)
    elif there != here:
        yield key, there, here

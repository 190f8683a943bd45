"""Ladders and the ranks that share them."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.config import Config
from dsm_hpc.ensemble import LadderKey, WalkerKey
from dsm_hpc.parallel.decomposition import Decomposition
from dsm_hpc.parallel.world import World
from dsm_hpc.rng import Purpose
from dsm_hpc.sampling.tempering import Ladder
from dsm_hpc.sampling.walker import State, Walker


class Team(Protocol):
    """The ranks that have replicas of one ladder."""

    def sum(self, part: NDArray[np.int64]) -> NDArray[np.int64]:
        """The sum of everyone's part."""


class _Alone:
    """A ladder on one rank: nothing is sent."""

    def sum(self, part: NDArray[np.int64]) -> NDArray[np.int64]:
        return part


class _Ranks:
    """A ladder on several ranks."""

    def __init__(self, comm: Any) -> None:
        self._comm = comm

    def sum(self, part: NDArray[np.int64]) -> NDArray[np.int64]:
        total = np.empty_like(part)
        self._comm.Allreduce(part, total)
        return total


class SharedLadder:
    """This rank's replicas of one ladder.  Every rank of the team keeps the same `ladder`.

    counts : int64 (B, 2, L), proposals accepted and made at each temperature by this rank's replicas.
    """

    def __init__(self, ladder: Ladder, replicas: list[Walker], team: Team) -> None:
        self.ladder, self.replicas, self._team = ladder, replicas, team
        depth = replicas[0].sample.config.network.depth
        self._counts = np.zeros((len(ladder.betas), 2, depth), np.int64)

    def configure(self, config: Config) -> None:
        """Goes on at other inverse temperatures; replicas keep their places."""
        self.ladder.betas = config.dynamics.ladder
        for walker in self.replicas:
            walker.config = config

    def exchange(self) -> None:
        """One round of swaps; collective within the team."""
        self._collect()
        energies = np.zeros(len(self.ladder.betas), np.int64)
        for walker in self.replicas:
            energies[walker.key.beta] = walker.energy
        self.ladder.exchange(self._team.sum(energies))
        temperature_of = np.argsort(self.ladder.replica_at)
        for walker in self.replicas:
            walker.temperature = int(temperature_of[walker.key.beta])

    def take_acceptance(self) -> NDArray[np.float64]:
        """(B, L): accepted / proposed at each temperature since the last call; NaN where none was proposed.

        Collective within the team.
        """
        self._collect()
        accepted, proposed = np.moveaxis(self._team.sum(self._counts.copy()), 1, 0)
        self._counts[...] = 0
        ratio: NDArray[np.float64] = np.full(accepted.shape, np.nan)
        np.divide(accepted, proposed, out=ratio, where=proposed > 0)
        return ratio

    def states(self) -> list[tuple[WalkerKey | LadderKey, State]]:
        """What time has changed: of each of this rank's replicas and, on the rank that has the first one, of
        the ladder; collective within the team.

        Proposals are counted at temperatures; those at a temperature go with the replica of that name.
        """
        self._collect()
        counts = self._team.sum(self._counts.copy())
        states: list[tuple[WalkerKey | LadderKey, State]] = [
            (walker.key, walker.state() | {"counts": counts[walker.key.beta]}) for walker in self.replicas
        ]
        if self.replicas[0].key.beta == 0:
            states.append((self.ladder.key, self.ladder.state()))
        return states

    def restore(self, ladder: State, counts: dict[int, NDArray[np.int64]]) -> None:
        """Goes back to a ladder's state; counts : (2, L) of each of this rank's replicas."""
        self.ladder.restore(ladder)
        for beta, count in counts.items():
            self._counts[beta] = count

    def _collect(self) -> None:
        for walker in self.replicas:
            self._counts[walker.temperature] += walker.take_counts()


def shared_ladders(
    config: Config,
    walkers: list[Walker],
    spread: Decomposition,
    world: World,
    purpose: Purpose = Purpose.EXCHANGE,
) -> list[SharedLadder]:
    """This rank's ladders at t = 0, in file order; collective."""
    owners = spread.owners()
    found: dict[LadderKey, list[Walker]] = {}
    for walker in walkers:
        found.setdefault(walker.key.ladder, []).append(walker)
    return [
        SharedLadder(Ladder(key, config, purpose), replicas, _team(key, config, owners, world))
        for key, replicas in found.items()
    ]


def _team(key: LadderKey, config: Config, owners: dict[WalkerKey, int], world: World) -> Team:
    """The ranks of a ladder.  Without exchange no replica ever leaves its temperature, and no rank asks."""
    ranks = sorted({owners[WalkerKey(*key, beta)] for beta in range(len(config.dynamics.ladder))})
    if len(ranks) == 1 or not config.dynamics.tempered:
        return _Alone()
    return _Ranks(world.subset(ranks))

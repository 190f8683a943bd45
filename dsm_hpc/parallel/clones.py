"""Pairs of clones whose members live on different ranks."""

from collections.abc import Callable

import numpy as np

from dsm_hpc.ensemble import Pair, WalkerKey
from dsm_hpc.machine.sample import Machine
from dsm_hpc.parallel.world import World


class CloneExchange:
    """Who sends which clone to whom; a pair is computed by the rank that has its first clone."""

    def __init__(self, pairs: list[Pair], owners: dict[WalkerKey, int], world: World) -> None:
        self._world = world
        self.pairs = [pair for pair in pairs if owners[pair.first] == world.rank]
        """The pairs that this rank computes, in file order."""
        foreign = {pair.second for pair in self.pairs if owners[pair.second] != world.rank}
        self._receive = [(owners[key], key) for key in sorted(foreign)]
        wanted = {
            (pair.second, owners[pair.first])
            for pair in pairs
            if owners[pair.second] == world.rank and owners[pair.first] != world.rank
        }
        self._send = sorted(wanted)

    def visit(
        self, machines: dict[WalkerKey, Machine], compare: Callable[[Pair, Machine, Machine], None]
    ) -> None:
        """Calls `compare(pair, first, second)` for every pair of this rank; collective.

        machines : those of this rank's walkers.  Foreign ones are received one at a time.
        """
        sent = [
            self._world.send(array, to=rank) for key, rank in self._send for array in _arrays(machines[key])
        ]
        for pair in self.pairs:
            if pair.second in machines:
                compare(pair, machines[pair.first], machines[pair.second])
        for source, key in self._receive:
            like = next(machines[pair.first] for pair in self.pairs if pair.second == key)
            second = Machine(*(self._world.receive(array, source) for array in _arrays(like)))
            for pair in self.pairs:
                if pair.second == key:
                    compare(pair, machines[pair.first], second)
        self._world.finish(sent)


def _arrays(machine: Machine) -> list["np.ndarray"]:
    """What makes up a machine, in the order of its fields."""
    assert machine.test is not None
    return [machine.weights, machine.train, machine.test]

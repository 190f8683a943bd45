"""Measuring all walkers of a rank, and keeping the numbers until they are written."""

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.ensemble import Pair, WalkerKey
from dsm_hpc.machine.loops import loops
from dsm_hpc.machine.overlaps import overlaps
from dsm_hpc.machine.sample import Machine
from dsm_hpc.parallel.clones import CloneExchange
from dsm_hpc.sampling.walker import Walker
from dsm_hpc.storage.layout import PAIR, SAMPLE, WALKER, Layout
from dsm_hpc.storage.results import Rows, Writer

BUFFER_BYTES = 16 << 20


class Recorder:
    """The measurements of one rank: taken at every measurement time, written in blocks of times.

    A value stands at [row of its owner, ..., time since the last write, ...].
    """

    def __init__(self, layout: Layout, walkers: list[Walker], exchange: CloneExchange) -> None:
        self._layout, self._walkers, self._exchange = layout, walkers, exchange
        self._walker_of = {walker.key: walker for walker in walkers}
        self._samples = {walker.key.sample: walker.sample for walker in walkers if _is_first(walker.key)}
        owners: dict[tuple[str, ...], list[tuple[int, ...]]] = {
            WALKER: [tuple(walker.key) for walker in walkers],
            PAIR: [pair.position for pair in exchange.pairs],
            SAMPLE: [(sample,) for sample in sorted(self._samples)],
        }
        self._rows: dict[tuple[str, ...], Rows] = {}
        self._place: dict[tuple[str, ...], dict[tuple[int, ...], int]] = {}
        for owner, positions in owners.items():
            shape = layout.shape(owner)
            self._rows[owner] = [int(np.ravel_multi_index(position, shape)) for position in positions]
            self._place[owner] = {position: place for place, position in enumerate(positions)}
        per_time = sum(
            8
            * len(self._rows[v.owner])
            * int(np.prod(layout.shape(v.axes), dtype=object))
            // layout.size("time")
            for v in layout.variables
            if "time" in v.axes
        )
        self._capacity = max(1, min(layout.size("time"), BUFFER_BYTES // max(per_time, 1)))
        self._variables = {v.name: v for v in layout.variables}
        self._blocks = {v.name: self._empty(v.owner, v.axes) for v in layout.variables if "time" in v.axes}
        self._first, self._count = 0, 0

    @property
    def full(self) -> bool:
        """True when the measurements must be written before the next one."""
        return self._count == self._capacity

    def measure(self, time: int) -> None:
        """Measures every walker and pair of clones at Monte Carlo time `time`; collective."""
        machines = {walker.key: walker.machine for walker in self._walkers}
        if time in self._layout.coordinates["waiting"]:
            for walker in self._walkers:
                walker.remember()
        for walker in self._walkers:
            self._measure_walker(walker, machines[walker.key])
        self._exchange.visit(machines, self._measure_pair)
        self._count += 1

    def write(self, writer: Writer) -> None:
        """Writes the measurements since the last write; collective."""
        times = slice(self._first, self._first + self._count)
        for name, block in self._blocks.items():
            variable = self._variables[name]
            place = variable.dimensions.index("time")
            taken = np.take(block, range(self._count), axis=place - len(variable.owner) + 1)
            tail = tuple(
                times if axis == "time" else slice(0, self._layout.size(axis)) for axis in variable.axes
            )
            writer.write(variable, self._rows[variable.owner], tail, taken)
            block.fill(np.nan)
        self._first, self._count = times.stop, 0
        writer.flush()

    def write_loops(self, writer: Writer) -> None:
        """Writes the loop counts of every sample; collective."""
        counts = [loops(self._samples[sample]) for sample in sorted(self._samples)]
        for variable in self._layout.variables:
            if variable.owner == SAMPLE:
                name = variable.name.removeprefix("loops/")
                block = np.array([count[name] for count in counts], dtype=np.float64)
                tail = tuple(slice(0, self._layout.size(axis)) for axis in variable.axes)
                writer.write(variable, self._rows[SAMPLE], tail, block)

    def _measure_walker(self, walker: Walker, machine: Machine) -> None:
        key = tuple(walker.key)
        self._set("energy", key, walker.energy)
        self._set("test_error", key, walker.test_error(machine))
        self._set("acceptance", key, walker.take_acceptance())
        for name, profile in overlaps(walker.sample, machine, walker.sample.teacher).items():
            self._set(f"teacher/{name}", key, profile)
        for wait, profiles in enumerate(walker.autocorrelations(machine)):
            for name, profile in profiles.items():
                self._set(f"autocorrelation/{name}", key, profile, wait)

    def _measure_pair(self, pair: Pair, first: Machine, second: Machine) -> None:
        sample = self._walker_of[pair.first].sample
        for name, profile in overlaps(sample, second, first).items():
            self._set(f"clones/{name}", pair.position, profile)

    def _set(
        self, name: str, position: tuple[int, ...], value: float | NDArray[np.float64], *before: int
    ) -> None:
        place = self._place[self._variables[name].owner][position]
        self._blocks[name][(place, *before, self._count)] = value

    def _empty(self, owner: tuple[str, ...], axes: tuple[str, ...]) -> NDArray[np.float64]:
        sizes = [self._capacity if axis == "time" else self._layout.size(axis) for axis in axes]
        return np.full((len(self._rows[owner]), *sizes), np.nan)


def _is_first(key: WalkerKey) -> bool:
    """Whether this walker's rank speaks for its sample."""
    return key[1:] == (0, 0, 0)

"""Measuring all walkers of a rank, and keeping the numbers until they are written.

Data are ordered by temperature.  A row of the results file belongs to the rank that owns the walker of that
name; where replicas exchange temperatures, the numbers of a row can be taken on another rank, which then
sends them to the owner.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.config import Config
from dsm_hpc.ensemble import Pair, WalkerKey, pairs
from dsm_hpc.faults import reached
from dsm_hpc.machine.loops import loops
from dsm_hpc.machine.overlaps import overlaps
from dsm_hpc.machine.sample import Machine
from dsm_hpc.parallel.clones import CloneExchange
from dsm_hpc.parallel.decomposition import Decomposition
from dsm_hpc.parallel.ladders import SharedLadder
from dsm_hpc.parallel.world import World
from dsm_hpc.sampling.walker import Walker
from dsm_hpc.storage.layout import BUFFER_BYTES, LADDER, PAIR, SAMPLE, WALKER, Layout, Variable
from dsm_hpc.storage.results import Rows, Writer

Position = tuple[int, ...]
Values = Mapping[str, float | NDArray[np.float64]]


class Table:
    """The variables of one kind of owner: rows of numbers for each time, until they are written."""

    def __init__(
        self, layout: Layout, owner: tuple[str, ...], positions: list[Position], capacity: int
    ) -> None:
        self.variables = [v for v in layout.variables if v.owner == owner and "time" in v.axes]
        self.positions = positions
        self._layout = layout
        self._place = {position: place for place, position in enumerate(positions)}
        shape = layout.shape(owner)
        self._rows: Rows = [int(np.ravel_multi_index(position, shape)) for position in positions]
        self._shapes = [layout.shape(_without_time(variable)) for variable in self.variables]
        self._numbers = np.full((capacity, len(positions), numbers_per_time(layout, owner)), np.nan)

    def pack(self, values: Values) -> NDArray[np.float64]:
        """One row: the values of all variables by name, NaN where one lacks."""
        parts = [
            np.full(shape, np.nan)
            if variable.name not in values
            else np.broadcast_to(values[variable.name], shape)
            for variable, shape in zip(self.variables, self._shapes, strict=True)
        ]
        return np.concatenate([np.ravel(part) for part in parts]) if parts else np.empty(0)

    def put(self, time: int, position: Position, row: NDArray[np.float64]) -> None:
        """Keeps the row of `position`; time counts from the last write."""
        self._numbers[time, self._place[position]] = row

    def write(self, writer: Writer, first: int, count: int) -> None:
        """Writes the rows of `count` times, the first of which is measurement `first`; collective."""
        begin = 0
        for variable, shape in zip(self.variables, self._shapes, strict=True):
            size = int(np.prod(shape))
            block = self._numbers[:count, :, begin : begin + size].reshape(count, len(self._rows), *shape)
            begin += size
            place = variable.axes.index("time") + 1
            block = np.moveaxis(np.moveaxis(block, 1, 0), 1, place)
            tail = tuple(
                slice(first, first + count) if axis == "time" else slice(0, self._layout.size(axis))
                for axis in variable.axes
            )
            writer.write(variable, self._rows, tail, block)
        self._numbers.fill(np.nan)


class Recorder:
    """The measurements of one rank."""

    def __init__(
        self,
        config: Config,
        layout: Layout,
        spread: Decomposition,
        ladders: list[SharedLadder],
        world: World,
        measured: int,
    ) -> None:
        """measured : measurement times that are in the results file already."""
        self._config, self._layout, self._ladders, self._world = config, layout, ladders, world
        self._walkers = [walker for ladder in ladders for walker in ladder.replicas]
        self._owners, self._pairs = spread.owners(), pairs(config)
        mine = spread.of(world.rank)
        self._samples = {w.key.sample: w.sample for w in self._walkers if _first_of_sample(w.key)}
        self._capacity = _capacity(layout, spread)
        positions: dict[tuple[str, ...], list[Position]] = {
            WALKER: [tuple(key) for key in mine],
            PAIR: [pair.position for pair in self._pairs if self._owners[pair.first] == world.rank],
            LADDER: [tuple(key.ladder) for key in mine if key.beta == 0],
        }
        self._tables = {
            owner: Table(layout, owner, places, self._capacity) for owner, places in positions.items()
        }
        self._first, self._count = measured, 0

    @property
    def full(self) -> bool:
        """True when the measurements must be written before the next one; the same on all ranks."""
        return self._count == self._capacity

    def measure(self, time: int) -> None:
        """Measures every walker, pair of clones and ladder at Monte Carlo time `time`; collective."""
        holders = self._holders()
        machines = {walker.seat: walker.machine for walker in self._walkers}
        reached("measurement", self._world.rank)
        if time in self._layout.coordinates["waiting"]:
            for walker in self._walkers:
                walker.remember()
        acceptance = {ladder.ladder.key: ladder.take_acceptance() for ladder in self._ladders}
        self._keep(
            WALKER,
            {
                tuple(walker.seat): self._walker_values(
                    walker, machines[walker.seat], acceptance[walker.key.ladder][walker.temperature]
                )
                for walker in self._walkers
            },
            {tuple(seat): (holder, self._owners[seat]) for seat, holder in holders.items()},
        )
        self._keep(
            PAIR,
            self._pair_values(machines, holders),
            {p.position: (holders[p.first], self._owners[p.first]) for p in self._pairs},
        )
        own = {tuple(ladder.ladder.key): _ladder_values(ladder) for ladder in self._ladders}
        table = self._tables[LADDER]
        for position in table.positions:
            table.put(self._count, position, table.pack(own[position]))
        self._count += 1

    def write(self, writer: Writer) -> None:
        """Writes the measurements since the last write; collective."""
        if self._world.is_root:
            writer.check()
        if self._count == 0:
            return
        for table in self._tables.values():
            table.write(writer, self._first, self._count)
            reached("writing", self._world.rank)
        self._first, self._count = self._first + self._count, 0
        writer.flush()

    def write_loops(self, writer: Writer) -> None:
        """Writes the loop counts of every sample; collective."""
        samples = sorted(self._samples)
        counts = [loops(self._samples[sample]) for sample in samples]
        for variable in self._layout.variables:
            if variable.owner == SAMPLE:
                name = variable.name.removeprefix("loops/")
                block = np.array([count[name] for count in counts], dtype=np.float64)
                tail = tuple(slice(0, self._layout.size(axis)) for axis in variable.axes)
                writer.write(variable, samples, tail, block)

    def _holders(self) -> dict[WalkerKey, int]:
        """The rank on which the student of each seat lives."""
        if not self._config.dynamics.tempered:
            return self._owners
        shared = self._world.share([tuple(walker.seat) for walker in self._walkers])
        return {WalkerKey(*seat): rank for rank, seats in enumerate(shared) for seat in seats}

    def _walker_values(self, walker: Walker, machine: Machine, acceptance: NDArray[np.float64]) -> Values:
        values: dict[str, float | NDArray[np.float64]] = {
            "energy": walker.energy,
            "test_error": walker.test_error(machine),
            "acceptance": acceptance,
        }
        for name, profile in overlaps(walker.sample, machine, walker.sample.teacher).items():
            values[f"teacher/{name}"] = profile
        waits = self._layout.size("waiting")
        for wait, profiles in enumerate(walker.autocorrelations(machine)):
            for name, profile in profiles.items():
                array = values.setdefault(f"autocorrelation/{name}", np.full((waits, len(profile)), np.nan))
                array[wait] = profile  # type: ignore[index]
        return values

    def _pair_values(
        self, machines: dict[WalkerKey, Machine], holders: dict[WalkerKey, int]
    ) -> dict[Position, Values]:
        sample_of = {walker.key.sample: walker.sample for walker in self._walkers}
        values: dict[Position, Values] = {}

        def compare(pair: Pair, first: Machine, second: Machine) -> None:
            found = overlaps(sample_of[pair.first.sample], second, first)
            values[pair.position] = {f"clones/{name}": profile for name, profile in found.items()}

        CloneExchange(self._pairs, holders, self._world).visit(machines, compare)
        return values

    def _keep(
        self,
        owner: tuple[str, ...],
        values: dict[Position, Values],
        ways: Mapping[Position, tuple[int, int]],
    ) -> None:
        """Puts each row into its owner's table; ways : (rank that measured, rank that owns) of each row."""
        table, rank = self._tables[owner], self._world.rank
        rows = {position: table.pack(values[position]) for position in sorted(values)}
        sent = [
            self._world.send(row, ways[position][1])
            for position, row in rows.items()
            if ways[position][1] != rank
        ]
        blank = table.pack({})
        for position in sorted(table.positions):
            holder = ways[position][0]
            row = rows[position] if holder == rank else self._world.receive(blank, holder)
            table.put(self._count, position, row)
        self._world.finish(sent)


def numbers_per_time(layout: Layout, owner: tuple[str, ...]) -> int:
    """How many numbers a row takes for one time."""
    variables = [v for v in layout.variables if v.owner == owner and "time" in v.axes]
    return sum(int(np.prod(layout.shape(_without_time(variable)))) for variable in variables)


def _ladder_values(shared: SharedLadder) -> Values:
    ladder = shared.ladder
    return {
        "exchange/permutation": ladder.replica_at.astype(np.float64),
        "exchange/attempts": ladder.attempts.astype(np.float64),
        "exchange/accepts": ladder.accepts.astype(np.float64),
        "exchange/round_trips": ladder.round_trips.astype(np.float64),
    }


def _capacity(layout: Layout, spread: Decomposition) -> int:
    """Times to keep before they are written: the same on all ranks, since writing is collective."""
    pairs_per_walker = layout.size("pair") / layout.size("clone")
    numbers = numbers_per_time(layout, WALKER) + pairs_per_walker * numbers_per_time(layout, PAIR)
    return max(1, min(layout.size("time"), int(BUFFER_BYTES / (8 * numbers * spread.largest))))


def _without_time(variable: Variable) -> tuple[str, ...]:
    return tuple(axis for axis in variable.axes if axis != "time")


def _first_of_sample(key: WalkerKey) -> bool:
    """Whether this walker's rank speaks for its sample."""
    return key[1:] == (0, 0, 0)

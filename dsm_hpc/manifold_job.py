"""The verbs of the hidden manifold model: simulations, their equations, and the Gaussian equivalence."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, TypeVar

import numpy as np

from dsm_hpc.errors import InputError, Stopped
from dsm_hpc.manifold import layout, storage, threads
from dsm_hpc.manifold.equivalence import HEADER, Equivalence
from dsm_hpc.manifold.equivalence import table as rows_of
from dsm_hpc.manifold.experiment import Streams, check_equivalence
from dsm_hpc.manifold.format import is_manifold
from dsm_hpc.manifold.inputfile import ManifoldJob, load
from dsm_hpc.manifold.integrals import INTEGRABLE
from dsm_hpc.manifold.layout import Arrays
from dsm_hpc.manifold.storage import Results
from dsm_hpc.manifold.worker import Worker, begin, cost, solve_into
from dsm_hpc.parallel.decomposition import split
from dsm_hpc.parallel.stopping import Deadline, Signals
from dsm_hpc.parallel.world import World
from dsm_hpc.presentation.wording import counted, table
from dsm_hpc.rng import Purpose, bit_generator, generator
from dsm_hpc.storage import sign_of_life
from dsm_hpc.storage.provenance import provenance, resumed
from dsm_hpc.storage.results import check_output
from dsm_hpc.storage.sign_of_life import SignOfLife
from dsm_hpc.watch import Watch

SAVE_EVERY = 60.0
"""Seconds between checkpoints, which are also what others can see of the run."""

SIGN_EVERY = 2.0
"""Seconds between signs of life."""

Item = TypeVar("Item")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Request:
    """What is to be done; input : YAML, or a file of results whose input is taken."""

    verb: Literal["online", "ode", "gep"]
    input: Path
    output: Path
    overrides: tuple[str, ...] = ()
    overwrite: bool = False

    def job(self) -> ManifoldJob:
        """The job of the input; of a file of results, the one it came from, with more --set words."""
        if not is_manifold(self.input):
            return load(self.input, self.overrides)
        found = storage.read_job(self.input)
        return found.changed(self.overrides, self.input) if self.overrides else found


def run(request: Request, job: ManifoldJob, world: World, signals: Signals | None, deadline: Deadline) -> str:
    """Carries out a request, on all ranks; returns what there is to say.  Raises InputError or Stopped.

    signals : what asks a simulation to stop.
    """
    threads.single()
    with world.abort_on_error():
        world.on_root(lambda: check_output(request.output, request.overwrite, _bytes(job)))
        match request.verb:
            case "online":
                assert signals is not None
                origin = _origin(job, world)
                return online(_fresh(request.output, job, origin), world, signals, deadline)
            case "ode":
                return _ode(request.output, job, world)
        return _gep(request.output, job, world)


def resume(results: Results, world: World, signals: Signals, deadline: Deadline) -> str:
    """Goes on with an unfinished simulation."""
    threads.single()
    with world.abort_on_error():
        hosts = world.share(world.host)
        origin = resumed(results.origin, int(results.measured.sum()), hosts)
        return online(replace(results, origin=origin), world, signals, deadline)


# ---------------------------------------------------------------------------------------------- simulation


def online(begun: Results, world: World, signals: Signals, deadline: Deadline) -> str:
    """Simulates from what there is to a finished file; collective."""
    world.on_root(lambda: sign_of_life.refuse_if_alive(begun.path))
    job = begun.job
    if world.size > len(job.runs):
        raise InputError(
            f"{world.size} ranks for {len(job.runs)} runs (cases x repetitions): start no more ranks"
        )
    borders = split([cost(case) for case, _ in job.runs], world.size)
    mine = slice(borders[world.rank], borders[world.rank + 1])
    arrays = {name: values[mine].copy() for name, values in begun.arrays.items()}
    worker = Worker(job, mine.start, mine.stop, arrays, begun.measured[mine].tolist(), begun.states)
    progress = _Progress(begun, worker, world)

    def save(finished: bool = False) -> None:
        parts = world.gather((worker.arrays, worker.measured, worker.states()))
        if parts is not None:
            storage.write(_joined(begun, parts, finished))

    if not any(begun.measured):
        save()  # a kill from now on leaves a file that can be resumed
    watch = Watch(world, signals, deadline)
    watch.begin(0)
    try:
        while not all(world.share(worker.done)):
            started, turn = perf_counter(), watch.turn
            worker.go_on(turn)
            progress.show()
            watch.look_up(turn, perf_counter() - started, SAVE_EVERY, save)
    except Stopped as stop:
        progress.sign("stopped", str(stop))
        raise
    save(finished=True)
    if world.is_root:
        sign_of_life.remove(begun.path)
    return f"{begun.path}: {_counted(job)}"


def _joined(begun: Results, parts: Sequence[Any], finished: bool) -> Results:
    """The results of all ranks."""
    arrays = {name: np.concatenate([part[0][name] for part in parts]) for name in parts[0][0]}
    measured = np.concatenate([part[1] for part in parts])
    states = {run: state for part in parts for run, state in part[2].items()}
    return replace(begun, arrays=arrays, measured=measured, states=states, finished=finished)


class _Progress:
    """Signs of life for others, by rank 0: it speaks of its own runs, as if all ranks were as far."""

    def __init__(self, results: Results, worker: Worker, world: World) -> None:
        self._path, self._run = results.path, str(results.origin["run"])
        self._worker, self._world = worker, world
        self._total = sum(int(layout.steps(case)[-1]) for case, _ in results.job.runs)
        self._signed = 0.0
        self.show()

    def show(self) -> None:
        if perf_counter() - self._signed > SIGN_EVERY:
            self.sign("running", "")

    def sign(self, state: Literal["running", "stopped"], reason: str) -> None:
        if self._world.is_root:
            done = min(self._worker.steps * self._world.size, self._total)
            sign = SignOfLife(self._run, state, reason, done, self._total, "", self._world.size, 0.0, {})
            sign_of_life.give(self._path, sign)
            self._signed = perf_counter()


# ---------------------------------------------------------------------------------------------- the others


def _ode(path: Path, job: ManifoldJob, world: World) -> str:
    """The equations alone, from the state in which a simulation of the same input starts."""
    for case in job.cases:
        if case.config.networks.g not in INTEGRABLE:
            raise InputError(
                f"networks.g = {case.config.networks.g}: has no equations of motion: "
                f"allowed are {', '.join(INTEGRABLE)}"
            )
    wanted, lengths = layout.variables(job, simulated=False), layout.sizes(job.cases)

    def solved(place: int) -> Arrays:
        (case, repetition), arrays = job.runs[place], layout.empty(wanted, lengths, 1)
        solve_into(arrays, 0, case, begin(case, repetition))
        return arrays

    parts = _spread(range(len(job.runs)), solved, world)
    origin = _origin(job, world)
    if world.is_root:
        arrays = {v.name: np.concatenate([part[v.name] for part in parts]) for v in wanted}
        storage.write(Results(path, storage.ODE, job, origin, True, arrays))
    return f"{path}: equations of {_counted(job)}"


def _gep(path: Path, job: ManifoldJob, world: World) -> str:
    """Measures the moments of the fields for each f, N and student; writes and returns the table."""
    if len(job.cases) > 1:
        raise InputError(f"gep: has one case, the input {len(job.cases)} (scan, learning.rates)")
    config = job.config
    points = [(f, width) for f in config.gep.functions for width in config.gep.widths]

    def measured(point: tuple[str, int]) -> tuple[Equivalence, Equivalence]:
        f, width = point
        word = int.from_bytes(hashlib.blake2b(f.encode(), digest_size=8).digest())
        key = (config.seed, Purpose.HMM_EQUIVALENCE, word, width)
        features, teacher, student, fresh = (generator(*key, role) for role in (0, 1, 2, 4))
        drawn = Streams(features, teacher, student, bit_generator(*key, 3))
        return check_equivalence(config, f, width, drawn, fresh)

    found = [one for pair in _spread(points, measured, world) for one in pair]
    origin = _origin(job, world)
    if world.is_root:
        storage.write_equivalence(path, job, origin, found)
    return table(list(HEADER), [list(row) for row in rows_of(found)])


def _counted(job: ManifoldJob) -> str:
    return f"{counted(len(job.cases), 'case')}, {counted(job.repetitions, 'repetition')}"


def _spread(items: Sequence[Item], work: Callable[[Item], Found], world: World) -> list[Found]:
    """What the work on each item gives, on all ranks."""
    borders = split([1.0] * len(items), world.size)
    mine = items[borders[world.rank] : borders[world.rank + 1]]
    return [found for part in world.share([work(item) for item in mine]) for found in part]


def _origin(job: ManifoldJob, world: World) -> dict[str, Any]:
    """Where the results come from; its identity is the same on all ranks."""
    hosts = world.share(world.host)
    return world.broadcast(provenance(hosts, world.mpi_library, job.config.seed, "gather"))


def _fresh(path: Path, job: ManifoldJob, origin: dict[str, Any]) -> Results:
    """A run in which nothing has been measured."""
    runs = len(job.runs)
    arrays = layout.empty(layout.variables(job, simulated=True), layout.sizes(job.cases), runs)
    return Results(path, storage.ONLINE, job, origin, False, arrays, np.zeros(runs, np.int64))


def _bytes(job: ManifoldJob) -> int:
    """Size of the largest file on the way, twice: the new one stands beside the old one."""
    lengths, runs = layout.sizes(job.cases), len(job.runs)
    numbers = sum(
        runs * int(np.prod([lengths[axis] for axis in v.axes])) for v in layout.variables(job, True)
    )
    weights = max(case.config.networks.student * case.config.data.width for case in job.cases)
    return 16 * (numbers + weights)

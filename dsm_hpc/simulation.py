"""The main job: one parameter set, from its configuration to a finished results file."""

from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import perf_counter

from dsm_hpc.ensemble import WalkerKey, pairs
from dsm_hpc.errors import InputError
from dsm_hpc.inputfile import Point
from dsm_hpc.machine.sample import Sample, draw_sample
from dsm_hpc.measurement import Recorder
from dsm_hpc.parallel.clones import CloneExchange
from dsm_hpc.parallel.decomposition import decompose
from dsm_hpc.parallel.world import World
from dsm_hpc.progress import Progress
from dsm_hpc.sampling.walker import Walker
from dsm_hpc.storage import results
from dsm_hpc.storage.layout import layout
from dsm_hpc.storage.provenance import provenance

WRITE_EVERY = 10.0
"""Seconds between writes, by rank 0's clock: others may look at the file while the run goes on."""

TURN = 1.0
"""Seconds that a rank's walkers move before progress is shown."""


@dataclass(frozen=True)
class Run:
    """What to run and where to put it."""

    point: Point
    text: str
    path: Path
    overwrite: bool


def run_all(jobs: list[Run], world: World, folder: Path | None) -> None:
    """Runs one point after the other, each on all ranks; collective.

    folder : created for the files of a scan.  No point starts unless all of them can be written.
    """
    world.on_root(lambda: _check_outputs(jobs, folder))
    for job in jobs:
        run(job, world)


def _check_outputs(jobs: list[Run], folder: Path | None) -> None:
    if folder is not None:
        results.make_folder(folder)
    for job in jobs:
        results.check_output(job.path, job.overwrite)


def run(job: Run, world: World) -> None:
    """Simulates one point on all ranks; collective.

    Raises InputError if the run cannot start; any later error ends all ranks.
    """
    config = job.point.config
    kind = results.writer_kind(config.output.mode, world)
    spread = decompose(config, world.size)
    if world.size > len(spread.walkers):
        raise InputError(
            f"{world.size} ranks for {len(spread.walkers)} walkers (samples x starts x clones x betas): "
            f"start at most {len(spread.walkers)} ranks"
        )
    shape = layout(config)
    with world.abort_on_error():
        walkers = world.together(lambda: _walkers(job, spread.of(world.rank)))
        recorder = Recorder(shape, walkers, CloneExchange(pairs(config), spread.owners(), world))
        _create(job, world, kind)
        progress = Progress(config, len(spread.walkers), world)
        with results.open_writer(job.path, kind, world) as writer:
            recorder.write_loops(writer)
            _loop(
                [int(time) for time in shape.coordinates["time"]], walkers, recorder, writer, progress, world
            )
        world.barrier()
        if world.is_root:
            results.finish(job.path)
        world.barrier()


def _walkers(job: Run, keys: tuple[WalkerKey, ...]) -> list[Walker]:
    """This rank's walkers; those of one sample share it."""
    samples: dict[int, Sample] = {}
    for key in keys:
        if key.sample not in samples:
            samples[key.sample] = draw_sample(job.point.config, key.sample)
    return [Walker(key, samples[key.sample]) for key in keys]


def _create(job: Run, world: World, kind: str) -> None:
    """Rank 0 creates the results file."""
    config = job.point.config
    hosts = world.gather(world.host)
    if hosts is not None:
        origin = provenance(hosts, world.mpi_library, config.seed, kind)
        about = results.attributes(job.text, config.as_yaml(), job.point.values, origin)
        results.create(job.path, layout(config), about)
    world.barrier()


def _loop(
    times: list[int],
    walkers: list[Walker],
    recorder: Recorder,
    writer: results.Writer,
    progress: Progress,
    world: World,
) -> None:
    """Advances all walkers from one measurement time to the next."""
    now, written = 0, -inf  # the state at t = 0 is written at once
    for time in times:
        _advance(walkers, now, time, progress)
        now = time
        recorder.measure(time)
        progress.measured(time, walkers)
        due = perf_counter() - written > WRITE_EVERY
        if world.broadcast(due) or recorder.full or time == times[-1]:
            recorder.write(writer)
            written = perf_counter()
    progress.close()


def _advance(walkers: list[Walker], start: int, stop: int, progress: Progress) -> None:
    """Moves this rank's walkers from sweep `start` to sweep `stop`, a turn of about a second at a time."""
    turn = 1
    while start < stop:
        turn = min(turn, stop - start)
        began = perf_counter()
        for walker in walkers:
            walker.advance(turn)
        start += turn
        progress.moved(start)
        turn = max(1, min(2 * turn, int(turn * TURN / max(perf_counter() - began, 1e-9))))

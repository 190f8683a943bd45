"""The main job: one parameter set, from its configuration to a finished results file."""

from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.config import AdaptiveLadder, Config
from dsm_hpc.ensemble import WalkerKey, walker_count
from dsm_hpc.errors import InputError
from dsm_hpc.footprint import file_bytes
from dsm_hpc.inputfile import Point
from dsm_hpc.machine.sample import Sample, draw_sample
from dsm_hpc.measurement import Recorder
from dsm_hpc.parallel.decomposition import Decomposition, decompose
from dsm_hpc.parallel.ladders import SharedLadder, shared_ladders
from dsm_hpc.parallel.world import World
from dsm_hpc.progress import Progress
from dsm_hpc.rng import Purpose
from dsm_hpc.sampling.tuning import rejections, retuned, round_lengths
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
    overrides: tuple[str, ...]
    path: Path
    overwrite: bool


def run_all(jobs: list[Run], world: World, folder: Path | None) -> None:
    """Runs one point after the other, each on all ranks; collective.

    folder : created for the files of a scan.  No point starts unless all of them can run and be written.
    Raises InputError, on all ranks, if that is not so; any other error ends all ranks.
    """
    with world.abort_on_error():
        for job in jobs:
            _check_ranks(job.point.config, world)
        world.on_root(lambda: _check_outputs(jobs, folder))
        for job in jobs:
            _run(job, world)


def _check_ranks(config: Config, world: World) -> None:
    results.writer_kind(config.output.mode, world)
    count = walker_count(config)
    if world.size > count:
        raise InputError(
            f"{world.size} ranks for {count} walkers (samples x starts x clones x betas): "
            f"start at most {count} rank{'s' * (count > 1)}"
        )


def _check_outputs(jobs: list[Run], folder: Path | None) -> None:
    if folder is not None:
        results.make_folder(folder)
    for job in jobs:
        results.check_output(job.path, job.overwrite, file_bytes(job.point.config))


def _run(job: Run, world: World) -> None:
    """Simulates one point on all ranks; collective."""
    config = job.point.config
    kind = results.writer_kind(config.output.mode, world)
    spread = decompose(config, world.size)
    samples = world.together(lambda: _samples(config, spread.of(world.rank)))
    config, tuning = _tuned(config, samples, spread, world)
    ladders = _ladders(config, samples, spread, world)
    recorder = Recorder(config, layout(config), spread, ladders, world)
    _create(job, config, tuning, world, kind)
    with results.open_writer(job.path, kind, world) as writer:
        recorder.write_loops(writer)
        _loop(config, ladders, recorder, writer, Progress(config, len(spread.walkers), world), world)
    world.release()
    world.barrier()
    if world.is_root:
        results.finish(job.path)
    world.barrier()


def _samples(config: Config, keys: tuple[WalkerKey, ...]) -> dict[int, Sample]:
    """The samples of this rank's walkers, which share them."""
    return {index: draw_sample(config, index) for index in dict.fromkeys(key.sample for key in keys)}


def _ladders(
    config: Config,
    samples: dict[int, Sample],
    spread: Decomposition,
    world: World,
    moves: Purpose = Purpose.MOVES,
    swaps: Purpose = Purpose.EXCHANGE,
) -> list[SharedLadder]:
    """This rank's walkers at t = 0, grouped into ladders; collective."""
    walkers = [Walker(key, samples[key.sample], config, moves) for key in spread.of(world.rank)]
    return shared_ladders(config, walkers, spread, world, swaps)


def _create(job: Run, config: Config, tuning: dict[str, Any] | None, world: World, kind: str) -> None:
    """Rank 0 creates the results file."""
    hosts = world.gather(world.host)
    if hosts is not None:
        origin = provenance(hosts, world.mpi_library, config.seed, kind)
        about = results.attributes(
            job.text, job.overrides, config.as_yaml(), job.point.values, origin, tuning
        )
        results.check_output(job.path, job.overwrite, file_bytes(config))
        results.create(job.path, layout(config), about)
    world.barrier()


def _tuned(
    config: Config, samples: dict[int, Sample], spread: Decomposition, world: World
) -> tuple[Config, dict[str, Any] | None]:
    """The configuration with a frozen ladder, and how it was found; collective.

    The burn-in has streams of its own and its students are thrown away: the run starts afresh at t = 0.
    """
    asked = config.dynamics.betas
    if not isinstance(asked, AdaptiveLadder):
        return config.with_betas(config.dynamics.ladder), None
    betas, now, rounds = config.dynamics.ladder, 0, []
    pilots = _ladders(
        config.with_betas(betas), samples, spread, world, Purpose.TUNING_MOVES, Purpose.TUNING_EXCHANGE
    )
    for length in round_lengths(asked.burn_in):
        before = _swap_counts(pilots, spread, world)
        for shared in pilots:
            shared.configure(config.with_betas(betas))
        _sweep_to(config, pilots, now, now + length)
        now += length
        attempts, accepts = _swap_counts(pilots, spread, world) - before
        rounds.append({"betas": list(map(str, betas)), "rejection": rejections(attempts, accepts).tolist()})
        betas = retuned(betas, attempts, accepts)
    return config.with_betas(betas), {"burn_in": asked.burn_in, "rounds": rounds}


def _swap_counts(ladders: list[SharedLadder], spread: Decomposition, world: World) -> NDArray[np.int64]:
    """(2, B - 1): swaps tried and made on each edge so far, over all ladders; collective."""
    owners = spread.owners()
    counts = sum(
        np.stack([shared.ladder.attempts, shared.ladder.accepts])
        for shared in ladders
        if owners[WalkerKey(*shared.ladder.key, 0)] == world.rank
    )
    return np.asarray(sum(world.share(counts)))


def _loop(
    config: Config,
    ladders: list[SharedLadder],
    recorder: Recorder,
    writer: results.Writer,
    progress: Progress,
    world: World,
) -> None:
    """Moves all walkers from one measurement time to the next, with swaps on the way."""
    now, written = 0, -inf  # the state at t = 0 is written at once
    times = [int(time) for time in layout(config).coordinates["time"]]
    for time in times:
        _sweep_to(config, ladders, now, time, progress)
        now = time
        recorder.measure(time)
        progress.measured(time, [walker for shared in ladders for walker in shared.replicas])
        due = world.broadcast(perf_counter() - written > WRITE_EVERY)
        if due or recorder.full or time == times[-1]:
            recorder.write(writer)
            written = perf_counter()
    progress.close()


def _sweep_to(
    config: Config, ladders: list[SharedLadder], start: int, stop: int, progress: Progress | None = None
) -> None:
    """Moves this rank's walkers from time `start` to time `stop`, in sweeps, swapping where it is time to.

    Works in turns of about a second, after each of which progress is shown.
    """
    every = config.dynamics.exchange_every if config.dynamics.tempered else None
    turn, now = 1, start
    while now < stop:
        swap = stop if every is None else (now // every + 1) * every
        until = min(stop, swap, now + turn)
        began = perf_counter()
        for shared in ladders:
            for walker in shared.replicas:
                walker.advance(now, until)
        done, now = until - now, until
        if every is not None and now % every == 0:
            for shared in ladders:
                shared.exchange()
        if progress is not None:
            progress.moved(now)
        turn = max(1, min(2 * turn, int(done * TURN / max(perf_counter() - began, 1e-9))))

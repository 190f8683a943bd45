"""The main job: one parameter set, from its configuration or last checkpoint to a finished results file."""

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any

from dsm_hpc import burn_in
from dsm_hpc.burn_in import BurnIn
from dsm_hpc.config import AdaptiveLadder, Config
from dsm_hpc.course import Course
from dsm_hpc.ensemble import WalkerKey, walker_count
from dsm_hpc.errors import InputError
from dsm_hpc.footprint import disk_bytes, file_bytes
from dsm_hpc.inputfile import Job, Point
from dsm_hpc.machine.sample import Sample, draw_sample
from dsm_hpc.measurement import Recorder
from dsm_hpc.parallel.decomposition import decompose
from dsm_hpc.parallel.ladders import SharedLadder, shared_ladders
from dsm_hpc.parallel.stopping import Deadline, Signals
from dsm_hpc.parallel.threads import check_threads
from dsm_hpc.parallel.world import World
from dsm_hpc.progress import Progress
from dsm_hpc.restoring import Saved, check_belongs
from dsm_hpc.rng import Purpose
from dsm_hpc.sampling.walker import Walker
from dsm_hpc.storage import checkpoint, results, scan_list, sign_of_life
from dsm_hpc.storage.checkpoint import Checkpoint, Damaged, Moment, checkpoint_bytes
from dsm_hpc.storage.layout import layout
from dsm_hpc.storage.provenance import provenance, resumed
from dsm_hpc.storage.reading import Header
from dsm_hpc.storage.sign_of_life import Pulse, SignOfLife
from dsm_hpc.watch import Watch

WRITE_EVERY = 10.0
"""Seconds between writes, by rank 0's clock: others may look at the file while the run goes on."""


@dataclass(frozen=True)
class Run:
    """What to run and where to put it.

    begun : the results file to go on with; None starts afresh.
    """

    point: Point
    text: str
    overrides: tuple[str, ...]
    path: Path
    overwrite: bool = False
    begun: Header | None = None


@dataclass(frozen=True)
class Scan:
    """The folder of a scan and all its points."""

    folder: Path
    job: Job
    overrides: tuple[str, ...]
    overwrite: bool


def run_all(jobs: list[Run], world: World, signals: Signals, deadline: Deadline, scan: Scan | None) -> None:
    """Runs one point after the other, each on all ranks; collective.

    scan : its folder is made where it is missing.  No point starts unless all of them can run and be written.
    Raises InputError or, when asked to stop, Stopped on all ranks; any other error ends all ranks.
    """
    with world.abort_on_error():
        for job in jobs:
            _check_ranks(job.point.config, world)
            check_threads(job.point.config.dynamics.threads, world)
        world.on_root(lambda: _check_outputs(jobs, scan))
        watch = Watch(world, signals, deadline)
        for job in jobs:
            watch.begin(checkpoint_bytes(job.point.config))
            _Simulation(job, world, watch).run()


def _check_ranks(config: Config, world: World) -> None:
    results.writer_kind(config.output.mode, world)
    count = walker_count(config)
    if world.size > count:
        raise InputError(
            f"{world.size} ranks for {count} walkers (samples x starts x clones x betas): "
            f"start at most {count} rank{'s' * (count > 1)}"
        )


def _check_outputs(jobs: list[Run], scan: Scan | None) -> None:
    if scan is not None:
        results.make_folder(scan.folder)
    for job in jobs:
        needed = file_bytes(job.point.config) if job.begun is not None else disk_bytes(job.point.config)
        results.check_output(job.path, job.overwrite or job.begun is not None, needed)
        sign_of_life.refuse_if_alive(job.path)
    if scan is not None:
        scan_list.write(scan.folder, scan.job, scan.overrides, scan.overwrite)
        if scan.overwrite:  # or `dsm resume` would take results of the old scan for those of the new one
            for job in jobs:
                job.path.unlink(missing_ok=True)
                checkpoint.remove(job.path)


class _Simulation:
    """One point on all ranks.  Every method is collective unless it says otherwise."""

    def __init__(self, job: Run, world: World, watch: Watch) -> None:
        self._job, self._world, self._watch = job, world, watch
        self._config = job.point.config
        self._kind = results.writer_kind(self._config.output.mode, world)
        self._spread = decompose(self._config, world.size)

    def run(self) -> None:
        """Simulates to the end, or raises Stopped."""
        world = self._world
        world.on_root(lambda: sign_of_life.refuse_if_alive(self._job.path))
        with Pulse(self._job.path, self._first_sign()) if world.is_root else nullcontext() as self._pulse:
            self._run()
        world.barrier()
        if world.is_root:
            results.finish(self._job.path)
            sign_of_life.remove(self._job.path)
        world.barrier()

    def _first_sign(self) -> SignOfLife:
        """Given before the samples are drawn, which may take long: nobody else may begin this run."""
        begun, sweeps = self._job.begun, self._config.schedule.sweeps
        run = begun.provenance["run"] if begun is not None else ""
        return SignOfLife(run, "running", "", 0, sweeps, "set-up", self._world.size, 0.0, {})

    def _run(self) -> None:
        world = self._world
        self._samples = world.together(lambda: _samples(self._config, self._spread.of(world.rank)))
        saved = self._restore()
        self._origin = self._provenance(saved)
        self._prepare_file(saved)
        if isinstance(self._config.dynamics.betas, AdaptiveLadder):
            self._tune(saved)
            saved = None
        self._simulate(saved)
        world.release()

    # ------------------------------------------------------------------------------------------ what there is

    def _restore(self) -> Saved | None:
        """The walkers of the newest checkpoint that can be believed; None where there is none at all.

        A damaged one is passed over.  Raises InputError if one is of another run, configuration or format,
        if all are damaged, or if a finished run has none.
        """
        if self._job.begun is None:
            return None
        refused: list[str] = []
        for path in (checkpoint.newest(self._job.path), checkpoint.older(self._job.path)):
            if self._world.on_root(path.exists):
                try:
                    saved = self._world.together(lambda path=path: self._saved(path))  # type: ignore[misc]
                except Damaged as error:
                    refused.append(str(error))
                else:
                    self._world.on_root(lambda: _put_aside(self._job.path, refused))
                    return saved
        if refused:
            raise InputError("\n".join([*refused, f"{self._job.path}: none of its checkpoints can be used"]))
        if self._job.begun.finished:
            raise InputError(
                f"{self._job.path}: is finished, and its checkpoints are gone: it cannot be extended; "
                "run it again with more sweeps"
            )
        self._world.on_root(
            lambda: print(f"dsm: {self._job.path}: no checkpoint: begins at t = 0", file=sys.stderr)
        )
        return None

    def _saved(self, path: Path) -> Saved | None:
        """This rank's part of a checkpoint; not collective.

        None if it is of a burn-in that has ended since: the run begins at t = 0, with the ladder found.
        """
        assert self._job.begun is not None
        found = Checkpoint(path)
        check_belongs(found, self._job.begun, self._config)
        tuned = not isinstance(self._config.dynamics.betas, AdaptiveLadder)
        if tuned and found.moment.burn_in is not None:
            return None
        return Saved.read(found, self._config, self._samples, self._spread.of(self._world.rank))

    def _ladders(self, saved: Saved | None, pilots: bool = False) -> list[SharedLadder]:
        """This rank's walkers as they were saved, or at t = 0, grouped into ladders."""
        moves = Purpose.TUNING_MOVES if pilots else Purpose.MOVES
        swaps = Purpose.TUNING_EXCHANGE if pilots else Purpose.EXCHANGE
        config, world = self._config, self._world
        walkers = (
            saved.walkers
            if saved is not None
            else [
                Walker(key, self._samples[key.sample], config, moves) for key in self._spread.of(world.rank)
            ]
        )
        ladders = shared_ladders(config, walkers, self._spread, world, swaps)
        if saved is not None:
            saved.put_back(ladders)
        return ladders

    # ------------------------------------------------------------------------------------------ the file

    def _provenance(self, saved: Saved | None) -> dict[str, Any]:
        """Where the run comes from, on rank 0; its identity, on all ranks."""
        hosts = self._world.share(self._world.host)
        begun, config = self._job.begun, self._config
        if begun is not None:
            return resumed(begun.provenance, 0 if saved is None else saved.moment.sweep, hosts)
        fresh = provenance(hosts, self._world.mpi_library, config.seed, self._kind)
        return self._world.broadcast(fresh)

    def _prepare_file(self, saved: Saved | None) -> None:
        """Rank 0 creates the results file, or brings it back to the time of the checkpoint."""
        begun, path = self._job.begun, self._job.path

        def prepare() -> None:
            if begun is not None:
                self._replace_file(begun.tuning, saved.moment.measured if saved is not None else 0)
            else:  # a late point of a scan: much may have happened since all were checked
                results.check_output(path, self._job.overwrite, disk_bytes(self._config))
                self._replace_file(None, 0)

        self._world.on_root(prepare)

    def _replace_file(self, tuning: dict[str, Any] | None, times: int) -> None:
        """A file with the data of the first `times` measurement times; not collective."""
        job, config = self._job, self._config
        about = results.attributes(
            job.text, job.overrides, config.as_yaml(), job.point.values, self._origin, tuning
        )
        if times:
            assert job.begun is not None
            results.extend(job.begun, layout(config), about, times)
        else:
            fresh = job.begun is None and tuning is None
            results.create(
                job.path, layout(config), about, lambda: checkpoint.remove(job.path) if fresh else None
            )

    def _save(self, course: Course, measured: int, tuning: BurnIn | None) -> None:
        """Writes a checkpoint; what was measured is on disk."""
        moment = Moment(
            self._origin["run"],
            self._config.as_yaml(),
            course.now,
            measured,
            course.ladders[0].replicas[0].remembered,
            tuning.as_json() if tuning is not None else None,
        )
        records = [record for shared in course.ladders for record in shared.states()]
        checkpoint.save(self._job.path, moment, self._config, records, self._kind, self._world)

    # ------------------------------------------------------------------------------------------ time goes on

    def _progress(self, begin: int, end: int, phase: str) -> Progress:
        walkers = len(self._spread.walkers)
        run = self._origin["run"]
        return Progress(self._config, walkers, self._world, self._pulse, run, begin, end, phase)

    def _tune(self, saved: Saved | None) -> None:
        """Finds the ladder, and puts it into the configuration and the results file."""
        asked = self._config.dynamics.betas
        assert isinstance(asked, AdaptiveLadder)
        told = saved.moment.burn_in if saved is not None else None
        tuning = BurnIn.from_json(told) if told is not None else burn_in.begin(self._config)
        pilots = self._ladders(saved, pilots=True)
        now = saved.moment.sweep if saved is not None else 0
        progress = self._progress(now, asked.burn_in, "burn-in")
        course = Course(self._config, pilots, now, self._watch, progress)
        with progress:
            burn_in.tune(
                self._config,
                asked.burn_in,
                tuning,
                course,
                self._spread,
                self._world,
                lambda: self._save(course, 0, tuning),
            )
        self._config = self._config.with_betas(tuning.betas)
        about = {"burn_in": asked.burn_in, "rounds": tuning.rounds}
        self._world.on_root(lambda: self._replace_file(about, 0))

    def _simulate(self, saved: Saved | None) -> None:
        """Moves all walkers from one measurement time to the next, and measures."""
        config, world = self._config, self._world
        now, self._measured = (saved.moment.sweep, saved.moment.measured) if saved is not None else (0, 0)
        ladders, shape = self._ladders(saved), layout(config)
        recorder = Recorder(config, shape, self._spread, ladders, world, self._measured)
        progress = self._progress(now, config.schedule.sweeps, "")
        course = Course(config, ladders, now, self._watch, progress)
        with progress, results.open_writer(self._job.path, self._kind, world) as writer:
            if saved is None:
                recorder.write_loops(writer)

            def save() -> None:
                recorder.write(writer)
                writer.sync()
                self._save(course, self._measured, None)

            written = -inf  # the state at t = 0 is written at once
            for time in shape.coordinates["time"][self._measured :].tolist():
                course.sweep_to(time, save)
                self._watch.busy()
                recorder.measure(time)
                self._measured += 1
                progress.measured([walker for shared in ladders for walker in shared.replicas])
                due = world.broadcast(perf_counter() - written > WRITE_EVERY)
                if due or recorder.full:
                    recorder.write(writer)
                    written = perf_counter()
            save()


def _samples(config: Config, keys: tuple[WalkerKey, ...]) -> dict[int, Sample]:
    """The samples of this rank's walkers, which share them."""
    return {index: draw_sample(config, index) for index in dict.fromkeys(key.sample for key in keys)}


def _put_aside(path: Path, refused: list[str]) -> None:
    """Says why the newest checkpoint was not taken, and keeps it from replacing the older one, which was."""
    if refused:
        print("\n".join(f"dsm: {line}" for line in refused), file=sys.stderr)
        print(
            f"dsm: goes on from the checkpoint before: {checkpoint.older(path)}", file=sys.stderr, flush=True
        )
        checkpoint.put_aside(path)

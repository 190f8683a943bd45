"""The program `dsm`: one function per verb.  Arguments and input are checked before MPI starts."""

import argparse
import json
import re
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from dsm_hpc.errors import (
    EXIT_BAD_INPUT,
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_STOPPED,
    InputError,
    RunError,
    Stopped,
)

if TYPE_CHECKING:  # imported where they are used: `dsm --help` must not wait for libraries
    from dsm_hpc.config import Config
    from dsm_hpc.inputfile import Job, Point
    from dsm_hpc.parallel.stopping import Signals
    from dsm_hpc.simulation import Run, Scan

STARTED = time.time()
"""When this process began; --walltime counts from here."""

_KINDS = (
    "profile, generalization, loops, evolution, relaxation, equilibration, distribution, autocorrelation, "
    "acceptance, exchange, free_energy, manifold"
)

_TABLES = (
    "teacher (default), clones, energy, acceptance, autocorrelation, loops, swaps, round_trips, permutation"
)

ROOT_SPEAKS = 5.0
"""Seconds after which a rank leaves even if rank 0 is still silent."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit code (0 done, 2 bad input, 3 failed, 75 stopped on request)."""
    from dsm_hpc.parallel.world import launched_rank

    try:
        options = _parser().parse_args(arguments)
        options.verb(options)
    except InputError as error:
        # Every rank reads the same input and finds the same error: one message is enough.
        if launched_rank() == 0:
            print("\n".join(f"dsm: {line}" for line in str(error).splitlines()), file=sys.stderr)
        else:
            _let_root_speak()
        return EXIT_BAD_INPUT
    except Stopped as stop:
        if launched_rank() == 0:
            print(f"dsm: stopped on request: {stop}; `dsm resume` goes on", file=sys.stderr)
        return EXIT_STOPPED
    except RunError as error:
        print(f"dsm: {error}", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:  # the reader of our output has left, as in `dsm analyze ... | head`
        sys.stderr.close()
        return EXIT_FAILED
    except Exception:
        traceback.print_exc()
        return EXIT_FAILED
    return EXIT_DONE


def validate(options: argparse.Namespace) -> None:
    """Checks an input file and prints what a run would be."""
    from dsm_hpc import inputfile

    if options.schema:
        print(json.dumps(inputfile.schema(), indent=2))
        return
    if options.input is None:
        raise InputError("validate: give an input file, or --schema")
    from dsm_hpc.manifold.inputfile import is_manifold_input

    if is_manifold_input(options.input):
        if options.calibrate:
            raise InputError("--calibrate: is not for inputs of the hidden manifold model")
        from dsm_hpc.manifold.inputfile import load
        from dsm_hpc.manifold.layout import describe as describe_manifold

        print(describe_manifold(load(options.input, tuple(options.set))))
        return
    from dsm_hpc.footprint import describe
    from dsm_hpc.machine.inputs import check_inputs

    job = inputfile.load(options.input, tuple(options.set))
    for point in job.points:
        check_inputs(point.config)
    print(describe(job, options.ranks))
    if options.calibrate:
        _calibrate(job, options.ranks)


def _calibrate(job: "Job", ranks: int) -> None:
    """Announces the time of every point, and of the whole job."""
    from dsm_hpc.calibration import BUDGET, calibrate, in_words, span
    from dsm_hpc.footprint import check_memory

    total = 0.0
    for point in job.points:
        check_memory(point.config)
        found = calibrate(point.config, ranks, BUDGET / len(job.points))
        total += found.total
        print(f"\n# point {point.name}" if job.is_scan else "")
        print(in_words(point.config, found), flush=True)
    if job.is_scan:
        print(f"\ntime of all points: {span(total)}, one after the other")


def run(options: argparse.Namespace) -> None:
    """The main job; a scan writes one file per point into a folder."""
    with _signals() as signals:
        from dsm_hpc import inputfile
        from dsm_hpc.simulation import Run, Scan

        path, overrides = options.output, tuple(options.set)
        job = inputfile.load(options.input, overrides)
        runs = [
            Run(point, job.text, overrides, _file(path, point, job), options.overwrite)
            for point in _chosen(job, options.point)
        ]
        scan = Scan(path, job, overrides, options.overwrite) if job.is_scan else None
        _start(runs, signals, options.walltime, scan)


def resume(options: argparse.Namespace) -> None:
    """Goes on with an interrupted run, or extends a finished one; a folder is that of a scan."""
    with _signals() as signals:
        from dsm_hpc.manifold.format import is_manifold

        if is_manifold(options.results):
            _resume_manifold(options, signals)
            return
        runs = _resumable(options)
        if runs:
            _start(runs, signals, options.walltime, None)
        else:
            _say(f"{options.results}: is finished; --sweeps N extends it")


def _signals() -> "Signals":
    """From now on requests to stop are noted: on a busy machine libraries take seconds to load."""
    from dsm_hpc.parallel.stopping import Signals

    return Signals()


def _resumable(options: argparse.Namespace) -> "list[Run]":
    """What is left to do; points of a scan that have not begun are run afresh."""
    from dsm_hpc.simulation import Run
    from dsm_hpc.storage import scan_list

    path, sweeps = options.results, options.sweeps
    if path.is_dir():
        job, overrides = scan_list.read(path)
        files = [(point, _file(path, point, job)) for point in _chosen(job, options.point)]
        runs = [
            _begun(file, sweeps)
            if file.exists()
            else Run(replace(point, config=_extended(point.config, sweeps, file)), job.text, overrides, file)
            for point, file in files
        ]
        return [run for run in runs if run is not None]
    if options.point is not None:
        raise InputError(f"--point {options.point}: {path} is a single run; give the folder of a scan")
    run = _begun(path, sweeps)
    return [run] if run is not None else []


def _begun(path: Path, sweeps: int | None) -> "Run | None":
    """What is left to do for a results file; None if that is nothing."""
    from dsm_hpc.inputfile import Point
    from dsm_hpc.simulation import Run
    from dsm_hpc.storage.reading import read_header

    header = read_header(path)
    config = _extended(header.config, sweeps, path)
    if header.finished and config is header.config:
        return None
    if not isinstance(header.provenance.get("run"), str):
        raise InputError(f"{path}: is of a dsm_hpc that wrote no checkpoints: it cannot be gone on with")
    return Run(Point(header.point, config), header.text, header.overrides, path, begun=header)


def _extended(config: "Config", sweeps: int | None, path: Path) -> "Config":
    """The configuration with so many sweeps in all."""
    if sweeps is None or sweeps == config.schedule.sweeps:
        return config
    if sweeps < config.schedule.sweeps:
        raise InputError(
            f"--sweeps {sweeps}: {path} has {config.schedule.sweeps} sweeps; allowed are more than these"
        )
    return config.extended(sweeps)


def _file(output: Path, point: "Point", job: "Job") -> Path:
    """Where the results of a point go."""
    return output / f"{point.name}.h5" if job.is_scan else output


def _chosen(job: "Job", number: int | None) -> "tuple[Point, ...]":
    """All points of a job, or one of them."""
    if number is None:
        return job.points
    if not job.is_scan:
        raise InputError(f"--point {number}: there is no scan in this input, so it has no points")
    if number > len(job.points):
        raise InputError(f"--point {number}: allowed are 1..{len(job.points)}, the points of the scan")
    return (job.points[number - 1],)


def _start(runs: "list[Run]", signals: "Signals", walltime: float | None, scan: "Scan | None") -> None:
    """Runs what has been checked, on all ranks of the job."""
    from dsm_hpc.footprint import check_memory
    from dsm_hpc.machine.inputs import check_inputs
    from dsm_hpc.parallel.stopping import Deadline
    from dsm_hpc.simulation import run_all

    for run in runs:
        check_inputs(run.point.config)
        check_memory(run.point.config)

    from dsm_hpc.parallel.world import World

    run_all(runs, World(), signals, Deadline(walltime, STARTED), scan)


def status(options: argparse.Namespace) -> None:
    """How far runs are."""
    from dsm_hpc.status import found, in_words

    statuses = found(options.results)
    numbers = [status.as_json() for status in statuses]
    _tell(options.json, "\n".join(map(in_words, statuses)), numbers)


def watch(options: argparse.Namespace) -> None:
    """A live view of running jobs."""
    with suppress(KeyboardInterrupt):  # the user has seen enough
        from dsm_hpc.live import EVERY
        from dsm_hpc.live import watch as show

        show(options.results, options.every or EVERY)


def analyze(options: argparse.Namespace) -> None:
    """Tables with error bars."""
    from dsm_hpc.analysis.tables import analyze as tables

    _tell(options.json, *tables(options.results, options.theory))


def plot(options: argparse.Namespace) -> None:
    """Figures."""
    from dsm_hpc.analysis.plots import plot as draw

    draw(options.results, options.kind, options.output, options.theory)
    print(f"{options.output}: {options.kind} of {', '.join(str(path) for path in options.results)}")


def report(options: argparse.Namespace) -> None:
    """One page of everything."""
    from dsm_hpc.analysis.report import report as write

    write(options.results, options.output, options.theory)
    print(f"{options.output}: report of {', '.join(str(path) for path in options.results)}")


def export(options: argparse.Namespace) -> None:
    """Results for other programs."""
    from dsm_hpc.analysis.export import export as write

    print(write(options.results, options.output, options.table, options.overwrite))


def theory(options: argparse.Namespace) -> None:
    """Saddle-point solutions of the dense limit."""
    from dsm_hpc.theory.command import Request, alphas, depths
    from dsm_hpc.theory.command import theory as solve

    request = Request(
        depths(options.depth),
        alphas(options.alpha),
        options.closure,
        options.weights,
        output=options.output,
        overwrite=options.overwrite,
        figure=options.figure,
        phase_diagram=options.phase_diagram,
    )
    _tell(options.json, *solve(request))


def manifold(options: argparse.Namespace) -> None:
    """The hidden manifold model: simulations, their equations, and the Gaussian equivalence."""
    simulated = options.what == "online"  # the others are short: a signal ends them, and nothing is on disk
    if options.walltime is not None and not simulated:
        raise InputError(f"--walltime: is for online; {options.what} writes no checkpoints")
    with _signals() if simulated else nullcontext() as signals:
        from dsm_hpc.manifold_job import Request
        from dsm_hpc.manifold_job import run as carry_out
        from dsm_hpc.parallel.stopping import Deadline

        request = Request(options.what, options.input, options.output, tuple(options.set), options.overwrite)
        job = request.job()

        from dsm_hpc.parallel.world import World

        _say(carry_out(request, job, World(), signals, Deadline(options.walltime, STARTED)))


def _resume_manifold(options: argparse.Namespace, signals: "Signals") -> None:
    """Goes on with an interrupted simulation of the hidden manifold model."""
    from dsm_hpc import manifold_job
    from dsm_hpc.manifold import storage
    from dsm_hpc.parallel.stopping import Deadline

    if options.sweeps is not None or options.point is not None:
        raise InputError(f"{options.results}: --sweeps and --point are not for the hidden manifold model")
    begun = storage.read(options.results)
    if begun.finished:
        _say(f"{options.results}: is finished")
        return

    from dsm_hpc.parallel.world import World

    _say(manifold_job.resume(begun, World(), signals, Deadline(options.walltime, STARTED)))


def _tell(path: Path | None, text: str, numbers: Any) -> None:
    """Prints text, and writes its numbers if that was asked for; `-` prints them instead."""
    if str(path) == "-":
        print(json.dumps(numbers, indent=2))
        return
    print(text)
    if path is not None:
        _write(path, json.dumps(numbers, indent=2) + "\n")


def _say(line: str) -> None:
    """Rank 0 tells all that is to be told."""
    from dsm_hpc.parallel.world import launched_rank

    if launched_rank() == 0:
        print(line)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def _let_root_speak() -> None:
    """Gives rank 0 time for its message: mpirun ends all ranks as soon as one of them has left with an error.

    Once MPI has started the ranks leave together by themselves.
    """
    if "mpi4py.MPI" not in sys.modules:
        time.sleep(ROOT_SPEAKS)


class _Version(argparse.Action):
    """Prints versions and how the kernels were built."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from dsm_hpc.storage.provenance import version_text

        print(version_text())
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """Under mpirun every rank finds the same usage error: rank 0 speaks for all."""

    def error(self, message: str) -> NoReturn:
        from dsm_hpc.parallel.world import launched_rank

        if launched_rank() == 0:
            super().error(message)
        _let_root_speak()
        sys.exit(EXIT_BAD_INPUT)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="dsm", description="Monte Carlo of deep perceptron networks.", allow_abbrev=False)
    parser.add_argument(
        "--version", nargs=0, action=_Version, help="versions, and how the kernels were built"
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    verb = verbs.add_parser(
        "validate", help="check an input file; print the resolved configuration and its cost"
    )
    verb.add_argument("input", type=Path, nargs="?", metavar="INPUT.yaml")
    _add_set(verb)
    verb.add_argument(
        "--ranks", type=_positive, default=1, metavar="P", help="announce memory and time for so many ranks"
    )
    verb.add_argument(
        "--calibrate", action="store_true", help="measure a few sweeps here and announce the time of the run"
    )
    verb.add_argument("--schema", action="store_true", help="print the JSON schema of the input file")
    verb.set_defaults(verb=validate)

    verb = verbs.add_parser("run", help="simulate; start it under mpirun or srun for several ranks")
    verb.add_argument("input", type=Path, metavar="INPUT.yaml")
    verb.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT.h5", help="a folder for a scan"
    )
    _add_set(verb)
    verb.add_argument("--overwrite", action="store_true", help="replace existing results")
    _add_job(verb)
    verb.set_defaults(verb=run)

    verb = verbs.add_parser("resume", help="go on with an interrupted run, or extend a finished one")
    verb.add_argument(
        "results", type=Path, metavar="OUT.h5", help="the folder of a scan goes on with all points"
    )
    verb.add_argument("--sweeps", type=_positive, metavar="N", help="go on to so many sweeps in all")
    _add_job(verb)
    verb.set_defaults(verb=resume)

    verb = verbs.add_parser("status", help="how far runs are; works while they go on")
    verb.add_argument("results", type=Path, nargs="+", metavar="OUT.h5", help="or the folder of a scan")
    _add_json(verb)
    verb.set_defaults(verb=status)

    verb = verbs.add_parser("watch", help="a live view of a run in the terminal, until it is finished")
    verb.add_argument("results", type=Path, metavar="OUT.h5", help="or the folder of a scan")
    verb.add_argument(
        "--every", type=_duration, metavar="DURATION", help="time between two looks, `5 s` (default: 2 s)"
    )
    verb.set_defaults(verb=watch)

    verb = verbs.add_parser("analyze", help="tables with error bars")
    verb.add_argument("results", type=Path, nargs="+", metavar="OUT.h5", help="or the folder of a scan")
    _add_theory(verb)
    _add_json(verb)
    verb.set_defaults(verb=analyze)

    verb = verbs.add_parser("plot", help="figures (png, pdf, svg)")
    verb.add_argument("results", type=Path, nargs="+", metavar="OUT.h5", help="or the folder of a scan")
    verb.add_argument("--kind", required=True, metavar="KIND", help=_KINDS)
    verb.add_argument("-o", "--output", type=Path, required=True, metavar="FIG")
    _add_theory(verb)
    verb.set_defaults(verb=plot)

    verb = verbs.add_parser("report", help="one HTML page: verdict, tables, figures, input, provenance")
    verb.add_argument("results", type=Path, nargs="+", metavar="OUT.h5", help="or the folder of a scan")
    verb.add_argument("-o", "--output", type=Path, required=True, metavar="REPORT.html")
    _add_theory(verb)
    verb.set_defaults(verb=report)

    verb = verbs.add_parser("export", help="results as netCDF, or as a table in CSV")
    verb.add_argument(
        "results", type=Path, nargs="+", metavar="OUT.h5", help="several, or a scan's folder, are joined"
    )
    verb.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.nc|FILE.csv")
    verb.add_argument("--table", metavar="TABLE", help=f"for CSV: {_TABLES}")
    verb.add_argument("--overwrite", action="store_true", help="replace an existing FILE")
    verb.set_defaults(verb=export)

    verb = verbs.add_parser("manifold", help="online learning on a hidden manifold, and its equations")
    verb.add_argument(
        "what",
        choices=("online", "ode", "gep"),
        metavar="online|ode|gep",
        help="simulate (by mpirun or srun on several ranks); the equations alone; the Gaussian equivalence",
    )
    verb.add_argument(
        "input", type=Path, metavar="INPUT.yaml", help="or results of this verb: their input once more"
    )
    verb.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.h5")
    _add_set(verb)
    verb.add_argument("--overwrite", action="store_true", help="replace existing results")
    _add_walltime(verb)
    verb.set_defaults(verb=manifold)

    verb = verbs.add_parser("theory", help="solutions of the dense limit N >> c >> 1")
    verb.add_argument("--depth", nargs="+", required=True, metavar="L", help="6, or 2,4,6, or 1..20")
    verb.add_argument("--alpha", nargs="+", required=True, metavar="A", help="4, or 1,2,4, or 1..200x40")
    verb.add_argument(
        "--closure",
        type=_closures,
        default=("dense_limit", "cavity"),
        metavar="CLOSURE",
        help="cavity, dense_limit, or both (default)",
    )
    verb.add_argument(
        "--weights", choices=("gaussian", "ising"), default="gaussian", help="prior of the weights"
    )
    verb.add_argument("-o", "--output", type=Path, metavar="OUT.h5", help="write the solutions")
    verb.add_argument("--overwrite", action="store_true", help="replace an existing OUT.h5")
    verb.add_argument(
        "--figure", type=Path, metavar="FIG", help="draw profiles, curves, or the phase diagram"
    )
    verb.add_argument("--phase-diagram", action="store_true", help="locate the transitions at each depth")
    _add_json(verb)
    verb.set_defaults(verb=theory)
    return parser


def _add_set(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change the input, e.g. network.depth=8",
    )


def _add_job(verb: argparse.ArgumentParser) -> None:
    _add_walltime(verb)
    verb.add_argument("--point", type=_positive, metavar="K", help="only the K-th point of a scan, from 1")


def _add_walltime(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--walltime",
        type=_walltime,
        metavar="HH:MM:SS",
        help="time that this command has; it stops with a checkpoint before that (default: what Slurm tells)",
    )


def _add_json(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--json", type=Path, metavar="FILE", help="write every number printed; - for standard output"
    )


def _add_theory(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--theory",
        type=_closures,
        default=(),
        metavar="CLOSURE[,CLOSURE]",
        help="compare with theory: cavity, dense_limit, or both",
    )


def _closures(word: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(word.split(",")))
    if not set(names) <= {"cavity", "dense_limit"}:
        raise argparse.ArgumentTypeError(f"{word}: allowed are cavity, dense_limit, or both with a comma")
    return names


def _walltime(word: str) -> float:
    """Seconds."""
    parts = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", word)
    if parts is None:
        raise argparse.ArgumentTypeError(f"{word}: allowed are hours:minutes:seconds, as in 23:50:00")
    days, hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _duration(word: str) -> float:
    """Seconds."""
    from pydantic import TypeAdapter, ValidationError

    from dsm_hpc.config import Duration

    try:
        return TypeAdapter(Duration).validate_python(word)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def _positive(word: str) -> int:
    if not word.isdigit() or int(word) == 0:
        raise argparse.ArgumentTypeError(f"{word}: allowed are whole numbers from 1")
    return int(word)

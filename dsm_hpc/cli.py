"""The program `dsm`: one function per verb.  Arguments and input are checked before MPI starts."""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from dsm_hpc.errors import EXIT_BAD_INPUT, EXIT_DONE, EXIT_FAILED, InputError, RunError

_KINDS = "profile, generalization, relaxation, autocorrelation, acceptance, loops, exchange, free_energy"

ROOT_SPEAKS = 5.0
"""Seconds after which a rank leaves even if rank 0 is still silent."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit code (0 done, 2 bad input, 3 failed)."""
    from dsm_hpc.parallel.world import launched_rank

    options = _parser().parse_args(arguments)
    try:
        options.verb(options)
    except InputError as error:
        # Every rank reads the same input and finds the same error: one message is enough.
        if launched_rank() == 0:
            print("\n".join(f"dsm: {line}" for line in str(error).splitlines()), file=sys.stderr)
        else:
            _let_root_speak()
        return EXIT_BAD_INPUT
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
    from dsm_hpc.footprint import describe
    from dsm_hpc.machine.inputs import check_inputs

    job = inputfile.load(options.input, tuple(options.set))
    for point in job.points:
        check_inputs(point.config)
    print(describe(job, options.ranks))


def run(options: argparse.Namespace) -> None:
    """The main job; a scan writes one file per point into a folder."""
    from dsm_hpc import inputfile
    from dsm_hpc.footprint import check_memory
    from dsm_hpc.machine.inputs import check_inputs

    job = inputfile.load(options.input, tuple(options.set))
    for point in job.points:
        check_inputs(point.config)
        check_memory(point.config)

    from dsm_hpc.parallel.world import World
    from dsm_hpc.simulation import Run, run_all

    path: Path = options.output
    files = [path / f"{point.name}.h5" for point in job.points] if job.is_scan else [path]
    runs = [
        Run(point, job.text, tuple(options.set), file, options.overwrite)
        for point, file in zip(job.points, files, strict=True)
    ]
    run_all(runs, World(), folder=path if job.is_scan else None)


def analyze(options: argparse.Namespace) -> None:
    """Tables with error bars."""
    from dsm_hpc.analysis.tables import analyze as tables

    text, numbers = tables(options.results)
    if options.json is None:
        print(text)
    elif str(options.json) == "-":
        print(json.dumps(numbers, indent=2))
    else:
        print(text)
        _write(options.json, json.dumps(numbers, indent=2) + "\n")


def plot(options: argparse.Namespace) -> None:
    """Figures."""
    from dsm_hpc.analysis.plots import plot as draw

    draw(options.results, options.kind, options.output)
    print(f"{options.output}: {options.kind} of {', '.join(str(path) for path in options.results)}")


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
        "--ranks", type=_positive, default=1, metavar="P", help="announce memory for so many ranks"
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
    verb.set_defaults(verb=run)

    verb = verbs.add_parser("analyze", help="tables with error bars")
    verb.add_argument("results", type=Path, nargs="+", metavar="OUT.h5")
    verb.add_argument(
        "--json", type=Path, metavar="FILE", help="write every number printed; - for standard output"
    )
    verb.set_defaults(verb=analyze)

    verb = verbs.add_parser("plot", help="figures (png, pdf, svg)")
    verb.add_argument("results", type=Path, nargs="+", metavar="OUT.h5")
    verb.add_argument("--kind", required=True, metavar="KIND", help=_KINDS)
    verb.add_argument("-o", "--output", type=Path, required=True, metavar="FIG")
    verb.set_defaults(verb=plot)
    return parser


def _add_set(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change the input, e.g. network.depth=8",
    )


def _positive(word: str) -> int:
    if not word.isdigit() or int(word) == 0:
        raise argparse.ArgumentTypeError(f"{word}: allowed are whole numbers from 1")
    return int(word)

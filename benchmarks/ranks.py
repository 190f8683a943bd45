"""The program as a whole: one rank against two, and what it does besides sweeps."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, time
from typing import Any
from unittest.mock import patch

from benchmarks.timing import print_head, print_row, quotients
from dsm_hpc.inputfile import load
from dsm_hpc.measurement import Recorder
from dsm_hpc.parallel.stopping import Deadline, Signals
from dsm_hpc.parallel.world import World
from dsm_hpc.sampling.schedule import measurement_times
from dsm_hpc.sampling.walker import Walker
from dsm_hpc.simulation import Run, run_all

INPUT = Path(__file__).resolve().parents[1] / "inputs" / "quickstart.yaml"

SHORT = ("schedule.sweeps=800",)
"""Changes to the quickstart: a twentieth of its sweeps."""

REPEATS = 3

MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
"""Open MPI refuses root, and more ranks than cores."""


def report() -> None:
    """Prints both tables.  Times are of the clock, so other jobs on the machine do count."""
    with TemporaryDirectory() as folder:
        output = Path(folder, "quickstart.h5")
        print(f"\n## Ranks: proposals per second of `dsm run {INPUT.name}` ({SHORT[0]})\n")
        print_head("1 rank", "2 ranks", "2 ranks / 1 rank")
        pairs = [(_rate(1, output), _rate(2, output)) for _ in range(REPEATS)]
        one, two = zip(*pairs, strict=True)
        print_row(_sorted(one), _sorted(two), quotients(two, one))

        print("\n## One rank outside sweeps (measuring and writing; without start-up)\n")
        print_head("quickstart", "sweeps, s", "measuring, s", "writing, s", "share outside sweeps")
        _share(output)


def _sorted(rates: tuple[float, ...]) -> str:
    return ", ".join(f"{rate:.3g}" for rate in sorted(rates))


def _rate(ranks: int, output: Path) -> float:
    """Proposals per second over all ranks, as the program says when it is done."""
    program = [sys.executable, "-m", "dsm_hpc", "run", str(INPUT), "-o", str(output), "--overwrite"]
    changes = [word for change in SHORT for word in ("--set", change)]
    # First in PATH, as in the Makefile: the MPI from PyPI has its own mpirun.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["mpirun", "-n", str(ranks), *program, *changes],
        env=os.environ | MPI | {"PATH": path},
        capture_output=True,
        text=True,
    )
    found = re.search(r"done in .*?, (\S+) proposals/s", done.stderr)
    assert found, done.stderr
    return float(found[1])


def _share(output: Path) -> None:
    """Runs the short quickstart here, and scales it to the full one: more sweeps, a few more measurements."""
    short, full = (load(INPUT, changes).points[0] for changes in (SHORT, ()))
    parts = {"advance": Walker, "measure": Recorder, "write": Recorder}
    with ExitStack() as stack, redirect_stderr(io.StringIO()):
        clocks = {name: stack.enter_context(_clock_on(owner, name)) for name, owner in parts.items()}
        run_all([Run(short, "", (), output, True)], World(), Signals(), Deadline(None, time()), None)
    sweeps, measuring, writing = (sum(clock) for clock in clocks.values())
    _share_row("short, measured", sweeps, measuring, writing)
    more_sweeps = full.config.schedule.sweeps / short.config.schedule.sweeps
    times = [len(measurement_times(point.config.schedule)) for point in (full, short)]
    _share_row("full, scaled", more_sweeps * sweeps, times[0] / times[1] * measuring, writing)


def _share_row(name: str, sweeps: float, measuring: float, writing: float) -> None:
    outside = measuring + writing
    seconds = (f"{part:.2f}" for part in (sweeps, measuring, writing))
    print_row(name, *seconds, f"{outside / (sweeps + outside):.1%}")


@contextmanager
def _clock_on(owner: type, name: str) -> Iterator[list[float]]:
    """Collects the seconds that each call of a method takes."""
    method, seconds = getattr(owner, name), []

    def clocked(*arguments: Any) -> Any:
        start = perf_counter()
        result = method(*arguments)
        seconds.append(perf_counter() - start)
        return result

    with patch.object(owner, name, clocked):
        yield seconds

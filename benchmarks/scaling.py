"""How the time of a run grows with its ranks: measured on 1 to 8, fitted, and carried on to 10^4 on paper.

The model (docs/scaling.md), seconds until the last of p ranks has ended:

    T(p) = s + w (1 + i(p)) / p + o p  +  swaps + look-ups + writes

s : start-up of a rank; w : sweeps and measurements of all walkers; i : imbalance, the largest part over the
mean part less 1; o : what grows with the number of ranks.  s, w and o are fitted to CPU seconds, which other
programs on the machine hardly change; the messages are measured apart, by the clock.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from math import ceil, log2
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np
from scipy.optimize import lsq_linear

from benchmarks.ranks import INPUT, MPI
from benchmarks.timing import print_head, print_row
from dsm_hpc.config import Config
from dsm_hpc.inputfile import load
from dsm_hpc.parallel.decomposition import decompose
from dsm_hpc.storage.checkpoint import checkpoint_bytes
from dsm_hpc.storage.layout import layout

RANKS, REPEATS = (1, 2, 4, 8), 3

SHORT = "schedule.sweeps=1600"
"""A tenth of the quickstart."""

ROUNDS, BETAS = 2000, 16
"""Swap rounds that are timed, and temperatures of the ladder."""

# Runs on every rank.  Time inside MPI is taken off: a rank that waits turns in a loop and burns CPU time.
TIMED = """
import json, sys
from time import process_time, thread_time
from dsm_hpc import cli, simulation
from dsm_hpc.measurement import Recorder
from dsm_hpc.parallel.world import World
from dsm_hpc.sampling.walker import Walker

spent = dict.fromkeys(("sweeps", "measuring", "inside MPI", "looks"), 0.0)
inside = False

def timed(owner, name, kind):
    inner = getattr(owner, name)
    def outer(self, *args):
        global inside
        if inside:
            return inner(self, *args)
        inside, began = True, thread_time()
        try:
            return inner(self, *args)
        finally:
            spent[kind] += thread_time() - began
            spent["looks"] += name == "largest"
            inside = False
    setattr(owner, name, outer)

timed(Walker, "advance", "sweeps")
timed(Recorder, "measure", "measuring")
for name in ("largest", "share", "broadcast", "gather", "barrier"):
    timed(World, name, "inside MPI")
run_all = simulation.run_all

def started(*args):
    spent["start-up"] = process_time()
    run_all(*args)

simulation.run_all = started
code = cli.main(sys.argv[1:])
spent["all"] = process_time() - spent["inside MPI"]
parts = World().gather(spent)
if parts is not None:
    print(json.dumps(parts))
sys.exit(code)
"""

# One swap round of a ladder that all ranks share, as parallel/ladders.py sends it.
SWAP = """
import sys
from time import perf_counter
import numpy as np
from mpi4py import MPI
rounds, betas = map(int, sys.argv[1:])
comm, part, total = MPI.COMM_WORLD, np.zeros(betas, np.int64), np.empty(betas, np.int64)
took = []
for _ in range(rounds):
    comm.Barrier()
    began = perf_counter()
    comm.Allreduce(part, total)
    took.append(perf_counter() - began)
if comm.rank == 0:
    print(sorted(took)[rounds // 2])
"""


@dataclass(frozen=True)
class Assumed:
    """A cluster on paper: seconds, bytes per second."""

    latency: float = 2e-6
    file_system: float = 5e9
    opens: float = 20e3
    """Files per second that the file system opens for all ranks together."""
    proposal: float = 0.94e-6
    """Machine B while learning (`python -m benchmarks kernel`)."""
    gathered: float = 50e-6
    """What rank 0 spends on a message of the writer `gather`."""


@dataclass(frozen=True)
class Fit:
    """CPU seconds: s, w and o of the model."""

    start: float
    work: float
    per_rank: float

    def seconds(self, ranks: int, imbalance: float) -> float:
        return self.start + self.work * (1 + imbalance) / ranks + self.per_rank * ranks


def report() -> None:
    """Prints the measured table, the fit, the time of a swap, and the extension on paper."""
    print(f"\n## Ranks: CPU seconds of `dsm run {INPUT.name}` ({SHORT}), medians of {REPEATS} runs\n")
    print_head(
        "ranks", "start-up", "work of all ranks", "largest / mean", "last rank", "fitted", "looks", "wall, s"
    )
    runs = {ranks: [_run(ranks) for _ in range(REPEATS)] for ranks in RANKS}
    fit = _fitted([(ranks, run) for ranks, some in runs.items() for run in some])
    for ranks, some in runs.items():
        imbalance = median(run.imbalance for run in some)
        print_row(
            str(ranks),
            f"{median(run.start for run in some):.2f}",
            f"{median(run.sweeps for run in some):.2f}",
            f"{1 + imbalance:.3f}",
            f"{median(run.last for run in some):.2f}",
            f"{fit.seconds(ranks, imbalance):.2f}",
            f"{median(run.looks for run in some):.0f}",
            f"{median(run.wall for run in some):.1f}",
        )
    print(f"\ns = {fit.start:.2f} s, w = {fit.work:.2f} s, o = {fit.per_rank:.3f} s (all CPU)")

    print(f"\n## One swap round of {BETAS} betas on a ladder shared by all ranks, median of {ROUNDS}\n")
    print_head("ranks", "us by the clock")
    for ranks in RANKS[1:]:
        print_row(str(ranks), f"{1e6 * float(_launched(ranks, SWAP, str(ROUNDS), str(BETAS))):.1f}")

    print("\n## What every rank does alone, by the number of ranks (10 walkers each)\n")
    print_head("ranks", "walkers", "spread and owners, CPU s")
    for ranks in (10, 100, 1000, 10_000):
        print_row(str(ranks), str(10 * ranks), f"{_spread_seconds(ranks):.2f}")

    print("\n## On paper: 10 walkers a rank of machine B, 10^5 sweeps; seconds\n")
    _print_extension(fit.start, Assumed())


@dataclass(frozen=True)
class _Run:
    """CPU seconds of one run but `wall`; sweeps of all ranks, the start-up of their median."""

    start: float
    sweeps: float
    last: float
    imbalance: float
    looks: float
    wall: float


def _run(ranks: int) -> _Run:
    with TemporaryDirectory() as folder:
        words = ["run", str(INPUT), "-o", str(Path(folder, "x.h5")), "--set", SHORT]
        began = perf_counter()
        parts = json.loads(_launched(ranks, TIMED, *words))
        wall = perf_counter() - began
    sweeps = [part["sweeps"] + part["measuring"] for part in parts]
    return _Run(
        median(part["start-up"] for part in parts),
        sum(sweeps),
        max(part["all"] for part in parts),
        max(sweeps) * ranks / sum(sweeps) - 1,
        parts[0]["looks"],
        wall,
    )


def _launched(ranks: int, program: str, *words: str) -> str:
    """What rank 0 of a Python program prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["mpirun", "-n", str(ranks), sys.executable, "-c", program, *words],
        env=os.environ | MPI | {"PATH": path, "OMPI_MCA_mpi_yield_when_idle": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def _fitted(runs: list[tuple[int, _Run]]) -> Fit:
    """Least squares with s, w, o >= 0."""
    columns = np.array([[1.0, (1 + run.imbalance) / ranks, ranks] for ranks, run in runs])
    found = lsq_linear(columns, [run.last for _, run in runs], bounds=(0, np.inf))
    return Fit(*map(float, found.x))


def _spread_seconds(ranks: int) -> float:
    """CPU seconds that every rank takes to find out who has which walker."""
    config = _many(ranks)
    began = process_time()
    decompose(config, ranks).owners()
    return process_time() - began


def _many(ranks: int) -> Config:
    """The largest machine of paper_scale.yaml, with ten walkers a rank."""
    path = INPUT.with_name("paper_scale.yaml")
    ensemble = f"ensemble={{samples: {5 * ranks}, starts: [random], clones: 2}}"
    return load(path, ("network.depth=10", ensemble, "scan={network.width: [100]}")).points[0].config


def _print_extension(start: float, assumed: Assumed) -> None:
    """Terms of the model, each of which every rank waits for."""
    print_head(
        "ranks",
        "sweeps",
        "start-up",
        "modules",
        "spread",
        "looks",
        "mpio",
        "gather",
        "checkpoint",
        "sweeps / all",
    )
    for ranks in (64, 1024, 10_000):
        config = _many(ranks)
        shape = layout(config)
        sweeps = 10 * config.network.weight_count * config.schedule.sweeps * assumed.proposal
        writes = len(shape.coordinates["time"]) * len(shape.variables)
        parts = {
            "start-up": start,
            "modules": ranks * len(sys.modules) / assumed.opens,
            "spread": _spread_seconds(ranks),
            "looks": sweeps * 2 * ceil(log2(ranks)) * assumed.latency,
            "mpio": shape.bytes / assumed.file_system,
            "gather": ranks * writes * assumed.gathered,
            "checkpoint": checkpoint_bytes(config) / assumed.file_system,
        }
        rest = sum(parts.values()) - parts["gather"]
        print_row(
            str(ranks),
            f"{sweeps:.0f}",
            *(f"{part:.2g}" for part in parts.values()),
            f"{sweeps / (sweeps + rest):.4f}",
        )

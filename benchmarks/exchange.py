"""What replica exchange costs besides the sweeps: deciding, and telling other ranks the energies."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.ranks import INPUT, MPI
from benchmarks.timing import print_head, print_row

LADDER = "dynamics={betas: {ladder: geometric, hot: 0.2, cold: 20, count: 7}, exchange_every: 10}"

CASES = ((1, 16), (2, 16), (4, 16), (2, 5))
"""Ranks and ladders.  16 ladders are a quarter of the quickstart's; 5 cannot be spread over 2 ranks without
splitting one.  More ranks than cores would show the scheduler's time slices, not the messages."""

# Runs on every rank.  The ranks of a split ladder meet before the clock starts: waiting for a slower rank
# is imbalance, not communication.
TIMED = """
import sys
from time import perf_counter
from dsm_hpc import cli
from dsm_hpc.parallel import ladders
from dsm_hpc.parallel.world import World
from dsm_hpc.sampling.tempering import Ladder
from dsm_hpc.sampling.walker import Walker

spent = {"sweeps": 0.0, "decide": 0.0, "send": 0.0}

def timed(owner, name, kind, before=lambda self: None):
    inner = getattr(owner, name)
    def outer(self, *args):
        before(self)
        began = perf_counter()
        result = inner(self, *args)
        spent[kind] += perf_counter() - began
        return result
    setattr(owner, name, outer)

timed(Walker, "advance", "sweeps")
timed(Ladder, "exchange", "decide")
timed(ladders._Ranks, "sum", "send", lambda self: self._comm.Barrier())
code = cli.main(sys.argv[1:])
total = World().gather(spent)
if total is not None:
    print(*(sum(part[kind] for part in total) for kind in ("sweeps", "decide", "send")))
sys.exit(code)
"""


def report() -> None:
    """Prints seconds summed over ranks, and their share of the sweeps."""
    print(f"\n## Replica exchange, {INPUT.name} with {LADDER}: seconds, summed over ranks\n")
    print_head(
        "ranks", "ladders", "sweeps", "decisions", "messages", "decisions / sweeps", "messages / sweeps"
    )
    with TemporaryDirectory() as folder:
        for ranks, ladders in CASES:
            sweeps, decide, send = _seconds(ranks, ladders, Path(folder, "exchange.h5"))
            shares = (f"{part / sweeps:.2%}" for part in (decide, send))
            print_row(str(ranks), str(ladders), f"{sweeps:.2f}", f"{decide:.3f}", f"{send:.3f}", *shares)


def _seconds(ranks: int, ladders: int, output: Path) -> tuple[float, ...]:
    ensemble = f"ensemble={{samples: {ladders}, clones: 1, starts: [random]}}"
    changes = [word for change in (LADDER, ensemble, "schedule.sweeps=400") for word in ("--set", change)]
    program = [sys.executable, "-c", TIMED, "run", str(INPUT), "-o", str(output), "--overwrite", *changes]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["mpirun", "-n", str(ranks), *program],
        env=os.environ | MPI | {"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(float(word) for word in done.stdout.split())

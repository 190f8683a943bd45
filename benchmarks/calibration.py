"""What `dsm validate --calibrate` announces, against the run: machines A-D, both starts, one rank."""

import sys
import tempfile
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from subprocess import run

from benchmarks.machines import SIZES, STEP, title
from benchmarks.timing import print_head, print_row
from dsm_hpc.calibration import calibrate, span
from dsm_hpc.config import Config

BUDGET = 4.0
"""Seconds of calibration."""

SWEEPS = {"A": 2000, "B": 150, "C": 80, "D": 60}
"""Some 20 to 40 seconds each."""


def report() -> None:
    """One row per machine: announced and actual CPU time of the whole program, and their ratio."""
    print("\n## Announced and actual time\n")
    print_head("machine", "sweeps", "announced", "actual", "announced / actual")
    for name in SIZES:
        found, took = announced(name), actual(name)
        print_row(title(name), str(SWEEPS[name]), span(found), span(took), f"{found / took:.2f}")


def announced(name: str) -> float:
    """Seconds, by calibration."""
    return calibrate(Config.model_validate(tree(name)), ranks=1, budget=BUDGET).total


def actual(name: str) -> float:
    """CPU seconds of `dsm run`, start-up included."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "input.yaml")
        path.write_text(repr(tree(name)))  # plain values: JSON is YAML
        before = getrusage(RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "dsm_hpc", "run", str(path), "-o", str(Path(folder, "out.h5"))]
        run(command, check=True, capture_output=True)
        after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def tree(name: str) -> dict[str, object]:
    """The input."""
    width, fan_in, depth, patterns = SIZES[name]
    return {
        "network": {"width": width, "depth": depth, "fan_in": fan_in},
        "patterns": {"train": patterns, "test": 1000},
        "ensemble": {"samples": 1, "starts": ["planted", "random"], "clones": 1},
        "dynamics": {"moves": [{"kind": "weight", "step": STEP}]},
        "schedule": {"sweeps": SWEEPS[name], "measurements": {"kind": "log", "count": 20}},
    }

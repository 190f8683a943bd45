"""`python -m benchmarks [NAME]`: all tables by default; --help lists them."""

import argparse
import platform
from pathlib import Path

from benchmarks import (
    calibration,
    checkpoints,
    exchange,
    kernel,
    manifold,
    observables,
    ranks,
    scaling,
    theory,
)
from dsm_hpc.kernels import build

REPORTS = {
    "kernel": kernel.report,
    "observables": observables.report,
    "ranks": ranks.report,
    "scaling": scaling.report,
    "calibration": calibration.report,
    "exchange": exchange.report,
    "manifold": manifold.report,
    "checkpoints": checkpoints.report,
    "theory": theory.report,
}


def main() -> None:
    """Prints the machine, then the tables asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=REPORTS)
    name = parser.parse_args().name
    print(
        f"# {processor()}\n\nkernels: {build.LANES}, march {build.MARCH}, compiler {build.COMPILER}",
        flush=True,
    )
    for report in [REPORTS[name]] if name else REPORTS.values():
        report()


def processor() -> str:
    """The model of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()

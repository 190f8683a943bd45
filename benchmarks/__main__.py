"""`python -m benchmarks [NAME]`: all tables by default; --help lists them."""

import argparse
from pathlib import Path

from benchmarks import (
    calibration,
    checkpoints,
    exchange,
    ising,
    kernel,
    manifold,
    moves,
    observables,
    probes,
    processes,
    ranks,
    roofline,
    scaling,
    sizes,
    theory,
    threads,
)
from dsm_hpc.kernels import build

REPORTS = {
    "kernel": kernel.report,
    "roofline": roofline.report,
    "sizes": sizes.report,
    "ising": ising.report,
    "processes": processes.report,
    "observables": observables.report,
    "ranks": ranks.report,
    "scaling": scaling.report,
    "calibration": calibration.report,
    "exchange": exchange.report,
    "manifold": manifold.report,
    "moves": moves.report,
    "checkpoints": checkpoints.report,
    "theory": theory.report,
    "threads": threads.report,
}


def main() -> None:
    """Prints the machine, then the tables asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=REPORTS)
    parser.add_argument("--figure", type=Path, metavar="FILE.png", help="draw the kernel's table")
    parser.add_argument("--json", type=Path, metavar="FILE.json", help="write the kernel's pairs of sweeps")
    asked = parser.parse_args()
    if (asked.figure or asked.json) and asked.name not in (None, "kernel"):
        parser.error("--figure and --json are of the kernel's table")
    print(
        f"# {probes.processor()}\n\nkernels: {build.SIMD}, march {build.MARCH}, compiler {build.COMPILER}",
        flush=True,
    )
    for name in [asked.name] if asked.name else REPORTS:
        if name == "kernel":
            kernel.report(asked.figure, asked.json)
        else:
            REPORTS[name]()


if __name__ == "__main__":
    main()

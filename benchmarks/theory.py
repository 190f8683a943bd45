"""Seconds of theory: one solution, a curve in α with both branches.  CPU time of one thread, medians."""

from collections.abc import Callable
from statistics import median

import numpy as np

from benchmarks.timing import print_head, print_row, timed
from dsm_hpc.theory.closures import CLOSURES
from dsm_hpc.theory.continuation import follow
from dsm_hpc.theory.solver import BRANCHES, solve

DEPTH, ALPHA = 20, 60.0
ALPHAS = tuple(float(alpha) for alpha in np.geomspace(1, 200, 40))
REPEATS = 5


def report() -> None:
    """Prints one table."""
    print(f"\n## Theory, L = {DEPTH}, Gaussian weights: CPU seconds, median (min–max)\n")
    print_head("closure", "what", "seconds", "iterations", "not converged")
    for closure in CLOSURES:
        for branch in BRANCHES:
            solution = solve(closure, DEPTH, ALPHA, branch)
            seconds = _seconds(lambda c=closure, b=branch: solve(c, DEPTH, ALPHA, b), REPEATS)  # type: ignore[misc]
            failed = str(int(not solution.converged))
            print_row(closure, f"{branch}, α = {ALPHA:g}", seconds, str(solution.iterations), failed)
        nanoseconds, points = timed(lambda c=closure: follow(c, DEPTH, ALPHAS))  # type: ignore[misc]
        solutions = [s for p in points for s in (p.uninformed, p.informed)]
        print_row(
            closure,
            f"both branches at {len(ALPHAS)} α from 1 to 200",
            f"{nanoseconds / 1e9:.1f}",
            str(sum(s.iterations for s in solutions)),
            str(sum(not s.converged for s in solutions)),
        )


def main() -> None:
    """`python -m benchmarks.theory`."""
    report()


def _seconds(work: Callable[[], object], repeats: int) -> str:
    times = [timed(work)[0] / 1e9 for _ in range(repeats)]
    return f"{median(times):.3f} ({min(times):.3f}–{max(times):.3f})"


if __name__ == "__main__":
    main()

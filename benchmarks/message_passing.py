"""Message passing against the closures, against Monte Carlo, and as a start for students.

`OMP_NUM_THREADS=1 python -m benchmarks.message_passing [closures|montecarlo|start]`; all by default.
"""

import argparse
from math import inf, sqrt
from time import thread_time

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import print_head, print_row
from dsm_hpc.config import Config
from dsm_hpc.kernels import Student
from dsm_hpc.machine.overlaps import overlaps as machine_overlaps
from dsm_hpc.machine.sample import Machine, Sample, draw_sample
from dsm_hpc.machine.wiring import draw_weights
from dsm_hpc.theory.message_passing import solve
from dsm_hpc.theory.message_passing_predictions import draw, generalisation, overlaps

CLOSURES = {"cavity": (0.6039, 0.6906, 0.6245), "dense_limit": (0.6808, 0.6808, 0.6075)}
"""q_1, q_2, r_1 at L = 2, alpha = 4."""

ALPHA, STEP = 4, 0.5
ITERATIONS = 30


def draw_machine(width: int, fan_in: int, index: int, alpha: int = ALPHA) -> Sample:
    """Sample `index` at L = 2, Gaussian weights."""
    config = {
        "seed": 1,
        "network": {"width": width, "depth": 2, "fan_in": fan_in},
        "patterns": {"train": alpha * fan_in},
        "schedule": {"sweeps": 0},
    }
    return draw_sample(Config.model_validate(config), index)


def spread(values: list[float]) -> str:
    """`mean ± standard error` over samples."""
    error = f" ± {np.std(values, ddof=1) / sqrt(len(values)):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{error}"


def closures() -> None:
    """Informed start at growing c: overlaps after 30 undamped iterations, predicted and with the teacher."""
    print("\n## Informed start against the closures, L = 2, alpha = 4\n")
    print_head("N", "c", "samples", "", "q_1", "q_2", "r_1", "residual", "CPU s")
    for name, values in CLOSURES.items():
        print_row("∞", "∞", "", name, *(f"{value:.4f}" for value in values), "", "")
    for width, fan_in, samples in ((2000, 25, 4), (2000, 50, 4), (2000, 100, 1)):
        rows: dict[str, list[list[float]]] = {"posterior": [], "with teacher": []}
        seconds, residuals, errors = [], [], []
        for index in range(samples):
            sample = draw_machine(width, fan_in, index)
            start = thread_time()
            solution = solve(sample, iterations=ITERATIONS)
            seconds.append(thread_time() - start)
            found = overlaps(sample, solution)
            rows["posterior"].append([*found.q, found.r[0]])
            rows["with teacher"].append([*found.q_teacher, found.r_teacher[0]])
            residuals.append(solution.residual)
            errors.append(generalisation(sample, solution))
        for name, found_rows in rows.items():
            cells = [spread([row[column] for row in found_rows]) for column in range(3)]
            last = (f"{np.mean(residuals):.3f}", f"{np.mean(seconds):.1f}")
            print_row(str(width), str(fan_in), str(samples), name, *cells, *last)
        for kind in ("bayes", "bayes_expected", "gibbs", "gibbs_expected"):
            print(f"    {kind}: {spread([getattr(error, kind) for error in errors])}", flush=True)


# ----------------------------------------------------------------------------------------------- Monte Carlo


def student_of(sample: Sample, weights: NDArray[np.float64]) -> Student:
    """A student with these weights."""
    train = sample.teacher.train
    return Student(sample.wiring, weights, train[0], train[-1], sample.config.patterns.train, ising=False)


def montecarlo() -> None:
    """Planted greedy students (E = 0 throughout) beside message passing on the same samples."""
    print("\n## Monte Carlo (planted, beta = inf, aligned with the teacher) and message passing, alpha = 4\n")
    print_head("N", "c", "samples", "", "q_1", "q_2", "r_1")
    for width, fan_in, samples, sweeps in ((100, 10, 3, 80_000),):
        first, last, passed = [], [], []
        for index in range(samples):
            sample = draw_machine(width, fan_in, index)
            halves = planted(sample, sweeps)
            first.append(halves[0])
            last.append(halves[1])
            found = overlaps(sample, solve(sample, iterations=ITERATIONS), aligned=True)
            passed.append([*found.q_teacher, found.r_teacher[0]])
        for name, rows in (
            (f"MC, sweeps {sweeps // 4}-{sweeps // 2}", first),
            (f"MC, sweeps {sweeps // 2}-{sweeps}", last),
            ("message passing", passed),
        ):
            cells = [spread([row[column] for row in rows]) for column in range(3)]
            print_row(str(width), str(fan_in), str(samples), name, *cells)


def planted(sample: Sample, sweeps: int, readings: int = 40) -> NDArray[np.float64]:
    """q_1, q_2, r_1 (aligned) of a planted student, mean over its second quarter and its second half."""
    student, moves = student_of(sample, sample.teacher.weights), np.random.PCG64DXSM(sample.index)
    values = []
    for _ in range(readings):
        student.sweep(moves, inf, STEP, sweeps // readings)
        found = machine_overlaps(sample, Machine(student.weights, student.signs, None), sample.teacher)
        values.append([*found["q_aligned"], found["r_aligned"][0]])
    quarter = readings // 4
    return np.stack([np.mean(values[quarter : 2 * quarter], axis=0), np.mean(values[2 * quarter :], axis=0)])


# ----------------------------------------------------------------------------------------- start of a student


def start(limit: float = 5.0) -> None:
    """Greedy students from random weights, and from uninformed marginals: CPU seconds until E = 0."""
    print(f"\n## Start of a greedy student, L = 2, step {STEP}: at most {limit:.0f} CPU s of sweeps each\n")
    print_head(
        "N", "c", "alpha", "sample", "start", "message passing, s", "E at once", "E at the end", "sweeps, s"
    )
    for width, fan_in, alpha in ((100, 10, 4), (100, 10, 16)):
        for index in range(2):
            sample = draw_machine(width, fan_in, index, alpha)
            random = np.random.default_rng(index)
            begun = thread_time()
            solution = solve(sample, "uninformed")
            spent = thread_time() - begun
            for name, weights, before in (
                ("random", draw_weights(random, sample.wiring.shape, False), 0.0),
                ("means", solution.mean, spent),
                ("draw", draw(sample, solution, random), spent),
            ):
                student = student_of(sample, weights)
                at_once, begun = student.energy, thread_time()
                moves = np.random.PCG64DXSM(index)
                while student.energy and thread_time() - begun < limit:
                    student.sweep(moves, inf, STEP, 10)
                cells = (f"{before:.2f}", str(at_once), str(student.energy), f"{thread_time() - begun:.2f}")
                print_row(str(width), str(fan_in), str(alpha), str(index), name, *cells)


REPORTS = {"closures": closures, "montecarlo": montecarlo, "start": start}


def main() -> None:
    """Prints the tables asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.message_passing", description=__doc__)
    parser.add_argument("name", nargs="?", choices=REPORTS)
    name = parser.parse_args().name
    for report in [REPORTS[name]] if name else REPORTS.values():
        report()


if __name__ == "__main__":
    main()

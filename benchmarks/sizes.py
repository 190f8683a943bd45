"""How the time of a proposal grows with N, c, L and M, around one machine, in both regimes."""

from typing import Any

import numpy as np

from benchmarks.machines import REGIMES, draw, student, sweeps
from benchmarks.timing import per_proposal, print_head, print_row

BASE = {"N": 100, "c": 10, "L": 10, "M": 200}
"""Machine B."""

AXES: dict[str, tuple[dict[str, int], tuple[int, ...]]] = {
    "N": ({}, (25, 50, 100, 200, 400, 800)),
    "c": ({}, (5, 10, 20, 40, 80)),
    "L": ({}, (2, 5, 10, 20, 40)),
    "M": ({}, (50, 200, 800, 3200)),
    "N = c": ({"L": 5, "M": 400}, (10, 20, 50, 100, 200)),
}
"""What changes, what else differs from the base, and the values."""

SECONDS = 0.2


def report() -> None:
    """Prints one table per axis."""
    print("\n## Sizes: ns per proposal, step 0.3, greedy, random numbers included")
    for axis, (others, values) in AXES.items():
        fixed = {name: size for name, size in (BASE | others).items() if name not in axis.split(" = ")}
        print(f"\n{', '.join(f'{name} = {size}' for name, size in fixed.items())}:\n")
        print_head(axis, *REGIMES, "kernel")
        rows = []
        for value in values:
            size: Any = fixed | dict.fromkeys(axis.split(" = "), value)
            of = draw(size["N"], size["c"], size["L"], size["M"])
            times = [per_proposal(sweeps(of, regime), SECONDS, 1) for regime in REGIMES]
            print_row(str(value), *(f"{time:.0f}" for time in times), student(of, REGIMES[0]).kernel)
            rows.append(times)
        slopes = np.polyfit(np.log(values), np.log(rows), 1)[0]
        print_row("exponent", *(f"{slope:.2f}" for slope in slopes), "")
    print("\nMedians over sweeps; exponent: slope of a straight line through the logarithms.")

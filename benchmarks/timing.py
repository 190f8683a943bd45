"""Clock, quotients and tables."""

from collections.abc import Callable, Iterator, Sequence
from statistics import median
from time import thread_time_ns
from typing import TypeVar

Result = TypeVar("Result")


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """CPU time of this thread in ns, and what `work` returned: others on the machine hardly count."""
    start = thread_time_ns()
    result = work()
    return float(thread_time_ns() - start), result


def per_proposal(
    sweeps: Iterator[tuple[Callable[[], object], int]], seconds: float = 0.5, least: int = 3
) -> float:
    """Median ns per proposal, over so many seconds of machines.sweeps and at least so many of them."""
    spent, found = 0.0, []
    for sweep, proposals in sweeps:
        time, _ = timed(sweep)
        spent += time
        found.append(time / proposals)
        if len(found) >= least and spent > seconds * 1e9:
            break
    return median(found)


def quotients(numerators: Sequence[float], denominators: Sequence[float]) -> str:
    """`median (min-max)` of the quotients of paired numbers."""
    ratios = [a / b for a, b in zip(numerators, denominators, strict=True)]
    return f"{median(ratios):.3g} ({min(ratios):.3g}–{max(ratios):.3g})"


def print_row(*cells: str) -> None:
    """One row of a Markdown table, as soon as it is known."""
    print("| " + " | ".join(cells) + " |", flush=True)


def print_head(*cells: str) -> None:
    """The head of a Markdown table."""
    print_row(*cells)
    print("|" + "---|" * len(cells), flush=True)

"""Two processes side by side, each with the same machine: what they take from one another (caches, clock)."""

import os
import subprocess
import sys
from contextlib import ExitStack
from statistics import median

from benchmarks.machines import REGIMES, SIZES, sample, sweeps, title
from benchmarks.timing import per_proposal, print_head, print_row, quotients

SECONDS, REPEATS = 0.3, 5


class Worker:
    """A process, on a processor of its own where there are enough, that times sweeps when it is told to."""

    def __init__(self, stack: ExitStack, processor: int) -> None:
        command = [sys.executable, "-m", "benchmarks.processes", str(processor)]
        self.process = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )

    def start(self, name: str, regime: str) -> None:
        assert self.process.stdin
        print(name, regime, file=self.process.stdin, flush=True)

    def result(self) -> float:
        """ns per proposal."""
        assert self.process.stdout
        return float(self.process.stdout.readline())


def report() -> None:
    """Prints the table."""
    processors = sorted(os.sched_getaffinity(0))
    print(f"\n## Processes: ns per proposal of one, and of two at a time ({len(processors)} processors)\n")
    print_head("machine", "regime", "1 process", "2 processes", "2 / 1")
    with ExitStack() as stack:
        workers = [Worker(stack, processors[place % len(processors)]) for place in range(2)]
        stack.callback(lambda: [worker.process.stdin.close() for worker in workers])  # type: ignore[union-attr]
        for name in SIZES:
            for regime in REGIMES:
                one, two = zip(*(_pair(workers, name, regime) for _ in range(REPEATS)), strict=True)
                print_row(
                    title(name), regime, f"{median(one):.0f}", f"{median(two):.0f}", quotients(two, one)
                )
    print(
        f"\nCPU time, {SECONDS} s of sweeps at a time; medians and, of ratios, (min–max) of {REPEATS} pairs."
    )


def _pair(workers: list[Worker], name: str, regime: str) -> tuple[float, float]:
    """The first worker alone; then both, their mean."""
    workers[0].start(name, regime)
    alone = workers[0].result()
    for worker in workers:
        worker.start(name, regime)
    return alone, sum(worker.result() for worker in workers) / len(workers)


def main() -> None:
    """`python -m benchmarks.processes PROCESSOR`: a worker."""
    os.sched_setaffinity(0, {int(sys.argv[1])})
    for line in sys.stdin:
        name, regime = line.strip().split(" ", 1)
        print(per_proposal(sweeps(sample(name), regime), SECONDS, 1), flush=True)


if __name__ == "__main__":
    main()

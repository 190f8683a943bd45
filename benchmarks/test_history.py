"""Sweeps of the reference machines for pytest-benchmark, which keeps a history and compares.

Times are of a sweep; ns per proposal are in `extra_info`.  Only `make history` collects this file.
"""

from typing import Any

import pytest

from benchmarks.machines import REGIMES, SIZES, sample, sweeps
from benchmarks.timing import timed
from dsm_hpc.kernels import build

NANOSECONDS, FEWEST, MOST = 0.5e9, 5, 200
"""Rounds are added for so long, but between so many."""


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("name", SIZES)
def test_sweep(benchmark: Any, name: str, regime: str) -> None:
    some = sweeps(sample(name), regime)
    first, proposals = next(some)
    rounds = min(MOST, max(FEWEST, int(NANOSECONDS / timed(first)[0])))
    benchmark.group = regime
    benchmark.pedantic(
        lambda sweep: sweep(), setup=lambda: ((next(some)[0],), {}), rounds=rounds, warmup_rounds=1
    )
    if benchmark.stats:  # none with --benchmark-disable
        benchmark.extra_info |= {
            "ns per proposal": round(1e9 * benchmark.stats.stats.median / proposals, 1),
            "SIMD": build.SIMD,
        }

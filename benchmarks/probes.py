"""What this machine can do: bandwidth of each level of memory, clock, instructions per cycle; and counters.

probes.c is compiled on first use (cc, Linux on x86-64); `available()` tells whether that works.
"""

import ctypes
import platform
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from time import sleep

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import timed

SOURCE = Path(__file__).with_name("probes.c")

LINE = 64
"""Bytes of a cache line."""

REPEATS, NANOSECONDS, PAUSE = 25, 2e6, 0.05
"""Each probe is repeated so often, lasts about so long, and waits so many seconds in between.

The fastest counts: what shares the core takes up to a third of its instructions.
"""

BRANCHES = 1 << 20
"""More than a predictor can learn by heart."""

HARDWARE, CYCLES, INSTRUCTIONS, BRANCH_MISSES = 0, 0, 1, 5
"""linux/perf_event.h."""


@dataclass(frozen=True)
class Rates:
    """What one core reaches."""

    clock: float
    """Cycles per ns."""
    per_cycle: float
    """Instructions."""
    bytes_per_ns: dict[str, float]
    """Loads from L1, L2, L3 and memory."""
    loads_per_cycle: float
    """Scalar ones, from L1."""
    penalty: float
    """ns of a mispredicted branch."""


def processor() -> str:
    """The model of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def available() -> bool:
    """Whether probes.c runs here."""
    return platform.system() == "Linux" and platform.machine() == "x86_64" and _compiled() is not None


def library() -> ctypes.CDLL:
    """probes.c."""
    found = _compiled()
    assert found is not None, "no C compiler"
    return found


@cache
def rates() -> Rates:
    """Measured once; the highest of many."""
    probes = library()
    sizes = cache_sizes()
    spans = {
        "L1": sizes["L1"] // 2,
        "L2": (sizes["L1"] + sizes["L2"]) // 2,
        "L3": 4 * sizes["L2"],
        "memory": 4 * sizes["L3"],
    }
    memory = np.ones(max(spans.values()) + LINE, np.uint8)
    start = memory.ctypes.data + -memory.ctypes.data % LINE
    reached = {
        level: span * _rate(lambda times, span=span: probes.load(start, span, times))
        for level, span in ((name, bytes_ // 1024 * 1024) for name, bytes_ in spans.items())
    }
    clock = 100 * _rate(probes.chain)
    return Rates(
        clock,
        120 * _rate(probes.flood) / clock,
        reached,
        100 * _rate(probes.touch) / clock,
        _penalty(),
    )


def _penalty() -> float:
    """Half the branches on random bits are mispredicted, none on zeros."""
    random, zeros = np.random.default_rng(1).integers(0, 2, BRANCHES, np.uint8), np.zeros(BRANCHES, np.uint8)

    def nanoseconds(bits: NDArray[np.uint8]) -> float:
        return timed(lambda: library().branch(bits.ctypes.data, BRANCHES))[0]

    return 2 * median(nanoseconds(random) - nanoseconds(zeros) for _ in range(REPEATS)) / BRANCHES


def cache_sizes() -> dict[str, int]:
    """Bytes of the data caches of processor 0; usual ones where Linux does not tell."""
    sizes = {"L1": 32 << 10, "L2": 1 << 20, "L3": 32 << 20}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        if (index / "type").read_text().strip() != "Instruction":
            kib = (index / "size").read_text().strip().removesuffix("K")
            sizes["L" + (index / "level").read_text().strip()] = int(kib) << 10
    return sizes


def counted(work: Callable[[], object]) -> dict[str, int] | None:
    """Cycles, instructions and branch misses of `work` by the processor's counters, where it has them."""
    kinds = {"cycles": CYCLES, "instructions": INSTRUCTIONS, "branch misses": BRANCH_MISSES}
    counters = {name: library().counter_open(HARDWARE, kind) for name, kind in kinds.items()}
    if min(counters.values()) < 0:
        return None
    for counter in counters.values():
        library().counter_start(counter)
    work()
    return {name: library().counter_stop(counter) for name, counter in counters.items()}


def _rate(work: Callable[[int], object]) -> float:
    """Rounds of `work(rounds)` per ns, at best."""

    def nanoseconds(rounds: int, pause: float = 0.0) -> float:
        sleep(pause)
        return timed(lambda: work(rounds))[0]

    rounds = 1
    while nanoseconds(rounds) < NANOSECONDS:
        rounds *= 2
    return max(rounds / nanoseconds(rounds, PAUSE) for _ in range(REPEATS))


@cache
def _compiled() -> ctypes.CDLL | None:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "probes.so")
        command = ["cc", "-O3", "-march=native", "-shared", "-fPIC", str(SOURCE), "-o", str(target)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        probes = ctypes.CDLL(str(target))
    size = ctypes.c_size_t
    probes.load.argtypes, probes.load.restype = (size, size, size), ctypes.c_uint64
    for name in ("chain", "flood", "touch"):
        getattr(probes, name).argtypes = (size,)
    probes.branch.argtypes, probes.branch.restype = (size, size), ctypes.c_uint64
    probes.counter_open.argtypes = (ctypes.c_uint32, ctypes.c_uint64)
    probes.counter_stop.restype = ctypes.c_int64
    probes.callgrind_dump.argtypes = (ctypes.c_char_p,)
    return probes

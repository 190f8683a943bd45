"""How far the kernel is from what the processor allows: counts per proposal against rates of the same run.

Instructions, accesses and mispredicted branches of whole sweeps are counted by valgrind's callgrind, with its
model of this processor's L1 and L2; instructions, cycles and mispredictions by performance counters where the
machine has them.  The bound is the largest of what instructions, loads, and bytes from L2 and from L3 take at
the measured rates: no latencies, no mispredictions.

valgrind does not know AVX-512.  A kernel that uses it is counted, and timed for the comparison, with
DSM_SIMD=avx2; and where the rest of the program is built for it, a copy is built that is not.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import probes
from benchmarks.machines import REGIMES, SIZES, sample, stream, student, sweeps, title
from benchmarks.timing import per_proposal, print_head, print_row, timed
from dsm_hpc.kernels import build

COUNTED = {"A": 10, "B": 2, "C": 1, "D": 1}
"""Sweeps that callgrind follows, at some fifty times their time."""

KERNEL_NOTE = {"A": (122, 25), "B": (635, 218), "C": (1040, 133), "D": (350, 40)}
"""Hardware bounds estimated from bytes at the bandwidth of L2 and L3 and from vector instructions, without
latency and branch misses (Zen 4 at 3.7 GHz), ns: learning, solution space."""

SHOWN = 6
"""Functions in a row of shares."""

OUTSIDE = "random numbers, calls"
"""What is not in the kernels' headers."""

ROOT = Path(__file__).resolve().parents[1]

DRAWN = 1024
"""Proposals whose random numbers Student.sweep draws together."""

COUNTED_SIMD = "avx2" if build.SIMD == "avx512" else build.SIMD
"""The instruction set of the kernel as it is counted."""


@dataclass(frozen=True)
class Counts:
    """Per proposal."""

    instructions: float
    accesses: float
    """Loads and stores."""
    from_l2: float
    from_l3: float
    """Bytes that L1, and L1 and L2, do not have."""
    mispredicted: float

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def bounds(self, rates: probes.Rates) -> dict[str, float]:
        """ns that each resource takes at least; mispredictions come on top."""
        return {
            "instructions": self.instructions / (rates.clock * rates.per_cycle),
            "loads": self.accesses / (rates.clock * rates.loads_per_cycle),
            "L2": self.from_l2 / rates.bytes_per_ns["L2"],
            "L3": self.from_l3 / rates.bytes_per_ns["L3"],
        }

    def modelled(self, rates: probes.Rates) -> float:
        """ns if nothing overlapped: instructions, bytes and mispredictions one after another."""
        bounds = self.bounds(rates)
        return sum(bounds.values()) - bounds["loads"] + self.mispredicted * rates.penalty


NOTHING = Counts(0, 0, 0, 0, 0)


def report() -> None:
    """Prints the rates, the table and the random numbers alone."""
    if not probes.available():
        print("\nRoofline: needs Linux on x86-64 and a C compiler.")
        return
    rates = probes.rates()
    print("\n## Roofline: what this core reaches, and the kernel per proposal\n")
    levels = ", ".join(f"{level} {rate:.0f}" for level, rate in rates.bytes_per_ns.items())
    print(
        f"{rates.clock:.2f} GHz; {rates.per_cycle:.1f} instructions and {rates.loads_per_cycle:.1f} loads "
        f"per cycle; a misprediction {rates.penalty:.1f} ns; bytes per ns: {levels}.\n"
    )
    print_head(
        "machine", "regime", f"ns, {build.SIMD}", f"ns, {COUNTED_SIMD}", "kernel", "instructions",
        "bytes from L2", "from L3", "bound, ns", "bound / ns",
        "instructions / cycle", "mispredicted, ns", "estimated bound", f"that / ns, {build.SIMD}",
    )  # fmt: skip
    counts = all_counts()
    for name, regime in cells():
        runs, ns, of = times()[name, regime], counted_times()[name, regime], counts.get((name, regime))
        note = note_bound(name, regime)
        cycles = ns * rates.clock
        print_row(
            title(name),
            regime,
            f"{runs:.0f}",
            f"{ns:.0f}",
            " / ".join(dict.fromkeys([kernels()[name], counted_kernels()[name]])),
            *(_counted_cells(of, rates, ns, cycles) if of else ["–"] * 7),
            str(note),
            f"{note / runs:.2f}",
        )
    print(
        f"\nAll but the first time and the last fraction: {COUNTED_SIMD}, with the kernel named last.\n"
        f"{source()}\n"
        "Bound: the largest of its parts, which it names.  Random numbers included."
    )
    print(
        "\n## Where the time goes: shares by function, of what instructions, bytes and mispredictions take\n"
    )
    print_head("machine", "regime", "together, ns", "functions")
    for cell in filter(counts_by_function().get, cells()):
        parts = counts_by_function()[cell]
        modelled = {function: of.modelled(rates) for function, of in parts.items()}
        total = sum(modelled.values())
        shares = sorted(((ns / total, function) for function, ns in modelled.items()), reverse=True)
        print_row(*cell, f"{total:.0f}", ", ".join(f"{name} {share:.0%}" for share, name in shares[:SHOWN]))
    print("\n## Random numbers alone: ns per proposal\n")
    print_head("positions", "normals", "both")
    positions, normals = random_numbers()
    print_row(f"{positions:.1f}", f"{normals:.1f}", f"{positions + normals:.1f}")


def _counted_cells(of: Counts, rates: probes.Rates, ns: float, cycles: float) -> list[str]:
    bounds = of.bounds(rates)
    largest = max(bounds, key=bounds.__getitem__)
    return [
        f"{of.instructions:.0f}",
        f"{of.from_l2:.0f}",
        f"{of.from_l3:.0f}",
        f"{bounds[largest]:.0f} ({largest})",
        f"{bounds[largest] / ns:.2f}",
        f"{of.instructions / cycles:.1f}",
        f"{of.mispredicted:.1f}, {of.mispredicted * rates.penalty:.0f}",
    ]


def cells() -> Iterator[tuple[str, str]]:
    """All machines in both regimes."""
    return ((name, regime) for name in SIZES for regime in REGIMES)


def bounds() -> dict[tuple[str, str], tuple[float, float]]:
    """ns of the bound of each cell, and the fraction of it that is reached; empty if nothing can count."""
    counts = all_counts()
    return {
        cell: (bound := max(of.bounds(probes.rates()).values()), bound / counted_times()[cell])
        for cell, of in counts.items()
    }


def note_bound(name: str, regime: str) -> int:
    """The estimated hardware bound."""
    return KERNEL_NOTE[name][REGIMES.index(regime)]


def source() -> str:
    """Where the counts come from."""
    if counters_work():
        return "Instructions and mispredictions: performance counters; bytes: callgrind."
    return "Counted by callgrind (mispredictions: by its model of the predictor)."


@cache
def counters_work() -> bool:
    """Whether this machine has performance counters."""
    return probes.counted(lambda: None) is not None


# ------------------------------------------------------------------------------------------------------ times


@cache
def times() -> dict[tuple[str, str], float]:
    """ns per proposal of each cell, medians over sweeps."""
    return {(name, regime): per_proposal(sweeps(sample(name), regime)) for name, regime in cells()}


@cache
def counted_times() -> dict[tuple[str, str], float]:
    """The times of the instruction set that is counted."""
    if COUNTED_SIMD == build.SIMD:
        return times()
    done = _child([], "times")
    done.check_returncode()
    return {(name, regime): ns for name, regime, ns in json.loads(done.stdout)}


@cache
def counted_kernels() -> dict[str, str]:
    """The kernels that the machines take with the instruction set that is counted."""
    return kernels() if COUNTED_SIMD == build.SIMD else json.loads(_child([], "kernels").stdout)


def kernels() -> dict[str, str]:
    """The kernel that each machine takes."""
    return {name: student(sample(name), REGIMES[0]).kernel for name in SIZES}


def random_numbers() -> tuple[float, float]:
    """ns per proposal of positions and of normals, as Student.sweep draws them.

    The calls of NumPy's generator are not part of that: they cancel between two and one block of the kernel.
    """
    random = np.random.Generator(stream(0))
    out = np.empty(2 * DRAWN)
    total = sample("D").wiring.size

    def per_number(draw: Callable[[int], object]) -> float:
        differences = [timed(lambda: draw(2 * DRAWN))[0] - timed(lambda: draw(DRAWN))[0] for _ in range(2001)]
        return median(differences) / DRAWN

    return (
        per_number(lambda n: random.integers(0, total, size=n)),
        per_number(lambda n: random.standard_normal(out=out[:n])),
    )


# ----------------------------------------------------------------------------------------------------- counts


@cache
def all_counts() -> dict[tuple[str, str], Counts]:
    """Counts of each cell; empty where nothing can count them."""
    found = {cell: sum(parts.values(), NOTHING) for cell, parts in counts_by_function().items()}
    return {cell: _with_counters(*cell, of) if counters_work() else of for cell, of in found.items()}


@cache
def counts_by_function() -> dict[tuple[str, str], dict[str, Counts]]:
    """By the functions of the kernels' sources, also where they are inlined; by callgrind."""
    if not probes.available() or not shutil.which("valgrind") or not probes.library().callgrind_known():
        return {}
    with tempfile.TemporaryDirectory() as folder:
        caches = probes.cache_sizes()
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--collect-atstart=no"]
        command += ["--cache-sim=yes", "--branch-sim=yes", f"--callgrind-out-file={folder}/counts"]
        command += [f"--D1={_cache(caches['L1'], 8)}", f"--LL={_cache(caches['L2'], 8)}"]
        if _child(command, "count").returncode:
            _copy(Path(folder, "copy"))
            _child(command, "count", Path(folder, "copy")).check_returncode()
        found = {}
        for path in Path(folder).glob("counts*"):
            text = path.read_text()
            if of := re.search(r"^desc: Trigger: Client Request: (\w)/(.*?)/(\d+)$", text, re.MULTILINE):
                found[of[1], of[2]] = _parsed(text, int(of[3]))
    return found


def _cache(size: int, ways: int) -> str:
    """A cache for callgrind, which wants a power of two as the number of sets."""
    sets = 1 << (size // (ways * probes.LINE)).bit_length() - 1
    return f"{sets * ways * probes.LINE},{ways},{probes.LINE}"


def _parsed(text: str, proposals: int) -> dict[str, Counts]:
    """Counts by function, from a file of callgrind."""
    events: list[str] = []
    names: dict[str, str] = {}
    file, line, skip = "", 0, False
    totals: dict[str, Counts] = {}
    for row in text.splitlines():
        if row.startswith("events: "):
            events = row.split()[1:]
        elif named := re.match(r"(fl|fi|fe|fn|ob|cob|cfi|cfl|cfn)=\((\d+)\)(?: (.*))?$", row):
            kind, key = named[1], named[1].lstrip("c").replace("fi", "fl").replace("fe", "fl") + named[2]
            names[key] = named[3] or names[key]
            if kind in ("fl", "fi", "fe"):
                file = names[key]
        elif row.startswith("calls="):
            skip = True  # the next line is what the function called took
        elif cost := re.match(r"([+-]?\d+|\*)((?: \d+)*)$", row):
            line = int(cost[1]) if cost[1].isdigit() else line + int(cost[1].replace("*", "0"))
            if not skip:
                of = dict.fromkeys(events, 0.0)
                of |= {e: int(n) / proposals for e, n in zip(events, cost[2].split(), strict=False)}
                function = _function(file, line)
                totals[function] = totals.get(function, NOTHING) + _of_events(of)
            skip = False
    return totals


def _of_events(of: dict[str, float]) -> Counts:
    return Counts(
        of["Ir"],
        of["Dr"] + of["Dw"],
        probes.LINE * (of["D1mr"] + of["D1mw"]),
        probes.LINE * (of["DLmr"] + of["DLmw"]),
        of["Bcm"] + of["Bim"],
    )


@cache
def _function(file: str, line: int) -> str:
    """The function of our sources that this line is in; OUTSIDE for the rest."""
    source = ROOT / "dsm_hpc" / "kernels" / Path(file).name
    if source.suffix != ".h" or not source.exists():
        return "intrinsics" if file.endswith("intrin.h") else OUTSIDE
    text = re.sub(r"__attribute__\(\(\w+\)\) ", "", source.read_text())
    heads = (re.match(r"[A-Za-z_][\w *]*[ *](\w+)\([^;]*$", row) for row in text.splitlines()[:line])
    return next((found[1] for found in [*heads][::-1] if found), source.stem)


def _with_counters(name: str, regime: str, of: Counts) -> Counts:
    """Instructions and mispredictions of one sweep by the processor's counters."""
    work, proposals = next(sweeps(sample(name), regime))
    found = probes.counted(work)
    assert found
    return Counts(
        found["instructions"] / proposals,
        of.accesses,
        of.from_l2,
        of.from_l3,
        found["branch misses"] / proposals,
    )


def _child(launcher: list[str], what: str, root: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """`python -m benchmarks.roofline WHAT` here or in a copy, with the instruction set that is counted."""
    return subprocess.run(
        [*launcher, sys.executable, "-m", "benchmarks.roofline", what],
        cwd=root,
        env=os.environ | {"DSM_SIMD": COUNTED_SIMD, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )


def _copy(root: Path) -> None:
    """Builds the program without AVX-512; its kernels with DSM_SIMD=avx2 are the same."""
    for folder in ("dsm_hpc", "benchmarks"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, root)
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    environment = os.environ | {"DSM_MARCH": "x86-64-v3"}
    subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True)


def _count() -> None:
    """Runs under valgrind, which writes a file of counts per cell."""
    probe = probes.library()
    probe.callgrind_start()
    for name, regime in cells():
        total = 0
        for work, proposals in islice(sweeps(sample(name), regime), COUNTED[name]):
            probe.callgrind_toggle()
            work()
            probe.callgrind_toggle()
            total += proposals
        probe.callgrind_dump(f"{name}/{regime}/{total}".encode())


def main() -> None:
    """`python -m benchmarks.roofline [count|times|kernels]`; the words are for children of this program."""
    match sys.argv[1:]:
        case ["count"]:
            _count()
        case ["kernels"]:
            print(json.dumps(kernels()))
        case ["times"]:
            print(json.dumps([[*cell, ns] for cell, ns in times().items()]))
        case _:
            report()


if __name__ == "__main__":
    main()

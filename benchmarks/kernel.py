"""Time per proposal of Student.sweep, of Numba and of NumPy, on the same trajectory; the bound."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from benchmarks import probes, roofline
from benchmarks.baselines import Baseline, NumbaMachine, NumpyMachine, PlainNumbaMachine
from benchmarks.machines import BETA, REGIMES, STEP, draw, sample, stream, student, title
from benchmarks.timing import print_head, print_row, quotients, timed
from dsm_hpc.kernels import Student, build
from dsm_hpc.machine.sample import Sample
from dsm_hpc.presentation.style import RC, colours, legend, panels

OURS = "dsm_hpc"
PROGRAMS = (OURS, "Numba", "Numba, plain", "NumPy")

CHECKED = 200
"""Proposals of each reference machine that every baseline must decide as we do before it is timed."""

NUMPY_PROPOSALS = 512

SECONDS, MIN_PAIRS = 2.0, 3
"""Pairs are added for so long, and at least so many are taken."""

CHUNK = 20e6
"""ns that a chunk of sweeps at E = 0 takes us, about: a student that runs has its caches for itself, and
the programs that are timed in between take them."""


@dataclass(frozen=True)
class Row:
    """Pairs of sweeps of one machine in one regime: ns per proposal of each program, and the acceptance."""

    machine: str
    regime: str
    accepted: list[float]
    nanoseconds: dict[str, list[float]]
    bound: float | None = None
    """ns of the roofline, and the fraction of it that the counted kernel reaches."""
    fraction: float | None = None

    def median(self, program: str) -> float:
        return median(self.nanoseconds[program])


def report(figure: Path | None = None, numbers: Path | None = None) -> None:
    """Prints the table; on request draws it, and writes all pairs as JSON."""
    for size in ((12, 5, 4, 70), (9, 9, 3, 130)):
        for regime in REGIMES:
            _check_to_the_end(draw(*size), regime)
    bounds = roofline.bounds()
    print("\n## Kernel: ns per proposal, step 0.3, greedy, random numbers included\n")
    print_head(
        "machine", "regime", "accepted", *PROGRAMS, *(f"{name} / {OURS}" for name in PROGRAMS[1:]),
        "bound", f"bound / ns, {roofline.COUNTED_SIMD}", "estimated bound / ns", "pairs",
    )  # fmt: skip
    rows = [_row(*cell, *bounds.get(cell, (None, None))) for cell in roofline.cells()]
    print(
        "\nMedians; of ratios, medians (min–max) over pairs of sweeps that start from equal states with\n"
        "equal random numbers.  Learning: first sweeps of different random starts.  Solution space: chunks\n"
        f"of sweeps at E = 0 that take us about {CHUNK * 1e-6:.0f} ms.  Numba: with our early exit, whole\n"
        f"layers recomputed; plain: without.  NumPy: the first {NUMPY_PROPOSALS} proposals of each.\n"
        f"Bound: of the instructions and bytes counted with {roofline.COUNTED_SIMD}, and the fraction of it\n"
        "reached with that (`python -m benchmarks roofline`)."
    )
    if numbers:
        machine = {"processor": probes.processor(), "SIMD": build.SIMD, "march": build.MARCH}
        table = [
            asdict(row) | {"estimated_bound": roofline.note_bound(row.machine, row.regime)} for row in rows
        ]
        numbers.write_text(json.dumps(machine | {"rows": table}, indent=1))
    if figure:
        with rc_context(RC):
            draw_figure(rows).savefig(figure)


def draw_figure(rows: list[Row]) -> Figure:
    """Bars of all programs, lines where the bounds are; the lower the better."""
    heading = f"one core of {probes.processor()}, {build.SIMD}"
    figure, axes = panels(1, len(REGIMES), heading)
    for panel, regime in zip(axes, REGIMES, strict=True):
        some = [row for row in rows if row.regime == regime]
        wide = 0.8 / len(PROGRAMS)
        for place, (program, colour) in enumerate(zip(PROGRAMS, colours(len(PROGRAMS)), strict=True)):
            x = [a + (place - (len(PROGRAMS) - 1) / 2) * wide for a in range(len(some))]
            bars = panel.bar(x, [row.median(program) for row in some], wide, color=colour)
            if program == OURS:
                panel.bar_label(bars, [f"{row.median(program):.0f}" for row in some], fontsize=7)
        for a, row in enumerate(some):
            panel.hlines(roofline.note_bound(row.machine, regime), a - 0.45, a + 0.45, "black", "dashed")
            if row.bound and build.SIMD == roofline.COUNTED_SIMD:
                panel.hlines(row.bound, a - 0.45, a - 0.15, "black")
        panel.set_yscale("log")
        panel.set_ylim(10, 1e6)
        panel.set_xticks(range(len(some)), [row.machine for row in some])
        panel.tick_params(axis="x", which="both", length=0)
        panel.set_title(regime)
    axes[0].set_ylabel("ns per proposal")
    handles: list[Artist] = [
        Patch(color=colour, label=program)
        for program, colour in zip(PROGRAMS, colours(len(PROGRAMS)), strict=True)
    ]
    handles.append(Line2D([], [], color="black", linestyle="dashed", label="estimated hardware bound"))
    if build.SIMD == roofline.COUNTED_SIMD:
        handles.append(Line2D([], [], color="black", label="bound, counted"))
    legend(figure, handles, 3)
    return figure


def _row(name: str, regime: str, bound: float | None, fraction: float | None) -> Row:
    of = sample(name)
    for baseline in (NumpyMachine, NumbaMachine, PlainNumbaMachine):  # compiles Numba's loops, too
        _check_start(of, regime, baseline)
    *times, accepted = zip(*_pairs(of, regime), strict=True)
    found = {program: list(some) for program, some in zip(PROGRAMS, times, strict=True)}
    row = Row(name, regime, list(accepted), found, bound, fraction)
    print_row(
        title(name),
        regime,
        f"{median(accepted):.3f}",
        *(f"{row.median(program):.0f}" for program in PROGRAMS),
        *(quotients(found[program], found[OURS]) for program in PROGRAMS[1:]),
        f"{bound:.0f}" if bound else "–",
        f"{fraction:.2f}" if fraction else "–",
        f"{roofline.note_bound(name, regime) / row.median(OURS):.2f}",
        str(len(accepted)),
    )
    return row


def _pairs(of: Sample, regime: str) -> Iterator[tuple[float, ...]]:
    """ns per proposal of equal sweeps by each of PROGRAMS, and their acceptance.

    Learning: the first sweep, the shortest chunk that Student.sweep can run.  Solution space: from the second
    pair on as many as fill CHUNK; the first, of one sweep, is not counted.
    """
    spent, pairs, sweeps = 0.0, 0, 1 if regime == "learning" else 0
    for ours, baselines, moves in _states(of, regime):
        before, numpy = moves.state, NumpyMachine(ours)
        time, flags = timed(lambda ours=ours, moves=moves, n=sweeps or 1: _sweep(ours, moves, n))
        numba, plain = (_baseline(machine, before, flags) for machine in baselines)
        if not sweeps:
            sweeps = ceil(CHUNK / time)
            continue
        start = _baseline(numpy, before, flags[:NUMPY_PROPOSALS])
        size = len(flags)
        yield time / size, numba / size, plain / size, start / NUMPY_PROPOSALS, float(flags.mean())
        spent, pairs = spent + time + numba, pairs + 1
        if pairs >= MIN_PAIRS and spent > SECONDS * 1e9:
            return


def _baseline(machine: Baseline, before: Any, flags: NDArray[np.uint8]) -> float:
    """ns of the same sweeps, or of their start, by a baseline with the random numbers from `before` on."""
    moves = np.random.PCG64DXSM()
    moves.state = before
    time, same = timed(lambda: machine.run(moves, STEP, len(flags)))
    assert np.array_equal(flags, same), f"{type(machine).__name__} took another path"
    return time


def _states(of: Sample, regime: str) -> Iterator[tuple[Student, list[Baseline], np.random.PCG64DXSM]]:
    """Equal states of all, and the random numbers to come: of one trajectory, or (learning) of many."""
    clone = 0
    while True:
        ours, moves = student(of, regime, clone), stream(clone)
        baselines: list[Baseline] = [NumbaMachine(ours), PlainNumbaMachine(ours)]
        yield ours, baselines, moves
        while regime != "learning":
            yield ours, baselines, moves
        clone += 1


def _sweep(of: Student, moves: np.random.BitGenerator, sweeps: int = 1) -> NDArray[np.uint8]:
    """Sweeps of ours; returns which proposals were accepted."""
    flags = np.empty(sweeps * of.weights.size, np.uint8)
    of.sweep(moves, BETA, STEP, sweeps, flags)
    return flags


def _check_start(of: Sample, regime: str, kind: type[Baseline]) -> None:
    """The baseline decides the first proposals as we do."""
    flags = _sweep(student(of, regime), stream(0))[:CHECKED]
    same = kind(student(of, regime)).run(stream(0), STEP, CHECKED)
    assert np.array_equal(flags, same), f"{kind.__name__} took another path"


def _check_to_the_end(of: Sample, regime: str) -> None:
    """Five sweeps of a small machine end in the same state."""
    ours, moves = student(of, regime), stream(0)
    baselines = [(kind(ours), stream(0)) for kind in (NumpyMachine, NumbaMachine, PlainNumbaMachine)]
    for _ in range(5):
        flags = _sweep(ours, moves)
        for baseline, theirs in baselines:
            assert np.array_equal(baseline.run(theirs, STEP, len(flags)), flags)
            assert np.array_equal(baseline.weights, ours.weights)
            assert baseline.energy == ours.energy

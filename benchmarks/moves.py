"""What an independent state costs: the moves of `dynamics.moves`, at equilibrium and from random starts.

A planted student at beta = infinity is an exact draw of the equilibrium state, so its overlap q_l(t) with
where it started, averaged over samples, is the equilibrium autocorrelation of layer l; it falls from 1 to the
overlap of independent students, q_l(infinity).  The correlation time of a layer is the integral of
(q_l(t) - q_l(infinity)) / (1 - q_l(infinity)) over CPU time; of the slowest layer, twice that is the price of
one effective sample.

q_l(infinity) is the mean over the last half of the runs of the default, `fast`.  Where a move has not come
down to it within its time, the integral ends there and the price is a lower bound, marked >.
"""

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import print_head, print_row, timed
from dsm_hpc.config import FAST, Config, Move, WeightMove
from dsm_hpc.kernels import Student
from dsm_hpc.machine.overlaps import overlaps
from dsm_hpc.machine.sample import Machine, Sample, draw_sample
from dsm_hpc.machine.wiring import draw_weights
from dsm_hpc.rng import Purpose, bit_generator, generator
from dsm_hpc.sampling.turns import make, turns

MACHINES = {
    "shallow, fully connected": {"width": 50, "depth": 2, "fan_in": 50, "train": 100},
    "shallow, sparse": {"width": 100, "depth": 2, "fan_in": 30, "train": 90},
    "deep, fully connected": {"width": 40, "depth": 6, "fan_in": 40, "train": 80},
    "deep, sparse": {"width": 60, "depth": 5, "fan_in": 20, "train": 60},
    "hidden manifold": {"width": 40, "depth": 3, "fan_in": 40, "train": 80, "dimension": 10},
}

TIGHT = {
    "A of the kernel's table": {"width": 20, "depth": 10, "fan_in": 20, "train": 320},
    "shallow, fully connected": {"width": 60, "depth": 2, "fan_in": 60, "train": 360},
    "shallow, sparse": {"width": 300, "depth": 2, "fan_in": 30, "train": 180},
}
"""Machines that do not come to equilibrium in a minute: there, times to the same overlap are compared."""

Moves = tuple[Move, ...]
"""What make the sweeps in turn, as in `dynamics.moves`."""

WEIGHTS: tuple[Moves, ...] = tuple((WeightMove(kind="weight", step=step),) for step in (0.2, 0.4))
"""Steps of single weights; the best one of each machine counts."""

SAMPLES = 2
SECONDS = 24.0
"""CPU time of each run of single weights from a planted start; the default gets a third of it."""

LIMIT = 10.0
"""CPU seconds until a student that learns must have come to E = 0."""

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
"""CPU seconds (time,) and overlaps (time, L) with the start."""


@dataclass(frozen=True)
class Price:
    """CPU seconds per effective sample of the slowest layer; whether it is a lower bound."""

    seconds: float
    bound: bool

    def __str__(self) -> str:
        return f"{'> ' if self.bound else ''}{self.seconds:.3g}"


def config_of(width: int, depth: int, fan_in: int, train: int, dimension: int | None = None) -> Config:
    inputs = {"kind": "iid"} if dimension is None else {"kind": "hidden_manifold", "dimension": dimension}
    return Config.model_validate(
        {
            "seed": 1,
            "network": {"width": width, "depth": depth, "fan_in": fan_in},
            "patterns": {"train": train, "test": 1, "inputs": inputs},
            "schedule": {"sweeps": 0},
        }
    )


def student_of(of: Sample, weights: NDArray[np.float64]) -> Student:
    train = of.teacher.train
    return Student(of.wiring, weights, train[0], train[-1], of.config.patterns.train, ising=False)


def advance(student: Student, stream: np.random.BitGenerator, moves: Moves, start: int, sweeps: int) -> float:
    """CPU seconds of the sweeps from `start` on, at beta = infinity."""

    def all_turns() -> None:
        for move, number in turns(moves, start, start + sweeps):
            make(student, stream, move, inf, number)

    return timed(all_turns)[0] * 1e-9


def relaxation(of: Sample, moves: Moves, seconds: float) -> Curve:
    """A planted student at E = 0, looked at at log-spaced times until its CPU time is spent."""
    student, stream = student_of(of, of.teacher.weights), bit_generator(1, Purpose.MOVES, of.index, 0, 0, 0)
    spent, made, sweeps, times, found = 0.0, 0, 1, [0.0], [np.ones(len(of.wiring))]
    while spent < seconds:
        time = advance(student, stream, moves, made, sweeps)
        spent, made = spent + time, made + sweeps
        times.append(spent)
        now = Machine(student.weights, student.signs, None)
        found.append(overlaps(of, now, of.teacher)["q_aligned"])
        # so that the next look comes a tenth later, or 200 looks fill the time
        sweeps = max(1, round(sweeps * min(0.1 * spent, seconds / 100) / time))
    assert student.energy == 0
    return np.array(times), np.array(found)


def plateau(curves: list[Curve]) -> NDArray[np.float64]:
    """q_l(infinity): mean over the last half of the time and over samples."""
    return np.mean([found[times > times[-1] / 2].mean(axis=0) for times, found in curves], axis=0)


def price(curves: list[Curve], level: NDArray[np.float64]) -> Price:
    """Twice the correlation time of the slowest layer."""
    common = np.unique(np.concatenate([times for times, _ in curves]))
    common = common[common <= min(times[-1] for times, _ in curves)]
    mean = np.mean([[np.interp(common, t, q[:, layer]) for layer in range(q.shape[1])] for t, q in curves], 0)
    left = (mean - level[:, None]) / (1 - level[:, None])
    gone = [np.flatnonzero(layer <= 0) for layer in left]
    ends = [int(where[0]) if len(where) else len(common) - 1 for where in gone]
    integrals = [
        np.trapezoid(layer[: end + 1], common[: end + 1]) for layer, end in zip(left, ends, strict=True)
    ]
    slowest = int(np.argmax(integrals))
    return Price(2 * float(integrals[slowest]), bool(left[slowest, ends[slowest]] > 0.05))


def mean_overlap(curves: list[Curve], layer: int, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of one layer, over samples."""
    return np.asarray(np.mean([np.interp(times, t, q[:, layer]) for t, q in curves], axis=0))


def learning(of: Sample, moves: Moves, seconds: float) -> float:
    """CPU seconds of a greedy student from random weights to E = 0; inf if it does not get there."""
    weights = draw_weights(generator(1, Purpose.START, of.index, 1, 0, 0), of.wiring.shape, ising=False)
    student, stream = student_of(of, weights), bit_generator(1, Purpose.MOVES, of.index, 1, 0, 0)
    spent, made = 0.0, 0
    while student.energy and spent < seconds:
        spent, made = spent + advance(student, stream, moves, made, 1), made + 1
    return inf if student.energy else spent


def report() -> None:
    """Both tables: the best step of single weights against the default."""
    _independent_states()
    _decorrelation()


def _runs(size: dict[str, int]) -> tuple[list[Sample], dict[Moves, list[Curve]]]:
    """Samples, and the planted runs of all moves, side by side: what else runs here slows down all."""
    samples = [draw_sample(config_of(**size), index) for index in range(SAMPLES)]
    curves: dict[Moves, list[Curve]] = {}
    for of in samples:
        for moves in (*WEIGHTS, FAST):
            seconds = SECONDS / 3 if moves is FAST else SECONDS
            curves.setdefault(moves, []).append(relaxation(of, moves, seconds))
    return samples, curves


def _independent_states() -> None:
    print("\n## Moves: CPU seconds per effective sample of the slowest layer, and to E = 0\n")
    print_head("machine", "single weights", "fast", "ratio", "q_l", "to E = 0: weights", "fast")
    for name, size in MACHINES.items():
        samples, curves = _runs(size)
        level = plateau(curves[FAST])
        prices = {moves: price(found, level) for moves, found in curves.items()}
        best = min(WEIGHTS, key=lambda moves: prices[moves].seconds)
        ratio = prices[best].seconds / prices[FAST].seconds
        learnt = [[learning(of, moves, LIMIT) for of in samples] for moves in (best, FAST)]
        print_row(
            f"{name}: {_size(**size)}",
            f"{prices[best]} (step {_step(best)})",
            str(prices[FAST]),
            f"{'> ' if prices[best].bound else ''}{ratio:.2g}",
            " ".join(f"{q:.2f}" for q in level),
            *(", ".join(f"{t:.2g}" if t < inf else f"> {LIMIT:g}" for t in times) for times in learnt),
        )


def _decorrelation() -> None:
    print("\n## Moves: CPU seconds until the slowest layer's overlap with the planted start is what it is\n")
    print_head("machine", "q_l of single weights", "after", "fast after", "ratio")
    for name, size in TIGHT.items():
        _, curves = _runs(size)
        for part in (16, 4, 1):
            print_row(*_crossing(name, size, curves, SECONDS / part))


def _crossing(name: str, size: dict[str, int], curves: dict[Moves, list[Curve]], seconds: float) -> list[str]:
    """When the default has come as far as the best single weights in so many seconds."""
    at, layers = np.array([seconds]), range(size["depth"])
    reached = {moves: max(mean_overlap(curves[moves], layer, at)[0] for layer in layers) for moves in WEIGHTS}
    best = min(WEIGHTS, key=lambda moves: reached[moves])
    layer = max(layers, key=lambda layer: mean_overlap(curves[best], layer, at)[0])
    times = np.unique(np.concatenate([t for t, _ in curves[FAST]]))
    below = times[mean_overlap(curves[FAST], layer, times) <= reached[best]]
    found = f"{below[0]:.3g}" if len(below) else f"> {times[-1]:.3g}"
    ratio = f"{seconds / below[0]:.2g}" if len(below) else f"< {seconds / times[-1]:.2g}"
    return [
        f"{name}: {_size(**size)}",
        f"{reached[best]:.3f} (step {_step(best)})",
        f"{seconds:.3g}",
        found,
        ratio,
    ]


def _step(moves: Moves) -> float:
    return next(move.step for move in moves if isinstance(move, WeightMove))


def _size(width: int, depth: int, fan_in: int, train: int, dimension: int | None = None) -> str:
    return f"N = {width}, c = {fan_in}, L = {depth}, M = {train}" + (
        f", D = {dimension}" if dimension else ""
    )

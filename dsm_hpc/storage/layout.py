"""What stands in a results file: axes, coordinates, variables (DESIGN, «Results file»)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.config import Config
from dsm_hpc.ensemble import clone_pairs
from dsm_hpc.sampling.schedule import measurement_times, waiting_times

FORMAT = "dsm-hpc"
FORMAT_VERSION = 1

BUFFER_BYTES = 16 << 20
"""What a rank keeps of its measurements before they are written."""

WALKER = ("sample", "start", "clone", "beta")
PAIR = ("sample", "start", "pair", "beta")
LADDER = ("sample", "start", "clone")
SAMPLE = ("sample",)


@dataclass(frozen=True)
class Variable:
    """One dataset of float64: name (with group), who it belongs to, further axes, and what it means."""

    name: str
    owner: tuple[str, ...]
    axes: tuple[str, ...]
    meaning: str

    @property
    def dimensions(self) -> tuple[str, ...]:
        return self.owner + self.axes


_OVERLAPS = {
    "q": "weight overlap q(l)",
    "r": "spin overlap r(l) on the training set",
    "r_test": "spin overlap r(l) on the test set",
}
_PROFILE = ("time", "layer")


def _overlap_variables(
    group: str, owner: tuple[str, ...], axes: tuple[str, ...], what: str, *names: str
) -> list[Variable]:
    return [
        Variable(f"{group}/{name}{form}", owner, axes, f"{_OVERLAPS[name]} {what}{note}")
        for name in names
        for form, note in (("", ""), ("_aligned", ", symmetries undone"))
    ]


VARIABLES: tuple[Variable, ...] = (
    Variable("energy", WALKER, ("time",), "wrong output bits over the training set, E"),
    Variable("test_error", WALKER, ("time",), "fraction of wrong output bits over the test set"),
    Variable("acceptance", WALKER, _PROFILE, "accepted / proposed since the last measurement"),
    *_overlap_variables("teacher", WALKER, _PROFILE, "of student and teacher", "q", "r", "r_test"),
    *_overlap_variables("clones", PAIR, _PROFILE, "of two clones", "q", "r", "r_test"),
    *_overlap_variables(
        "autocorrelation",
        WALKER,
        ("waiting", "time", "layer"),
        "of a student at times t_w and t >= t_w",
        "q",
        "r",
    ),
    Variable("exchange/permutation", LADDER, ("time", "beta"), "the replica that sits at each temperature"),
    Variable(
        "exchange/attempts", LADDER, ("time", "edge"), "swaps tried between beta[edge] and beta[edge + 1]"
    ),
    Variable(
        "exchange/accepts", LADDER, ("time", "edge"), "swaps made between beta[edge] and beta[edge + 1]"
    ),
    Variable(
        "exchange/round_trips", LADDER, ("time", "replica"), "round trips of each replica, hot-cold-hot"
    ),
    Variable("loops/shared_pairs", SAMPLE, ("layer",), "pairs of perceptrons that share two or more inputs"),
    Variable("loops/shared_pairs_expected", SAMPLE, ("layer",), "the same, mean for random wiring"),
    Variable(
        "loops/correlation",
        SAMPLE,
        ("layer",),
        "mean squared correlation between the teacher's neurons, less 1/M",
    ),
    Variable("loops/input_correlation", SAMPLE, (), "mean squared correlation between inputs, less 1/M"),
)


@dataclass(frozen=True)
class Layout:
    """Axes and variables of one run."""

    coordinates: dict[str, NDArray[Any]]
    meanings: dict[str, str]

    @property
    def variables(self) -> list[Variable]:
        """The variables that this run has: none along an empty axis (no pairs, waiting times, swaps)."""
        swapped = self.size("replica") > 0
        return [
            v
            for v in VARIABLES
            if all(self.size(axis) for axis in v.dimensions) and (swapped or v.owner != LADDER)
        ]

    def size(self, axis: str) -> int:
        return len(self.coordinates[axis])

    def shape(self, axes: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(self.size(axis) for axis in axes)

    @property
    def bytes(self) -> int:
        """Size of the data in the file (its header adds some tens of KiB)."""
        return sum(8 * int(np.prod(self.shape(v.dimensions), dtype=object)) for v in self.variables)


def layout(config: Config) -> Layout:
    """The layout that a configuration leads to."""
    ensemble, pairs = config.ensemble, clone_pairs(config)
    swapped = len(config.dynamics.ladder) if config.dynamics.tempered else 0
    coordinates: dict[str, NDArray[Any]] = {
        "sample": np.arange(ensemble.samples),
        "start": np.array(ensemble.starts, dtype=object),
        "clone": np.arange(ensemble.clones),
        "pair": np.array([f"{a}-{b}" for a, b in pairs], dtype=object),
        "beta": np.array(config.dynamics.ladder, dtype=np.float64),
        "edge": np.arange(swapped - 1 if swapped else 0),
        "replica": np.arange(swapped),
        "waiting": waiting_times(config.schedule),
        "time": measurement_times(config.schedule),
        "layer": np.arange(1, config.network.depth + 1),
    }
    meanings = {
        "sample": "independent wiring, teacher and data",
        "start": "where the student starts: planted (its teacher) or random (the prior)",
        "clone": "independent students of one sample and start",
        "pair": "two clones",
        "beta": "inverse temperature",
        "edge": "neighbouring temperatures",
        "replica": "student that exchanges temperatures, named after the index of its beta at t = 0",
        "waiting": "waiting time t_w in sweeps",
        "time": "Monte Carlo time t in sweeps (N c L proposals each)",
        "layer": "layer l = 1..L",
    }
    return Layout(coordinates, meanings)

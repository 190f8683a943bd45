"""The configuration of a run: validated and immutable.

The models below are the reference of the input file: every key has a default or is required by name, and
unknown keys are refused.
"""

import math
import re
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    WithJsonSchema,
    model_validator,
)

from dsm_hpc.kernels.grid import MAX_FAN_IN

MAX_MEASUREMENTS = 1_000_000
MAX_BETAS = 10_000
MAX_WALKERS = 1_000_000
MAX_THREADS = 64

LARGE_WIDTH, LARGE_FAN_IN, LARGE_TRAIN, LARGE_STATE = 1_000, 20, 10_000, 4_000_000
"""From so many neurons per layer (or training patterns, where layers of 65 to 128 are fully connected, with
Gaussian weights) and N L M signs in all, threads within a walker are worth their cores: measured
(benchmarks/threads.py).  Others were not measured, or have kernels of one thread (words.h, bits.h)."""

Start = Literal["planted", "random"]
STARTS: tuple[Start, ...] = get_args(Start)


def _as_tuple(value: Any) -> Any:
    """YAML lists become tuples (immutable); anything else is left to be refused."""
    return tuple(value) if isinstance(value, list) else value


def _refuse_repeated(key: str, values: tuple[Any, ...]) -> None:
    if len(set(values)) < len(values):
        raise ValueError(f"{key}: {first_repeated(list(values))} is given twice")


def first_repeated(values: list[Any]) -> Any:
    """The first value that appears more than once."""
    return next(value for value in values if values.count(value) > 1)


UNITS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}

SHORTEST, LONGEST = 1e-3, 8.64e8
"""Seconds; outside of these the resolved configuration would not say a duration in plain digits."""


def _seconds(value: Any) -> Any:
    """`10 min` in seconds; a duration has a unit."""
    parts = (
        re.fullmatch(rf"([0-9]+(?:\.[0-9]+)?) ?({'|'.join(UNITS)})", value)
        if isinstance(value, str)
        else None
    )
    if parts is None:
        raise ValueError(
            f"{value!r:.40} is not a duration: allowed are a number and one of {', '.join(UNITS)}"
        )
    seconds = float(parts[1]) * UNITS[parts[2]]
    if not SHORTEST <= seconds <= LONGEST:
        raise ValueError(f"{value} is {seconds:g} s: allowed are 1 ms to 10000 d")
    return seconds


Duration = Annotated[
    float,
    BeforeValidator(_seconds),
    PlainSerializer(lambda seconds: f"{seconds:.12g} s"),
    WithJsonSchema({"type": "string", "pattern": rf"^[0-9]+(\.[0-9]+)? ?({'|'.join(UNITS)})$"}),
]
"""Seconds; `10 min` in the input."""


class Section(BaseModel):
    """A part of the input file: immutable, no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=True)


class Network(Section):
    """The machine: L layers of N perceptrons with c inputs each."""

    width: int = Field(ge=1, le=100_000, description="N, perceptrons per layer (and bits of input)")
    depth: int = Field(ge=1, le=1_000, description="L, layers")
    fan_in: Annotated[int, Field(ge=1, le=MAX_FAN_IN)] | Literal["all"] = Field(
        description="c, inputs of each perceptron, drawn without repetition; `all`: fully connected"
    )
    weights: Literal["gaussian", "ising"] = Field(
        "gaussian", description="prior of the weights: N(0, 1) or +-1"
    )

    @model_validator(mode="after")
    def _fan_in_fits(self) -> "Network":
        if self.fan_in != "all" and self.fan_in > self.width:
            raise ValueError(
                f"fan_in = {self.fan_in} is more than width = {self.width}: allowed are 1..{self.width}, all"
            )
        if self.fan_in == "all" and self.width > MAX_FAN_IN:
            raise ValueError(
                f"fan_in = all with width = {self.width}: at most {MAX_FAN_IN} inputs are possible"
            )
        return self

    @property
    def inputs(self) -> int:
        """c as a number."""
        return self.width if self.fan_in == "all" else self.fan_in

    @property
    def weight_count(self) -> int:
        """Weights of one student = proposals of one sweep, N c L."""
        return self.width * self.inputs * self.depth


class IidInputs(Section):
    """Independent, unbiased input bits."""

    kind: Literal["iid"]


class HiddenManifoldInputs(Section):
    """Inputs of effective dimension D: S_0i = sgn(sum_d F_di C_d / sqrt(D))."""

    kind: Literal["hidden_manifold"]
    dimension: int = Field(ge=1, le=1_000_000, description="D, dimension of the manifold")


class FileInputs(Section):
    """The user's own inputs, an array of +-1 of shape (patterns, N); rows are drawn anew for each sample."""

    kind: Literal["file"]
    path: str = Field(description=".npy or HDF5 file; relative paths start at the input file's folder")
    dataset: str | None = Field(
        None, description="name of the dataset in an HDF5 file; needed if it has several"
    )


class Patterns(Section):
    """Training and test set; the teacher's outputs are the labels."""

    train: int = Field(ge=1, le=10_000_000, description="M, training patterns")
    test: int = Field(1000, ge=1, le=10_000_000, description="fresh patterns for the test error")
    inputs: IidInputs | HiddenManifoldInputs | FileInputs = Field(
        IidInputs(kind="iid"), discriminator="kind", description="how inputs are drawn"
    )


class Ensemble(Section):
    """Independent samples (wiring, teacher, data) and the students of each."""

    samples: int = Field(8, ge=1, le=1_000_000, description="independent samples")
    starts: Annotated[tuple[Start, ...], BeforeValidator(_as_tuple)] = Field(
        STARTS,
        min_length=1,
        description="`planted`: the student starts as its teacher; `random`: from the prior",
    )
    clones: int = Field(2, ge=1, le=10_000, description="independent students of each sample and start")

    @model_validator(mode="after")
    def _distinct(self) -> "Ensemble":
        _refuse_repeated("starts", self.starts)
        return self


Share = Annotated[
    float,
    Field(gt=0, lt=1e6, description="sweeps that it makes, in proportion to the other moves"),
]


class WeightMove(Section):
    """One weight at a time: J' = (J + step x) / sqrt(1 + step^2), x ~ N(0, 1); Ising: J' = -J."""

    kind: Literal["weight"]
    step: float = Field(0.5, gt=0, lt=1e6, description="delta, size of the step (Gaussian weights)")
    share: Share = 1.0


class BilliardMove(Section):
    """All weights of one perceptron at once, on a trajectory that is reflected by the patterns which must not
    flip (Gaussian weights)."""

    kind: Literal["billiard"]
    angle: float | None = Field(
        None,
        gt=0,
        lt=3.14,
        description="about how far the weights turn, in radians; left out: 3 c / M, as far as a solution "
        "reaches, and 0.9 at most",
    )
    share: Share = 1.0


Move = Annotated[WeightMove | BilliardMove, Field(discriminator="kind")]

PAPER: tuple[Move, ...] = (WeightMove(kind="weight"),)
"""The published dynamics."""

FAST: tuple[Move, ...] = (
    BilliardMove(kind="billiard", share=0.98),
    WeightMove(kind="weight", share=0.02),
)
"""What equilibrates fastest (benchmarks/moves.py); Gaussian weights only.  Single weights, now and then, free
a perceptron with a sign that only the rounding of its weights decides: the billiard leaves it alone."""

PRESETS = {"paper": PAPER, "fast": FAST}


def _as_moves(value: Any) -> Any:
    """A preset by its name; a list as a tuple."""
    if isinstance(value, str):
        if value not in PRESETS:
            raise ValueError(f"{value!r:.40}: allowed are {', '.join(PRESETS)} and a list of moves")
        return PRESETS[value]
    return _as_tuple(value)


def _ladder_kind(value: Any) -> Any:
    """A mapping chooses by its key `ladder`; anything else must be a list."""
    if isinstance(value, dict):
        return value.get("ladder")
    return getattr(value, "ladder", "list")


class GeometricLadder(Section):
    """Inverse temperatures in geometric progression."""

    ladder: Literal["geometric"]
    hot: float = Field(gt=0, lt=1e9, description="smallest beta")
    cold: float = Field(gt=0, lt=1e9, description="largest beta, finite")
    count: int = Field(ge=2, le=MAX_BETAS, description="number of betas")


class AdaptiveLadder(Section):
    """Inverse temperatures tuned in a burn-in to equal swap rejection between neighbours, then frozen."""

    ladder: Literal["adaptive"]
    hot: float = Field(ge=0, lt=1e9, description="smallest beta")
    cold: float = Field(math.inf, gt=0, description="largest beta, .inf allowed")
    count: int = Field(ge=2, le=MAX_BETAS, description="number of betas")
    burn_in: int = Field(256, ge=8, le=10**12, description="sweeps spent on tuning, before t = 0")


def spread_betas(hot: float, cold: float, count: int) -> tuple[float, ...]:
    """Inverse temperatures evenly spaced in beta / (1 + beta), which reaches from beta = 0 to infinity."""
    first, last = hot / (1 + hot), 1.0 if math.isinf(cold) else cold / (1 + cold)
    places = [first + (last - first) * step / (count - 1) for step in range(1, count - 1)]
    return (hot, *(place / (1 - place) for place in places), cold)


class Anneal(Section):
    """Simulated annealing: the temperature 1/beta falls linearly in time, then stays."""

    model_config = ConfigDict(populate_by_name=True)

    start: float = Field(alias="from", gt=0, lt=1e9, description="beta at t = 0")
    to: float = Field(math.inf, gt=0, description="beta from `sweeps` on, .inf allowed")
    sweeps: int = Field(ge=1, le=10**15, description="length of the cooling")

    def beta(self, time: int) -> float:
        """Inverse temperature of the sweep that begins at `time`."""
        if time >= self.sweeps:
            return self.to
        temperature = 1 / self.start + (1 / self.to - 1 / self.start) * time / self.sweeps
        return 1 / temperature


class Dynamics(Section):
    """Monte Carlo dynamics."""

    moves: Annotated[tuple[Move, ...], BeforeValidator(_as_moves)] = Field(
        FAST,
        min_length=1,
        max_length=8,
        description="the moves, which make the sweeps in turn; or `paper`: one weight at a time, as "
        "published; or `fast`: mostly a billiard (for Ising weights the default is `paper`)",
    )
    betas: Annotated[
        Annotated[tuple[float, ...], Tag("list")]
        | Annotated[GeometricLadder, Tag("geometric")]
        | Annotated[AdaptiveLadder, Tag("adaptive")],
        Discriminator(_ladder_kind),
        BeforeValidator(_as_tuple),
    ] = Field((math.inf,), description="inverse temperatures (.inf is greedy), or how to choose them")
    exchange_every: Annotated[int, Field(ge=1)] | None = Field(
        None, description="sweeps between swaps of neighbouring betas (parallel tempering); none: no swaps"
    )
    anneal: Anneal | None = Field(None, description="simulated annealing of a single beta")
    threads: int = Field(
        1,
        ge=1,
        le=MAX_THREADS,
        description="threads that share the work of one walker where one weight moves at a time (`moves: "
        "paper`), with the same results; more than 1 only for "
        f"network.width >= {LARGE_WIDTH} (Gaussian weights, fully connected, 65 to 128: "
        f"patterns.train >= {LARGE_TRAIN})",
    )

    @model_validator(mode="before")
    @classmethod
    def _beta_of_annealing(cls, tree: Any) -> Any:
        """An annealed run has one beta, the one that it ends at."""
        match tree:
            case {"anneal": {**anneal}} if "betas" not in tree:
                return tree | {"betas": [anneal.get("to", math.inf)]}
        return tree

    @model_validator(mode="after")
    def _ladder(self) -> "Dynamics":
        betas = self.ladder
        if not 1 <= len(betas) <= MAX_BETAS:
            raise ValueError(f"betas: {len(betas)} values are given: allowed are 1 to {MAX_BETAS}")
        for beta in betas:
            if not beta >= 0:
                raise ValueError(
                    f"betas: {beta} is not an inverse temperature: allowed are numbers >= 0 and .inf"
                )
        _refuse_repeated("betas", betas)
        ordered = sorted(betas) in (list(betas), list(betas[::-1]))
        if self.exchange_every is not None and not ordered:
            raise ValueError("betas: must ascend or descend, since neighbours in the list exchange")
        if isinstance(self.betas, (GeometricLadder, AdaptiveLadder)) and not self.betas.hot < self.betas.cold:
            raise ValueError(f"betas: hot = {self.betas.hot} must be less than cold = {self.betas.cold}")
        if isinstance(self.betas, AdaptiveLadder) and self.exchange_every is None:
            raise ValueError("betas: an adaptive ladder is tuned by exchange; give exchange_every")
        if self.anneal is not None and betas != (self.anneal.to,):
            raise ValueError("anneal: needs a single beta, equal to anneal.to; leave betas out")
        return self

    @property
    def ladder(self) -> tuple[float, ...]:
        """The inverse temperatures; before tuning, if they are to be tuned."""
        match self.betas:
            case GeometricLadder(hot=hot, cold=cold, count=count):
                ratio = (cold / hot) ** (1 / (count - 1))
                return (*(hot * ratio**step for step in range(count - 1)), cold)
            case AdaptiveLadder(hot=hot, cold=cold, count=count):
                return spread_betas(hot, cold, count)
        return self.betas

    @property
    def tempered(self) -> bool:
        """Whether replicas exchange temperatures."""
        return self.exchange_every is not None and len(self.ladder) > 1


class LogTimes(Section):
    """Measurements at t = 0 and at times that grow by a constant factor."""

    kind: Literal["log"]
    count: int = Field(
        40, ge=1, le=100_000, description="measurements after t = 0 (fewer where times coincide)"
    )


class LinearTimes(Section):
    """Measurements at t = 0 and every so many sweeps."""

    kind: Literal["linear"]
    every: int = Field(ge=1, description="sweeps between measurements")


class Schedule(Section):
    """How long, and when to measure."""

    sweeps: int = Field(ge=0, le=10**15, description="length of the run; one sweep = N c L proposals")
    measurements: LogTimes | LinearTimes = Field(LogTimes(kind="log"), discriminator="kind")
    waiting_times: int = Field(
        4, ge=0, le=1000, description="number of log-spaced waiting times of the autocorrelation (0: none)"
    )
    extended_from: Annotated[
        tuple[Annotated[int, Field(ge=0, le=10**15)], ...], BeforeValidator(_as_tuple)
    ] = Field(
        (),
        max_length=1000,
        description="lengths at which the run had ended before it was extended (`dsm resume --sweeps`); "
        "their measurement times are kept",
    )

    def extended(self, sweeps: int) -> "Schedule":
        """The same schedule, going on to `sweeps` after its present end."""
        return self.model_copy(update={"sweeps": sweeps, "extended_from": (*self.extended_from, self.sweeps)})

    @property
    def stages(self) -> tuple[int, ...]:
        """The lengths of the run, one after the other."""
        return (*self.extended_from, self.sweeps)

    @model_validator(mode="after")
    def _stages_ascend(self) -> "Schedule":
        if list(self.stages) != sorted(set(self.stages)):
            raise ValueError(
                f"extended_from = {list(self.extended_from)}: must ascend, up to sweeps = {self.sweeps}"
            )
        return self

    @model_validator(mode="after")
    def _not_too_many(self) -> "Schedule":
        if isinstance(self.measurements, LinearTimes):
            count = self.sweeps // self.measurements.every
            if count > MAX_MEASUREMENTS:
                raise ValueError(
                    f"measurements.every = {self.measurements.every} gives {count} measurements: "
                    f"at most {MAX_MEASUREMENTS} are allowed"
                )
        return self


class Output(Section):
    """The results file."""

    mode: Literal["auto", "mpio", "gather"] = Field(
        "auto",
        description="mpio: collective parallel HDF5; gather: through rank 0; auto: mpio where h5py has it",
    )
    checkpoint_every: Duration = Field(
        "10 min",
        validate_default=True,
        description="time between checkpoints, with its unit (ms, s, min, h, d)",
    )


class Config(Section):
    """One run: one parameter set."""

    name: str = Field("run", max_length=200, description="a title for tables and figures")
    seed: int = Field(1, ge=0, lt=2**63, description="everything random follows from it")
    network: Network
    patterns: Patterns
    ensemble: Ensemble = Ensemble()
    dynamics: Dynamics = Dynamics()
    schedule: Schedule
    output: Output = Output()

    @model_validator(mode="before")
    @classmethod
    def _moves_of_ising_weights(cls, tree: Any) -> Any:
        """What moves Ising weights where nothing is said."""
        match tree:
            case {"network": {"weights": "ising"}, "dynamics": {**dynamics}} if "moves" not in dynamics:
                return tree | {"dynamics": dynamics | {"moves": "paper"}}
            case {"network": {"weights": "ising"}} if "dynamics" not in tree:
                return tree | {"dynamics": {"moves": "paper"}}
        return tree

    @model_validator(mode="after")
    def _moves_fit_weights(self) -> "Config":
        kinds = {move.kind for move in self.dynamics.moves}
        if self.ising and "billiard" in kinds:
            raise ValueError(
                "dynamics.moves: a billiard moves Gaussian weights; with network.weights = ising give paper"
            )
        return self

    @model_validator(mode="after")
    def _countable(self) -> "Config":
        ensemble = self.ensemble
        walkers = ensemble.samples * len(ensemble.starts) * ensemble.clones * len(self.dynamics.ladder)
        pairs = walkers * (ensemble.clones - 1) // 2
        for count, name in (
            (walkers, "walkers (samples x starts x clones x betas)"),
            (pairs, "pairs of clones"),
        ):
            if count > MAX_WALKERS:
                raise ValueError(f"ensemble: {count} {name}: at most {MAX_WALKERS} are possible in one run")
        return self

    @model_validator(mode="after")
    def _threads_share_a_move(self) -> "Config":
        threads, moves = self.dynamics.threads, self.dynamics.moves
        alone = sum(move.share for move in moves if move.kind == "billiard")
        if threads > 1 and 2 * alone > sum(move.share for move in moves):
            raise ValueError(
                f"dynamics.threads = {threads}: a billiard runs on one thread, and makes most of the sweeps "
                "of dynamics.moves; threads share moves of kind weight: give moves: paper, or threads: 1"
            )
        return self

    @model_validator(mode="after")
    def _large_enough_for_threads(self) -> "Config":
        threads, network, train = self.dynamics.threads, self.network, self.patterns.train
        width, signs = network.width, network.width * network.depth * train
        dense = not self.ising and 64 < width <= 128 and network.inputs == width
        wide = width >= LARGE_WIDTH and network.inputs >= LARGE_FAN_IN
        large = wide or (dense and train >= LARGE_TRAIN)
        if threads > 1 and not (large and signs >= LARGE_STATE):
            raise ValueError(
                f"dynamics.threads = {threads} with network.width = {width} and patterns.train = {train}: "
                f"allowed is 1; more are faster only from width = {LARGE_WIDTH}, fan_in = {LARGE_FAN_IN} on "
                f"(Gaussian weights, fully connected with width 65 to 128: from train = {LARGE_TRAIN} on), "
                f"width x depth x train >= {LARGE_STATE}"
            )
        return self

    @property
    def ising(self) -> bool:
        return self.network.weights == "ising"

    def with_betas(self, betas: tuple[float, ...]) -> "Config":
        """The same run at given inverse temperatures."""
        return self.model_copy(update={"dynamics": self.dynamics.model_copy(update={"betas": betas})})

    def extended(self, sweeps: int) -> "Config":
        """The same run, going on to `sweeps`."""
        return self.model_copy(update={"schedule": self.schedule.extended(sweeps)})

    def as_yaml(self) -> str:
        """The resolved configuration as YAML text."""
        return yaml.safe_dump(_plain(self.model_dump(by_alias=True)), sort_keys=False)


def _plain(tree: Any) -> Any:
    """Tuples as lists, for YAML."""
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items()}
    return [_plain(value) for value in tree] if isinstance(tree, tuple) else tree

"""The configuration of a hidden-manifold run: validated and immutable (PHYSICS section 4)."""

import math
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from dsm_hpc.config import Section
from dsm_hpc.errors import InputError
from dsm_hpc.manifold.folding import quadrature
from dsm_hpc.manifold.grid import MAX_DIMENSION
from dsm_hpc.manifold.integrals import INTEGRABLE
from dsm_hpc.manifold.system import Activation, Scenario

MAX_MEASUREMENTS = 100_000
MAX_STEPS = 10**13


def _as_tuple(value: Any) -> Any:
    """YAML lists become tuples (immutable); anything else is left to be refused."""
    return tuple(value) if isinstance(value, list) else value


def _known_function(f: str) -> str:
    """A folding function whose moments exist."""
    try:
        quadrature(f)
    except InputError as error:
        raise ValueError(str(error)) from None
    return f


Function = Annotated[str, Field(max_length=40)]
Rate = Annotated[float, Field(gt=0, lt=1e3)]
Width = Annotated[int, Field(ge=1, le=1_000_000)]
Dimension = Annotated[int, Field(ge=1, le=MAX_DIMENSION)]


class Data(Section):
    """The law of inputs and labels."""

    scenario: Scenario = Field(
        "latent_teacher",
        description="latent_teacher: labels from C; input_teacher: labels from x; iid: Gaussian x, labels "
        "from x; gaussian_equivalent: Gaussian x with the moments of f(u), labels from C",
    )
    f: Function = Field(
        "sgn", description="x = f(FC/sqrt(D)): sgn, erf, relu, linear, or a ufunc of numpy or scipy.special"
    )
    width: Width = Field(description="N, inputs")
    dimension: Dimension = Field(description="D, dimension of the manifold (unused by iid)")

    @model_validator(mode="after")
    def _folds(self) -> "Data":
        _known_function(self.f)
        return self


class Networks(Section):
    """Teacher and students: two layers, the same activation."""

    g: Activation = Field("erf", description="activation: erf(x / sqrt 2), linear, relu")
    teacher: int = Field(2, ge=1, le=1_000, description="M, hidden units of the teacher (second layer 1)")
    student: int = Field(2, ge=1, le=1_000, description="K, hidden units of a student")
    first_layer: float = Field(1.0, ge=0, lt=1e6, description="standard deviation of w at t = 0")
    second_layer: Annotated[float, Field(ge=0, lt=1e6)] | None = Field(
        None, description="standard deviation of v at t = 0; none: v = 1"
    )


class Learning(Section):
    """One-pass SGD."""

    rates: Annotated[tuple[Rate, ...], BeforeValidator(_as_tuple)] = Field(
        (0.2,), min_length=1, max_length=1_000, description="eta, learning rates, each a run of its own"
    )
    both_layers: bool = Field(False, description="whether the second layer learns, too, with the same eta")
    repetitions: int = Field(1, ge=1, le=100_000, description="independent manifolds, teachers and students")

    @model_validator(mode="after")
    def _distinct(self) -> "Learning":
        if len(set(self.rates)) < len(self.rates):
            raise ValueError("rates: a value is given twice")
        return self


class LogTimes(Section):
    """Measurements at t = 0 and at times that grow by a constant factor."""

    kind: Literal["log"]
    first: float = Field(0.01, gt=0, lt=1e9, description="first time after 0")
    count: int = Field(40, ge=1, le=MAX_MEASUREMENTS, description="measurements after t = 0")


class LinearTimes(Section):
    """Measurements at t = 0 and at equal distances."""

    kind: Literal["linear"]
    every: float = Field(gt=0, lt=1e9, description="time between measurements")


class Schedule(Section):
    """How long, and when to measure; t = steps / N."""

    t_max: float = Field(ge=0, lt=1e9, description="length of a run")
    measurements: LogTimes | LinearTimes = Field(LogTimes(kind="log"), discriminator="kind")
    test_inputs: int = Field(
        10_000, ge=0, le=10**9, description="inputs of each measured test error (0: formula only)"
    )

    @model_validator(mode="after")
    def _countable(self) -> "Schedule":
        kind = self.measurements
        if isinstance(kind, LinearTimes) and self.t_max / kind.every > MAX_MEASUREMENTS:
            raise ValueError(
                f"measurements.every = {kind.every} is too short for t_max = {self.t_max}: "
                f"at most {MAX_MEASUREMENTS} measurements are possible"
            )
        return self

    def steps(self, width: int) -> NDArray[np.int64]:
        """Step counts of the measurements: 0, then ascending, the last one the end of the run."""
        times: NDArray[np.floating]
        match self.measurements:
            case LogTimes(first=first, count=count):
                times = np.geomspace(min(first, self.t_max or first), self.t_max or first, count)
            case LinearTimes(every=every):
                times = np.arange(1, math.floor(self.t_max / every) + 1) * every
        steps = np.rint(np.append(times, self.t_max) * width).astype(np.int64)
        return np.unique(np.append(steps[steps <= round(self.t_max * width)], 0))


class Ode(Section):
    """The equations of motion."""

    start: Literal["run", "limit"] = Field(
        "run",
        description="run: eigenvalues, projections and weights of each simulated run at t = 0; "
        "limit: Marchenko-Pastur spectrum at delta = D / N, students that do not know the manifold",
    )
    overlap: float = Field(
        0.01, ge=0, lt=1, description="limit only: R_kk at t = 0 that lets students choose a teacher's unit"
    )
    rtol: float = Field(1e-6, ge=1e-12, le=1e-2, description="relative tolerance of a step")


class Gep(Section):
    """The check of the Gaussian equivalence."""

    functions: Annotated[tuple[Function, ...], BeforeValidator(_as_tuple)] = Field(
        ("sgn", "erf", "relu"), min_length=1, max_length=20, description="folding functions f"
    )
    widths: Annotated[tuple[Width, ...], BeforeValidator(_as_tuple)] = Field(
        (100, 300, 1000, 3000), min_length=1, max_length=20, description="N, each at the D / N of `data`"
    )
    inputs: int = Field(100_000, ge=1_000, le=10**9, description="fresh inputs of each measurement")
    trained_until: float = Field(10.0, gt=0, lt=1e6, description="t of the trained students")

    @model_validator(mode="after")
    def _fold(self) -> "Gep":
        for f in self.functions:
            _known_function(f)
        return self


class ManifoldConfig(Section):
    """One run of the hidden manifold model."""

    name: str = Field("manifold", max_length=200, description="a title for tables and figures")
    seed: int = Field(1, ge=0, lt=2**63, description="everything random follows from it")
    data: Data
    networks: Networks = Networks()
    learning: Learning = Learning()
    schedule: Schedule
    ode: Ode | None = Field(Ode(), description="the equations beside the simulation; none: simulation only")
    gep: Gep = Gep()

    @model_validator(mode="before")
    @classmethod
    def _no_equations_of_relu(cls, tree: Any) -> Any:
        """ReLU has no equations: they are left out unless asked for."""
        match tree:
            case {"networks": {"g": "relu"}} if "ode" not in tree:
                return tree | {"ode": None}
        return tree

    @model_validator(mode="after")
    def _possible(self) -> "ManifoldConfig":
        if self.schedule.t_max * self.data.width > MAX_STEPS:
            raise ValueError(f"schedule.t_max: t_max N steps are more than {MAX_STEPS:.0e}")
        if self.ode is not None and self.networks.g not in INTEGRABLE:
            raise ValueError(
                f"ode: networks.g = {self.networks.g} has no equations of motion: "
                f"allowed are {', '.join(INTEGRABLE)}, or leave ode out"
            )
        if self.ode is not None and self.ode.start == "limit" and self.data.scenario not in LATENT:
            raise ValueError(f"ode.start = limit: allowed with data.scenario = {', '.join(LATENT)}")
        return self


LATENT = ("latent_teacher", "gaussian_equivalent")
"""Scenarios whose teacher reads the latent coordinates."""

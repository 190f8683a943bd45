"""What a configuration says, carried out: the system, student and equations of one run, and its record.

Whoever calls keys the random streams; `Streams` says what for.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.manifold.config import ManifoldConfig, Ode
from dsm_hpc.manifold.equivalence import Equivalence, measure
from dsm_hpc.manifold.folding import coefficients
from dsm_hpc.manifold.modes import Modes, limit_modes, modes_of
from dsm_hpc.manifold.moments import generalisation_error
from dsm_hpc.manifold.ode import Trajectory, solve
from dsm_hpc.manifold.online import MeasuredError, OnlineRun, measured_error
from dsm_hpc.manifold.system import System, draw_student, draw_system

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Streams:
    """Random streams of one run.  All may be the same for each eta: then runs differ in nothing else.

    manifold, teacher, student : of F, of B, of w and v at t = 0; inputs : of the training inputs.
    """

    manifold: np.random.Generator
    teacher: np.random.Generator
    student: np.random.Generator
    inputs: np.random.BitGenerator


def prepare(config: ManifoldConfig, rate: float, streams: Streams) -> OnlineRun:
    """A run at t = 0."""
    data, networks = config.data, config.networks
    system = draw_system(
        data.scenario,
        data.f,
        networks.g,
        data.width,
        data.dimension,
        networks.teacher,
        streams.manifold,
        streams.teacher,
    )
    w, v = draw_student(
        streams.student, networks.student, data.width, networks.first_layer, networks.second_layer
    )
    return OnlineRun(system, w, v, rate, config.learning.both_layers, streams.inputs)


def initial_modes(config: ManifoldConfig, run: OnlineRun) -> Modes:
    """The start of the equations, as `ode.start` asks; run : at t = 0."""
    ode = config.ode or Ode()
    if ode.start == "run":
        return modes_of(run.system, run.w, run.v)
    K, M = len(run.v), len(run.system.A)
    return limit_modes(
        config.data.dimension / config.data.width,
        coefficients(config.data.f),
        W=config.networks.first_layer**2 * np.eye(K),
        overlap=ode.overlap * np.eye(K, M),
        T=np.eye(M),
        v=run.v,
        A=run.system.A,
    )


def equations(config: ManifoldConfig, run: OnlineRun) -> Trajectory:
    """The equations of motion from a run at t = 0, at its measurement times."""
    width = config.data.width
    return solve(
        initial_modes(config, run),
        config.networks.g,
        run.eta,
        config.learning.both_layers,
        config.schedule.steps(width) / width,
        (config.ode or Ode()).rtol,
    )


def check_equivalence(
    config: ManifoldConfig, f: str, width: int, streams: Streams, fresh: np.random.Generator
) -> tuple[Equivalence, Equivalence]:
    """The Gaussian equivalence at one f and N of `gep`, with the D / N of `data`: for a student drawn
    independently of F, and for the same one trained until `gep.trained_until` at the first learning rate.

    fresh : the stream of the inputs of the measurement.
    """
    ratio = config.data.dimension / config.data.width
    size = {"f": f, "width": width, "dimension": max(1, round(ratio * width))}
    resized = config.model_copy(update={"data": config.data.model_copy(update=size)})
    run = prepare(resized, config.learning.rates[0], streams)
    independent = measure(run.system, run.w, config.gep.inputs, fresh, "independent")
    run.advance(round(config.gep.trained_until * width))
    return independent, measure(run.system, run.w, config.gep.inputs, fresh, "trained")


@dataclass
class Record:
    """What was measured of one run, in lists over its measurements (PHYSICS section 4 for the symbols).

    error : eps_g from the order parameters; test : the same on fresh inputs (None: not asked for).
    """

    system: System
    times: list[float] = field(default_factory=list)
    error: list[float] = field(default_factory=list)
    test: list[MeasuredError | None] = field(default_factory=list)
    Q: list[Array] = field(default_factory=list)
    R: list[Array] = field(default_factory=list)
    T: list[Array] = field(default_factory=list)
    W: list[Array] = field(default_factory=list)
    Sigma: list[Array] = field(default_factory=list)
    v: list[Array] = field(default_factory=list)

    def measure(self, run: OnlineRun, test_inputs: int, random: np.random.Generator) -> None:
        """Adds the present state of the run; random : the stream of this measurement's test inputs."""
        moments = self.system.moments(run.w)
        self.times.append(run.steps / self.system.width)
        self.error.append(generalisation_error(self.system.g, moments.joint, run.v, self.system.A))
        self.test.append(
            measured_error(self.system, run.w, run.v, test_inputs, random) if test_inputs else None
        )
        for name in ("Q", "R", "T", "W", "Sigma"):
            getattr(self, name).append(getattr(moments, name))
        self.v.append(run.v.copy())

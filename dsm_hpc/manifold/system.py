"""One system: the manifold, the teacher on it, and the law of the inputs (PHYSICS section 4)."""

from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dsm_hpc.manifold.folding import ISOTROPIC, Coefficients, coefficients
from dsm_hpc.manifold.grid import GRID, on_grid, panels_of
from dsm_hpc.manifold.moments import Moments, generalisation_error

Array = NDArray[np.float64]

Scenario = Literal["latent_teacher", "input_teacher", "iid", "gaussian_equivalent"]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)
Activation = Literal["erf", "linear", "relu"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)


@dataclass(frozen=True)
class System:
    """What stays fixed while students learn.

    scenario : `latent_teacher`       x = f(u) - a, nu = B C / sqrt(D);
               `input_teacher`        x = f(u) - a, nu = B x / sqrt(N);
               `gaussian_equivalent`  x = b u + sqrt(z) xi, xi ~ N(0, 1), nu = B C / sqrt(D);
               `iid`                  x ~ N(0, 1), nu = B x / sqrt(N);    with u = F C / sqrt(D).
    f, g : names of the folding function and of the activation.
    width : N.
    integers : F * GRID, int16 (N, D); D = 0 for `iid`.
    B, A : the teacher's first layer, (M, D) or, where it reads inputs, (M, N), and its second layer, (M,).

    Inputs are centred: otherwise <lambda> != 0 and the formulas for (Q, R, T) do not hold.
    """

    scenario: Scenario
    f: str
    g: Activation
    width: int
    integers: NDArray[np.int16]
    B: Array
    A: Array

    @property
    def dimension(self) -> int:
        """D; 0 without a manifold."""
        return int(self.integers.shape[1])

    @property
    def reads_inputs(self) -> bool:
        """Whether the teacher acts on x and not on C."""
        return self.scenario in ("input_teacher", "iid")

    @property
    def features(self) -> Array:
        """F, (N, D)."""
        return self.integers / GRID

    @cached_property
    def coefficients(self) -> Coefficients:
        return ISOTROPIC if self.scenario == "iid" else coefficients(self.f)

    @cached_property
    def panels(self) -> NDArray[np.int16]:
        """F as the product kernel reads it."""
        return panels_of(self.integers)

    def projected(self, w: Array) -> Array:
        """S = w F / sqrt(N), (K, D)."""
        return w @ self.features / sqrt(self.width)

    def moments(self, w: Array) -> Moments:
        """Order parameters of students w (K, N), by the Gaussian equivalence (HMM eqs. for Q and R):

        Q = z W + b^2 Sigma; R = (b / D) S B^T for a latent teacher.  A teacher on the inputs is one more
        network like the students: R and T have the form of Q.
        """
        a, N, D = self.coefficients, self.width, max(self.dimension, 1)
        S, W = self.projected(w), w @ w.T / N
        Sigma = S @ S.T / D
        Q = a.z * W + a.b**2 * Sigma
        if self.reads_inputs:
            P = self.projected(self.B)
            R = a.z * w @ self.B.T / N + a.b**2 * S @ P.T / D
            T = a.z * self.B @ self.B.T / N + a.b**2 * P @ P.T / D
        else:
            R, T = a.b * S @ self.B.T / D, self.B @ self.B.T / D
        return Moments(Q, R, T, W, Sigma if self.dimension else np.full_like(Q, np.nan))

    def closed_error(self, w: Array, v: Array) -> float:
        """eps_g of a student from its order parameters."""
        return generalisation_error(self.g, self.moments(w).joint, v, self.A)


def draw_system(
    scenario: Scenario,
    f: str,
    g: Activation,
    width: int,
    dimension: int,
    teachers: int,
    manifold: np.random.Generator,
    teacher: np.random.Generator,
) -> System:
    """F and B from N(0, 1), A = 1.

    manifold, teacher : the streams of F and of B.
    """
    integers = np.zeros((width, 0), np.int16) if scenario == "iid" else on_grid(manifold, (width, dimension))
    reads_inputs = scenario in ("input_teacher", "iid")
    B = teacher.standard_normal((teachers, width if reads_inputs else dimension))
    return System(scenario, f, g, width, integers, B, np.ones(teachers))


def draw_student(
    random: np.random.Generator, units: int, width: int, first_layer: float, second_layer: float | None
) -> tuple[Array, Array]:
    """Initial weights: w (K, N) from N(0, first_layer^2); v (K,) from N(0, second_layer^2), or 1 if None."""
    w = first_layer * random.standard_normal((units, width))
    v = np.ones(units) if second_layer is None else second_layer * random.standard_normal(units)
    return w, v

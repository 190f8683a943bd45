"""The function f that folds the manifold, x = f(u), and its moments (PHYSICS section 4, «Coefficients»)."""

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
import scipy.special
from numpy.typing import NDArray

from dsm_hpc.errors import InputError

_HALF_WIDTH, _PANELS, _NODES = 12.0, 480, 8


@dataclass(frozen=True)
class Coefficients:
    """a = <f(u)>, b = <u f(u)>, c = <f(u)^2> over u ~ N(0, 1); z = c - a^2 - b^2 is the weight of what is not
    linear in u."""

    a: float
    b: float
    c: float

    @property
    def z(self) -> float:
        return max(self.c - self.a**2 - self.b**2, 0.0)

    @property
    def variance(self) -> float:
        """c - a^2, the variance of one input."""
        return self.c - self.a**2


ISOTROPIC = Coefficients(0.0, 0.0, 1.0)
"""Of independent N(0, 1) inputs: nothing comes from a manifold."""

CLOSED = {
    "sgn": Coefficients(0.0, sqrt(2 / pi), 1.0),
    "erf": Coefficients(0.0, 1 / sqrt(pi), 1 / 3),
    "relu": Coefficients(1 / sqrt(2 * pi), 0.5, 0.5),
    "linear": Coefficients(0.0, 1.0, 1.0),
}
"""sgn(u), erf(u / sqrt 2), max(u, 0), u."""


def coefficients(f: str) -> Coefficients:
    """Moments of f: closed where known, else by quadrature.

    Gauss-Legendre on panels of 0.05 out to 12 standard deviations: unlike Gauss-Hermite it stays exact for
    functions with a kink or jump on a panel's edge (0 is one).
    """
    return CLOSED[f] if f in CLOSED else quadrature(f)


def quadrature(f: str) -> Coefficients:
    """Moments of any f by quadrature; InputError where they do not exist."""
    moments, finer = _moments(f, _PANELS), _moments(f, 2 * _PANELS)
    if not np.allclose(moments, finer, rtol=1e-3, atol=1e-3):
        raise InputError(f"f = {f}: its moments do not converge: allowed are functions without poles")
    return Coefficients(*finer)


def _moments(f: str, panels: int) -> tuple[float, ...]:
    """<f>, <u f>, <f^2>."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    half = _HALF_WIDTH / panels
    centres = np.linspace(-_HALF_WIDTH + half, _HALF_WIDTH - half, panels)
    u = (centres[:, None] + half * nodes).ravel()
    measure = np.tile(half * weights, panels) * np.exp(-(u**2) / 2) / sqrt(2 * pi)
    values = fold(f, u)
    if not np.isfinite(values).all():
        raise InputError(f"f = {f}: is not finite for some u: allowed are functions of all reals")
    with np.errstate(over="ignore", invalid="ignore"):
        return tuple(float(measure @ moment) for moment in (values, u * values, values**2))


def fold(f: str, u: NDArray[np.floating]) -> NDArray[np.floating]:
    """f(u), element by element; sgn(0) = +1."""
    match f:
        case "sgn":
            return np.where(u >= 0, u.dtype.type(1), u.dtype.type(-1))
        case "erf":
            return np.asarray(scipy.special.erf(u * u.dtype.type(sqrt(0.5))), dtype=u.dtype)
        case "relu":
            return np.asarray(np.maximum(u, 0), dtype=u.dtype)
        case "linear":
            return u
    with np.errstate(all="ignore"):  # what is not finite is refused by `quadrature`
        return np.asarray(named_ufunc(f)(u), dtype=u.dtype)


def named_ufunc(f: str) -> np.ufunc:
    """The function of one variable that NumPy or scipy.special knows by this name."""
    found = getattr(np, f, None) if f.isidentifier() else None
    if not isinstance(found, np.ufunc):
        found = getattr(scipy.special, f, None) if f.isidentifier() else None
    if not isinstance(found, np.ufunc) or (found.nin, found.nout) != (1, 1):
        raise InputError(
            f"f = {f}: is not known: allowed are {', '.join(CLOSED)}, "
            "or a function of one variable of numpy or scipy.special (tanh, sin, expit, ...)"
        )
    return found

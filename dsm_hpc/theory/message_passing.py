"""Approximate message passing on one sample: the posterior of weights and hidden spins, given the data.

The posterior is the teacher's (Bayes-optimal): prior of the weights, times one factor for every perceptron
and pattern, Theta(S h) with h = sum_k J_k S_k / sqrt(c), where weights J and hidden spins S are unknown.
Messages are Gaussian in J and in h, and magnetisations of S; a message differs from the marginal by what one
factor has said in the iteration before, and is expanded around it (Onsager terms).  State evolution for
N >> c >> 1 is the closure `cavity` (PHYSICS section 2).  Equation numbers: docs/message_passing.md.
"""

from dataclasses import dataclass
from math import inf, log, pi, sqrt
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import expit, log_ndtr

from dsm_hpc.errors import InputError
from dsm_hpc.kernels import unpack
from dsm_hpc.machine.sample import Sample
from dsm_hpc.machine.wiring import draw_weights

Array = NDArray[np.float64]
Start = Literal["informed", "uninformed"]

FIRST_OVERLAP: dict[str, float] = {"informed": 0.95, "uninformed": 0.01}
"""Of the first messages with the machine that they describe (the teacher, or one drawn at random): those
of a Gaussian channel of strength q / (1 - q), where q is the overlap of Gaussian weights."""

SMALLEST_VARIANCE = 0.5
"""Of c V: below that of half a weight an expansion in single weights means nothing.  Reached only where Ising
weights are nearly certain."""

DAMPING: dict[str, float] = {"informed": 0.0, "uninformed": 0.3}
"""By default: state evolution is that of undamped messages, which an uninformed start does not survive."""

CACHED = 1 << 16
"""Numbers gathered at a time, 512 KiB: they stay in the second-level cache between gather and products."""


@dataclass(frozen=True)
class Solution:
    """Marginals of one sample, and how they were reached.

    mean, variance : (L, N, c) of the weights, on the sphere sum_k <J_k^2> = c.
    magnetisation : (L + 1, N, M) of the spins over the training set; +-1 at the input and the output.
    changes : (L, N), root-mean-square change of each perceptron's means in the last iteration.
    residual : the largest root-mean-square change of a layer's means or magnetisations in it;
        converged : whether that is below the tolerance.
    """

    mean: Array
    variance: Array
    magnetisation: Array
    changes: Array
    residual: float
    converged: bool
    iterations: int


def solve(
    sample: Sample,
    start: Start = "informed",
    *,
    damping: float | None = None,
    tolerance: float = 1e-3,
    iterations: int = 60,
    random: np.random.Generator | None = None,
) -> Solution:
    """Iterates the messages of all layers in parallel until they change by less than `tolerance`.

    damping : weight of a perceptron's old response in the new one, 0 <= damping < 1; None: see DAMPING.
    random : noise of the first messages; a fixed stream by default.
    """
    damping = DAMPING.get(start, 0.0) if damping is None else damping
    for name, given, fits, allowed in (
        ("start", start, start in get_args(Start), "informed, uninformed"),
        ("damping", damping, 0 <= damping < 1, "0 <= damping < 1"),
        ("tolerance", tolerance, tolerance > 0, "tolerance > 0"),
        ("iterations", iterations, iterations >= 1, "iterations >= 1"),
    ):
        if not fits:
            raise InputError(f"message passing: {name} = {given}: allowed are {allowed}")
    state = State(sample, start, np.random.default_rng(0) if random is None else random)
    done = 0
    with np.errstate(over="ignore", invalid="ignore"):
        while state.residual >= tolerance and done < iterations:
            state.iterate(damping)
            done += 1
    if not np.isfinite(state.residual):
        raise InputError(
            f"message passing: {start} start, damping = {damping}: the messages diverged within {done} "
            f"iterations; more damping may help"
        )
    return state.solution(state.residual < tolerance, done)


# -------------------------------------------------------------------------------------------- one perceptron


class Channel(NamedTuple):
    """What the factors of a pre-activation say, each (N, M).

    log_odds : ln P(S = 1) / P(S = -1) of the perceptron's own spin, without the field on it.
    response : g = d ln Z / d omega; slope : dg / d omega.
    """

    log_odds: Array
    response: Array
    slope: Array


def channel(omega: Array, variance: Array, field: Array) -> Channel:
    """Pre-activation h ~ N(omega, V), sign S in a field b: Z = sum_S Phi(S t) e^(S b).  Eqs. (3), (4).

    t = omega / sqrt(V); field = +-inf where the sign is known.  g = sum_S P(S) S phi(t) / (sqrt(V) Phi(S t))
    in logarithms: nothing overflows for |t| or |b| large.
    """
    scale = 1 / np.sqrt(variance)
    t = omega * scale
    log_up, log_down = log_ndtr(t), log_ndtr(-t)
    log_odds = log_up - log_down
    up = expit(2 * field + log_odds)
    log_density = -0.5 * t * t - 0.5 * log(2 * pi)
    response = scale * (up * np.exp(log_density - log_up) - (1 - up) * np.exp(log_density - log_down))
    return Channel(log_odds, response, -response * (t * scale + response))


def weight_marginal(precision: Array, force: Array, ising: bool) -> tuple[Array, Array]:
    """Mean and variance (N, c) of weights with prior times exp(B J - A J^2 / 2).  Eq. (7).

    Gaussian weights are taken on the sphere sum_k <J_k^2> = c (their norm matters to no sign): the prior's
    precision 1 becomes the multiplier z of each perceptron, and only differences within a perceptron of A
    matter.
    """
    if ising:
        mean = np.tanh(force)
        return mean, 1 - mean * mean
    variance = 1 / (precision + multiplier(precision, force))
    return force * variance, variance


def multiplier(precision: Array, force: Array) -> Array:
    """z (N, 1) with sum_k [1 / (z + A_k) + B_k^2 / (z + A_k)^2] = c, by Newton's method.

    The sum falls and is convex right of -min A: from a point where it is at least c the steps go up to z and
    never beyond.
    """
    fan_in = precision.shape[1]
    z: Array = 1 / fan_in - precision.min(axis=1, keepdims=True)
    for _ in range(100):
        variance = 1 / (precision + z)
        square = (force * variance) ** 2
        excess = (variance + square).sum(axis=1, keepdims=True) - fan_in
        step = excess / (variance * (variance + 2 * square)).sum(axis=1, keepdims=True)
        z += step
        if (np.abs(step) <= 1e-10 * (1 + np.abs(z))).all():
            break
    return z


# -------------------------------------------------------------------------------------------- layers of both


@dataclass
class Spins:
    """Spins of one layer, (N, M): magnetisations now and one iteration ago, and the field b from above."""

    now: Array
    before: Array
    field: Array

    def move(self, field: Array, log_odds: Array) -> float:
        """s = tanh(b + log odds / 2), Eq. (3); returns the root-mean-square change."""
        self.before, self.now, self.field = self.now, np.tanh(field + log_odds / 2), field
        return rms(self.now - self.before)


@dataclass
class Layer:
    """Perceptrons of one layer.

    wiring : (N, c); mean, variance : (N, c) of the weights; before : their means one iteration ago.
    response, slope : (N, M), g and dg / d omega of the last iteration; changes : (N,), see Solution.

    Bound: memory traffic.  An iteration makes the N c M products about ten times: seven as sparse times
    dense matrices, whose rows of M numbers come from cache, and in `_over_patterns` three, after a gather of
    N c M numbers.  Only arrays (N, M) and (N, c) are ever stored.  A compiled kernel could make all products
    of a pair (i, k) in one pass over the patterns.
    """

    wiring: NDArray[np.int32]
    ising: bool
    mean: Array
    variance: Array
    before: Array
    response: Array
    slope: Array
    changes: Array

    def iterate(self, below: Spins, field: Array, damping: float) -> tuple[Array, Array]:
        """One iteration of the layer's messages; returns its spins' log odds and the field on those below."""
        omega, variance = self._preactivations(below)
        said = channel(omega, variance, field)
        earlier = self.response
        self.response = damping * earlier + (1 - damping) * said.response
        self.slope = damping * self.slope + (1 - damping) * said.slope
        field_below = self._field_below(below, earlier)
        precision, force = self._on_weights(below, earlier)
        mean, self.variance = weight_marginal(precision, force, self.ising)
        self.changes = np.sqrt(((mean - self.mean) ** 2).mean(axis=1))
        self.before, self.mean = self.mean, mean
        return said.log_odds, field_below

    def _preactivations(self, below: Spins) -> tuple[Array, Array]:
        """omega and V, (N, M).  Eqs. (1), (2)."""
        fan_in = self.wiring.shape[1]
        square, past = self.mean**2, self.mean * self.before
        certain = below.now**2
        variance = _row_sums(self.variance + square) - self._matrix(square) @ certain
        own = self._matrix(self.variance) @ (below.before * below.now)
        own += _row_sums(past) - self._matrix(past) @ certain
        omega = self._matrix(self.mean) @ below.now / sqrt(fan_in) - self.response * own / fan_in
        return omega, np.maximum(variance, SMALLEST_VARIANCE) / fan_in

    def _on_weights(self, below: Spins, earlier: Array) -> tuple[Array, Array]:
        """Precision A and force B on every weight, (N, c).  Eqs. (5), (6)."""
        fan_in = self.wiring.shape[1]
        g, past = self.response, self.response * earlier
        force = self._over_patterns(below.now, g[..., None])[..., 0]
        sums = self._over_patterns(below.now**2, np.stack([g * g, past, self.slope], axis=-1))
        own = self.before * (_row_sums(past) - sums[..., 1]) + self.mean * sums[..., 2]
        return sums[..., 0] / fan_in, force / sqrt(fan_in) - own / fan_in

    def _field_below(self, below: Spins, earlier: Array) -> Array:
        """Field b of these perceptrons on the spins that they read, (N, M).  Eq. (8)."""
        fan_in = self.wiring.shape[1]
        own = below.before * (self._matrix(self.variance).T @ (self.response * earlier))
        own += below.now * (self._matrix(self.mean**2).T @ self.slope)
        field: Array = self._matrix(self.mean).T @ self.response / sqrt(fan_in) - own / fan_in
        return field

    def _matrix(self, values: Array) -> Any:
        """The (N, c) values as a sparse N x N matrix: row i has value k in column in(i, k)."""
        width, fan_in = self.wiring.shape
        first = np.arange(0, width * fan_in + 1, fan_in)
        return csr_array((values.ravel(), self.wiring.ravel(), first), (width, width))

    def _over_patterns(self, below: Array, own: Array) -> Array:
        """sum_mu below[in(i, k), mu] own[i, mu, :], (N, c, ...)."""
        width, fan_in = self.wiring.shape
        out = np.empty((width, fan_in, own.shape[2]))
        rows = max(1, CACHED // (fan_in * own.shape[1]))
        for first in range(0, width, rows):
            part = slice(first, first + rows)
            np.matmul(below[self.wiring[part]], own[part], out=out[part])
        return out


class State:
    """All messages of one sample."""

    def __init__(self, sample: Sample, start: Start, random: np.random.Generator) -> None:
        """First messages: what a Gaussian channel says of a machine, the teacher or one drawn at random."""
        patterns, ising = sample.config.patterns.train, sample.config.ising
        signs = np.swapaxes(unpack(sample.teacher.train, patterns), 1, 2).astype(np.float64)
        weights = sample.teacher.weights
        strength = FIRST_OVERLAP[start] / (1 - FIRST_OVERLAP[start])
        self.spins = [Spins(known, known, known * inf) for known in signs]
        if start == "uninformed":
            weights = draw_weights(random, weights.shape, ising)
            signs[1:-1] = random.choice([-1.0, 1.0], signs[1:-1].shape)
        for layer in range(1, len(weights)):
            field = through_noise(signs[layer], strength, random)
            self.spins[layer] = Spins(np.tanh(field), np.tanh(field), field)
        self.layers = []
        for wiring, values in zip(sample.wiring, weights, strict=True):
            force = through_noise(values, strength, random)
            mean, variance = weight_marginal(np.full(force.shape, strength), force, ising)
            silent = np.zeros(signs[0].shape)
            self.layers.append(Layer(wiring, ising, mean, variance, mean, silent, silent, silent[:, 0]))
        self.residual = inf

    def iterate(self, damping: float) -> None:
        """All layers at once, from the spins as they are; then the hidden spins."""
        said = [
            layer.iterate(below, above.field, damping)
            for layer, below, above in zip(self.layers, self.spins[:-1], self.spins[1:], strict=True)
        ]
        moved = [
            spins.move(field, log_odds)
            for spins, (log_odds, _), (_, field) in zip(self.spins[1:-1], said[:-1], said[1:], strict=True)
        ]
        self.residual = max([rms(layer.changes) for layer in self.layers] + moved)

    def solution(self, converged: bool, iterations: int) -> Solution:
        """The marginals as they stand."""
        return Solution(
            np.stack([layer.mean for layer in self.layers]),
            np.stack([layer.variance for layer in self.layers]),
            np.stack([spins.now for spins in self.spins]),
            np.stack([layer.changes for layer in self.layers]),
            self.residual,
            converged,
            iterations,
        )


def through_noise(values: Array, strength: float, random: np.random.Generator) -> Array:
    """Force of a Gaussian channel on these values: x J + sqrt(x) z."""
    return strength * values + sqrt(strength) * random.standard_normal(values.shape)


def rms(values: Array) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(values**2)))


def _row_sums(values: Array) -> Array:
    return np.asarray(values.sum(axis=1, keepdims=True))

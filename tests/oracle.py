"""A slow, pure NumPy machine, written from PHYSICS section 1 and the documented order of random draws.

Nothing is kept between proposals but weights and energy: every proposal recomputes all layers and patterns.
Signs are int64 +-1 arrays of shape (M, N), weights are rint(J 2**bits) as int64.
"""

from math import inf

import numpy as np

BLOCK = 1024
"""Proposals of a sweep whose random numbers are drawn together."""


def grid_bits(fan_in, ising):
    """bits = min(20, 30 - ceil(log2 c)); Ising weights are the integers +-1."""
    return 0 if ising else min(20, 30 - (fan_in - 1).bit_length())


def integers_of(weights, ising):
    return np.rint(weights * 2.0 ** grid_bits(weights.shape[2], ising)).astype(np.int64)


def draw_wiring(rng, depth, width, fan_in, kind="sparse"):
    """int32 (L, N, c): `sparse` without repetition; `full` in order; `permuted`: all, in random order."""
    if kind == "full":
        assert fan_in == width
        return np.broadcast_to(np.arange(width, dtype=np.int32), (depth, width, width)).copy()
    rows = [[rng.permutation(width)[:fan_in] for _ in range(width)] for _ in range(depth)]
    return np.array(rows, dtype=np.int32)


def draw_weights(rng, shape, ising):
    return rng.choice([-1.0, 1.0], size=shape) if ising else rng.standard_normal(shape)


def draw_signs(rng, patterns, width):
    return rng.choice(np.array([-1, 1]), size=(patterns, width))


def forward(wiring, integers, inputs):
    """Signs of layers 0..L, int64 (L + 1, M, N): S_l,i = sgn(sum_k J_ik S_l-1,in(i,k)), sgn(0) = +1.

    The sums run in float64, where integers below 2**53 are exact.
    """
    depth, width, _ = wiring.shape
    signs = [inputs]
    for layer in range(depth):
        dense = np.zeros((width, width))
        np.put_along_axis(dense, wiring[layer].astype(np.intp), integers[layer].astype(np.float64), axis=1)
        signs.append(np.where(signs[-1] @ dense.T >= 0, 1, -1))
    return np.array(signs)


def forward_by_loops(wiring, integers, inputs):
    """The same in Python integers, one bit at a time."""
    depth, width, fan_in = wiring.shape
    signs = [inputs.tolist()]
    for layer in range(depth):
        below, above = signs[-1], []
        for pattern in below:
            row = []
            for i in range(width):
                h = sum(int(integers[layer, i, k]) * pattern[wiring[layer, i, k]] for k in range(fan_in))
                row.append(1 if h >= 0 else -1)
            above.append(row)
        signs.append(above)
    return np.array(signs)


def words_of(signs):
    """(M, N) +-1 -> uint64 (N, ceil(M / 64)): bit mu % 64 of word mu // 64 is set where the sign is +1."""
    patterns, width = signs.shape
    words = [[0] * ((patterns + 63) // 64) for _ in range(width)]
    for mu in range(patterns):
        for i in range(width):
            if signs[mu, i] == 1:
                words[i][mu // 64] |= 1 << (mu % 64)
    return np.array(words, dtype=np.uint64)


class Machine:
    """One student and its training set."""

    def __init__(self, wiring, weights, inputs, targets, ising):
        self.wiring, self.inputs, self.targets, self.ising = wiring, inputs, targets, ising
        self.weights = weights.astype(np.float64)
        self.integers = integers_of(self.weights, ising)
        self.energy = self.energy_of(self.integers)

    def signs(self):
        return forward(self.wiring, self.integers, self.inputs)

    def energy_of(self, integers):
        """E = number of wrong output bits over all outputs and patterns."""
        return int(np.count_nonzero(forward(self.wiring, integers, self.inputs)[-1] != self.targets))

    def sweep(self, generator, beta, step):
        """One sweep of N c L proposals; returns the accept flags."""
        total = self.weights.size
        flags = []
        for first in range(0, total, BLOCK):
            n = min(BLOCK, total - first)
            positions = generator.integers(0, total, size=n)
            normals = None if self.ising else generator.standard_normal(n)
            thresholds = self.thresholds(generator, beta, n)
            for t in range(n):
                x = None if self.ising else normals[t]
                flags.append(self.propose(positions[t], x, step, thresholds[t]))
        return np.array(flags)

    @staticmethod
    def thresholds(generator, beta, n):
        """Largest Delta E that each proposal may cost."""
        if beta == inf:
            return np.zeros(n)
        if beta == 0:
            return np.full(n, inf)
        with np.errstate(over="ignore"):  # a tiny beta accepts everything
            return np.floor(generator.standard_exponential(n) / beta)

    def propose(self, position, x, step, threshold):
        """J' = -J (Ising) or (J + step x) / sqrt(1 + step^2), accepted iff Delta E <= threshold."""
        place = np.unravel_index(position, self.weights.shape)
        old = self.weights[place]
        # The last bit depends on how the division is done: as a product with the reciprocal root.
        new = -old if self.ising else (old + step * x) * (1.0 / np.sqrt(1.0 + step * step))
        integers = self.integers.copy()
        integers[place] = int(np.rint(new * 2.0 ** grid_bits(self.wiring.shape[2], self.ising)))
        energy = self.energy_of(integers)
        if energy - self.energy > threshold:
            return False
        self.weights[place], self.integers, self.energy = new, integers, energy
        return True


class Billiard:
    """Sweeps of visits to perceptrons, one event after the other, from Hamilton's equations.

    Positions of walls are found with arctan2, what a flip costs by recomputing all layers above.
    """

    def __init__(self, wiring, weights, inputs, targets):
        self.wiring, self.weights, self.inputs, self.targets = wiring, weights.copy(), inputs, targets
        self.walls = self.passed = 0

    def sweep(self, generator, beta, angle):
        """Draws as documented in Student.billiard."""
        depth, width, fan_in = self.wiring.shape
        left, block = depth * width, max(1, BLOCK // fan_in)
        while left:
            n = min(block, left)
            perceptrons = generator.integers(0, depth * width, n)
            velocities = generator.standard_normal((n, fan_in))
            tangents = (0.5 + generator.random(n)) * np.tan(angle / 2)
            most = Machine.thresholds(generator, beta, n)
            for perceptron, v, tangent, cost in zip(perceptrons, velocities, tangents, most, strict=True):
                self.visit(*divmod(int(perceptron), width), v.copy(), 2 * np.arctan(tangent), cost)
            left -= n

    def visit(self, layer, i, v, rest, most):
        """Perceptron (layer, i) moves with velocity v by the angle `rest`, for at most `most` more wrong
        bits at any time; its last velocity, and what it has cost."""
        signs = forward(self.wiring, integers_of(self.weights, False), self.inputs)
        s, plus = signs[layer][:, self.wiring[layer, i]], signs[layer + 1][:, i].copy()
        J = self.weights[layer, i].copy()
        ready, spent = np.full(len(s), True), 0
        while True:
            h, g = s @ J, s @ v
            times = np.arctan2(h, -g) % np.pi  # h cos t + g sin t = 0
            times[~ready] = np.inf
            wall = int(times.argmin())
            t = min(rest, times[wall])
            J, v = J * np.cos(t) + v * np.sin(t), v * np.cos(t) - J * np.sin(t)
            rest -= t
            if rest <= 0:
                break
            self.walls += 1
            same = np.abs(s @ s[wall]) == s.shape[1]
            flipped = np.where(same, -plus, plus)
            cost = self.energy(layer, i, flipped, signs) - self.energy(layer, i, plus, signs)
            if spent + cost <= most:
                spent += cost
                plus[same] *= -1
                self.passed += 1
            else:
                n = s[wall] / np.sqrt(s.shape[1])
                v = v - 2 * (v @ n) * n
            ready = ~same
        self.weights[layer, i] = J
        return v, spent

    def energy(self, layer, i, plus, signs):
        """Wrong output bits where (layer, i) has the signs `plus`."""
        above = signs[layer + 1].copy()
        above[:, i] = plus
        if layer + 1 < len(self.wiring):
            rest = integers_of(self.weights, False)[layer + 1 :]
            above = forward(self.wiring[layer + 1 :], rest, above)[-1]
        return np.count_nonzero(above != self.targets)


def weight_overlaps(wiring, a, b, flip=None):
    """q(l) = (1/N) sum_i s_i sum_k s_in(i,k) J^a_ik J^b_ik / (|J^a_i| |J^b_i|), float64 (L,)."""
    depth, width, fan_in = a.shape
    q = np.zeros(depth)
    for layer in range(depth):
        for i in range(width):
            product = norm_a = norm_b = 0.0
            for k in range(fan_in):
                sign = 1 if flip is None else flip[layer + 1, i] * flip[layer, wiring[layer, i, k]]
                product += sign * a[layer, i, k] * b[layer, i, k]
                norm_a += a[layer, i, k] ** 2
                norm_b += b[layer, i, k] ** 2
            q[layer] += product / (norm_a * norm_b) ** 0.5 / width
    return q


def sign_overlaps(a, b):
    """sum_mu S^a S^b of every neuron, for +-1 arrays (layers, M, N): int (layers, N) = M r."""
    layers, patterns, width = a.shape
    out = np.zeros((layers, width), dtype=int)
    for layer in range(layers):
        for i in range(width):
            out[layer, i] = sum(int(a[layer, mu, i]) * int(b[layer, mu, i]) for mu in range(patterns))
    return out


def cross_overlaps(a, b):
    """Element (i, j) = sum_mu S^a_i S^b_j, for +-1 arrays (M, N)."""
    patterns, width = a.shape
    return np.array(
        [
            [sum(int(a[mu, i]) * int(b[mu, j]) for mu in range(patterns)) for j in range(width)]
            for i in range(width)
        ]
    )

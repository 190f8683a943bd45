"""One student and its Monte Carlo sweeps (PHYSICS section 1).

A proposal changes one weight; only the patterns that flip at its perceptron are followed into the layers above.
Random numbers are drawn here, in blocks; what is done with them is C, compiled for several instruction sets
(level.h, student.h) and with several ways to follow flips (words.h, gather.h, dense.h, events.h, bits.h).
"""

from libc.math cimport INFINITY, floor, sqrt, tan
from libc.stdint cimport INT32_MAX, INT64_MAX, int32_t, int64_t, uint8_t, uint64_t
from cpython.pycapsule cimport PyCapsule_GetPointer
from numpy.random cimport bitgen_t
from numpy.random.c_distributions cimport (
    random_standard_exponential_fill, random_standard_normal_fill, random_standard_uniform_fill,
)

import numpy as np

from dsm_hpc.kernels.grid import weight_bits
from dsm_hpc.kernels.levels import OPENMP, SIMD
from dsm_hpc.kernels.signs import forward, quantise

from dsm_hpc.kernels.levels cimport (
    BITS, DENSE, EVENTS, GATHER, WORDS, block_t, level_named, level_t, student_t, visits_t,
)

cdef extern from "numpy/random/distributions.h" nogil:
    void random_bounded_uint64_fill(
        bitgen_t *stream, uint64_t first, uint64_t span, Py_ssize_t count, bint masked, uint64_t *out)

cdef enum:
    DRAWS = 1024      # proposals whose random numbers are drawn at a time: 24 KiB, stays in L1

KERNELS = {"events": EVENTS, "words": WORDS, "gather": GATHER, "dense": DENSE, "bits": BITS}

SHARED = ("events", "dense")
"""Kernels that threads can share."""

NARROW, WIDE = 64, 128
"""Most neurons per layer of the kernel of words, and of those that gather, are dense or have bits."""


class WeightOverflow(ArithmeticError):
    """A perceptron's weights no longer fit the fixed-point grid."""


def kernels_for(Py_ssize_t depth, Py_ssize_t width, Py_ssize_t fan_in, str level=SIMD, bint ising=False):
    """The kernels that such a machine can have at this level, the one that was measured to be fastest first."""
    possible = ["events"]
    sparse = 2 * fan_in <= width
    if width <= NARROW:
        possible.append("words")
    if 32 < width <= WIDE:
        possible.append("dense")
    if sparse and width <= WIDE and level == "avx512":
        possible.append("gather")
    if width <= NARROW:
        best = "gather" if level == "avx512" and width > 32 and 8 * fan_in <= width else "words"
    elif sparse and level == "avx512" and fan_in <= 20 and depth > 2:
        best = "gather"
    else:
        best = "dense" if 16 * fan_in >= width else "events"
    if ising and width <= WIDE:
        possible.append("bits")
        best = "bits" if _bits_are_fastest(depth, width, fan_in, level) else best
    best = best if best in possible else "events"
    return [best, *(name for name in possible if name != best)]


def _bits_are_fastest(depth, width, fan_in, level):
    """Of the kernels for Ising weights: measured (benchmarks/ising.py).  The narrower and deeper, the more so."""
    if width <= NARROW:
        return level != "generic"
    return fan_in > 4 and depth > {"avx512": 2, "avx2": 4, "generic": INFINITY}[level]


cdef class Student:
    """One student of a training set.

    Parameters
    ----------
    wiring : int32 (L, N, c), the neurons of the layer below that each perceptron reads.
    weights : float64 (L, N, c), copied; +-1 for Ising weights.
    inputs, targets : uint64 (N, W), W = ceil(M / 64): bit mu % 64 of word mu // 64 is 1 where the neuron
        is +1 in pattern mu; bits beyond M are 0.
    patterns : M.
    ising : weights are +-1 and the move is J -> -J.
    kernel, level : how flips are followed (`kernels_for`), and the instruction set (levels.pyx), all with the
        same results; None takes what is fastest.  For tests.
    threads : that share the work of `sweep` (team.h), with the same results; with kernels `events` and `dense`.
        They spin: each needs a core of its own.

    Attributes
    ----------
    kernel, level : those that were taken.
    energy : number of wrong output bits over N outputs and M patterns.
    signs : uint64 (L + 1, N, W), of all neurons over the training set; made when asked for.
    proposed, accepted : int64 (L,), proposals per layer since `reset_counters`.
    """

    cdef student_t state
    cdef const level_t *kernels
    cdef readonly str kernel, level
    # numpy arrays own the memory that `state` points into
    cdef readonly object wiring, weights, targets, proposed, accepted
    cdef object inputs, sums, wrong
    cdef uint64_t[::1] positions
    cdef double[::1] normals, exponentials
    cdef int64_t[::1] thresholds

    def __cinit__(self, wiring, weights, inputs, targets, Py_ssize_t patterns, bint ising, kernel=None, level=None,
                  int threads=1):
        depth, width, fan_in = wiring.shape
        self.level = level or SIMD
        self.kernels = level_named(self.level)
        possible = kernels_for(depth, width, fan_in, self.level, ising)
        self.kernel = kernel or next(name for name in possible if threads == 1 or name in SHARED)
        if self.kernel not in possible:
            raise ValueError(f"kernel {kernel!r} with {width} neurons per layer: allowed are {', '.join(possible)}")
        if threads < 1 or (threads > 1 and not OPENMP):
            raise ValueError(f"threads = {threads}: {'must be >= 1' if OPENMP else 'this build has no OpenMP'}")
        if threads > 1 and self.kernel not in SHARED:
            raise ValueError(f"threads = {threads} with kernel {self.kernel!r}: it runs on one thread")
        if weights.shape != wiring.shape:
            raise ValueError(f"weights {weights.shape} and wiring {wiring.shape} differ in shape")
        words = (patterns + 63) // 64
        if patterns < 1 or inputs.shape != (width, words) or targets.shape != (width, words):
            raise ValueError(f"inputs {inputs.shape} and targets {targets.shape} must be ({width}, {words})")
        _check_wiring(wiring)
        _check_padding(inputs, patterns)
        _check_padding(targets, patterns)
        self.wiring = np.ascontiguousarray(wiring, dtype=np.int32)
        self.weights = np.array(weights, dtype=np.float64, order="C")
        self.inputs = np.ascontiguousarray(inputs, dtype=np.uint64)
        self.targets = np.ascontiguousarray(targets, dtype=np.uint64)
        self.state.machine.depth, self.state.machine.width, self.state.machine.fan_in = depth, width, fan_in
        self.state.machine.patterns, self.state.ising, self.state.threads = patterns, ising, threads
        self.state.scale = 2.0 ** weight_bits(fan_in, ising)
        self._allocate()
        self._load()

    def __dealloc__(self):
        if self.kernels != NULL:
            self.kernels.free(&self.state)

    def _allocate(self):
        """Creates the arrays and points `state` at them."""
        depth, width, fan_in = self.wiring.shape
        cdef student_t *state = &self.state
        cdef double[:, :, ::1] J = self.weights
        cdef int32_t[:, :, ::1] wiring = self.wiring
        cdef int64_t[:, ::1] sums = np.zeros((depth, width), np.int64)
        cdef int64_t[::1] proposed = np.zeros(depth, np.int64), accepted = np.zeros(depth, np.int64)
        cdef int32_t[::1] wrong = np.zeros(state.machine.patterns, np.int32)
        self.sums, self.proposed, self.accepted, self.wrong = sums.base, proposed.base, accepted.base, wrong.base
        state.J, state.machine.inputs, state.machine.wrong = &J[0, 0, 0], &wiring[0, 0, 0], &wrong[0]
        state.absolute_sum = &sums[0, 0]
        state.machine.absolute_sum = state.absolute_sum
        state.proposed, state.accepted = &proposed[0], &accepted[0]
        self.positions, self.thresholds = np.zeros(DRAWS, np.uint64), np.zeros(DRAWS, np.int64)
        self.normals, self.exponentials = np.zeros(max(DRAWS, fan_in)), np.zeros(2 * DRAWS)
        if self.kernels.make(state, KERNELS[self.kernel]):
            raise MemoryError("no memory for a student")

    def _load(self):
        """Computes everything that follows from the weights and the inputs."""
        for layer, sums in zip(self.weights, self.sums):
            _check_weights(layer, self.state.ising)
            sums[...] = np.rint(np.abs(layer) * self.state.scale).sum(axis=1).clip(max=2.0 ** 62)
        if self.sums.max() > INT32_MAX:
            raise WeightOverflow(
                f"weights up to {np.abs(self.weights).max():.3g} do not fit the grid of 1/{self.state.scale:.0f}"
            )
        integers = quantise(self.weights, self.state.scale)
        signs = forward(self.wiring, integers, self.inputs, self.state.machine.patterns, self.level)
        cdef int32_t[:, :, ::1] weights = integers
        cdef uint64_t[:, :, ::1] words = signs
        cdef uint64_t[:, ::1] targets = self.targets
        self.state.machine.weights = &weights[0, 0, 0]
        self.kernels.load(&self.state, &words[0, 0, 0], &targets[0, 0])
        self.state.machine.weights = NULL       # of the load only

    @property
    def shape(self):
        """(L, N, c, M)."""
        machine = self.state.machine
        return machine.depth, machine.width, machine.fan_in, machine.patterns

    @property
    def ising(self):
        return bool(self.state.ising)

    @property
    def energy(self):
        return self.state.energy

    @property
    def kernel_bytes(self):
        """Memory of what the kernel keeps, weights and counters not included."""
        return self.state.bytes

    @property
    def signs(self):
        depth, width, _, _ = self.shape
        cdef uint64_t[:, :, ::1] words = np.empty((depth + 1, width, self.targets.shape[1]), np.uint64)
        self.kernels.signs(&self.state, &words[0, 0, 0])
        return words.base

    def reset_counters(self):
        self.proposed[...] = 0
        self.accepted[...] = 0

    def recomputed(self):
        """A fresh student with the same weights: the oracle of the incrementally kept state."""
        return Student(
            self.wiring, self.weights, self.inputs, self.targets, self.state.machine.patterns, self.ising,
            self.kernel, self.level, self.state.threads,
        )

    def same_state(self, Student other):
        """True if everything that follows from the weights is equal bit for bit; by any kernels.

        What a kernel keeps for itself is compared where both are of the same kernel and level.
        """
        alike = (self.kernel, self.level, self.shape) == (other.kernel, other.level, other.shape)
        return (
            self.energy == other.energy
            and np.array_equal(self.signs, other.signs)
            and np.array_equal(self.wrong, other.wrong)
            and np.array_equal(self.sums, other.sums)
            and (not alike or bool(self.kernels.same(&self.state, &other.state)))
        )

    def sweep(self, bit_generator, double beta, double step, Py_ssize_t sweeps, uint8_t[::1] trace=None):
        """Runs `sweeps` sweeps of N c L single-weight proposals each.

        beta : inverse temperature; inf is greedy (accept if and only if Delta E <= 0).
        step : delta of J' = (J + delta x) * (1 / sqrt(1 + delta^2)), x ~ N(0, 1); unused for Ising weights.
        trace : optional, one entry per proposal, set to 1 where it was accepted.

        Random numbers, for each block of at most 1024 proposals of a sweep, in this order: positions
        `integers(0, L N c)` in (layer, perceptron, weight) order; `standard_normal` (Gaussian weights
        only); `standard_exponential` (0 < beta < inf only).  Metropolis' rule is drawn first, as the
        largest Delta E it accepts, floor(exponential / beta): P(threshold >= Delta E) = exp(-beta Delta E).

        Raises WeightOverflow if a perceptron outgrows the fixed-point grid.
        """
        cdef bitgen_t *stream = <bitgen_t *> PyCapsule_GetPointer(bit_generator.capsule, "BitGenerator")
        cdef int64_t total = self.weights.size, s, done, n = 0, decided = 0
        cdef uint8_t *flags = NULL
        cdef block_t block
        if not beta >= 0:
            raise ValueError(f"beta = {beta}: must be >= 0")
        if trace is not None:
            if trace.shape[0] != sweeps * total:
                raise ValueError(f"trace has {trace.shape[0]} entries for {sweeps * total} proposals")
            if sweeps:
                flags = &trace[0]
        block.positions, block.normals, block.step = &self.positions[0], &self.normals[0], step
        block.shrink = 1.0 / sqrt(1.0 + step * step)
        block.thresholds = NULL if beta == INFINITY else &self.thresholds[0]
        with bit_generator.lock, nogil:
            for s in range(sweeps):
                done = 0
                while done < total and decided == n:
                    n = min(<int64_t> DRAWS, total - done)
                    self._draw(stream, n, total, beta)
                    block.count = n
                    block.accepted = flags + s * total + done if flags != NULL else NULL
                    decided = self.kernels.decide(&self.state, &block)
                    done += n
        if decided < n:
            raise self._overflow()

    def billiard(self, bit_generator, double beta, double angle, Py_ssize_t sweeps):
        """Runs `sweeps` sweeps of N L visits each: all weights of a perceptron move along a trajectory.

        From J, with a velocity v ~ N(0, 1), on the circle J cos t + v sin t for an angle of about `angle`; a pattern
        that flips reflects it where the visit would have cost more than e / beta, e ~ Exp(1) (billiard.h, which says
        why the move is exact).  Gaussian weights only.

        beta : inverse temperature; inf: nothing that raises the energy is passed.
        angle : 0 < angle < 3.14; tan(t / 2) is uniform between half and three halves of tan(angle / 2).

        Random numbers, for each block of at most 1024 / c visits (at least one) of a sweep, in this order:
        `integers(0, L N)`, `standard_normal` (c each), `random`, `standard_exponential` (0 < beta < inf only).

        A visit counts as c proposals, accepted unless it was not made (a sign that depends on the rounding of
        weights).  Raises WeightOverflow if a perceptron outgrows the fixed-point grid, ValueError for Ising weights.
        """
        cdef bitgen_t *stream = <bitgen_t *> PyCapsule_GetPointer(bit_generator.capsule, "BitGenerator")
        cdef int64_t total, fan_in = self.state.machine.fan_in, s, t, done, n = 0, made = 0, most
        cdef double tangent = tan(angle / 2)
        cdef visits_t visits
        if not beta >= 0:
            raise ValueError(f"beta = {beta}: must be >= 0")
        if not 0 < angle < 3.14:
            raise ValueError(f"angle = {angle}: must be in (0, 3.14)")
        if self.state.ising:
            raise ValueError("Ising weights do not move along a trajectory")
        total = self.state.machine.depth * self.state.machine.width
        most = max(1, DRAWS // fan_in)
        visits.perceptrons, visits.velocities = &self.positions[0], &self.normals[0]
        visits.tangents = &self.exponentials[0]
        visits.thresholds = NULL if beta == INFINITY else &self.thresholds[0]
        with bit_generator.lock, nogil:
            for s in range(sweeps):
                done = 0
                while done < total and made == n:
                    n = min(most, total - done)
                    random_bounded_uint64_fill(stream, 0, total - 1, n, False, &self.positions[0])
                    random_standard_normal_fill(stream, n * fan_in, &self.normals[0])
                    random_standard_uniform_fill(stream, n, &self.exponentials[0])
                    self._draw_costs(stream, n, beta, &self.exponentials[most])
                    for t in range(n):
                        self.exponentials[t] = (0.5 + self.exponentials[t]) * tangent
                    visits.count = n
                    made = self.kernels.visit(&self.state, &visits)
                    done += n
        if made < n:
            raise self._overflow()

    def _overflow(self):
        return WeightOverflow(
            f"sum |J| of a perceptron reached {INT32_MAX / self.state.scale:.0f}, the limit of the grid"
        )

    cdef inline void _draw(self, bitgen_t *stream, int64_t n, int64_t total, double beta) noexcept nogil:
        random_bounded_uint64_fill(stream, 0, total - 1, n, False, &self.positions[0])
        if not self.state.ising:
            random_standard_normal_fill(stream, n, &self.normals[0])
        self._draw_costs(stream, n, beta, &self.exponentials[0])

    cdef inline void _draw_costs(self, bitgen_t *stream, int64_t n, double beta, double *exponentials) noexcept nogil:
        """What each proposal or visit may cost."""
        cdef int64_t t
        if 0 < beta < INFINITY:
            random_standard_exponential_fill(stream, n, exponentials)
        if beta < INFINITY:
            for t in range(n):
                self.thresholds[t] = _threshold(exponentials[t], beta)


cdef inline int64_t _threshold(double exponential, double beta) noexcept nogil:
    """Largest Delta E that a proposal may cost; never more than all outputs, so that sums stay far from overflow."""
    if beta == 0 or exponential >= 1e15 * beta:
        return INT64_MAX // 4
    return <int64_t> floor(exponential / beta)


def _check_wiring(wiring):
    """Raises ValueError if a perceptron reads a neuron that is not there, or (fully connected) one twice."""
    _, width, fan_in = wiring.shape
    if wiring.min() < 0 or wiring.max() >= width:
        raise ValueError(f"wiring reaches from {wiring.min()} to {wiring.max()}: allowed are 0..{width - 1}")
    if fan_in == width:
        for layer in wiring:
            if (np.sort(layer, axis=1) != np.arange(width)).any():
                raise ValueError("a perceptron with as many inputs as there are neurons reads one of them twice")


def _check_weights(weights, ising):
    """Raises if weights are not finite numbers, or not +-1 where they must be."""
    if not np.isfinite(weights).all():
        raise WeightOverflow("weights are not finite")
    if ising and (np.abs(weights) != 1).any():
        raise ValueError("Ising weights other than +-1")


def _check_padding(words, patterns):
    """Raises ValueError if bits beyond the last pattern are set."""
    if patterns % 64 and (words[:, -1] >> np.uint64(patterns % 64)).any():
        raise ValueError(f"sign words have bits set beyond pattern {patterns - 1}")

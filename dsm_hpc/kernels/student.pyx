"""State of one student and the Monte Carlo sweep (PHYSICS section 1).

A student carries its weights, the signs and pre-activations of every neuron for all M training
patterns, and its energy E = number of wrong output bits.  A proposal changes one weight; only the
patterns that flip at its perceptron are followed into the layers above.
"""

from libc.math cimport INFINITY, floor, lrint, sqrt
from libc.stdint cimport INT32_MAX, INT64_MAX, int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport llabs
from cpython.pycapsule cimport PyCapsule_GetPointer
from numpy.random cimport bitgen_t
from numpy.random.c_distributions cimport random_standard_exponential_fill, random_standard_normal_fill

import numpy as np

from dsm_hpc.kernels.grid import weight_bits

from dsm_hpc.kernels.signs import forward, quantise

cdef extern from "words.h" nogil:
    int WORD, INPUTS, ROWS
    ctypedef struct words_t:
        Py_ssize_t depth, width, padded, patterns, groups
        uint64_t valid
        int32_t *table
        uint64_t *state
        uint64_t *target
    void change_table(words_t *words, Py_ssize_t l, Py_ssize_t i, Py_ssize_t j, int32_t change)

cdef extern from "propagate.h" nogil:
    ctypedef struct front_t:
        pass
    ctypedef struct link_t:
        int32_t target
        int32_t doubled
    ctypedef struct net_t:
        Py_ssize_t depth, width, padded, fan_in, patterns, words, row_stride
        int fully_connected
        int32_t *columns
        link_t *links
        int32_t *first_link
        int32_t *by_perceptron
        int32_t *by_pattern
        uint64_t *signs
        words_t small
        uint8_t *targets
        int32_t *wrong
    int make_scratch(net_t *net)
    void free_scratch(net_t *net)
    int32_t *row_of(const net_t *net, Py_ssize_t l, Py_ssize_t i)
    int32_t *pattern_of(const net_t *net, Py_ssize_t l, Py_ssize_t mu)
    uint64_t *signs_of(const net_t *net, Py_ssize_t l, Py_ssize_t i)
    uint64_t flipped_patterns(const int32_t *h, uint64_t signs, int32_t change)
    void shift_patterns(int32_t *h, uint64_t signs, int32_t change)
    int evaluate_flip(net_t *net, Py_ssize_t l, Py_ssize_t i, Py_ssize_t mu)
    int commit_flip(net_t *net, Py_ssize_t l, Py_ssize_t i, Py_ssize_t mu)

cdef extern from "numpy/random/distributions.h" nogil:
    void random_bounded_uint64_fill(
        bitgen_t *stream, uint64_t first, uint64_t span, Py_ssize_t count, bint masked, uint64_t *out)

cdef extern from *:
    """
    #define count_trailing_zeros __builtin_ctzll
    #define prefetch __builtin_prefetch
    """
    int count_trailing_zeros(uint64_t x) nogil
    void prefetch(const void *p) nogil

cdef enum:
    DRAWS = 1024      # proposals whose random numbers are drawn at a time: 24 KiB, stays in L1
    AHEAD = 3         # proposals between the prefetch of a row and its use
    MAX_SPARE = 16    # at most this many int32 of padding in a row


class WeightOverflow(ArithmeticError):
    """A perceptron's weights no longer fit the fixed-point grid."""


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
    kernel : how flips are followed, with the same results: `words` (at most 64 neurons per layer, words.h) or
        `events` (propagate.h); None takes what is faster.  For tests.

    Attributes
    ----------
    kernel : the one that was taken.
    energy : number of wrong output bits over N outputs and M patterns.
    proposed, accepted : int64 (L,), proposals per layer since `reset_counters`.
    """

    cdef net_t net
    cdef double scale
    cdef readonly bint ising
    cdef readonly str kernel
    cdef readonly int64_t energy
    # numpy arrays own the memory that `net` points into
    cdef readonly object wiring, weights, signs, targets, proposed, accepted
    cdef object table, states, columns, links, first_link, by_perceptron, by_pattern, target_bytes, wrong, sums
    cdef object link_of, random_positions, random_normals, random_exponentials, flips
    cdef double *J
    cdef int32_t *inputs_of
    cdef int32_t *slot
    cdef int64_t *absolute_sum
    cdef int64_t *n_proposed
    cdef int64_t *n_accepted
    cdef uint64_t *positions
    cdef double *normals
    cdef double *exponentials
    cdef int32_t *flipped

    def __cinit__(self, wiring, weights, inputs, targets, Py_ssize_t patterns, bint ising, kernel=None):
        depth, width, fan_in = wiring.shape
        self.kernel = kernel or ("words" if width <= WORD else "events")
        if self.kernel not in ("words", "events") or (self.kernel == "words" and width > WORD):
            raise ValueError(f"kernel {kernel!r} with {width} neurons per layer: allowed are events, words up to {WORD}")
        if weights.shape != wiring.shape:
            raise ValueError(f"weights {weights.shape} and wiring {wiring.shape} differ in shape")
        words = (patterns + 63) // 64
        if patterns < 1 or inputs.shape != (width, words) or targets.shape != (width, words):
            raise ValueError(f"inputs {inputs.shape} and targets {targets.shape} must be ({width}, {words})")
        _check_wiring(wiring)
        _check_padding(inputs, patterns)
        _check_padding(targets, patterns)
        self.ising = ising
        self.scale = 2.0 ** weight_bits(fan_in, ising)
        self.wiring = np.ascontiguousarray(wiring, dtype=np.int32)
        self.weights = np.array(weights, dtype=np.float64, order="C")
        self.targets = np.ascontiguousarray(targets, dtype=np.uint64)
        self.net.depth, self.net.width, self.net.fan_in = depth, width, fan_in
        self.net.patterns, self.net.words = patterns, words
        self.net.padded = (width + 7) // 8 * 8
        # A stride of a multiple of 4096 bytes would put all rows into the same cache sets.
        self.net.row_stride = 64 * words + (MAX_SPARE if 64 * words % 1024 == 0 else 0)
        self.net.fully_connected = fan_in == width
        self._allocate()
        self._load(np.ascontiguousarray(inputs, dtype=np.uint64))
        if make_scratch(&self.net):
            raise MemoryError("no memory for the scratch of a student")

    def __dealloc__(self):
        free_scratch(&self.net)

    def _allocate(self):
        """Creates the arrays and points `net` at them."""
        depth, width, fan_in = self.wiring.shape
        cdef net_t *net = &self.net
        cdef double[:, :, ::1] J = self.weights
        cdef int32_t[:, :, ::1] wiring = self.wiring
        self.J, self.inputs_of = &J[0, 0, 0], &wiring[0, 0, 0]

        cdef int32_t[:, :, ::1] rows = _zeros((depth, width, net.row_stride), np.int32)
        cdef uint64_t[:, :, ::1] signs = _zeros((depth + 1, width, net.words), np.uint64)
        cdef uint8_t[:, ::1] target_bytes = _pattern_bytes(self.targets, net.patterns, net.padded)
        cdef int32_t[::1] wrong = _zeros(net.patterns, np.int32)
        self.by_perceptron, self.signs = rows.base, signs.base
        self.target_bytes, self.wrong = target_bytes.base, wrong.base
        net.by_perceptron, net.signs = &rows[0, 0, 0], &signs[0, 0, 0]
        net.targets, net.wrong = &target_bytes[0, 0], &wrong[0]

        cdef int64_t[:, ::1] sums = _zeros((depth, width), np.int64)
        cdef int64_t[::1] proposed = _zeros(depth, np.int64), accepted = _zeros(depth, np.int64)
        self.sums, self.proposed, self.accepted = sums.base, proposed.base, accepted.base
        self.absolute_sum, self.n_proposed, self.n_accepted = &sums[0, 0], &proposed[0], &accepted[0]

        cdef uint64_t[::1] positions = _zeros(DRAWS, np.uint64)
        cdef double[::1] normals = _zeros(DRAWS, np.float64), exponentials = _zeros(DRAWS, np.float64)
        cdef int32_t[::1] flips = _zeros(net.patterns, np.int32)
        self.random_positions, self.random_normals = positions.base, normals.base
        self.random_exponentials, self.flips = exponentials.base, flips.base
        self.positions, self.normals, self.exponentials = &positions[0], &normals[0], &exponentials[0]
        self.flipped = &flips[0]

        if self.kernel == "words":
            self._allocate_words()
        else:
            self._allocate_weights_above()

    def _allocate_words(self):
        """What a machine of one word per layer has (words.h)."""
        cdef net_t *net = &self.net
        cdef words_t *small = &net.small
        small.depth, small.width, small.padded, small.patterns = net.depth, net.width, net.padded, net.patterns
        small.groups = (net.width + INPUTS - 1) // INPUTS
        small.valid = ~<uint64_t> 0 >> (WORD - net.width)
        cdef int32_t[::1] table = _zeros(max(1, (net.depth - 1) * small.groups * ROWS * net.padded), np.int32)
        cdef uint64_t[:, ::1] states = _zeros((net.depth + 2, net.patterns), np.uint64)
        self.table, self.states = table.base, states.base
        small.table, small.state, small.target = &table[0], &states[0, 0], &states[net.depth + 1, 0]

    def _allocate_weights_above(self):
        """What single changes are followed through (propagate.h): weights above each neuron, and the
        pre-activations of each pattern."""
        cdef net_t *net = &self.net
        cdef int32_t[:, :, ::1] patterns = _zeros((net.depth - 1, net.patterns, net.padded), np.int32)
        cdef int32_t[:, :, ::1] columns
        cdef int32_t[:, :, ::1] links
        cdef int32_t[:, ::1] first_link
        cdef int32_t[:, :, ::1] link_of
        self.by_pattern = patterns.base
        net.by_pattern = &patterns[0, 0, 0] if net.depth > 1 else NULL
        if net.fully_connected:
            columns = _zeros((net.depth, net.width, net.padded), np.int32)
            self.columns, net.columns = columns.base, &columns[0, 0, 0]
        else:
            links, first_link, link_of = _links(self.wiring)
            self.links, self.first_link, self.link_of = links.base, first_link.base, link_of.base
            net.links, net.first_link = <link_t *> &links[0, 0, 0], &first_link[0, 0]
            self.slot = &link_of[0, 0, 0]

    def _load(self, inputs):
        """Computes everything that follows from the weights and the inputs."""
        for layer, sums in zip(self.weights, self.sums):
            _check_weights(layer, self.ising)
            sums[...] = np.rint(np.abs(layer) * self.scale).sum(axis=1).clip(max=2.0 ** 62)
        if self.sums.max() > INT32_MAX:
            raise WeightOverflow(f"weights up to {np.abs(self.weights).max():.3g} do not fit the grid of 1/{self.scale:.0f}")
        cdef int32_t[:, :, ::1] integers = quantise(self.weights, self.scale)
        cdef Py_ssize_t l, i, k
        cdef net_t *net = &self.net
        forward(self.wiring, integers.base, inputs, net.patterns, out=self.signs, preactivations=self.by_perceptron)
        if net.small.table != NULL:
            for layer, state in zip([*self.signs, self.targets], self.states):
                state[...] = _pattern_bytes(layer, net.patterns, WORD).view(np.uint64)[:, 0] & np.uint64(net.small.valid)
        else:
            np.copyto(self.by_pattern[:, :, :net.width], self.by_perceptron[1:, :, :net.patterns].transpose(0, 2, 1))
        for l in range(net.depth):
            for i in range(net.width):
                for k in range(net.fan_in):
                    self._set_weight(l, i, k, 0, integers[l, i, k])
        wrong = np.bitwise_count(_pattern_bytes(self.signs[net.depth], net.patterns, net.padded) ^ self.target_bytes)
        self.wrong[...] = wrong.sum(axis=1)
        self.energy = self.wrong.sum()

    cdef inline void _set_weight(
        self, Py_ssize_t l, Py_ssize_t i, Py_ssize_t k, int32_t before, int32_t after
    ) noexcept nogil:
        """Stores a weight where the propagation reads it."""
        cdef net_t *net = &self.net
        cdef Py_ssize_t place = (l * net.width + i) * net.fan_in + k
        if net.small.table != NULL:
            if l > 0:       # nothing is propagated from the inputs
                change_table(&net.small, l, i, self.inputs_of[place], after - before)
        elif net.fully_connected:
            net.columns[(l * net.width + self.inputs_of[place]) * net.padded + i] = 2 * after
        else:
            net.links[l * net.width * net.fan_in + self.slot[place]].doubled = 2 * after

    @property
    def shape(self):
        """(L, N, c, M)."""
        return self.net.depth, self.net.width, self.net.fan_in, self.net.patterns

    def reset_counters(self):
        self.proposed[...] = 0
        self.accepted[...] = 0

    def recomputed(self):
        """A fresh student with the same weights: the oracle of the incrementally kept state."""
        return Student(
            self.wiring, self.weights, self.signs[0], self.targets, self.net.patterns, self.ising, self.kernel
        )

    def same_state(self, Student other):
        """True if pre-activations, signs, wrong bits and energy are equal bit for bit; both by the same kernel."""
        return self.energy == other.energy and all(
            np.array_equal(a, b) for a, b in zip(self._derived(), other._derived(), strict=True)
        )

    def _derived(self):
        """All that follows from the weights."""
        return (
            self.by_perceptron, self.signs, self.wrong, self.sums,
            self.table, self.states,
            self.by_pattern, self.columns, self.links,
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
        cdef int64_t total = self.net.depth * self.net.width * self.net.fan_in
        cdef int64_t s, done, n, t
        cdef uint8_t *flags = NULL
        cdef bint fits = True, ok
        if not beta >= 0:
            raise ValueError(f"beta = {beta}: must be >= 0")
        if trace is not None:
            if trace.shape[0] != sweeps * total:
                raise ValueError(f"trace has {trace.shape[0]} entries for {sweeps * total} proposals")
            if sweeps:
                flags = &trace[0]
        with bit_generator.lock, nogil:
            for s in range(sweeps):
                done = 0
                while done < total and fits:
                    n = min(<int64_t> DRAWS, total - done)
                    self._draw(stream, n, total, beta)
                    for t in range(n):
                        if t + AHEAD < n:
                            self._prefetch(self.positions[t + AHEAD])
                        ok = self._propose(self.positions[t], self.normals[t], step, self._threshold(t, beta), &fits)
                        if flags != NULL:
                            flags[s * total + done + t] = ok
                    done += n
        if not fits:
            raise WeightOverflow(f"sum |J| of a perceptron reached {INT32_MAX / self.scale:.0f}, the limit of the grid")

    cdef inline void _draw(self, bitgen_t *stream, int64_t n, int64_t total, double beta) noexcept nogil:
        random_bounded_uint64_fill(stream, 0, total - 1, n, False, self.positions)
        if not self.ising:
            random_standard_normal_fill(stream, n, self.normals)
        if 0 < beta < INFINITY:
            random_standard_exponential_fill(stream, n, self.exponentials)

    cdef inline int64_t _threshold(self, int64_t t, double beta) noexcept nogil:
        """Largest Delta E that the proposal may cost."""
        if beta == INFINITY:
            return 0
        if beta == 0 or self.exponentials[t] >= 1e15 * beta:
            return INT64_MAX // 2
        return <int64_t> floor(self.exponentials[t] / beta)

    cdef inline void _prefetch(self, uint64_t position) noexcept nogil:
        cdef uint64_t perceptron = position // self.net.fan_in
        prefetch(&self.J[position])
        prefetch(&self.inputs_of[position])
        prefetch(self.net.by_perceptron + perceptron * self.net.row_stride)
        prefetch(self.net.by_perceptron + perceptron * self.net.row_stride + 16)

    cdef bint _propose(self, uint64_t position, double x, double step, int64_t threshold, bint *fits) noexcept nogil:
        """One proposal at flat weight `position`; returns whether it was accepted."""
        cdef net_t *net = &self.net
        cdef Py_ssize_t perceptron = position // net.fan_in, l = perceptron // net.width, i = perceptron % net.width
        cdef Py_ssize_t n = 0
        cdef double old = self.J[position], new
        cdef int64_t before = lrint(old * self.scale), after, absolute_sum
        if self.ising:
            new = -old
        else:
            new = (old + step * x) * (1.0 / sqrt(1.0 + step * step))
        after = lrint(new * self.scale)
        absolute_sum = self.absolute_sum[perceptron] + llabs(after) - llabs(before)
        if absolute_sum > INT32_MAX:
            fits[0] = False
            return False
        self.n_proposed[l] += 1
        if not self._allowed(l, i, self.inputs_of[position], <int32_t> (after - before), threshold, &n):
            return False
        self._commit(position, l, i, new, <int32_t> before, <int32_t> after, n)
        self.absolute_sum[perceptron] = absolute_sum
        self.n_accepted[l] += 1
        return True

    cdef bint _allowed(
        self, Py_ssize_t l, Py_ssize_t i, int32_t j, int32_t change, int64_t threshold, Py_ssize_t *n_flipped
    ) noexcept nogil:
        """Whether Delta E <= threshold, stopping as soon as it is certain (exact early rejection).

        The patterns that flip at the perceptron are left in `flipped`.  While they are followed upwards,
        `spare` bounds what the rest can still gain: a pattern gains at most its wrong bits.
        """
        cdef net_t *net = &self.net
        cdef const int32_t *h = row_of(net, l, i)
        cdef const uint64_t *signs = signs_of(net, l, j)
        cdef Py_ssize_t w, a, n = 0, mu
        cdef int64_t delta = 0, spare = 0
        cdef uint64_t flips
        cdef int gained
        for w in range(net.words):
            flips = flipped_patterns(h + 64 * w, signs[w], change) & _valid(net, w)
            while flips:
                mu = 64 * w + count_trailing_zeros(flips)
                flips &= flips - 1
                self.flipped[n] = <int32_t> mu
                n += 1
                if self.energy > 0:
                    spare += net.wrong[mu]
                else:       # nothing can be gained: no need to see the other flips first
                    delta += evaluate_flip(net, l, i, mu)
                    if delta > threshold:
                        return False
        n_flipped[0] = n
        if self.energy == 0 or self.energy + threshold >= net.patterns * net.width:
            return True
        for a in range(n):
            mu = self.flipped[a]
            delta += evaluate_flip(net, l, i, mu)
            spare -= net.wrong[mu]
            if delta - spare > threshold:
                return False
        return True

    cdef void _commit(
        self, uint64_t position, Py_ssize_t l, Py_ssize_t i, double new, int32_t before, int32_t after, Py_ssize_t n
    ) noexcept nogil:
        """Carries out an accepted proposal that flips perceptron i of layer l in n patterns."""
        cdef net_t *net = &self.net
        cdef Py_ssize_t w, a, mu
        cdef int32_t *h = row_of(net, l, i)
        cdef int32_t *column
        cdef const uint64_t *signs = signs_of(net, l, self.inputs_of[position])
        for a in range(n):
            self.energy += commit_flip(net, l, i, self.flipped[a])
        for w in range(net.words):
            shift_patterns(h + 64 * w, signs[w], after - before)
        if l > 0 and net.by_pattern != NULL:
            column = pattern_of(net, l, 0) + i
            for mu in range(net.patterns):
                column[mu * net.padded] = h[mu]
        self.J[position] = new
        self._set_weight(l, i, position % net.fan_in, before, after)


cdef inline uint64_t _valid(const net_t *net, Py_ssize_t w) noexcept nogil:
    """Bits of word w that belong to patterns."""
    if w == net.words - 1 and net.patterns & 63:
        return (<uint64_t> 1 << (net.patterns & 63)) - 1
    return ~<uint64_t> 0


def _zeros(shape, dtype):
    """A zeroed C-contiguous array on a cache-line boundary."""
    count = int(np.prod(shape))
    raw = np.zeros(count * np.dtype(dtype).itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start:start + count * np.dtype(dtype).itemsize].view(dtype).reshape(shape)


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


def _pattern_bytes(words, patterns, padded):
    """uint64 (N, W) sign words -> uint8 (M, padded / 8): bit i % 8 of byte i // 8 is neuron i; padding is 1."""
    out = np.empty((patterns, padded // 8), np.uint8)
    for first in range(0, words.shape[1], 16):      # 1024 patterns at a time: unpacked they take 8 times the space
        rows = out[64 * first:64 * (first + 16)]
        bits = np.unpackbits(np.ascontiguousarray(words[:, first:first + 16]).view(np.uint8), axis=1, bitorder="little")
        full = np.ones((len(rows), padded), np.uint8)
        full[:, :len(bits)] = bits[:, :len(rows)].T
        rows[...] = np.packbits(full, axis=1, bitorder="little")
    return out


def _links(wiring):
    """The wiring seen from below: for each layer and input neuron, the perceptrons that read it.

    Returns links int32 (L, N c, 2) = (perceptron, 2J = 0), first_link int32 (L, N + 1), and
    link_of int32 (L, N, c), where the link of each weight stands.
    """
    depth, width, fan_in = wiring.shape
    links = np.zeros((depth, width * fan_in, 2), np.int32)
    first_link = np.zeros((depth, width + 1), np.int32)
    link_of = np.empty((depth, width * fan_in), np.int32)
    for l in range(depth):
        order = np.argsort(wiring[l].ravel(), kind="stable")
        links[l, :, 0] = order // fan_in
        link_of[l, order] = np.arange(order.size, dtype=np.int32)
        first_link[l, 1:] = np.cumsum(np.bincount(wiring[l].ravel(), minlength=width))
    return links, first_link, link_of.reshape(wiring.shape)

"""Sign words: packing, the forward pass, and the overlaps that are counts of bits.

A set of M patterns of N neurons is stored as uint64 (N, W), W = ceil(M / 64); bit mu % 64 of word
mu // 64 is 1 where the neuron is +1 in pattern mu, and bits beyond M are 0.
"""

from libc.math cimport lrint, sqrt
from libc.stdint cimport int8_t, int32_t, int64_t, uint64_t

import numpy as np

from dsm_hpc.kernels.levels import SIMD

from dsm_hpc.kernels.levels cimport level_named, level_t, machine_t

cdef extern from *:
    """#define popcount __builtin_popcountll"""
    int popcount(uint64_t x) nogil


def pack(signs):
    """(M, N) array of +-1 -> uint64 (N, W) sign words."""
    signs = np.asarray(signs)
    patterns, width = signs.shape
    words = np.zeros((width, (patterns + 63) // 64), np.uint64)
    packed = np.packbits((signs > 0).T, axis=1, bitorder="little")
    words.view(np.uint8)[:, :packed.shape[1]] = packed
    return words


def unpack(words, Py_ssize_t patterns):
    """uint64 (..., N, W) sign words -> int8 (..., M, N) array of +-1."""
    octets = np.ascontiguousarray(words).view(np.uint8)
    bits = np.unpackbits(octets, axis=-1, bitorder="little", count=patterns)
    return np.swapaxes(bits, -1, -2).astype(np.int8) * 2 - 1


def quantise(const double[:, :, ::1] weights, double scale):
    """int32 (L, N, c) = rint(J * scale), halves to even: the integers that act as weights."""
    cdef int32_t[:, :, ::1] out = np.empty((weights.shape[0], weights.shape[1], weights.shape[2]), np.int32)
    cdef Py_ssize_t a, n = weights.size
    with nogil:
        for a in range(n):
            (&out[0, 0, 0])[a] = <int32_t> lrint((&weights[0, 0, 0])[a] * scale)
    return out.base


def forward(const int32_t[:, :, ::1] wiring, const int32_t[:, :, ::1] weights, const uint64_t[:, ::1] inputs,
            Py_ssize_t patterns, str level=SIMD):
    """Signs of all layers, S_l,i = sgn(sum_k J_ik S_l-1,in(i,k)) with sgn(0) = +1, uint64 (L + 1, N, W).

    wiring, weights : int32 (L, N, c), the weights on their integer grid.
    inputs : uint64 (N, W) sign words of layer 0.
    level : instruction set, for tests.
    """
    cdef const level_t *kernels = level_named(level)
    cdef uint64_t[:, :, ::1] signs = np.empty((wiring.shape[0] + 1, wiring.shape[1], inputs.shape[1]), np.uint64)
    cdef machine_t machine
    cdef int failed
    machine.depth, machine.width, machine.fan_in = wiring.shape[0], wiring.shape[1], wiring.shape[2]
    machine.patterns, machine.inputs, machine.weights = patterns, &wiring[0, 0, 0], &weights[0, 0, 0]
    signs[0, :, :] = inputs
    with nogil:
        failed = kernels.forward(&machine, &signs[0, 0, 0])
    if failed:
        raise MemoryError("no memory for a block of patterns")
    return signs.base


def sign_overlaps(const uint64_t[:, :, ::1] a, const uint64_t[:, :, ::1] b, Py_ssize_t patterns):
    """int64 (layers, N) = sum_mu S_a S_b = M - 2 (number of differing bits)."""
    cdef Py_ssize_t l, i, w
    cdef int64_t differing
    cdef int64_t[:, ::1] out = np.empty((a.shape[0], a.shape[1]), np.int64)
    with nogil:
        for l in range(a.shape[0]):
            for i in range(a.shape[1]):
                differing = 0
                for w in range(a.shape[2]):
                    differing += popcount(a[l, i, w] ^ b[l, i, w])
                out[l, i] = patterns - 2 * differing
    return out.base


def cross_overlaps(const uint64_t[:, ::1] a, const uint64_t[:, ::1] b, Py_ssize_t patterns):
    """int32 (N, N): element (i, j) = sum_mu S_a,i S_b,j."""
    cdef Py_ssize_t i, j, w
    cdef int32_t differing
    cdef int32_t[:, ::1] out = np.empty((a.shape[0], b.shape[0]), np.int32)
    with nogil:
        for i in range(a.shape[0]):
            for j in range(b.shape[0]):
                differing = 0
                for w in range(a.shape[1]):
                    differing += popcount(a[i, w] ^ b[j, w])
                out[i, j] = <int32_t> patterns - 2 * differing
    return out.base


def squared_correlations(const uint64_t[:, ::1] words, Py_ssize_t patterns):
    """float: sum over pairs i < j of (sum_mu S_i S_j)^2."""
    cdef Py_ssize_t i, j, w
    cdef int64_t differing, row
    cdef double total = 0.0
    with nogil:
        for i in range(words.shape[0]):
            row = 0
            for j in range(i):
                differing = 0
                for w in range(words.shape[1]):
                    differing += popcount(words[i, w] ^ words[j, w])
                row += (patterns - 2 * differing) * (patterns - 2 * differing)
            total += row
    return total


def weight_overlaps(const int32_t[:, :, ::1] wiring, const double[:, :, ::1] a, const double[:, :, ::1] b,
                    const int8_t[:, ::1] flip):
    """float64 (L,): q(l) = (1/N) sum_i s_i sum_k s_in(i,k) J^a_ik J^b_ik / (|J^a_i| |J^b_i|).

    flip : int8 (L + 1, N), the signs s of every neuron, +1 throughout for the raw overlap.
    Sums run in index order, so that the result does not depend on who computes it.
    """
    cdef Py_ssize_t l, i, k
    cdef double dot, norm_a, norm_b, total
    cdef double[::1] out = np.empty(a.shape[0])
    with nogil:
        for l in range(a.shape[0]):
            total = 0.0
            for i in range(a.shape[1]):
                dot = norm_a = norm_b = 0.0
                for k in range(a.shape[2]):
                    dot += flip[l, wiring[l, i, k]] * (a[l, i, k] * b[l, i, k])
                    norm_a += a[l, i, k] * a[l, i, k]
                    norm_b += b[l, i, k] * b[l, i, k]
                # exactly 1 for a student that is its teacher
                total += flip[l + 1, i] * dot / sqrt(norm_a * norm_b)
            out[l] = total / a.shape[1]
    return out.base

"""Blocks of inputs and the sequential part of one-pass SGD (PHYSICS section 4).

Arrays of inputs are float32 (steps, width), the width padded with zeros to a multiple of 16.
"""

from libc.math cimport M_PI, M_SQRT1_2, erf, exp, sqrt
from libc.stdint cimport int16_t, uint64_t
from libc.string cimport memcpy
from cpython.pycapsule cimport PyCapsule_GetPointer
from numpy.random cimport bitgen_t

import numpy as np

cdef extern from "gaussian.h" nogil:
    enum: PAIRS
    void normal_pairs(const uint64_t *words, float *out)

cdef extern from "product.h" nogil:
    void sign_product(const int16_t *panels, const int16_t *latent, size_t n_panels, size_t pairs, size_t rows,
                      float *out, size_t stride)
    void scaled_product(const int16_t *panels, const int16_t *latent, size_t n_panels, size_t pairs, size_t rows,
                        float scale, float *out, size_t stride)

cdef extern from "descent.h" nogil:
    double dot(const double *w, const float *x, size_t width)
    void shift(double *w, double step, const float *old, size_t width)
    void shift_dot_all(size_t units, double *w, size_t stride, const double *steps, const float *old,
                       const float *x, size_t width, double *sums)

cdef enum:
    ERF, LINEAR, RELU

OUTPUTS = {"erf": ERF, "linear": LINEAR, "relu": RELU}


def signs(const int16_t[:, :, :, ::1] panels, const int16_t[:, ::1] latent, float[:, ::1] out):
    """out = sgn(F C), sgn(0) = +1; latent : (steps, D padded to even), steps a multiple of 4.

    The columns that pad `out` become +1; the caller sets them to 0.
    """
    _check_product(panels, latent, out)
    with nogil:
        sign_product(&panels[0, 0, 0, 0], &latent[0, 0], panels.shape[0], panels.shape[1], latent.shape[0],
                     &out[0, 0], out.shape[1])


def preactivations(
    const int16_t[:, :, :, ::1] panels, const int16_t[:, ::1] latent, float scale, float[:, ::1] out
):
    """out = scale F C, with F and C as integers."""
    _check_product(panels, latent, out)
    with nogil:
        scaled_product(&panels[0, 0, 0, 0], &latent[0, 0], panels.shape[0], panels.shape[1], latent.shape[0],
                       scale, &out[0, 0], out.shape[1])


def _check_product(panels, latent, out):
    neurons, steps = panels.shape[0] * panels.shape[2], latent.shape[0]
    if panels.shape[2] != 16 or panels.shape[3] != 2 or steps % 4 or latent.shape[1] != 2 * panels.shape[1]:
        raise ValueError(f"panels {panels.shape} and latent {latent.shape} do not fit")
    if out.shape[0] != steps or out.shape[1] != neurons:
        raise ValueError(f"out is {out.shape}: must be ({steps}, {neurons})")


def normals(bit_generator, float[::1] out):
    """Fills `out` with N(0, 1).

    For each chunk of 512 numbers, the last one cut off, 256 words of 64 bits are drawn; word j makes numbers
    j and 256 + j, sqrt(-2 ln U) cos(2 pi V) and sin, U = (its upper 31 bits + 1/2) / 2^31, V = its lower 32
    bits / 2^32.
    """
    cdef bitgen_t *stream = <bitgen_t *> PyCapsule_GetPointer(bit_generator.capsule, "BitGenerator")
    cdef uint64_t words[PAIRS]
    cdef float chunk[2 * PAIRS]
    cdef Py_ssize_t first = 0, count, j
    if out.shape[0] == 0:
        return
    with bit_generator.lock, nogil:
        while first < out.shape[0]:
            for j in range(PAIRS):
                words[j] = stream.next_uint64(stream.state)
            normal_pairs(words, chunk)
            count = min(<Py_ssize_t> (2 * PAIRS), out.shape[0] - first)
            memcpy(&out[first], chunk, count * sizeof(float))
            first += count


def projections(const float[:, ::1] inputs, const double[:, ::1] vectors, double[:, ::1] out):
    """out_sm = inputs_s . vectors_m, (steps, M), summed in a fixed order."""
    cdef Py_ssize_t s, m
    _check_width(inputs, vectors)
    if out.shape[0] != inputs.shape[0] or out.shape[1] != vectors.shape[0]:
        raise ValueError(f"out is {out.shape}: must be ({inputs.shape[0]}, {vectors.shape[0]})")
    with nogil:
        for s in range(inputs.shape[0]):
            for m in range(vectors.shape[0]):
                out[s, m] = dot(&vectors[m, 0], &inputs[s, 0], inputs.shape[1])


def _check_width(inputs, vectors):
    if inputs.shape[1] != vectors.shape[1] or inputs.shape[1] % 16:
        raise ValueError(f"inputs of width {inputs.shape[1]} and vectors of {vectors.shape[1]}: "
                         "must be equal, and a multiple of 16")


cdef inline double output(int g, double local_field) noexcept nogil:
    """g(lambda)"""
    if g == ERF:
        return erf(M_SQRT1_2 * local_field)
    if g == RELU:
        return local_field if local_field > 0 else 0
    return local_field


cdef inline double slope(int g, double local_field) noexcept nogil:
    """g'(lambda)"""
    if g == ERF:
        return sqrt(2 / M_PI) * exp(-0.5 * local_field * local_field)
    if g == RELU:
        return 1 if local_field > 0 else 0
    return 1


def descend(
    double[:, ::1] w, double[::1] v, const float[:, ::1] inputs, const double[::1] labels,
    Py_ssize_t width, double eta, str g, bint second_layer
):
    """One step of SGD for each input, in their order (PHYSICS section 4, HMM eq. for online learning):

    lambda_k = w_k.x / sqrt(N), Delta = sum_k v_k g(lambda_k) - y,
    w_k <- w_k - (eta / sqrt(N)) v_k g'(lambda_k) Delta x, and, with the old lambda, if the second layer
    learns, v_k <- v_k - (eta / N) g(lambda_k) Delta.

    w : (K, padded width); v : (K,); inputs : (steps, padded width); labels : (steps,); width : N.

    Bound: each step moves w through the cache once (8 K N bytes read and written, from L2 at K = 2, N = 2000)
    for 4 K N flops; F C needs D / 2K times as many.
    """
    cdef Py_ssize_t steps = inputs.shape[0], K = w.shape[0], columns = w.shape[1], s, k
    cdef int kind = OUTPUTS[g]
    cdef double root = sqrt(<double> width), delta
    cdef double[::1] step = np.zeros(K), local_field = np.zeros(K)
    _check_width(inputs, w)
    if v.shape[0] != K or labels.shape[0] != steps or not 0 < width <= columns:
        raise ValueError(f"w ({K}, {columns}), v {v.shape[0]}, {labels.shape[0]} labels of {steps} inputs, "
                         f"width {width}: do not fit")
    if steps == 0:
        return
    with nogil:
        for s in range(steps):
            if s == 0:
                for k in range(K):
                    local_field[k] = dot(&w[k, 0], &inputs[0, 0], columns)
            else:
                shift_dot_all(K, &w[0, 0], columns, &step[0], &inputs[s - 1, 0], &inputs[s, 0], columns,
                              &local_field[0])
            delta = -labels[s]
            for k in range(K):
                local_field[k] /= root
                delta += v[k] * output(kind, local_field[k])
            for k in range(K):
                step[k] = -(eta / root) * v[k] * slope(kind, local_field[k]) * delta
                if second_layer:
                    v[k] -= (eta / width) * output(kind, local_field[k]) * delta
        for k in range(K):
            shift(&w[k, 0], step[k], &inputs[steps - 1, 0], columns)

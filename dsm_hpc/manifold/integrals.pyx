"""Gaussian averages over local fields (PHYSICS section 4; HMM, appendix on the integrals I2, I3, I4).

x ~ N(0, C), C (n, n); a, b, c, d are indices, which may repeat.  g: `erf` is erf(x / sqrt 2), `linear` is x,
`relu` (of which only <g g> is known in closed form) is max(x, 0).
"""

from libc.math cimport M_PI, acos, asin, fmax, fmin, sin, sqrt

import numpy as np

cdef enum:
    ERF, LINEAR, RELU

KINDS = {"erf": ERF, "linear": LINEAR, "relu": RELU}
INTEGRABLE = ("erf", "linear")


cdef inline double _i2(int g, const double[:, ::1] C, Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    cdef double s, angle
    if g == LINEAR:
        return C[a, b]
    if g == ERF:
        return (2 / M_PI) * asin(C[a, b] / sqrt((1 + C[a, a]) * (1 + C[b, b])))
    s = sqrt(C[a, a] * C[b, b])
    if s == 0:
        return 0
    angle = acos(fmax(-1.0, fmin(1.0, C[a, b] / s)))
    return (s * sin(angle) + (M_PI - angle) * C[a, b]) / (2 * M_PI)


cdef inline double _i3(int g, const double[:, ::1] C, Py_ssize_t a, Py_ssize_t b, Py_ssize_t c) noexcept nogil:
    cdef double own = 1 + C[a, a]
    if g == LINEAR:
        return C[b, c]
    return (2 / M_PI) * (C[b, c] * own - C[a, b] * C[a, c]) / (
        own * sqrt(own * (1 + C[c, c]) - C[a, c] * C[a, c]))


cdef inline double _i4(
    int g, const double[:, ::1] C, Py_ssize_t a, Py_ssize_t b, Py_ssize_t c, Py_ssize_t d
) noexcept nogil:
    cdef double aa = 1 + C[a, a], bb = 1 + C[b, b], ab = C[a, b]
    cdef double ac = C[a, c], ad = C[a, d], bc = C[b, c], bd = C[b, d], L0, L1, L2, L4
    if g == LINEAR:
        return C[c, d]
    L4 = aa * bb - ab * ab
    L0 = L4 * C[c, d] - bc * bd * aa - ac * ad * bb + ab * (ac * bd + ad * bc)
    L1 = L4 * (1 + C[c, c]) - bc * bc * aa - ac * ac * bb + 2 * ab * ac * bc
    L2 = L4 * (1 + C[d, d]) - bd * bd * aa - ad * ad * bb + 2 * ab * ad * bd
    return 4 / (M_PI * M_PI * sqrt(L4)) * asin(L0 / sqrt(L1 * L2))


cdef inline double _slopes(int g, const double[:, ::1] C, Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    if g == LINEAR:
        return 1
    return (2 / M_PI) / sqrt((1 + C[a, a]) * (1 + C[b, b]) - C[a, b] * C[a, b])


cdef inline double _curvature(int g, const double[:, ::1] C, Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    cdef double own = 1 + C[a, a]
    if g == LINEAR:
        return 0
    return -(2 / M_PI) * C[a, b] / (own * sqrt(own * (1 + C[b, b]) - C[a, b] * C[a, b]))


def i2(str g, const double[:, ::1] C, Py_ssize_t a, Py_ssize_t b):
    """<g(x_a) g(x_b)>; for ReLU (s sin t + (pi - t) C_ab) / 2 pi, s = sqrt(C_aa C_bb), cos t = C_ab / s (the
    arc-cosine kernel of Cho and Saul, 2009)."""
    _check(C, a, b)
    return _i2(KINDS[g], C, a, b)


def i3(str g, const double[:, ::1] C, Py_ssize_t a, Py_ssize_t b, Py_ssize_t c):
    """<g'(x_a) x_b g(x_c)>"""
    _check(C, a, b, c)
    return _i3(_integrable(g), C, a, b, c)


def i4(str g, const double[:, ::1] C, Py_ssize_t a, Py_ssize_t b, Py_ssize_t c, Py_ssize_t d):
    """<g'(x_a) g'(x_b) g(x_c) g(x_d)>"""
    _check(C, a, b, c, d)
    return _i4(_integrable(g), C, a, b, c, d)


def slopes(str g, const double[:, ::1] C, Py_ssize_t a, Py_ssize_t b):
    """E_ab = <g'(x_a) g'(x_b)>"""
    _check(C, a, b)
    return _slopes(_integrable(g), C, a, b)


def curvature(str g, const double[:, ::1] C, Py_ssize_t a, Py_ssize_t b):
    """h_ab = <g''(x_a) g(x_b)>"""
    _check(C, a, b)
    return _curvature(_integrable(g), C, a, b)


def _integrable(str g):
    if g not in INTEGRABLE:
        raise ValueError(f"g = {g}: allowed are {', '.join(INTEGRABLE)}")
    return KINDS[g]


def _check(C, *indices):
    if C.shape[0] != C.shape[1] or not all(0 <= index < C.shape[0] for index in indices):
        raise IndexError(f"indices {indices} of a covariance of shape ({C.shape[0]}, {C.shape[1]})")


def mean_product(str g, const double[:, ::1] C, const double[::1] u):
    """sum_ab u_a u_b <g(x_a) g(x_b)>"""
    cdef int kind = KINDS[g]
    cdef Py_ssize_t n = u.shape[0], a, b
    cdef double total = 0
    if C.shape[0] != n or C.shape[1] != n:
        raise ValueError(f"covariance of shape ({C.shape[0]}, {C.shape[1]}) for {n} fields")
    for a in range(n):
        for b in range(n):
            total += u[a] * u[b] * _i2(kind, C, a, b)
    return total


def averages(str g, const double[:, ::1] C, const double[::1] u, Py_ssize_t K):
    """The averages of the equations of motion, for the fields x = (lambda, nu) and u = (v, -A), n = K + M:

    E (K, n), E_ka = <g'(x_k) g'(x_a)>; H (K,) = sum_a u_a <g''(x_k) g(x_a)>;
    J (K, K), J_kl = sum_a u_a <g'(x_k) x_l g(x_a)>; L (K,) = sum_a u_a <g(x_k) g(x_a)>;
    G (K, K), G_kl = sum_ab u_a u_b <g'(x_k) g'(x_l) g(x_a) g(x_b)>.
    """
    cdef int kind = _integrable(g)
    cdef Py_ssize_t n = u.shape[0], k, l, a, b
    if C.shape[0] != n or C.shape[1] != n or not 0 < K <= n:
        raise ValueError(f"covariance of shape ({C.shape[0]}, {C.shape[1]}) for {n} fields, {K} of students")
    cdef double[:, ::1] E = np.empty((K, n)), J = np.zeros((K, K)), G = np.zeros((K, K))
    cdef double[::1] H = np.zeros(K), L = np.zeros(K)
    with nogil:
        for k in range(K):
            for a in range(n):
                E[k, a] = _slopes(kind, C, k, a)
                H[k] += u[a] * _curvature(kind, C, k, a)
                L[k] += u[a] * _i2(kind, C, k, a)
                for l in range(K):
                    J[k, l] += u[a] * _i3(kind, C, k, l, a)
            for l in range(k + 1):
                for a in range(n):
                    G[k, l] += u[a] * u[a] * _i4(kind, C, k, l, a, a)
                    for b in range(a):
                        G[k, l] += 2 * u[a] * u[b] * _i4(kind, C, k, l, a, b)
                G[l, k] = G[k, l]
    return E.base, H.base, J.base, L.base, G.base


def mode_changes(
    const double[:, :, ::1] P, const double[:, :, ::1] beta, const double[:, ::1] own,
    const double[:, ::1] taught, const double[:, ::1] noise, const double[::1] decay,
    const double[::1] pull, const double[::1] gamma, double[:, :, ::1] out
):
    """out = d(sigma | r)/dt for all modes, (K, K + M, n); P = (sigma | r), beta (M, M, n).

    X_kx = decay sum_j own_kj P_jx + pull sum_n taught_kn Y_nx with Y = (r^T | beta); then
    dsigma_kl = X_kl + X_lk + gamma noise_kl and dr_km = X_km.
    """
    cdef Py_ssize_t K = P.shape[0], M = beta.shape[0], n = P.shape[2], k, x, j, t
    cdef const double *source
    cdef double *here
    cdef double weight
    if (P.shape[1] != K + M or out.shape[0] != K or out.shape[1] != K + M or out.shape[2] != n
            or beta.shape[1] != M or beta.shape[2] != n or own.shape[0] != K or own.shape[1] != K
            or taught.shape[0] != K or taught.shape[1] != M or noise.shape[0] != K or noise.shape[1] != K
            or decay.shape[0] != n or pull.shape[0] != n or gamma.shape[0] != n or n == 0):
        raise ValueError(f"shapes do not fit K = {K}, M = {M}, {n} modes")
    with nogil:
        for k in range(K):
            for x in range(K + M):
                here = &out[k, x, 0]
                for t in range(n):
                    here[t] = 0
                for j in range(K):
                    source, weight = &P[j, x, 0], own[k, j]
                    for t in range(n):
                        here[t] += weight * decay[t] * source[t]
                for j in range(M):
                    source = &P[x, K + j, 0] if x < K else &beta[j, x - K, 0]
                    weight = taught[k, j]
                    for t in range(n):
                        here[t] += weight * pull[t] * source[t]
        for k in range(K):
            for x in range(k + 1):
                for t in range(n):
                    weight = out[k, x, t] + out[x, k, t] + gamma[t] * noise[k, x]
                    out[k, x, t] = out[x, k, t] = weight

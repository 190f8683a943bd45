/* All weights of one perceptron at once: the motion of a particle among the walls that the patterns are.
 *
 * The weights J of a perceptron and a velocity v ~ N(0, 1) move by Hamilton's equations of J^2 / 2 + v^2 / 2, on the
 * circle J cos t + v sin t.  While the rest of the machine stands still, the energy is a sum over patterns of steps at
 * h = J s = 0 (s: the pattern's signs on the inputs).  A visit may cost `most`: at beta, e / beta with e ~ Exp(1).  A
 * wall behind which it would have cost more reflects the motion, any other lets it pass.
 *
 * Exact: `most` makes a slice of exp(-beta E) (Neal, Ann. Stat. 31, 705 (2003)); on the slice the prior is Gaussian, and
 * the flow with reflections conserves J^2 + v^2 and phase space volume and can be reversed (Pakman and Paninski, J.
 * Comput. Graph. Stat. 23, 518 (2014); for one perceptron at E = 0 this is Rujan's billiard in version space, Neural
 * Comput. 9, 99 (1997)).  At beta = infinity and E > 0 it is greedy, and not reversible, as all greedy dynamics.
 *
 * The machine acts with weights on a grid, the motion has none: where the signs by real weights and by those of the
 * grid differ, at the start or at the end, nothing is done.  Both conditions are the same for the way back.
 *
 * Only +, -, *, / and square roots, pattern by pattern: every level gives the same bits.
 *
 * Bound: one pass over all patterns for each wall that is met, eight at a time: one division, ten other operations,
 * 24 bytes from L1 or L2.  The walls that are met grow with M, so a visit takes a time of order M^2.
 */
#ifndef DSM_BILLIARD_H
#define DSM_BILLIARD_H
#include <math.h>
#include "lanes.h"

enum {
    EIGHT = 8,                  /* patterns side by side */
    MOST_WALLS = 1 << 20,       /* of a motion; one that meets more, as its way back would, is not made */
};
#define UNKNOWN INT32_MIN       /* a cost */

/* A student's perceptron in motion.  Arrays of patterns are filled up to a multiple of 64 with the first pattern. */
typedef struct {
    ptrdiff_t patterns, padded, fan_in, limbs;  /* M, 64 ceil(M / 64), c, ceil(c / 64) */
    double *h, *g;              /* [mu] sums over J and over v */
    uint64_t *bits;             /* [limb][mu] signs of the inputs, bit k % 64 of limb k / 64 */
    uint64_t *side, *first;     /* [mu / 64] signs of the perceptron, now and at the start */
    uint64_t *alone;            /* [mu / 64] patterns that are known to have no twins */
    int32_t *cost;              /* [mu] Delta E if the pattern flips from its first side, or UNKNOWN */
    int32_t *twins;             /* those whose signs are equal or opposite to those of the wall that is met */
    const uint64_t **rows;      /* [k] sign words of the inputs */
    uint64_t *row_words;        /* where they must be put together */
    double *J, *v;              /* [k], up to a multiple of eight */
    int32_t *q;                 /* [k] weights on the grid */
} billiard_t;

/* The walls that are met next, the first in each of eight lanes. */
typedef struct {
    double slope[EIGHT];        /* g / h: the least is met first, at an angle with cotangent -g / h */
    int64_t at[EIGHT];
} ahead_t;

/* ------------------------------------------------------------------------------------------------- passes */

/* h, g and bits of all patterns from the sign words of the inputs: sums are twice that over the inputs that are +1,
 * less that over all. */
static void billiard_aim(billiard_t *b)
{
    double all_J = 0, all_v = 0;
    for (ptrdiff_t k = 0; k < b->fan_in; k++) {
        all_J += b->J[k];
        all_v += b->v[k];
    }
    for (ptrdiff_t first = 0; first < b->padded; first += 64) {
        _Alignas(64) double h[64] = {0}, g[64] = {0};
        for (ptrdiff_t limb = 0; limb < b->limbs; limb++) {
            const ptrdiff_t end = 64 * (limb + 1) < b->fan_in ? 64 * (limb + 1) : b->fan_in;
            uint64_t *bits = b->bits + limb * b->padded + first;
#if defined(__AVX512F__)
            __m512d sums[8], speeds[8];
            __m512i words[8];
            for (int a = 0; a < 8; a++) {
                sums[a] = _mm512_load_pd(h + 8 * a);
                speeds[a] = _mm512_load_pd(g + 8 * a);
                words[a] = _mm512_setzero_si512();
            }
            for (ptrdiff_t k = 64 * limb; k < end; k++) {
                const uint64_t row = b->rows[k][first / 64];
                const __m512d J = _mm512_set1_pd(b->J[k]), v = _mm512_set1_pd(b->v[k]);
                const __m512i bit = _mm512_set1_epi64((int64_t)((uint64_t)1 << (k - 64 * limb)));
#pragma GCC unroll 8
                for (int a = 0; a < 8; a++) {
                    const __mmask8 plus = (__mmask8)(row >> (8 * a));
                    sums[a] = _mm512_mask_add_pd(sums[a], plus, sums[a], J);
                    speeds[a] = _mm512_mask_add_pd(speeds[a], plus, speeds[a], v);
                    words[a] = _mm512_mask_or_epi64(words[a], plus, words[a], bit);
                }
            }
            for (int a = 0; a < 8; a++) {
                _mm512_store_pd(h + 8 * a, sums[a]);
                _mm512_store_pd(g + 8 * a, speeds[a]);
                _mm512_store_si512(bits + 8 * a, words[a]);
            }
#else
            memset(bits, 0, 64 * sizeof *bits);
            for (ptrdiff_t k = 64 * limb; k < end; k++) {
                const uint64_t row = b->rows[k][first / 64], bit = (uint64_t)1 << (k - 64 * limb);
                const double J = b->J[k], v = b->v[k];
                for (int a = 0; a < 64; a++) {
                    const uint64_t plus = row >> a & 1;
                    h[a] += plus ? J : 0.0;
                    g[a] += plus ? v : 0.0;
                    bits[a] |= plus ? bit : 0;
                }
            }
#endif
        }
        for (int a = 0; a < 64; a++) {
            b->h[first + a] = 2 * h[a] - all_J;
            b->g[first + a] = 2 * g[a] - all_v;
        }
    }
    for (ptrdiff_t mu = b->patterns; mu < b->padded; mu++) {
        b->h[mu] = b->h[0];
        b->g[mu] = b->g[0];
        for (ptrdiff_t limb = 0; limb < b->limbs; limb++)
            b->bits[limb * b->padded + mu] = b->bits[limb * b->padded];
    }
}

/* Signs that two patterns do not share. */
INLINE int billiard_distance(const billiard_t *b, ptrdiff_t mu, ptrdiff_t nu)
{
    int distance = 0;
    for (ptrdiff_t limb = 0; limb < b->limbs; limb++)
        distance += __builtin_popcountll(b->bits[limb * b->padded + mu] ^ b->bits[limb * b->padded + nu]);
    return distance;
}

#if defined(__AVX512VPOPCNTDQ__)
/* The same of eight patterns from mu on. */
INLINE __m512i billiard_distances(const billiard_t *b, ptrdiff_t mu, ptrdiff_t nu)
{
    __m512i distance = _mm512_setzero_si512();
    for (ptrdiff_t limb = 0; limb < b->limbs; limb++) {
        const uint64_t *bits = b->bits + limb * b->padded;
        const __m512i apart = _mm512_xor_si512(_mm512_load_si512(bits + mu), _mm512_set1_epi64((int64_t)bits[nu]));
        distance = _mm512_add_epi64(distance, _mm512_popcnt_epi64(apart));
    }
    return distance;
}
#endif

/* All patterns move on by the angle of (cosine, sine), then v changes by `kick` times the signs of pattern `at`, whose
 * wall has been met (-1: none); what is ahead of them.  `at` and its twins, if it has any, stand on the wall: they leave it. */
INLINE void billiard_pass(billiard_t *b, double cosine, double sine, double kick, ptrdiff_t at, int twins,
                          ahead_t *ahead)
{
    /* kick (c - 2 distance) */
    const double together = kick * (double)b->fan_in, apart = -2.0 * kick;
#if defined(__AVX512VPOPCNTDQ__)
    const __m512d cosines = _mm512_set1_pd(cosine), sines = _mm512_set1_pd(sine);
    const __m512d alike = _mm512_set1_pd(together), each = _mm512_set1_pd(apart);
    const __m512i met = _mm512_set1_epi64(at), all = _mm512_set1_epi64(b->fan_in);
    __m512d least = _mm512_set1_pd(INFINITY);
    __m512i where = _mm512_setzero_si512(), index = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
    for (ptrdiff_t mu = 0; mu < b->padded; mu += EIGHT) {
        const __m512d h = _mm512_load_pd(b->h + mu), g = _mm512_load_pd(b->g + mu);
        __m512d sum = _mm512_add_pd(_mm512_mul_pd(h, cosines), _mm512_mul_pd(g, sines));
        __m512d speed = _mm512_sub_pd(_mm512_mul_pd(g, cosines), _mm512_mul_pd(h, sines));
        __mmask8 on_wall = _mm512_cmpeq_epi64_mask(index, met) | _mm512_cmp_pd_mask(sum, _mm512_setzero_pd(), _CMP_EQ_OQ);
        if (kick != 0 || twins) {
            const __m512i distance = billiard_distances(b, mu, at);
            speed = _mm512_add_pd(
                speed, _mm512_add_pd(alike, _mm512_mul_pd(each, _mm512_cvtepi64_pd(distance))));
            if (twins)
                on_wall |= _mm512_testn_epi64_mask(distance, distance) | _mm512_cmpeq_epi64_mask(distance, all);
        }
        const __m512d slope = _mm512_div_pd(speed, sum);
        const __mmask8 sooner = _mm512_mask_cmp_pd_mask((__mmask8)~on_wall, slope, least, _CMP_LT_OQ);
        _mm512_store_pd(b->h + mu, _mm512_maskz_mov_pd((__mmask8)~on_wall, sum));
        _mm512_store_pd(b->g + mu, speed);
        least = _mm512_mask_mov_pd(least, sooner, slope);
        where = _mm512_mask_mov_epi64(where, sooner, index);
        index = _mm512_add_epi64(index, _mm512_set1_epi64(EIGHT));
    }
    _mm512_storeu_pd(ahead->slope, least);
    _mm512_storeu_si512(ahead->at, where);
#else
    for (int a = 0; a < EIGHT; a++) {
        ahead->slope[a] = INFINITY;
        ahead->at[a] = 0;
    }
    for (ptrdiff_t first = 0; first < b->padded; first += EIGHT) {
        double sum[EIGHT], speed[EIGHT], slope[EIGHT];
        for (int a = 0; a < EIGHT; a++) {
            const double h = b->h[first + a], g = b->g[first + a];
            sum[a] = h * cosine + g * sine;
            speed[a] = g * cosine - h * sine;
        }
        if (kick != 0 || twins) {
            for (int a = 0; a < EIGHT; a++) {
                const int distance = billiard_distance(b, first + a, at);
                speed[a] = speed[a] + (together + apart * distance);
                sum[a] = twins && (distance == 0 || distance == b->fan_in) ? 0.0 : sum[a];
            }
        }
        if (at >= first && at < first + EIGHT)
            sum[at - first] = 0.0;
        for (int a = 0; a < EIGHT; a++) {
            slope[a] = sum[a] == 0.0 ? INFINITY : speed[a] / sum[a];
            b->h[first + a] = sum[a];
            b->g[first + a] = speed[a];
        }
        for (int a = 0; a < EIGHT; a++) {
            if (slope[a] < ahead->slope[a]) {
                ahead->slope[a] = slope[a];
                ahead->at[a] = first + a;
            }
        }
    }
#endif
}

/* Copies of the loop without what it does not need. */
static void billiard_turn(billiard_t *b, double cosine, double sine, double kick, ptrdiff_t at, int twins,
                          ahead_t *ahead)
{
    if (twins)
        billiard_pass(b, cosine, sine, kick, at, 1, ahead);
    else if (kick != 0)
        billiard_pass(b, cosine, sine, kick, at, 0, ahead);
    else
        billiard_pass(b, cosine, sine, 0.0, at, 0, ahead);
}

/* The lane of the wall that is met next. */
INLINE int billiard_next(const ahead_t *ahead)
{
#if defined(__AVX512F__)
    const __m512d slopes = _mm512_loadu_pd(ahead->slope);
    return __builtin_ctz(_mm512_cmpeq_pd_mask(slopes, _mm512_set1_pd(_mm512_reduce_min_pd(slopes))) | 1u << EIGHT) % EIGHT;
#else
    int next = 0;
    for (int a = 1; a < EIGHT; a++)
        if (ahead->slope[a] < ahead->slope[next])
            next = a;
    return next;
#endif
}

/* Weights and velocity move on by an angle, then the signs of pattern `at` are added to the velocity, `kick` times. */
INLINE void billiard_move(billiard_t *b, double cosine, double sine, double kick, ptrdiff_t at)
{
    for (ptrdiff_t first = 0; first < b->fan_in; first += EIGHT) {
        const uint64_t bits = b->bits[first / 64 * b->padded + at] >> (first % 64);
#if defined(__AVX512F__)
        const __m512d J = _mm512_load_pd(b->J + first), v = _mm512_load_pd(b->v + first);
        const __m512d cosines = _mm512_set1_pd(cosine), sines = _mm512_set1_pd(sine);
        const __m512d kicks = _mm512_mask_mov_pd(_mm512_set1_pd(-kick), (__mmask8)bits, _mm512_set1_pd(kick));
        _mm512_store_pd(b->J + first, _mm512_add_pd(_mm512_mul_pd(J, cosines), _mm512_mul_pd(v, sines)));
        _mm512_store_pd(b->v + first, _mm512_add_pd(
            _mm512_sub_pd(_mm512_mul_pd(v, cosines), _mm512_mul_pd(J, sines)), kicks));
#else
        for (int a = 0; a < EIGHT; a++) {
            const double J = b->J[first + a], v = b->v[first + a];
            b->J[first + a] = J * cosine + v * sine;
            b->v[first + a] = v * cosine - J * sine + (bits >> a & 1 ? kick : -kick);
        }
#endif
    }
}

/* ------------------------------------------------------------------------------------------------- the walls */

INLINE int billiard_bit(const uint64_t *words, ptrdiff_t mu)
{
    return words[mu / 64] >> (mu % 64) & 1;
}

/* Lists the twins of a pattern, itself included; returns how many. */
INLINE ptrdiff_t billiard_twins(billiard_t *b, ptrdiff_t at)
{
    ptrdiff_t n = 0;
    if (billiard_bit(b->alone, at)) {
        b->twins[0] = (int32_t)at;
        return 1;
    }
    for (ptrdiff_t first = 0; first < b->patterns; first += EIGHT) {
#if defined(__AVX512VPOPCNTDQ__)
        const __m512i distance = billiard_distances(b, first, at);
        for (uint32_t found = _mm512_testn_epi64_mask(distance, distance)
                 | _mm512_cmpeq_epi64_mask(distance, _mm512_set1_epi64(b->fan_in)); found; found &= found - 1)
            if (first + __builtin_ctz(found) < b->patterns)
                b->twins[n++] = (int32_t)first + __builtin_ctz(found);
#else
        for (ptrdiff_t mu = first; mu < first + EIGHT && mu < b->patterns; mu++) {
            const int distance = billiard_distance(b, mu, at);
            if (distance == 0 || distance == b->fan_in)
                b->twins[n++] = (int32_t)mu;
        }
#endif
    }
    if (n == 1)
        b->alone[at / 64] |= (uint64_t)1 << (at % 64);
    return n;
}

/* Bit a: h[a] is positive. */
INLINE uint32_t billiard_signs(const double *h)
{
#if defined(__AVX512F__)
    return _mm512_cmp_pd_mask(_mm512_load_pd(h), _mm512_setzero_pd(), _CMP_GE_OQ);
#else
    uint32_t plus = 0;
    for (int a = 0; a < EIGHT; a++)
        plus |= (uint32_t)(h[a] >= 0) << a;
    return plus;
#endif
}

/* Whether the real sums have the signs that `side` says. */
INLINE int billiard_agrees(const billiard_t *b)
{
    for (ptrdiff_t first = 0; first < b->patterns; first += 64) {
        uint64_t plus = 0;
        for (int a = 0; a < 64; a += EIGHT)
            plus |= (uint64_t)billiard_signs(b->h + first + a) << a;
        const ptrdiff_t left = b->patterns - first;
        if ((plus ^ b->side[first / 64]) & (left < 64 ? ((uint64_t)1 << left) - 1 : ~(uint64_t)0))
            return 0;
    }
    return 1;
}

/* The same of the weights on the grid, q = rint(J scale): rounding moves a sum by at most c / 2 units. */
INLINE int billiard_fits(const billiard_t *b, double scale)
{
    const double doubt = (double)b->fan_in / scale;
    for (ptrdiff_t mu = 0; mu < b->patterns; mu++) {
        if (LIKELY(fabs(b->h[mu]) > doubt))
            continue;
        int64_t sum = 0;
        for (ptrdiff_t k = 0; k < b->fan_in; k++)
            sum += b->bits[k / 64 * b->padded + mu] >> (k % 64) & 1 ? b->q[k] : -b->q[k];
        if ((sum >= 0) != billiard_bit(b->side, mu))
            return 0;
    }
    return 1;
}

/* ------------------------------------------------------------------------------------------------- set-up */

static void billiard_free(billiard_t *b)
{
    void *const arrays[] = {b->h, b->g, b->bits, b->side, b->first, b->alone, b->cost, b->twins, (void *)b->rows,
                            b->row_words, b->J, b->v, b->q};
    for (size_t a = 0; a < sizeof arrays / sizeof *arrays; a++)
        free(arrays[a]);
    memset(b, 0, sizeof *b);
}

/* Room for one perceptron; 0, or -1 if there is not enough memory. */
static int billiard_make(billiard_t *b, const machine_t *machine)
{
    const size_t words = (size_t)((machine->patterns + 63) / 64), padded = 64 * words;
    const size_t fan_in = (size_t)machine->fan_in, limbs = (fan_in + 63) / 64, eights = (fan_in + 7) / 8 * 8;
    memset(b, 0, sizeof *b);
    b->patterns = machine->patterns;
    b->padded = (ptrdiff_t)padded;
    b->fan_in = machine->fan_in;
    b->limbs = (ptrdiff_t)limbs;
    b->h = allocate(padded, sizeof *b->h);
    b->g = allocate(padded, sizeof *b->g);
    b->bits = allocate(limbs * padded, sizeof *b->bits);
    b->side = allocate(words, sizeof *b->side);
    b->first = allocate(words, sizeof *b->first);
    b->alone = allocate(words, sizeof *b->alone);
    b->cost = allocate(padded, sizeof *b->cost);
    b->twins = allocate(padded, sizeof *b->twins);
    b->rows = allocate(fan_in, sizeof *b->rows);
    b->row_words = allocate(fan_in * words, sizeof *b->row_words);
    b->J = allocate(eights, sizeof *b->J);
    b->v = allocate(eights, sizeof *b->v);
    b->q = allocate(fan_in, sizeof *b->q);
    if (b->h && b->g && b->bits && b->side && b->first && b->alone && b->cost && b->twins && b->rows && b->row_words
        && b->J && b->v && b->q)
        return 0;
    billiard_free(b);
    return -1;
}
#endif

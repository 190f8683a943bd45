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
 * Time is counted from the middle of the motion: J and v are those of the circle there, and the sums over them, h and
 * g, give a pattern's wall at tan t = -h / g.  A wall that is met reflects the whole circle, v by -2 (v.s) s / c and J
 * likewise, as at that time J.s = 0.  So where nothing is reflected nothing changes, and no root or sine is needed.
 *
 * Only +, -, *, / pattern by pattern: every level gives the same bits.
 *
 * Bound: one pass over all patterns for each wall that is met, eight at a time: one division, and where the wall
 * reflects eighteen other operations, 24 bytes read and 16 written in L1 or L2.  M walls are met in half a turn.
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

/* A student's perceptron in motion.  Arrays of patterns are filled up to a multiple of eight with the first pattern. */
typedef struct {
    ptrdiff_t patterns, padded, fan_in, limbs;  /* M, 8 ceil(M / 8), c, ceil(c / 64) */
    ptrdiff_t stride;           /* patterns from limb to limb: 64 ceil(M / 64) */
    double *h, *g;              /* [mu] sums over J and over v */
    uint64_t *bits;             /* [limb][mu] signs of the inputs, bit k % 64 of limb k / 64 */
    uint64_t *side, *first;     /* [mu / 64] signs of the perceptron, now and at the start */
    uint64_t *alone;            /* [mu / 64] patterns that are known to have no twins */
    int32_t *cost;              /* [mu] Delta E if the pattern flips from its first side, or UNKNOWN */
    int32_t *twins;             /* those whose signs are equal or opposite to those of the wall that is met */
    const uint64_t **rows;      /* [k] sign words of the inputs */
    double *J, *v;              /* [k], up to a multiple of eight with 0 */
    double reflection;          /* 2 / c */
    double *tables;             /* [k / 4][J, v][16] sums of four weights with each choice of signs */
    int32_t *q;                 /* [k] weights on the grid */
} billiard_t;

/* The walls that are met next, the first in each of eight lanes: tan t = -u. */
typedef struct {
    double u[EIGHT];            /* the greatest is met first */
    int64_t at[EIGHT];          /* the pattern, or -1: none before the end */
} ahead_t;

/* ------------------------------------------------------------------------------------------------- passes */

/* Signs of the inputs by pattern, from their rows. */
static inline void billiard_take_rows(billiard_t *b)
{
    for (ptrdiff_t first = 0; first < b->stride; first += 64) {
        for (ptrdiff_t limb = 0; limb < b->limbs; limb++) {
            const ptrdiff_t end = 64 * (limb + 1) < b->fan_in ? 64 * (limb + 1) : b->fan_in;
            uint64_t *bits = b->bits + limb * b->stride + first;
#if defined(__AVX512F__)
            __m512i words[8];
            for (int a = 0; a < 8; a++)
                words[a] = _mm512_setzero_si512();
            for (ptrdiff_t k = 64 * limb; k < end; k++) {
                const uint64_t row = b->rows[k][first / 64];
                const __m512i bit = _mm512_set1_epi64((int64_t)((uint64_t)1 << (k - 64 * limb)));
#pragma GCC unroll 8
                for (int a = 0; a < 8; a++)
                    words[a] = _mm512_mask_or_epi64(words[a], (__mmask8)(row >> (8 * a)), words[a], bit);
            }
            for (int a = 0; a < 8; a++)
                _mm512_store_si512(bits + 8 * a, words[a]);
#else
            memset(bits, 0, 64 * sizeof *bits);
            for (ptrdiff_t k = 64 * limb; k < end; k++) {
                const uint64_t row = b->rows[k][first / 64];
                for (int a = 0; a < 64; a++)
                    bits[a] |= (row >> a & 1) << (k - 64 * limb);
            }
#endif
        }
    }
}

/* The first pattern again beyond the last. */
static void billiard_fill_up(billiard_t *b)
{
    for (ptrdiff_t limb = 0; limb < b->limbs; limb++)
        for (ptrdiff_t mu = b->patterns; mu < b->padded; mu++)
            b->bits[limb * b->stride + mu] = b->bits[limb * b->stride];
}

/* The 16 sums of +-x: in entry e number a is taken with + where bit a of e is set. */
INLINE void billiard_table(const double *x, double *table)
{
    for (int e = 0; e < 16; e++) {
        const double a = e & 1 ? x[0] : -x[0], b = e & 2 ? x[1] : -x[1];
        const double c = e & 4 ? x[2] : -x[2], d = e & 8 ? x[3] : -x[3];
        table[e] = a + b + c + d;
    }
}

/* h and g of all patterns from their bits: four inputs at a time. */
static void billiard_aim(billiard_t *b)
{
    const ptrdiff_t groups = (b->fan_in + 3) / 4;
    for (ptrdiff_t group = 0; group < groups; group++) {
        billiard_table(b->J + 4 * group, b->tables + 32 * group);
        billiard_table(b->v + 4 * group, b->tables + 32 * group + 16);
    }
    for (ptrdiff_t first = 0; first < b->padded; first += 32) {
#if defined(__AVX512F__)
        __m512d h[4], g[4];
        for (int a = 0; a < 4; a++)
            h[a] = g[a] = _mm512_setzero_pd();
        for (ptrdiff_t limb = 0; limb < b->limbs; limb++) {
            const ptrdiff_t end = 16 * (limb + 1) < groups ? 16 * (limb + 1) : groups;
            __m512i bits[4];
            for (int a = 0; a < 4; a++)
                bits[a] = _mm512_load_si512(b->bits + limb * b->stride + first + 8 * a);
            for (ptrdiff_t group = 16 * limb; group < end; group++) {
                const double *table = b->tables + 32 * group;
                const __m512d J0 = _mm512_load_pd(table), J1 = _mm512_load_pd(table + 8);
                const __m512d v0 = _mm512_load_pd(table + 16), v1 = _mm512_load_pd(table + 24);
#pragma GCC unroll 4
                for (int a = 0; a < 4; a++) {
                    h[a] = _mm512_add_pd(h[a], _mm512_permutex2var_pd(J0, bits[a], J1));
                    g[a] = _mm512_add_pd(g[a], _mm512_permutex2var_pd(v0, bits[a], v1));
                    bits[a] = _mm512_srli_epi64(bits[a], 4);
                }
            }
        }
        for (int a = 0; a < 4; a++) {
            _mm512_store_pd(b->h + first + 8 * a, h[a]);
            _mm512_store_pd(b->g + first + 8 * a, g[a]);
        }
#else
        for (ptrdiff_t mu = first; mu < first + 32; mu++) {
            double h = 0, g = 0;
            for (ptrdiff_t limb = 0; limb < b->limbs; limb++) {
                const ptrdiff_t end = 16 * (limb + 1) < groups ? 16 * (limb + 1) : groups;
                uint64_t bits = b->bits[limb * b->stride + mu];
                for (ptrdiff_t group = 16 * limb; group < end; group++, bits >>= 4) {
                    h += b->tables[32 * group + (ptrdiff_t)(bits & 15)];
                    g += b->tables[32 * group + 16 + (ptrdiff_t)(bits & 15)];
                }
            }
            b->h[mu] = h;
            b->g[mu] = g;
        }
#endif
    }
}

/* Signs that two patterns do not share. */
INLINE int billiard_distance(const uint64_t *bits, ptrdiff_t stride, ptrdiff_t mu, ptrdiff_t nu, ptrdiff_t limbs)
{
    int distance = 0;
    for (ptrdiff_t limb = 0; limb < limbs; limb++, bits += stride)
        distance += __builtin_popcountll(bits[mu] ^ bits[nu]);
    return distance;
}

#if defined(__AVX512VPOPCNTDQ__)
/* The same of eight patterns from mu on. */
INLINE __m512i billiard_distances(const uint64_t *bits, ptrdiff_t stride, ptrdiff_t mu, ptrdiff_t nu, ptrdiff_t limbs)
{
    __m512i distance = _mm512_setzero_si512();
    for (ptrdiff_t limb = 0; limb < limbs; limb++, bits += stride) {
        const __m512i apart = _mm512_xor_si512(_mm512_load_si512(bits + mu), _mm512_set1_epi64((int64_t)bits[nu]));
        distance = _mm512_add_epi64(distance, _mm512_popcnt_epi64(apart));
    }
    return distance;
}
#endif

/* The walls between u and `end` < u that are met next; before, if `kick` is not 0, the wall of pattern `at`, met at u,
 * reflects: g falls by kick s.s', h by u times that. */
INLINE void billiard_pass(billiard_t *b, double u, double end, double kick, ptrdiff_t at, ptrdiff_t limbs, ahead_t *ahead)
{
    /* what stands on the wall, `at` and its twins, by rounding a little before or behind, leaves it */
    const double from = u - fabs(u) * 0x1p-46;
    double *const sums = b->h, *const speeds = b->g;
    const ptrdiff_t padded = b->padded, stride = b->stride;
    const uint64_t *const bits = b->bits;
#if defined(__AVX512VPOPCNTDQ__)
    const __m512d limit = _mm512_set1_pd(from), kicks = _mm512_set1_pd(kick), us = _mm512_set1_pd(u);
    const __m512i all = _mm512_set1_epi64(b->fan_in);
    __m512d most = _mm512_set1_pd(end);
    __m512i where = _mm512_set1_epi64(-1), index = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
    for (ptrdiff_t mu = 0; mu < padded; mu += EIGHT) {
        __m512d h = _mm512_load_pd(sums + mu), g = _mm512_load_pd(speeds + mu);
        if (kick != 0) {
            const __m512i distance = billiard_distances(bits, stride, mu, at, limbs);
            const __m512d common = _mm512_cvtepi64_pd(
                _mm512_sub_epi64(all, _mm512_add_epi64(distance, distance)));
            const __m512d less = _mm512_mul_pd(kicks, common);
            g = _mm512_sub_pd(g, less);
            h = _mm512_sub_pd(h, _mm512_mul_pd(us, less));
            _mm512_store_pd(sums + mu, h);
            _mm512_store_pd(speeds + mu, g);
        }
        const __m512d wall = _mm512_div_pd(h, g);
        const __mmask8 sooner = _mm512_mask_cmp_pd_mask(
            _mm512_cmp_pd_mask(wall, limit, _CMP_LT_OQ), wall, most, _CMP_GT_OQ);
        most = _mm512_mask_mov_pd(most, sooner, wall);
        where = _mm512_mask_mov_epi64(where, sooner, index);
        index = _mm512_add_epi64(index, _mm512_set1_epi64(EIGHT));
    }
    _mm512_storeu_pd(ahead->u, most);
    _mm512_storeu_si512(ahead->at, where);
#else
    for (int a = 0; a < EIGHT; a++) {
        ahead->u[a] = end;
        ahead->at[a] = -1;
    }
    for (ptrdiff_t first = 0; first < padded; first += EIGHT) {
        double wall[EIGHT];
        for (int a = 0; a < EIGHT; a++) {
            const ptrdiff_t mu = first + a;
            double h = sums[mu], g = speeds[mu];
            if (kick != 0) {
                const double less = kick * (double)(b->fan_in - 2 * billiard_distance(bits, stride, mu, at, limbs));
                speeds[mu] = g = g - less;
                sums[mu] = h = h - u * less;
            }
            wall[a] = h / g;
        }
        for (int a = 0; a < EIGHT; a++) {
            if (wall[a] < from && wall[a] > ahead->u[a]) {
                ahead->u[a] = wall[a];
                ahead->at[a] = first + a;
            }
        }
    }
#endif
}

/* Copies of the loop: with and without a reflection, and with 64 inputs at most. */
static void billiard_look(billiard_t *b, double u, double end, double kick, ptrdiff_t at, ahead_t *ahead)
{
    if (kick == 0)
        billiard_pass(b, u, end, 0, 0, 0, ahead);
    else if (b->limbs == 1)
        billiard_pass(b, u, end, kick, at, 1, ahead);
    else
        billiard_pass(b, u, end, kick, at, b->limbs, ahead);
}

/* The lane of the wall that is met next. */
INLINE int billiard_next(const ahead_t *ahead)
{
#if defined(__AVX512F__)
    const __m512d u = _mm512_loadu_pd(ahead->u);
    return __builtin_ctz(_mm512_cmpeq_pd_mask(u, _mm512_set1_pd(_mm512_reduce_max_pd(u))));
#else
    int next = 0;
    for (int a = 1; a < EIGHT; a++)
        if (ahead->u[a] > ahead->u[next])
            next = a;
    return next;
#endif
}

/* From the start of a motion to its middle: J and v turn by the angle with this tangent and cosine. */
static void billiard_halve(billiard_t *b, double tangent, double cosine)
{
    for (ptrdiff_t k = 0; k < b->fan_in; k++) {
        const double J = b->J[k], v = b->v[k];
        b->J[k] = cosine * (J + tangent * v);
        b->v[k] = cosine * (v - tangent * J);
    }
}

/* From there to where it ends if nothing is met. */
static void billiard_finish(billiard_t *b, double tangent, double cosine)
{
    for (ptrdiff_t k = 0; k < b->fan_in; k++)
        b->J[k] = cosine * (b->J[k] + tangent * b->v[k]);
}

/* The wall of pattern `at` reflects: J falls by `less` times its signs. */
INLINE void billiard_reflect(billiard_t *b, double less, ptrdiff_t at)
{
    const ptrdiff_t fan_in = b->fan_in, stride = b->stride;
    const uint64_t *limb = b->bits + at;
    double *J = b->J;
    for (ptrdiff_t first = 0; first < fan_in; first += 64, limb += stride) {
        const ptrdiff_t end = first + 64 < fan_in ? first + 64 : fan_in;
        uint64_t bits = *limb;
        for (ptrdiff_t k = first; k < end; k += EIGHT, bits >>= EIGHT) {
#if defined(__AVX512F__)
            const __m512d fall = _mm512_mask_mov_pd(_mm512_set1_pd(-less), (__mmask8)bits, _mm512_set1_pd(less));
            _mm512_store_pd(J + k, _mm512_sub_pd(_mm512_load_pd(J + k), fall));
#else
            for (int a = 0; a < EIGHT; a++)
                J[k + a] -= bits >> a & 1 ? less : -less;
#endif
        }
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
        const __m512i distance = billiard_distances(b->bits, b->stride, first, at, b->limbs);
        for (uint32_t found = _mm512_testn_epi64_mask(distance, distance)
                 | _mm512_cmpeq_epi64_mask(distance, _mm512_set1_epi64(b->fan_in)); found; found &= found - 1)
            if (first + __builtin_ctz(found) < b->patterns)
                b->twins[n++] = (int32_t)first + __builtin_ctz(found);
#else
        for (ptrdiff_t mu = first; mu < first + EIGHT && mu < b->patterns; mu++) {
            const int distance = billiard_distance(b->bits, b->stride, mu, at, b->limbs);
            if (distance == 0 || distance == b->fan_in)
                b->twins[n++] = (int32_t)mu;
        }
#endif
    }
    if (n == 1)
        b->alone[at / 64] |= (uint64_t)1 << (at % 64);
    return n;
}

/* Bit a: pattern a is positive at tan t = -u. */
INLINE uint32_t billiard_signs(const double *h, const double *g, double u)
{
#if defined(__AVX512F__)
    return _mm512_cmp_pd_mask(_mm512_load_pd(h), _mm512_mul_pd(_mm512_set1_pd(u), _mm512_load_pd(g)), _CMP_GE_OQ);
#else
    uint32_t plus = 0;
    for (int a = 0; a < EIGHT; a++)
        plus |= (uint32_t)(h[a] >= u * g[a]) << a;
    return plus;
#endif
}

/* Whether the sums at tan t = -u have the signs that `side` says. */
INLINE int billiard_agrees(const billiard_t *b, double u)
{
    for (ptrdiff_t first = 0; first < b->patterns; first += 64) {
        uint64_t plus = 0;
        for (int a = 0; a < 64 && first + a < b->padded; a += EIGHT)
            plus |= (uint64_t)billiard_signs(b->h + first + a, b->g + first + a, u) << a;
        const ptrdiff_t left = b->patterns - first;
        if ((plus ^ b->side[first / 64]) & (left < 64 ? ((uint64_t)1 << left) - 1 : ~(uint64_t)0))
            return 0;
    }
    return 1;
}

/* Patterns of which rounding may decide, of 64 from `first` on: their sums are within `doubt` at tan t = -u. */
INLINE uint64_t billiard_doubts(const billiard_t *b, ptrdiff_t first, double u, double doubt)
{
    uint64_t near = 0;
    for (ptrdiff_t a = 0; a < 64 && first + a < b->padded; a += EIGHT) {
        const double *h = b->h + first + a, *g = b->g + first + a;
#if defined(__AVX512F__)
        const __m512d sum = _mm512_sub_pd(_mm512_load_pd(h), _mm512_mul_pd(_mm512_set1_pd(u), _mm512_load_pd(g)));
        near |= (uint64_t)_mm512_cmp_pd_mask(_mm512_abs_pd(sum), _mm512_set1_pd(doubt), _CMP_NGT_UQ) << a;
#else
        for (int lane = 0; lane < EIGHT; lane++)
            near |= (uint64_t)!(fabs(h[lane] - u * g[lane]) > doubt) << (a + lane);
#endif
    }
    return near;
}

INLINE int64_t billiard_grid_sum(const billiard_t *b, ptrdiff_t mu)
{
    int64_t sum = 0;
    for (ptrdiff_t k = 0; k < b->fan_in; k++)
        sum += b->bits[k / 64 * b->stride + mu] >> (k % 64) & 1 ? b->q[k] : -b->q[k];
    return sum;
}

/* Whether the weights at the end, on the grid, q = rint(J scale), have the signs that `side` says: rounding moves a sum
 * by at most c / 2 units.  `longer`: by how much J is shorter than h - u g. */
INLINE int billiard_fits(const billiard_t *b, double u, double longer, double scale)
{
    const double doubt = longer * (double)b->fan_in / scale;
    for (ptrdiff_t first = 0; first < b->patterns; first += 64) {
        for (uint64_t near = billiard_doubts(b, first, u, doubt); near; near &= near - 1) {
            const ptrdiff_t mu = first + __builtin_ctzll(near);
            if (mu < b->patterns && (billiard_grid_sum(b, mu) >= 0) != billiard_bit(b->side, mu))
                return 0;
        }
    }
    return 1;
}

/* ------------------------------------------------------------------------------------------------- set-up */

static void billiard_free(billiard_t *b)
{
    void *const arrays[] = {b->h, b->g, b->bits, b->side, b->first, b->alone, b->cost, b->twins, (void *)b->rows,
                            b->J, b->v, b->tables, b->q};
    for (size_t a = 0; a < sizeof arrays / sizeof *arrays; a++)
        free(arrays[a]);
    memset(b, 0, sizeof *b);
}

/* Room for one perceptron; 0, or -1 if there is not enough memory. */
static int billiard_make(billiard_t *b, const machine_t *machine)
{
    const size_t words = (size_t)((machine->patterns + 63) / 64), stride = 64 * words;
    const size_t fan_in = (size_t)machine->fan_in, limbs = (fan_in + 63) / 64, eights = (fan_in + 7) / 8 * 8;
    memset(b, 0, sizeof *b);
    b->patterns = machine->patterns;
    b->padded = (machine->patterns + EIGHT - 1) / EIGHT * EIGHT;
    b->stride = (ptrdiff_t)stride;
    b->fan_in = machine->fan_in;
    b->limbs = (ptrdiff_t)limbs;
    b->reflection = 2.0 / (double)machine->fan_in;
    b->h = allocate(stride, sizeof *b->h);
    b->g = allocate(stride, sizeof *b->g);
    b->bits = allocate(limbs * stride, sizeof *b->bits);
    b->side = allocate(words, sizeof *b->side);
    b->first = allocate(words, sizeof *b->first);
    b->alone = allocate(words, sizeof *b->alone);
    b->cost = allocate(stride, sizeof *b->cost);
    b->twins = allocate(stride, sizeof *b->twins);
    b->rows = allocate(fan_in, sizeof *b->rows);
    b->J = allocate(eights, sizeof *b->J);
    b->v = allocate(eights, sizeof *b->v);
    b->tables = allocate(eights / 4 * 32, sizeof *b->tables);
    b->q = allocate(fan_in, sizeof *b->q);
    if (b->h && b->g && b->bits && b->side && b->first && b->alone && b->cost && b->twins && b->rows
        && b->J && b->v && b->tables && b->q)
        return 0;
    billiard_free(b);
    return -1;
}
#endif

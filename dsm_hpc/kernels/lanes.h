/* Vector primitives of the student kernel: eight int32 lanes in GCC's portable vector types.
 *
 * One code path for every instruction set (the compiler lowers it to AVX2, or to pairs of SSE2
 * registers), integers only: every build gives the same bits.  Bound of each loop: one load and one
 * add per eight pre-activations, everything in L1/L2.
 */
#ifndef DSM_LANES_H
#define DSM_LANES_H
#include <stddef.h>
#include <stdint.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define LANES 8
typedef int32_t lanes_t __attribute__((vector_size(32)));
/* memcpy is the aliasing-safe unaligned load and store; it compiles to one instruction. */
static inline __attribute__((always_inline)) lanes_t load_lanes(const int32_t *p)
{
    lanes_t v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

static inline __attribute__((always_inline)) void store_lanes(int32_t *p, lanes_t v)
{
    __builtin_memcpy(p, &v, sizeof v);
}

/* Bit b of the result is the sign bit of lane b. */
static inline __attribute__((always_inline)) uint32_t negative_lanes(lanes_t v)
{
#if defined(__AVX2__)
    return (uint32_t)_mm256_movemask_ps((__m256)v);
#else
    uint32_t mask = 0;
    for (int b = 0; b < LANES; b++)
        mask |= ((uint32_t)v[b] >> 31) << b;
    return mask;
#endif
}

/* Lane b is +change where bit b of `signs` is set (S = +1), -change elsewhere. */
static inline __attribute__((always_inline)) lanes_t signed_change(uint32_t signs, int32_t change)
{
    const lanes_t bit = {1, 2, 4, 8, 16, 32, 64, 128};
    lanes_t set = (((lanes_t){} + (int32_t)(signs & 255u)) & bit) == bit;
    return (set & (2 * change)) - change;
}

/* Which of 64 patterns change sign at a perceptron when a weight changes by `change`;
 * h: its pre-activations, signs: the bits of the weight's input.  Nothing is written. */
static inline uint64_t flipped_patterns(const int32_t *h, uint64_t signs, int32_t change)
{
    uint64_t flipped = 0;
    for (int b = 0; b < 64; b += LANES) {
        lanes_t old = load_lanes(h + b);
        lanes_t new = old + signed_change((uint32_t)(signs >> b), change);
        flipped |= (uint64_t)negative_lanes(old ^ new) << b;
    }
    return flipped;
}

/* The same change, carried out on 64 pre-activations. */
static inline void shift_patterns(int32_t *h, uint64_t signs, int32_t change)
{
    for (int b = 0; b < 64; b += LANES)
        store_lanes(h + b, load_lanes(h + b) + signed_change((uint32_t)(signs >> b), change));
}

/* 8 * vectors perceptrons of a fully connected layer after some of its inputs flipped:
 * h + sum of the raised inputs' columns - sum of the lowered inputs' columns, kept in registers.
 * columns[j * stride] holds 2J from input j to these perceptrons; `vectors` is a constant of the caller. */
static inline __attribute__((always_inline)) void add_columns(
    lanes_t *h, int vectors, const int32_t *columns, size_t stride,
    const int32_t *raised, int n_raised, const int32_t *lowered, int n_lowered)
{
    for (int e = 0; e < n_raised; e++)
        for (int v = 0; v < vectors; v++)
            h[v] += load_lanes(columns + (size_t)raised[e] * stride + v * LANES);
    for (int e = 0; e < n_lowered; e++)
        for (int v = 0; v < vectors; v++)
            h[v] -= load_lanes(columns + (size_t)lowered[e] * stride + v * LANES);
}
#endif

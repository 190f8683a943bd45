/* Vectors of integers, the widest that the level has: GCC's portable vector types, and what they lack.
 *
 * Integers only, so that every level gives the same bits.
 */
#ifndef DSM_LANES_H
#define DSM_LANES_H
#include "machine.h"
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512BW__)
#define BYTES 64
#elif defined(__AVX2__)
#define BYTES 32
#else
#define BYTES 16
#endif
enum {
    LANES = BYTES / 4,
    SHORTS = BYTES / 2,
    SPARE = 128,        /* of the 16 bits, for rounding: at most 128 tables, weights or columns, a half each */
};
typedef int32_t lanes_t __attribute__((vector_size(BYTES)));
typedef int16_t shorts_t __attribute__((vector_size(BYTES)));
typedef uint16_t ushorts_t __attribute__((vector_size(BYTES)));

/* memcpy is the aliasing-safe unaligned load and store; it compiles to one instruction. */
INLINE lanes_t load_lanes(const int32_t *p)
{
    lanes_t v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

INLINE void store_lanes(int32_t *p, lanes_t v)
{
    __builtin_memcpy(p, &v, sizeof v);
}

/* v where the lane's bit is set, -v elsewhere. */
INLINE lanes_t signed_lanes(lanes_t v, uint32_t bits)
{
#if BYTES == 64
    return (lanes_t)_mm512_mask_sub_epi32((__m512i)v, (__mmask16)~bits, _mm512_setzero_si512(), (__m512i)v);
#else
#if BYTES == 32
    const lanes_t bit = {1, 2, 4, 8, 16, 32, 64, 128};
#else
    const lanes_t bit = {1, 2, 4, 8};
#endif
    const lanes_t minus = (((lanes_t){} + (int32_t)bits) & bit) == 0;
    return (v ^ minus) - minus;
#endif
}

INLINE int32_t sum_of_lanes(lanes_t v)
{
#if BYTES == 64
    return _mm512_reduce_add_epi32((__m512i)v);
#else
    int32_t sum = 0;
    for (int b = 0; b < LANES; b++)
        sum += v[b];
    return sum;
#endif
}

/* Bit b: lane b is negative. */
INLINE uint32_t negative_lanes(lanes_t v)
{
#if defined(__AVX512BW__)
    return _mm512_movepi32_mask((__m512i)v);
#elif defined(__AVX2__)
    return (uint32_t)_mm256_movemask_ps((__m256)v);
#elif defined(__SSE2__)
    return (uint32_t)_mm_movemask_ps((__m128)v);
#else
    uint32_t mask = 0;
    for (int b = 0; b < LANES; b++)
        mask |= ((uint32_t)v[b] >> 31) << b;
    return mask;
#endif
}

/* Bit b: h[b] changes sign when `change`, with the sign of bit b of `signs`, is added. */
INLINE uint32_t flipped_lanes(const int32_t *h, uint32_t signs, int32_t change)
{
    const lanes_t old = load_lanes(h), new = old + signed_lanes((lanes_t){} + change, signs);
    return negative_lanes(old ^ new);
}

INLINE shorts_t load_shorts(const void *p)
{
    shorts_t v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

INLINE void store_shorts(void *p, shorts_t v)
{
    __builtin_memcpy(p, &v, sizeof v);
}

/* Bit b: lane b is negative. */
INLINE uint32_t negative_shorts(shorts_t v)
{
#if defined(__AVX512BW__)
    return _mm512_movepi16_mask((__m512i)v);
#elif defined(__AVX2__)
    __m128i low = _mm256_castsi256_si128((__m256i)v), high = _mm256_extracti128_si256((__m256i)v, 1);
    return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(low, high));
#elif defined(__SSE2__)
    return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16((__m128i)v, (__m128i){}));
#else
    uint32_t mask = 0;
    for (int b = 0; b < SHORTS; b++)
        mask |= (uint32_t)((uint16_t)v[b] >> 15) << b;
    return mask;
#endif
}

/* Bit b: lane b is one of `window` numbers from -slack on. */
INLINE uint32_t near_zero(shorts_t v, int16_t slack, shorts_t window)
{
#if defined(__AVX512BW__)
    return _mm512_cmplt_epu16_mask((__m512i)(v + slack), (__m512i)window);
#else
    return negative_shorts((shorts_t)((ushorts_t)(v + slack) < (ushorts_t)window));
#endif
}

/* Sums in 16 bits are rounded to 2^shift.  To the nearest multiple: */
INLINE int32_t rounded(int64_t weight, int shift)
{
    return (int32_t)((weight + (((int64_t)1 << shift) >> 1)) >> shift);
}

/* Whether the sums of a perceptron with this sum of |weights| fit. */
INLINE int fits_shorts(int64_t absolute_sum, int shift)
{
    return absolute_sum <= (int64_t)(INT16_MAX - SPARE) << shift;
}

/* Bit b: lane b has some of these bits set. */
INLINE uint32_t with_bits(shorts_t v, int16_t bits)
{
#if defined(__AVX512BW__)
    return _mm512_test_epi16_mask((__m512i)v, _mm512_set1_epi16(bits));
#else
    return negative_shorts((shorts_t)((v & bits) != 0));
#endif
}
#endif

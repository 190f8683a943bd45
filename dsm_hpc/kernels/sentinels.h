/* Patterns of a perceptron that are likely to flip.
 *
 * At E = 0 any pattern that flips may be the first to be followed.  A few with small |h| are kept for each perceptron,
 * with their h as it was last seen, so that no more need be read than the one pattern that should flip by these, and
 * nearly always does.  They are hints, also to other threads, which may replace them meanwhile: no decision depends on
 * them.
 */
#ifndef DSM_SENTINELS_H
#define DSM_SENTINELS_H
#include "machine.h"
#if defined(__SSE2__)
#include <immintrin.h>
#endif

enum { SENTINELS = 4 };         /* a vector of SSE2, and as many as words_four_values has */
typedef int32_t by_sentinel_t __attribute__((vector_size(4 * SENTINELS)));

typedef struct sentinels {
    _Alignas(8 * SENTINELS) int32_t mu[SENTINELS];
    by_sentinel_t h;        /* 0 where it is not known: a change that lowers it should flip it */
} sentinels_t;

INLINE int32_t sentinel(const sentinels_t *sentinels, int a)
{
    return __atomic_load_n(&sentinels->mu[a], __ATOMIC_RELAXED);
}

INLINE void set_sentinel(sentinels_t *sentinels, int a, int32_t mu, int32_t h)
{
    __atomic_store_n(&sentinels->mu[a], mu, __ATOMIC_RELAXED);
    sentinels->h[a] = h;
}

/* By how much h changes with a weight; plus: whether its input is +1. */
INLINE by_sentinel_t signed_change(by_sentinel_t plus, int32_t change)
{
    const by_sentinel_t minus = plus - 1;
    return (((by_sentinel_t){} + change) ^ minus) - minus;
}

/* Bit a: sentinel a flips, if h is as it was last seen.  All at once, without a branch. */
INLINE uint32_t expected_flips(const sentinels_t *sentinels, by_sentinel_t plus, int32_t change)
{
    const by_sentinel_t turned = sentinels->h ^ (sentinels->h + signed_change(plus, change));
#if defined(__SSE2__)
    return (uint32_t)_mm_movemask_ps((__m128)turned);
#else
    uint32_t flipped = 0;
    for (int a = 0; a < SENTINELS; a++)
        flipped |= (uint32_t)turned[a] >> 31 << a;
    return flipped;
#endif
}

/* Whether a pattern with pre-activation h flips. */
INLINE int changes_sign(int32_t h, int plus, int32_t change)
{
    return (h ^ (plus ? h + change : h - change)) < 0;
}

/* A pattern that flips takes the place of the one with the largest |h|. */
INLINE void watch(sentinels_t *sentinels, int32_t mu, int32_t h)
{
    int out = 0;
    for (int a = 1; a < SENTINELS; a++)
        if (abs(sentinels->h[a]) > abs(sentinels->h[out]))
            out = a;
    for (int a = 0; a < SENTINELS; a++)
        if (sentinel(sentinels, a) == mu)   /* it is one, last seen farther from 0 */
            out = a;
    set_sentinel(sentinels, out, mu, h);
}

/* A sentinel that flips without harm does not help: the next pattern takes its place. */
INLINE void dismiss(sentinels_t *sentinels, int32_t mu, ptrdiff_t patterns)
{
    for (int a = 0; a < SENTINELS; a++)
        if (sentinel(sentinels, a) == mu)
            set_sentinel(sentinels, a, (int32_t)((mu + 1) % patterns), 0);
}
#endif

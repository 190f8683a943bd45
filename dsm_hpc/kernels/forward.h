/* Forward pass of 64 patterns through one layer, patterns in the vector lanes.
 *
 * The inputs come as masks (-1 for S = +1, 0 for S = -1), so that one weight costs one AND and one add
 * per eight patterns: h = sum_k (mask & 2J) - sum_k J.  Bound: two vector operations and one L1 load
 * per weight and eight patterns.
 */
#ifndef DSM_FORWARD_H
#define DSM_FORWARD_H
#include "lanes.h"

#define BLOCK 64

static inline void expand_signs(const uint64_t *words, ptrdiff_t stride, ptrdiff_t width, int32_t *masks)
{
    for (ptrdiff_t j = 0; j < width; j++) {
        uint64_t word = words[j * stride];
        for (int b = 0; b < BLOCK; b++)
            masks[j * BLOCK + b] = -(int32_t)(word >> b & 1);
    }
}

/* h of one perceptron for 64 patterns; weights: its c integers, inputs: the neurons it reads. */
static inline void perceptron_block(
    const int32_t *weights, const int32_t *inputs, ptrdiff_t fan_in, const int32_t *masks, int32_t *h)
{
    lanes_t sum[BLOCK / LANES] = {};
    int32_t total = 0;
    for (ptrdiff_t k = 0; k < fan_in; k++) {
        const int32_t *mask = masks + (size_t)inputs[k] * BLOCK;
        for (int v = 0; v < BLOCK / LANES; v++)
            sum[v] += load_lanes(mask + v * LANES) & (2 * weights[k]);
        total += weights[k];
    }
    for (int v = 0; v < BLOCK / LANES; v++)
        store_lanes(h + v * LANES, sum[v] - total);
}

static inline uint64_t plus_signs(const int32_t *h)
{
    uint64_t minus = 0;
    for (int b = 0; b < BLOCK; b += LANES)
        minus |= (uint64_t)negative_lanes(load_lanes(h + b)) << b;
    return ~minus;
}
#endif

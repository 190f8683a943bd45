/* Forward pass of 64 patterns at a time, patterns in the vector lanes.
 *
 * The inputs come as masks (-1 for S = +1, 0 for S = -1), so that one weight costs one AND and one add
 * per vector of patterns: h = sum_k (mask & 2J) - sum_k J.  Bound: two vector operations and one L1 load
 * per weight and vector.
 */
#ifndef DSM_FORWARD_H
#define DSM_FORWARD_H
#include "lanes.h"
#include "machine.h"

enum { BLOCK = 64 };

INLINE void expand_signs(const uint64_t *words, ptrdiff_t stride, ptrdiff_t width, int32_t *masks)
{
    for (ptrdiff_t j = 0; j < width; j++) {
        const uint64_t word = words[j * stride];
        for (int b = 0; b < BLOCK; b++)
            masks[j * BLOCK + b] = -(int32_t)(word >> b & 1);
    }
}

/* Signs of one perceptron for 64 patterns; weights: its c integers, inputs: the neurons it reads. */
INLINE uint64_t perceptron_block(
    const int32_t *weights, const int32_t *inputs, ptrdiff_t fan_in, const int32_t *masks)
{
    lanes_t sum[BLOCK / LANES] = {};
    int32_t total = 0;
    uint64_t minus = 0;
    for (ptrdiff_t k = 0; k < fan_in; k++) {
        const int32_t *mask = masks + inputs[k] * BLOCK;
        for (int v = 0; v < BLOCK / LANES; v++)
            sum[v] += load_lanes(mask + v * LANES) & (2 * weights[k]);
        total += weights[k];
    }
    for (int v = 0; v < BLOCK / LANES; v++)
        minus |= (uint64_t)negative_lanes(sum[v] - total) << (v * LANES);
    return ~minus;
}

/* Signs of all layers.  signs: [0..L][N][W], layer 0 is given; bits beyond the last pattern become 0.
 * 0, or -1 if there is not enough memory. */
static int forward_pass(const machine_t *machine, uint64_t *signs)
{
    const ptrdiff_t width = machine->width, words = (machine->patterns + 63) / 64;
    int32_t *masks = allocate((size_t)width * BLOCK, sizeof *masks);
    if (!masks)
        return -1;
    for (ptrdiff_t w = 0; w < words; w++) {
        const ptrdiff_t beyond = 64 * (w + 1) - machine->patterns;
        const uint64_t valid = ~(uint64_t)0 >> (beyond > 0 ? beyond : 0);
        for (ptrdiff_t l = 0; l < machine->depth; l++) {
            uint64_t *above = signs + (l + 1) * width * words + w;
            expand_signs(signs + l * width * words + w, words, width, masks);
            for (ptrdiff_t i = 0; i < width; i++) {
                const ptrdiff_t first = place_of(machine, l, i, 0);
                above[i * words] = valid & perceptron_block(machine->weights + first, machine->inputs + first,
                                                            machine->fan_in, masks);
            }
        }
    }
    free(masks);
    return 0;
}
#endif

/* Machines of at most 64 neurons per layer: the signs of a layer in one pattern are one word, and a layer is
 * computed anew from the word below it.
 *
 * Below a flip half the neurons change after a layer or two, so following single changes saves nothing here.
 * Four inputs at a time index a table of their 16 possible contributions to all perceptrons: N/4 rows of N
 * integers are added.  Sparse machines have zeros for the inputs that a perceptron does not read.
 *
 * Bound: N/4 x N/8 vector loads per layer and pattern, from L1 while a layer's table (16 N^2 bytes) fits, else
 * from L2.
 */
#ifndef DSM_WORDS_H
#define DSM_WORDS_H
#include "lanes.h"

#define WORD 64
#define INPUTS 4                    /* inputs that index a row together */
#define ROWS (1 << INPUTS)

typedef struct {
    ptrdiff_t depth, width, padded, patterns, groups;   /* groups = ceil(N / 4) */
    uint64_t valid;        /* the low N bits */
    int32_t *table;        /* [l = 1..depth-1][group][16][padded]: sum over the group's inputs of +J or -J */
    uint64_t *state;       /* [0..depth][pattern], bit i = neuron i is +1 */
    uint64_t *target;      /* [pattern] */
} words_t;

static inline int32_t *table_of(const words_t *words, ptrdiff_t l, ptrdiff_t group)
{
    return words->table + ((l - 1) * words->groups + group) * ROWS * words->padded;
}

static inline uint64_t *state_of(const words_t *words, ptrdiff_t l)
{
    return words->state + l * words->patterns;
}

/* The weight of perceptron i of layer l for input neuron j changes by `change`. */
static inline void change_table(words_t *words, ptrdiff_t l, ptrdiff_t i, ptrdiff_t j, int32_t change)
{
    int32_t *entry = table_of(words, l, j / INPUTS) + i;
    for (int row = 0; row < ROWS; row++, entry += words->padded)
        *entry += row >> (j % INPUTS) & 1 ? change : -change;
}

/* Signs of layer l (of perceptrons) over the layer below; h: where to leave its pre-activations, or NULL.
 * `vectors` is a constant of the caller, so that the sums stay in registers. */
static inline __attribute__((always_inline)) uint64_t layer_above(
    const words_t *words, ptrdiff_t l, uint64_t below, int vectors, int32_t *h)
{
    const int32_t *rows = table_of(words, l, 0);
    const ptrdiff_t stride = vectors * LANES;
    lanes_t sum[WORD / LANES];
    uint64_t minus = 0;
    for (int v = 0; v < vectors; v++)
        sum[v] = load_lanes(rows + (below & (ROWS - 1)) * stride + v * LANES);
    for (ptrdiff_t group = 1; group < words->groups; group++) {
        below >>= INPUTS;
        rows += ROWS * stride;
        const int32_t *row = rows + (below & (ROWS - 1)) * stride;
        for (int v = 0; v < vectors; v++)
            sum[v] += load_lanes(row + v * LANES);
    }
    for (int v = 0; v < vectors; v++) {
        minus |= (uint64_t)negative_lanes(sum[v]) << (v * LANES);
        if (h)
            store_lanes(h + v * LANES, sum[v]);
    }
    return ~minus & words->valid;
}

/* Wrong output bits that a pattern has, when `state` is that of layer `from`; stops where nothing is new. */
static inline __attribute__((always_inline)) int wrong_above(
    const words_t *words, ptrdiff_t from, ptrdiff_t mu, uint64_t state, int wrong, int vectors)
{
    for (ptrdiff_t l = from; l < words->depth; l++) {
        state = layer_above(words, l, state, vectors, NULL);
        if (state == state_of(words, l + 1)[mu])
            return wrong;
    }
    return __builtin_popcountll(state ^ words->target[mu]);
}

/* Neuron i of layer l + 1 (1..depth) flips in pattern mu: wrong output bits of the pattern afterwards.
 * wrong: those before. */
static int wrong_after_flip(const words_t *words, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu, int wrong)
{
    uint64_t state = state_of(words, l + 1)[mu] ^ (uint64_t)1 << i;
    switch (words->padded / LANES) {
    case 1: return wrong_above(words, l + 1, mu, state, wrong, 1);
    case 2: return wrong_above(words, l + 1, mu, state, wrong, 2);
    case 3: return wrong_above(words, l + 1, mu, state, wrong, 3);
    case 4: return wrong_above(words, l + 1, mu, state, wrong, 4);
    case 5: return wrong_above(words, l + 1, mu, state, wrong, 5);
    case 6: return wrong_above(words, l + 1, mu, state, wrong, 6);
    case 7: return wrong_above(words, l + 1, mu, state, wrong, 7);
    default: return wrong_above(words, l + 1, mu, state, wrong, 8);
    }
}

/* The same layer, when it is kept: rarely needed, so without copies for each number of vectors. */
static inline uint64_t kept_layer(const words_t *words, ptrdiff_t l, uint64_t below, int32_t *h)
{
    int vectors = (int)(words->padded / LANES);
    if (vectors > WORD / LANES)   /* never: for the compiler, which sees the size of the sums */
        __builtin_unreachable();
    return layer_above(words, l, below, vectors, h);
}
#endif

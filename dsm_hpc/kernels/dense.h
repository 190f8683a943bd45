/* Machines of at most 128 neurons per layer, fully connected or with many inputs: pre-activations are kept, and a flip
 * is followed upwards by adding the columns of weights above the neurons that flip.
 *
 * A proposal flips one neuron, so that the first layer above it has one changed input, the next about six of a
 * hundred, then 16, then 26: fewer additions than a layer computed anew from all its inputs takes (words.h).
 * Nothing is written while a proposal is evaluated but which perceptrons flip.
 *
 *   pre-activations   by perceptron, for its row: exact.  By pattern, to add columns to: 16 bits, rounded down to
 *                     2^shift, so that their signs are right.
 *   columns           [layer][neuron below][perceptron] 2q: what a flip of the neuron adds to the layer.  Exact, for what
 *                     an accepted proposal stores, and to the nearest multiple of 2^shift, for what is evaluated.
 *   signs             [layer][neuron], a bit for each pattern: what the inputs of a row are.
 *
 * Exact: the sign of a sum that rounding could have changed (one of some hundred) is found from the exact integers.
 *
 * Bounds.  Layer above: a vector from L1 or L2 (a layer's columns: 2 N^2 bytes) for each flipped neuron and 32
 * perceptrons, and N/16 lines from L2 (2 L N M bytes).  Row: M/16 lines, or one where a sentinel flips.  An accepted
 * proposal writes a line for two patterns, and one for each task, layer and perceptron.
 */
#ifndef DSM_DENSE_H
#define DSM_DENSE_H
#include "lanes.h"

enum {
    DENSE_WIDTH = 128,              /* most neurons per layer */
    DENSE_BLOCK = 32,               /* neurons in a vector of the widest level */
    DENSE_HALF = 16,                /* neurons of a pattern in a cache line */
    DENSE_LINE = 16,                /* patterns in a cache line of a row */
    DENSE_PARTS = DENSE_BLOCK / SHORTS,     /* vectors in a block */
    DENSE_CHUNK = DENSE_PARTS < 4 ? 4 : 2,  /* blocks in at most eight registers */
};

/* A bit for each neuron of a layer. */
typedef struct { uint64_t of[DENSE_WIDTH / 64]; } dense_bits_t;

/* The neurons of a layer that flip in a pattern. */
typedef struct {
    int32_t count, lowered;         /* how many, and how many of them become -1 */
    int8_t of[DENSE_WIDTH];         /* the neuron, less 128 if it becomes -1 */
} dense_front_t;

typedef struct {
    const machine_t *machine;
    ptrdiff_t blocks, words;        /* ceil(N / 32), ceil(M / 64) */
    ptrdiff_t stride;               /* patterns from one row to the next: odd in cache lines */
    ptrdiff_t pair;                 /* shorts from two patterns to the next two: odd in cache lines, so that what an
                                     * accepted proposal writes does not fall into few sets of L1 */
    ptrdiff_t layer;                /* shorts from layer to layer */
    int shift;                      /* what is followed is rounded to 2^shift */
    int32_t *rows;                  /* [l][perceptron][stride] pre-activations */
    int16_t *by_pattern;            /* the same, rounded, [l = 1..L-1][pattern][perceptron]; 0 where there is none */
    int32_t *columns;               /* [l = 1..L-1][neuron below][perceptron] 2q; 0 where there is no link */
    int16_t *rounded;               /* the same, rounded */
    dense_bits_t valid;             /* neurons that there are */
    uint64_t *signs;                /* [0..L][neuron][words] */
    dense_bits_t *targets;          /* [pattern]; 1 where there is no neuron, as h = 0 counts as +1 */
    /* scratch: what the tasks of a proposal change, for the commit */
    dense_bits_t *turned;           /* [task][layer] perceptrons that flip */
    int32_t *top;                   /* [task] the last layer of pre-activations that change */
} dense_t;

/* Functions that take `blocks` = ceil(N / 32) have a copy for each: strides and loops of known length. */
#define DENSE_STRIDE(blocks) ((blocks) * DENSE_BLOCK)   /* perceptrons from column to column */

/* ----------------------------------------------------------------------------------------- where things are */

/* Perceptron i of layer l in pattern mu; the next patterns follow. */
INLINE int32_t *dense_value(const dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu)
{
    return d->rows + (l * d->machine->width + i) * d->stride + mu;
}

/* The first perceptron of layer l > 0 in pattern mu, rounded.  A cache line has 16 perceptrons of two patterns: what
 * changes a perceptron in all of them writes half as many lines. */
INLINE int16_t *dense_pattern(const dense_t *d, ptrdiff_t l, ptrdiff_t mu)
{
    return d->by_pattern + (l - 1) * d->layer + (ptrdiff_t)((size_t)mu / 2) * d->pair + mu % 2 * DENSE_HALF;
}

/* From there to perceptron i. */
INLINE ptrdiff_t dense_place(ptrdiff_t i)
{
    return i / DENSE_HALF * DENSE_BLOCK + i % DENSE_HALF;
}

/* Vector v of what begins there. */
INLINE shorts_t dense_load_vector(const int16_t *pattern, int v)
{
#if BYTES == 64
    return (shorts_t)_mm512_inserti64x4(
        _mm512_castsi256_si512(_mm256_load_si256((const __m256i *)(pattern + 2 * v * DENSE_BLOCK))),
        _mm256_load_si256((const __m256i *)(pattern + (2 * v + 1) * DENSE_BLOCK)), 1);
#else
    return load_shorts(pattern + dense_place(v * SHORTS));
#endif
}

/* Where the column of a neuron below layer l > 0 begins, in `columns` and in `rounded`. */
INLINE ptrdiff_t dense_column(const dense_t *d, ptrdiff_t l, ptrdiff_t below, int blocks)
{
    return ((l - 1) * d->machine->width + below) * DENSE_STRIDE(blocks);
}

/* And that of a listed neuron, from the first column of a layer on. */
INLINE ptrdiff_t dense_listed(int8_t flip, int blocks)
{
    return (ptrdiff_t)(flip & INT8_MAX) * DENSE_STRIDE(blocks);
}

INLINE uint64_t *dense_row_signs(const dense_t *d, ptrdiff_t l, ptrdiff_t i)
{
    return d->signs + (l * d->machine->width + i) * d->words;
}

INLINE int dense_is_plus(const dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu)
{
    return dense_row_signs(d, l, i)[(size_t)mu / 64] >> (mu % 64) & 1;
}

/* ------------------------------------------------------------------------------- a layer in one pattern */

INLINE void dense_prefetch_layer(const dense_t *d, ptrdiff_t l, ptrdiff_t mu, int blocks)
{
    const int16_t *pattern = dense_pattern(d, l, mu);
#pragma GCC unroll 8
    for (int half = 0; half < 2 * blocks; half++)
        __builtin_prefetch(pattern + half * DENSE_BLOCK);
}

/* Adds the rounded columns of a front to `some` blocks of perceptrons.  One loop for both signs, for the sake of the
 * branch predictor: -x = ~x + 1. */
INLINE void dense_add_columns(const int16_t *columns, const dense_front_t *front, int some, shorts_t *h, int blocks)
{
    __asm__("" : "+r"(columns));                /* one pointer, with displacements */
    for (const int8_t *flip = front->of, *end = flip + front->count; flip < end; flip++) {
        const int16_t *column = columns + dense_listed(*flip, blocks);
        const shorts_t minus = (shorts_t){} + (int16_t)(*flip >> 31);
        __asm__("" : "+r"(column));
#pragma GCC unroll 16
        for (int v = 0; v < some * DENSE_PARTS; v++)
            h[v] += load_shorts(column + v * SHORTS) ^ minus;
    }
#pragma GCC unroll 16
    for (int v = 0; v < some * DENSE_PARTS; v++)
        h[v] += (int16_t)front->lowered;
}

/* Which of some vectors of perceptrons are negative. */
INLINE void dense_negative(const shorts_t *h, int vectors, uint64_t *negative)
{
#pragma GCC unroll 2
    for (int word = 0; word * 64 < vectors * SHORTS; word++)
        negative[word] = 0;
#pragma GCC unroll 16
    for (int v = 0; v < vectors; v++)
        negative[v * SHORTS / 64] |= (uint64_t)negative_shorts(h[v]) << (v * SHORTS % 64);
}

/* Which may have the wrong sign after so many columns: a sum, rounded down, is less than 1 too low, each column at most
 * 1/2 too low or too high.  Ising weights are not rounded.  Columns are kept modulo 2^32: rounded to 2^17, they would
 * not be what they are modulo 2^16 (weights above 1000: all is in doubt). */
INLINE void dense_doubtful(const dense_t *d, const shorts_t *h, int vectors, int columns, uint64_t *doubtful)
{
    const int16_t slack = (int16_t)(d->shift ? (uint32_t)(columns + 1) / 2 : 0);
    const shorts_t window = (shorts_t){} + (int16_t)(2 * slack);
    const uint64_t all = -(uint64_t)(d->shift > 16);
#pragma GCC unroll 2
    for (int word = 0; word * 64 < vectors * SHORTS; word++)
        doubtful[word] = (word + 1) * 64 <= vectors * SHORTS ? all : all >> 32;    /* an odd block */
#pragma GCC unroll 16
    for (int v = 0; v < vectors; v++)
        doubtful[v * SHORTS / 64] |= (uint64_t)near_zero(h[v], slack, window) << (v * SHORTS % 64);
}

/* Of 64 perceptrons from `first` on: `minus`, corrected from the exact integers where it is in doubt. */
static __attribute__((noinline)) uint64_t dense_settle(const dense_t *d, ptrdiff_t q, ptrdiff_t mu, ptrdiff_t first,
                                                       const dense_front_t *front, uint64_t minus, uint64_t doubtful)
{
    const int32_t *columns = d->columns + dense_column(d, q, 0, (int)d->blocks);
    for (; doubtful; doubtful &= doubtful - 1) {
        const int b = __builtin_ctzll(doubtful);
        const ptrdiff_t i = first + b;
        int32_t h = *dense_value(d, q, i, mu);
        for (int32_t a = 0; a < front->count; a++) {
            const int32_t sign = front->of[a] >> 31;
            h += (columns[dense_listed(front->of[a], (int)d->blocks) + i] ^ sign) - sign;
        }
        minus = (minus & ~((uint64_t)1 << b)) | (uint64_t)(h < 0) << b;
    }
    return minus;
}

/* Appends the flips of 64 neurons from `first` on to a list: a whole vector is written. */
INLINE void dense_append(dense_front_t *front, int first, uint64_t flipped, uint64_t minus)
{
    int8_t *to = front->of + front->count;
    front->count += __builtin_popcountll(flipped);
    front->lowered += __builtin_popcountll(flipped & minus);
#if defined(__AVX512VBMI2__)        /* without a branch */
    static const _Alignas(64) int8_t numbers[64] = {
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
        32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60,
        61, 62, 63};
    const __m512i neuron = _mm512_add_epi8(_mm512_load_si512(numbers), _mm512_set1_epi8((char)first));
    const __m512i listed = _mm512_mask_add_epi8(neuron, minus, neuron, _mm512_set1_epi8(INT8_MIN));
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi8(flipped, listed));
#else
    for (; flipped; flipped &= flipped - 1) {
        const int b = __builtin_ctzll(flipped);
        *to++ = (int8_t)((first + b) | (int)(minus >> b & 1) << 7);
    }
#endif
}

/* `some` blocks of perceptrons of layer q in a pattern, from `block` on (even, or some = 1), when the inputs of `front` flip: which ones
 * are -1 before and after.  Bits beyond the last perceptron are the same in both. */
INLINE void dense_cross_blocks(const dense_t *d, ptrdiff_t q, ptrdiff_t mu, int block, int some,
                               const dense_front_t *front, uint64_t *before, uint64_t *after, int blocks)
{
    const int16_t *pattern = dense_pattern(d, q, mu) + 2 * block * DENSE_BLOCK;
    const int vectors = some * DENSE_PARTS;
    shorts_t h[DENSE_CHUNK * DENSE_PARTS];
    uint64_t doubtful[DENSE_WIDTH / 64], any = 0;
#pragma GCC unroll 16
    for (int v = 0; v < vectors; v++)
        h[v] = dense_load_vector(pattern, v);
    dense_negative(h, vectors, before);
    dense_add_columns(d->rounded + dense_column(d, q, 0, blocks) + block * DENSE_BLOCK, front, some, h, blocks);
    dense_negative(h, vectors, after);
    dense_doubtful(d, h, vectors, front->count, doubtful);
#pragma GCC unroll 2
    for (int word = 0; word < (some + 1) / 2; word++)
        any |= doubtful[word] &= d->valid.of[block / 2 + word] >> (block % 2 * DENSE_BLOCK);
    if (UNLIKELY(any))
        for (int word = 0; word < (some + 1) / 2; word++)
            after[word] = dense_settle(d, q, mu, block * DENSE_BLOCK + 64 * word, front, after[word], doubtful[word]);
}

/* A whole layer: which ones flip, and which ones are then -1, where asked for; `next` lists the flips. */
INLINE void dense_cross(const dense_t *d, ptrdiff_t q, ptrdiff_t mu, const dense_front_t *now, dense_front_t *next,
                        dense_bits_t *flipped, dense_bits_t *minus, int blocks)
{
    next->count = next->lowered = 0;
#pragma GCC unroll 2
    for (int block = 0; block < blocks; block += DENSE_CHUNK) {
        const int some = blocks - block < DENSE_CHUNK ? blocks - block : DENSE_CHUNK;
        uint64_t before[DENSE_WIDTH / 64], after[DENSE_WIDTH / 64];
        dense_cross_blocks(d, q, mu, block, some, now, before, after, blocks);
#pragma GCC unroll 2
        for (int word = 0; word < (some + 1) / 2; word++) {
            const int at = block / 2 + word;
            dense_append(next, 64 * at, before[word] ^ after[word], after[word]);
            if (flipped)
                flipped->of[at] = before[word] ^ after[word];
            if (minus)
                minus->of[at] = after[word] & d->valid.of[at];
        }
    }
}

/* Copies for each number of blocks, out of line: the loop over columns needs all registers. */
#define DENSE_COPY(blocks) \
    static __attribute__((noinline)) void dense_cross_##blocks( \
        const dense_t *d, ptrdiff_t q, ptrdiff_t mu, const dense_front_t *now, dense_front_t *next, \
        dense_bits_t *flipped, dense_bits_t *minus) \
    { \
        dense_cross(d, q, mu, now, next, flipped, minus, blocks); \
    }
DENSE_COPY(2) DENSE_COPY(3) DENSE_COPY(4)

INLINE void dense_layer(const dense_t *d, ptrdiff_t q, ptrdiff_t mu, const dense_front_t *now, dense_front_t *next,
                        dense_bits_t *flipped, dense_bits_t *minus, int blocks)
{
#define DENSE_CASE(number) \
    case number: \
        dense_cross_##number(d, q, mu, now, next, flipped, minus); \
        break;
    switch (blocks) {
        DENSE_CASE(2) DENSE_CASE(3) DENSE_CASE(4)
    }
}

/* Perceptron (l, i) alone flips in pattern mu.  Its sign is taken from the row, which has just been looked at. */
INLINE void dense_start(const dense_t *d, dense_front_t *front, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu)
{
    front->count = 1;
    front->lowered = *dense_value(d, l, i, mu) >= 0;
    front->of[0] = (int8_t)(i | front->lowered << 7);
}

/* ------------------------------------------------------------------------------------ row of a perceptron */

/* Bit b: pattern 64 w + b flips at (l, i) when weight k changes by `change`. */
INLINE uint64_t dense_flips(const dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k, int32_t change, ptrdiff_t w)
{
    const uint64_t plus = dense_row_signs(d, l, input_of(d->machine, l, i, k))[w];
    const int32_t *row = dense_value(d, l, i, 64 * w);
    const ptrdiff_t patterns = d->machine->patterns;
    uint64_t flips = 0;
#pragma GCC unroll 16
    for (int b = 0; b < 64; b += LANES)
        flips |= (uint64_t)flipped_lanes(row + b, (uint32_t)(plus >> b), change) << b;
    return 64 * (w + 1) > patterns ? flips & ~(uint64_t)0 >> (64 * (w + 1) - patterns) : flips;
}

/* ---------------------------------------------------------------------------------------------- the kernel */

/* Wrong output bits. */
INLINE int32_t dense_wrong(const dense_t *d, ptrdiff_t mu, const dense_bits_t *minus)
{
    int32_t right = 0;
    for (int half = 0; half < 2; half++)
        right += __builtin_popcountll(minus->of[half] ^ d->targets[mu].of[half]);
    return DENSE_WIDTH - right;
}

/* Tasks first..first + n - 1 of a proposal: (l, i) flips in patterns[task]; gained[task] is what the pattern's number
 * of wrong output bits changes by.  Layer by layer, so that the tasks overlap in the processor. */
INLINE void dense_evaluate(dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t first, int n, const int32_t *patterns,
                           int32_t *gained, int blocks)
{
    const machine_t *machine = d->machine;
    const ptrdiff_t depth = machine->depth;
    dense_front_t fronts[2][BATCH];
    int live[BATCH], alive = n;
    for (int t = 0; t < n; t++) {
        const ptrdiff_t mu = patterns[first + t];
        const int plus = dense_is_plus(d, l + 1, i, mu);
        d->top[first + t] = (int32_t)depth - 1;
        live[t] = t;
        gained[first + t] = 0;
        if (l + 1 == depth)
            gained[first + t] = (int)(d->targets[mu].of[i / 64] >> (i % 64) & 1) == plus ? 1 : -1;
        else if (t < 2)
            dense_prefetch_layer(d, l + 1, mu, blocks);
        dense_start(d, &fronts[(l + 1) & 1][t], l, i, mu);
    }
    for (ptrdiff_t q = l + 1; q < depth; q++) {
        int left = 0;
        for (int a = 0; a < alive; a++) {
            const int t = live[a];
            const ptrdiff_t task = first + t, mu = patterns[task];
            dense_front_t *now = &fronts[q & 1][t], *next = &fronts[(q + 1) & 1][t];
            dense_bits_t *turned = &d->turned[task * depth + q], minus = {{0}};
            if (a + 2 < alive)
                dense_prefetch_layer(d, q, patterns[first + live[a + 2]], blocks);
            dense_layer(d, q, mu, now, next, turned, &minus, blocks);
            if (q + 1 == depth)
                gained[task] = dense_wrong(d, mu, &minus) - machine->wrong[mu];
            else if (next->count == 0)
                d->top[task] = (int32_t)q;
            else
                live[left++] = t;
        }
        alive = left;
    }
}

/* Whether any output bit flips; stops at the first block that has one. */
INLINE int dense_turns_output(const dense_t *d, ptrdiff_t mu, const dense_front_t *front, int blocks)
{
    for (int block = 0; block < blocks; block++) {
        uint64_t before, after;
        dense_cross_blocks(d, d->machine->depth - 1, mu, block, 1, front, &before, &after, blocks);
        if (before != after)
            return 1;
    }
    return 0;
}

/* Independent flips at E = 0, at most 8: whether they spoil an output bit. */
INLINE void dense_spoil(const dense_t *d, int n, const flip_t *flips, uint8_t *spoiled, int blocks)
{
    const ptrdiff_t last = d->machine->depth - 1;
    dense_front_t fronts[2][WINDOW];
    int who[WINDOW], reached = 0;
    from_lowest(n, flips, who);
    for (ptrdiff_t q = flips[who[0]].l + 1; q < last; q++) {
        for (; reached < n && flips[who[reached]].l < q; reached++) {
            const flip_t *flip = &flips[who[reached]];
            dense_start(d, &fronts[q & 1][reached], flip->l, flip->i, flip->mu);
        }
        for (int a = 0; a < reached; a++)
            dense_layer(d, q, flips[who[a]].mu, &fronts[q & 1][a], &fronts[(q + 1) & 1][a], NULL, NULL, blocks);
    }
    for (int a = 0; a < n; a++) {
        const flip_t *flip = &flips[who[a]];
        if (a >= reached)
            dense_start(d, &fronts[last & 1][a], flip->l, flip->i, flip->mu);
        spoiled[who[a]] = flip->l == last || dense_turns_output(d, flip->mu, &fronts[last & 1][a], blocks);
    }
}

INLINE void dense_turn(const dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu)
{
    dense_row_signs(d, l, i)[(size_t)mu / 64] ^= (uint64_t)1 << (mu % 64);
}

/* Layer q in pattern mu, when the inputs of a front flip: exactly, both copies. */
INLINE void dense_store(dense_t *d, ptrdiff_t q, ptrdiff_t mu, const dense_front_t *front, int blocks)
{
    const int32_t *columns = d->columns + dense_column(d, q, 0, blocks);
    int32_t *value = dense_value(d, q, 0, mu), change[DENSE_WIDTH];
    int16_t *pattern = dense_pattern(d, q, mu);
    for (int first = 0; first < blocks * DENSE_BLOCK; first += LANES) {
        lanes_t sum = {};
        for (int32_t a = 0; a < front->count; a++) {
            const lanes_t minus = (lanes_t){} + (front->of[a] >> 31);
            sum += (load_lanes(columns + dense_listed(front->of[a], blocks) + first) ^ minus) - minus;
        }
        store_lanes(change + first, sum);
    }
    for (ptrdiff_t i = 0; i < d->machine->width; i++) {
        const int32_t h = value[i * d->stride] + change[i];
        value[i * d->stride] = h;
        pattern[dense_place(i)] = (int16_t)(h >> d->shift);
    }
}

/* Perceptrons of layer q that flip in pattern mu: they do, and are listed. */
INLINE void dense_turn_all(dense_t *d, ptrdiff_t q, ptrdiff_t mu, const dense_bits_t *turned, dense_front_t *front,
                           int blocks)
{
    front->count = 0;           /* for dense_store, which does not need how many are lowered */
    for (int half = 0; half < (blocks + 1) / 2; half++) {
        for (uint64_t left = turned->of[half]; left; left &= left - 1) {
            const ptrdiff_t i = 64 * half + __builtin_ctzll(left);
            front->of[front->count++] = (int8_t)(i | dense_is_plus(d, q + 1, i, mu) << 7);
            dense_turn(d, q + 1, i, mu);
        }
    }
}

/* Carries out tasks first..last - 1 of an accepted proposal, all but the change of the weight itself. */
INLINE void dense_commit(dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t first, ptrdiff_t last,
                         const int32_t *patterns, const int32_t *gained, int blocks)
{
    for (ptrdiff_t task = first; task < last; task++) {
        const ptrdiff_t mu = patterns[task];
        dense_front_t front;
        dense_start(d, &front, l, i, mu);
        dense_turn(d, l + 1, i, mu);
        for (ptrdiff_t q = l + 1; q <= d->top[task]; q++) {
            dense_store(d, q, mu, &front, blocks);
            dense_turn_all(d, q, mu, &d->turned[task * d->machine->depth + q], &front, blocks);
        }
        d->machine->wrong[mu] += gained[task];
    }
}

/* Copies the row of (l, i) to where it is kept by pattern, for patterns first..last - 1. */
INLINE void dense_copy_row(dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t first, ptrdiff_t last)
{
    const int32_t *row = dense_value(d, l, i, 0);
    const int shift = d->shift;
    int16_t *to = dense_pattern(d, l, first) + dense_place(i);      /* `first` is even */
    ptrdiff_t mu = first;
    for (; mu + 1 < last; mu += 2, to += d->pair) {
        to[0] = (int16_t)(row[mu] >> shift);
        to[DENSE_HALF] = (int16_t)(row[mu + 1] >> shift);
    }
    if (mu < last)
        to[0] = (int16_t)(row[mu] >> shift);
}

/* Weight k of (l, i) changes: its row, in patterns first..last - 1 (first: a multiple of 64), whose flips have been
 * committed. */
INLINE void dense_change(dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k, int32_t change, ptrdiff_t first,
                         ptrdiff_t last)
{
    const uint64_t *signs = dense_row_signs(d, l, input_of(d->machine, l, i, k));
    int32_t *row = dense_value(d, l, i, 0);
    for (ptrdiff_t mu = first; mu < last; mu += LANES) {
        const lanes_t h = load_lanes(row + mu) + signed_lanes(
            (lanes_t){} + change, (uint32_t)(signs[mu / 64] >> (mu % 64)));
        memcpy(row + mu, &h, sizeof h);
    }
    if (l > 0)
        dense_copy_row(d, l, i, first, last);
}

/* And where flips are followed; none are below layer 0. */
INLINE void dense_set_weight(dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k, int32_t q, int blocks)
{
    if (l == 0)
        return;
    const ptrdiff_t at = dense_column(d, l, input_of(d->machine, l, i, k), blocks) + i;
    d->columns[at] = 2 * q;
    d->rounded[at] = (int16_t)rounded(2 * q, d->shift);
}

/* All that is rounded, anew. */
static void dense_round(dense_t *d)
{
    const machine_t *machine = d->machine;
    const ptrdiff_t count = (machine->depth - 1) * machine->width * DENSE_STRIDE(d->blocks);
    for (ptrdiff_t at = 0; at < count; at++)
        d->rounded[at] = (int16_t)rounded(d->columns[at], d->shift);
    for (ptrdiff_t l = 1; l < machine->depth; l++)
        for (ptrdiff_t i = 0; i < machine->width; i++)
            dense_copy_row(d, l, i, 0, machine->patterns);
}

/* Coarser rounding, if a perceptron with this sum of |weights| needs it. */
INLINE void dense_make_room(dense_t *d, int64_t absolute_sum)
{
    if (LIKELY(fits_shorts(absolute_sum, d->shift)))
        return;
    while (!fits_shorts(absolute_sum, d->shift))
        d->shift++;
    dense_round(d);
}

/* Perceptron (l, i) takes the weights q; its flips have been committed. */
INLINE void dense_replace(dense_t *d, ptrdiff_t l, ptrdiff_t i, const int32_t *q, int blocks)
{
    const machine_t *machine = d->machine;
    int32_t *row = dense_value(d, l, i, 0);
    for (ptrdiff_t first = 0; first < machine->patterns; first += LANES) {
        lanes_t h = {};
        for (ptrdiff_t k = 0; k < machine->fan_in; k++)
            h += signed_lanes((lanes_t){} + q[k], (uint32_t)(dense_row_signs(d, l, input_of(d->machine, l, i, k))[first / 64]
                                                             >> (first % 64)));
        store_lanes(row + first, h);
    }
    if (l == 0)
        return;
    for (ptrdiff_t k = 0; k < machine->fan_in; k++)
        dense_set_weight(d, l, i, k, q[k], blocks);
    dense_copy_row(d, l, i, 0, machine->patterns);
}

/* What proposal (l, i, k) will need: the row in the patterns of the first `words` words; at E = 0 the signs by which
 * sentinels are judged. */
INLINE void dense_prefetch(const dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k, ptrdiff_t words, int at_zero)
{
    const uint64_t *signs = dense_row_signs(d, l, input_of(d->machine, l, i, k));
    for (ptrdiff_t w = 0; at_zero && w < d->words; w += 8)
        __builtin_prefetch(signs + w);
    for (ptrdiff_t mu = 0; mu < 64 * words; mu += DENSE_LINE)
        __builtin_prefetch(dense_value(d, l, i, mu));
}

/* ------------------------------------------------------------------------------------------------- set-up */

static void dense_free(dense_t *d)
{
    free(d->rows);
    free(d->by_pattern);
    free(d->columns);
    free(d->rounded);
    free(d->signs);
    free(d->targets);
    free(d->turned);
    free(d->top);
    memset(d, 0, sizeof *d);
}

INLINE size_t dense_weights(const dense_t *d)
{
    return (size_t)((d->machine->depth - 1) * d->machine->width) * (size_t)DENSE_STRIDE(d->blocks);
}

/* Shorts in `by_pattern`, and a line: a layer is read in whole blocks, which may reach beyond it. */
INLINE size_t dense_shorts(const dense_t *d)
{
    return (size_t)((d->machine->depth - 1) * d->layer + DENSE_BLOCK);
}

/* 0, or -1 if there is not enough memory. */
static int dense_make(dense_t *d, const machine_t *machine)
{
    const size_t depth = (size_t)machine->depth, width = (size_t)machine->width, patterns = (size_t)machine->patterns;
    memset(d, 0, sizeof *d);
    d->machine = machine;
    d->blocks = (machine->width + DENSE_BLOCK - 1) / DENSE_BLOCK;
    d->words = (machine->patterns + 63) / 64;
    d->stride = 64 * d->words + DENSE_LINE;
    d->pair = ((machine->width + DENSE_HALF - 1) / DENSE_HALF | 1) * DENSE_BLOCK;
    d->layer = (machine->patterns + 1) / 2 * d->pair;
    d->rows = allocate(depth * width * (size_t)d->stride, sizeof *d->rows);
    d->by_pattern = allocate(dense_shorts(d), sizeof *d->by_pattern);
    d->columns = allocate(dense_weights(d), sizeof *d->columns);
    d->rounded = allocate(dense_weights(d), sizeof *d->rounded);
    for (ptrdiff_t i = 0; i < machine->width; i++)
        d->valid.of[i / 64] |= (uint64_t)1 << (i % 64);
    d->signs = allocate((depth + 1) * width * (size_t)d->words, sizeof *d->signs);
    d->targets = allocate(patterns, sizeof *d->targets);
    d->turned = allocate(patterns * depth, sizeof *d->turned);
    d->top = allocate(patterns, sizeof *d->top);
    if (d->rows && d->by_pattern && d->columns && d->rounded && d->signs && d->targets && d->turned
        && d->top)
        return 0;
    dense_free(d);
    return -1;
}

/* Pre-activations and signs of a perceptron, from the signs of the layer below. */
static void dense_load_row_of(dense_t *d, ptrdiff_t l, ptrdiff_t i)
{
    const machine_t *machine = d->machine;
    uint64_t *signs = dense_row_signs(d, l + 1, i);
    for (ptrdiff_t mu = 0; mu < machine->patterns; mu++)
        *dense_value(d, l, i, mu) = 0;
    for (ptrdiff_t k = 0; k < machine->fan_in; k++) {
        const ptrdiff_t input = input_of(d->machine, l, i, k);
        const int32_t q = machine->weights[place_of(machine, l, i, k)];
        if (l > 0)
            d->columns[dense_column(d, l, input, (int)d->blocks) + i] = 2 * q;
        for (ptrdiff_t mu = 0; mu < machine->patterns; mu++)
            *dense_value(d, l, i, mu) += dense_is_plus(d, l, input, mu) ? q : -q;
    }
    memset(signs, 0, (size_t)d->words * sizeof *signs);
    for (ptrdiff_t mu = 0; mu < machine->patterns; mu++)
        signs[mu / 64] |= (uint64_t)(*dense_value(d, l, i, mu) >= 0) << (mu % 64);
}

/* Computes the whole state.  Sign words [N][W] of the inputs and of the targets. */
static void dense_load(dense_t *d, const uint64_t *inputs, const uint64_t *targets)
{
    const machine_t *machine = d->machine;
    memcpy(d->signs, inputs, (size_t)(machine->width * d->words) * sizeof *inputs);
    memset(d->targets, 255, (size_t)machine->patterns * sizeof *d->targets);
    for (ptrdiff_t l = 0; l < machine->depth; l++)
        for (ptrdiff_t i = 0; i < machine->width; i++)
            dense_load_row_of(d, l, i);
    d->shift = 0;
    for (ptrdiff_t place = 0; place < machine->depth * machine->width; place++)
        while (!fits_shorts(machine->absolute_sum[place], d->shift))
            d->shift++;
    dense_round(d);
    for (ptrdiff_t mu = 0; mu < machine->patterns; mu++) {
        machine->wrong[mu] = 0;
        for (ptrdiff_t i = 0; i < machine->width; i++) {
            const uint64_t target = targets[i * d->words + mu / 64] >> (mu % 64) & 1;
            d->targets[mu].of[i / 64] ^= (target ^ 1) << (i % 64);
            machine->wrong[mu] += dense_is_plus(d, machine->depth, i, mu) != (int)target;
        }
    }
}

/* Sign words [0..L][N][W]. */
static void dense_signs(const dense_t *d, uint64_t *signs)
{
    memcpy(signs, d->signs, (size_t)((d->machine->depth + 1) * d->machine->width * d->words) * sizeof *signs);
}

/* Whether two students of the same machine keep the same. */
static int dense_same(dense_t *a, dense_t *b)
{
    const machine_t *machine = a->machine;
    const size_t signs = (size_t)((machine->depth + 1) * machine->width * a->words);
    dense_t *finer = a->shift < b->shift ? a : b;
    if (a->shift != b->shift) {         /* what has outgrown its rounding once stays rounded so */
        finer->shift = finer == a ? b->shift : a->shift;
        dense_round(finer);
    }
    for (ptrdiff_t l = 0; l < machine->depth; l++)
        for (ptrdiff_t mu = 0; mu < machine->patterns; mu++)    /* not where there is no pattern */
            for (ptrdiff_t i = 0; i < machine->width; i++)
                if (*dense_value(a, l, i, mu) != *dense_value(b, l, i, mu))
                    return 0;
    return !memcmp(a->columns, b->columns, dense_weights(a) * sizeof *a->columns)
        && !memcmp(a->rounded, b->rounded, dense_weights(a) * sizeof *a->rounded)
        && !memcmp(a->by_pattern, b->by_pattern, dense_shorts(a) * sizeof *a->by_pattern)
        && !memcmp(a->signs, b->signs, signs * sizeof *a->signs)
        && !memcmp(a->targets, b->targets, (size_t)machine->patterns * sizeof *a->targets);
}
#endif

/* Fully connected machines of at most 128 neurons per layer: pre-activations are kept, and a flip is followed upwards
 * by adding the columns of weights above the neurons that flip.
 *
 * A proposal flips one neuron, so that the first layer above it has one changed input, the next about six of a
 * hundred, then 16, then 26: fewer additions than a layer computed anew from all its inputs takes (words.h), and
 * no rounding.  Nothing is written while a proposal is evaluated; what an accepted one stores is kept in scratch.
 *
 *   pre-activations   twice: by pattern, to add columns to, and by perceptron, for its row.
 *   columns           [layer][neuron below][perceptron] 2q: what a flip of the neuron adds to the layer.
 *   signs             [layer][neuron], a bit for each pattern: what the inputs of a row are.
 *
 * Bounds.  Layer above: a vector from L1 or L2 (a layer's columns: 4 N^2 bytes) for each flipped neuron and 16
 * perceptrons, and N/16 lines from L2 or L3 (both copies: 8 L N M bytes).  Row: M/16 lines, or four where a sentinel
 * flips.  An accepted proposal writes a line for each pattern, and one for each task, layer and perceptron.
 */
#ifndef DSM_DENSE_H
#define DSM_DENSE_H
#include "lanes.h"

enum {
    DENSE_WIDTH = 128,              /* most neurons per layer */
    DENSE_BLOCK = 16,               /* neurons in a vector of the widest level */
    DENSE_LINE = 16,                /* patterns in a cache line */
    DENSE_PARTS = DENSE_BLOCK / LANES,      /* vectors in a block */
    DENSE_CHUNK = DENSE_WIDTH / DENSE_BLOCK / DENSE_PARTS,  /* blocks in eight registers */
};

/* A bit for each neuron of a layer. */
typedef struct { _Alignas(16) uint16_t of[DENSE_WIDTH / DENSE_BLOCK]; } dense_bits_t;

/* The neurons of a layer that flip in a pattern: the offset of the neuron's column, with the sign bit set if it
 * becomes -1.  The list has room for a whole vector beyond the last. */
typedef struct {
    int32_t count;
    int32_t of[DENSE_WIDTH + DENSE_BLOCK];
} dense_front_t;

typedef struct {
    const machine_t *machine;
    ptrdiff_t vectors, words;       /* ceil(N / 16), ceil(M / 64) */
    ptrdiff_t stride;               /* patterns from one row to the next: odd in cache lines */
    int32_t *rows;                  /* [l][perceptron][stride] pre-activations */
    int32_t *by_pattern;            /* the same, [l = 1..L-1][pattern][perceptron]; zero where there is no perceptron */
    int32_t *columns;               /* [l = 1..L-1][neuron below][perceptron] 2q; zero where there is no perceptron */
    uint64_t *signs;                /* [0..L][neuron][words] */
    dense_bits_t *targets;          /* [pattern]; 1 where there is no neuron, as h = 0 counts as +1 */
    int32_t *sentinels;             /* [l][i][SENTINELS]: patterns that are likely to flip */
    /* scratch: what the tasks of a proposal change, for the commit */
    int32_t *after;                 /* [task][layer][16 vectors] pre-activations */
    dense_bits_t *turned;           /* [task][layer] perceptrons that flip */
    int32_t *top;                   /* [task] the last layer of pre-activations that change */
} dense_t;

/* Functions that take `vectors` = ceil(N / 16) have a copy for each: strides and loops of known length. */
#define DENSE_STRIDE(vectors) (((vectors) | 1) * DENSE_BLOCK)   /* int32 from column to column: odd in cache lines */

/* ----------------------------------------------------------------------------------------- where things are */

/* Perceptron i of layer l in pattern mu; the next patterns follow. */
INLINE int32_t *dense_value(const dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu)
{
    return d->rows + (l * d->machine->width + i) * d->stride + mu;
}

/* All perceptrons of layer l > 0 in pattern mu. */
INLINE int32_t *dense_pattern(const dense_t *d, ptrdiff_t l, ptrdiff_t mu, int vectors)
{
    return d->by_pattern + ((l - 1) * d->machine->patterns + mu) * DENSE_STRIDE(vectors);
}

INLINE int32_t *dense_column(const dense_t *d, ptrdiff_t l, ptrdiff_t below, int vectors)
{
    return d->columns + ((l - 1) * d->machine->width + below) * DENSE_STRIDE(vectors);
}

INLINE uint64_t *dense_row_signs(const dense_t *d, ptrdiff_t l, ptrdiff_t i)
{
    return d->signs + (l * d->machine->width + i) * d->words;
}

INLINE int32_t *dense_sentinels(const dense_t *d, ptrdiff_t l, ptrdiff_t i)
{
    return d->sentinels + (l * d->machine->width + i) * SENTINELS;
}

INLINE int32_t *dense_after(const dense_t *d, ptrdiff_t task, ptrdiff_t l, int vectors)
{
    return d->after + (task * d->machine->depth + l) * vectors * DENSE_BLOCK;
}

INLINE ptrdiff_t dense_input(const dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k)
{
    return d->machine->inputs[place_of(d->machine, l, i, k)];
}

INLINE int dense_is_plus(const dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu)
{
    return dense_row_signs(d, l, i)[(size_t)mu / 64] >> (mu % 64) & 1;
}

/* ------------------------------------------------------------------------------- a layer in one pattern */

INLINE void dense_prefetch_layer(const dense_t *d, ptrdiff_t l, ptrdiff_t mu, int blocks, int vectors)
{
    const int32_t *pattern = dense_pattern(d, l, mu, vectors);
#pragma GCC unroll 8
    for (int b = 0; b < blocks; b++)
        __builtin_prefetch(pattern + b * DENSE_BLOCK);
}

/* Adds the columns of a front to `blocks` blocks of perceptrons.  One loop for both signs, for the sake of the
 * branch predictor: -x = ~x + 1. */
INLINE void dense_add_columns(const int32_t *columns, const dense_front_t *front, int blocks, lanes_t *h)
{
    lanes_t lowered = {};
    for (const int32_t *flip = front->of, *end = flip + front->count; flip < end; flip++) {
        const int32_t *column = columns + (*flip & INT32_MAX);
        const lanes_t minus = ((lanes_t){} + *flip) >> 31;
        __asm__ volatile("" : "+r"(column));     /* one pointer, with displacements */
        lowered += minus;
#pragma GCC unroll 8
        for (int v = 0; v < blocks * DENSE_PARTS; v++)
            h[v] += load_lanes(column + v * LANES) ^ minus;
    }
#pragma GCC unroll 8
    for (int v = 0; v < blocks * DENSE_PARTS; v++)
        h[v] -= lowered;
}

/* Which of a block of perceptrons are negative. */
INLINE uint16_t dense_negative(const lanes_t *h)
{
    uint32_t negative = 0;
    for (int part = 0; part < DENSE_PARTS; part++)
        negative |= negative_lanes(h[part]) << (part * LANES);
    return (uint16_t)negative;
}

/* Appends the flips of at most four blocks from `block` on to a list of `count`; returns the new count. */
INLINE int32_t dense_append(int32_t *list, int32_t count, int block, uint64_t flipped, uint64_t minus, int vectors)
{
    for (; flipped; flipped &= flipped - 1) {
        const int b = __builtin_ctzll(flipped);
        list[count++] = (block * DENSE_BLOCK + b) * DENSE_STRIDE(vectors) | (int32_t)((uint32_t)(minus >> b) << 31);
    }
    return count;
}

#if defined(__AVX512F__)
/* The same for one block, without a branch. */
INLINE int32_t dense_append_block(int32_t *list, int32_t count, int block, __mmask16 flipped, __mmask16 minus,
                                  int vectors)
{
    const lanes_t lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const __m512i raised = (__m512i)((lane + block * DENSE_BLOCK) * DENSE_STRIDE(vectors));
    const __m512i all = _mm512_mask_or_epi32(raised, minus, raised, _mm512_set1_epi32(INT32_MIN));
    _mm512_storeu_si512(list + count, _mm512_maskz_compress_epi32(flipped, all));
    return count + __builtin_popcount(flipped);
}
#endif

/* `blocks` blocks of perceptrons of layer q in a pattern, when the inputs of `now` flip: which ones flip and which
 * ones are then -1.  Appends the flips to `next` and stores the new pre-activations in `kept`, where not NULL. */
INLINE void dense_cross_blocks(const dense_t *d, ptrdiff_t q, ptrdiff_t mu, int block, int blocks,
                               const dense_front_t *now, dense_front_t *next, int32_t *kept,
                               dense_bits_t *flipped, dense_bits_t *minus, int vectors)
{
    const int32_t *pattern = dense_pattern(d, q, mu, vectors) + block * DENSE_BLOCK;
    lanes_t h[DENSE_CHUNK * DENSE_PARTS];
    uint16_t before[DENSE_CHUNK];
    int32_t count = next ? next->count : 0;     /* in a register: the list could alias it */
#pragma GCC unroll 8
    for (int b = 0; b < blocks; b++) {
#pragma GCC unroll 4
        for (int v = b * DENSE_PARTS; v < (b + 1) * DENSE_PARTS; v++)
            h[v] = load_lanes(pattern + v * LANES);
        before[b] = dense_negative(h + b * DENSE_PARTS);
    }
    dense_add_columns(dense_column(d, q, 0, vectors) + block * DENSE_BLOCK, now, blocks, h);
    if (kept)
#pragma GCC unroll 8
        for (int v = 0; v < blocks * DENSE_PARTS; v++)
            memcpy(kept + block * DENSE_BLOCK + v * LANES, &h[v], sizeof h[v]);
    uint64_t all_turned = 0, all_after = 0;     /* but AVX-512 lists block by block */
#pragma GCC unroll 8
    for (int b = 0; b < blocks; b++) {
        const uint16_t after = dense_negative(h + b * DENSE_PARTS);
#if defined(__AVX512F__)
        const uint16_t turned = _kxor_mask16(before[b], after);     /* stays a mask */
        if (next)
            count = dense_append_block(next->of, count, block + b, turned, after, vectors);
#else
        const uint16_t turned = before[b] ^ after;
        all_turned |= (uint64_t)turned << (b * DENSE_BLOCK);
        all_after |= (uint64_t)after << (b * DENSE_BLOCK);
#endif
        if (minus) {
            minus->of[block + b] = after;
            flipped->of[block + b] = turned;
        }
    }
    if (next)
        count = dense_append(next->of, count, block, all_turned, all_after, vectors);
    if (next)
        next->count = count;
}

/* A whole layer. */
INLINE void dense_cross(const dense_t *d, ptrdiff_t q, ptrdiff_t mu, const dense_front_t *now, dense_front_t *next,
                        int32_t *kept, dense_bits_t *flipped, dense_bits_t *minus, int vectors)
{
    next->count = 0;
#pragma GCC unroll 8
    for (int block = 0; block < vectors; block += DENSE_CHUNK) {
        const int blocks = vectors - block < DENSE_CHUNK ? vectors - block : DENSE_CHUNK;
        dense_cross_blocks(d, q, mu, block, blocks, now, next, kept, flipped, minus, vectors);
    }
}

/* Copies for each number of vectors, out of line: the loop over columns needs all registers. */
#define DENSE_COPY(vectors) \
    static __attribute__((noinline)) void dense_cross_##vectors( \
        const dense_t *d, ptrdiff_t q, ptrdiff_t mu, const dense_front_t *now, dense_front_t *next, int32_t *kept, \
        dense_bits_t *flipped, dense_bits_t *minus) \
    { \
        dense_cross(d, q, mu, now, next, kept, flipped, minus, vectors); \
    }
DENSE_COPY(1) DENSE_COPY(2) DENSE_COPY(3) DENSE_COPY(4) DENSE_COPY(5) DENSE_COPY(6) DENSE_COPY(7) DENSE_COPY(8)

INLINE void dense_layer(const dense_t *d, ptrdiff_t q, ptrdiff_t mu, const dense_front_t *now, dense_front_t *next,
                        int32_t *kept, dense_bits_t *flipped, dense_bits_t *minus, int vectors)
{
#define DENSE_CASE(number) \
    case number: \
        dense_cross_##number(d, q, mu, now, next, kept, flipped, minus); \
        break;
    switch (vectors) {
        DENSE_CASE(1) DENSE_CASE(2) DENSE_CASE(3) DENSE_CASE(4)
        DENSE_CASE(5) DENSE_CASE(6) DENSE_CASE(7) DENSE_CASE(8)
    }
}

INLINE uint64_t dense_half(const dense_bits_t *bits, int half)
{
    uint64_t word;
    memcpy(&word, bits->of + 4 * half, sizeof word);
    return word;
}

/* Perceptron (l, i) alone flips in pattern mu. */
INLINE void dense_start(const dense_t *d, dense_front_t *front, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu, int vectors)
{
    front->count = 1;
    front->of[0] = (int32_t)i * DENSE_STRIDE(vectors) | (dense_is_plus(d, l + 1, i, mu) ? INT32_MIN : 0);
}

/* ------------------------------------------------------------------------------------ row of a perceptron */

/* Bit b: pattern 64 w + b flips at (l, i) when weight k changes by `change`. */
INLINE uint64_t dense_flips(const dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k, int32_t change, ptrdiff_t w)
{
    const uint64_t plus = dense_row_signs(d, l, dense_input(d, l, i, k))[w];
    const int32_t *row = dense_value(d, l, i, 64 * w);
    const ptrdiff_t patterns = d->machine->patterns;
    uint64_t flips = 0;
#pragma GCC unroll 16
    for (int b = 0; b < 64; b += LANES) {
        const lanes_t before = load_lanes(row + b);
        const lanes_t after = before + signed_lanes((lanes_t){} + change, (uint32_t)(plus >> b));
        flips |= (uint64_t)negative_lanes(before ^ after) << b;
    }
    return 64 * (w + 1) > patterns ? flips & ~(uint64_t)0 >> (64 * (w + 1) - patterns) : flips;
}

/* ---------------------------------------------------------------------------------------------- sentinels */

/* Any pattern that flips may be the first to be followed.  A few with small |h| are kept for each perceptron, and
 * looked at before the row is: three of four times one of them flips.  They are hints: what has become of them since
 * is seen when they are looked at. */

/* Whether pattern mu flips. */
INLINE int dense_flips_one(const dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t input, int32_t change, ptrdiff_t mu)
{
    const int32_t h = *dense_value(d, l, i, mu), minus = dense_is_plus(d, l, input, mu) - 1;
    return (h ^ (h + ((change ^ minus) - minus))) < 0;
}

/* Bit a: sentinel a flips.  All at once, for the sake of the branch predictor. */
INLINE uint32_t dense_flipped_sentinels(const dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k, int32_t change,
                                        const int32_t *sentinels)
{
    const ptrdiff_t input = dense_input(d, l, i, k);
    uint32_t flipped = 0;
    for (int a = 0; a < SENTINELS; a++)
        flipped |= (uint32_t)dense_flips_one(d, l, i, input, change, sentinels[a]) << a;
    return flipped;
}

/* Makes a pattern a sentinel, in place of the one with the largest |h| if that is larger. */
INLINE void dense_watch(dense_t *d, ptrdiff_t l, ptrdiff_t i, int32_t mu)
{
    int32_t *sentinels = dense_sentinels(d, l, i), *out = NULL;
    int32_t largest = abs(*dense_value(d, l, i, mu));
    for (int a = 0; a < SENTINELS; a++) {
        const int32_t h = abs(*dense_value(d, l, i, sentinels[a]));
        if (h > largest) {
            largest = h;
            out = &sentinels[a];
        }
    }
    if (out)
        *out = mu;
}

/* At E = 0: a pattern that flips, or -1.  `shared`: other threads may replace sentinels meanwhile, which must be read
 * once; the decision does not depend on what they are. */
INLINE int32_t dense_first(dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k, int32_t change, int shared)
{
    const int32_t *sentinels = dense_sentinels(d, l, i);
    int32_t seen[SENTINELS];
    for (int a = 0; shared && a < SENTINELS; a++)
        seen[a] = __atomic_load_n(&sentinels[a], __ATOMIC_RELAXED);
    if (shared)
        sentinels = seen;
    const uint32_t flipped = dense_flipped_sentinels(d, l, i, k, change, sentinels);
    if (LIKELY(flipped))
        return sentinels[__builtin_ctz(flipped)];
    for (ptrdiff_t w = 0; w < d->words; w++) {
        const uint64_t found = dense_flips(d, l, i, k, change, w);
        if (found) {
            const int32_t mu = (int32_t)(64 * w) + __builtin_ctzll(found);
            dense_watch(d, l, i, mu);
            return mu;
        }
    }
    return -1;
}

/* ---------------------------------------------------------------------------------------------- the kernel */

/* Wrong output bits. */
INLINE int32_t dense_wrong(const dense_t *d, ptrdiff_t mu, const dense_bits_t *minus)
{
    int32_t right = 0;
    for (int half = 0; half < 2; half++)
        right += __builtin_popcountll(dense_half(minus, half) ^ dense_half(&d->targets[mu], half));
    return DENSE_WIDTH - right;
}

/* Tasks first..first + n - 1 of a proposal: (l, i) flips in patterns[task]; gained[task] is what the pattern's number
 * of wrong output bits changes by.  Layer by layer, so that the tasks overlap in the processor. */
INLINE void dense_evaluate(dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t first, int n, const int32_t *patterns,
                           int32_t *gained, int vectors)
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
            gained[first + t] = (d->targets[mu].of[i / DENSE_BLOCK] >> (i % DENSE_BLOCK) & 1) == plus ? 1 : -1;
        else if (t < 2)
            dense_prefetch_layer(d, l + 1, mu, vectors, vectors);
        dense_start(d, &fronts[(l + 1) & 1][t], l, i, mu, vectors);
    }
    for (ptrdiff_t q = l + 1; q < depth; q++) {
        int left = 0;
        for (int a = 0; a < alive; a++) {
            const int t = live[a];
            const ptrdiff_t task = first + t, mu = patterns[task];
            dense_front_t *now = &fronts[q & 1][t], *next = &fronts[(q + 1) & 1][t];
            dense_bits_t *turned = &d->turned[task * depth + q], minus = {{0}};
            if (a + 2 < alive)
                dense_prefetch_layer(d, q, patterns[first + live[a + 2]], vectors, vectors);
            dense_layer(d, q, mu, now, next, dense_after(d, task, q, vectors), turned, &minus, vectors);
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
INLINE int dense_turns_output(const dense_t *d, ptrdiff_t mu, const dense_front_t *front, int vectors)
{
    for (int block = 0; block < vectors; block++) {
        dense_bits_t flipped, minus;
        dense_cross_blocks(d, d->machine->depth - 1, mu, block, 1, front, NULL, NULL, &flipped, &minus, vectors);
        if (flipped.of[block])
            return 1;
    }
    return 0;
}

/* Independent flips at E = 0, at most 8: whether they spoil an output bit. */
INLINE void dense_spoil(const dense_t *d, int n, const flip_t *flips, uint8_t *spoiled, int vectors)
{
    const ptrdiff_t last = d->machine->depth - 1;
    dense_front_t fronts[2][BATCH], *now[BATCH];
    ptrdiff_t lowest = last;
    for (int t = 0; t < n; t++) {
        now[t] = &fronts[0][t];
        dense_start(d, now[t], flips[t].l, flips[t].i, flips[t].mu, vectors);
        lowest = flips[t].l < lowest ? flips[t].l : lowest;
    }
    for (ptrdiff_t q = lowest + 1; q < last; q++) {
        for (int t = 0; t < n; t++) {
            if (flips[t].l >= q)
                continue;
            dense_front_t *next = &fronts[now[t] == &fronts[0][t]][t];
            dense_layer(d, q, flips[t].mu, now[t], next, NULL, NULL, NULL, vectors);
            now[t] = next;
        }
    }
    for (int t = 0; t < n; t++)
        spoiled[t] = flips[t].l == last || dense_turns_output(d, flips[t].mu, now[t], vectors);
}

INLINE void dense_turn(const dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu)
{
    dense_row_signs(d, l, i)[(size_t)mu / 64] ^= (uint64_t)1 << (mu % 64);
}

/* Stores layer q in pattern mu: both copies. */
INLINE void dense_store(dense_t *d, ptrdiff_t q, ptrdiff_t mu, const int32_t *after, int vectors)
{
    int32_t *value = dense_value(d, q, 0, mu);
    memcpy(dense_pattern(d, q, mu, vectors), after, (size_t)vectors * DENSE_BLOCK * sizeof *after);
    for (ptrdiff_t i = 0; i < d->machine->width; i++)
        value[i * d->stride] = after[i];
}

/* Carries out tasks first..last - 1 of an accepted proposal, all but the change of the weight itself. */
INLINE void dense_commit(dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t first, ptrdiff_t last,
                         const int32_t *patterns, const int32_t *gained, int vectors)
{
    for (ptrdiff_t task = first; task < last; task++) {
        const ptrdiff_t mu = patterns[task];
        dense_turn(d, l + 1, i, mu);
        for (ptrdiff_t q = l + 1; q <= d->top[task]; q++) {
            const dense_bits_t *turned = &d->turned[task * d->machine->depth + q];
            dense_store(d, q, mu, dense_after(d, task, q, vectors), vectors);
            for (int half = 0; half < (vectors + 3) / 4; half++)
                for (uint64_t left = dense_half(turned, half); left; left &= left - 1)
                    dense_turn(d, q + 1, 64 * half + __builtin_ctzll(left), mu);
        }
        d->machine->wrong[mu] += gained[task];
    }
}

/* Copies the row of (l, i) to where it is kept by pattern, for patterns first..last - 1. */
INLINE void dense_copy_row(dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t first, ptrdiff_t last, int vectors)
{
    const int32_t *row = dense_value(d, l, i, 0);
    int32_t *to = dense_pattern(d, l, first, vectors) + i;
    for (ptrdiff_t mu = first; mu < last; mu++, to += DENSE_STRIDE(vectors))
        *to = row[mu];
}

/* Weight k of (l, i) changes: its row, in patterns first..last - 1 (first: a multiple of 64), whose flips have been
 * committed. */
INLINE void dense_change(dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k, int32_t change, ptrdiff_t first,
                         ptrdiff_t last, int vectors)
{
    const uint64_t *signs = dense_row_signs(d, l, dense_input(d, l, i, k));
    int32_t *row = dense_value(d, l, i, 0);
    for (ptrdiff_t mu = first; mu < last; mu += LANES) {
        const lanes_t h = load_lanes(row + mu) + signed_lanes(
            (lanes_t){} + change, (uint32_t)(signs[mu / 64] >> (mu % 64)));
        memcpy(row + mu, &h, sizeof h);
    }
    if (l > 0)
        dense_copy_row(d, l, i, first, last, vectors);
}

/* And where flips are followed; none are below layer 0. */
INLINE void dense_set_weight(dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k, int32_t q, int vectors)
{
    if (l > 0)
        dense_column(d, l, dense_input(d, l, i, k), vectors)[i] = 2 * q;
}

/* Perceptron (l, i) takes the weights q; its flips have been committed. */
INLINE void dense_replace(dense_t *d, ptrdiff_t l, ptrdiff_t i, const int32_t *q, int vectors)
{
    const machine_t *machine = d->machine;
    int32_t *row = dense_value(d, l, i, 0);
    for (ptrdiff_t first = 0; first < machine->patterns; first += LANES) {
        lanes_t h = {};
        for (ptrdiff_t k = 0; k < machine->fan_in; k++)
            h += signed_lanes((lanes_t){} + q[k], (uint32_t)(dense_row_signs(d, l, dense_input(d, l, i, k))[first / 64]
                                                             >> (first % 64)));
        store_lanes(row + first, h);
    }
    if (l == 0)
        return;
    for (ptrdiff_t k = 0; k < machine->fan_in; k++)
        dense_column(d, l, dense_input(d, l, i, k), vectors)[i] = 2 * q[k];
    dense_copy_row(d, l, i, 0, machine->patterns, vectors);
}

/* What a proposal at (l, i) will need: the row in the patterns of the first `words` words, or for 0 the sentinels. */
INLINE void dense_prefetch(const dense_t *d, ptrdiff_t l, ptrdiff_t i, ptrdiff_t words)
{
    const int32_t *sentinels = dense_sentinels(d, l, i);
    if (words == 0)
        for (int a = 0; a < SENTINELS; a++)
            __builtin_prefetch(dense_value(d, l, i, sentinels[a]));
    for (ptrdiff_t mu = 0; mu < 64 * words; mu += DENSE_LINE)
        __builtin_prefetch(dense_value(d, l, i, mu));
}

/* ------------------------------------------------------------------------------------------------- set-up */

static void dense_free(dense_t *d)
{
    free(d->rows);
    free(d->by_pattern);
    free(d->columns);
    free(d->signs);
    free(d->targets);
    free(d->sentinels);
    free(d->after);
    free(d->turned);
    free(d->top);
    memset(d, 0, sizeof *d);
}

INLINE size_t dense_weights(const dense_t *d)
{
    return (size_t)((d->machine->depth - 1) * d->machine->width) * (size_t)DENSE_STRIDE(d->vectors);
}

/* 0, or -1 if there is not enough memory. */
static int dense_make(dense_t *d, const machine_t *machine)
{
    const size_t depth = (size_t)machine->depth, width = (size_t)machine->width, patterns = (size_t)machine->patterns;
    memset(d, 0, sizeof *d);
    d->machine = machine;
    d->vectors = (machine->width + DENSE_BLOCK - 1) / DENSE_BLOCK;
    d->words = (machine->patterns + 63) / 64;
    d->stride = 64 * d->words + DENSE_LINE;
    d->rows = allocate(depth * width * (size_t)d->stride, sizeof *d->rows);
    d->by_pattern = allocate((depth - 1) * patterns * (size_t)DENSE_STRIDE(d->vectors), sizeof *d->by_pattern);
    d->columns = allocate(dense_weights(d), sizeof *d->columns);
    d->signs = allocate((depth + 1) * width * (size_t)d->words, sizeof *d->signs);
    d->targets = allocate(patterns, sizeof *d->targets);
    d->sentinels = allocate(depth * width * SENTINELS, sizeof *d->sentinels);
    d->after = allocate(patterns * depth * (size_t)(d->vectors * DENSE_BLOCK), sizeof *d->after);
    d->turned = allocate(patterns * depth, sizeof *d->turned);
    d->top = allocate(patterns, sizeof *d->top);
    if (d->rows && d->by_pattern && d->columns && d->signs && d->targets && d->sentinels && d->after && d->turned
        && d->top)
        return 0;
    dense_free(d);
    return -1;
}

/* Pre-activations and signs of a perceptron, from the signs of the layer below. */
static void dense_load_row_of(dense_t *d, ptrdiff_t l, ptrdiff_t i)
{
    const machine_t *machine = d->machine;
    const int vectors = (int)d->vectors;
    uint64_t *signs = dense_row_signs(d, l + 1, i);
    for (ptrdiff_t mu = 0; mu < machine->patterns; mu++)
        *dense_value(d, l, i, mu) = 0;
    for (ptrdiff_t k = 0; k < machine->fan_in; k++) {
        const ptrdiff_t input = dense_input(d, l, i, k);
        const int32_t q = machine->weights[place_of(machine, l, i, k)];
        if (l > 0)
            dense_column(d, l, input, vectors)[i] = 2 * q;
        for (ptrdiff_t mu = 0; mu < machine->patterns; mu++)
            *dense_value(d, l, i, mu) += dense_is_plus(d, l, input, mu) ? q : -q;
    }
    memset(signs, 0, (size_t)d->words * sizeof *signs);
    for (ptrdiff_t mu = 0; mu < machine->patterns; mu++)
        signs[mu / 64] |= (uint64_t)(*dense_value(d, l, i, mu) >= 0) << (mu % 64);
    if (l > 0)
        dense_copy_row(d, l, i, 0, machine->patterns, vectors);
}

/* Computes the whole state.  Sign words [N][W] of the inputs and of the targets. */
static void dense_load(dense_t *d, const uint64_t *inputs, const uint64_t *targets)
{
    const machine_t *machine = d->machine;
    memcpy(d->signs, inputs, (size_t)(machine->width * d->words) * sizeof *inputs);
    memset(d->sentinels, 0, (size_t)(machine->depth * machine->width) * SENTINELS * sizeof *d->sentinels);
    memset(d->targets, 255, (size_t)machine->patterns * sizeof *d->targets);
    for (ptrdiff_t l = 0; l < machine->depth; l++)
        for (ptrdiff_t i = 0; i < machine->width; i++)
            dense_load_row_of(d, l, i);
    for (ptrdiff_t mu = 0; mu < machine->patterns; mu++) {
        machine->wrong[mu] = 0;
        for (ptrdiff_t i = 0; i < machine->width; i++) {
            const uint64_t target = targets[i * d->words + mu / 64] >> (mu % 64) & 1;
            d->targets[mu].of[i / DENSE_BLOCK] ^= (uint16_t)((target ^ 1) << (i % DENSE_BLOCK));
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
static int dense_same(const dense_t *a, const dense_t *b)
{
    const machine_t *machine = a->machine;
    const size_t signs = (size_t)((machine->depth + 1) * machine->width * a->words);
    const size_t by_pattern = (size_t)((machine->depth - 1) * machine->patterns * DENSE_STRIDE(a->vectors));
    for (ptrdiff_t l = 0; l < machine->depth; l++)
        for (ptrdiff_t mu = 0; mu < machine->patterns; mu++)    /* not where there is no pattern */
            for (ptrdiff_t i = 0; i < machine->width; i++)
                if (*dense_value(a, l, i, mu) != *dense_value(b, l, i, mu))
                    return 0;
    return !memcmp(a->columns, b->columns, dense_weights(a) * sizeof *a->columns)
        && !memcmp(a->by_pattern, b->by_pattern, by_pattern * sizeof *a->by_pattern)
        && !memcmp(a->signs, b->signs, signs * sizeof *a->signs)
        && !memcmp(a->targets, b->targets, (size_t)machine->patterns * sizeof *a->targets);
}
#endif

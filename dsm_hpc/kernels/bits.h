/* Machines of at most 128 neurons per layer with Ising weights: weights and signs are bits, and h = c - 2 d, where d
 * counts the inputs whose signs differ from their weights.
 *
 * Nothing but bits is kept: to count takes less than to look up, and to keep up to date, what could be kept.
 *
 *   layer above a word     either 16 perceptrons side by side, or the words of 16 tasks, in limbs of 32 neurons: the
 *                          exclusive or of weights and signs is counted; h >= 0 where d <= c / 2.
 *   row of a perceptron    16 patterns side by side.  Over all inputs but that whose weight changes, d is the same
 *                          before and after: the pattern flips where it is c / 2, rounded down, whatever the sign.
 *
 * There are no sentinels: at E = 0 every fifth (c = 20) to twelfth (c = 100) pattern flips, so that the first vector of
 * a row has one.
 *
 * Bounds.  Layer above: N^2 / 512 times a load (two where wiring is sparse), a logical operation, a count and an
 * addition of AVX-512; N^2 / 8 bytes (twice that) of weights, from L1.  Row: M N / 512 times the same, and M N / 8
 * bytes from L2 while all signs (L N M / 8 bytes) fit.  Commit: N / 32 stores for each pattern and layer that changes.
 */
#ifndef DSM_BITS_H
#define DSM_BITS_H
#include "lanes.h"

enum {
    BITS_WIDTH = 128,           /* most neurons per layer */
    BITS_LIMB = 32,             /* neurons in a limb */
    BITS_BLOCK = BATCH,         /* perceptrons, patterns, or tasks side by side: 16 */
    BITS_MOST = BITS_WIDTH / BITS_LIMB,     /* limbs */
};

/* Limbs of perceptrons or patterns side by side. */
typedef uint32_t limbs_t __attribute__((vector_size(BYTES)));

/* Signs of a layer in one pattern, or weights of a perceptron: bit b of limb j is neuron 32 j + b. */
typedef struct { uint32_t limb[BITS_MOST]; } bits_t;

typedef struct {
    const machine_t *machine;
    ptrdiff_t blocks, limbs, sixteens;      /* ceil(N / 16), ceil(N / 32); blocks of patterns: up to whole words */
    uint32_t half;                  /* c / 2: most inputs that may differ from their weights where h >= 0 */
    bits_t valid;                   /* the bits that are neurons */
    uint32_t *states;               /* [0..L + 1][pattern / 16][limb][16]; L + 1: the teacher's outputs */
    uint32_t *weights;              /* [l][perceptron / 16][limb][16]; zero where nothing is read */
    uint32_t *reads;                /* likewise: the neurons that are read; NULL if all are */
    ptrdiff_t room;                 /* tasks from one row of `after` to the next: odd in cache lines */
    uint32_t *after;                /* [0..L][limb][task]: what the tasks of a proposal change the words to, */
    int32_t *top;                   /* [task] and the last layer that they change */
    /* the proposal at hand */
    struct {
        ptrdiff_t l, i, input;
        bits_t weights, others;     /* and the neurons that are read by the other weights */
    } probe;
} ising_t;

/* Functions that take `blocks` = ceil(N / 16) have a copy for each: loops of known length. */
#define BITS_LIMBS(blocks) (((blocks) + 1) / 2)

/* ------------------------------------------------------------------------------------------------- counts */

INLINE limbs_t load_limbs(const uint32_t *p)
{
    limbs_t v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

/* (a ^ b) & of */
INLINE limbs_t differing(limbs_t a, limbs_t b, limbs_t of)
{
#if defined(__AVX512F__)
    return (limbs_t)_mm512_ternarylogic_epi32((__m512i)a, (__m512i)b, (__m512i)of, 0x28);
#else
    return (a ^ b) & of;
#endif
}

/* Set bits, not yet added up within a lane: those of several vectors may be added before they are. */
INLINE limbs_t partial_counts(limbs_t v)
{
#if defined(__AVX512VPOPCNTDQ__)
    return (limbs_t)_mm512_popcnt_epi32((__m512i)v);
#elif defined(__AVX2__)
    const __m256i of = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const __m256i low = (__m256i)(v & 0x0f0f0f0f), high = (__m256i)(v >> 4 & 0x0f0f0f0f);
    return (limbs_t)_mm256_add_epi8(_mm256_shuffle_epi8(of, low), _mm256_shuffle_epi8(of, high));
#else
    v -= v >> 1 & 0x55555555;
    v = (v & 0x33333333) + (v >> 2 & 0x33333333);
    return (v + (v >> 4)) & 0x0f0f0f0f;
#endif
}

INLINE limbs_t added_up(limbs_t counts)
{
#if defined(__AVX512VPOPCNTDQ__)
    return counts;
#elif defined(__AVX2__)
    const __m256i pairs = _mm256_maddubs_epi16((__m256i)counts, _mm256_set1_epi8(1));
    return (limbs_t)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#else
    counts = (counts & 0x00ff00ff) + (counts >> 8 & 0x00ff00ff);
    return (counts & 0xffff) + (counts >> 16);
#endif
}

/* Bit b: lane b is at most this. */
INLINE uint32_t lanes_at_most(limbs_t counts, uint32_t most)
{
#if defined(__AVX512BW__)
    return _mm512_cmple_epu32_mask((__m512i)counts, _mm512_set1_epi32((int)most));
#else
    return negative_lanes((lanes_t)(counts - (most + 1)));
#endif
}

/* Bit b: lane b is this. */
INLINE uint32_t lanes_equal(limbs_t counts, uint32_t to)
{
#if defined(__AVX512BW__)
    return _mm512_cmpeq_epi32_mask((__m512i)counts, _mm512_set1_epi32((int)to));
#else
    return negative_lanes((lanes_t)(counts == to));
#endif
}

/* -------------------------------------------------------------------------------------------------- words */

/* A block of 16 patterns of layer l: [limb][16]. */
INLINE uint32_t *bits_patterns(const ising_t *ising, ptrdiff_t l, ptrdiff_t block, int limbs)
{
    return ising->states + (l * ising->sixteens + block) * limbs * BITS_BLOCK;
}

/* Limbs of layer l in pattern mu, each 16 after the one before. */
INLINE uint32_t *bits_pattern(const ising_t *ising, ptrdiff_t l, ptrdiff_t mu, int limbs)
{
    return bits_patterns(ising, l, (ptrdiff_t)((size_t)mu / BITS_BLOCK), limbs) + (size_t)mu % BITS_BLOCK;
}

/* Where the weights of perceptron i of layer l are, among weights or reads: likewise. */
INLINE ptrdiff_t bits_place(const ising_t *ising, ptrdiff_t l, ptrdiff_t i, int limbs)
{
    return (l * ising->blocks + i / BITS_BLOCK) * limbs * BITS_BLOCK + i % BITS_BLOCK;
}

INLINE uint32_t *bits_after(const ising_t *ising, ptrdiff_t task, ptrdiff_t l, ptrdiff_t limb, int limbs)
{
    return ising->after + (l * limbs + limb) * ising->room + task;
}

INLINE uint32_t limb_bit(ptrdiff_t i)
{
    return (uint32_t)1 << (i % BITS_LIMB);
}

/* The word of layer l in pattern mu. */
INLINE void bits_word(const ising_t *ising, ptrdiff_t l, ptrdiff_t mu, bits_t *word, int limbs)
{
    const uint32_t *pattern = bits_pattern(ising, l, mu, limbs);
    for (int j = 0; j < limbs; j++)
        word->limb[j] = pattern[j * BITS_BLOCK];
}

/* The same with perceptron i of the layer below it turned. */
INLINE void bits_turned(const ising_t *ising, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu, bits_t *word, int limbs)
{
    bits_word(ising, l + 1, mu, word, limbs);
    word->limb[i / BITS_LIMB] ^= limb_bit(i);
}

/* How many neurons differ between two words, each limb 16 after the one before. */
INLINE int bits_differing(const uint32_t *a, const uint32_t *b, int limbs)
{
    int differing = 0;
    for (int j = 0; j < limbs; j++)
        differing += __builtin_popcount(a[j * BITS_BLOCK] ^ b[j * BITS_BLOCK]);
    return differing;
}

/* Whether layer l differs from a word in pattern mu. */
INLINE int bits_differ(const ising_t *ising, ptrdiff_t l, ptrdiff_t mu, const bits_t *word, int limbs)
{
    const uint32_t *pattern = bits_pattern(ising, l, mu, limbs);
    uint32_t differing = 0;
    for (int j = 0; j < limbs; j++)
        differing |= word->limb[j] ^ pattern[j * BITS_BLOCK];
    return differing != 0;
}

/* ------------------------------------------------------------------------------- layer above, in one pattern */

/* Signs of a block of perceptrons over a word; `reads` is NULL if they read all neurons. */
INLINE uint32_t bits_block(const uint32_t *weights, const uint32_t *reads, const bits_t *below, uint32_t half,
                           int limbs)
{
    uint32_t plus = 0;
#pragma GCC unroll 4
    for (int v = 0; v < BITS_BLOCK; v += LANES) {
        limbs_t counts = {};
#pragma GCC unroll 4
        for (int j = 0; j < limbs; j++) {
            const limbs_t q = load_limbs(weights + j * BITS_BLOCK + v), x = (limbs_t){} + below->limb[j];
            const limbs_t all = reads ? load_limbs(reads + j * BITS_BLOCK + v) : ~(limbs_t){};
            counts += partial_counts(reads ? differing(q, x, all) : q ^ x);
        }
        plus |= lanes_at_most(added_up(counts), half) << v;
    }
    return plus;
}

/* Signs of block b of layer l, where they are in a limb. */
INLINE uint32_t bits_half_limb(const ising_t *ising, ptrdiff_t l, int b, const bits_t *below, int limbs)
{
    const ptrdiff_t at = bits_place(ising, l, b * BITS_BLOCK, limbs);
    const uint32_t *weights = ising->weights + at;
    const uint32_t plus = ising->reads ? bits_block(weights, ising->reads + at, below, ising->half, limbs)
                                       : bits_block(weights, NULL, below, ising->half, limbs);
    return plus << (b % 2 * BITS_BLOCK) & ising->valid.limb[b / 2];
}

/* Signs of layer l (of perceptrons) over a word, in its place. */
INLINE void bits_layer(const ising_t *ising, ptrdiff_t l, bits_t *word, int blocks)
{
    const int limbs = BITS_LIMBS(blocks);
    bits_t below;
    for (int j = 0; j < limbs; j++)
        below.limb[j] = word->limb[j];
#pragma GCC unroll 8
    for (int b = 0; b < blocks; b++) {
        const uint32_t half = bits_half_limb(ising, l, b, &below, limbs);
        word->limb[b / 2] = b % 2 ? word->limb[b / 2] | half : half;
    }
}

/* Whether the last layer over a word differs from pattern mu's target: most do in the first block. */
INLINE int bits_misses_target(const ising_t *ising, ptrdiff_t mu, const bits_t *below, int blocks)
{
    const int limbs = BITS_LIMBS(blocks);
    const ptrdiff_t depth = ising->machine->depth;
    const uint32_t *target = bits_pattern(ising, depth + 1, mu, limbs);
    for (int b = 0; b < blocks; b++) {
        const uint32_t own = (uint32_t)UINT16_MAX << (b % 2 * BITS_BLOCK);
        if (bits_half_limb(ising, depth - 1, b, below, limbs) != (target[b / 2 * BITS_BLOCK] & own))
            return 1;
    }
    return 0;
}

/* ----------------------------------------------------------------------------- layer above, tasks side by side */

/* Adds a bit where a lane is at most this. */
INLINE limbs_t with_bit_at_most(limbs_t to, limbs_t bit, limbs_t counts, uint32_t most)
{
#if defined(__AVX512BW__)
    const __mmask16 where = _mm512_cmple_epu32_mask((__m512i)counts, _mm512_set1_epi32((int)most));
    return (limbs_t)_mm512_mask_or_epi32((__m512i)to, where, (__m512i)to, (__m512i)bit);
#else
    return to | ((limbs_t)((lanes_t)(counts - (most + 1)) >> 31) & bit);
#endif
}

/* A limb of signs of perceptrons over a vector of words; weights, reads: of the first; x: limbs of the words. */
INLINE limbs_t bits_limb_of_tasks(const uint32_t *weights, const uint32_t *reads, const limbs_t *x, uint32_t half,
                                  int count, int limbs)
{
    limbs_t plus = {}, bit = (limbs_t){} + 1;
    for (int i = 0; i < count; i++) {
        const size_t at = (size_t)i / BITS_BLOCK * (size_t)(limbs * BITS_BLOCK) + (size_t)i % BITS_BLOCK;
        limbs_t counts = {};
#pragma GCC unroll 4
        for (int j = 0; j < limbs; j++) {
            const limbs_t q = (limbs_t){} + weights[at + j * BITS_BLOCK];
            const limbs_t all = (limbs_t){} + (reads ? reads[at + j * BITS_BLOCK] : 0);
            counts += partial_counts(reads ? differing(q, x[j], all) : q ^ x[j]);
        }
        plus = with_bit_at_most(plus, bit, added_up(counts), half);
        bit += bit;
    }
    return plus;
}

/* Signs of layer l over the words of n tasks, side by side: [limb][16]. */
INLINE void bits_layer_of_tasks(const ising_t *ising, ptrdiff_t l, int n, uint32_t *now, int sparse, int limbs)
{
    const int width = (int)ising->machine->width;
    for (int v = 0; v < n; v += LANES) {
        limbs_t x[BITS_MOST];
#pragma GCC unroll 4
        for (int j = 0; j < limbs; j++)
            x[j] = load_limbs(now + j * BITS_BLOCK + v);
#pragma GCC unroll 4
        for (int j = 0; j < limbs; j++) {
            const ptrdiff_t place = bits_place(ising, l, j * BITS_LIMB, limbs);
            const int left = width - j * BITS_LIMB;
            const limbs_t plus = bits_limb_of_tasks(
                ising->weights + place, sparse ? ising->reads + place : NULL, x, ising->half,
                left < BITS_LIMB ? left : BITS_LIMB, limbs);
            memcpy(now + j * BITS_BLOCK + v, &plus, sizeof plus);
        }
    }
}

/* -------------------------------------------------------------------------------------- row of a perceptron */

/* The proposal at hand: weight k of perceptron i of layer l changes its sign. */
INLINE void bits_begin(ising_t *ising, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k, int blocks)
{
    const int limbs = BITS_LIMBS(blocks);
    const ptrdiff_t input = input_of(ising->machine, l, i, k);
    const ptrdiff_t place = bits_place(ising, l, i, limbs);
    ising->probe.l = l;
    ising->probe.i = i;
    ising->probe.input = input;
    for (int j = 0; j < limbs; j++) {
        const uint32_t own = input / BITS_LIMB == j ? limb_bit(input) : 0;
        ising->probe.weights.limb[j] = ising->weights[place + j * BITS_BLOCK];
        ising->probe.others.limb[j] = ~own & (ising->reads ? ising->reads[place + j * BITS_BLOCK] : ~(uint32_t)0);
    }
}

/* Bit b: pattern 64 w + b changes sign at the probed perceptron.  only_first: bits beyond the lowest may be missing. */
INLINE uint64_t bits_flips(const ising_t *ising, ptrdiff_t w, int only_first, int blocks)
{
    const int limbs = BITS_LIMBS(blocks);
    const uint32_t *patterns = bits_patterns(ising, ising->probe.l, 64 / BITS_BLOCK * w, limbs);
    const ptrdiff_t beyond = 64 * (w + 1) - ising->machine->patterns;
    uint64_t flips = 0;
#pragma GCC unroll 16
    for (int b = 0; b < 64; b += LANES) {
        const uint32_t *some = patterns + b / BITS_BLOCK * limbs * BITS_BLOCK + b % BITS_BLOCK;
        limbs_t counts = {};
#pragma GCC unroll 4
        for (int j = 0; j < limbs; j++)
            counts += partial_counts(differing(load_limbs(some + j * BITS_BLOCK),
                                               (limbs_t){} + ising->probe.weights.limb[j],
                                               (limbs_t){} + ising->probe.others.limb[j]));
        flips |= (uint64_t)lanes_equal(added_up(counts), ising->half) << b;
        if (only_first && flips)
            break;
    }
    return beyond > 0 ? flips & ~(uint64_t)0 >> beyond : flips;
}

/* --------------------------------------------------------------------------------------------- the kernel */

/* Tasks are followed side by side, up to the outputs: few come to where nothing is changed any more. */
INLINE void bits_follow_together(ising_t *ising, ptrdiff_t l, ptrdiff_t first, int n, uint32_t *now, int limbs)
{
    for (ptrdiff_t q = l + 1; q < ising->machine->depth; q++) {
        if (ising->reads)
            bits_layer_of_tasks(ising, q, n, now, 1, limbs);
        else
            bits_layer_of_tasks(ising, q, n, now, 0, limbs);
        for (int j = 0; j < limbs; j++)
            memcpy(bits_after(ising, first, q + 1, j, limbs), now + j * BITS_BLOCK, BATCH * sizeof *now);
    }
}

/* A task is followed as far as anything is changed. */
INLINE void bits_follow_one(ising_t *ising, ptrdiff_t l, ptrdiff_t task, ptrdiff_t mu, uint32_t *now, int blocks)
{
    const int limbs = BITS_LIMBS(blocks);
    const ptrdiff_t depth = ising->machine->depth;
    bits_t word;
    for (int j = 0; j < limbs; j++)
        word.limb[j] = now[j * BITS_BLOCK];
    for (ptrdiff_t q = l + 1; q < depth; q++) {
        bits_layer(ising, q, &word, blocks);
        for (int j = 0; j < limbs; j++)
            *bits_after(ising, task, q + 1, j, limbs) = word.limb[j];
        if (!bits_differ(ising, q + 1, mu, &word, limbs)) {
            ising->top[task] = (int32_t)q;
            bits_word(ising, depth, mu, &word, limbs);
            break;
        }
    }
    for (int j = 0; j < limbs; j++)
        now[j * BITS_BLOCK] = word.limb[j];
}

/* Tasks first..first + n - 1 of a proposal: (l, i) flips in patterns[task]; gained[task] is what the pattern's
 * number of wrong output bits changes by.  The words above are left in `after`. */
INLINE void bits_evaluate(ising_t *ising, ptrdiff_t l, ptrdiff_t i, ptrdiff_t first, int n, const int32_t *patterns,
                          int32_t *gained, int blocks)
{
    const int limbs = BITS_LIMBS(blocks);
    const ptrdiff_t depth = ising->machine->depth;
    uint32_t now[BITS_MOST * BITS_BLOCK];   /* [limb][task], whatever is there beyond the last task */
    for (int t = 0; t < n; t++) {
        const uint32_t *state = bits_pattern(ising, l + 1, patterns[first + t], limbs);
        for (int j = 0; j < limbs; j++)
            now[j * BITS_BLOCK + t] = state[j * BITS_BLOCK] ^ (j == i / BITS_LIMB ? limb_bit(i) : 0);
        ising->top[first + t] = (int32_t)depth;
    }
    for (int j = 0; j < limbs; j++)
        memcpy(bits_after(ising, first, l + 1, j, limbs), now + j * BITS_BLOCK, BATCH * sizeof *now);
    if (n > BATCH / 2)
        bits_follow_together(ising, l, first, n, now, limbs);
    else
        for (int t = 0; t < n; t++)
            bits_follow_one(ising, l, first + t, patterns[first + t], now + t, blocks);
    for (int t = 0; t < n; t++) {
        const ptrdiff_t mu = patterns[first + t];
        const uint32_t *target = bits_pattern(ising, depth + 1, mu, limbs);
        gained[first + t] = bits_differing(now + t, target, limbs) - ising->machine->wrong[mu];
    }
}

/* Independent flips at E = 0, at least one: whether they spoil an output bit. */
INLINE void bits_spoil(const ising_t *ising, int n, const flip_t *flips, uint8_t *spoiled, int blocks)
{
    const int limbs = BITS_LIMBS(blocks);
    const ptrdiff_t depth = ising->machine->depth;
    bits_t now[BATCH];
    int who[BATCH], active = 0;
    from_lowest(n, flips, who);
    for (int a = 0; a < n; a++)
        bits_turned(ising, flips[who[a]].l, flips[who[a]].i, flips[who[a]].mu, &now[a], limbs);
    for (ptrdiff_t q = flips[who[0]].l + 1; q < depth - 1; q++) {
        while (active < n && flips[who[active]].l < q)
            active++;
        for (int a = 0; a < active; a++)
            bits_layer(ising, q, &now[a], blocks);
    }
    for (int a = 0; a < n; a++) {
        const flip_t *flip = &flips[who[a]];
        spoiled[who[a]] = flip->l == depth - 1 || bits_misses_target(ising, flip->mu, &now[a], blocks);
    }
}

/* Carries out the tasks of an accepted proposal. */
INLINE void bits_commit(ising_t *ising, ptrdiff_t l, ptrdiff_t n, const int32_t *patterns, const int32_t *gained,
                        int blocks)
{
    const int limbs = BITS_LIMBS(blocks);
    for (ptrdiff_t task = 0; task < n; task++) {
        const ptrdiff_t mu = patterns[task];
        for (ptrdiff_t q = l + 1; q <= ising->top[task]; q++) {
            uint32_t *pattern = bits_pattern(ising, q, mu, limbs);
            for (int j = 0; j < limbs; j++)
                pattern[j * BITS_BLOCK] = *bits_after(ising, task, q, j, limbs);
        }
        ising->machine->wrong[mu] += gained[task];
    }
}

/* Takes over the weight of the proposal at hand. */
INLINE void bits_change(ising_t *ising, int blocks)
{
    const ptrdiff_t input = ising->probe.input;
    const ptrdiff_t place = bits_place(ising, ising->probe.l, ising->probe.i, BITS_LIMBS(blocks));
    ising->weights[place + input / BITS_LIMB * BITS_BLOCK] ^= limb_bit(input);
}

/* ------------------------------------------------------------------------------------------------- set-up */

static void bits_free(ising_t *ising)
{
    free(ising->states);
    free(ising->weights);
    free(ising->reads);
    free(ising->after);
    free(ising->top);
    memset(ising, 0, sizeof *ising);
}

static size_t bits_states_size(const ising_t *ising)
{
    return (size_t)((ising->machine->depth + 2) * ising->sixteens * ising->limbs * BITS_BLOCK);
}

static size_t bits_weights_size(const ising_t *ising)
{
    return (size_t)(ising->machine->depth * ising->blocks * ising->limbs * BITS_BLOCK);
}

/* 0, or -1 if there is not enough memory. */
static int bits_make(ising_t *ising, const machine_t *machine)
{
    memset(ising, 0, sizeof *ising);
    ising->machine = machine;
    ising->blocks = (machine->width + BITS_BLOCK - 1) / BITS_BLOCK;
    ising->limbs = BITS_LIMBS(ising->blocks);
    ising->sixteens = (machine->patterns + 63) / 64 * (64 / BITS_BLOCK);
    ising->half = (uint32_t)machine->fan_in / 2;
    for (ptrdiff_t i = 0; i < machine->width; i++)
        ising->valid.limb[i / BITS_LIMB] |= limb_bit(i);
    ising->room = ((machine->patterns + BATCH - 1) / BATCH | 1) * BATCH + 2 * BATCH;
    const size_t words = (size_t)(ising->room * (machine->depth + 1));
    const int sparse = machine->fan_in < machine->width;
    ising->states = allocate(bits_states_size(ising), sizeof *ising->states);
    ising->weights = allocate(bits_weights_size(ising), sizeof *ising->weights);
    ising->after = allocate(words * (size_t)ising->limbs, sizeof *ising->after);
    ising->top = allocate((size_t)machine->patterns, sizeof *ising->top);
    if (sparse)
        ising->reads = allocate(bits_weights_size(ising), sizeof *ising->reads);
    if (ising->states && ising->weights && ising->after && ising->top && (ising->reads || !sparse))
        return 0;
    bits_free(ising);
    return -1;
}

/* Sign words [N][W] of a layer (L + 1: of the targets). */
static void bits_load_layer(ising_t *ising, ptrdiff_t l, const uint64_t *signs)
{
    const machine_t *machine = ising->machine;
    const ptrdiff_t count = (machine->patterns + 63) / 64;
    for (ptrdiff_t i = 0; i < machine->width; i++)
        for (ptrdiff_t w = 0; w < count; w++)
            for (uint64_t left = signs[i * count + w]; left; left &= left - 1) {
                uint32_t *pattern = bits_pattern(ising, l, 64 * w + __builtin_ctzll(left), (int)ising->limbs);
                pattern[i / BITS_LIMB * BITS_BLOCK] |= limb_bit(i);
            }
}

static void bits_load_perceptron(ising_t *ising, ptrdiff_t l, ptrdiff_t i)
{
    const machine_t *machine = ising->machine;
    for (ptrdiff_t k = 0; k < machine->fan_in; k++) {
        const ptrdiff_t place = place_of(machine, l, i, k), input = machine->inputs[place];
        const ptrdiff_t at = bits_place(ising, l, i, (int)ising->limbs) + input / BITS_LIMB * BITS_BLOCK;
        if (machine->weights[place] > 0)
            ising->weights[at] |= limb_bit(input);
        if (ising->reads)
            ising->reads[at] |= limb_bit(input);
    }
}

/* Computes the whole state.  signs: [0..L][N][W], the sign words of all layers; targets: [N][W]. */
static void bits_load(ising_t *ising, const uint64_t *signs, const uint64_t *targets)
{
    const machine_t *machine = ising->machine;
    const ptrdiff_t layer = machine->width * ((machine->patterns + 63) / 64);
    for (ptrdiff_t l = 0; l <= machine->depth; l++)
        bits_load_layer(ising, l, signs + l * layer);
    bits_load_layer(ising, machine->depth + 1, targets);
    for (ptrdiff_t l = 0; l < machine->depth; l++)
        for (ptrdiff_t i = 0; i < machine->width; i++)
            bits_load_perceptron(ising, l, i);
    for (ptrdiff_t mu = 0; mu < machine->patterns; mu++) {
        const uint32_t *outputs = bits_pattern(ising, machine->depth, mu, (int)ising->limbs);
        const uint32_t *target = bits_pattern(ising, machine->depth + 1, mu, (int)ising->limbs);
        machine->wrong[mu] = bits_differing(outputs, target, (int)ising->limbs);
    }
}

/* Sign words [0..L][N][W]. */
static void bits_signs(const ising_t *ising, uint64_t *signs)
{
    const machine_t *machine = ising->machine;
    const int limbs = (int)ising->limbs;
    for (ptrdiff_t l = 0; l <= machine->depth; l++)
        for (ptrdiff_t i = 0; i < machine->width; i++)
            for (ptrdiff_t first = 0; first < machine->patterns; first += 64, signs++) {
                *signs = 0;
                for (int b = 0; b < 64; b += LANES) {
                    const uint32_t *limb = bits_pattern(ising, l, first + b, limbs) + i / BITS_LIMB * BITS_BLOCK;
                    const limbs_t own = load_limbs(limb) << (BITS_LIMB - 1 - i % BITS_LIMB);
                    *signs |= (uint64_t)negative_lanes((lanes_t)own) << b;
                }
            }
}

/* Whether two students of the same machine keep the same. */
static int bits_same(const ising_t *a, const ising_t *b)
{
    return !memcmp(a->states, b->states, bits_states_size(a) * sizeof *a->states)
        && !memcmp(a->weights, b->weights, bits_weights_size(a) * sizeof *a->weights);
}
#endif

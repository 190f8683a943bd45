/* Layers above a word where wiring is sparse, for AVX-512 (words.h).
 *
 * The bits that a perceptron reads are gathered from the word as bytes (vpermb) and multiplied with its weights,
 * rounded to 16 bits and cut into two signed bytes (vpdpbusd): h ~ 2 (256 sum b high + sum b low) - sum (weights),
 * b = 0 or 1.  Sixteen perceptrons in the lanes, two patterns at a time, so that weights are loaded once for both.
 *
 * The row of a perceptron: one masked addition for each of its few weights and vector of patterns.
 *
 * Bound, for 16 perceptrons, 4 inputs and 2 patterns: three loads of 64 bytes, two shuffles, four products.  A layer
 * has 12 N c bytes or less: the machine lies in L1 or L2.
 */
#ifndef DSM_GATHER_H
#define DSM_GATHER_H
#include "word.h"

/* Bytes of 4 inputs of 16 perceptrons. */
typedef struct { uint8_t input[64]; int8_t low[64], high[64]; } chunk_t;

struct limbs {
    ptrdiff_t chunks;           /* of a perceptron: ceil(c / 4) */
    int shift;                  /* weights are rounded to 2^shift */
    int32_t slack;              /* by how much a sum can be off */
    _Alignas(64) int32_t window[WORD];  /* 2 slack + 1 where there is a perceptron, else 0 */
    chunk_t *chunk;             /* [l = 1..L-1][plane][chunk] */
    int32_t *bias;              /* [l = 1..L-1][16 planes]: -sum of rounded weights */
    /* row of the proposal at hand, for each of its weights: where the neuron's signs are, as which bit, twice the
     * weight rounded to words->shift; -sum of these weights */
    const uint16_t *plane[WORD];
    int16_t bit[WORD], doubled[WORD], minus_all;
};

#if defined(__AVX512VBMI__) && defined(__AVX512VNNI__)
INLINE chunk_t *chunks_of(const words_t *words, ptrdiff_t l, ptrdiff_t plane)
{
    return words->limbs->chunk + ((l - 1) * words->planes + plane) * words->limbs->chunks;
}

INLINE int32_t *bias_of(const words_t *words, ptrdiff_t l, ptrdiff_t plane)
{
    return words->limbs->bias + ((l - 1) * words->planes + plane) * PLANE;
}

/* The bits of a word as bytes. */
typedef struct { __m512i low, high; } bytes_t;

INLINE bytes_t bytes_of(word_t word, int wide)
{
    const __m512i one = _mm512_set1_epi8(1);
    return (bytes_t){_mm512_maskz_mov_epi8(word.low, one),
                     wide ? _mm512_maskz_mov_epi8(word.high, one) : _mm512_setzero_si512()};
}

INLINE __m512i gather_bytes(bytes_t bytes, __m512i index, int wide)
{
    return wide ? _mm512_permutex2var_epi8(bytes.low, index, bytes.high)
                : _mm512_permutexvar_epi8(index, bytes.low);
}

/* Sums of the perceptrons of a plane over `count` (1 or 2) words.  `chunks` is a constant of the caller where it
 * can be: then all of it stays in registers. */
INLINE void gather_plane(const words_t *words, ptrdiff_t l, ptrdiff_t plane, int count, const bytes_t *bytes,
                         __m512i *sum, int wide, ptrdiff_t chunks)
{
    const chunk_t *chunk = words->limbs->chunk + ((l - 1) * words->planes + plane) * chunks;
    const __m512i bias = _mm512_load_si512(bias_of(words, l, plane));
    __m512i low[2] = {}, high[2] = {};
#pragma GCC unroll 8
    for (ptrdiff_t c = 0; c < chunks; c++) {
        const __m512i index = _mm512_load_si512(chunk[c].input);
        const __m512i lows = _mm512_load_si512(chunk[c].low), highs = _mm512_load_si512(chunk[c].high);
        for (int a = 0; a < count; a++) {
            const __m512i bits = gather_bytes(bytes[a], index, wide);
            low[a] = _mm512_dpbusd_epi32(low[a], bits, lows);
            high[a] = _mm512_dpbusd_epi32(high[a], bits, highs);
        }
    }
    for (int a = 0; a < count; a++)
        sum[a] = _mm512_add_epi32(
            _mm512_add_epi32(_mm512_slli_epi32(low[a], 1), _mm512_slli_epi32(high[a], 9)), bias);
}

INLINE uint32_t gather_near(const struct limbs *limbs, ptrdiff_t plane, __m512i sum)
{
    return _mm512_cmplt_epu32_mask(_mm512_add_epi32(sum, _mm512_set1_epi32(limbs->slack)),
                                   _mm512_load_si512(limbs->window + PLANE * plane));
}

/* Signs of a layer over one or two words. */
INLINE void gather_some(const words_t *words, ptrdiff_t l, int count, const word_t *below, word_t *above, int wide,
                        ptrdiff_t chunks)
{
    bytes_t bytes[2];
    uint64_t plus[2][2] = {}, near[2][2] = {};
    word_t from[2];
    for (int a = 0; a < count; a++) {
        from[a] = below[a];
        bytes[a] = bytes_of(from[a], wide);
    }
    for (int half = 0; half <= wide; half++) {
        const ptrdiff_t end = words->planes < 4 * half + 4 ? words->planes : 4 * half + 4;
        for (ptrdiff_t p = 4 * half; p < end; p++) {
            const int shift = PLANE * (int)(p - 4 * half);
            __m512i sum[2];
            gather_plane(words, l, p, count, bytes, sum, wide, chunks);
            for (int a = 0; a < count; a++) {
                plus[a][half] |= (uint64_t)(uint16_t)~_mm512_movepi32_mask(sum[a]) << shift;
                near[a][half] |= (uint64_t)gather_near(words->limbs, p, sum[a]) << shift;
            }
        }
    }
    for (int a = 0; a < count; a++) {
        above[a] = and_words((word_t){plus[a][0], plus[a][1]}, words->valid);
        if (UNLIKELY(near[a][0]))
            above[a] = settle(words, l, from[a], above[a], 0, near[a][0]);
        if (wide && UNLIKELY(near[a][1]))
            above[a] = settle(words, l, from[a], above[a], 64, near[a][1]);
    }
}

INLINE void gather_pairs(const words_t *words, ptrdiff_t l, int n, const word_t *below, word_t *above, int wide,
                         ptrdiff_t chunks)
{
    int t = 0;
    for (; t + 1 < n; t += 2)
        gather_some(words, l, 2, below + t, above + t, wide, chunks);
    if (t < n)
        gather_some(words, l, 1, below + t, above + t, wide, chunks);
}

INLINE void gather_chunks(const words_t *words, ptrdiff_t l, int n, const word_t *below, word_t *above, int wide)
{
    switch (words->limbs->chunks) {
    case 1: gather_pairs(words, l, n, below, above, wide, 1); break;
    case 2: gather_pairs(words, l, n, below, above, wide, 2); break;
    case 3: gather_pairs(words, l, n, below, above, wide, 3); break;
    case 4: gather_pairs(words, l, n, below, above, wide, 4); break;
    case 5: gather_pairs(words, l, n, below, above, wide, 5); break;
    default: gather_pairs(words, l, n, below, above, wide, words->limbs->chunks);
    }
}

/* Two copies, not one for each number of planes. */
static __attribute__((noinline)) void gather_narrow(
    const words_t *words, ptrdiff_t l, int n, const word_t *below, word_t *above)
{
    gather_chunks(words, l, n, below, above, 0);
}

static __attribute__((noinline)) void gather_wide(
    const words_t *words, ptrdiff_t l, int n, const word_t *below, word_t *above)
{
    gather_chunks(words, l, n, below, above, 1);
}

INLINE void gather_layers(const words_t *words, ptrdiff_t l, int n, const word_t *below, word_t *above, int groups)
{
    if (groups > 16)
        gather_wide(words, l, n, below, above);
    else
        gather_narrow(words, l, n, below, above);
}

/* Whether the last layer over a word differs from the target; stops at the first plane that does. */
INLINE int gather_differs(const words_t *words, word_t below, word_t target, int wide, ptrdiff_t chunks)
{
    const ptrdiff_t l = words->machine->depth - 1;
    const bytes_t bytes = bytes_of(below, wide);
    for (ptrdiff_t p = 0; p < words->planes; p++) {
        const int shift = PLANE * (int)(p & 3);
        const uint32_t wanted = (uint16_t)((p < 4 ? target.low : target.high) >> shift);
        const uint32_t there = (uint16_t)((p < 4 ? words->valid.low : words->valid.high) >> shift);
        __m512i sum;
        gather_plane(words, l, p, 1, &bytes, &sum, wide, chunks);
        uint32_t wrong = ((uint16_t)~_mm512_movepi32_mask(sum) ^ wanted) & there;
        for (uint32_t near = gather_near(words->limbs, p, sum); UNLIKELY(near); near &= near - 1) {
            const int b = __builtin_ctz(near);
            const uint32_t plus = exact_field(words, l, PLANE * p + b, below) >= 0;
            wrong = (wrong & ~(1u << b)) | ((plus ^ (wanted >> b & 1)) << b);
        }
        if (wrong)
            return 1;
    }
    return 0;
}

static __attribute__((noinline)) int gather_misses(const words_t *words, word_t below, word_t target, int wide)
{
    switch (words->limbs->chunks) {
    case 1: return gather_differs(words, below, target, wide, 1);
    case 2: return gather_differs(words, below, target, wide, 2);
    case 3: return gather_differs(words, below, target, wide, 3);
    case 4: return gather_differs(words, below, target, wide, 4);
    case 5: return gather_differs(words, below, target, wide, 5);
    default: return gather_differs(words, below, target, wide, words->limbs->chunks);
    }
}

/* Row of the proposal at hand, in which weight k becomes `after`. */
INLINE void gather_begin(const words_t *words, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k, int32_t after)
{
    const machine_t *machine = words->machine;
    const int32_t *inputs = machine->inputs + place_of(machine, l, i, 0), *weights = exact_of(words, l, i);
    struct limbs *limbs = words->limbs;
    int32_t all = 0;
    for (ptrdiff_t a = 0; a < machine->fan_in; a++) {
        const int32_t q = rounded(a == k ? after : weights[a], words->shift);
        limbs->plane[a] = plane_of(words, l, inputs[a] / PLANE);
        limbs->bit[a] = (int16_t)(1 << (inputs[a] % PLANE));
        limbs->doubled[a] = (int16_t)(2 * q);
        all += q;
    }
    limbs->minus_all = (int16_t)-all;
}

/* Sums of that row over 64 patterns: a masked addition for each weight and vector of patterns. */
INLINE void gather_row(const words_t *words, ptrdiff_t w, shorts_t *sum)
{
    const struct limbs *limbs = words->limbs;
    for (int a = 0; a < BLOCKS; a++)
        sum[a] = (shorts_t){} + limbs->minus_all;
    for (ptrdiff_t k = 0; k < words->machine->fan_in; k++) {
        const uint16_t *plane = limbs->plane[k] + 64 * w;
        const __m512i bit = _mm512_set1_epi16(limbs->bit[k]), doubled = _mm512_set1_epi16(limbs->doubled[k]);
        for (int a = 0; a < BLOCKS; a++) {
            const __mmask32 plus = _mm512_test_epi16_mask((__m512i)load_shorts(plane + a * SHORTS), bit);
            sum[a] = (shorts_t)_mm512_mask_add_epi16((__m512i)sum[a], plus, (__m512i)sum[a], doubled);
        }
    }
}

/* Stores a weight where the sums read it; returns it rounded. */
static int32_t gather_store(words_t *words, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k, int32_t weight)
{
    const struct limbs *limbs = words->limbs;
    chunk_t *chunk = chunks_of(words, l, i / PLANE) + k / 4;
    const ptrdiff_t at = 4 * (i % PLANE) + k % 4;
    const int32_t q = rounded(weight, limbs->shift);
    chunk->input[at] = (uint8_t)words->machine->inputs[place_of(words->machine, l, i, k)];
    chunk->low[at] = (int8_t)(q & 255);
    chunk->high[at] = (int8_t)((q - chunk->low[at]) >> 8);
    return q;
}

/* Everything that follows from the weights. */
static void gather_build(words_t *words)
{
    const machine_t *machine = words->machine;
    struct limbs *limbs = words->limbs;
    int64_t largest = 0;
    for (ptrdiff_t a = 0; a < machine->depth * machine->width * machine->fan_in; a++)
        largest = llabs(words->exact[a]) > largest ? llabs(words->exact[a]) : largest;
    /* two signed bytes reach from -128 257 to 127 257 */
    while (largest >> limbs->shift > 127 * 256)
        limbs->shift++;
    /* single weights are rounded to the nearest, then added or subtracted */
    limbs->slack = (int32_t)(machine->fan_in / 2);
    for (ptrdiff_t i = 0; i < machine->width; i++)
        limbs->window[i] = limbs->shift ? 2 * limbs->slack + 1 : 0;
    words->row_slack = (int16_t)limbs->slack;
    words->row_window = (int16_t)(words->shift ? 2 * limbs->slack + 1 : 0);
    for (ptrdiff_t l = 1; l < machine->depth; l++) {
        for (ptrdiff_t i = 0; i < machine->width; i++) {
            bias_of(words, l, i / PLANE)[i % PLANE] = 0;
            for (ptrdiff_t k = 0; k < machine->fan_in; k++)
                bias_of(words, l, i / PLANE)[i % PLANE] -= gather_store(words, l, i, k, exact_of(words, l, i)[k]);
        }
    }
}

/* Weight k of perceptron i of layer l, as it stands in `exact`. */
static void gather_change(words_t *words, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k)
{
    const int32_t weight = exact_of(words, l, i)[k];
    if (llabs(weight) >> words->limbs->shift > 127 * 256) {
        gather_build(words);
        return;
    }
    const chunk_t *chunk = chunks_of(words, l, i / PLANE) + k / 4;
    const ptrdiff_t at = 4 * (i % PLANE) + k % 4;
    const int32_t before = 256 * chunk->high[at] + chunk->low[at];
    bias_of(words, l, i / PLANE)[i % PLANE] -= gather_store(words, l, i, k, weight) - before;
}

/* All weights of perceptron i of layer l, as they stand in `exact`. */
static void gather_replace(words_t *words, ptrdiff_t l, ptrdiff_t i)
{
    const int32_t *weights = exact_of(words, l, i);
    int32_t *bias = bias_of(words, l, i / PLANE) + i % PLANE;
    *bias = 0;
    for (ptrdiff_t k = 0; k < words->machine->fan_in; k++) {
        if (llabs(weights[k]) >> words->limbs->shift > 127 * 256) {
            gather_build(words);
            return;
        }
        *bias -= gather_store(words, l, i, k, weights[k]);
    }
}

static int gather_make(words_t *words)
{
    const machine_t *machine = words->machine;
    struct limbs *limbs = words->limbs = allocate(1, sizeof *limbs);
    if (!limbs)
        return -1;
    const size_t planes = (size_t)((machine->depth - 1) * words->planes);
    limbs->chunks = (machine->fan_in + 3) / 4;
    limbs->chunk = allocate(planes * (size_t)limbs->chunks, sizeof *limbs->chunk);
    limbs->bias = allocate(planes * PLANE, sizeof *limbs->bias);
    return limbs->chunk && limbs->bias ? 0 : -1;
}

static int gather_same(words_t *a, words_t *b)
{
    const struct limbs *ours = a->limbs, *theirs = b->limbs;
    if (!ours || !theirs)
        return ours == theirs;
    if (ours->shift != theirs->shift) {
        struct limbs *finer = ours->shift < theirs->shift ? a->limbs : b->limbs;
        finer->shift = ours->shift < theirs->shift ? theirs->shift : ours->shift;
        gather_build(finer == a->limbs ? a : b);
    }
    const size_t planes = (size_t)((a->machine->depth - 1) * a->planes);
    return !memcmp(ours->chunk, theirs->chunk, planes * (size_t)ours->chunks * sizeof *ours->chunk)
        && !memcmp(ours->bias, theirs->bias, planes * PLANE * sizeof *ours->bias);
}

#else
/* Never called: kernels_for offers `gather` for AVX-512 only. */
static _Noreturn void gather_layers(
    const words_t *words, ptrdiff_t l, int n, const word_t *below, word_t *above, int groups)
{
    (void)words, (void)l, (void)n, (void)below, (void)above, (void)groups;
    abort();
}
static _Noreturn int gather_misses(const words_t *words, word_t below, word_t target, int wide)
{
    (void)words, (void)below, (void)target, (void)wide;
    abort();
}
static _Noreturn void gather_begin(const words_t *words, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k, int32_t after)
{
    (void)words, (void)l, (void)i, (void)k, (void)after;
    abort();
}
static _Noreturn void gather_row(const words_t *words, ptrdiff_t w, shorts_t *sum)
{
    (void)words, (void)w, (void)sum;
    abort();
}
static void gather_build(words_t *words) { (void)words; }
static void gather_change(words_t *words, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k)
{
    (void)words, (void)l, (void)i, (void)k;
}
static void gather_replace(words_t *words, ptrdiff_t l, ptrdiff_t i) { (void)words, (void)l, (void)i; }
static int gather_make(words_t *words) { (void)words; return -1; }
static int gather_same(words_t *a, words_t *b) { (void)a, (void)b; return 1; }
#endif

static void gather_free(words_t *words)
{
    if (words->limbs) {
        free(words->limbs->chunk);
        free(words->limbs->bias);
        free(words->limbs);
    }
    words->limbs = NULL;
}
#endif

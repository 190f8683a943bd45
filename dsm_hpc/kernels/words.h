/* Machines of at most 64 neurons per layer, or 128 where layers are gathered: the signs of a layer in one pattern are
 * a word, and a layer is computed anew from the word below it.
 *
 * Above a flip half the neurons change after a layer or two, so following single changes saves nothing here.
 *
 *   layer above a word   `columns`: four neurons at a time index a table of their 16 possible contributions to
 *                        all perceptrons of the layer, rounded down to 2^shift; N/4 rows of N shorts are added.
 *   row of a perceptron  which patterns flip when a weight changes: patterns in the lanes.  `sums`: what the same
 *                        tables add up to is kept for every perceptron and pattern; the change is added or
 *                        subtracted.  An accepted proposal changes the sums of its perceptron in all patterns, and
 *                        those of the layers above in the patterns that flip.
 *
 * gather.h has another way for both, for sparse wiring.
 *
 * Both are exact.  A sum whose rounding errors could have changed its sign (a few in a thousand) is computed
 * again from the integer weights.
 *
 * Bounds.  Layer above: N/4 rows of 2N bytes, from L1 while a layer's table (8 N^2 bytes) fits, else L2.
 * Row: 2M bytes of sums and 4M of signs, from L1 or L2 while all sums (2 L N M bytes) fit; nine operations for a vector
 * of patterns.  Commit: N stores for each pattern and layer that changes.
 */
#ifndef DSM_WORDS_H
#define DSM_WORDS_H
#include "gather.h"

/* ------------------------------------------------------------------------------------------------ tables */

typedef int32_t entries_t __attribute__((vector_size(4 * ENTRIES)));
typedef int16_t short_entries_t __attribute__((vector_size(2 * ENTRIES)));

/* The 16 sums of +-q, rounded down to 2^shift: in entry e neuron b of the group is +1 where bit b of e is set.
 * q: the weights of a group. */
INLINE short_entries_t table_entries(const int32_t *q, int shift)
{
    static const entries_t minus[INPUTS] = {
        {-1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0},
        {-1, -1, 0, 0, -1, -1, 0, 0, -1, -1, 0, 0, -1, -1, 0, 0},
        {-1, -1, -1, -1, 0, 0, 0, 0, -1, -1, -1, -1, 0, 0, 0, 0},
        {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0},
    };
    entries_t sum = {};
    for (int b = 0; b < INPUTS; b++)
        sum += (q[b] ^ minus[b]) - minus[b];
    sum >>= shift;
    return __builtin_convertvector(sum, short_entries_t);
}

/* A table of perceptron i, where layers read it. */
INLINE void store_column(words_t *words, ptrdiff_t l, ptrdiff_t group, ptrdiff_t i, short_entries_t entries)
{
    const int lanes = lanes_of((int)words->groups);
    int16_t *column = columns_of(words, l) + group * ENTRIES * lanes + i;
    for (int e = 0; e < ENTRIES; e++)
        column[e * lanes] = entries[e];
}

/* ------------------------------------------------------------------------------------------ layer above */

/* Bit b: lane b is not negative, of those that `valid` has. */
INLINE uint64_t not_negative(shorts_t sum, uint64_t valid)
{
#if defined(__AVX512BW__)
    return _mm512_mask_cmpge_epi16_mask((__mmask32)valid, (__m512i)sum, _mm512_setzero_si512());
#else
    return ~(uint64_t)negative_shorts(sum) & valid & (((uint64_t)1 << (SHORTS - 1) << 1) - 1);
#endif
}

/* Sums of a layer with these tables over a word: the rows that it selects are added in registers. */
INLINE void sums_above(const int16_t *table, uint64_t below, shorts_t *sum, int groups)
{
    const int vectors = VECTORS(groups);
    const ptrdiff_t row = vectors * SHORTS;
    for (int v = 0; v < vectors; v++)
        sum[v] = load_shorts(table + (below & (ENTRIES - 1)) * row + v * SHORTS);
    for (int g = 1; g < groups; g++) {
        below >>= INPUTS;
        for (int v = 0; v < vectors; v++)
            sum[v] += load_shorts(table + (below & (ENTRIES - 1)) * row + (g * ENTRIES * row + v * SHORTS));
    }
}

/* Signs of a layer's sums, and which of them are in doubt.  valid: a local of the caller, as what it stores could alias
 * words->valid. */
INLINE uint64_t signs_of_sums(const words_t *words, uint64_t valid, const shorts_t *sum, uint64_t *doubtful,
                              int groups)
{
    uint64_t plus = 0;
    *doubtful = 0;
    for (int v = 0; v < VECTORS(groups); v++) {
        const shorts_t window = load_shorts(words->window + v * SHORTS);
        plus |= not_negative(sum[v], valid >> (v * SHORTS)) << (v * SHORTS);
        *doubtful |= (uint64_t)near_zero(sum[v], words->slack, window) << (v * SHORTS);
    }
    return plus;
}

/* Whether some word of layer l is what it was, in pattern at[a]. */
INLINE int any_same(const words_t *words, ptrdiff_t l, int n, const word_t *word, const int32_t *at, int groups)
{
    const uint64_t *low = words->low + l * words->stride, *high = groups <= 16 ? NULL : words->high + l * words->stride;
    int same = 0;
#pragma GCC unroll 1
    for (int a = 0; a < n; a++)
        same |= word[a].low == low[at[a]] && (groups <= 16 || word[a].high == high[at[a]]);
    return same;
}

/* As layers_above, from tables.  What is in doubt is settled after the loop, so that all that the loop needs stays in
 * registers: 36 instructions for 20 neurons. */
INLINE int layers_by_rows(const words_t *words, ptrdiff_t l, int n, const word_t *below, word_t *above,
                          const int32_t *at, int groups)
{
    const int16_t *table = columns_of(words, l);
    const uint64_t *old = words->low + (l + 1) * words->stride, valid = words->valid.low;
    uint64_t near[BATCH], some = 0;
    int same = 0;
    for (int t = 0; t < n; t++) {
        shorts_t sum[BLOCKS];
        sums_above(table, below[t].low, sum, groups);
        const uint64_t plus = signs_of_sums(words, valid, sum, &near[t], groups);
        above[t].low = plus;
        some |= near[t];
        same |= at && plus == old[at[t]];
    }
    if (LIKELY(!some))
        return same;
#pragma GCC unroll 1
    for (int t = 0; t < n; t++)
        if (near[t])
            above[t] = settle(words, l, below[t], above[t], 0, near[t]);
    return at && any_same(words, l + 1, n, above, at, groups);
}

/* Signs of layer l (of perceptrons) over at most BATCH words `below`, into `above`; with `at`, returns whether one of
 * them is what it was, in pattern at[t]. */
INLINE int layers_above(const words_t *words, ptrdiff_t l, int n, const word_t *below, word_t *above, const int32_t *at,
                        int groups)
{
    if (!is_gathered(words, groups))
        return layers_by_rows(words, l, n, below, above, at, groups);
    gather_layers(words, l, n, below, above, groups);
    return at && any_same(words, l + 1, n, above, at, groups);
}

/* Whether the last layer over a word differs from the target. */
INLINE int misses_target(const words_t *words, word_t below, word_t target, int groups)
{
    const ptrdiff_t l = words->machine->depth - 1;
    if (is_gathered(words, groups))
        return gather_misses(words, below, target, groups > 16);
    word_t above;
    layers_by_rows(words, l, 1, &below, &above, NULL, groups);
    return above.low != target.low;
}

/* -------------------------------------------------------------------------------------- row of a perceptron */

/* A table of 16 shorts in registers. */
#if defined(__AVX512BW__)
typedef struct { __m512i twice; } lookup_t;
INLINE lookup_t make_lookup(const int16_t *entries)
{
    return (lookup_t){_mm512_broadcast_i64x4(_mm256_load_si256((const __m256i *)entries))};
}
/* Bits beyond the lowest four do no harm: the table is there twice. */
INLINE shorts_t look_up(lookup_t table, shorts_t index)
{
    return (shorts_t)_mm512_permutexvar_epi16((__m512i)index, table.twice);
}
#elif defined(__AVX2__)
typedef struct { __m256i low, high; } lookup_t;
INLINE lookup_t make_lookup(const int16_t *entries)
{
    __m256i both = _mm256_load_si256((const __m256i *)entries), bytes = _mm256_set1_epi16(255);
    __m256i low = _mm256_and_si256(both, bytes), high = _mm256_srli_epi16(both, 8);
    low = _mm256_packus_epi16(low, low);            /* low half of the entries twice, high half twice */
    high = _mm256_packus_epi16(high, high);
    return (lookup_t){_mm256_permute4x64_epi64(low, 0x88), _mm256_permute4x64_epi64(high, 0x88)};
}
INLINE shorts_t look_up(lookup_t table, shorts_t index)
{
    shorts_t nibble = index & 15;
    __m256i twice = (__m256i)(nibble | nibble << 8);
    shorts_t low = (shorts_t)_mm256_shuffle_epi8(table.low, twice);
    shorts_t high = (shorts_t)_mm256_shuffle_epi8(table.high, twice);
    return (low & 255) | (high & (int16_t)0xff00);
}
#else
typedef struct { const int16_t *entries; } lookup_t;
INLINE lookup_t make_lookup(const int16_t *entries) { return (lookup_t){entries}; }
INLINE shorts_t look_up(lookup_t table, shorts_t index)
{
    shorts_t found;
    for (int b = 0; b < SHORTS; b++)
        found[b] = table.entries[index[b] & 15];
    return found;
}
#endif

/* Sums of the probed perceptron over 64 patterns, after the change. */
INLINE void changed_sums(const words_t *words, ptrdiff_t w, shorts_t *sum)
{
    const int16_t *kept = sums_of(words, words->probe.l, words->probe.i) + 64 * w;
    const uint16_t *own = words->probe.own + 64 * w;
    const int16_t bit = words->probe.own_bit, step = words->probe.step;
    for (int a = 0; a < BLOCKS; a++) {
        const shorts_t signs = load_shorts(own + a * SHORTS);
        sum[a] = load_shorts(kept + a * SHORTS);
#if defined(__AVX512BW__)
        const __mmask32 plus = _mm512_test_epi16_mask((__m512i)signs, _mm512_set1_epi16(bit));
        sum[a] += (shorts_t)_mm512_mask_blend_epi16(plus, _mm512_set1_epi16((int16_t)-step), _mm512_set1_epi16(step));
#else
        const shorts_t minus = (shorts_t)((signs & bit) == 0);
        sum[a] += (step ^ minus) - minus;
#endif
    }
}

/* Of these patterns: those that flip, computed exactly. */
static __attribute__((noinline)) uint64_t settle_row(
    const words_t *words, ptrdiff_t w, uint64_t flips, uint64_t near, int groups)
{
    const ptrdiff_t l = words->probe.l, i = words->probe.i;
    const machine_t *machine = words->machine;
    const int32_t input = input_of(machine, l, i, words->probe.k);
    for (; near; near &= near - 1) {
        const int b = __builtin_ctzll(near);
        const word_t below = word_of(words, l, 64 * w + b, groups);
        const int32_t change = words->probe.change, h = exact_field(words, l, i, below);
        const int32_t new = h + (has_bit(below, input) ? change : -change);
        const uint64_t bit = (uint64_t)1 << b;
        flips = (h >= 0) != (new >= 0) ? flips | bit : flips & ~bit;
    }
    return flips;
}

/* Bit b: pattern 64 w + b changes sign at the probed perceptron.  only_first: bits beyond the lowest may be wrong. */
INLINE uint64_t words_flips(const words_t *words, ptrdiff_t w, int only_first, int groups)
{
    const ptrdiff_t l = words->probe.l, i = words->probe.i;
    const uint16_t *own = plane_of(words, l + 1, i / PLANE) + 64 * w;
    const int to_sign = PLANE - 1 - (int)(i % PLANE);
    const int16_t slack = words->row_slack;
    const shorts_t window = (shorts_t){} + words->row_window;
    uint64_t flips = 0, near = 0, valid = ~(uint64_t)0;
    shorts_t sum[BLOCKS];
    if (is_gathered(words, groups))
        gather_row(words, w, sum);
    else
        changed_sums(words, w, sum);
    for (int a = 0; a < BLOCKS; a++) {
        /* flips if it was +1 and becomes -1, or the reverse */
        const shorts_t same = sum[a] ^ (load_shorts(own + a * SHORTS) << to_sign);
        flips |= (uint64_t)negative_shorts(~same) << (a * SHORTS);
        near |= (uint64_t)near_zero(sum[a], slack, window) << (a * SHORTS);
    }
    if (64 * (w + 1) > words->machine->patterns)
        valid >>= 64 * (w + 1) - words->machine->patterns;
    flips &= valid;
    near &= valid;
    if (only_first) {
        const uint64_t certain = flips & ~near;
        near &= (certain & -certain) - 1;
    }
    if (UNLIKELY(near))
        flips = settle_row(words, w, flips, near, groups);
    return flips;
}

/* Pre-activation of perceptron (l, i) in pattern mu. */
INLINE int32_t words_value(const words_t *words, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu, int groups)
{
    return exact_sum(words, l, i, word_of(words, l, mu, groups), PLANES(groups));
}

#if defined(__AVX512F__)
/* The same in four patterns, from weights by neuron: sooner than one after the other. */
INLINE __m128i words_four_values(const words_t *words, ptrdiff_t l, ptrdiff_t i, const int32_t *mu, int groups)
{
    const int32_t *weights = exact_of(words, l, i);
    uint64_t below[4];
    __m512i sum[4];
    for (int a = 0; a < 4; a++) {
        below[a] = word_of(words, l, mu[a], groups).low;
        sum[a] = _mm512_setzero_si512();
    }
    for (int p = 0; p < PLANES(groups); p++) {
        const __m512i q = _mm512_load_si512(weights + PLANE * p);
        for (int a = 0; a < 4; a++) {
            const __mmask16 minus = (__mmask16)~(below[a] >> (PLANE * p));
            sum[a] = _mm512_mask_sub_epi32(_mm512_add_epi32(sum[a], q), minus, sum[a], q);
        }
    }
    /* sums of the vectors, one each */
    const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(sum[0], sum[1]), _mm512_unpackhi_epi32(sum[0], sum[1]));
    const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(sum[2], sum[3]), _mm512_unpackhi_epi32(sum[2], sum[3]));
    const __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}
#endif

INLINE int words_is_plus(const words_t *words, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu, int groups)
{
    return has_bit(word_of(words, l, mu, groups), i);
}

/* ---------------------------------------------------------------------------------------------- the kernel */

static void build(words_t *words);

/* Coarser rounding, as a perceptron with this sum of |weights| needs. */
static void make_room(words_t *words, int64_t absolute_sum)
{
    while (!fits_shorts(absolute_sum, words->shift))
        words->shift++;
    build(words);
}

/* The proposal at hand: weight k of perceptron i of layer l changes, so that sum |weights| is `absolute_sum`. */
INLINE void words_begin(words_t *words, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k, int32_t before, int32_t after,
                        int64_t absolute_sum, int groups)
{
    const machine_t *machine = words->machine;
    if (UNLIKELY(!fits_shorts(absolute_sum, words->shift)))
        make_room(words, absolute_sum);
    words->probe.l = l;
    words->probe.i = i;
    words->probe.k = k;
    words->probe.change = after - before;
    if (is_gathered(words, groups)) {
        gather_begin(words, l, i, k, after);
        return;
    }
    const int32_t input = input_of(machine, l, i, k);
    words->probe.own = plane_of(words, l, input / PLANE);
    words->probe.own_bit = (int16_t)(1 << (input % PLANE));
    words->probe.step = (int16_t)rounded((int64_t)after - before, words->shift);    /* may wrap: the sums do not */
}

/* What the tasks of a proposal change the words of layer l to; where sums are kept, that tells it once more. */
INLINE word_t *after_of(const words_t *words, ptrdiff_t l)
{
    return words->after + l * words->machine->patterns;
}

/* Tasks first..first + n - 1 of a proposal: (l, i) flips in patterns[task]; gained[task] is what the pattern's
 * number of wrong output bits changes by.  The words above are left in `after`. */
INLINE void words_evaluate(words_t *words, ptrdiff_t l, ptrdiff_t i, ptrdiff_t first, int n,
                           const int32_t *patterns, int32_t *gained, int groups)
{
    const machine_t *machine = words->machine;
    const ptrdiff_t depth = machine->depth;
    word_t buffer[2][BATCH], *now = buffer[0], *next = buffer[1], *swap;
    int32_t at[BATCH];
    int live[BATCH], alive = n;
    for (int t = 0; t < n; t++) {
        at[t] = patterns[first + t];
        put_word(now + t, xor_words(word_of(words, l + 1, at[t], groups), one_bit(i)), groups);
        live[t] = (int)first + t;
        gained[first + t] = 0;
    }
    for (ptrdiff_t q = l + 1; q < depth; q++) {
        const int same = layers_above(words, q, alive, now, next, at, groups);
#pragma GCC unroll 1
        for (int a = 0; is_gathered(words, groups) && a < alive; a++)
            put_word(after_of(words, q + 1) + live[a], next[a], groups);
        if (same) {
            int left = 0;
#pragma GCC unroll 1
            for (int a = 0; a < alive; a++) {
                const word_t word = next[a];
                at[left] = at[a];
                live[left] = live[a];
                put_word(next + left, word, groups);
                left += !is_zero(xor_words(word, word_of(words, q + 1, at[left], groups)), groups);
            }
            alive = left;
            if (alive == 0)
                return;
        }
        swap = now;
        now = next;
        next = swap;
    }
    for (int a = 0; a < alive; a++)
        gained[live[a]] =
            count_bits(xor_words(now[a], target_of(words, at[a], groups)), groups) - machine->wrong[at[a]];
}

/* Independent flips at E = 0, at least one: whether they spoil an output bit. */
INLINE void words_spoil(words_t *words, int n, const flip_t *flips, uint8_t *spoiled, int groups)
{
    const ptrdiff_t depth = words->machine->depth;
    word_t buffer[2][BATCH], *now = buffer[0], *next = buffer[1], *swap;
    int who[BATCH], active = 0;
    from_lowest(n, flips, who);
    for (int a = 0; a < n; a++) {
        const flip_t *flip = &flips[who[a]];
        const word_t word = xor_words(word_of(words, flip->l + 1, flip->mu, groups), one_bit(flip->i));
        put_word(now + a, word, groups);
        put_word(next + a, word, groups);
    }
    for (ptrdiff_t q = flips[who[0]].l + 1; q < depth - 1; q++) {
        while (active < n && flips[who[active]].l < q)
            active++;
        layers_above(words, q, active, now, next, NULL, groups);
        swap = now;
        now = next;
        next = swap;
    }
    for (int a = 0; a < n; a++) {
        const flip_t *flip = &flips[who[a]];
        spoiled[who[a]] = flip->l == depth - 1
            || misses_target(words, now[a], target_of(words, flip->mu, groups), groups);
    }
}

/* Keeps the sums of layer l in pattern mu over its new word, and returns the word above. */
INLINE word_t keep_sums(words_t *words, ptrdiff_t l, ptrdiff_t mu, word_t below, int groups)
{
    shorts_t sum[BLOCKS];
    uint64_t near;
    int16_t *kept = sums_of(words, l, 0) + mu;
    sums_above(columns_of(words, l), below.low, sum, groups);
    for (ptrdiff_t i = 0; i < words->machine->width; i++)
        kept[i * words->stride] = sum[i / SHORTS][i % SHORTS];
    const word_t above = {signs_of_sums(words, words->valid.low, sum, &near, groups), 0};
    return UNLIKELY(near) ? settle(words, l, below, above, 0, near) : above;
}

/* Carries out the tasks of an accepted proposal: perceptron (l, i) flips in these patterns. */
INLINE void words_commit(words_t *words, ptrdiff_t l, ptrdiff_t i, ptrdiff_t n, const int32_t *patterns,
                         const int32_t *gained, int groups)
{
    const ptrdiff_t depth = words->machine->depth;
    for (ptrdiff_t task = 0; task < n; task++) {
        const ptrdiff_t mu = patterns[task];
        word_t word = xor_words(word_of(words, l + 1, mu, groups), one_bit(i));
        for (ptrdiff_t q = l + 1;; q++) {
            store_word(words, q, mu, word, groups);
            if (q == depth)
                break;
            word = is_gathered(words, groups) ? after_of(words, q + 1)[task] : keep_sums(words, q, mu, word, groups);
            if (is_zero(xor_words(word, word_of(words, q + 1, mu, groups)), groups))
                break;
        }
        words->machine->wrong[mu] += gained[task];
    }
}

/* The sums of perceptron (l, i) after the entries of a group have changed by these. */
INLINE void shift_sums(words_t *words, ptrdiff_t l, ptrdiff_t i, ptrdiff_t group, short_entries_t change)
{
    _Alignas(64) int16_t entries[ENTRIES];
    memcpy(entries, &change, sizeof entries);
    const lookup_t table = make_lookup(entries);
    const uint16_t *plane = plane_of(words, l, group / 4);
    const int shift = INPUTS * (int)(group % 4);
    int16_t *kept = sums_of(words, l, i);
    for (ptrdiff_t mu = 0; mu < words->machine->patterns; mu += SHORTS)
        store_shorts(kept + mu, load_shorts(kept + mu) + look_up(table, load_shorts(plane + mu) >> shift));
}

/* Takes over the weight of the proposal at hand. */
INLINE void words_change(words_t *words, int groups)
{
    const machine_t *machine = words->machine;
    const ptrdiff_t l = words->probe.l, i = words->probe.i, k = words->probe.k;
    int32_t *weights = exact_of(words, l, i);
    if (is_gathered(words, groups)) {
        weights[k] += words->probe.change;
        if (l > 0)
            gather_change(words, l, i, k);
        return;
    }
    const ptrdiff_t input = input_of(machine, l, i, k), group = input / INPUTS;
    const short_entries_t before = table_entries(weights + INPUTS * group, words->shift);
    weights[input] += words->probe.change;
    const short_entries_t after = table_entries(weights + INPUTS * group, words->shift);
    shift_sums(words, l, i, group, after - before);
    if (l > 0)
        store_column(words, l, group, i, after);
}

/* What a proposal at (l, i) will need: its sums, or the weights by which sentinels and rows are
 * judged. */
INLINE void words_prefetch(const words_t *words, ptrdiff_t l, ptrdiff_t i, int at_zero, int groups)
{
    const int kept = !is_gathered(words, groups) && !at_zero;
    const char *row = kept ? (const char *)sums_of(words, l, i) : (const char *)exact_of(words, l, i);
    const ptrdiff_t bytes = kept ? words->machine->patterns * (ptrdiff_t)sizeof(int16_t)
                                 : words->reach * (ptrdiff_t)sizeof(int32_t);
    for (ptrdiff_t at = 0; at < bytes; at += 64)
        __builtin_prefetch(row + at);
}

/* ------------------------------------------------------------------------------------------------- set-up */

/* Columns and sums of perceptron i of layer l. */
static void build_perceptron(words_t *words, ptrdiff_t l, ptrdiff_t i)
{
    memset(sums_of(words, l, i), 0, (size_t)words->stride * sizeof *words->sums);
    for (ptrdiff_t group = 0; group < words->groups; group++) {
        const short_entries_t entries = table_entries(exact_of(words, l, i) + INPUTS * group, words->shift);
        shift_sums(words, l, i, group, entries);
        if (l > 0)
            store_column(words, l, group, i, entries);
    }
}

/* Everything that follows from `exact`, `shift` and the signs. */
static void build(words_t *words)
{
    const machine_t *machine = words->machine;
    if (words->limbs) {
        gather_build(words);
        return;
    }
    const ptrdiff_t tables = machine->fan_in < words->groups ? machine->fan_in : words->groups;
    /* Each table with weights is rounded down by less than 1: a sum of -1 may be up to tables - 1 in truth. */
    words->slack = (int16_t)(tables - 1);
    for (ptrdiff_t i = 0; i < machine->width; i++)
        words->window[i] = words->shift ? words->slack : 0;
    /* With a change that is rounded to the nearest: -tables..0 are uncertain. */
    words->row_slack = (int16_t)tables;
    words->row_window = (int16_t)(words->shift ? tables + 1 : 0);
    for (ptrdiff_t l = 0; l < machine->depth; l++)
        for (ptrdiff_t i = 0; i < machine->width; i++)
            build_perceptron(words, l, i);
}

/* Perceptron (l, i) takes the weights q as they are wired; `absolute_sum`: of them. */
static void words_replace(words_t *words, ptrdiff_t l, ptrdiff_t i, const int32_t *q, int64_t absolute_sum)
{
    const machine_t *machine = words->machine;
    for (ptrdiff_t k = 0; k < machine->fan_in; k++)
        exact_of(words, l, i)[words->limbs ? k : input_of(machine, l, i, k)] = q[k];
    if (UNLIKELY(!fits_shorts(absolute_sum, words->shift)))
        make_room(words, absolute_sum);
    else if (!words->limbs)
        build_perceptron(words, l, i);
    else if (l > 0)
        gather_replace(words, l, i);
}

static void words_free(words_t *words)
{
    free(words->planes_of);
    free(words->low);
    free(words->high);
    free(words->exact);
    free(words->columns);
    free(words->sums);
    free(words->after);
    gather_free(words);
    memset(words, 0, sizeof *words);
}

/* 0, or -1 if there is not enough memory.  by_gathering: with limbs; only where c <= N / 2. */
static int words_make(words_t *words, const machine_t *machine, int by_gathering)
{
    const size_t depth = (size_t)machine->depth, width = (size_t)machine->width;
    memset(words, 0, sizeof *words);
    words->machine = machine;
    words->planes = (machine->width + PLANE - 1) / PLANE;
    words->stride = (machine->patterns + 63) / 64 * 64;
    words->groups = groups_for(machine->width);
    for (ptrdiff_t i = 0; i < machine->width; i++)
        words->valid = xor_words(words->valid, one_bit(i));
    words->layer = words->groups * ENTRIES * lanes_of((int)words->groups);
    words->reach = by_gathering ? machine->fan_in : PLANE * words->planes;
    /* A stride of a multiple of 4096 bytes would put all planes into the same cache sets. */
    if (words->stride % 1024 == 0)
        words->stride += 64;
    const size_t layer = (size_t)words->stride;
    words->planes_of = allocate((depth + 1) * (size_t)words->planes * layer, sizeof *words->planes_of);
    words->low = allocate((depth + 2) * layer, sizeof *words->low);
    words->high = allocate(words->planes > 4 ? (depth + 2) * layer : 0, sizeof *words->high);
    words->exact = allocate(depth * width * (size_t)words->reach, sizeof *words->exact);
    int made = words->planes_of && words->low && words->high && words->exact;
    if (by_gathering) {
        words->after = allocate((depth + 1) * (size_t)machine->patterns, sizeof *words->after);
        made = made && words->after && gather_make(words) == 0;
    } else {
        words->columns = allocate((depth - 1) * (size_t)words->layer, sizeof *words->columns);
        words->sums = allocate(depth * width * layer, sizeof *words->sums);
        made = made && words->columns && words->sums;
    }
    if (made)
        return 0;
    words_free(words);
    return -1;
}

/* Sign words [N][W] of a layer (L + 1: of the targets). */
static void load_layer(words_t *words, ptrdiff_t l, const uint64_t *signs)
{
    const machine_t *machine = words->machine;
    const ptrdiff_t count = (machine->patterns + 63) / 64;
    for (ptrdiff_t i = 0; i < machine->width; i++) {
        uint64_t *side = (i < 64 ? words->low : words->high) + l * words->stride;
        for (ptrdiff_t w = 0; w < count; w++) {
            for (uint64_t left = signs[i * count + w]; left; left &= left - 1) {
                const ptrdiff_t mu = 64 * w + __builtin_ctzll(left);
                side[mu] |= (uint64_t)1 << (i % 64);
                if (l <= machine->depth)
                    plane_of(words, l, i / PLANE)[mu] |= (uint16_t)(1 << (i % PLANE));
            }
        }
    }
}

/* Computes the whole state.  signs: [0..L][N][W], the sign words of all layers; targets: [N][W]. */
static void words_load(words_t *words, const uint64_t *signs, const uint64_t *targets)
{
    const machine_t *machine = words->machine;
    const ptrdiff_t layer = machine->width * ((machine->patterns + 63) / 64);
    int64_t largest = 0;
    for (ptrdiff_t l = 0; l < machine->depth; l++) {
        for (ptrdiff_t i = 0; i < machine->width; i++) {
            const int64_t sum = machine->absolute_sum[l * machine->width + i];
            largest = sum > largest ? sum : largest;
            for (ptrdiff_t k = 0; k < machine->fan_in; k++) {
                const ptrdiff_t place = place_of(machine, l, i, k);
                exact_of(words, l, i)[words->limbs ? k : machine->inputs[place]] = machine->weights[place];
            }
        }
    }
    words->shift = 0;
    while (!fits_shorts(largest, words->shift))
        words->shift++;
    for (ptrdiff_t l = 0; l <= machine->depth; l++)
        load_layer(words, l, signs + l * layer);
    load_layer(words, machine->depth + 1, targets);
    build(words);
    for (ptrdiff_t mu = 0; mu < machine->patterns; mu++) {
        const word_t wrong = xor_words(word_of(words, machine->depth, mu, (int)words->groups),
                                       target_of(words, mu, (int)words->groups));
        machine->wrong[mu] = count_bits(wrong, (int)words->groups);
    }
}

/* Sign words of neuron i of layer l. */
INLINE void words_row(const words_t *words, ptrdiff_t l, ptrdiff_t i, uint64_t *signs)
{
    const uint16_t *plane = plane_of(words, l, i / PLANE);
    for (ptrdiff_t w = 0; w < (words->machine->patterns + 63) / 64; w++) {
        signs[w] = 0;
        for (int b = 0; b < 64; b += SHORTS)
            signs[w] |= (uint64_t)with_bits(load_shorts(plane + 64 * w + b), (int16_t)(1 << (i % PLANE))) << b;
    }
}

/* Signs of the inputs of perceptron i of layer l by pattern, bit k: input k; there are at most 64. */
static void words_inputs(const words_t *words, ptrdiff_t l, ptrdiff_t i, uint64_t *bits)
{
    const machine_t *machine = words->machine;
    const ptrdiff_t fan_in = machine->fan_in, patterns = machine->patterns;
    const int32_t *inputs = machine->inputs + place_of(machine, l, i, 0);
    const uint64_t *const low = words->low + l * words->stride;
    const uint64_t *const high = words->high ? words->high + l * words->stride : NULL;
#if defined(__AVX512F__)        /* every processor that has it takes bits out of a word in three cycles */
    word_t read = {0, 0};
    int ascending = 1;
    for (ptrdiff_t k = 0; k < fan_in; k++) {
        ascending &= k == 0 || inputs[k] > inputs[k - 1];
        read = xor_words(read, one_bit(inputs[k]));
    }
    if (ascending) {
        const int of_low = __builtin_popcountll(read.low);
        for (ptrdiff_t mu = 0; mu < patterns; mu++)
            bits[mu] = _pext_u64(low[mu], read.low);
        for (ptrdiff_t mu = 0; read.high && mu < patterns; mu++)
            bits[mu] |= _pext_u64(high[mu], read.high) << of_low;
        return;
    }
#endif
    memset(bits, 0, (size_t)patterns * sizeof *bits);
    for (ptrdiff_t k = 0; k < fan_in; k++) {
        const uint64_t *const word = inputs[k] < 64 ? low : high;
        for (ptrdiff_t mu = 0; mu < patterns; mu++)
            bits[mu] |= (word[mu] >> (inputs[k] % 64) & 1) << k;
    }
}

/* Sign words [0..L][N][W]. */
static void words_signs(const words_t *words, uint64_t *signs)
{
    const machine_t *machine = words->machine;
    const ptrdiff_t count = (machine->patterns + 63) / 64;
    for (ptrdiff_t l = 0; l <= machine->depth; l++) {
        for (ptrdiff_t i = 0; i < machine->width; i++, signs += count)
            words_row(words, l, i, signs);
    }
}

/* Whether two students of the same machine keep the same: equal tables and words. */
static int words_same(words_t *a, words_t *b)
{
    const machine_t *machine = a->machine;
    const size_t weights = (size_t)(machine->depth * machine->width * a->reach);
    const size_t states = (size_t)((machine->depth + 2) * a->stride);
    const size_t planes = (size_t)((machine->depth + 1) * a->planes * a->stride);
    const size_t sums = (size_t)(machine->depth * machine->width * a->stride);
    const size_t columns = (size_t)((machine->depth - 1) * a->layer);
    words_t *finer = a->shift < b->shift ? a : b;
    if (a->shift != b->shift) {         /* what has outgrown its rounding once stays rounded so */
        finer->shift = finer == a ? b->shift : a->shift;
        build(finer);
    }
    return !memcmp(a->exact, b->exact, weights * sizeof *a->exact)
        && !memcmp(a->planes_of, b->planes_of, planes * sizeof *a->planes_of)
        && !memcmp(a->low, b->low, states * sizeof *a->low)
        && (a->planes <= 4 || !memcmp(a->high, b->high, states * sizeof *a->high))
        && (!a->sums || !memcmp(a->sums, b->sums, sums * sizeof *a->sums))
        && (!a->columns || !memcmp(a->columns, b->columns, columns * sizeof *a->columns))
        && gather_same(a, b);
}
#endif

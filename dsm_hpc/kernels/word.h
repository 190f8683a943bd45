/* What words.h and gather.h share: the signs of a layer in one pattern as a word, where words, planes and weights are,
 * and sums from the integer weights. */
#ifndef DSM_WORD_H
#define DSM_WORD_H
#include "lanes.h"

enum {
    WORD = 128,                     /* most neurons per layer */
    PLANE = 16,                     /* neurons in a short of the state */
    INPUTS = 4,                     /* neurons that index a table together */
    ENTRIES = 1 << INPUTS,
};

/* Signs of a layer in one pattern, bit i = neuron i is +1.  `high` is not used up to 64 neurons. */
typedef struct { uint64_t low, high; } word_t;

typedef struct {
    const machine_t *machine;
    ptrdiff_t planes, stride;       /* ceil(N / 16); patterns up to a multiple of 64 */
    ptrdiff_t groups;               /* of 4 neurons: groups_for(N) */
    word_t valid;                   /* the bits that are neurons */
    ptrdiff_t layer;                /* shorts of a layer in `columns` */
    int shift;                      /* sums are rounded to 2^shift */
    /* signs twice: by plane for rows, by pattern for layers */
    uint16_t *planes_of;            /* [0..L][plane][stride]: bit b of plane p is neuron 16 p + b */
    uint64_t *low, *high;           /* [0..L + 1][stride]: words; L + 1: the teacher's outputs; high: N > 64 */
    int32_t *exact;                 /* [l][i][reach]: weights by neuron, or as they are wired if gathered */
    ptrdiff_t reach;
    /* NULL if gathered: */
    int16_t *columns;               /* [l = 1..L-1][group][16][lanes]: tables */
    int16_t *sums;                  /* [l][i][stride]: of the entries that each pattern selects */
    /* a sum may have the wrong sign from -slack to -slack + window - 1 */
    _Alignas(64) int16_t window[64], slack;     /* of a layer above; no window where there is no neuron */
    int16_t row_slack, row_window;  /* of a row */
    struct limbs *limbs;            /* gather.h, or NULL */
    word_t *after;                  /* [0..L][task]: what the tasks of a proposal change the words to, if gathered */
    /* the proposal at hand */
    struct {
        ptrdiff_t l, i, k;
        int32_t change;
        const uint16_t *own;                    /* signs of the neuron whose weight changes, */
        int16_t own_bit, step;                  /* as which bit; by how much sums change */
    } probe;
} words_t;

/* Functions that take `groups` have a copy for each number of them: loops of known length, sums in registers.  Beyond
 * 64 neurons they are filled up to whole planes: fewer copies. */
INLINE ptrdiff_t groups_for(ptrdiff_t width)
{
    return width > 64 ? (width + PLANE - 1) / PLANE * (PLANE / INPUTS) : (width + INPUTS - 1) / INPUTS;
}

enum { BLOCKS = 64 / SHORTS };      /* vectors of 64 patterns or perceptrons */
#define PLANES(groups) (((groups) + 3) / 4)
#define VECTORS(groups) ((PLANE * PLANES(groups) + SHORTS - 1) / SHORTS)

INLINE uint16_t *plane_of(const words_t *words, ptrdiff_t l, ptrdiff_t plane)
{
    return words->planes_of + (l * words->planes + plane) * words->stride;
}

/* Tables of a layer: [group][16][lanes_of(groups)]. */
INLINE int lanes_of(int groups)
{
    return VECTORS(groups) * SHORTS;
}

INLINE int16_t *columns_of(const words_t *words, ptrdiff_t l)
{
    return words->columns + (l - 1) * words->layer;
}

/* Whether layers are gathered: beyond 64 neurons in any case. */
INLINE int is_gathered(const words_t *words, int groups)
{
    return groups > 16 || words->limbs;
}

INLINE int32_t *exact_of(const words_t *words, ptrdiff_t l, ptrdiff_t i)
{
    return words->exact + (l * words->machine->width + i) * words->reach;
}

INLINE int16_t *sums_of(const words_t *words, ptrdiff_t l, ptrdiff_t i)
{
    return words->sums + (l * words->machine->width + i) * words->stride;
}

/* ------------------------------------------------------------------------------------------------ words */

INLINE word_t word_of(const words_t *words, ptrdiff_t l, ptrdiff_t mu, int groups)
{
    const ptrdiff_t at = l * words->stride + mu;
    return (word_t){words->low[at], groups <= 16 ? 0 : words->high[at]};
}

INLINE word_t target_of(const words_t *words, ptrdiff_t mu, int groups)
{
    return word_of(words, words->machine->depth + 1, mu, groups);
}

INLINE void store_word(words_t *words, ptrdiff_t l, ptrdiff_t mu, word_t word, int groups)
{
    const ptrdiff_t at = l * words->stride + mu;
    words->low[at] = word.low;
    if (groups > 16)
        words->high[at] = word.high;
    for (int p = 0; p < PLANES(groups); p++)
        plane_of(words, l, p)[mu] = (uint16_t)(p < 4 ? word.low >> (PLANE * p) : word.high >> (PLANE * (p - 4)));
}

/* Of a narrow word only what is there: halves that are written one by one and read together would make the processor
 * wait for them. */
INLINE void put_word(word_t *to, word_t word, int groups)
{
    to->low = word.low;
    if (groups > 16)
        to->high = word.high;
}

INLINE word_t one_bit(ptrdiff_t i)
{
    return (word_t){i < 64 ? (uint64_t)1 << i : 0, i < 64 ? 0 : (uint64_t)1 << (i - 64)};
}

INLINE word_t xor_words(word_t a, word_t b)
{
    return (word_t){a.low ^ b.low, a.high ^ b.high};
}

INLINE int has_bit(word_t word, ptrdiff_t i)
{
    return (i < 64 ? word.low >> i : word.high >> (i - 64)) & 1;
}

INLINE int is_zero(word_t word, int groups)
{
    return groups <= 16 ? word.low == 0 : (word.low | word.high) == 0;
}

INLINE int count_bits(word_t word, int groups)
{
    return __builtin_popcountll(word.low) + (groups <= 16 ? 0 : __builtin_popcountll(word.high));
}

INLINE word_t and_words(word_t a, word_t b)
{
    return (word_t){a.low & b.low, a.high & b.high};
}

/* -------------------------------------------------------------------------------------------- exact sums */

/* h of perceptron i of layer l over the word below it, from the integer weights. */
INLINE int32_t exact_sum(const words_t *words, ptrdiff_t l, ptrdiff_t i, word_t below, ptrdiff_t planes)
{
    const machine_t *machine = words->machine;
    const int32_t *weights = exact_of(words, l, i);
    if (words->limbs) {
        const int32_t *inputs = machine->inputs + place_of(machine, l, i, 0);
        int32_t h = 0;
        for (ptrdiff_t k = 0; k < machine->fan_in; k++) {
            const int32_t minus = has_bit(below, inputs[k]) - 1;
            h += (weights[k] ^ minus) - minus;
        }
        return h;
    }
    lanes_t sum = {};
    for (ptrdiff_t j = 0; j < PLANE * planes; j += LANES)
        sum += signed_lanes(load_lanes(weights + j), (uint32_t)(below.low >> j));
    return sum_of_lanes(sum);
}

/* The same where it is rarely needed. */
static __attribute__((noinline)) int32_t exact_field(const words_t *words, ptrdiff_t l, ptrdiff_t i, word_t below)
{
    return exact_sum(words, l, i, below, words->planes);
}

/* Of 64 perceptrons from `first` on: signs of those whose sums are near zero, computed exactly. */
static __attribute__((noinline)) word_t settle(
    const words_t *words, ptrdiff_t l, word_t below, word_t above, ptrdiff_t first, uint64_t near)
{
    for (; near; near &= near - 1) {
        ptrdiff_t i = first + __builtin_ctzll(near);
        if (has_bit(above, i) != (exact_field(words, l, i, below) >= 0))
            above = xor_words(above, one_bit(i));
    }
    return above;
}
#endif

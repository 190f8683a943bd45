/* Machines of many neurons: only what a flip changes is followed into the layers above.
 *
 * Nothing is written while a proposal is evaluated; an accepted one is followed again by events_commit.
 * All arithmetic is in integers: the state never drifts from a recomputation, and every build gives the
 * same bits.
 *
 * Pre-activations lie in blocks of 16 patterns, [block][layer][perceptron][16]: a cache line is one
 * perceptron in 16 patterns.  The scan of a perceptron reads M/16 lines; a pattern that is followed reads
 * one line for each perceptron it reaches.  At E = 0 two lines mostly show a flip, and of the outputs that it
 * reaches about ten are looked at.
 *
 * Two ways to follow a flip, by the fan-in (EVENTS_DENSE):
 * - links: for each neuron, the perceptrons that read it.  Bound: one line from L2 or L3 and two visits in
 *   L1 per link of the flipped neurons.
 * - columns: for each neuron, its weights to all perceptrons, and a second copy of the pre-activations by
 *   pattern.  Bound: (flipped neurons) x N/16 vector loads from L2 or L3 per layer; a commit writes N lines
 *   per layer.
 */
#ifndef DSM_EVENTS_H
#define DSM_EVENTS_H
#include "lanes.h"

#define EVENTS_BLOCK 16     /* patterns in a block */
#define EVENTS_BATCH 16     /* most patterns of one call of events_evaluate */
#define EVENTS_WATCHED 2    /* blocks of a perceptron that are looked at first, at E = 0 */
#define EVENTS_GROUP 8      /* links that are looked at together, where the first that flips is enough */
/* Columns from c = N / EVENTS_DENSE on: a link costs about as much as this many entries of a column.  Measured:
 * even between N / c = 10 and 20 for L = 3; deeper machines gain more by columns, as more of a layer flips. */
#ifndef EVENTS_DENSE
#define EVENTS_DENSE 16
#endif

/* A neuron that flips, seen from the layers above: EVENTS_BLOCK * neuron + (1 if it becomes +1).  Without
 * the last bit it is the offset of the neuron's pre-activations in a layer of a block.  32 bits: N < 2^28, and
 * N c < 2^32 where links are counted. */
typedef uint32_t events_flip_t;
typedef struct { uint32_t offset; int32_t doubled; } events_link_t;   /* of the perceptron that reads the neuron; 2q */
typedef struct { int32_t *raised, *lowered; ptrdiff_t n_raised, n_lowered; } events_front_t;   /* neurons that flip */

typedef struct {
    const machine_t *machine;     /* the caller's; stays where it is */
    int dense;                    /* columns, not links */
    ptrdiff_t blocks, words;      /* ceil(M / 16), ceil(M / 64) */
    ptrdiff_t block_stride;       /* int32 from one block to the next */
    ptrdiff_t word_stride;        /* words from one neuron to the next in `signs` */
    ptrdiff_t padded;             /* N rounded up to 16 */
    ptrdiff_t row_stride;         /* int32 from one column or one pattern to the next, dense */
    int32_t *h;                   /* [block][layer][perceptron][16] */
    uint64_t *signs;              /* [0..depth][neuron][word_stride] */
    uint8_t *targets;             /* [pattern][padded / 8]; bits of the padding are 1 */
    uint32_t *watched;            /* [l][i][EVENTS_WATCHED] blocks that are likely to flip */
    /* weights above the neurons of layer q = 1..depth-1, in layer q - 1 of these arrays */
    events_link_t *links;         /* [q][N c], grouped by neuron */
    uint32_t *first_link;         /* [q][N + 1] */
    uint32_t *slot;               /* [q][perceptron][k] where the link of a weight stands */
    int32_t *columns;             /* [q][neuron][row_stride] 2q */
    int32_t *by_pattern;          /* [q][pattern][row_stride] */
    /* scratch */
    int32_t *sums;                /* [N], zero between calls: what is added to the pre-activations of a layer */
    uint32_t *touched;            /* [N] offsets of the perceptrons whose sums changed, if they are few */
    events_flip_t *flipped[2];    /* neurons that flip in two consecutive layers */
    events_flip_t *batch;         /* [EVENTS_BATCH][batch_stride] those of the first layer above, for each pattern */
    ptrdiff_t batch_stride;
    events_front_t front[2];
} events_t;

enum events_mode { EVENTS_EVALUATE, EVENTS_SPOIL, EVENTS_COMMIT };

/* Perceptrons whose pre-activations are kept in registers. */
#if BYTES == 16
#define EVENTS_CHUNK 32
#else
#define EVENTS_CHUNK 64
#endif


/* --- where things are --------------------------------------------------------------------------------- */

/* Perceptron i of layer l in the patterns of a block. */
INLINE int32_t *events_line(const events_t *e, ptrdiff_t block, ptrdiff_t l, ptrdiff_t i)
{
    return e->h + block * e->block_stride + (l * e->machine->width + i) * EVENTS_BLOCK;
}

/* Perceptron i of layer l in one pattern; the next perceptron is EVENTS_BLOCK further.  Unsigned: the division
 * is a shift. */
INLINE int32_t *events_value(const events_t *e, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu)
{
    return events_line(e, (ptrdiff_t)((size_t)mu / EVENTS_BLOCK), l, i) + (size_t)mu % EVENTS_BLOCK;
}

INLINE int32_t *events_pattern(const events_t *e, ptrdiff_t q, ptrdiff_t mu)
{
    return e->by_pattern + ((q - 1) * e->machine->patterns + mu) * e->row_stride;
}

INLINE int32_t *events_column(const events_t *e, ptrdiff_t q, ptrdiff_t j)
{
    return e->columns + ((q - 1) * e->machine->width + j) * e->row_stride;
}

/* The links of neuron j below layer q, up to `end`. */
INLINE const events_link_t *events_links(const events_t *e, ptrdiff_t q, ptrdiff_t j, const events_link_t **end)
{
    const machine_t *m = e->machine;
    const uint32_t *first = e->first_link + (q - 1) * (m->width + 1) + j;
    const events_link_t *links = e->links + (q - 1) * m->width * m->fan_in;
    *end = links + first[1];
    return links + first[0];
}

INLINE uint64_t *events_words(const events_t *e, ptrdiff_t l, ptrdiff_t j)
{
    return e->signs + (l * e->machine->width + j) * e->word_stride;
}

/* Blocks of the patterns of word w. */
INLINE int events_blocks_of(const events_t *e, ptrdiff_t w)
{
    const int full = 64 / EVENTS_BLOCK;
    return e->blocks - full * w < full ? (int)(e->blocks - full * w) : full;
}

/* Whether (l, i) becomes +1 if it flips. */
INLINE int events_rises(const events_t *e, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu)
{
    return *events_value(e, l, i, mu) < 0;
}

/* By how much the wrong bits change when output j flips: -1 or +1, without a branch, which would be a coin toss. */
INLINE int events_output(const events_t *e, ptrdiff_t j, int rises, ptrdiff_t mu)
{
    int target = e->targets[mu * (e->padded / 8) + (j >> 3)] >> (j & 7) & 1;
    return 2 * (target ^ rises) - 1;
}

INLINE void events_turn(const events_t *e, ptrdiff_t l, ptrdiff_t j, ptrdiff_t mu)
{
    events_words(e, l, j)[mu >> 6] ^= (uint64_t)1 << (mu & 63);
}

/* --- one perceptron in all patterns --------------------------------------------------------------- */

/* The words of signs of the neuron that weight k of (l, i) reads. */
INLINE const uint64_t *events_input(const events_t *e, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k)
{
    return events_words(e, l, input_of(e->machine, l, i, k));
}

/* Bit b: a perceptron changes sign in pattern b of a block, of which h are its pre-activations and `signs` those of the
 * neuron whose weight changes by `change`. */
INLINE uint32_t events_flips_line(const int32_t *h, uint32_t signs, int32_t change)
{
    uint32_t flips = 0;
    for (int v = 0; v < EVENTS_BLOCK; v += LANES)
        flips |= flipped_lanes(h + v, signs >> v, change) << v;
    return flips;
}

/* Bit b: pattern 64 w + b changes sign at (l, i) when weight k changes by `change`. */
static inline uint64_t events_flips(
    const events_t *e, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k, int32_t change, ptrdiff_t w)
{
    const machine_t *m = e->machine;
    const int32_t *h = events_line(e, 64 / EVENTS_BLOCK * w, l, i);
    const uint64_t signs = events_input(e, l, i, k)[w];
    const int left = (int)(m->patterns - 64 * w < 64 ? m->patterns - 64 * w : 64), n = events_blocks_of(e, w);
    uint64_t flips = 0;
    for (int a = 0; a < n; a++, h += e->block_stride)
        flips |= (uint64_t)events_flips_line(h, (uint32_t)(signs >> (EVENTS_BLOCK * a)), change) << (EVENTS_BLOCK * a);
    return flips & ~(uint64_t)0 >> (64 - left);
}

/* At E = 0 any pattern that flips may be the first to be followed.  Of each perceptron, a few blocks that have small
 * |h| are kept, and looked at before the row is.  They are hints, which other threads may change: read once. */
INLINE uint32_t *events_watched(const events_t *e, ptrdiff_t l, ptrdiff_t i)
{
    return e->watched + (l * e->machine->width + i) * EVENTS_WATCHED;
}

/* The smallest |h| of a perceptron in a block. */
INLINE int32_t events_smallest(const int32_t *h)
{
    int32_t smallest = INT32_MAX;
    for (int b = 0; b < EVENTS_BLOCK; b++)
        smallest = abs(h[b]) < smallest ? abs(h[b]) : smallest;
    return smallest;
}

/* Keeps the block of pattern mu, in place of the one whose smallest |h| is largest, if it is larger. */
INLINE void events_watch(const events_t *e, ptrdiff_t l, ptrdiff_t i, int32_t mu)
{
    const ptrdiff_t block = mu / EVENTS_BLOCK;
    uint32_t *watched = events_watched(e, l, i), *out = NULL;
    int32_t largest = events_smallest(events_line(e, block, l, i));
    for (int a = 0; a < EVENTS_WATCHED; a++) {
        const int32_t h = events_smallest(events_line(e, __atomic_load_n(&watched[a], __ATOMIC_RELAXED), l, i));
        if (h > largest) {
            largest = h;
            out = &watched[a];
        }
    }
    if (out)
        __atomic_store_n(out, (uint32_t)block, __ATOMIC_RELAXED);
}

/* Of the watched blocks: a pattern that flips at (l, i) when weight k changes by `change`, or -1. */
static inline int32_t events_likely(const events_t *e, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k, int32_t change)
{
    const uint64_t *signs = events_input(e, l, i, k);
    const uint32_t *watched = events_watched(e, l, i);
    uint32_t block[EVENTS_WATCHED], flips = 0;
    for (int a = 0; a < EVENTS_WATCHED; a++) {
        block[a] = __atomic_load_n(&watched[a], __ATOMIC_RELAXED);
        const ptrdiff_t first = (ptrdiff_t)block[a] * EVENTS_BLOCK, left = e->machine->patterns - first;
        const uint32_t plus = (uint32_t)(signs[first / 64] >> (first % 64));
        uint32_t some = events_flips_line(events_line(e, block[a], l, i), plus, change);
        some &= left < EVENTS_BLOCK ? ((uint32_t)1 << left) - 1 : (uint32_t)(1 << EVENTS_BLOCK) - 1;
        flips |= some << (a * EVENTS_BLOCK);
    }
    if (UNLIKELY(!flips))
        return -1;
    const int b = __builtin_ctz(flips);
    return (int32_t)block[b / EVENTS_BLOCK] * EVENTS_BLOCK + b % EVENTS_BLOCK;
}

/* The flip of (l, i) in pattern mu is harmless: the next block. */
INLINE void events_dismiss(const events_t *e, ptrdiff_t l, ptrdiff_t i, int32_t mu)
{
    uint32_t *watched = events_watched(e, l, i);
    for (int a = 0; a < EVENTS_WATCHED; a++) {
        const uint32_t block = __atomic_load_n(&watched[a], __ATOMIC_RELAXED);
        if (block == (uint32_t)mu / EVENTS_BLOCK)
            __atomic_store_n(&watched[a], block + 1 < (uint32_t)e->blocks ? block + 1 : 0, __ATOMIC_RELAXED);
    }
}

/* Blocks before word w. */
INLINE ptrdiff_t events_blocks_before(const events_t *e, ptrdiff_t w)
{
    return w < e->words ? 64 / EVENTS_BLOCK * w : e->blocks;
}

/* Adds the weight q of an input with these sign words to a row of pre-activations, in the patterns of words
 * first..last - 1. */
INLINE void events_add_input(
    const events_t *e, ptrdiff_t l, ptrdiff_t i, const uint64_t *signs, int32_t q, ptrdiff_t first, ptrdiff_t last)
{
    ptrdiff_t block = events_blocks_before(e, first);
    const ptrdiff_t end = events_blocks_before(e, last);
    int32_t *h = events_line(e, block, l, i);
    for (; block < end; block++, h += e->block_stride)
        for (int v = 0; v < EVENTS_BLOCK; v += LANES)
            store_lanes(h + v, load_lanes(h + v) + signed_lanes(
                (lanes_t){} + q,
                (uint32_t)(signs[block * EVENTS_BLOCK >> 6] >> ((block * EVENTS_BLOCK & 63) + v))));
}

/* Copies a row into the pre-activations by pattern, for those of words first..last - 1. */
static void events_copy_row(const events_t *e, ptrdiff_t l, ptrdiff_t i, ptrdiff_t first, ptrdiff_t last)
{
    const ptrdiff_t end = events_blocks_before(e, last);
    ptrdiff_t mu = 64 * first;
    int32_t *to = events_pattern(e, l, mu) + i;
    for (ptrdiff_t block = events_blocks_before(e, first); block < end; block++) {
        const int32_t *h = events_line(e, block, l, i);
        for (int b = 0; b < EVENTS_BLOCK && mu < e->machine->patterns; b++, mu++, to += e->row_stride)
            *to = h[b];
    }
}

/* Stores a weight where flips are followed; none are below layer 0. */
INLINE void events_set_weight(events_t *e, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k, int32_t q)
{
    const machine_t *m = e->machine;
    const ptrdiff_t place = place_of(m, l, i, k);
    if (l == 0)
        return;
    if (e->dense)
        events_column(e, l, input_of(m, l, i, k))[i] = 2 * q;
    else
        e->links[(l - 1) * m->width * m->fan_in + e->slot[place - m->width * m->fan_in]].doubled = 2 * q;
}

/* Weight k of (l, i) changes: its row, in the patterns of words first..last - 1, whose flips have been committed. */
static inline void events_change(
    const events_t *e, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k, int32_t change, ptrdiff_t first, ptrdiff_t last)
{
    const uint64_t *signs = events_words(e, l, input_of(e->machine, l, i, k));
    events_add_input(e, l, i, signs, change, first, last);
    if (e->dense && l > 0)
        events_copy_row(e, l, i, first, last);
}

/* Perceptron (l, i) takes the weights q; its flips have been committed. */
static inline void events_replace(events_t *e, ptrdiff_t l, ptrdiff_t i, const int32_t *q)
{
    const machine_t *m = e->machine;
    int32_t *h = events_line(e, 0, l, i);
    for (ptrdiff_t block = 0; block < e->blocks; block++, h += e->block_stride) {
        const ptrdiff_t word = block * EVENTS_BLOCK >> 6, shift = block * EVENTS_BLOCK & 63;
        lanes_t sum[EVENTS_BLOCK / LANES] = {};
        for (ptrdiff_t k = 0; k < m->fan_in; k++) {
            const uint64_t signs = events_words(e, l, input_of(m, l, i, k))[word] >> shift;
            for (int v = 0; v < EVENTS_BLOCK / LANES; v++)
                sum[v] += signed_lanes((lanes_t){} + q[k], (uint32_t)(signs >> (v * LANES)));
        }
        for (int v = 0; v < EVENTS_BLOCK / LANES; v++)
            store_lanes(h + v * LANES, sum[v]);
    }
    if (e->dense && l > 0)
        events_copy_row(e, l, i, 0, e->words);
    for (ptrdiff_t k = 0; k < m->fan_in; k++)
        events_set_weight(e, l, i, k, q[k]);
}

/* --- links: one flip, one pattern ---------------------------------------------------------------------- */

INLINE const events_link_t *events_at_most(const events_link_t *link, const events_link_t *end, ptrdiff_t most)
{
    return end - link < most ? end : link + most;
}

INLINE void events_prefetch_links(const events_t *e, ptrdiff_t q, ptrdiff_t j, const int32_t *h, ptrdiff_t most)
{
    const events_link_t *end, *link = events_links(e, q, j, &end);
    for (end = events_at_most(link, end, most); link < end; link++)
        __builtin_prefetch(h + link->offset);
}

/* Settles a perceptron with `added` to its pre-activation; `next` has room for one flip more than there can
 * be, so that nothing is decided by a branch. */
INLINE ptrdiff_t events_settle(
    int32_t *h, uint32_t offset, int32_t added, events_flip_t *next, ptrdiff_t n, enum events_mode mode)
{
    int32_t old = h[offset], new = old + added;
    if (mode == EVENTS_COMMIT)
        h[offset] = new;
    next[n] = offset | (old < 0);
    return n + ((uint32_t)(old ^ new) >> 31);
}

/* Layer q after one of its inputs flipped: the perceptrons that flip, into `next`. */
INLINE ptrdiff_t events_cross_one(
    const events_t *e, ptrdiff_t q, events_flip_t input, int32_t *h, events_flip_t *next, enum events_mode mode)
{
    const events_link_t *end, *link = events_links(e, q, input / EVENTS_BLOCK, &end);
    int32_t sign = (int32_t)(input & 1) - 1;   /* 0 or -1: -x = (x ^ -1) + 1 */
    ptrdiff_t n = 0;
    for (; link < end; link++)
        n = events_settle(h, link->offset, (link->doubled ^ sign) - sign, next, n, mode);
    return n;
}

INLINE ptrdiff_t events_count_links(const events_t *e, ptrdiff_t q, const events_flip_t *inputs, ptrdiff_t n)
{
    const uint32_t *first = e->first_link + (q - 1) * (e->machine->width + 1);
    ptrdiff_t links = 0;
    for (ptrdiff_t a = 0; a < n; a++)
        links += first[inputs[a] / EVENTS_BLOCK + 1] - first[inputs[a] / EVENTS_BLOCK];
    return links;
}

/* Adds up what the flipped inputs change in layer q; lists the offsets of the perceptrons, in one list, so that
 * settling them is one loop, and asks for the first `most` of their pre-activations. */
INLINE void events_spread(
    const events_t *e, ptrdiff_t q, const events_flip_t *inputs, ptrdiff_t n, const int32_t *h, int list,
    ptrdiff_t most)
{
    uint32_t *touched = e->touched;
    for (ptrdiff_t a = 0; a < n; a++) {
        const events_link_t *end, *link = events_links(e, q, inputs[a] / EVENTS_BLOCK, &end);
        int32_t sign = (int32_t)(inputs[a] & 1) - 1;
        for (; link < end; link++) {
            e->sums[link->offset / EVENTS_BLOCK] += (link->doubled ^ sign) - sign;
            if (list) {
                if (touched - e->touched < most)
                    __builtin_prefetch(h + link->offset);
                *touched++ = link->offset;
            }
        }
    }
}

/* Layer q after several inputs flipped.  A perceptron that is listed again finds nothing to add. */
INLINE ptrdiff_t events_cross_many(
    const events_t *e, ptrdiff_t q, const events_flip_t *inputs, ptrdiff_t n, int32_t *h, events_flip_t *next,
    enum events_mode mode)
{
    const ptrdiff_t links = events_count_links(e, q, inputs, n), width = e->machine->width;
    const uint32_t *touched = e->touched;
    ptrdiff_t flips = 0;
    if (links > width) {      /* a pass over the whole layer is shorter */
        events_spread(e, q, inputs, n, h, 0, 0);
        for (ptrdiff_t j = 0; j < width; j++)
            flips = events_settle(h, (uint32_t)j * EVENTS_BLOCK, e->sums[j], next, flips, mode);
        memset(e->sums, 0, (size_t)width * sizeof *e->sums);
        return flips;
    }
    events_spread(e, q, inputs, n, h, 1, PTRDIFF_MAX);
    for (ptrdiff_t a = 0; a < links; a++) {
        int32_t *sum = e->sums + touched[a] / EVENTS_BLOCK, added = *sum;
        *sum = 0;
        flips = events_settle(h, touched[a], added, next, flips, mode);
    }
    return flips;
}

/* Whether an output flips after one input of the last layer did: stops at the first links that flip one. */
INLINE int events_spoils_one(const events_t *e, events_flip_t input, const int32_t *h)
{
    const events_link_t *end, *link = events_links(e, e->machine->depth - 1, input / EVENTS_BLOCK, &end);
    const int32_t sign = (int32_t)(input & 1) - 1;
    while (link < end) {
        const events_link_t *stop = events_at_most(link, end, EVENTS_GROUP);
        int32_t turned = 0;
        for (; link < stop; link++) {
            const int32_t old = h[link->offset];
            turned |= old ^ (old + ((link->doubled ^ sign) - sign));
        }
        if (turned < 0)
            return 1;
    }
    return 0;
}

/* The same after several inputs flipped. */
INLINE int events_spoils_many(const events_t *e, const events_flip_t *inputs, ptrdiff_t n, const int32_t *h)
{
    const ptrdiff_t q = e->machine->depth - 1, links = events_count_links(e, q, inputs, n), width = e->machine->width;
    const uint32_t *touched = e->touched;
    int32_t turned = 0;
    if (links > width) {
        events_spread(e, q, inputs, n, h, 0, 0);
        for (ptrdiff_t j = 0; j < width && turned >= 0; j++)
            turned = h[j * EVENTS_BLOCK] ^ (h[j * EVENTS_BLOCK] + e->sums[j]);
        memset(e->sums, 0, (size_t)width * sizeof *e->sums);
        return turned < 0;
    }
    events_spread(e, q, inputs, n, h, 1, EVENTS_GROUP);
    for (ptrdiff_t first = 0; first < links && turned >= 0; first += EVENTS_GROUP) {
        const ptrdiff_t stop = links - first < EVENTS_GROUP ? links : first + EVENTS_GROUP;
        for (ptrdiff_t a = stop; a < stop + EVENTS_GROUP && a < links; a++)
            __builtin_prefetch(h + touched[a]);
        for (ptrdiff_t a = first; a < stop; a++)
            turned |= h[touched[a]] ^ (h[touched[a]] + e->sums[touched[a] / EVENTS_BLOCK]);
    }
    for (ptrdiff_t a = 0; a < links; a++)
        e->sums[touched[a] / EVENTS_BLOCK] = 0;
    return turned < 0;
}

INLINE void events_turn_all(
    const events_t *e, ptrdiff_t l, const events_flip_t *flips, ptrdiff_t n, ptrdiff_t mu)
{
    for (ptrdiff_t a = 0; a < n; a++)
        events_turn(e, l, flips[a] / EVENTS_BLOCK, mu);
}

/* Follows the n perceptrons of layer l that flip in pattern mu to the outputs: the change of its wrong bits
 * (spoil: whether any output flips).  A commit has turned none of their signs yet. */
INLINE int events_follow(
    const events_t *e, ptrdiff_t l, const events_flip_t *now, ptrdiff_t n, ptrdiff_t mu, enum events_mode mode)
{
    int gained = 0;
    for (; n > 0; l++) {
        if (mode == EVENTS_COMMIT)
            events_turn_all(e, l + 1, now, n, mu);
        if (l == e->machine->depth - 1)
            break;
        int32_t *h = events_value(e, l + 1, 0, mu);
        events_flip_t *next = e->flipped[l & 1];
        if (mode == EVENTS_SPOIL && l + 2 == e->machine->depth)
            return n == 1 ? events_spoils_one(e, now[0], h) : events_spoils_many(e, now, n, h);
        if (n == 1)
            n = events_cross_one(e, l + 1, now[0], h, next, mode);
        else
            n = events_cross_many(e, l + 1, now, n, h, next, mode);
        now = next;
    }
    if (mode == EVENTS_SPOIL)
        return n > 0;
    for (ptrdiff_t a = 0; a < n; a++)
        gained += events_output(e, now[a] / EVENTS_BLOCK, now[a] & 1, mu);
    return gained;
}

/* Copies for each mode, so that the evaluation carries none of the commit's stores. */
static __attribute__((noinline)) int events_follow_evaluate(
    const events_t *e, ptrdiff_t l, const events_flip_t *flips, ptrdiff_t n, ptrdiff_t mu)
{
    return events_follow(e, l, flips, n, mu, EVENTS_EVALUATE);
}

static __attribute__((noinline)) int events_follow_spoil(
    const events_t *e, ptrdiff_t l, events_flip_t flip, ptrdiff_t mu)
{
    return events_follow(e, l, &flip, 1, mu, EVENTS_SPOIL);
}

static __attribute__((noinline)) int events_follow_commit(
    const events_t *e, ptrdiff_t l, events_flip_t flip, ptrdiff_t mu)
{
    return events_follow(e, l, &flip, 1, mu, EVENTS_COMMIT);
}

INLINE events_flip_t events_flip_of(const events_t *e, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu)
{
    return (events_flip_t)i * EVENTS_BLOCK | (events_flip_t)events_rises(e, l, i, mu);
}

/* The patterns share the links of the flip; they are followed through the first layer together, so that many
 * lines are on their way at once. */
static inline void events_evaluate_links(
    const events_t *e, ptrdiff_t l, ptrdiff_t i, int n, const int32_t *patterns, int32_t *gained)
{
    ptrdiff_t count[EVENTS_BATCH];
    for (int t = 0; t < n; t++)
        events_prefetch_links(e, l + 1, i, events_value(e, l + 1, 0, patterns[t]), PTRDIFF_MAX);
    for (int t = 0; t < n; t++)
        count[t] = events_cross_one(
            e, l + 1, events_flip_of(e, l, i, patterns[t]), events_value(e, l + 1, 0, patterns[t]),
            e->batch + t * e->batch_stride, EVENTS_EVALUATE);
    for (int t = 0; t < n; t++)
        gained[t] = events_follow_evaluate(e, l + 1, e->batch + t * e->batch_stride, count[t], patterns[t]);
}

/* --- columns: one flip, one pattern --------------------------------------------------------------------- */

/* Appends first + b for each bit b. */
INLINE ptrdiff_t events_append(int32_t *list, ptrdiff_t n, uint64_t bits, ptrdiff_t first)
{
#if BYTES == 64
    const lanes_t lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (; bits; bits >>= 16, first += 16) {
        lanes_t all = lane + (int32_t)first;
        store_lanes(list + n, (lanes_t)_mm512_maskz_compress_epi32((__mmask16)bits, (__m512i)all));
        n += __builtin_popcount((uint32_t)bits & 0xffff);
    }
#else
    for (; bits; bits &= bits - 1)
        list[n++] = (int32_t)(first + __builtin_ctzll(bits));
#endif
    return n;
}

/* Both copies of the new pre-activations of a chunk. */
INLINE void events_store_chunk(
    const events_t *e, ptrdiff_t q, ptrdiff_t mu, ptrdiff_t first, int chunk, const lanes_t *new)
{
    int32_t *by_pattern = events_pattern(e, q, mu) + first, *h = events_value(e, q, first, mu);
    for (int v = 0; v < chunk / LANES; v++)
        store_lanes(by_pattern + v * LANES, new[v]);
    for (int b = 0; b < chunk && first + b < e->machine->width; b++)
        h[EVENTS_BLOCK * b] = by_pattern[b];
}

/* Settles `chunk` (a constant of the caller) perceptrons of layer q from `first` on: appends those that flip
 * to `next`; returns the wrong bits among them if they are outputs (spoil: whether one flips). */
INLINE int events_settle_chunk(
    const events_t *e, ptrdiff_t q, ptrdiff_t mu, ptrdiff_t first, int chunk,
    const events_front_t *now, events_front_t *next, enum events_mode mode)
{
    const int32_t *h = events_pattern(e, q, mu) + first, *columns = events_column(e, q, 0) + first;
    lanes_t new[EVENTS_CHUNK / LANES];
    uint64_t minus = 0, flipped = 0, target = 0;
    const int vectors = chunk / LANES;
    for (int v = 0; v < vectors; v++)
        new[v] = load_lanes(h + v * LANES);
    for (ptrdiff_t a = 0; a < now->n_raised; a++)
        for (int v = 0; v < vectors; v++)
            new[v] += load_lanes(columns + now->raised[a] * e->row_stride + v * LANES);
    for (ptrdiff_t a = 0; a < now->n_lowered; a++)
        for (int v = 0; v < vectors; v++)
            new[v] -= load_lanes(columns + now->lowered[a] * e->row_stride + v * LANES);
    for (int v = 0; v < vectors; v++) {
        minus |= (uint64_t)negative_lanes(new[v]) << (v * LANES);
        flipped |= (uint64_t)negative_lanes(new[v] ^ load_lanes(h + v * LANES)) << (v * LANES);
    }
    if (mode == EVENTS_COMMIT)
        events_store_chunk(e, q, mu, first, chunk, new);
    if (mode == EVENTS_COMMIT || q < e->machine->depth - 1) {
        next->n_raised = events_append(next->raised, next->n_raised, flipped & ~minus, first);
        next->n_lowered = events_append(next->lowered, next->n_lowered, flipped & minus, first);
    }
    if (mode == EVENTS_SPOIL)
        return flipped != 0;
    __builtin_memcpy(&target, e->targets + (mu * e->padded + first) / 8, (size_t)chunk / 8);
    return __builtin_popcountll((~minus ^ target) & ~(uint64_t)0 >> (64 - chunk));
}

INLINE int events_settle_layer(
    const events_t *e, ptrdiff_t q, ptrdiff_t mu, const events_front_t *now, events_front_t *next,
    enum events_mode mode)
{
    int stop = mode == EVENTS_SPOIL && q == e->machine->depth - 1, wrong = 0;
    ptrdiff_t first = 0;
    next->n_raised = next->n_lowered = 0;
    for (; first + EVENTS_CHUNK <= e->padded && !(stop && wrong); first += EVENTS_CHUNK)
        wrong += events_settle_chunk(e, q, mu, first, EVENTS_CHUNK, now, next, mode);
    if (stop && wrong)
        return wrong;
#if EVENTS_CHUNK == 64
    if (first + 32 <= e->padded) {
        wrong += events_settle_chunk(e, q, mu, first, 32, now, next, mode);
        first += 32;
    }
#endif
    if (first < e->padded)
        wrong += events_settle_chunk(e, q, mu, first, 16, now, next, mode);
    return wrong;
}

INLINE void events_turn_front(const events_t *e, ptrdiff_t l, const events_front_t *front, ptrdiff_t mu)
{
    for (ptrdiff_t a = 0; a < front->n_raised; a++)
        events_turn(e, l, front->raised[a], mu);
    for (ptrdiff_t a = 0; a < front->n_lowered; a++)
        events_turn(e, l, front->lowered[a], mu);
}

/* As events_follow, for the flip of (l, i) with l < depth - 1. */
INLINE int events_follow_columns(events_t *e, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu, enum events_mode mode)
{
    events_front_t *now = &e->front[0], *next = &e->front[1], *swap;
    const ptrdiff_t last = e->machine->depth - 1;
    int rises = events_rises(e, l, i, mu), wrong = 0;
    now->n_raised = rises;
    now->n_lowered = !rises;
    (rises ? now->raised : now->lowered)[0] = (int32_t)i;
    if (mode == EVENTS_COMMIT)
        events_turn_front(e, l + 1, now, mu);
    for (ptrdiff_t q = l + 1; q <= last; q++) {
        wrong = events_settle_layer(e, q, mu, now, next, mode);
        if (mode == EVENTS_COMMIT)
            events_turn_front(e, q + 1, next, mu);
        if (q < last && next->n_raised + next->n_lowered == 0)
            return 0;
        swap = now;
        now = next;
        next = swap;
    }
    return mode == EVENTS_SPOIL ? wrong > 0 : wrong - e->machine->wrong[mu];
}

static __attribute__((noinline)) int events_columns_evaluate(events_t *e, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu)
{
    return events_follow_columns(e, l, i, mu, EVENTS_EVALUATE);
}

static __attribute__((noinline)) int events_columns_spoil(events_t *e, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu)
{
    return events_follow_columns(e, l, i, mu, EVENTS_SPOIL);
}

static __attribute__((noinline)) int events_columns_commit(events_t *e, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu)
{
    return events_follow_columns(e, l, i, mu, EVENTS_COMMIT);
}

/* The pre-activations above a flip, in one pattern. */
INLINE void events_prefetch_pattern(const events_t *e, ptrdiff_t q, ptrdiff_t mu)
{
    const int32_t *h = events_pattern(e, q, mu);
    for (ptrdiff_t a = 0; a < e->padded; a += 16)
        __builtin_prefetch(h + a);
}

/* --- flips ------------------------------------------------------------------------------------------- */

/* By how much the wrong output bits of each of n (1..16) patterns change if (l, i) flips in it. */
static inline void events_evaluate(
    events_t *e, ptrdiff_t l, ptrdiff_t i, int n, const int32_t *patterns, int32_t *gained)
{
    if (l == e->machine->depth - 1) {
        for (int t = 0; t < n; t++)
            gained[t] = events_output(e, i, events_rises(e, l, i, patterns[t]), patterns[t]);
    } else if (e->dense) {
        for (int t = 0; t < n; t++) {
            if (t + 1 < n)
                events_prefetch_pattern(e, l + 1, patterns[t + 1]);
            gained[t] = events_columns_evaluate(e, l, i, patterns[t]);
        }
    } else {
        events_evaluate_links(e, l, i, n, patterns, gained);
    }
}

/* What the flip of (l, i) in pattern mu reads first. */
INLINE void events_prefetch_flip(const events_t *e, const flip_t *flip)
{
    if (flip->l == e->machine->depth - 1)
        return;
    if (e->dense)
        events_prefetch_pattern(e, flip->l + 1, flip->mu);
    else
        events_prefetch_links(e, flip->l + 1, flip->i, events_value(e, flip->l + 1, 0, flip->mu),
                              flip->l + 2 == e->machine->depth ? 2 * EVENTS_GROUP : PTRDIFF_MAX);
}

/* Which of n (1..8) flips, each alone, changes an output. */
static inline void events_spoil(events_t *e, int n, const flip_t *flips, uint8_t *spoiled)
{
    events_prefetch_flip(e, flips);
    for (int t = 0; t < n; t++) {
        ptrdiff_t l = flips[t].l, i = flips[t].i, mu = flips[t].mu;
        if (t + 1 < n)
            events_prefetch_flip(e, flips + t + 1);
        if (l == e->machine->depth - 1)
            spoiled[t] = 1;
        else if (e->dense)
            spoiled[t] = (uint8_t)events_columns_spoil(e, l, i, mu);
        else
            spoiled[t] = (uint8_t)events_follow_spoil(e, l, events_flip_of(e, l, i, mu), mu);
    }
}

/* Carries out the flip of (l, i) in n patterns, in all layers above; the weight changes afterwards. */
static inline void events_commit(events_t *e, ptrdiff_t l, ptrdiff_t i, ptrdiff_t n, const int32_t *patterns)
{
    for (ptrdiff_t t = 0; t < n; t++) {
        ptrdiff_t mu = patterns[t];
        int gained;
        if (e->dense && l < e->machine->depth - 1)
            gained = events_columns_commit(e, l, i, mu);
        else
            gained = events_follow_commit(e, l, events_flip_of(e, l, i, mu), mu);
        e->machine->wrong[mu] += gained;
    }
}

/* Asks for what a proposal reads first, and for its row in the patterns of the first `words` words. */
static inline void events_prefetch(const events_t *e, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k, ptrdiff_t words)
{
    const machine_t *m = e->machine;
    const int32_t *h = events_line(e, 0, l, i);
    const ptrdiff_t n = events_blocks_before(e, words);
    for (int a = 0; a < EVENTS_WATCHED && words == 0; a++)
        __builtin_prefetch(h + __atomic_load_n(&events_watched(e, l, i)[a], __ATOMIC_RELAXED) * e->block_stride);
    for (ptrdiff_t a = 0; a < n; a++)
        __builtin_prefetch(h + a * e->block_stride);
    __builtin_prefetch(events_words(e, l, input_of(m, l, i, k)));
    if (l == m->depth - 1)
        return;
    if (e->dense) {
        __builtin_prefetch(events_column(e, l + 1, i));
    } else {
        const events_link_t *end, *link = events_links(e, l + 1, i, &end);
        for (; link < end; link += 64 / sizeof *link)
            __builtin_prefetch(link);
    }
}

/* --- the whole machine ---------------------------------------------------------------------------------- */

static void events_load_weights(events_t *e)
{
    const machine_t *m = e->machine;
    for (ptrdiff_t l = 1; l < m->depth; l++)
        for (ptrdiff_t i = 0; i < m->width; i++)
            for (ptrdiff_t k = 0; k < m->fan_in; k++)
                events_set_weight(e, l, i, k, m->weights[place_of(m, l, i, k)]);
}

/* Pre-activations of (l, i) and its signs. */
static void events_load_perceptron(events_t *e, ptrdiff_t l, ptrdiff_t i)
{
    const machine_t *m = e->machine;
    const ptrdiff_t place = place_of(m, l, i, 0);
    uint64_t *signs = events_words(e, l + 1, i);
    for (ptrdiff_t block = 0; block < e->blocks; block++)
        memset(events_line(e, block, l, i), 0, EVENTS_BLOCK * sizeof *e->h);
    for (ptrdiff_t k = 0; k < m->fan_in; k++)
        events_add_input(e, l, i, events_words(e, l, m->inputs[place + k]), m->weights[place + k], 0, e->words);
    memset(signs, 0, (size_t)e->words * sizeof *signs);
    for (ptrdiff_t mu = 0; mu < m->patterns; mu++)
        signs[mu >> 6] |= (uint64_t)!events_rises(e, l, i, mu) << (mu & 63);
    if (e->dense && l > 0)
        events_copy_row(e, l, i, 0, e->words);
}

/* Targets by pattern, and the wrong bits. */
static void events_load_targets(events_t *e, const uint64_t *targets)
{
    const machine_t *m = e->machine;
    memset(e->targets, 0xff, (size_t)(m->patterns * e->padded / 8));
    memset(m->wrong, 0, (size_t)m->patterns * sizeof *m->wrong);
    for (ptrdiff_t i = 0; i < m->width; i++) {
        const uint64_t *target = targets + i * e->words, *signs = events_words(e, m->depth, i);
        for (ptrdiff_t mu = 0; mu < m->patterns; mu++) {
            int plus = target[mu >> 6] >> (mu & 63) & 1, wrong = (signs[mu >> 6] >> (mu & 63) & 1) != (uint64_t)plus;
            e->targets[mu * (e->padded / 8) + (i >> 3)] ^= (uint8_t)(!plus << (i & 7));
            m->wrong[mu] += wrong;
        }
    }
}

/* Computes everything from the weights; inputs and targets are sign words [N][W]. */
static void events_load(events_t *e, const uint64_t *inputs, const uint64_t *targets)
{
    const machine_t *m = e->machine;
    for (ptrdiff_t j = 0; j < m->width; j++)
        memcpy(events_words(e, 0, j), inputs + j * e->words, (size_t)e->words * sizeof *inputs);
    events_load_weights(e);
    for (ptrdiff_t l = 0; l < m->depth; l++)
        for (ptrdiff_t i = 0; i < m->width; i++)
            events_load_perceptron(e, l, i);
    events_load_targets(e, targets);
}

/* Writes the sign words [L + 1][N][W]. */
static void events_signs(const events_t *e, uint64_t *signs)
{
    for (ptrdiff_t j = 0; j < (e->machine->depth + 1) * e->machine->width; j++, signs += e->words)
        memcpy(signs, events_words(e, 0, j), (size_t)e->words * sizeof *signs);
}

/* The wiring of layer q seen from below; returns the most perceptrons that read one neuron. */
static ptrdiff_t events_link_layer(events_t *e, ptrdiff_t q)
{
    const machine_t *m = e->machine;
    const ptrdiff_t total = m->width * m->fan_in;
    const int32_t *inputs = m->inputs + q * total;
    uint32_t *first = e->first_link + (q - 1) * (m->width + 1), *slot = e->slot + (q - 1) * total;
    uint32_t most = 0;
    for (ptrdiff_t a = 0; a < total; a++)
        first[inputs[a] + 1]++;
    for (ptrdiff_t j = 0; j < m->width; j++) {
        most = first[j + 1] > most ? first[j + 1] : most;
        first[j + 1] += first[j];
    }
    /* first[j] moves to the end of j's links, which is where those of j + 1 begin */
    for (ptrdiff_t a = 0; a < total; a++)
        slot[a] = first[inputs[a]]++;
    memmove(first + 1, first, (size_t)m->width * sizeof *first);
    first[0] = 0;
    for (ptrdiff_t a = 0; a < total; a++)
        e->links[(q - 1) * total + slot[a]].offset = (uint32_t)(a / m->fan_in) * EVENTS_BLOCK;
    return most;
}

static int events_make_links(events_t *e)
{
    const machine_t *m = e->machine;
    const ptrdiff_t total = (m->depth - 1) * m->width * m->fan_in;
    ptrdiff_t most = 0;
    e->links = allocate(total, sizeof *e->links);
    e->slot = allocate(total, sizeof *e->slot);
    e->first_link = allocate((m->depth - 1) * (m->width + 1), sizeof *e->first_link);
    if (!e->links || !e->slot || !e->first_link)
        return -1;
    for (ptrdiff_t q = 1; q < m->depth; q++) {
        ptrdiff_t here = events_link_layer(e, q);
        most = here > most ? here : most;
    }
    e->batch_stride = most + 1;
    return 0;
}

static int events_make_columns(events_t *e)
{
    const machine_t *m = e->machine;
    /* an odd number of cache lines: one column of all patterns must not fall into few sets of the cache */
    e->row_stride = (e->padded / 16 | 1) * 16;
    e->columns = allocate((m->depth - 1) * m->width * e->row_stride, sizeof *e->columns);
    e->by_pattern = allocate((m->depth - 1) * m->patterns * e->row_stride, sizeof *e->by_pattern);
    return e->columns && e->by_pattern ? 0 : -1;
}

static int events_make_scratch(events_t *e)
{
    const ptrdiff_t width = e->machine->width;
    int made = 1;
    if (!e->dense) {
        e->sums = allocate(width, sizeof *e->sums);
        e->touched = allocate(width, sizeof *e->touched);
        e->batch = allocate(EVENTS_BATCH * e->batch_stride, sizeof *e->batch);
        made = e->sums && e->touched && e->batch;
    }
    for (int a = 0; a < 2 && made && !e->dense; a++) {
        e->flipped[a] = allocate(width + 1, sizeof *e->flipped[a]);
        made = e->flipped[a] != NULL;
    }
    for (int a = 0; a < 2 && made && e->dense; a++) {       /* events_append writes whole vectors */
        e->front[a].raised = allocate(e->padded + LANES, sizeof(int32_t));
        e->front[a].lowered = allocate(e->padded + LANES, sizeof(int32_t));
        made = e->front[a].raised && e->front[a].lowered;
    }
    return made ? 0 : -1;
}

static void events_free_scratch(events_t *e)
{
    void *arrays[] = {e->sums, e->touched, e->flipped[0], e->flipped[1], e->batch, e->front[0].raised,
                      e->front[0].lowered, e->front[1].raised, e->front[1].lowered};
    for (size_t a = 0; a < sizeof arrays / sizeof *arrays; a++)
        free(arrays[a]);
}

/* The same machine with scratch of its own, for another thread; 0, or -1 without memory. */
static int events_share(events_t *own, const events_t *e)
{
    *own = *e;
    own->sums = NULL;
    own->touched = own->flipped[0] = own->flipped[1] = own->batch = NULL;
    memset(own->front, 0, sizeof own->front);
    return events_make_scratch(own);
}

static void events_free(events_t *e)
{
    void *arrays[] = {e->h, e->signs, e->targets, e->watched, e->links, e->first_link, e->slot, e->columns,
                      e->by_pattern};
    for (size_t a = 0; a < sizeof arrays / sizeof *arrays; a++)
        free(arrays[a]);
    events_free_scratch(e);
    memset(e, 0, sizeof *e);
}

/* Allocates a machine's state and builds what follows from its wiring; 0, or -1 without memory. */
static int events_make(events_t *e, const machine_t *m)
{
    memset(e, 0, sizeof *e);
    e->machine = m;
    e->dense = EVENTS_DENSE * m->fan_in >= m->width;
    e->blocks = (m->patterns + EVENTS_BLOCK - 1) / EVENTS_BLOCK;
    e->words = (m->patterns + 63) / 64;
    /* a neuron's words fit one cache line if they can */
    e->word_stride = e->words <= 2 ? e->words : e->words <= 4 ? 4 : (e->words + 7) / 8 * 8;
    e->padded = (m->width + 15) / 16 * 16;
    e->block_stride = (m->depth * m->width | 1) * EVENTS_BLOCK;     /* odd in cache lines, as row_stride */
    e->h = allocate(e->blocks * e->block_stride, sizeof *e->h);
    e->signs = allocate((m->depth + 1) * m->width * e->word_stride, sizeof *e->signs);
    e->targets = allocate(m->patterns * e->padded / 8, sizeof *e->targets);
    e->watched = allocate(m->depth * m->width * EVENTS_WATCHED, sizeof *e->watched);
    if (e->h && e->signs && e->targets && e->watched && (e->dense ? events_make_columns(e) : events_make_links(e)) == 0
        && events_make_scratch(e) == 0)
        return 0;
    events_free(e);
    return -1;
}
/* Whether two students of the same machine keep the same. */
static int events_same(const events_t *a, const events_t *b)
{
    const machine_t *m = a->machine;
    const size_t above = (size_t)(m->depth - 1);
    const size_t h = (size_t)(a->blocks * a->block_stride), links = above * (size_t)(m->width * m->fan_in);
    const size_t signs = (size_t)((m->depth + 1) * m->width * a->word_stride);
    if (memcmp(a->h, b->h, h * sizeof *a->h) || memcmp(a->signs, b->signs, signs * sizeof *a->signs)
        || memcmp(a->targets, b->targets, (size_t)(m->patterns * a->padded / 8)))
        return 0;
    if (!a->dense)
        return !memcmp(a->links, b->links, links * sizeof *a->links);
    const size_t columns = above * (size_t)(m->width * a->row_stride);
    const size_t patterns = above * (size_t)(m->patterns * a->row_stride);
    return !memcmp(a->columns, b->columns, columns * sizeof *a->columns)
        && !memcmp(a->by_pattern, b->by_pattern, patterns * sizeof *a->by_pattern);
}
#endif

/* One flipped neuron, one pattern: what it changes in the layers above.
 *
 * Nothing is written while a proposal is only evaluated (`commit` = 0); an accepted one is run again
 * with `commit` = 1.  All arithmetic is in integers, so the state never drifts from a recomputation.
 *
 * Bound: per layer, fully connected, (flipped inputs) x N/8 vector loads of weights from L1/L2; sparse,
 * one read-modify-write in L1 for each of the flipped inputs' links.
 */
#ifndef DSM_PROPAGATE_H
#define DSM_PROPAGATE_H
#include <stdlib.h>
#include <string.h>
#include "words.h"

#define MAX_VECTORS 4   /* vectors of pre-activations that are worked on together, in registers */

/* Neurons of one layer that changed sign in one pattern: to +1 (raised) and to -1 (lowered). */
typedef struct {
    int32_t *raised, *lowered;
    int n_raised, n_lowered;
} front_t;

typedef struct { int32_t target, doubled; } link_t;   /* perceptron that reads the neuron, 2J */

typedef struct {
    ptrdiff_t depth, width, padded, fan_in, patterns, words, row_stride;
    int fully_connected;
    /* weights above each neuron, layer l = 0..depth-1 reads the neurons of layer l */
    int32_t *columns;      /* fully connected: [l][input neuron][padded], 2J */
    link_t *links;         /* sparse: [l][N c], grouped by input neuron */
    int32_t *first_link;   /* sparse: [l][N + 1] */
    /* pre-activations, kept twice: by perceptron for the scan, by pattern for the propagation */
    int32_t *by_perceptron;   /* [l][perceptron][row_stride] */
    int32_t *by_pattern;      /* [l][pattern][padded]; layer 0 is never read and not stored */
    uint64_t *signs;          /* [0..depth][neuron][words], bit = 1 for S = +1 */
    words_t small;            /* its table is NULL unless layers are words; then columns, links, by_pattern are */
    uint8_t *targets;         /* [pattern][padded / 8], the teacher's outputs; padding = 1 */
    int32_t *wrong;           /* [pattern], wrong output bits */
    /* scratch of one propagation */
    front_t front[2];
    int32_t *delta;           /* [padded], zero between calls */
} net_t;

static inline int32_t *row_of(const net_t *net, ptrdiff_t l, ptrdiff_t i)
{
    return net->by_perceptron + (l * net->width + i) * net->row_stride;
}

static inline int32_t *pattern_of(const net_t *net, ptrdiff_t l, ptrdiff_t mu)
{
    return net->by_pattern + ((l - 1) * net->patterns + mu) * net->padded;
}

static inline uint64_t *signs_of(const net_t *net, ptrdiff_t l, ptrdiff_t i)
{
    return net->signs + (l * net->width + i) * net->words;
}

static inline void flip_sign(net_t *net, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu)
{
    signs_of(net, l, i)[mu >> 6] ^= (uint64_t)1 << (mu & 63);
}

static inline int target_of(const net_t *net, ptrdiff_t i, ptrdiff_t mu)
{
    return net->targets[mu * (net->padded / 8) + (i >> 3)] >> (i & 7) & 1;
}

/* Takes over the new pre-activations of eight perceptrons of layer l; returns their wrong output
 * bits in the last layer, else 0.  `next` collects the neurons that changed sign. */
static inline __attribute__((always_inline)) int settle(
    net_t *net, ptrdiff_t l, ptrdiff_t mu, ptrdiff_t first, int32_t *h, lanes_t new, front_t *next, int commit)
{
    uint32_t minus = negative_lanes(new);
    uint32_t flipped = minus ^ negative_lanes(load_lanes(h + first));
    int wrong = 0;
    if (l == net->depth - 1) {
        wrong = __builtin_popcount((~minus & 255u) ^ net->targets[mu * (net->padded / 8) + (first >> 3)]);
    }
    if (commit) {
        store_lanes(h + first, new);
        for (int b = 0; b < LANES && first + b < net->width; b++)
            row_of(net, l, first + b)[mu] = new[b];
    } else if (l == net->depth - 1) {
        return wrong;
    }
    for (; flipped; flipped &= flipped - 1) {
        int b = __builtin_ctz(flipped);
        if (minus >> b & 1)
            next->lowered[next->n_lowered++] = (int32_t)(first + b);
        else
            next->raised[next->n_raised++] = (int32_t)(first + b);
    }
    return wrong;
}

/* Settles 8 * vectors perceptrons of a fully connected layer, from perceptron `first` on. */
static inline __attribute__((always_inline)) int settle_columns(
    net_t *net, ptrdiff_t l, ptrdiff_t mu, ptrdiff_t first, int vectors, int32_t *h,
    const front_t *now, front_t *next, int commit)
{
    const int32_t *columns = net->columns + l * net->width * net->padded + first;
    lanes_t new[MAX_VECTORS];
    int wrong = 0;
    for (int v = 0; v < vectors; v++)
        new[v] = load_lanes(h + first + v * LANES);
    add_columns(new, vectors, columns, (size_t)net->padded, now->raised, now->n_raised, now->lowered,
                now->n_lowered);
    for (int v = 0; v < vectors; v++)
        wrong += settle(net, l, mu, first + v * LANES, h, new[v], next, commit);
    return wrong;
}

static inline __attribute__((always_inline)) int settle_layer(
    net_t *net, ptrdiff_t l, ptrdiff_t mu, const front_t *now, front_t *next, int commit)
{
    int32_t *h = pattern_of(net, l, mu);
    int wrong = 0;
    if (net->fully_connected) {
        ptrdiff_t first = 0;
        for (; first + MAX_VECTORS * LANES <= net->padded; first += MAX_VECTORS * LANES)
            wrong += settle_columns(net, l, mu, first, MAX_VECTORS, h, now, next, commit);
        switch ((net->padded - first) / LANES) {
        case 3: wrong += settle_columns(net, l, mu, first, 3, h, now, next, commit); break;
        case 2: wrong += settle_columns(net, l, mu, first, 2, h, now, next, commit); break;
        case 1: wrong += settle_columns(net, l, mu, first, 1, h, now, next, commit); break;
        }
    } else {
        for (ptrdiff_t v = 0; v < net->padded; v += LANES) {
            lanes_t new = load_lanes(h + v) + load_lanes(net->delta + v);
            store_lanes(net->delta + v, (lanes_t){});
            wrong += settle(net, l, mu, v, h, new, next, commit);
        }
    }
    return wrong - (l == net->depth - 1 ? net->wrong[mu] : 0);
}

/* Sparse, few links: settles the perceptrons at the end of these links one by one.  A perceptron
 * that is met twice finds delta = 0 the second time and does nothing. */
static inline __attribute__((always_inline)) int settle_links(
    net_t *net, ptrdiff_t l, ptrdiff_t mu, const int32_t *from, int n, front_t *next, int commit)
{
    const int32_t *start = net->first_link + l * (net->width + 1);
    const link_t *links = net->links + l * net->width * net->fan_in;
    int32_t *h = pattern_of(net, l, mu);
    int gained = 0;
    for (int a = 0; a < n; a++) {
        for (const link_t *e = links + start[from[a]]; e < links + start[from[a] + 1]; e++) {
            int32_t i = e->target, old = h[i], new = old + net->delta[i];
            int flipped = (old ^ new) < 0, minus = new < 0;
            net->delta[i] = 0;
            if (commit) {
                h[i] = new;
                row_of(net, l, i)[mu] = new;
            }
            if (l == net->depth - 1 && flipped)
                gained += target_of(net, i, mu) == minus ? 1 : -1;
            next->raised[next->n_raised] = i;
            next->n_raised += flipped & !minus;
            next->lowered[next->n_lowered] = i;
            next->n_lowered += flipped & minus;
        }
    }
    return gained;
}

/* Adds the flipped inputs' weights to delta; returns the number of links they have. */
static inline ptrdiff_t spread(net_t *net, ptrdiff_t l, ptrdiff_t mu, const front_t *now)
{
    const int32_t *h = pattern_of(net, l, mu);   /* needed next: a large machine has it in L3 */
    const int32_t *start = net->first_link + l * (net->width + 1);
    const link_t *links = net->links + l * net->width * net->fan_in;
    ptrdiff_t n = 0;
    for (int a = 0; a < now->n_raised; a++) {
        const link_t *e = links + start[now->raised[a]], *end = links + start[now->raised[a] + 1];
        n += end - e;
        for (; e < end; e++) {
            __builtin_prefetch(h + e->target);
            net->delta[e->target] += e->doubled;
        }
    }
    for (int a = 0; a < now->n_lowered; a++) {
        const link_t *e = links + start[now->lowered[a]], *end = links + start[now->lowered[a] + 1];
        n += end - e;
        for (; e < end; e++) {
            __builtin_prefetch(h + e->target);
            net->delta[e->target] -= e->doubled;
        }
    }
    return n;
}

/* Neuron i of layer l + 1 (1..depth) flips in pattern mu: the change of the number of wrong output bits. */
static inline __attribute__((always_inline)) int propagate(
    net_t *net, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu, int commit)
{
    front_t *now = &net->front[0], *next = &net->front[1];
    int up = !(signs_of(net, l + 1, i)[mu >> 6] >> (mu & 63) & 1);
    int gained = 0;
    now->n_raised = up;
    now->n_lowered = !up;
    (up ? now->raised : now->lowered)[0] = (int32_t)i;
    if (l == net->depth - 1)
        gained = target_of(net, i, mu) == up ? -1 : 1;
    for (ptrdiff_t q = l + 1;; q++) {
        if (commit) {
            for (int a = 0; a < now->n_raised; a++)
                flip_sign(net, q, now->raised[a], mu);
            for (int a = 0; a < now->n_lowered; a++)
                flip_sign(net, q, now->lowered[a], mu);
        }
        if (q == net->depth || now->n_raised + now->n_lowered == 0)
            break;
        next->n_raised = next->n_lowered = 0;
        /* Scattered settling touches 2 values per link, the full pass N/8 vectors per layer: they
         * break even where the links are about half the layer. */
        if (!net->fully_connected && 2 * spread(net, q, mu, now) < net->width) {
            gained = settle_links(net, q, mu, now->raised, now->n_raised, next, commit);
            gained += settle_links(net, q, mu, now->lowered, now->n_lowered, next, commit);
        } else {
            gained = settle_layer(net, q, mu, now, next, commit);
        }
        front_t *swap = now;
        now = next;
        next = swap;
        if (q < net->depth - 1)
            gained = 0;
        else if (!commit)
            break;
    }
    if (commit)
        net->wrong[mu] += gained;
    return gained;
}

/* Two copies, so that the evaluation carries none of the commit's stores. */
static __attribute__((noinline)) int evaluate_events(net_t *net, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu)
{
    return propagate(net, l, i, mu, 0);
}

static __attribute__((noinline)) int commit_events(net_t *net, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu)
{
    return propagate(net, l, i, mu, 1);
}

/* Carries out a flip of a machine of words. */
static int commit_words(net_t *net, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu)
{
    words_t *words = &net->small;
    uint64_t changed = (uint64_t)1 << i;
    for (ptrdiff_t q = l + 1;; q++) {
        uint64_t *state = state_of(words, q) + mu;
        int32_t h[WORD];
        *state ^= changed;
        for (uint64_t left = changed; left; left &= left - 1)
            flip_sign(net, q, __builtin_ctzll(left), mu);
        if (q == net->depth || !changed)
            break;
        changed = kept_layer(words, q, *state, h) ^ state_of(words, q + 1)[mu];
        for (ptrdiff_t a = 0; a < net->width; a++)
            row_of(net, q, a)[mu] = h[a];
    }
    int wrong = __builtin_popcountll(state_of(words, net->depth)[mu] ^ words->target[mu]);
    int gained = wrong - net->wrong[mu];
    net->wrong[mu] = wrong;
    return gained;
}

/* What the flip of perceptron i of layer l in pattern mu changes E by; nothing is written. */
static inline int evaluate_flip(net_t *net, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu)
{
    if (net->small.table)
        return wrong_after_flip(&net->small, l, i, mu, net->wrong[mu]) - net->wrong[mu];
    return evaluate_events(net, l, i, mu);
}

/* Carries it out. */
static inline int commit_flip(net_t *net, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu)
{
    return net->small.table ? commit_words(net, l, i, mu) : commit_events(net, l, i, mu);
}

static void free_scratch(net_t *net)
{
    for (int a = 0; a < 2; a++) {
        free(net->front[a].raised);
        free(net->front[a].lowered);
        net->front[a].raised = net->front[a].lowered = NULL;
    }
    free(net->delta);
    net->delta = NULL;
}

/* The fronts hold one entry more than a layer: settle_links writes before it decides. */
static int make_scratch(net_t *net)
{
    size_t list = (size_t)(net->width + 1) * sizeof(int32_t);
    for (int a = 0; a < 2; a++) {
        net->front[a].raised = malloc(list);
        net->front[a].lowered = malloc(list);
    }
    net->delta = calloc((size_t)net->padded, sizeof(int32_t));
    if (net->front[0].raised && net->front[0].lowered && net->front[1].raised && net->front[1].lowered && net->delta)
        return 0;
    free_scratch(net);
    return -1;
}
#endif

/* What every kernel knows of a student: its sizes, its wiring and its weights on their integer grid. */
#ifndef DSM_MACHINE_H
#define DSM_MACHINE_H
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

enum {
    WINDOW = 8,         /* most proposals that a thread tries together at E = 0 */
    BATCH = 16,         /* most patterns that are followed upwards together */
};

typedef struct {
    ptrdiff_t depth, width, fan_in, patterns;   /* L, N, c, M */
    const int32_t *inputs;          /* [l][i][k] neuron of the layer below that is read */
    const int32_t *weights;         /* [l][i][k] on the grid; changed after the kernel's own copies */
    const int64_t *absolute_sum;    /* [l][i] sum of |weights| */
    int32_t *wrong;                 /* [mu] wrong output bits of a pattern */
    uint64_t by_fan_in, by_width;   /* reciprocal(c), reciprocal(N) */
    int in_order;                   /* weight k of every perceptron reads neuron k: `inputs` need not be looked at */
} machine_t;

/* x / divisor by a multiplication: exact for x and divisor below 2^32 (Granlund and Montgomery 1994). */
INLINE uint64_t reciprocal(uint64_t divisor)
{
    return divisor == 1 ? 0 : ~(uint64_t)0 / divisor + 1;
}

INLINE uint64_t quotient(uint64_t x, uint64_t divisor, uint64_t reciprocal)
{
    if (UNLIKELY(x > UINT32_MAX))
        return x / divisor;
    return reciprocal ? (uint64_t)((unsigned __int128)x * reciprocal >> 64) : x;
}

/* Perceptron i of layer l (0..L-1) changes sign in pattern mu. */
typedef struct { int32_t l, i, mu; } flip_t;

/* Sorts n > 0 flips from the lowest layer to the highest: who[0], who[1], ... */
INLINE void from_lowest(int n, const flip_t *flips, int *who)
{
    int32_t layer[WINDOW];
    int rank[WINDOW] = {0};
    for (int t = 0; t < WINDOW; t++)
        layer[t] = t < n ? flips[t].l : INT32_MAX;
#pragma GCC unroll 8
    for (int t = 1; t < WINDOW; t++) {
#pragma GCC unroll 8
        for (int u = 0; u < t; u++) {
            const int later = layer[u] <= layer[t];
            rank[t] += later;
            rank[u] += 1 - later;
        }
    }
    for (int t = 0; t < WINDOW; t++)
        who[rank[t]] = t;
}

/* Of weight k of perceptron i of layer l. */
INLINE ptrdiff_t place_of(const machine_t *machine, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k)
{
    return (l * machine->width + i) * machine->fan_in + k;
}

/* The neuron that weight k of perceptron i of layer l reads. */
INLINE int32_t input_of(const machine_t *machine, ptrdiff_t l, ptrdiff_t i, ptrdiff_t k)
{
    return machine->in_order ? (int32_t)k : machine->inputs[place_of(machine, l, i, k)];
}

/* What `allocate` has given this thread: how large a student is. */
static __thread size_t allocated_bytes;

/* Zeroed memory on a cache-line boundary, one line more than asked for; NULL if there is none. */
static inline void *allocate(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX - 128)
        return NULL;
    bytes = (bytes + 127) / 64 * 64;
    allocated_bytes += bytes;
    void *memory = aligned_alloc(64, bytes);
    if (memory)
        memset(memory, 0, bytes);
    return memory;
}
#endif

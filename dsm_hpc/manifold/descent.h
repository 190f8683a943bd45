/* Dot products and updates of float64 weights with float32 inputs, in a fixed order of summation: the same
 * bits from every build (no fused multiply-add, setup.py).  Rows are padded with zeros to whole STRIDEs. */
#ifndef DSM_MANIFOLD_DESCENT_H
#define DSM_MANIFOLD_DESCENT_H
#include <stddef.h>

#define STRIDE 16
typedef double four_t __attribute__((vector_size(32)));
typedef float four_f __attribute__((vector_size(16)));

static inline __attribute__((always_inline)) four_t widened(const float *p)
{
    four_f v;
    __builtin_memcpy(&v, p, sizeof v);
    return __builtin_convertvector(v, four_t);
}

static inline __attribute__((always_inline)) four_t loaded(const double *p)
{
    four_t v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

static inline __attribute__((always_inline)) double total(const four_t s[4])
{
    const four_t t = (s[0] + s[1]) + (s[2] + s[3]);
    return (t[0] + t[1]) + (t[2] + t[3]);
}

/* sum_i w_i x_i */
static inline double dot(const double *w, const float *x, size_t width)
{
    four_t s[4] = {{0}, {0}, {0}, {0}};
    for (size_t i = 0; i < width; i += STRIDE)
        for (int v = 0; v < 4; v++)
            s[v] += loaded(w + i + 4 * v) * widened(x + i + 4 * v);
    return total(s);
}

/* w_i += step * old_i */
static inline void shift(double *w, double step, const float *old, size_t width)
{
    for (size_t i = 0; i < width; i += STRIDE)
        for (int v = 0; v < 4; v++) {
            const four_t moved = loaded(w + i + 4 * v) + step * widened(old + i + 4 * v);
            __builtin_memcpy(w + i + 4 * v, &moved, sizeof moved);
        }
}

/* sums[k] = sum_i w_ki x_i after w_ki += steps[k] * old_i, for `units` rows of w (a constant of the caller):
 * the update of the last step and the product with the next input in one pass, so that w moves through the
 * cache once and inputs are widened once for all units.  The numbers of `shift` and `dot`, in their order. */
static inline __attribute__((always_inline)) void shift_dot(
    int units, double *w, size_t stride, const double *steps, const float *old, const float *x, size_t width,
    double *sums)
{
    four_t s[4][4] = {{{0}}};
    for (size_t i = 0; i < width; i += STRIDE)
        for (int v = 0; v < 4; v++) {
            const four_t before = widened(old + i + 4 * v), now = widened(x + i + 4 * v);
            for (int k = 0; k < units; k++) {
                double *place = w + k * stride + i + 4 * v;
                const four_t moved = loaded(place) + steps[k] * before;
                __builtin_memcpy(place, &moved, sizeof moved);
                s[k][v] += moved * now;
            }
        }
    for (int k = 0; k < units; k++)
        sums[k] = total(s[k]);
}

/* The same for any number of units, two at a time: eight sums and the inputs fill the registers. */
static inline void shift_dot_all(
    size_t units, double *w, size_t stride, const double *steps, const float *old, const float *x,
    size_t width, double *sums)
{
    size_t k = 0;
    for (; k + 2 <= units; k += 2)
        shift_dot(2, w + k * stride, stride, steps + k, old, x, width, sums + k);
    if (k < units)
        shift_dot(1, w + k * stride, stride, steps + k, old, x, width, sums + k);
}
#endif

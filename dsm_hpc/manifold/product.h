/* Products of int16 matrices in int32: F C for a block of latent vectors C (PHYSICS section 4).
 *
 * Features and latent coordinates are multiples of 2^-10 (dsm_hpc/manifold/grid.py), so the sums are exact
 * and every build gives the same bits.  It is also the fastest way known to us: vpmaddwd does 16
 * multiply-adds where a float32 FMA does 8, and both are issued twice per cycle (Zen 3).
 *
 * F lies in panels of 16 neurons: [panel][pair of coordinates][neuron][2].  A panel of D = 200 is 6.4 KB and
 * stays in L1 while all steps of a block pass over it, four steps at a time (8 sums + 2 vectors of F + 1 of C;
 * with more sums gcc spills), so F comes from L3 once per block and C, at 2 D bytes a step, from L1.
 */
#ifndef DSM_MANIFOLD_PRODUCT_H
#define DSM_MANIFOLD_PRODUCT_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define PANEL 16 /* neurons */
#define ROWS 4   /* steps */

/* sums[r][j] = sum_d panel_jd latent_rd; latent: rows of 2 * pairs numbers. */
static inline __attribute__((always_inline)) void tile(
    const int16_t *panel, const int16_t *latent, size_t pairs, int32_t sums[ROWS][PANEL])
{
#if defined(__AVX2__)
    __m256i a0 = _mm256_setzero_si256(), a1 = a0, b0 = a0, b1 = a0, c0 = a0, c1 = a0, d0 = a0, d1 = a0;
#define ROW(r, low, high)                                                  \
    memcpy(&pair, latent + 2 * (r * pairs + p), sizeof pair);              \
    both = _mm256_set1_epi32(pair);                                        \
    low = _mm256_add_epi32(low, _mm256_madd_epi16(f0, both));              \
    high = _mm256_add_epi32(high, _mm256_madd_epi16(f1, both));
    for (size_t p = 0; p < pairs; p++) {
        const __m256i f0 = _mm256_loadu_si256((const __m256i *)(panel + 2 * PANEL * p));
        const __m256i f1 = _mm256_loadu_si256((const __m256i *)(panel + 2 * PANEL * p + PANEL));
        int32_t pair;
        __m256i both;
        ROW(0, a0, a1)
        ROW(1, b0, b1)
        ROW(2, c0, c1)
        ROW(3, d0, d1)
    }
#undef ROW
    const __m256i all[ROWS][2] = {{a0, a1}, {b0, b1}, {c0, c1}, {d0, d1}};
    memcpy(sums, all, sizeof all);
#else
    memset(sums, 0, sizeof(int32_t[ROWS][PANEL]));
    for (size_t p = 0; p < pairs; p++)
        for (int r = 0; r < ROWS; r++) {
            const int16_t *c = latent + 2 * (r * pairs + p), *f = panel + 2 * PANEL * p;
            for (int j = 0; j < PANEL; j++)
                sums[r][j] += (int32_t)f[2 * j] * c[0] + (int32_t)f[2 * j + 1] * c[1];
        }
#endif
}

/* out[s][i] = sgn(F C_s)_i with sgn(0) = +1, for `rows` steps (a multiple of 4). */
static void sign_product(
    const int16_t *panels, const int16_t *latent, size_t n_panels, size_t pairs, size_t rows,
    float *out, size_t stride)
{
    for (size_t n = 0; n < n_panels; n++)
        for (size_t s = 0; s < rows; s += ROWS) {
            int32_t sums[ROWS][PANEL];
            tile(panels + 2 * PANEL * pairs * n, latent + 2 * pairs * s, pairs, sums);
            for (int r = 0; r < ROWS; r++)
                for (int j = 0; j < PANEL; j++)
                    out[(s + r) * stride + PANEL * n + j] = sums[r][j] < 0 ? -1.0f : 1.0f;
        }
}

/* out[s][i] = scale (F C_s)_i. */
static void scaled_product(
    const int16_t *panels, const int16_t *latent, size_t n_panels, size_t pairs, size_t rows, float scale,
    float *out, size_t stride)
{
    for (size_t n = 0; n < n_panels; n++)
        for (size_t s = 0; s < rows; s += ROWS) {
            int32_t sums[ROWS][PANEL];
            tile(panels + 2 * PANEL * pairs * n, latent + 2 * pairs * s, pairs, sums);
            for (int r = 0; r < ROWS; r++)
                for (int j = 0; j < PANEL; j++)
                    out[(s + r) * stride + PANEL * n + j] = scale * (float)sums[r][j];
        }
}
#endif

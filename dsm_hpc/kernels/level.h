/* A student, and the kernels of one instruction set (levels.c is compiled once for each): which one runs is chosen
 * at run time. */
#ifndef DSM_LEVEL_H
#define DSM_LEVEL_H
#include "billiard.h"

typedef struct {
    machine_t machine;
    int ising;
    double *J;                  /* [l][i][k] */
    double scale;               /* a weight acts as rint(J scale) */
    int64_t *absolute_sum;      /* [l][i] */
    int64_t energy;             /* wrong output bits */
    int64_t *proposed, *accepted;       /* [l], running counts */
    int32_t *flipped, *gained;  /* [task] pattern in which the proposal at hand flips its perceptron; gain */
    int window;                 /* half of the proposals to try together next at E = 0 (student.h) */
    int warmth;                 /* running mean of acceptance, times 2^16 (student.h) */
    struct sentinels *sentinels;        /* [l][i] sentinels.h; NULL where the kernel has its own way, or none */
    int form;                   /* which kernel, and which copy of it (forms.h) */
    void *kernel;               /* words_t, dense_t, ising_t or events_t */
    billiard_t billiard;        /* of the perceptron that is visited */
    int threads;                /* that share the work */
    struct team *team;          /* team.h; NULL for one thread */
    size_t bytes;               /* that the kernel has allocated */
} student_t;

/* A block of proposals: flat positions of weights, normal numbers, and the largest Delta E that each may cost. */
typedef struct {
    ptrdiff_t count;
    const uint64_t *positions;
    const double *normals;
    const int64_t *thresholds;  /* NULL: 0 */
    double step, shrink;        /* shrink: 1 / sqrt(1 + step^2) */
    uint8_t *accepted;          /* one each, or NULL */
} block_t;

/* A block of visits of perceptrons: which ones, their velocities, and the tangents of half the angles. */
typedef struct {
    ptrdiff_t count;
    const uint64_t *perceptrons;
    const double *velocities;   /* [visit][c] */
    const double *tangents;
    const int64_t *thresholds;  /* that each may cost; NULL: 0 */
} visits_t;

/* Kernels: events.h; words.h, also with layers that are gathered (gather.h, AVX-512 only); dense.h; bits.h. */
enum { EVENTS, WORDS, GATHER, DENSE, BITS };

/* Functions that allocate return 0, or -1 if there is not enough memory. */
typedef struct {
    const char *name;
    int (*make)(student_t *student, int kernel);
    void (*free)(student_t *student);
    /* everything that follows from the weights; signs: [0..L][N][W], targets: [N][W] */
    void (*load)(student_t *student, const uint64_t *signs, const uint64_t *targets);
    /* decides the proposals of a block; returns how many, fewer than all if one does not fit the grid */
    ptrdiff_t (*decide)(student_t *student, const block_t *block);
    /* makes the visits of a block; returns how many, likewise */
    ptrdiff_t (*visit)(student_t *student, const visits_t *visits);
    void (*signs)(const student_t *student, uint64_t *signs);
    /* whether all that is kept beside the weights is equal; both of this level */
    int (*same)(student_t *a, student_t *b);
    int (*forward)(const machine_t *machine, uint64_t *signs);
} level_t;

extern const level_t dsm_level_generic, dsm_level_avx2, dsm_level_avx512;
#endif

/* Threads that share the work of one walker, for machines too large for one core's cache.
 *
 * Thread 0 decides the proposals as it would alone.  Work that can be cut by patterns, by tasks or by proposals it
 * posts as a job, does the first part itself, and waits for the others.  Parts write different memory, and what they
 * find is put together in the order of the parts: the bits are those of one thread.
 *
 * Bound: a job costs the cache lines that go to the other cores and back, 0.2 us on one socket.  Hence they wait by
 * spinning; OpenMP's regions and barriers take microseconds, and one region holds a whole block of proposals.
 */
#ifndef DSM_TEAM_H
#define DSM_TEAM_H
#include <sched.h>
#include "level.h"
#ifdef _OPENMP
#include <omp.h>
#endif

enum {
    PATIENCE = 256,             /* turns of a waiting thread before it lets others run: some microseconds */
};

/* One proposal: weight k of perceptron i of layer l. */
typedef struct {
    ptrdiff_t position, l, i, k;
    double J;                   /* new */
    int32_t before, after;      /* on the grid */
    int64_t absolute_sum;       /* of the perceptron, with the new weight */
    int64_t threshold;
} proposal_t;

/* What is known of proposals from..end - 1 of a block, until one is accepted. */
typedef struct {
    ptrdiff_t from, end;
    enum { OPEN, REJECTED, FLIPS_NOTHING } verdict[WINDOW];
    flip_t flip[WINDOW];        /* that rejects */
} tried_t;

/* A thread: its student has the arrays of thread 0's, and scratch of its own. */
typedef struct {
    _Alignas(64) uint32_t finished;     /* jobs */
    ptrdiff_t found;            /* of a scan: flips, */
    int64_t spare;              /* and what they can gain */
    tried_t tried;
    student_t student;
} member_t;

/* Of words first..first + n - 1, tasks or proposals of the block: SCAN words for flips, EVALUATE tasks, TRY proposals.
 * CARRY_OUT: a proposal with n tasks. */
enum job { SCAN, EVALUATE, CARRY_OUT, TRY, LEAVE };

typedef struct team {
    _Alignas(64) uint32_t posted;       /* jobs; what follows is written before */
    enum job job;
    int size;                   /* threads that are there, */
    int parts;                  /* and those that do the job */
    const block_t *block;
    ptrdiff_t first, n;
    _Alignas(64) proposal_t proposal;   /* at hand */
    ptrdiff_t window;           /* the first proposal of the window that was tried, */
    int next, tried;            /* in so many parts, of which the next to be looked at; 0 parts: none stands */
    member_t *members;          /* [thread]; the first has no student */
    void (*work)(student_t *student, int thread);       /* does a thread's part of the job */
} team_t;

/* Where the part of a thread begins; that of the next is its end. */
INLINE ptrdiff_t part_of(ptrdiff_t n, int thread, int size)
{
    return n * thread / size;
}

INLINE void wait_for(const uint32_t *count, uint32_t value)
{
    for (int turns = 0; __atomic_load_n(count, __ATOMIC_ACQUIRE) != value;) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
        if (++turns == PATIENCE) {
            turns = 0;
            sched_yield();
        }
    }
}

INLINE void post(team_t *team)
{
    __atomic_store_n(&team->posted, team->posted + 1, __ATOMIC_RELEASE);
}

/* Has the student's team do a job, or its first thread alone if that is too small to be shared. */
static void do_job(student_t *student, enum job job, ptrdiff_t first, ptrdiff_t n, int shared)
{
    team_t *team = student->team;
    team->job = job;
    team->first = first;
    team->n = n;
    team->parts = shared ? team->size : 1;
    if (shared)
        post(team);
    team->work(student, 0);
    for (int thread = 1; thread < team->parts; thread++)
        wait_for(&team->members[thread].finished, team->posted);
}

#ifdef _OPENMP
/* What threads other than the first do until they are dismissed. */
static void serve(team_t *team, int thread)
{
    member_t *self = &team->members[thread];
    for (int leave = 0; !leave;) {
        const uint32_t next = self->finished + 1;
        wait_for(&team->posted, next);
        leave = team->job == LEAVE;
        if (!leave)
            team->work(&self->student, thread);
        __atomic_store_n(&self->finished, next, __ATOMIC_RELEASE);
    }
}
#endif

static void team_free(team_t *team)
{
    if (team)
        free(team->members);
    free(team);
}

/* NULL without memory. */
static team_t *team_make(int threads)
{
    team_t *team = allocate(1, sizeof *team);
    if (team)
        team->members = allocate((size_t)threads, sizeof *team->members);
    if (team && !team->members) {
        team_free(team);
        return NULL;
    }
    return team;
}
#endif

/* Proposals of single weights to one student: drawn elsewhere, decided and carried out here.
 *
 * Bound: what the kernel takes to find the patterns that flip and to follow them upwards (words.h, dense.h, events.h).
 */
#ifndef DSM_STUDENT_H
#define DSM_STUDENT_H
#include <math.h>
#include "dense.h"
#include "events.h"
#include "team.h"
#include "words.h"

enum {
    AHEAD = 3,                  /* proposals between a prefetch and its use, above E = 0 */
    WARMTH_BITS = 16,
    COLD = 1 << (WARMTH_BITS - 2),      /* proposals are tried together if fewer than a quarter are accepted */
    /* what is worth a job, of 0.2 us: */
    SHARED_WORDS = 32,          /* words of a row */
    SHARED_TASKS = 8,           /* tasks of 0.1 us or more; of the kernels of words, which are shorter, twice as many */
    SHARED_TRIES = 4,           /* proposals at E = 0 */
};

#define WORDS_OF(student) ((words_t *)(student)->kernel)
#define EVENTS_OF(student) ((events_t *)(student)->kernel)
#define DENSE_OF(student) ((dense_t *)(student)->kernel)

/* The kernels side by side.  `form` is a constant of each copy of what follows: 0 for events, up to 32 for words of so
 * many groups of neurons, 35..40 for dense with 32 fewer vectors of neurons. */
enum { MOST_GROUPS = WORD / INPUTS };
#define IS_WORDS(form) ((form) > 0 && (form) <= MOST_GROUPS)
#define IS_DENSE(form) ((form) > MOST_GROUPS)

/* Before the proposal is looked at by the functions below. */
INLINE void begin(student_t *student, const proposal_t *p, int form)
{
    if (IS_WORDS(form))
        words_begin(WORDS_OF(student), p->l, p->i, p->k, p->before, p->after, p->absolute_sum);
}

INLINE uint64_t flips(const student_t *student, const proposal_t *p, ptrdiff_t w, int only_first, int form)
{
    if (IS_WORDS(form))
        return words_flips(WORDS_OF(student), w, only_first, form);
    if (IS_DENSE(form))
        return dense_flips(DENSE_OF(student), p->l, p->i, p->k, p->after - p->before, w);
    return events_flips(EVENTS_OF(student), p->l, p->i, p->k, p->after - p->before, w);
}

INLINE void evaluate(student_t *student, const proposal_t *p, ptrdiff_t first, int n, int form)
{
    int32_t *flipped = student->flipped, *gained = student->gained;
    if (IS_WORDS(form))
        words_evaluate(WORDS_OF(student), p->l, p->i, first, n, flipped, gained, form);
    else if (IS_DENSE(form))
        dense_evaluate(DENSE_OF(student), p->l, p->i, first, n, flipped, gained, form - MOST_GROUPS);
    else
        events_evaluate(EVENTS_OF(student), p->l, p->i, n, flipped + first, gained + first);
}

INLINE void spoil(student_t *student, int n, const flip_t *of, uint8_t *spoiled, int form)
{
    if (IS_WORDS(form))
        words_spoil(WORDS_OF(student), n, of, spoiled, form);
    else if (IS_DENSE(form))
        dense_spoil(DENSE_OF(student), n, of, spoiled, form - MOST_GROUPS);
    else
        events_spoil(EVENTS_OF(student), n, of, spoiled);
}

/* Where weight `position` is: by multiplications, since divisions would take longer than all else of a proposal. */
INLINE void locate(const student_t *student, uint64_t position, ptrdiff_t *l, ptrdiff_t *i, ptrdiff_t *k)
{
    const machine_t *machine = &student->machine;
    const uint64_t fan_in = (uint64_t)machine->fan_in, width = (uint64_t)machine->width;
    const uint64_t perceptron = quotient(position, fan_in, machine->by_fan_in);
    const uint64_t layer = quotient(perceptron, width, machine->by_width);
    *l = (ptrdiff_t)layer;
    *i = (ptrdiff_t)(perceptron - layer * width);
    *k = (ptrdiff_t)(position - perceptron * fan_in);
}

INLINE ptrdiff_t words_of(const student_t *student)
{
    return (student->machine.patterns + 63) / 64;
}

/* Threads that share a pass over a row. */
INLINE int sharing(const student_t *student)
{
    return student->team && words_of(student) >= SHARED_WORDS ? student->team->size : 1;
}

INLINE int shares_tasks(const student_t *student, ptrdiff_t n, int form)
{
    return student->team && n >= (IS_WORDS(form) ? 2 * SHARED_TASKS : SHARED_TASKS);
}

/* What proposal t will need first. */
INLINE void fetch(const student_t *student, const block_t *block, ptrdiff_t t, int form)
{
    const uint64_t position = block->positions[t];
    ptrdiff_t l, i, k;
    locate(student, position, &l, &i, &k);
    __builtin_prefetch(student->J + position);
    __builtin_prefetch(student->machine.inputs + position);
    __builtin_prefetch(student->absolute_sum + l * student->machine.width + i);
    /* At E = 0 the first flips decide: the rest of the row is not needed. */
    const ptrdiff_t words = student->energy == 0 ? 0 : part_of(words_of(student), 1, sharing(student));
    if (IS_WORDS(form))
        words_prefetch(WORDS_OF(student), l, i, words == 0);
    else if (IS_DENSE(form))
        dense_prefetch(DENSE_OF(student), l, i, words);
    else
        events_prefetch(EVENTS_OF(student), l, i, k, words);
}

/* Proposal t of a block.  J' = (J + step x) / sqrt(1 + step^2), or -J (PHYSICS section 1). */
INLINE proposal_t proposal_of(const student_t *student, const block_t *block, ptrdiff_t t)
{
    const uint64_t position = block->positions[t];
    proposal_t p = {.position = (ptrdiff_t)position, .threshold = block->thresholds ? block->thresholds[t] : 0};
    locate(student, position, &p.l, &p.i, &p.k);
    const double old = student->J[position];
    p.J = student->ising ? -old : (old + block->step * block->normals[t]) * block->shrink;
    const int64_t before = lrint(old * student->scale), after = lrint(p.J * student->scale);
    p.before = (int32_t)before;
    p.after = (int32_t)after;
    p.absolute_sum = student->absolute_sum[p.l * student->machine.width + p.i] + llabs(after) - llabs(before);
    return p;
}

/* Delta E of the first n tasks from `done` on is added to *delta, what they could gain taken from *spare. */
INLINE void follow(student_t *student, const proposal_t *p, ptrdiff_t done, int n, int64_t *delta, int64_t *spare,
                   int form)
{
    if (shares_tasks(student, n, form))
        together(student, FOLLOW, done, n);
    else
        evaluate(student, p, done, n, form);
    for (int t = 0; t < n; t++) {
        *delta += student->gained[done + t];
        *spare -= student->machine.wrong[student->flipped[done + t]];
    }
}

/* Lists the patterns of words first..last - 1 that flip, from flipped[64 first] on; adds what they can gain. */
INLINE ptrdiff_t scan(student_t *student, const proposal_t *p, ptrdiff_t first, ptrdiff_t last, int64_t *spare,
                      int form)
{
    int32_t *found = student->flipped + 64 * first;
    ptrdiff_t n = 0;
    for (ptrdiff_t w = first; w < last; w++) {
        for (uint64_t left = flips(student, p, w, 0, form); left; left &= left - 1) {
            found[n] = (int32_t)(64 * w) + __builtin_ctzll(left);
            *spare += student->machine.wrong[found[n++]];
        }
    }
    return n;
}

/* The same for all words by a team: lists are joined. */
static ptrdiff_t scan_together(student_t *student, int64_t *spare)
{
    const team_t *team = student->team;
    const ptrdiff_t words = words_of(student);
    ptrdiff_t n = 0;
    together(student, SCAN, 0, words);
    for (int thread = 0; thread < team->size; thread++) {
        const member_t *member = &team->members[thread];
        const int32_t *found = student->flipped + 64 * part_of(words, thread, team->size);
        memmove(student->flipped + n, found, (size_t)member->found * sizeof *found);
        n += member->found;
        *spare += member->spare;
    }
    return n;
}

/* Whether Delta E <= threshold, stopping as soon as it is certain (exact early rejection); *n_flipped tasks are
 * left evaluated.  `spare` bounds what the flips not yet followed can gain: a pattern gains at most its wrong
 * bits.  Tasks are followed in batches of as many as a rejection takes, if each spoils half of the outputs. */
INLINE int allowed(student_t *student, const proposal_t *p, ptrdiff_t *n_flipped, int64_t *gain, int form)
{
    const machine_t *machine = &student->machine;
    const int most = BATCH * (student->team ? student->team->size : 1);
    int64_t delta = 0, spare = 0;
    ptrdiff_t n = 0, done = 0, words = words_of(student);
    if (student->energy && sharing(student) > 1) {
        n = scan_together(student, &spare);
        words = 0;
    }
    for (ptrdiff_t w = 0; w < words; w++) {
        for (uint64_t left = flips(student, p, w, 0, form); left; left &= left - 1) {
            const int32_t mu = (int32_t)(64 * w) + __builtin_ctzll(left);
            student->flipped[n++] = mu;
            spare += machine->wrong[mu];
            if (student->energy == 0) {     /* nothing can be gained: no need to see the other flips first */
                follow(student, p, done++, 1, &delta, &spare, form);
                if (delta > p->threshold)
                    return 0;
            }
        }
    }
    while (done < n) {
        int64_t batch = 1 + 2 * (p->threshold - delta + spare) / machine->width;
        batch = batch > most ? most : batch;
        batch = batch > n - done ? n - done : batch;
        follow(student, p, done, (int)batch, &delta, &spare, form);
        done += batch;
        if (delta - spare > p->threshold)
            return 0;
    }
    *n_flipped = n;
    *gain = delta;
    return 1;
}

/* What an accepted proposal changes in the patterns of words first..last - 1, of which tasks from..to - 1 are. */
INLINE void carry_out_words(student_t *student, const proposal_t *p, ptrdiff_t first, ptrdiff_t last, ptrdiff_t from,
                            ptrdiff_t to, int form)
{
    const int32_t *flipped = student->flipped, *gained = student->gained, change = p->after - p->before;
    if (IS_WORDS(form)) {
        words_commit(WORDS_OF(student), p->l, from, to, flipped, gained, form);
    } else if (IS_DENSE(form)) {
        const ptrdiff_t patterns = student->machine.patterns, end = 64 * last < patterns ? 64 * last : patterns;
        dense_commit(DENSE_OF(student), p->l, p->i, from, to, flipped, gained, form - MOST_GROUPS);
        dense_change(DENSE_OF(student), p->l, p->i, p->k, change, 64 * first, end, form - MOST_GROUPS);
    } else {
        events_commit(EVENTS_OF(student), p->l, p->i, to - from, flipped + from);
        events_change(EVENTS_OF(student), p->l, p->i, p->k, change, first, last);
    }
}

INLINE void carry_out(student_t *student, const proposal_t *p, ptrdiff_t n, int64_t gain, int form)
{
    if (shares_tasks(student, n, form) || (!IS_WORDS(form) && sharing(student) > 1))
        together(student, CARRY_OUT, 0, n);
    else
        carry_out_words(student, p, 0, words_of(student), 0, n, form);
    if (IS_WORDS(form))
        words_change(WORDS_OF(student));
    else if (IS_DENSE(form))
        dense_set_weight(DENSE_OF(student), p->l, p->i, p->k, p->after, form - MOST_GROUPS);
    else
        events_set_weight(EVENTS_OF(student), p->l, p->i, p->k, p->after);
    student->energy += gain;
    student->J[p->position] = p->J;
    student->absolute_sum[p->l * student->machine.width + p->i] = p->absolute_sum;
    student->accepted[p->l]++;
}

/* Decides one proposal. */
INLINE int decide_proposal(student_t *student, const proposal_t *p, int form)
{
    ptrdiff_t n = 0;
    int64_t gain = 0;
    begin(student, p, form);
    if (student->team)
        student->team->proposal = *p;
    student->proposed[p->l]++;
    if (!allowed(student, p, &n, &gain, form))
        return 0;
    carry_out(student, p, n, gain, form);
    return 1;
}

/* Accepts a proposal that flips nothing. */
INLINE int take(student_t *student, const proposal_t *p, int form)
{
    begin(student, p, form);
    if (student->team)
        student->team->proposal = *p;
    student->proposed[p->l]++;
    carry_out(student, p, 0, 0, form);
    return 1;
}

/* A pattern that flips, or -1. */
INLINE int32_t some_flip(student_t *student, const proposal_t *p, int form)
{
    const ptrdiff_t words = words_of(student);
    if (IS_DENSE(form))
        return dense_first(DENSE_OF(student), p->l, p->i, p->k, p->after - p->before);
    if (IS_WORDS(form)) {
        const int32_t mu = flipped_sentinel(WORDS_OF(student), p->l, p->i, p->k, p->after - p->before, form);
        if (mu >= 0)
            return mu;
    }
    begin(student, p, form);
    for (ptrdiff_t w = 0; w < words; w++) {
        const uint64_t found = flips(student, p, w, 1, form);
        if (found) {
            const int32_t mu = (int32_t)(64 * w) + __builtin_ctzll(found);
            if (IS_WORDS(form))
                watch(WORDS_OF(student), p->l, p->i, mu, form);
            return mu;
        }
    }
    return -1;
}

INLINE void note(student_t *student, const block_t *block, ptrdiff_t t, int accepted)
{
    student->warmth += ((accepted << WARMTH_BITS) - student->warmth) >> 5;
    if (block->accepted)
        block->accepted[t] = (uint8_t)accepted;
}

/* Tries the proposals from `from` on, at most `most`: those that may cost nothing are rejected by any pattern that
 * flips and spoils an output. */
INLINE void try(student_t *student, const block_t *block, ptrdiff_t from, ptrdiff_t most, trial_t *trial, int form)
{
    int n = 0, open = 0, free = 0;
    for (; n < most; n++) {
        proposal_t *tried = &trial->tried[n];
        *tried = proposal_of(student, block, from + n);
        if (tried->absolute_sum > INT32_MAX)
            break;
        open = 1;
        if (tried->threshold > 0)
            break;
        const int32_t mu = some_flip(student, tried, form);
        free = mu < 0;
        if (free)
            break;
        trial->of[n] = (flip_t){(int32_t)tried->l, (int32_t)tried->i, mu};
        open = 0;
    }
    if (n)
        spoil(student, n, trial->of, trial->spoiled, form);
    trial->n = n;
    trial->open = open;
    trial->free = free;
}

/* A thread's part of a window.  It asks for what it will need itself: the same part of the next window. */
INLINE void try_part(student_t *student, const block_t *block, ptrdiff_t from, ptrdiff_t window, int thread,
                     int threads, trial_t *trial, int form)
{
    const ptrdiff_t first = from + part_of(window, thread, threads), last = from + part_of(window, thread + 1, threads);
    for (ptrdiff_t t = first + window; t < last + window && t < block->count; t++)
        fetch(student, block, t, form);
    try(student, block, first, last - first, trial, form);
}

/* Decides the proposals that were tried, from `from` on, up to the first that is accepted.  Returns how many. */
INLINE int settle_trial(student_t *student, const block_t *block, ptrdiff_t from, const trial_t *trial, int *accepted,
                        int form, int (*decide)(student_t *, const proposal_t *))
{
    const flip_t *of = trial->of;
    const int n = trial->n;
    *accepted = 0;
    for (int t = 0; t < n + trial->open; t++) {
        const proposal_t *tried = &trial->tried[t];
        if (t < n && trial->spoiled[t]) {
            student->proposed[tried->l]++;
            note(student, block, from + t, 0);
            continue;
        }
        if (IS_WORDS(form) && t < n)
            dismiss(sentinels_of(WORDS_OF(student), of[t].l, of[t].i), of[t].mu, student->machine.patterns);
        else if (IS_DENSE(form) && t < n)
            dismiss(dense_sentinels(DENSE_OF(student), of[t].l, of[t].i), of[t].mu, student->machine.patterns);
        *accepted = t == n && trial->free ? take(student, tried, form) : decide(student, tried);
        note(student, block, from + t, *accepted);
        if (*accepted)
            return t + 1;
    }
    return n + trial->open;
}

/* At E = 0, where nearly all proposals are rejected: those of a window are tried side by side against the same
 * state.  They all stand up to the first that is accepted; the next window has as many.
 * Returns the number of proposals decided, or -1 where the first does not fit the grid. */
INLINE ptrdiff_t speculate(student_t *student, const block_t *block, ptrdiff_t from, int form,
                           int (*decide)(student_t *, const proposal_t *))
{
    trial_t alone;
    const trial_t *trial = &alone;
    team_t *team = IS_WORDS(form) ? NULL : student->team;
    const int largest = WINDOW * (team ? team->size : 1);
    const int window = student->window < largest ? student->window : largest;
    const ptrdiff_t most = block->count - from < window ? block->count - from : window;
    const int threads = team && most >= SHARED_TRIES ? team->size : 1;
    ptrdiff_t decided = 0;
    int accepted = 0;
    if (threads > 1) {
        team->block = block;
        together(student, TRY, from, most);
    } else if (team) {
        try_part(student, block, from, most, 0, 1, &alone, form);
    } else {
        try(student, block, from, most, &alone, form);
    }
    for (int thread = 0; thread < threads && decided == part_of(most, thread, threads) && !accepted; thread++) {
        if (threads > 1)
            trial = &team->members[thread].trial;
        decided += settle_trial(student, block, from + decided, trial, &accepted, form, decide);
    }
    if (accepted)
        student->window = decided < 2 ? 2 : (int)decided;
    else
        student->window = 2 * window < largest ? 2 * window : largest;
    return decided ? decided : -1;
}

/* Proposals between a prefetch and its use; those that a team tries, its threads fetch (try_part). */
INLINE ptrdiff_t ahead(const student_t *student, int form)
{
    if (student->energy)
        return AHEAD;
    return student->team && student->warmth < COLD && !IS_WORDS(form) ? 0 : 2 * WINDOW;
}

/* Decides the proposals of a block; returns how many, fewer than all if one does not fit the grid. */
INLINE ptrdiff_t decide_block(student_t *student, const block_t *block, int form,
                              int (*decide)(student_t *, const proposal_t *))
{
    ptrdiff_t t = 0, fetched = 0;
    while (t < block->count) {
        const ptrdiff_t end = t + ahead(student, form);
        for (fetched = fetched < t ? t : fetched; fetched < block->count && fetched < end; fetched++)
            fetch(student, block, fetched, form);
        if (student->energy == 0 && student->warmth < COLD) {
            const ptrdiff_t decided = speculate(student, block, t, form, decide);
            if (decided < 0)
                return t;
            t += decided;
            continue;
        }
        const proposal_t p = proposal_of(student, block, t);
        if (p.absolute_sum > INT32_MAX)
            return t;
        const int accepted = decide(student, &p);
        note(student, block, t, accepted);
        t++;
    }
    return t;
}

/* A thread's part of a commit with n tasks begins with this word, and with *task: whole words, whose signs are written
 * together, and equal numbers of tasks. */
INLINE ptrdiff_t cut(const student_t *student, ptrdiff_t n, int thread, ptrdiff_t *task)
{
    const int size = student->team->size;
    ptrdiff_t word = part_of(words_of(student), thread, size);
    if (n >= size && thread > 0 && thread < size)
        word = student->flipped[part_of(n, thread, size)] / 64;
    for (*task = 0; *task < n && student->flipped[*task] < 64 * word; ++*task) {
    }
    return word;
}

/* A thread's part of the team's job. */
INLINE void work(student_t *student, int thread, int form)
{
    const team_t *team = student->team;
    member_t *self = &team->members[thread];
    const proposal_t *p = &team->proposal;
    const ptrdiff_t first = part_of(team->n, thread, team->size), last = part_of(team->n, thread + 1, team->size);
    if (team->job == SCAN) {
        self->spare = 0;
        self->found = scan(student, p, first, last, &self->spare, form);
    } else if (team->job == FOLLOW) {
        if (first < last)
            evaluate(student, p, team->first + first, (int)(last - first), form);
    } else if (team->job == CARRY_OUT) {
        ptrdiff_t from, to;
        const ptrdiff_t word = cut(student, team->n, thread, &from), end = cut(student, team->n, thread + 1, &to);
        carry_out_words(student, p, word, end, from, to, form);
    } else if (!IS_WORDS(form)) {
        /* Not by words, which look at one proposal at a time (`probe`).  Sentinels of dense are hints, whichever thread
         * sets them: decisions do not depend on them. */
        try_part(student, team->block, team->first, team->n, thread, team->size, &self->trial, form);
    }
}

#define DECIDE(form) \
    static __attribute__((noinline)) void work_##form(student_t *student, int thread) \
    { \
        work(student, thread, form); \
    } \
    static __attribute__((noinline)) int decide_one_##form(student_t *student, const proposal_t *p) \
    { \
        return decide_proposal(student, p, form); \
    } \
    static ptrdiff_t decide_##form(student_t *student, const block_t *block) \
    { \
        return decide_block(student, block, form, decide_one_##form); \
    }
#define FOR_ALL_FORMS(X) \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(20) X(24) X(28) \
    X(32) X(35) X(36) X(37) X(38) X(39) X(40)
FOR_ALL_FORMS(DECIDE)

typedef struct {
    ptrdiff_t (*decide)(student_t *, const block_t *);
    void (*work)(student_t *, int);
} copy_t;

#ifdef _OPENMP
/* The same by a team: others serve while the first thread decides.  OpenMP may give fewer threads than it is asked. */
static ptrdiff_t decide_together(student_t *student, const block_t *block, const copy_t *copy)
{
    ptrdiff_t decided = 0;
    team_t *team = student->team;
    team->work = copy->work;
#pragma omp parallel num_threads(student->threads)
    {
        const int thread = omp_get_thread_num();
        if (thread > 0) {
            serve(team, thread);
        } else {
            team->size = omp_get_num_threads();
            decided = copy->decide(student, block);
            post(team, LEAVE);
        }
    }
    return decided;
}
#endif

static ptrdiff_t student_decide(student_t *student, const block_t *block)
{
#define COPY(form) [form] = {decide_##form, work_##form},
    static const copy_t copies[] = {FOR_ALL_FORMS(COPY)};
    const copy_t *copy = &copies[student->form];
#ifdef _OPENMP
    if (student->team)
        return decide_together(student, block, copy);
#endif
    return copy->decide(student, block);
}

/* Threads after the first get what they need to work on the student: scratch, where the kernel has it.  Their energy
 * stays 0: they look at it where proposals are tried. */
static int make_team(student_t *student)
{
    if (student->threads < 2)
        return 0;
    student->team = team_make(student->threads);
    if (!student->team)
        return -1;
    for (int thread = 1; thread < student->threads; thread++) {
        student_t *member = &student->team->members[thread].student;
        *member = *student;
        if (student->form == 0) {
            member->kernel = allocate(1, sizeof(events_t));
            if (!member->kernel || events_share(EVENTS_OF(member), EVENTS_OF(student)))
                return -1;
        }
    }
    return 0;
}

static void free_team(student_t *student)
{
    for (int thread = 1; student->team && student->form == 0 && thread < student->threads; thread++) {
        student_t *member = &student->team->members[thread].student;
        if (member->kernel)
            events_free_scratch(EVENTS_OF(member));
        free(member->kernel);
    }
    team_free(student->team);
    student->team = NULL;
}

static void student_free(student_t *student)
{
    free_team(student);
    if (student->kernel && IS_WORDS(student->form))
        words_free(WORDS_OF(student));
    else if (student->kernel && IS_DENSE(student->form))
        dense_free(DENSE_OF(student));
    else if (student->kernel)
        events_free(EVENTS_OF(student));
    free(student->kernel);
    free(student->flipped);
    free(student->gained);
    student->kernel = student->flipped = student->gained = NULL;
}

/* What is kept by one of the kernels. */
static int make_kernel(student_t *student, int kernel)
{
    const machine_t *machine = &student->machine;
    switch (kernel) {
    case EVENTS:
        student->form = 0;
        student->kernel = allocate(1, sizeof(events_t));
        return student->kernel ? events_make(EVENTS_OF(student), machine) : -1;
    case DENSE:
        student->form = MOST_GROUPS + (int)((machine->width + PLANE - 1) / PLANE);
        student->kernel = allocate(1, sizeof(dense_t));
        return student->kernel ? dense_make(DENSE_OF(student), machine) : -1;
    default:
        student->form = (int)groups_for(machine->width);
        student->kernel = allocate(1, sizeof(words_t));
        return student->kernel ? words_make(WORDS_OF(student), machine, kernel == GATHER) : -1;
    }
}

static int student_make(student_t *student, int kernel)
{
    const machine_t *machine = &student->machine;
    allocated_bytes = 0;
    student->window = WINDOW;
    student->machine.by_fan_in = reciprocal((uint64_t)machine->fan_in);
    student->machine.by_width = reciprocal((uint64_t)machine->width);
    student->flipped = allocate((size_t)machine->patterns, sizeof *student->flipped);
    student->gained = allocate((size_t)machine->patterns, sizeof *student->gained);
    if (student->flipped && student->gained && make_kernel(student, kernel) == 0 && make_team(student) == 0) {
        student->bytes = allocated_bytes;
        return 0;
    }
    student_free(student);
    return -1;
}

static void student_load(student_t *student, const uint64_t *signs, const uint64_t *targets)
{
    if (IS_WORDS(student->form))
        words_load(WORDS_OF(student), signs, targets);
    else if (IS_DENSE(student->form))
        dense_load(DENSE_OF(student), signs, targets);
    else
        events_load(EVENTS_OF(student), signs, targets);
    student->energy = 0;
    for (ptrdiff_t mu = 0; mu < student->machine.patterns; mu++)
        student->energy += student->machine.wrong[mu];
}

static void student_signs(const student_t *student, uint64_t *signs)
{
    if (IS_WORDS(student->form))
        words_signs(WORDS_OF(student), signs);
    else if (IS_DENSE(student->form))
        dense_signs(DENSE_OF(student), signs);
    else
        events_signs(EVENTS_OF(student), signs);
}

static int student_same(student_t *a, student_t *b)
{
    if (a->form != b->form)
        return 0;
    if (IS_WORDS(a->form))
        return words_same(WORDS_OF(a), WORDS_OF(b));
    return IS_DENSE(a->form) ? dense_same(DENSE_OF(a), DENSE_OF(b)) : events_same(EVENTS_OF(a), EVENTS_OF(b));
}
#endif

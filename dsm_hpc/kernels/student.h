/* Proposals of single weights to one student: drawn elsewhere, decided and carried out here.
 *
 * Bound: what the kernel takes to find the patterns that flip and to follow them upwards (words.h, dense.h, events.h,
 * bits.h).
 */
#ifndef DSM_STUDENT_H
#define DSM_STUDENT_H
#include "proposals.h"

enum {
    CACHED = 512 << 10,         /* bytes of a kernel that L2 holds: nothing is prefetched */
    AHEAD = 3,                  /* proposals between a prefetch and its use */
    TOGETHER_FROM = 640,        /* proposals are tried together at E = 0 from this L M on (below, that takes longer), */
    WARMTH_BITS = 16,
    COLD = 1 << (WARMTH_BITS - 2),      /* if fewer than a quarter of the last are accepted */
    /* what is worth a team's job, of 0.2 us (and SHARED_WORDS): */
    SHARED_TASKS = 8,           /* tasks of 0.1 us or more */
    SHARED_TRIES = 4,           /* proposals at E = 0 */
};

/* Delta E of the first n tasks from `done` on is added to *delta, what they could gain taken from *spare. */
INLINE void follow(student_t *student, const proposal_t *p, ptrdiff_t done, int n, int64_t *delta, int64_t *spare,
                   const team_t *team, int form)
{
    if (team)
        do_job(student, EVALUATE, done, n, n >= SHARED_TASKS);
    else
        evaluate(student, p, done, n, form);
    for (int t = 0; t < n; t++) {
        *delta += student->gained[done + t];
        *spare -= student->machine.wrong[student->flipped[done + t]];
    }
}

/* Lists the patterns first..last - 1 (first: a multiple of 64) that flip, from flipped[first] on; *spare: the wrong
 * bits that they have. */
INLINE ptrdiff_t list_flips(student_t *student, const proposal_t *p, ptrdiff_t first, ptrdiff_t last, int64_t *spare,
                            int form)
{
    const int32_t *wrong = student->machine.wrong;
    int32_t *flipped = student->flipped + first;
    ptrdiff_t n = 0;
    int64_t bits = 0;
    for (ptrdiff_t from = first; from < last; from += 64) {
        uint64_t left = flips(student, p, from / 64, 0, form);
        int32_t *to = flipped + n;
        n += __builtin_popcountll(left);
        if (LIKELY(from + 4 <= last)) {     /* four without a branch */
#pragma GCC unroll 4
            for (int a = 0; a < 4; a++, left &= left - 1)
                to[a] = (int32_t)from + __builtin_ctzll(left | (uint64_t)1 << 63);
            to += 4;
        }
        for (; left; left &= left - 1)
            *to++ = (int32_t)from + __builtin_ctzll(left);
    }
    for (ptrdiff_t a = 0; a < n; a++)
        bits += wrong[flipped[a]];
    *spare = bits;
    return n;
}

/* The same of all patterns by a team: lists are joined. */
static ptrdiff_t list_together(student_t *student, int64_t *spare)
{
    const team_t *team = student->team;
    const ptrdiff_t words = words_of(student);
    ptrdiff_t n = 0;
    *spare = 0;
    do_job(student, SCAN, 0, words, shares_rows(student));
    for (int thread = 0; thread < team->parts; thread++) {
        const member_t *member = &team->members[thread];
        const int32_t *found = student->flipped + 64 * part_of(words, thread, team->parts);
        memmove(student->flipped + n, found, (size_t)member->found * sizeof *found);
        n += member->found;
        *spare += member->spare;
    }
    return n;
}

/* Whether Delta E <= threshold, stopping as soon as it is certain (exact early rejection); *n_flipped tasks are
 * left evaluated.  `spare` bounds what the flips not yet followed can gain: a pattern gains at most its wrong
 * bits.  Tasks are followed in batches of as many as a rejection takes, if each spoils half of the outputs. */
INLINE int allowed(student_t *student, const proposal_t *p, ptrdiff_t *n_flipped, int64_t *gain, const team_t *team,
                   int form)
{
    const machine_t *machine = &student->machine;
    const int most = team ? BATCH * team->size : BATCH;
    int64_t delta = 0, spare;
    const ptrdiff_t n = team ? list_together(student, &spare)
                             : list_flips(student, p, 0, machine->patterns, &spare, form);
    ptrdiff_t done = 0;
    while (done < n) {
        const uint64_t could = (uint64_t)(2 * (p->threshold - delta + spare));
        int64_t batch = 1 + (int64_t)quotient(could, (uint64_t)machine->width, machine->by_width);
        batch = batch > most ? most : batch;
        batch = batch > n - done ? n - done : batch;
        follow(student, p, done, (int)batch, &delta, &spare, team, form);
        done += batch;
        if (delta - spare > p->threshold)
            return 0;
    }
    *n_flipped = n;
    *gain = delta;
    return 1;
}

/* The same at E = 0, where nothing can be gained: no need to see the other flips first. */
INLINE int allowed_at_zero(student_t *student, const proposal_t *p, ptrdiff_t *n_flipped, int64_t *gain,
                           const team_t *team, int form)
{
    int64_t delta = 0, spare = 0;
    ptrdiff_t n = 0;
    for (ptrdiff_t from = 0; from < student->machine.patterns; from += 64) {
        for (uint64_t left = flips(student, p, from / 64, 0, form); left; left &= left - 1) {
            student->flipped[n] = (int32_t)from + __builtin_ctzll(left);
            follow(student, p, n++, 1, &delta, &spare, team, form);
            if (delta > p->threshold)
                return 0;
        }
    }
    *n_flipped = n;
    *gain = delta;
    return 1;
}

/* What an accepted proposal changes in the patterns of words first..last - 1, of which tasks from..to - 1 are. */
INLINE void carry_out_words(student_t *student, const proposal_t *p, ptrdiff_t first, ptrdiff_t last, ptrdiff_t from,
                            ptrdiff_t to, int form)
{
    const int32_t *flipped = student->flipped, change = p->after - p->before;
    if (IS_DENSE(form)) {
        const ptrdiff_t patterns = student->machine.patterns, end = 64 * last < patterns ? 64 * last : patterns;
        dense_commit(DENSE_OF(student), p->l, p->i, from, to, flipped, student->gained, form - MOST_GROUPS);
        dense_change(DENSE_OF(student), p->l, p->i, p->k, change, 64 * first, end);
    } else {
        events_commit(EVENTS_OF(student), p->l, p->i, to - from, flipped + from);
        events_change(EVENTS_OF(student), p->l, p->i, p->k, change, first, last);
    }
}

INLINE void carry_out(student_t *student, const proposal_t *p, ptrdiff_t n, int64_t gain, const team_t *team, int form)
{
    if (IS_DENSE(form))
        dense_make_room(DENSE_OF(student), p->absolute_sum);
    if (IS_WORDS(form)) {
        words_commit(WORDS_OF(student), p->l, p->i, n, student->flipped, student->gained, form);
        words_change(WORDS_OF(student), form);
    } else if (IS_BITS(form)) {
        bits_commit(BITS_OF(student), p->l, n, student->flipped, student->gained, form - NO_BITS);
        bits_change(BITS_OF(student), form - NO_BITS);
    } else if (team) {
        do_job(student, CARRY_OUT, 0, n, n >= SHARED_TASKS || shares_rows(student));
    } else {
        carry_out_words(student, p, 0, words_of(student), 0, n, form);
    }
    if (IS_DENSE(form))
        dense_set_weight(DENSE_OF(student), p->l, p->i, p->k, p->after, form - MOST_GROUPS);
    else if (IS_EVENTS(form))
        events_set_weight(EVENTS_OF(student), p->l, p->i, p->k, p->after);
    student->energy += gain;
    if (student->energy == 0 && HAS_SENTINELS(form))
        move_sentinels(student, p, form);
    student->J[p->position] = p->J;
    student->absolute_sum[p->l * student->machine.width + p->i] = p->absolute_sum;
    student->accepted[p->l]++;
}

/* Decides one proposal, of which it may be known that it flips nothing. */
INLINE int decide_proposal(student_t *student, const proposal_t *p, int flips_nothing, team_t *team, int form)
{
    ptrdiff_t n = 0;
    int64_t gain = 0;
    begin(student, p, form);
    student->proposed[p->l]++;
    if (team)
        team->proposal = *p;
    if (!flips_nothing && !(student->energy == 0 ? allowed_at_zero(student, p, &n, &gain, team, form)
                                                 : allowed(student, p, &n, &gain, team, form)))
        return 0;
    carry_out(student, p, n, gain, team, form);
    return 1;
}

INLINE void note(student_t *student, const block_t *block, ptrdiff_t t, int accepted)
{
    student->warmth += ((accepted << WARMTH_BITS) - student->warmth) >> 5;
    if (block->accepted)
        block->accepted[t] = (uint8_t)accepted;
}

/* How many proposals from `from` on to try, at most `largest`. */
INLINE ptrdiff_t next_window(student_t *student, const block_t *block, ptrdiff_t from, int largest)
{
    student->window = student->window < largest / 2 ? 2 * student->window : largest;
    return block->count - from < student->window ? block->count - from : student->window;
}

/* The same by a team: what one of its threads has found.  The parts of a window stand until a proposal is accepted. */
static void try_by_team(student_t *student, const block_t *block, ptrdiff_t from, tried_t *tried)
{
    team_t *team = student->team;
    while (team->next < team->tried) {
        const tried_t *part = &team->members[team->next++].tried;
        if (part->from == from && part->end > from) {
            *tried = *part;
            return;
        }
    }
    const ptrdiff_t most = next_window(student, block, from, WINDOW * team->size);
    team->block = block;
    team->window = from;
    do_job(student, TRY, from, most, most >= SHARED_TRIES);
    team->tried = team->parts;
    team->next = 1;
    *tried = team->members[0].tried;
}

/* Whether a team tries proposals sooner than its first thread alone: not where flips are followed by links, of which
 * few are looked at (two or three threads took 1.07 times as long there, four as long). */
INLINE int tries_by_team(const student_t *student, int form)
{
    return !IS_EVENTS(form) || EVENTS_OF(student)->dense;
}

/* Proposals between a prefetch and its use; those that a team tries, its threads fetch (try_part). */
INLINE ptrdiff_t ahead(const student_t *student, int shared)
{
    if (student->energy)
        return AHEAD;
    return shared && student->warmth < COLD ? 0 : 2 * WINDOW;
}

/* Decides the proposals of a block; returns how many, fewer than all if one does not fit the grid.
 * Only one place decides: inlined there, a proposal stays in registers (8 ns of 80 on small machines). */
INLINE ptrdiff_t decide_block(student_t *student, const block_t *block, team_t *team, int form)
{
    const machine_t *machine = &student->machine;
    const int together = machine->depth * machine->patterns >= TOGETHER_FROM, prefetch = student->bytes > CACHED;
    const int shared = team && tries_by_team(student, form);
    ptrdiff_t fetched = 0;
    tried_t tried;
    tried.from = tried.end = 0;
    for (ptrdiff_t t = 0; t < block->count; t++) {
        if (prefetch)
            for (; fetched < block->count && fetched < t + ahead(student, shared); fetched++)
                fetch(student, block, fetched, team, form);
        if (together && student->energy == 0 && student->warmth < COLD && t >= tried.end) {
            if (shared)
                try_by_team(student, block, t, &tried);
            else
                try_together(student, block, t, next_window(student, block, t, WINDOW), &tried, team, form);
        }
        const int verdict = t < tried.end ? (int)tried.verdict[t - tried.from] : OPEN;
        if (verdict == REJECTED) {
            student->proposed[tried.flip[t - tried.from].l]++;
            note(student, block, t, 0);
            continue;
        }
        const proposal_t p = proposal_of(student, block, t);
        if (p.absolute_sum > INT32_MAX)
            return t;
        const int accepted = decide_proposal(student, &p, verdict == FLIPS_NOTHING, team, form);
        note(student, block, t, accepted);
        if (accepted && t < tried.end) {        /* the next window reaches about as far */
            student->window = (int)(t - (shared ? team->window : tried.from) + 2) / 2;
            tried.end = t + 1;
        }
        if (accepted && team)
            team->tried = 0;
    }
    return block->count;
}

#define DECIDE(form) \
    static ptrdiff_t decide_##form(student_t *student, const block_t *block) \
    { \
        return decide_block(student, block, NULL, form); \
    }
FOR_ALL_FORMS(DECIDE)

#ifdef _OPENMP
/* A thread's part of a window.  It asks for what it will need itself: the same part of the next window. */
INLINE void try_part(student_t *student, const block_t *block, ptrdiff_t from, ptrdiff_t end, tried_t *tried,
                     const team_t *team, int form)
{
    if (student->bytes > CACHED)
        for (ptrdiff_t t = from + team->n; t < end + team->n && t < block->count; t++)
            fetch(student, block, t, team, form);
    try_together(student, block, from, end - from, tried, team, form);
}

/* A thread's part of a commit with n tasks begins with this word, and with *task: whole words, whose signs are written
 * together, and equal numbers of tasks. */
INLINE ptrdiff_t cut(const student_t *student, const team_t *team, int thread, ptrdiff_t *task)
{
    const int parts = team->parts;
    const ptrdiff_t n = team->n;
    ptrdiff_t word = part_of(words_of(student), thread, parts);
    if (n >= parts && thread > 0 && thread < parts)
        word = student->flipped[part_of(n, thread, parts)] / 64;
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
    const ptrdiff_t first = team->first + part_of(team->n, thread, team->parts);
    const ptrdiff_t last = team->first + part_of(team->n, thread + 1, team->parts);
    if (team->job == SCAN) {
        const ptrdiff_t patterns = student->machine.patterns, end = 64 * last < patterns ? 64 * last : patterns;
        self->found = list_flips(student, p, 64 * first, end, &self->spare, form);
    } else if (team->job == EVALUATE) {
        if (first < last)
            following[form].evaluate(student, p, first, (int)(last - first));
    } else if (team->job == CARRY_OUT) {
        ptrdiff_t from, to;
        const ptrdiff_t word = cut(student, team, thread, &from), end = cut(student, team, thread + 1, &to);
        carry_out_words(student, p, word, end, from, to, form);
    } else {
        try_part(student, team->block, first, last, &self->tried, team, form);
    }
}

#define SHARE(form) \
    static __attribute__((noinline)) void work_##form(student_t *student, int thread) \
    { \
        work(student, thread, form); \
    } \
    static ptrdiff_t decide_shared_##form(student_t *student, const block_t *block) \
    { \
        return decide_block(student, block, student->team, form); \
    }
FOR_SHARED_FORMS(SHARE)

/* A block by a team: others serve while the first thread decides.  OpenMP may give fewer threads than it is asked. */
static ptrdiff_t decide_by_team(student_t *student, const block_t *block)
{
    typedef struct {
        ptrdiff_t (*decide)(student_t *, const block_t *);
        void (*work)(student_t *, int);
    } copy_t;
#define SHARED_COPY(form) [form] = {decide_shared_##form, work_##form},
    static const copy_t copies[] = {FOR_SHARED_FORMS(SHARED_COPY)};
    const copy_t *copy = &copies[student->form];
    ptrdiff_t decided = 0;
    team_t *team = student->team;
    team->work = copy->work;
    team->tried = 0;
#pragma omp parallel num_threads(student->threads)
    {
        const int thread = omp_get_thread_num();
        if (thread > 0) {
            serve(team, thread);
        } else {
            team->size = omp_get_num_threads();
            decided = copy->decide(student, block);
            team->job = LEAVE;
            post(team);
        }
    }
    return decided;
}
#endif

static ptrdiff_t student_decide(student_t *student, const block_t *block)
{
#define COPY(form) [form] = decide_##form,
    static ptrdiff_t (*const copies[])(student_t *, const block_t *) = {FOR_ALL_FORMS(COPY)};
#ifdef _OPENMP
    if (student->team)
        return decide_by_team(student, block);
#endif
    return copies[student->form](student, block);
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
        member->bytes = allocated_bytes;
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
    else if (student->kernel && IS_BITS(student->form))
        bits_free(BITS_OF(student));
    else if (student->kernel)
        events_free(EVENTS_OF(student));
    free(student->kernel);
    billiard_free(&student->billiard);
    free(student->sentinels);
    free(student->flipped);
    free(student->gained);
    student->kernel = student->flipped = student->gained = NULL;
    student->sentinels = NULL;
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
        student->form = MOST_GROUPS + (int)((machine->width + DENSE_BLOCK - 1) / DENSE_BLOCK);
        student->kernel = allocate(1, sizeof(dense_t));
        return student->kernel ? dense_make(DENSE_OF(student), machine) : -1;
    case BITS:
        student->form = NO_BITS + (int)((machine->width + BITS_BLOCK - 1) / BITS_BLOCK);
        student->kernel = allocate(1, sizeof(ising_t));
        return student->kernel ? bits_make(BITS_OF(student), machine) : -1;
    default:
        student->form = (int)groups_for(machine->width);
        student->kernel = allocate(1, sizeof(words_t));
        return student->kernel ? words_make(WORDS_OF(student), machine, kernel == GATHER) : -1;
    }
}

static int make_sentinels(student_t *student)
{
    if (!HAS_SENTINELS(student->form))
        return 0;
    student->sentinels = allocate((size_t)(student->machine.depth * student->machine.width), sizeof(sentinels_t));
    return student->sentinels ? 0 : -1;
}

static int is_in_order(const machine_t *machine)
{
    ptrdiff_t k = 0;
    for (ptrdiff_t at = 0; at < place_of(machine, machine->depth, 0, 0); at++, k = k + 1 < machine->fan_in ? k + 1 : 0)
        if (machine->inputs[at] != k)
            return 0;
    return 1;
}

static int student_make(student_t *student, int kernel)
{
    const machine_t *machine = &student->machine;
    allocated_bytes = 0;
    student->window = WINDOW;
    student->machine.by_fan_in = reciprocal((uint64_t)machine->fan_in);
    student->machine.by_width = reciprocal((uint64_t)machine->width);
    student->machine.in_order = is_in_order(machine);
    student->flipped = allocate((size_t)machine->patterns, sizeof *student->flipped);
    student->gained = allocate((size_t)machine->patterns, sizeof *student->gained);
    if (make_kernel(student, kernel) == 0 && make_sentinels(student) == 0 && student->flipped && student->gained
        && (student->ising || billiard_make(&student->billiard, machine) == 0) && make_team(student) == 0) {
        student->bytes = allocated_bytes;
        return 0;
    }
    student_free(student);
    return -1;
}

static void student_load(student_t *student, const uint64_t *signs, const uint64_t *targets)
{
    if (HAS_SENTINELS(student->form))
        memset(student->sentinels, 0, (size_t)(student->machine.depth * student->machine.width) * sizeof(sentinels_t));
    if (IS_WORDS(student->form))
        words_load(WORDS_OF(student), signs, targets);
    else if (IS_DENSE(student->form))
        dense_load(DENSE_OF(student), signs, targets);
    else if (IS_BITS(student->form))
        bits_load(BITS_OF(student), signs, targets);
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
    else if (IS_BITS(student->form))
        bits_signs(BITS_OF(student), signs);
    else
        events_signs(EVENTS_OF(student), signs);
}

static int student_same(student_t *a, student_t *b)
{
    if (a->form != b->form)
        return 0;
    if (IS_WORDS(a->form))
        return words_same(WORDS_OF(a), WORDS_OF(b));
    if (IS_BITS(a->form))
        return bits_same(BITS_OF(a), BITS_OF(b));
    return IS_DENSE(a->form) ? dense_same(DENSE_OF(a), DENSE_OF(b)) : events_same(EVENTS_OF(a), EVENTS_OF(b));
}
#endif

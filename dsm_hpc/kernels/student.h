/* Proposals of single weights to one student: drawn elsewhere, decided and carried out here.
 *
 * Bound: what the kernel takes to find the patterns that flip and to follow them upwards (words.h, dense.h, events.h).
 */
#ifndef DSM_STUDENT_H
#define DSM_STUDENT_H
#include <math.h>
#include "dense.h"
#include "events.h"
#include "level.h"
#include "words.h"

enum {
    CACHED = 512 << 10,         /* bytes of a kernel that L2 holds: nothing is prefetched */
    AHEAD = 3,                  /* proposals between a prefetch and its use */
    WINDOW = 8,                 /* most proposals that are tried together at E = 0, */
    TOGETHER_FROM = 640,        /* where L M is at least this: below, one after the other takes less, */
    WARMTH_BITS = 16,
    COLD = 1 << (WARMTH_BITS - 2),      /* and if fewer than a quarter of the last are accepted */
};

#define WORDS_OF(student) ((words_t *)(student)->kernel)
#define EVENTS_OF(student) ((events_t *)(student)->kernel)
#define DENSE_OF(student) ((dense_t *)(student)->kernel)

/* One proposal: weight k of perceptron i of layer l. */
typedef struct {
    ptrdiff_t position, l, i, k;
    double J;                   /* new */
    int32_t before, after;      /* on the grid */
    int64_t absolute_sum;       /* of the perceptron, with the new weight */
    int64_t threshold;
} proposal_t;

/* The kernels side by side.  `form` is a constant of each copy of what follows: 0 for events, up to 32 for words of so
 * many groups of neurons, 35..40 for dense with 32 fewer vectors of neurons. */
enum { MOST_GROUPS = WORD / INPUTS };
#define IS_WORDS(form) ((form) > 0 && (form) <= MOST_GROUPS)
#define IS_DENSE(form) ((form) > MOST_GROUPS)

INLINE void begin(student_t *student, const proposal_t *p, int form)
{
    if (IS_WORDS(form))
        words_begin(WORDS_OF(student), p->l, p->i, p->k, p->before, p->after, p->absolute_sum, form);
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
    if (IS_WORDS(form) && n == 1)       /* a copy without loops over tasks: most batches of small machines */
        words_evaluate(WORDS_OF(student), p->l, p->i, first, 1, flipped, gained, form);
    else if (IS_WORDS(form))
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

/* What proposal t will need first. */
INLINE void fetch(const student_t *student, const block_t *block, ptrdiff_t t, int form)
{
    const uint64_t position = block->positions[t];
    ptrdiff_t l, i, k;
    locate(student, position, &l, &i, &k);
    __builtin_prefetch(student->J + position);
    __builtin_prefetch(student->machine.inputs + position);
    __builtin_prefetch(student->absolute_sum + l * student->machine.width + i);
    const int at_zero = student->energy == 0;
    if (IS_WORDS(form))
        words_prefetch(WORDS_OF(student), l, i, at_zero, form);
    else if (IS_DENSE(form))
        dense_prefetch(DENSE_OF(student), l, i, at_zero);
    else
        events_prefetch(EVENTS_OF(student), l, i, k, at_zero);
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
    evaluate(student, p, done, n, form);
    for (int t = 0; t < n; t++) {
        *delta += student->gained[done + t];
        *spare -= student->machine.wrong[student->flipped[done + t]];
    }
}

/* Lists the patterns that flip; *spare: the wrong bits that they have. */
INLINE ptrdiff_t list_flips(student_t *student, const proposal_t *p, int64_t *spare, int form)
{
    const int32_t *wrong = student->machine.wrong;
    int32_t *flipped = student->flipped;
    ptrdiff_t n = 0;
    int64_t bits = 0;
    for (ptrdiff_t from = 0; from < student->machine.patterns; from += 64) {
        for (uint64_t left = flips(student, p, from / 64, 0, form); left; left &= left - 1) {
            const int32_t mu = (int32_t)from + __builtin_ctzll(left);
            flipped[n++] = mu;
            bits += wrong[mu];
        }
    }
    *spare = bits;
    return n;
}

/* Whether Delta E <= threshold, stopping as soon as it is certain (exact early rejection); *n_flipped tasks are
 * left evaluated.  `spare` bounds what the flips not yet followed can gain: a pattern gains at most its wrong
 * bits.  Tasks are followed in batches of as many as a rejection takes, if each spoils half of the outputs. */
INLINE int allowed(student_t *student, const proposal_t *p, ptrdiff_t *n_flipped, int64_t *gain, int form)
{
    const machine_t *machine = &student->machine;
    int64_t delta = 0, spare;
    ptrdiff_t n = list_flips(student, p, &spare, form), done = 0;
    while (done < n) {
        const uint64_t could = (uint64_t)(2 * (p->threshold - delta + spare));
        int64_t batch = 1 + (int64_t)quotient(could, (uint64_t)machine->width, machine->by_width);
        batch = batch > BATCH ? BATCH : batch;
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

/* The same at E = 0, where nothing can be gained: no need to see the other flips first. */
INLINE int allowed_at_zero(student_t *student, const proposal_t *p, ptrdiff_t *n_flipped, int64_t *gain, int form)
{
    int64_t delta = 0, spare = 0;
    ptrdiff_t n = 0;
    for (ptrdiff_t from = 0; from < student->machine.patterns; from += 64) {
        for (uint64_t left = flips(student, p, from / 64, 0, form); left; left &= left - 1) {
            student->flipped[n] = (int32_t)from + __builtin_ctzll(left);
            follow(student, p, n++, 1, &delta, &spare, form);
            if (delta > p->threshold)
                return 0;
        }
    }
    *n_flipped = n;
    *gain = delta;
    return 1;
}

INLINE void carry_out(student_t *student, const proposal_t *p, ptrdiff_t n, int64_t gain, int form)
{
    if (IS_WORDS(form)) {
        words_commit(WORDS_OF(student), p->l, n, student->flipped, student->gained, form);
        words_change(WORDS_OF(student), form);
    } else if (IS_DENSE(form)) {
        dense_commit(DENSE_OF(student), p->l, p->i, n, student->flipped, student->gained, form - MOST_GROUPS);
        dense_change(DENSE_OF(student), p->l, p->i, p->k, p->before, p->after, form - MOST_GROUPS);
    } else {
        events_commit(EVENTS_OF(student), p->l, p->i, n, student->flipped);
        events_change(EVENTS_OF(student), p->l, p->i, p->k, p->before, p->after);
    }
    student->energy += gain;
    student->J[p->position] = p->J;
    student->absolute_sum[p->l * student->machine.width + p->i] = p->absolute_sum;
    student->accepted[p->l]++;
}

/* Decides one proposal, of which it may be known that it flips nothing. */
INLINE int decide_proposal(student_t *student, const proposal_t *p, int flips_nothing, int form)
{
    ptrdiff_t n = 0;
    int64_t gain = 0;
    begin(student, p, form);
    student->proposed[p->l]++;
    if (!flips_nothing && !(student->energy == 0 ? allowed_at_zero(student, p, &n, &gain, form)
                                                 : allowed(student, p, &n, &gain, form)))
        return 0;
    carry_out(student, p, n, gain, form);
    return 1;
}

/* A pattern that flips, or -1. */
INLINE int32_t some_flip(student_t *student, const proposal_t *p, int form)
{
    const ptrdiff_t words = (student->machine.patterns + 63) / 64;
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

/* Of a flip that is harmless (`dismiss`). */
INLINE void dismiss_flip(student_t *student, const flip_t *flip, int form)
{
    if (IS_WORDS(form))
        dismiss(sentinels_of(WORDS_OF(student), flip->l, flip->i), flip->mu, student->machine.patterns);
    else if (IS_DENSE(form))
        dismiss(dense_sentinels(DENSE_OF(student), flip->l, flip->i), flip->mu, student->machine.patterns);
}

INLINE void note(student_t *student, const block_t *block, ptrdiff_t t, int accepted)
{
    student->warmth += ((accepted << WARMTH_BITS) - student->warmth) >> 5;
    if (block->accepted)
        block->accepted[t] = (uint8_t)accepted;
}

/* What is known of proposals from..end - 1 of a block, until one is accepted. */
typedef struct {
    ptrdiff_t from, end;
    enum { OPEN, REJECTED, FLIPS_NOTHING } verdict[WINDOW];
    flip_t flip[WINDOW];        /* that rejects */
} tried_t;

/* At E = 0, where nearly all proposals that may cost nothing are rejected by any pattern that flips: those of
 * a window are tried side by side against the same state.  One that may cost something, or flips nothing, ends it. */
INLINE void try_together(student_t *student, const block_t *block, ptrdiff_t from, tried_t *tried, int form)
{
    uint8_t spoiled[WINDOW];
    student->window = student->window < WINDOW / 2 ? 2 * student->window : WINDOW;
    const ptrdiff_t most = block->count - from < student->window ? block->count - from : student->window;
    int n = 0;
    tried->from = tried->end = from;
    for (; n < most; n++) {
        const proposal_t p = proposal_of(student, block, from + n);
        tried->end++;
        tried->verdict[n] = OPEN;
        if (p.threshold > 0 || p.absolute_sum > INT32_MAX)
            break;
        const int32_t mu = some_flip(student, &p, form);
        tried->flip[n] = (flip_t){(int32_t)p.l, (int32_t)p.i, mu};
        if (mu < 0) {
            tried->verdict[n] = FLIPS_NOTHING;
            break;
        }
    }
    if (n)
        spoil(student, n, tried->flip, spoiled, form);
    for (int t = 0; t < n; t++) {
        if (spoiled[t])
            tried->verdict[t] = REJECTED;
        else
            dismiss_flip(student, &tried->flip[t], form);
    }
}

/* Decides the proposals of a block; returns how many, fewer than all if one does not fit the grid.
 * Only one place decides: inlined there, a proposal stays in registers (8 ns of 80 on small machines). */
INLINE ptrdiff_t decide_block(student_t *student, const block_t *block, int form)
{
    const machine_t *machine = &student->machine;
    const int together = machine->depth * machine->patterns >= TOGETHER_FROM, prefetch = student->bytes > CACHED;
    ptrdiff_t fetched = 0;
    tried_t tried;
    tried.from = tried.end = 0;
    for (ptrdiff_t t = 0; t < block->count; t++) {
        if (prefetch)
            for (; fetched < block->count && fetched < t + (student->energy ? AHEAD : 2 * WINDOW); fetched++)
                fetch(student, block, fetched, form);
        if (together && student->energy == 0 && student->warmth < COLD && t >= tried.end)
            try_together(student, block, t, &tried, form);
        const int verdict = t < tried.end ? (int)tried.verdict[t - tried.from] : OPEN;
        if (verdict == REJECTED) {
            student->proposed[tried.flip[t - tried.from].l]++;
            note(student, block, t, 0);
            continue;
        }
        const proposal_t p = proposal_of(student, block, t);
        if (p.absolute_sum > INT32_MAX)
            return t;
        const int accepted = decide_proposal(student, &p, verdict == FLIPS_NOTHING, form);
        note(student, block, t, accepted);
        if (accepted && t < tried.end) {        /* the next window reaches about as far */
            student->window = (int)(t - tried.from + 2) / 2;
            tried.end = t + 1;
        }
    }
    return block->count;
}

#define DECIDE(form) \
    static ptrdiff_t decide_##form(student_t *student, const block_t *block) \
    { \
        return decide_block(student, block, form); \
    }
#define FOR_ALL_FORMS(X) \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(20) X(24) X(28) \
    X(32) X(35) X(36) X(37) X(38) X(39) X(40)
FOR_ALL_FORMS(DECIDE)

static ptrdiff_t student_decide(student_t *student, const block_t *block)
{
#define COPY(form) [form] = decide_##form,
    static ptrdiff_t (*const copies[])(student_t *, const block_t *) = {FOR_ALL_FORMS(COPY)};
    return copies[student->form](student, block);
}

static void student_free(student_t *student)
{
    if (student->kernel && IS_WORDS(student->form))
        words_free(WORDS_OF(student));
    else if (student->kernel && IS_DENSE(student->form))
        dense_free(DENSE_OF(student));
    else if (student->kernel)
        events_free(EVENTS_OF(student));
    free(student->kernel);
    billiard_free(&student->billiard);
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
    if (make_kernel(student, kernel) == 0 && student->flipped && student->gained
        && billiard_make(&student->billiard, machine) == 0) {
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

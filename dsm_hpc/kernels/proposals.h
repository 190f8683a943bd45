/* Proposals before they are decided: where they are, what they need first, and those at E = 0 that one flip rejects. */
#ifndef DSM_PROPOSALS_H
#define DSM_PROPOSALS_H
#include <math.h>
#include "forms.h"

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

enum { SHARED_WORDS = 32 };     /* of a row: worth a team's job, of 0.2 us */

/* Whether a team shares a pass over a row. */
INLINE int shares_rows(const student_t *student)
{
    return words_of(student) >= SHARED_WORDS;
}

INLINE sentinels_t *sentinels_of(const student_t *student, ptrdiff_t l, ptrdiff_t i)
{
    return student->sentinels + l * student->machine.width + i;
}

/* What proposal t will need first. */
INLINE void fetch(const student_t *student, const block_t *block, ptrdiff_t t, const team_t *team, int form)
{
    const uint64_t position = block->positions[t];
    ptrdiff_t l, i, k;
    locate(student, position, &l, &i, &k);
    __builtin_prefetch(student->J + position);
    if (!student->machine.in_order)
        __builtin_prefetch(student->machine.inputs + position);
    __builtin_prefetch(student->absolute_sum + l * student->machine.width + i);
    /* At E = 0 the first flips decide: the rest of the row is not needed. */
    const int at_zero = student->energy == 0;
    const ptrdiff_t words = at_zero ? 0 : part_of(words_of(student), 1, team && shares_rows(student) ? team->size : 1);
    if (at_zero && HAS_SENTINELS(form))
        __builtin_prefetch(sentinels_of(student, l, i));
    if (IS_WORDS(form))
        words_prefetch(WORDS_OF(student), l, i, at_zero, form);
    else if (IS_DENSE(form))
        dense_prefetch(DENSE_OF(student), l, i, k, words, at_zero);
    else if (IS_EVENTS(form))
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

/* -------------------------------------------------------------------------------------------------- at E = 0 */

/* The input whose weight changes, at the sentinels. */
INLINE by_sentinel_t plus_at_sentinels(const student_t *student, const proposal_t *p, ptrdiff_t input, int form)
{
    const sentinels_t *sentinels = sentinels_of(student, p->l, p->i);
    by_sentinel_t plus = {};
#pragma GCC unroll 4
    for (int a = 0; a < SENTINELS; a++)
        plus[a] = is_plus(student, p->l, input, sentinel(sentinels, a), form);
    return plus;
}

/* Their pre-activations, when the change is accepted. */
INLINE void move_sentinels(student_t *student, const proposal_t *p, int form)
{
    const ptrdiff_t input = input_of(&student->machine, p->l, p->i, p->k);
    const by_sentinel_t plus = plus_at_sentinels(student, p, input, form);
    sentinels_of(student, p->l, p->i)->h += signed_change(plus, p->after - p->before);
}

/* Looks at all of them, where that takes no longer than to look at one; returns whether it does. */
INLINE int look_at_sentinels(student_t *student, const proposal_t *p, int form)
{
#if defined(__AVX512F__)
    if (IS_WORDS(form) && !is_gathered(WORDS_OF(student), form)) {
        sentinels_t *sentinels = sentinels_of(student, p->l, p->i);
        sentinels->h = (by_sentinel_t)words_four_values(WORDS_OF(student), p->l, p->i, sentinels->mu, form);
        return 1;
    }
#endif
    return 0;
}

/* A sentinel that flips, or -1. */
INLINE int32_t flipped_sentinel(student_t *student, const proposal_t *p, int form)
{
    const ptrdiff_t input = input_of(&student->machine, p->l, p->i, p->k);
    const int32_t change = p->after - p->before;
    sentinels_t *sentinels = sentinels_of(student, p->l, p->i);
    const int certain = look_at_sentinels(student, p, form);
    uint32_t left = expected_flips(sentinels, plus_at_sentinels(student, p, input, form), change);
    for (; LIKELY(left); left &= left - 1) {
        const int a = __builtin_ctz(left);
        const int32_t mu = sentinel(sentinels, a);
        if (certain)
            return mu;
        const int32_t h = value_of(student, p->l, p->i, mu, form);
        if (LIKELY(changes_sign(h, is_plus(student, p->l, input, mu, form), change)))
            return mu;
        sentinels->h[a] = h;
    }
    return -1;
}

/* At E = 0: one of the patterns that are likely to flip and do, or -1. */
INLINE int32_t likely_flip(student_t *student, const proposal_t *p, int form)
{
    if (HAS_SENTINELS(form))
        return flipped_sentinel(student, p, form);
    return IS_EVENTS(form) ? events_likely(EVENTS_OF(student), p->l, p->i, p->k, p->after - p->before) : -1;
}

/* A pattern that flips is likely to flip again. */
INLINE void watch_flip(student_t *student, const proposal_t *p, int32_t mu, int form)
{
    if (IS_EVENTS(form))
        events_watch(EVENTS_OF(student), p->l, p->i, mu);
    else if (HAS_SENTINELS(form))
        watch(sentinels_of(student, p->l, p->i), mu, value_of(student, p->l, p->i, mu, form));
}

/* Of a flip that is harmless. */
INLINE void dismiss_flip(student_t *student, const flip_t *flip, int form)
{
    if (IS_EVENTS(form))
        events_dismiss(EVENTS_OF(student), flip->l, flip->i, flip->mu);
    else if (HAS_SENTINELS(form))
        dismiss(sentinels_of(student, flip->l, flip->i), flip->mu, student->machine.patterns);
}

/* A pattern that flips, or -1. */
INLINE int32_t some_flip(student_t *student, const proposal_t *p, int form)
{
    const int32_t likely = likely_flip(student, p, form);
    if (likely >= 0)
        return likely;
    begin(student, p, form);
    for (ptrdiff_t w = 0; w < words_of(student); w++) {
        const uint64_t found = flips(student, p, w, 1, form);
        if (found) {
            const int32_t mu = (int32_t)(64 * w) + __builtin_ctzll(found);
            watch_flip(student, p, mu, form);
            return mu;
        }
    }
    return -1;
}

/* At E = 0, where nearly all proposals that may cost nothing are rejected by any pattern that flips: those of
 * a window are tried side by side against the same state.  One that may cost something, or flips nothing, ends it. */
INLINE void try_together(student_t *student, const block_t *block, ptrdiff_t from, ptrdiff_t most, tried_t *tried,
                         const team_t *team, int form)
{
    uint8_t spoiled[WINDOW];
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
    if (n && team)
        following[form].spoil(student, n, tried->flip, spoiled);
    else if (n)
        spoil(student, n, tried->flip, spoiled, form);
    for (int t = 0; t < n; t++) {
        if (spoiled[t])
            tried->verdict[t] = REJECTED;
        else
            dismiss_flip(student, &tried->flip[t], form);
    }
}
#endif

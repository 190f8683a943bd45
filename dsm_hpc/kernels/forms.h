/* The kernels side by side: what a proposal asks of the one that a student has. */
#ifndef DSM_FORMS_H
#define DSM_FORMS_H
#include "bits.h"
#include "dense.h"
#include "events.h"
#include "sentinels.h"
#include "team.h"
#include "words.h"

#define WORDS_OF(student) ((words_t *)(student)->kernel)
#define EVENTS_OF(student) ((events_t *)(student)->kernel)
#define DENSE_OF(student) ((dense_t *)(student)->kernel)
#define BITS_OF(student) ((ising_t *)(student)->kernel)

/* `form` is a constant of each copy of what follows: 0 for events, up to 32 for words of so many groups of neurons,
 * 34..36 for dense with 32 fewer blocks of neurons, 65..72 for bits with 64 fewer blocks of neurons.  `team` is NULL in
 * the copies for one thread, which are without all that is for a team. */
enum { MOST_GROUPS = WORD / INPUTS, NO_BITS = 64 };
#define IS_EVENTS(form) ((form) == 0)
#define IS_WORDS(form) ((form) > 0 && (form) <= MOST_GROUPS)
#define IS_DENSE(form) ((form) > MOST_GROUPS && (form) < NO_BITS)
#define IS_BITS(form) ((form) > NO_BITS)
#define HAS_SENTINELS(form) (IS_WORDS(form) || IS_DENSE(form))
#define FOR_SHARED_FORMS(X) X(0) X(34) X(35) X(36)
#ifdef DSM_FEW_FORMS    /* those of tools/sanitize.sh, which takes long to compile */
#define FOR_ALL_FORMS(X) \
    FOR_SHARED_FORMS(X) X(1) X(4) X(5) X(16) X(20) X(32) X(65) X(66) X(68) X(69) X(72)
#else
#define FOR_ALL_FORMS(X) \
    FOR_SHARED_FORMS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(20) \
    X(24) X(28) X(32) X(65) X(66) X(67) X(68) X(69) X(70) X(71) X(72)
#endif

INLINE void begin(student_t *student, const proposal_t *p, int form)
{
    if (IS_WORDS(form))
        words_begin(WORDS_OF(student), p->l, p->i, p->k, p->before, p->after, p->absolute_sum, form);
    else if (IS_BITS(form))
        bits_begin(BITS_OF(student), p->l, p->i, p->k, form - NO_BITS);
}

INLINE uint64_t flips(const student_t *student, const proposal_t *p, ptrdiff_t w, int only_first, int form)
{
    if (IS_WORDS(form))
        return words_flips(WORDS_OF(student), w, only_first, form);
    if (IS_DENSE(form))
        return dense_flips(DENSE_OF(student), p->l, p->i, p->k, p->after - p->before, w);
    if (IS_BITS(form))
        return bits_flips(BITS_OF(student), w, only_first, form - NO_BITS);
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
    else if (IS_BITS(form))
        bits_evaluate(BITS_OF(student), p->l, p->i, first, n, flipped, gained, form - NO_BITS);
    else
        events_evaluate(EVENTS_OF(student), p->l, p->i, n, flipped + first, gained + first);
}

INLINE void spoil(student_t *student, int n, const flip_t *of, uint8_t *spoiled, int form)
{
    if (IS_WORDS(form))
        words_spoil(WORDS_OF(student), n, of, spoiled, form);
    else if (IS_DENSE(form))
        dense_spoil(DENSE_OF(student), n, of, spoiled, form - MOST_GROUPS);
    else if (IS_BITS(form))
        bits_spoil(BITS_OF(student), n, of, spoiled, form - NO_BITS);
    else
        events_spoil(EVENTS_OF(student), n, of, spoiled);
}

/* Copies that are called, where speed allows it. */
typedef struct {
    void (*evaluate)(student_t *student, const proposal_t *p, ptrdiff_t first, int n);
    void (*spoil)(student_t *student, int n, const flip_t *of, uint8_t *spoiled);
} following_t;

#define FOLLOW(form) \
    static __attribute__((noinline)) void evaluate_##form( \
        student_t *student, const proposal_t *p, ptrdiff_t first, int n) \
    { \
        evaluate(student, p, first, n, form); \
    } \
    static __attribute__((noinline)) void spoil_##form(student_t *student, int n, const flip_t *of, uint8_t *spoiled) \
    { \
        spoil(student, n, of, spoiled, form); \
    }
FOR_ALL_FORMS(FOLLOW)
#define FOLLOWING(form) [form] = {evaluate_##form, spoil_##form},
static const following_t following[] = {FOR_ALL_FORMS(FOLLOWING)};

/* Of kernels with sentinels: whether neuron j of layer l = 0..L is +1 in a pattern. */
INLINE int is_plus(const student_t *student, ptrdiff_t l, ptrdiff_t j, ptrdiff_t mu, int form)
{
    return IS_DENSE(form) ? dense_is_plus(DENSE_OF(student), l, j, mu)
                          : words_is_plus(WORDS_OF(student), l, j, mu, form);
}

/* And the pre-activation of perceptron (l, i). */
INLINE int32_t value_of(const student_t *student, ptrdiff_t l, ptrdiff_t i, ptrdiff_t mu, int form)
{
    return IS_DENSE(form) ? *dense_value(DENSE_OF(student), l, i, mu) : words_value(WORDS_OF(student), l, i, mu, form);
}
#endif

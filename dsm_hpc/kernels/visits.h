/* Visits of perceptrons: all weights of one are moved by a billiard (billiard.h), over what a kernel keeps.
 *
 * Bound: the passes of the billiard, and what the kernel takes to follow the patterns that are met upwards, each once,
 * and again if it has flipped at the end.
 */
#ifndef DSM_VISITS_H
#define DSM_VISITS_H
#include "billiard.h"
#include "student.h"

/* Sign words of neuron j of layer l = 0..L, where they are kept. */
INLINE const uint64_t *kept_row(const student_t *student, ptrdiff_t l, ptrdiff_t j)
{
    return IS_DENSE(student->form) ? dense_row_signs(DENSE_OF(student), l, j) : events_words(EVENTS_OF(student), l, j);
}

/* Signs of a perceptron, and of its inputs by pattern. */
static void find_signs(student_t *student, ptrdiff_t l, ptrdiff_t i)
{
    const machine_t *machine = &student->machine;
    billiard_t *b = &student->billiard;
    if (IS_WORDS(student->form)) {
        words_row(WORDS_OF(student), l + 1, i, b->first);
        words_inputs(WORDS_OF(student), l, i, b->bits);
    } else {
        memcpy(b->first, kept_row(student, l + 1, i), (size_t)(b->stride / 64) * sizeof *b->first);
        for (ptrdiff_t k = 0; k < b->fan_in; k++)
            b->rows[k] = kept_row(student, l, input_of(machine, l, i, k));
        billiard_take_rows(b);
    }
    billiard_fill_up(b);
}

/* Carries out the first n tasks, then gives the perceptron the weights q on the grid. */
static void carry_out_visit(student_t *student, const proposal_t *p, ptrdiff_t n, const int32_t *q)
{
    const int form = student->form;
    if (IS_WORDS(form)) {
        words_commit(WORDS_OF(student), p->l, p->i, n, student->flipped, student->gained, form);
        words_replace(WORDS_OF(student), p->l, p->i, q, p->absolute_sum);
    } else if (IS_DENSE(form)) {
        dense_make_room(DENSE_OF(student), p->absolute_sum);
        dense_commit(DENSE_OF(student), p->l, p->i, 0, n, student->flipped, student->gained, form - MOST_GROUPS);
        dense_replace(DENSE_OF(student), p->l, p->i, q, form - MOST_GROUPS);
    } else {
        events_commit(EVENTS_OF(student), p->l, p->i, n, student->flipped);
        events_replace(EVENTS_OF(student), p->l, p->i, q);
    }
}

/* A visit: perceptron, and half the angle that it moves by. */
typedef struct {
    ptrdiff_t l, i;
    double tangent, cosine;
    int64_t most;               /* that it may cost */
} visit_t;

/* At E = 0, where nothing may be lost, no flip gains anything. */
INLINE int nothing_gained(const student_t *student, const visit_t *visit)
{
    return student->energy == 0 && visit->most == 0;
}

/* Delta E if a pattern flips from its first side.  Where nothing is gained, whether any output flips is enough. */
static int32_t cost_of(student_t *student, const visit_t *visit, int32_t mu)
{
    int32_t *cost = student->billiard.cost + mu;
    if (*cost != UNKNOWN)
        return *cost;
    if (nothing_gained(student, visit)) {
        const flip_t flip = {(int32_t)visit->l, (int32_t)visit->i, mu};
        uint8_t spoiled;
        following[student->form].spoil(student, 1, &flip, &spoiled);
        return *cost = spoiled;
    }
    const proposal_t p = {.l = visit->l, .i = visit->i};
    student->flipped[0] = mu;
    following[student->form].evaluate(student, &p, 0, 1);
    return *cost = student->gained[0];
}

/* Whether the wall of pattern `at` reflects.  If not, its twins flip with it. */
INLINE int reflects(student_t *student, const visit_t *visit, ptrdiff_t at, int64_t *spent)
{
    billiard_t *b = &student->billiard;
    if (nothing_gained(student, visit) && cost_of(student, visit, (int32_t)at))
        return 1;
    const ptrdiff_t n = billiard_twins(b, at);
    int64_t cost = 0;
    for (ptrdiff_t a = 0; a < n; a++) {
        const int32_t mu = b->twins[a], from_first = cost_of(student, visit, mu);
        cost += billiard_bit(b->side, mu) == billiard_bit(b->first, mu) ? from_first : -from_first;
    }
    if (*spent + cost > visit->most)
        return 1;
    *spent += cost;
    for (ptrdiff_t a = 0; a < n; a++)
        b->side[b->twins[a] / 64] ^= (uint64_t)1 << (b->twins[a] % 64);
    return 0;
}

/* The motion; 0 if it is not to be made. */
static int run_billiard(student_t *student, const visit_t *visit)
{
    billiard_t *b = &student->billiard;
    const double end = -visit->tangent;
    double u = visit->tangent;
    int64_t spent = 0;
    ahead_t ahead;
    billiard_look(b, u, end, 0, 0, &ahead);
    for (int walls = 0; walls < MOST_WALLS; walls++) {
        const int next = billiard_next(&ahead);
        const ptrdiff_t at = ahead.at[next];
        if (at < 0)
            return 1;
        const double g = b->g[at];
        double kick = 0;
        u = ahead.u[next];
        /* where the sides are not those, rounding has put it beyond its wall: it comes back */
        if (billiard_bit(b->side, at) == (g < 0) && reflects(student, visit, at, &spent)) {
            kick = g * b->reflection;
            billiard_reflect(b, (u - end) * visit->cosine * kick, at);
        }
        billiard_look(b, u, end, kick, at, &ahead);
    }
    return 0;
}

/* Puts the billiard where the perceptron is. */
static void set_up_billiard(student_t *student, const visit_t *visit, const double *velocity)
{
    const machine_t *machine = &student->machine;
    billiard_t *b = &student->billiard;
    const size_t words = (size_t)(b->stride / 64);
    find_signs(student, visit->l, visit->i);
    memcpy(b->side, b->first, words * sizeof *b->side);
    memset(b->alone, 0, words * sizeof *b->alone);
    /* at E = 0 any flip of the last layer is an error */
    const int32_t cost = visit->l == machine->depth - 1 && nothing_gained(student, visit) ? 1 : UNKNOWN;
    for (ptrdiff_t mu = 0; mu < b->patterns; mu++)
        b->cost[mu] = cost;
    memcpy(b->J, student->J + place_of(machine, visit->l, visit->i, 0), (size_t)b->fan_in * sizeof *b->J);
    memcpy(b->v, velocity, (size_t)b->fan_in * sizeof *b->v);
    for (ptrdiff_t k = b->fan_in; k % EIGHT; k++)       /* reflections have left something there */
        b->J[k] = b->v[k] = 0;
    billiard_halve(b, visit->tangent, visit->cosine);
    billiard_aim(b);
    billiard_finish(b, visit->tangent, visit->cosine);
}

/* Weights on the grid and the sum of their absolute values. */
static int64_t put_on_grid(billiard_t *b, double scale)
{
    int64_t sum = 0;
    for (ptrdiff_t k = 0; k < b->fan_in; k++) {
        const int64_t q = lrint(b->J[k] * scale);
        sum += llabs(q);
        b->q[k] = (int32_t)q;
    }
    return sum;
}

/* Takes over what the billiard has come to. */
static void settle_visit(student_t *student, const visit_t *visit, int64_t absolute_sum)
{
    const machine_t *machine = &student->machine;
    billiard_t *b = &student->billiard;
    const proposal_t p = {.l = visit->l, .i = visit->i, .absolute_sum = absolute_sum};
    ptrdiff_t n = 0;
    for (ptrdiff_t w = 0; w < b->stride / 64; w++)
        for (uint64_t left = b->side[w] ^ b->first[w]; left; left &= left - 1)
            student->flipped[n++] = (int32_t)(64 * w) + __builtin_ctzll(left);
    for (ptrdiff_t first = 0; first < n; first += BATCH)
        following[student->form].evaluate(student, &p, first, n - first < BATCH ? (int)(n - first) : BATCH);
    for (ptrdiff_t task = 0; task < n; task++)
        student->energy += student->gained[task];
    carry_out_visit(student, &p, n, b->q);
    memcpy(student->J + place_of(machine, p.l, p.i, 0), b->J, (size_t)b->fan_in * sizeof *b->J);
    student->absolute_sum[p.l * machine->width + p.i] = absolute_sum;
}

/* Makes the visits of a block; returns how many, fewer than all if one does not fit the grid. */
static ptrdiff_t student_visit(student_t *student, const visits_t *visits)
{
    const ptrdiff_t width = student->machine.width, fan_in = student->machine.fan_in;
    billiard_t *b = &student->billiard;
    for (ptrdiff_t t = 0; t < visits->count; t++) {
        const ptrdiff_t perceptron = (ptrdiff_t)visits->perceptrons[t];
        const double tangent = visits->tangents[t], cosine = 1 / sqrt(1 + tangent * tangent);
        const visit_t visit = {perceptron / width, perceptron % width, tangent, cosine,
                               visits->thresholds ? visits->thresholds[t] : 0};
        set_up_billiard(student, &visit, visits->velocities + t * fan_in);
        student->proposed[visit.l] += fan_in;
        if (!billiard_agrees(b, tangent) || !run_billiard(student, &visit) || !billiard_agrees(b, -tangent))
            continue;
        const int64_t absolute_sum = put_on_grid(b, student->scale);
        if (absolute_sum < 0 || absolute_sum > INT32_MAX)
            return t;
        if (!billiard_fits(b, -tangent, 1 / cosine, student->scale))
            continue;
        settle_visit(student, &visit, absolute_sum);
        student->accepted[visit.l] += fan_in;
    }
    return visits->count;
}

#endif

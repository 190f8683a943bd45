/* Visits of perceptrons: all weights of one are moved by a billiard (billiard.h), over what a kernel keeps.
 *
 * Bound: the passes of the billiard, and what the kernel takes to follow the patterns that are met upwards: each at
 * most once in a visit, those that may be met next side by side.
 */
#ifndef DSM_VISITS_H
#define DSM_VISITS_H
#include "billiard.h"
#include "student.h"

/* Sign words of neuron j of layer l = 0..L; where there are none, they are put together in `room`. */
static const uint64_t *sign_row(const student_t *student, ptrdiff_t l, ptrdiff_t j, uint64_t *room)
{
    if (IS_DENSE(student->form))
        return dense_row_signs(DENSE_OF(student), l, j);
    if (!IS_WORDS(student->form))
        return events_words(EVENTS_OF(student), l, j);
    words_row(WORDS_OF(student), l, j, room);
    return room;
}

/* Carries out the first n tasks, then gives the perceptron the weights q on the grid. */
static void carry_out_visit(student_t *student, const proposal_t *p, ptrdiff_t n, const int32_t *q)
{
    const int form = student->form;
    if (IS_WORDS(form)) {
        words_commit(WORDS_OF(student), p->l, n, student->flipped, student->gained, form);
        words_replace(WORDS_OF(student), p->l, p->i, q, p->absolute_sum);
    } else if (IS_DENSE(form)) {
        dense_commit(DENSE_OF(student), p->l, p->i, 0, n, student->flipped, student->gained, form - MOST_GROUPS);
        dense_replace(DENSE_OF(student), p->l, p->i, q, form - MOST_GROUPS);
    } else {
        events_commit(EVENTS_OF(student), p->l, p->i, n, student->flipped);
        events_replace(EVENTS_OF(student), p->l, p->i, q);
    }
}

/* A visit: perceptron, and the tangent of half the angle that it moves by. */
typedef struct {
    ptrdiff_t l, i;
    double tangent;
    int64_t most;               /* that it may cost */
} visit_t;

/* Costs of patterns that nothing is known of yet.  Where nothing may be lost, whether any output flips is enough. */
static void learn_costs(student_t *student, const visit_t *visit, int n, const int32_t *patterns)
{
    billiard_t *b = &student->billiard;
    if (student->energy == 0 && visit->most == 0) {
        flip_t of[EIGHT];
        uint8_t spoiled[EIGHT];
        for (int t = 0; t < n; t++)
            of[t] = (flip_t){(int32_t)visit->l, (int32_t)visit->i, patterns[t]};
        following[student->form].spoil(student, n, of, spoiled);
        for (int t = 0; t < n; t++)
            b->cost[patterns[t]] = spoiled[t];
        return;
    }
    const proposal_t p = {.l = visit->l, .i = visit->i};
    memcpy(student->flipped, patterns, (size_t)n * sizeof *patterns);
    following[student->form].evaluate(student, &p, 0, n);
    for (int t = 0; t < n; t++)
        b->cost[patterns[t]] = student->gained[t];
}

/* Learns what the next wall costs; in the same go the first of each other lane. */
static void learn_ahead(student_t *student, const visit_t *visit, const ahead_t *ahead)
{
    billiard_t *b = &student->billiard;
    int32_t patterns[EIGHT];
    int n = 0;
    for (int a = 0; a < EIGHT; a++)
        if (ahead->slope[a] < INFINITY && ahead->at[a] < b->patterns && b->cost[ahead->at[a]] == UNKNOWN)
            patterns[n++] = (int32_t)ahead->at[a];
    learn_costs(student, visit, n, patterns);
}

/* Delta E if the first n of the twins flip from where they are. */
static int64_t wall_cost(student_t *student, const visit_t *visit, ptrdiff_t n)
{
    billiard_t *b = &student->billiard;
    int64_t cost = 0;
    for (ptrdiff_t a = 0; a < n; a++) {
        const int32_t mu = b->twins[a];
        if (b->cost[mu] == UNKNOWN)
            learn_costs(student, visit, 1, &mu);
        cost += billiard_bit(b->side, mu) == billiard_bit(b->first, mu) ? b->cost[mu] : -b->cost[mu];
    }
    return cost;
}

/* The motion; 0 if it is not to be made. */
static int run_billiard(student_t *student, const visit_t *visit)
{
    billiard_t *b = &student->billiard;
    const double square = visit->tangent * visit->tangent;
    double cosine = (1 - square) / (1 + square), sine = 2 * visit->tangent / (1 + square);     /* of the angle left */
    int64_t spent = 0;
    ahead_t ahead;
    billiard_turn(b, 1, 0, 0, -1, 0, &ahead);
    for (int walls = 0; walls < MOST_WALLS; walls++) {
        const int next = billiard_next(&ahead);
        const double cotangent = -ahead.slope[next];
        const ptrdiff_t at = ahead.at[next];
        if (!(cotangent * sine > cosine)) {
            billiard_move(b, cosine, sine, 0, 0);
            for (ptrdiff_t mu = 0; mu < b->padded; mu++)
                b->h[mu] = b->h[mu] * cosine + b->g[mu] * sine;
            return 1;
        }
        const double s = 1 / sqrt(1 + cotangent * cotangent), c = cotangent * s, before = cosine;
        const double g = b->g[at] * c - b->h[at] * s;
        double kick = 0;
        ptrdiff_t n = 1;
        cosine = before * c + sine * s;
        sine = sine * c - before * s;
        if (billiard_bit(b->side, at) == (g < 0)) {     /* else rounding has put it beyond its wall: it comes back */
            n = billiard_twins(b, at);
            if (b->cost[at] == UNKNOWN)
                learn_ahead(student, visit, &ahead);
            const int64_t cost = wall_cost(student, visit, n);
            if (spent + cost > visit->most) {
                kick = -2.0 * g / (double)b->fan_in;
            } else {
                spent += cost;
                for (ptrdiff_t a = 0; a < n; a++)
                    b->side[b->twins[a] / 64] ^= (uint64_t)1 << (b->twins[a] % 64);
            }
        }
        billiard_move(b, c, s, kick, at);
        billiard_turn(b, c, s, kick, at, n > 1 || at == 0, &ahead);       /* what fills up: copies of pattern 0 */
    }
    return 0;
}

/* Puts the billiard where the perceptron is. */
static void set_up_billiard(student_t *student, const visit_t *visit, const double *velocity)
{
    const machine_t *machine = &student->machine;
    billiard_t *b = &student->billiard;
    const ptrdiff_t words = b->padded / 64, place = place_of(machine, visit->l, visit->i, 0);
    memcpy(b->J, student->J + place, (size_t)b->fan_in * sizeof *b->J);
    memcpy(b->v, velocity, (size_t)b->fan_in * sizeof *b->v);
    for (ptrdiff_t k = b->fan_in; k % EIGHT; k++)
        b->J[k] = b->v[k] = 0;
    for (ptrdiff_t k = 0; k < b->fan_in; k++)
        b->rows[k] = sign_row(student, visit->l, machine->inputs[place + k], b->row_words + k * words);
    const uint64_t *side = sign_row(student, visit->l + 1, visit->i, b->first);
    if (side != b->first)
        memcpy(b->first, side, (size_t)words * sizeof *side);
    memcpy(b->side, b->first, (size_t)words * sizeof *b->side);
    memset(b->alone, 0, (size_t)words * sizeof *b->alone);
    for (ptrdiff_t mu = 0; mu < b->padded; mu++)
        b->cost[mu] = UNKNOWN;
    billiard_aim(b);
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
    for (ptrdiff_t w = 0; w < b->padded / 64; w++)
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
        const visit_t visit = {perceptron / width, perceptron % width, visits->tangents[t],
                               visits->thresholds ? visits->thresholds[t] : 0};
        set_up_billiard(student, &visit, visits->velocities + t * fan_in);
        student->proposed[visit.l] += fan_in;
        if (!billiard_agrees(b) || !run_billiard(student, &visit) || !billiard_agrees(b))
            continue;
        const int64_t absolute_sum = put_on_grid(b, student->scale);
        if (absolute_sum < 0 || absolute_sum > INT32_MAX)
            return t;
        if (!billiard_fits(b, student->scale))
            continue;
        settle_visit(student, &visit, absolute_sum);
        student->accepted[visit.l] += fan_in;
    }
    return visits->count;
}

#endif

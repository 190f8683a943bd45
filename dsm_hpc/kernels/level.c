/* Compiled once for each instruction set, with DSM_LEVEL its name (setup.py). */
#include "forward.h"
#include "visits.h"

#define JOIN(a, b) a##b
#define LEVEL_NAME(name) JOIN(dsm_level_, name)
#define QUOTE(name) #name
#define QUOTED(name) QUOTE(name)

const level_t LEVEL_NAME(DSM_LEVEL) = {
    .name = QUOTED(DSM_LEVEL),
    .make = student_make,
    .free = student_free,
    .load = student_load,
    .decide = student_decide,
    .visit = student_visit,
    .signs = student_signs,
    .same = student_same,
    .forward = forward_pass,
};

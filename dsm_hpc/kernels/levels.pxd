from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

cdef extern from "level.h" nogil:
    ctypedef struct machine_t:
        Py_ssize_t depth, width, fan_in, patterns
        const int32_t *inputs
        const int32_t *weights
        const int64_t *absolute_sum
        int32_t *wrong
    ctypedef struct student_t:
        machine_t machine
        int ising
        double *J
        double scale
        int64_t *absolute_sum
        int64_t energy
        size_t bytes
        int threads
        int64_t *proposed
        int64_t *accepted
    ctypedef struct block_t:
        Py_ssize_t count
        const uint64_t *positions
        const double *normals
        const int64_t *thresholds
        double step, shrink
        uint8_t *accepted
    ctypedef struct visits_t:
        Py_ssize_t count
        const uint64_t *perceptrons
        const double *velocities
        const double *tangents
        const int64_t *thresholds
    enum: EVENTS, WORDS, GATHER, DENSE, BITS
    ctypedef struct level_t:
        const char *name
        int (*make)(student_t *student, int kernel) noexcept nogil
        void (*free)(student_t *student) noexcept nogil
        void (*load)(student_t *student, const uint64_t *signs, const uint64_t *targets) noexcept nogil
        Py_ssize_t (*decide)(student_t *student, const block_t *block) noexcept nogil
        Py_ssize_t (*visit)(student_t *student, const visits_t *visits) noexcept nogil
        void (*signs)(const student_t *student, uint64_t *signs) noexcept nogil
        int (*same)(student_t *a, student_t *b) noexcept nogil
        int (*forward)(const machine_t *machine, uint64_t *signs) noexcept nogil

cdef const level_t *level_named(str name) except NULL

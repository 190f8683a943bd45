"""The instruction sets that the kernels were compiled for, and which of them runs.

All give the same bits.  The best that the processor has is taken, or what the environment variable DSM_SIMD
names: generic, avx2, avx512.
"""

import os

from dsm_hpc.errors import InputError

cdef extern from *:
    """
    #include "level.h"
    static const level_t *compiled_level(const char *name)
    {
    #if defined(DSM_HAS_AVX512)
        if (!strcmp(name, "avx512"))
            return &dsm_level_avx512;
    #endif
    #if defined(DSM_HAS_AVX2)
        if (!strcmp(name, "avx2"))
            return &dsm_level_avx2;
    #endif
        return strcmp(name, "generic") ? NULL : &dsm_level_generic;
    }
    /* What setup.py compiles a level for. */
    static int processor_has(const char *name)
    {
    #if defined(__x86_64__)
        if (!strcmp(name, "generic"))
            return 1;
        if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2")
              && __builtin_cpu_supports("popcnt")))
            return 0;
        if (!strcmp(name, "avx2"))
            return 1;
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
            && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")
            && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2")
            && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vpopcntdq")
            && __builtin_cpu_supports("avx512bitalg");
    #else
        return !strcmp(name, "generic");
    #endif
    }
    #if defined(_OPENMP)
    enum { HAS_OPENMP = 1 };
    #else
    enum { HAS_OPENMP = 0 };
    #endif
    """
    int HAS_OPENMP
    const level_t *compiled_level(const char *name)
    int processor_has(const char *name)

LEVELS = ("avx512", "avx2", "generic")
"""From the fastest to the slowest."""

AVAILABLE = tuple(
    name for name in LEVELS if compiled_level(name.encode()) != NULL and processor_has(name.encode())
)
"""Those that can run here."""


def _chosen():
    asked = os.environ.get("DSM_SIMD") or AVAILABLE[0]
    if asked not in AVAILABLE:
        raise InputError(f"DSM_SIMD={asked}: this processor and build have {', '.join(AVAILABLE)}")
    return asked


SIMD = _chosen()
"""The one that runs."""

OPENMP = bool(HAS_OPENMP)
"""Whether threads can share the work of a student."""


cdef const level_t *level_named(str name) except NULL:
    """Raises ValueError if it cannot run here."""
    if name not in AVAILABLE:
        raise ValueError(f"level {name!r}: allowed here are {', '.join(AVAILABLE)}")
    return compiled_level(name.encode())

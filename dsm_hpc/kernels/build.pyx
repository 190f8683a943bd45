"""How the kernels were compiled."""

from dsm_hpc.kernels.levels import AVAILABLE, SIMD

cdef extern from *:
    """
    #ifndef DSM_BUILD_MARCH
    #define DSM_BUILD_MARCH "unknown"
    #endif
    #ifndef DSM_BUILD_FLAGS
    #define DSM_BUILD_FLAGS "unknown"
    #endif
    /* The extensions that -march=native may use beyond those of every x86-64. */
    static int runnable(void)
    {
        int yes = 1;
    #if defined(__AVX__)
        yes = yes && __builtin_cpu_supports("avx");
    #endif
    #if defined(__AVX2__)
        yes = yes && __builtin_cpu_supports("avx2");
    #endif
    #if defined(__BMI2__)
        yes = yes && __builtin_cpu_supports("bmi2");
    #endif
    #if defined(__AVX512F__)
        yes = yes && __builtin_cpu_supports("avx512f");
    #endif
    #if defined(__AVX512VL__)
        yes = yes && __builtin_cpu_supports("avx512vl");
    #endif
        return yes;
    }
    """
    const char *DSM_BUILD_MARCH
    const char *DSM_BUILD_FLAGS
    const char *compiler "__VERSION__"
    int runnable()

MARCH = DSM_BUILD_MARCH.decode()
FLAGS = DSM_BUILD_FLAGS.decode()
COMPILER = compiler.decode()

if not runnable():
    raise ImportError(f"the program was built for {MARCH}, which this processor lacks: "
                      "rebuild on this kind of node, or with DSM_MARCH=generic")

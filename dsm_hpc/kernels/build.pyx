"""How the kernels were compiled."""

cdef extern from *:
    """
    #ifndef DSM_BUILD_MARCH
    #define DSM_BUILD_MARCH "unknown"
    #endif
    #ifndef DSM_BUILD_FLAGS
    #define DSM_BUILD_FLAGS "unknown"
    #endif
    #if defined(__AVX2__)
    static const char *lanes = "AVX2";
    static int runnable(void) { return __builtin_cpu_supports("avx2"); }
    #else
    static const char *lanes = "generic";
    static int runnable(void) { return 1; }
    #endif
    """
    const char *DSM_BUILD_MARCH
    const char *DSM_BUILD_FLAGS
    const char *lanes
    const char *compiler "__VERSION__"
    int runnable()

MARCH = DSM_BUILD_MARCH.decode()
FLAGS = DSM_BUILD_FLAGS.decode()
LANES = lanes.decode()
COMPILER = compiler.decode()

if not runnable():
    raise ImportError(f"the kernels were built for {MARCH} ({LANES}), which this processor lacks: "
                      "rebuild on this kind of node, or with DSM_MARCH=generic")

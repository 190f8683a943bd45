/* What the roofline measures of the machine, and its counters; probes.py compiles and loads this.
 * Linux on x86-64: the rates are those of loops in assembly, and of vectors as wide as the processor has them.
 */
#define _GNU_SOURCE
#include <linux/perf_event.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#define CALLGRIND 1
#else
#define CALLGRIND 0
#endif

#if defined(__AVX512F__)
#define VECTOR 64
#elif defined(__AVX__)
#define VECTOR 32
#else
#define VECTOR 16
#endif
typedef long long vector_t __attribute__((vector_size(VECTOR)));

/* Reads `bytes` (a multiple of 8 vectors) so many times.  Bound: load ports or the level that holds them. */
uint64_t load(const char *memory, size_t bytes, size_t times)
{
    vector_t sum[8] = {};
    for (size_t t = 0; t < times; t++) {
        const vector_t *p = (const vector_t *)memory;
        for (size_t a = 0; a < bytes / VECTOR; a += 8)
            for (int b = 0; b < 8; b++)
                sum[b] ^= p[a + b];
        __asm__ volatile("" ::: "memory");
    }
    uint64_t folded = 0;
    for (int b = 0; b < 8; b++)
        folded ^= (uint64_t)sum[b][0] ^ (uint64_t)sum[b][1];
    return folded;
}

/* 100 dependent additions each time: 100 cycles. */
void chain(size_t times)
{
    uint64_t x = 0;
    for (size_t t = 0; t < times; t++)
        __asm__ volatile(".rept 100\n add $1, %0\n .endr" : "+r"(x));
}

/* 120 instructions each time, scalar and vector additions 2 : 1, twelve chains: as many per cycle as can be. */
void flood(size_t times)
{
#if defined(__AVX__)
    __asm__ volatile("vzeroupper");
#endif
    for (size_t t = 0; t < times; t++)
        __asm__ volatile(
            ".rept 10\n add $1, %%rax\n add $1, %%rcx\n paddd %%xmm0, %%xmm0\n add $1, %%rdx\n add $1, %%rsi\n"
            " paddd %%xmm1, %%xmm1\n add $1, %%rdi\n add $1, %%r8\n paddd %%xmm2, %%xmm2\n add $1, %%r9\n"
            " add $1, %%r10\n paddd %%xmm3, %%xmm3\n .endr" ::
            : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "xmm0", "xmm1", "xmm2", "xmm3", "cc");
}

/* 100 independent scalar loads from L1 each time. */
void touch(size_t times)
{
    static const uint64_t value = 1;
    uint64_t x;
    for (size_t t = 0; t < times; t++)
        __asm__ volatile(".rept 100\n mov %1, %0\n .endr" : "=&r"(x) : "m"(value));
}

/* A branch on each byte. */
uint64_t branch(const uint8_t *bits, size_t n)
{
    uint64_t x = 0;
    for (size_t a = 0; a < n; a++)
        __asm__ volatile("testb %1, %1\n jz 1f\n add $1, %0\n 1:" : "+r"(x) : "q"(bits[a]) : "cc");
    return x;
}

/* ------------------------------------------------------------------------------- performance counters */

/* A counter of this thread in user mode; -1 where the machine has none (most virtual ones). */
int counter_open(uint32_t type, uint64_t what)
{
    struct perf_event_attr attr = {
        .type = type, .size = sizeof attr, .config = what, .disabled = 1, .exclude_kernel = 1, .exclude_hv = 1};
    return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

void counter_start(int fd)
{
    ioctl(fd, PERF_EVENT_IOC_RESET, 0);
    ioctl(fd, PERF_EVENT_IOC_ENABLE, 0);
}

int64_t counter_stop(int fd)
{
    int64_t count = -1;
    ioctl(fd, PERF_EVENT_IOC_DISABLE, 0);
    if (read(fd, &count, sizeof count) != sizeof count)
        count = -1;
    return count;
}

/* ------------------------------------------------------------------------------------------ callgrind */

int callgrind_known(void)
{
    return CALLGRIND;
}

/* Simulates caches from now on; counts between two toggles (callgrind --collect-atstart=no). */
void callgrind_start(void)
{
#if CALLGRIND
    CALLGRIND_START_INSTRUMENTATION;
#endif
}

void callgrind_toggle(void)
{
#if CALLGRIND
    CALLGRIND_TOGGLE_COLLECT;
#endif
}

/* The counts since the last file go to a file with this description. */
void callgrind_dump(const char *description)
{
#if CALLGRIND
    CALLGRIND_DUMP_STATS_AT(description);
#else
    (void)description;
#endif
}

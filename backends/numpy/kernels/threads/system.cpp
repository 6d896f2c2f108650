#include "system.h"

#include <chrono>
#include <system_error>
#include <thread>

#if !defined(_WIN32)
#include <pthread.h>
#include <signal.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__linux__) && defined(__x86_64__)
#include <cerrno>
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(_OPENMP)
#include <omp.h>
#endif

namespace xrnn {

#if defined(_WIN32)

bool in_forked_child() { return false; }

#else

static bool forked = false;

[[maybe_unused]] static const int fork_handler = pthread_atfork(nullptr, nullptr, [] { forked = true; });

bool in_forked_child() { return forked; }

#endif

#if defined(__linux__)

static_assert(sizeof(Cpus) == sizeof(cpu_set_t));

static cpu_set_t set_of(const Cpus& cpus) {
    cpu_set_t set;
    __builtin_memcpy(&set, &cpus, sizeof set);
    return set;
}

// All of `cpus` if the caller's CPU is the only one.
static cpu_set_t without_this_cpu(const cpu_set_t& cpus) {
    cpu_set_t set = cpus;
    if (const int here = sched_getcpu(); here >= 0) CPU_CLR(here, &set);
    return CPU_COUNT(&set) ? set : cpus;
}

Cpus all_cpus() {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set)) CPU_ZERO(&set);  // more CPUs than a set holds
#if defined(_OPENMP)
    if (omp_get_proc_bind() != omp_proc_bind_false)  // the caller may be bound to one of OpenMP's places
        for (int place = 0; place < omp_get_num_places(); ++place) {
            int ids[CPU_SETSIZE];
            const int count = omp_get_place_num_procs(place);
            if (count > CPU_SETSIZE) continue;
            omp_get_place_proc_ids(place, ids);
            for (int i = 0; i < count; ++i) CPU_SET(ids[i], &set);
        }
#endif
    Cpus cpus;
    __builtin_memcpy(&cpus, &set, sizeof cpus);
    return cpus;
}

int count_cpus() {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? int(std::thread::hardware_concurrency()) : CPU_COUNT(&set);
}

static void move(Thread thread, const cpu_set_t& to) {
    if (CPU_COUNT(&to)) pthread_setaffinity_np(thread, sizeof to, &to);
}

void keep_off_this_cpu(Thread thread, const Cpus& of) { move(thread, without_this_cpu(set_of(of))); }

void run_on(const Cpus& cpus) { move(pthread_self(), set_of(cpus)); }

void leave_this_cpu() {
    cpu_set_t before, now;
    if (sched_getaffinity(0, sizeof before, &before)) return;
    const cpu_set_t others = without_this_cpu(before);
    move(pthread_self(), others);
    // Another thread may have set this thread's affinity in the meantime: then that setting stays.
    if (sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(&now, &others)) move(pthread_self(), before);
}

#if defined(__GLIBC__)
static void start_on_another_cpu(pthread_attr_t* attributes) {
    const cpu_set_t others = without_this_cpu(set_of(all_cpus()));
    if (CPU_COUNT(&others)) pthread_attr_setaffinity_np(attributes, sizeof others, &others);
}
#else  // musl has no such attribute: Linux chooses the CPU, and the first calls may run without the new thread
static void start_on_another_cpu(pthread_attr_t*) {}
#endif

#else

Cpus all_cpus() { return {}; }
int count_cpus() { return int(std::thread::hardware_concurrency()); }
void keep_off_this_cpu(Thread, const Cpus&) {}
void run_on(const Cpus&) {}
void leave_this_cpu() {}
[[maybe_unused]] static void start_on_another_cpu(void*) {}

#endif

#if defined(_WIN32)

bool start_thread(void* (*f)(void*), void* argument, Thread*) {  // nothing needs the thread's name here
    try {
        std::thread(f, argument).detach();
    } catch (const std::system_error&) {
        return false;
    }
    return true;
}

#else

bool start_thread(void* (*f)(void*), void* argument, Thread* thread) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_t detached;
    if (pthread_attr_init(&detached)) return false;
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    start_on_another_cpu(&detached);
    pthread_sigmask(SIG_SETMASK, &all, &before);  // the new thread inherits this mask
    const bool started = pthread_create(thread, &detached, f, argument) == 0;
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    pthread_attr_destroy(&detached);
    return started;
}

#endif

int64_t clock_now() {
    return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void sleep_for(int64_t nanoseconds) { std::this_thread::sleep_for(std::chrono::nanoseconds(nanoseconds)); }

void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

int& running_tile_jobs() {
    static thread_local int count = 0;
    return count;
}

TilePermission ask_for_tiles() {
    TilePermission permission;
#if defined(__linux__) && defined(__x86_64__)
    constexpr unsigned BF16 = 1u << 22, TILE = 1u << 24, INT8 = 1u << 25, ALL = BF16 | TILE | INT8;
    constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA
    unsigned eax, ebx, ecx, edx;
    permission.has_tiles = __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx & ALL) == ALL;
    if (permission.has_tiles && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) != 0) permission.error = errno;
#endif
    return permission;
}

}  // namespace xrnn

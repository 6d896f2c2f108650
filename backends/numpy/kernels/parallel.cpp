#include "parallel.h"

#include <cstdlib>

#include <pthread.h>
#include <sched.h>

#if defined(XRNN_STD_THREADS)
#include <thread>
#include <vector>
#elif defined(_OPENMP)
#include <omp.h>
#endif

namespace xrnn {

namespace {

bool forked = false;

// 0: none.
int quota = 0;
int forced_cap = 0;

[[maybe_unused]] const int watching_for_forks = pthread_atfork(nullptr, nullptr, [] { forked = true; });

void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

}  // namespace

#if defined(XRNN_STD_THREADS)

static int asked() { return static_cast<int>(std::thread::hardware_concurrency()); }

static int cpus() { return MOST_THREADS; }

void parallel(int threads, void (*f)(int, int, void*), void* context) {
    std::vector<std::thread> others;
    for (int id = 1; id < threads; ++id) others.emplace_back(f, id, threads, context);
    f(0, threads, context);
    for (std::thread& other : others) other.join();
}

#elif defined(_OPENMP)

static int asked() { return omp_get_max_threads(); }

// By the affinity as it is now: a system call, which takes 0.4 µs in a virtual machine.
static int cpus() { return omp_get_num_procs(); }

void parallel(int threads, void (*f)(int, int, void*), void* context) {
    if (threads == 1 || forked) return f(0, 1, context);
#pragma omp parallel num_threads(threads)
    f(omp_get_thread_num(), omp_get_num_threads(), context);
}

#else

static int asked() { return 1; }

static int cpus() { return 1; }

void parallel(int, void (*f)(int, int, void*), void* context) { f(0, 1, context); }

#endif

static int min(int a, int b) { return a < b ? a : b; }

int asked_threads() { return min(asked(), MOST_THREADS); }

void set_quota(int cpus) { quota = cpus; }

void set_thread_cap(int threads) { forced_cap = threads; }

int thread_cap() {
    if (forked) return 1;
    if (forced_cap) return min(forced_cap, MOST_THREADS);
    const int allowed = min(cpus(), MOST_THREADS);
    return quota ? min(allowed, quota) : allowed;
}

int max_threads() {
    const int asked = asked_threads();
    return asked > 1 ? min(asked, thread_cap()) : 1;
}

Barrier::Barrier(int n) {
    for (int id = 0; id < n; ++id) flags[id].raised = 0;
}

#if defined(XRNN_WITHOUT_BARRIER)  // for the test that ThreadSanitizer would see it

void Barrier::arrive(int) {}
void Barrier::await(int, int) {}

#else

void Barrier::arrive(int id) { __atomic_store_n(&flags[id].raised, flags[id].raised + 1, __ATOMIC_RELEASE); }

void Barrier::await(int id, int n) {
    for (int other = 0; other < n; ++other)
        // They are a hundred nanoseconds away, unless they have lost their core: then yield ours. One that is ahead has
        // raised its flag once more.
        for (int spins = 0; __atomic_load_n(&flags[other].raised, __ATOMIC_ACQUIRE) < flags[id].raised; ++spins)
            if (spins < 4000)
                pause();
            else
                sched_yield();
}

#endif

void Barrier::wait(int id, int n) {
    arrive(id);
    await(id, n);
}

namespace {

constexpr size_t MOST_KEPT = 64 << 20;

struct Scratch {
    void* data = nullptr;
    size_t size = 0;

    void release() {
        std::free(data);
        data = nullptr, size = 0;
    }
    ~Scratch() { release(); }
};

thread_local Scratch kept;

}  // namespace

void* scratch(size_t bytes) {
    if (bytes > kept.size || !kept.data) {
        kept.release();
        const size_t pages = (bytes / 4096 + 1) * 4096;
        kept.data = std::aligned_alloc(64, pages);
        if (kept.data) kept.size = pages;
    }
    return kept.data;
}

void trim_scratch() {
    if (kept.size > MOST_KEPT) kept.release();
}

}  // namespace xrnn

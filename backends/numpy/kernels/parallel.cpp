#include "parallel.h"

#include <cstdlib>

#include <pthread.h>

#include "load.h"
#include "openmp.h"
#include "pool.h"
#include "threads.h"

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace xrnn {

namespace {

bool forked = false;

// 0: none.
int quota = 0;
int forced_cap = 0;

[[maybe_unused]] const int watching_for_forks = pthread_atfork(nullptr, nullptr, [] { forked = true; });

}  // namespace

#if defined(_OPENMP)

static int asked() { return omp_in_parallel() ? 1 : omp_get_max_threads(); }

// By the affinity as it is now: a system call, which takes 0.4 µs in a virtual machine.
static int cpus() { return omp_get_num_procs(); }

#else

static int asked() { return 1; }

static int cpus() { return 1; }

#endif

bool in_forked_child() { return forked; }

static int min(int a, int b) { return a < b ? a : b; }

int asked_threads() {
    const OpenMP* const library = openmp_in_use();
    if (!library) return min(asked(), MOST_THREADS);
    const bool within = library->omp_get_num_threads() > 1;  // one of its own jobs
    return within ? 1 : min(library->omp_get_max_threads(), MOST_THREADS);
}

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

void Job::lead(int n) {
    const int64_t began = clock_now();
    take_waited();
    f(0, n, context);
    const int64_t elapsed = clock_now() - began;
    // The others' shares of the work may be somewhat larger.
    for (Waiting waiting(elapsed / 4); running.load(std::memory_order_acquire);) {
        if (in_forked_child()) return;
        waiting.once();
        if (stop && waiting.is_long()) stop->ask(0);
    }
}

void parallel(int threads, void (*f)(int, int, void*), void* context, Stop* stop) {
    if (threads == 1 || in_forked_child()) return f(0, 1, context);
    const int64_t began = clock_now();
    Job job = {.f = f, .context = context, .stop = stop};
    const OpenMP* const library = openmp_in_use();
    const int n = library ? run_on_openmp(*library, job, threads) : run_on_pool(job, threads);
    if (in_forked_child()) return;
    const int64_t waited = job.waited.load(std::memory_order_relaxed) + take_waited();
    const int64_t ended = clock_now();
    report_call(threads, ended - began, n > 1 ? waited / (n - 1) : waited, ended);
}

namespace {

constexpr int64_t BETWEEN_QUESTIONS = 50'000'000;  // nanoseconds

bool nobody() { return false; }

bool (*interrupted)() = nobody;

}  // namespace

void set_interrupt(bool (*f)()) { interrupted = f; }

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
        // One that is ahead has raised its flag once more.
        for (Waiting waiting; __atomic_load_n(&flags[other].raised, __ATOMIC_ACQUIRE) < flags[id].raised;) {
            waiting.once();
            if (waiting.is_long() && stop.ask(id)) return;
        }
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
};

struct Kept : Scratch {
    ~Kept() { release(); }
};

thread_local Kept kept;

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

bool Stop::ask(int id) {
    if (id != 0) return __atomic_load_n(&raised, __ATOMIC_RELAXED);
    const int64_t now = clock_now();
    if (!asked_at) asked_at = now;
    if (raised || now - asked_at < BETWEEN_QUESTIONS) return raised;
    // An operation that the caller's handler runs must not touch the memory of this one.
    const Scratch mine = kept;
    kept.data = nullptr, kept.size = 0;
    const int64_t waited = take_waited();
    if (interrupted()) __atomic_store_n(&raised, 1, __ATOMIC_RELAXED);
    take_waited();
    add_waited(waited);
    kept.release();
    kept.data = mine.data, kept.size = mine.size;
    asked_at = clock_now();
    return raised;
}

}  // namespace xrnn

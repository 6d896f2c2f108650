#include "parallel.h"

#include <cstdlib>

#include "openmp.h"
#include "pool.h"
#include "waiting.h"

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace xrnn {

namespace {

// A short call wakes threads for later ones if it is the third in a row that lacked some. In a row means: each follows
// so soon that a thread woken by the call before would still poll.
constexpr int CLOSE_CALLS = 3;

int quota = 0, forced_cap = 0;  // 0: none
std::atomic<int> close_calls{0};
std::atomic<int64_t> last_call{0};

int min(int a, int b) { return a < b ? a : b; }

#if defined(_OPENMP)
int own_asked_threads() { return omp_in_parallel() ? 1 : omp_get_max_threads(); }
// By the affinity as it is now: a system call, which takes 0.4 µs in a virtual machine.
int cpus() { return omp_get_num_procs(); }
#else
// What OpenMP would take from OMP_NUM_THREADS: its first number, or one thread per CPU.
int own_asked_threads() {
    static const int set = [] {
        const char* const text = std::getenv("OMP_NUM_THREADS");
        return text ? std::atoi(text) : 0;
    }();
    return set > 0 ? set : count_cpus();
}
int cpus() { return count_cpus(); }
#endif

}  // namespace

int asked_threads() {
    const OpenMP* const library = openmp_in_use();
    if (!library) return min(own_asked_threads(), MOST_THREADS);
    const bool in_its_job = library->omp_get_num_threads() > 1;
    return in_its_job ? 1 : min(library->omp_get_max_threads(), MOST_THREADS);
}

void set_quota(int cpus) { quota = cpus; }

void set_thread_cap(int threads) { forced_cap = threads; }

int thread_cap() {
    if (in_forked_child()) return 1;
    if (forced_cap) return min(forced_cap, MOST_THREADS);
    const int allowed = min(cpus(), MOST_THREADS);
    return quota ? min(allowed, quota) : allowed;
}

int max_threads() {
    const int asked = asked_threads();
    return asked > 1 ? min(asked, thread_cap()) : 1;
}

int ready_threads(int most, bool worth_waking) {
    if (most == 1 || worth_waking || all_threads_required()) return most;
    const bool borrowed = openmp_in_use();
    const int ready = !borrowed ? count_awake(most) : openmp_is_awake() ? most : 1;
    if (ready == most) return most;

    const int64_t now = clock_now();
    const bool close = now - last_call.exchange(now, std::memory_order_relaxed) < POLLING;
    const int calls = close ? close_calls.load(std::memory_order_relaxed) + 1 : 1;
    if (calls < (borrowed ? calls_before_openmp() : CLOSE_CALLS)) {
        close_calls.store(calls, std::memory_order_relaxed);
        return ready;
    }
    if (borrowed) {  // only a job of theirs wakes them
        close_calls.store(0, std::memory_order_relaxed);
        return most;
    }
    wake_workers(most - ready, most);
    return ready;
}

void parallel(int threads, void (*f)(int, int, void*), void* context, Stop* stop) {
    if (threads == 1 || in_forked_child()) return f(0, 1, context);
    Job job = {.f = f, .context = context, .stop = stop};
    const OpenMP* const library = openmp_in_use();
    if (!library || !run_on_openmp(*library, job, threads)) run_on_pool(job, threads);
}

}  // namespace xrnn

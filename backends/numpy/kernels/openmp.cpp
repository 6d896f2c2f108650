#include "openmp.h"

#include "pool.h"
#include "threads.h"

#include <pthread.h>

namespace xrnn {

namespace {

// How long the library's threads are taken to be awake after a job. GNU's look out for the next one for some 5 ms,
// LLVM's and Intel's for 200; with OMP_WAIT_POLICY=passive none of them does. No library can be asked.
constexpr int64_t LOOKS_OUT = 4'000'000;  // nanoseconds
// After how many short calls on one thread the next one tries whether the others are awake: twice as many each time
// that they were taken to be awake and were not, the fewest again once they were.
constexpr int FEWEST_CALLS = 3, MOST_CALLS = 96;

std::atomic<const OpenMP*> in_use{nullptr};
std::atomic<int64_t> awake_until{0};
std::atomic<int> calls_between{FEWEST_CALLS};

struct Forked {};

struct Team {
    const OpenMP& library;
    Job& job;
    const int most;
    const pthread_t caller = pthread_self();
    std::atomic<int> arrived{1};  // the caller has
    std::atomic<int> n{0};        // how many run the job, the first to arrive; 0: not known yet
    int64_t ended_at = 0;         // when the caller had done with the job
};

void note_answer(bool at_once, bool assumed_awake) {
    if (assumed_awake) {
        const int calls = 2 * calls_between.load(std::memory_order_relaxed);
        calls_between = at_once ? FEWEST_CALLS : calls < MOST_CALLS ? calls : MOST_CALLS;
    }
    awake_until = at_once || !assumed_awake ? clock_now() + LOOKS_OUT : 0;
}

// Waits for those who answer in time. Threads that come late go back at once.
void lead(Team& team) {
    const bool assumed_awake = openmp_is_awake();
    const int threads = team.library.omp_get_num_threads(), wanted = threads < team.most ? threads : team.most;
    const int64_t began = clock_now();
    const auto lacks_some = [&] { return team.arrived.load(std::memory_order_acquire) < wanted; };
    for (int spins = 1; lacks_some(); ++spins) {
        relax();
        if (spins % 16 || clock_now() - began < WAKING_UP) continue;
        leave_this_cpu();  // where Linux may have woken one that now waits for its turn
        if (!threads_are_insisted_on()) break;
    }
    const int arrived = team.arrived.load(std::memory_order_acquire), n = arrived < wanted ? arrived : wanted;
    const int64_t mustered = clock_now();
    if (n < wanted) team.job.waited = mustered - began;
    team.job.running = n - 1;
    team.n.store(n, std::memory_order_release);
    team.job.lead(n);
    // A signal's handler has forked, and this is the child. On the usual way back the library would wait for its other
    // threads, which are the parent's; an exception leaves it at once.
    if (in_forked_child()) throw Forked();
    note_answer(n == wanted && mustered - began < ANSWER, assumed_awake);
    team.ended_at = clock_now();
}

void follow(Team& team) {
    const int id = team.arrived.fetch_add(1, std::memory_order_acq_rel);
    if (id >= team.most) return;
    int n = 0;
    for (Waiting waiting; !(n = team.n.load(std::memory_order_acquire));) waiting.once();
    if (id >= n) return;
    team.job.run(id, n);
    team.job.finished();
}

void join(void* argument) {
    Team& team = *static_cast<Team*>(argument);
    pthread_equal(team.caller, pthread_self()) ? lead(team) : follow(team);
}

}  // namespace

void use_openmp(const OpenMP* library) { in_use = library; }

const OpenMP* openmp_in_use() { return in_use.load(std::memory_order_acquire); }

bool openmp_is_awake() { return clock_now() < awake_until.load(std::memory_order_relaxed); }

int calls_before_openmp() { return calls_between.load(std::memory_order_relaxed); }

// Takes all of the library's threads (0), though the job may need fewer: with a smaller number GNU's library would end
// the threads left over, and start them anew for its other users' next job.
int run_on_openmp(const OpenMP& library, Job& job, int most) {
    Team team = {library, job, most};
    try {
        library.GOMP_parallel(join, &team, 0, 0);
    } catch (const Forked&) {
        return 1;
    }
    // The library has also waited for threads that had lost their CPU and came when all was done.
    const int n = team.n.load(std::memory_order_relaxed);
    job.waited += (clock_now() - team.ended_at) * (n > 1 ? n - 1 : 1);
    return n;
}

}  // namespace xrnn

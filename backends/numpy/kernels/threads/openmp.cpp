#include "openmp.h"

#include "waiting.h"

namespace xrnn {

namespace {

// How long the library's threads are assumed to poll after a job. GNU's poll for some 5 ms, LLVM's and Intel's for 200;
// with OMP_WAIT_POLICY=passive none polls.
constexpr int64_t POLLING = 4'000'000;  // nanoseconds
// Back-off: the number of short calls on one thread before the next trial. It doubles each time the threads were
// assumed to be awake and were not, and goes back to the fewest once they were.
constexpr int FEWEST_CALLS = 3, MOST_CALLS = 96;

std::atomic<const OpenMP*> in_use{nullptr};
std::atomic<int> running{0};  // jobs on the library's threads
std::atomic<int64_t> awake_until{0};
std::atomic<int> calls_between{FEWEST_CALLS};

struct Forked {};

struct Team {
    const OpenMP& library;
    Job& job;
    const int most;
    const std::thread::id caller = std::this_thread::get_id();
    std::atomic<int> arrived{1};  // the caller has
    std::atomic<int> n{0};        // the number of threads that run the job, the first to arrive; 0: not known yet
};

void note_answer(bool at_once, bool assumed_awake) {
    if (assumed_awake) {
        const int calls = 2 * calls_between.load(std::memory_order_relaxed);
        calls_between = at_once ? FEWEST_CALLS : calls < MOST_CALLS ? calls : MOST_CALLS;
    }
    awake_until = at_once || !assumed_awake ? clock_now() + POLLING : 0;
}

// On the caller's thread. Waits for the threads that answer in time; those that come later return at once.
void lead(Team& team) {
    const bool assumed_awake = openmp_is_awake();
    const int threads = team.library.omp_get_num_threads(), wanted = threads < team.most ? threads : team.most;
    const int64_t began = clock_now();
    const auto lacks_some = [&] { return team.arrived.load(std::memory_order_acquire) < wanted; };
    for (int spins = 1; lacks_some(); ++spins) {
        relax();
        if (spins % 16 || clock_now() - began < WAKING_UP) continue;
        leave_this_cpu();  // Linux may have woken a thread that is now queued for this CPU
        if (!all_threads_required()) break;
    }
    const int arrived = team.arrived.load(std::memory_order_acquire), n = arrived < wanted ? arrived : wanted;
    const int64_t now = clock_now();
    team.job.running = n - 1;
    team.n.store(n, std::memory_order_release);
    team.job.lead(n);
    // In a child that a signal handler forked, GOMP_parallel would wait for its other threads, which do not exist
    // there. An exception leaves it at once.
    if (in_forked_child()) throw Forked();
    note_answer(n == wanted && now - began < ANSWER, assumed_awake);
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
    std::this_thread::get_id() == team.caller ? lead(team) : follow(team);
}

}  // namespace

void use_openmp(const OpenMP* library) {
    in_use = library;
    if (library || in_forked_child()) return;  // in a child, the threads that ran the parent's jobs do not exist
    while (running.load()) std::this_thread::yield();
}

const OpenMP* openmp_in_use() { return in_use.load(std::memory_order_acquire); }

bool openmp_is_awake() { return clock_now() < awake_until.load(std::memory_order_relaxed); }

int calls_before_openmp() { return calls_between.load(std::memory_order_relaxed); }

// It asks for all of the library's threads (0), though the job may need fewer. With a smaller number GNU's library
// would end the other threads, and start new ones for its next user.
bool run_on_openmp(const OpenMP& library, Job& job, int most) {
    running.fetch_add(1);
    if (!in_use.load()) {
        running.fetch_sub(1);
        return false;
    }
    Team team = {library, job, most};
    try {
        library.GOMP_parallel(join, &team, 0, 0);
    } catch (const Forked&) {
    }
    running.fetch_sub(1);
    return true;
}

}  // namespace xrnn

#include "pool.h"

#include "openmp.h"
#include "threads.h"

#include <atomic>

namespace xrnn {

namespace {

// How long a worker looks out for the next job: two steps of a training loop are less apart than that.
constexpr int64_t LOOKOUT = 1'000'000;  // nanoseconds
// A short call wakes workers for those after it when it is the third in a row that lacked some. In a row means: each so
// soon after the one before that a worker woken by that one would still look out.
constexpr int CLOSE_CALLS = 3;
constexpr int64_t CLOSE = LOOKOUT;
// How old a worker's CPUs may be before its caller looks whether they still are the process's: a system call.
constexpr int64_t AFFINITY_HOLDS = 10'000'000;  // nanoseconds

enum State : int {
    ASLEEP,
    PLACED,   // about to be woken: its waker sets its CPUs
    WAKING,   // woken, or given up by its caller: awake once it has a CPU
    AWAKE,    // looking out
    CALLED,   // by a caller that waits for the answer
    READY,    // it has answered
    RUNNING,  // its task
};

struct Task {
    Job* job;
    int id, n;
    bool moves;  // the worker's CPUs have changed
};

struct alignas(64) Worker {
    std::atomic<int> state;
    Task task;
    Cpus cpus;        // to run on while it is awake
    int64_t cpus_at;  // when they were looked up
    pthread_t thread;

    bool change(State from, State to) {
        int expected = from;
        return state.compare_exchange_strong(expected, to);
    }
    // By whoever has placed the worker, or has its answer. → whether they are others than before.
    bool update_cpus(int64_t now) {
        const Cpus before = cpus;
        cpus = all_cpus(), cpus_at = now;
        return !(cpus == before);
    }
};

// Never destroyed: workers look at them until the process ends.
constexpr int MOST_WORKERS = MOST_THREADS - 1;
Worker* const workers = new Worker[MOST_WORKERS];
std::atomic<int> started{0}, close_calls{0};
std::atomic<bool> starting{false}, insisted{false};
std::atomic<int64_t> last_call{0};

void await_change(Worker& worker, State from) {
    for (Waiting waiting; worker.state.load(std::memory_order_acquire) == from;) waiting.once();
}

// Until somebody wakes it. Its waker has kept it off a CPU, whatever the state is by now: so it always ends with its own.
void sleep(Worker& worker) {
    worker.state.wait(ASLEEP);
    await_change(worker, PLACED);
    run_on(worker.cpus);
}

void look_out(Worker& worker) {
    const int64_t began = clock_now();
    for (int spins = 1; worker.state.load(std::memory_order_relaxed) == AWAKE; ++spins) {
        relax();
        if (spins % 32 == 0 && clock_now() - began > LOOKOUT && worker.change(AWAKE, ASLEEP)) return sleep(worker);
    }
}

void run_task(Worker& worker) {
    const Task task = worker.task;
    if (task.moves) run_on(worker.cpus);
    task.job->run(task.id, task.n);
    worker.state.store(AWAKE, std::memory_order_relaxed);  // before the caller goes on, and may call again
    task.job->finished();
}

void* work(void* argument) {
    Worker& worker = *static_cast<Worker*>(argument);
    run_on(worker.cpus);
    for (;;) switch (worker.state.load(std::memory_order_acquire)) {
            case WAKING: worker.change(WAKING, AWAKE); break;
            case AWAKE: look_out(worker); break;
            case CALLED: worker.change(CALLED, READY); break;
            case READY: await_change(worker, READY); break;
            case RUNNING: run_task(worker); break;
        }
    return nullptr;
}

// Take a worker from its sleep to this state.
bool wake(Worker& worker, State to) {
    if (!worker.change(ASLEEP, PLACED)) return false;
    worker.update_cpus(clock_now());
    keep_off_this_cpu(worker.thread, worker.cpus);
    worker.state.store(to, std::memory_order_release);
    worker.state.notify_one();
    return true;
}

// A new worker in this state; null if there is none to be had, or another thread is about to start one.
Worker* start(State state) {
    if (starting.exchange(true)) return nullptr;
    Worker* worker = nullptr;
    if (const int number = started.load(); number < MOST_WORKERS) {
        worker = &workers[number];
        worker->state = state;
        worker->update_cpus(clock_now());
        if (start_thread(work, worker, &worker->thread))
            started.store(number + 1, std::memory_order_release);
        else
            worker = nullptr;
    }
    starting = false;
    return worker;
}

// Workers that one call has called.
struct Crew {
    Worker* members[MOST_WORKERS];
    int count = 0;

    template <class Take>
    void take(int wanted, Take take) {
        const int there = started.load(std::memory_order_acquire);
        for (int i = 0; i < there && count < wanted; ++i)
            if (take(workers[i])) members[count++] = &workers[i];
    }

    // → how long to wait for their answers, in nanoseconds.
    int64_t call(int wanted) {
        take(wanted, [](Worker& worker) { return worker.change(AWAKE, CALLED); });
        if (count == wanted) return ANSWER;
        take(wanted, [](Worker& worker) { return wake(worker, CALLED); });
        while (count < wanted) {
            Worker* const worker = start(CALLED);
            if (!worker) break;
            members[count++] = worker;
        }
        if (insisted) take(wanted, [](Worker& worker) { return worker.change(WAKING, CALLED); });
        return WAKING_UP;
    }

    // Keep those that answer in time.
    void muster(int64_t patience) {
        const int64_t began = clock_now();
        int ready = 0;
        for (int i = 0; i < count; ++i) {
            Worker& worker = *members[i];
            for (int spins = 1; worker.state.load(std::memory_order_acquire) == CALLED; ++spins) {
                relax();
                if (spins % 16 == 0 && clock_now() - began > patience && !insisted) worker.change(CALLED, WAKING);
            }
            if (worker.state.load(std::memory_order_acquire) == READY) members[ready++] = &worker;
        }
        count = ready;
    }
};

}  // namespace

void insist_on_threads(bool insist) { insisted = insist; }

bool threads_are_insisted_on() { return insisted.load(std::memory_order_relaxed); }

static int count_awake(int most) {
    if (openmp_in_use()) return openmp_is_awake() ? most : 1;
    const int there = started.load(std::memory_order_acquire);
    int awake = 1;
    for (int i = 0; i < there && awake < most; ++i) awake += workers[i].state.load(std::memory_order_relaxed) == AWAKE;
    return awake;
}

int ready_threads(int most, bool worth_waking) {
    if (most == 1 || worth_waking || threads_are_insisted_on()) return most;
    const int ready = count_awake(most);
    if (ready == most) return most;

    const int64_t now = clock_now();
    const bool close = now - last_call.exchange(now, std::memory_order_relaxed) < CLOSE;
    const int calls = close ? close_calls.load(std::memory_order_relaxed) + 1 : 1;
    const bool borrows = openmp_in_use();
    if (calls < (borrows ? calls_before_openmp() : CLOSE_CALLS)) {
        close_calls.store(calls, std::memory_order_relaxed);
        return ready;
    }
    if (borrows) {
        close_calls.store(0, std::memory_order_relaxed);
        return most;
    }
    const int there = started.load(std::memory_order_acquire);
    int lacking = most - ready;
    for (int i = 0; i < there && lacking > 0; ++i) lacking -= wake(workers[i], WAKING);
    for (int i = there; i < most - 1 && lacking > 0 && start(WAKING); ++i) --lacking;
    return ready;
}

int run_on_pool(Job& job, int most) {
    const int64_t began = clock_now();
    Crew crew;
    crew.muster(crew.call(most - 1));
    const int64_t mustered = clock_now();
    if (crew.count < most - 1) job.waited = mustered - began;

    const int n = crew.count + 1;
    job.running = crew.count;
    for (int id = 1; id < n; ++id) {
        Worker& worker = *crew.members[id - 1];
        const bool moves = mustered - worker.cpus_at > AFFINITY_HOLDS && worker.update_cpus(mustered);
        worker.task = {.job = &job, .id = id, .n = n, .moves = moves};
        worker.state.store(RUNNING, std::memory_order_release);
    }
    job.lead(n);
    return n;
}

}  // namespace xrnn

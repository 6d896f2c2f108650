#include "pool.h"

#include "waiting.h"

namespace xrnn {

namespace {

// A worker's CPUs are compared with the caller's affinity only if they were read longer ago than this: reading the
// affinity is a system call.
constexpr int64_t AFFINITY_AGE = 10'000'000;  // nanoseconds

enum State : int {
    ASLEEP,
    PLACED,   // about to be woken: the waking thread sets its CPUs
    WAKING,   // woken, or its caller stopped waiting for it: it becomes AWAKE as soon as it has a CPU
    AWAKE,    // polling
    CALLED,   // a caller waits for its answer
    READY,    // it has answered
    RUNNING,  // it runs its task
};

struct Task {
    Job* job;
    int id, n;
    bool moves;  // the worker's CPUs have changed
};

struct alignas(64) Worker {
    std::atomic<int> state;
    Task task;
    Cpus cpus;        // the CPUs that it may use while it is awake
    int64_t cpus_at;  // when they were read
    Thread thread;

    bool change(State from, State to) {
        int expected = from;
        return state.compare_exchange_strong(expected, to);
    }
    // Read the caller's affinity → whether it has changed. Only the thread that has set the worker to PLACED, or that
    // has its answer, may call this.
    bool update_cpus(int64_t now) {
        const Cpus before = cpus;
        cpus = all_cpus(), cpus_at = now;
        return !(cpus == before);
    }
};

// Never deleted: the workers use them until the process ends.
constexpr int MOST_WORKERS = MOST_THREADS - 1;
Worker* const workers = new Worker[MOST_WORKERS];
std::atomic<int> started{0};
std::atomic<bool> starting{false};

void await_change(Worker& worker, State from) {
    for (Waiting waiting; worker.state.load(std::memory_order_acquire) == from;) waiting.once();
}

// To wake a worker, the waking thread takes one CPU from the worker's affinity. So the worker sets its full affinity
// once it runs, in whatever state it is by then.
void sleep(Worker& worker) {
    worker.state.wait(ASLEEP);
    await_change(worker, PLACED);
    run_on(worker.cpus);
}

void poll(Worker& worker) {
    const int64_t began = clock_now();
    for (int spins = 1; worker.state.load(std::memory_order_relaxed) == AWAKE; ++spins) {
        relax();
        if (spins % 32 == 0 && clock_now() - began > POLLING && worker.change(AWAKE, ASLEEP)) return sleep(worker);
    }
}

void run_task(Worker& worker) {
    const Task task = worker.task;
    if (task.moves) run_on(worker.cpus);
    task.job->run(task.id, task.n);
    worker.state.store(AWAKE, std::memory_order_relaxed);  // before the caller returns, and perhaps calls again
    task.job->finished();
}

void* work(void* argument) {
    Worker& worker = *static_cast<Worker*>(argument);
    run_on(worker.cpus);
    for (;;) switch (worker.state.load(std::memory_order_acquire)) {
            case WAKING: worker.change(WAKING, AWAKE); break;
            case AWAKE: poll(worker); break;
            case CALLED: worker.change(CALLED, READY); break;
            case READY: await_change(worker, READY); break;
            case RUNNING: run_task(worker); break;
        }
    return nullptr;
}

// Wake a worker and put it in this state. False if it does not sleep.
bool wake(Worker& worker, State to) {
    if (!worker.change(ASLEEP, PLACED)) return false;
    worker.update_cpus(clock_now());
    keep_off_this_cpu(worker.thread, worker.cpus);
    worker.state.store(to, std::memory_order_release);
    worker.state.notify_one();
    return true;
}

// A new worker in this state. Null if there can be no more, or if another thread is starting one.
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

// The workers of one call.
struct Team {
    Worker* members[MOST_WORKERS];
    int count = 0;

    template <class Take>
    void take(int wanted, Take take) {
        const int existing = started.load(std::memory_order_acquire);
        for (int i = 0; i < existing && count < wanted; ++i)
            if (take(workers[i])) members[count++] = &workers[i];
    }

    // Call `wanted` workers. → how long to wait for their answers, in nanoseconds.
    int64_t call(int wanted, bool all_required) {
        take(wanted, [](Worker& worker) { return worker.change(AWAKE, CALLED); });
        if (count == wanted) return ANSWER;
        take(wanted, [](Worker& worker) { return wake(worker, CALLED); });
        while (count < wanted) {
            Worker* const worker = start(CALLED);
            if (!worker) break;
            members[count++] = worker;
        }
        if (all_required) take(wanted, [](Worker& worker) { return worker.change(WAKING, CALLED); });
        return WAKING_UP;
    }

    // Keep the workers that answer within `timeout` nanoseconds, or all of them.
    void await_answers(int64_t timeout, bool all_required) {
        const int64_t began = clock_now();
        int ready = 0;
        for (int i = 0; i < count; ++i) {
            Worker& worker = *members[i];
            for (int spins = 1; worker.state.load(std::memory_order_acquire) == CALLED; ++spins) {
                relax();
                if (spins % 16 == 0 && clock_now() - began > timeout && !all_required &&
                    worker.change(CALLED, WAKING))
                    note_delay();
            }
            if (worker.state.load(std::memory_order_acquire) == READY) members[ready++] = &worker;
        }
        count = ready;
    }

    // Start the job's share of each worker, of n shares in all.
    void run(Job& job, int n) {
        const int64_t now = clock_now();
        for (int id = 1; id <= count; ++id) {
            Worker& worker = *members[id - 1];
            const bool moves = now - worker.cpus_at > AFFINITY_AGE && worker.update_cpus(now);
            worker.task = {.job = &job, .id = id, .n = n, .moves = moves};
            worker.state.store(RUNNING, std::memory_order_release);
        }
    }
};

void* run_and_end(void* argument) {
    const Task task = *static_cast<Task*>(argument);
    delete static_cast<Task*>(argument);
    task.job->run(task.id, task.n);
    task.job->finished();
    return nullptr;
}

// A thread for one task. If the system has no more threads, this waits until it has.
void start_thread_for(const Task& task) {
    Thread thread;
    Task* const copy = new Task(task);
    for (Waiting waiting; !start_thread(run_and_end, copy, &thread);) waiting.once();
}

}  // namespace

int count_awake(int most) {
    const int existing = started.load(std::memory_order_acquire);
    int awake = 1;
    for (int i = 0; i < existing && awake < most; ++i)
        awake += workers[i].state.load(std::memory_order_relaxed) == AWAKE;
    return awake;
}

void wake_workers(int lacking, int most) {
    const int existing = started.load(std::memory_order_acquire);
    for (int i = 0; i < existing && lacking > 0; ++i) lacking -= wake(workers[i], WAKING);
    for (int i = existing; i < most - 1 && lacking > 0 && start(WAKING); ++i) --lacking;
}

void run_on_pool(Job& job, int most) {
    Team team;
    const bool all_required = all_threads_required();
    team.await_answers(team.call(most - 1, all_required), all_required);
    const int n = team.count + 1;
    job.running = team.count;
    team.run(job, n);
    job.lead(n);
}

void run_at_once(Job& job, int n) {
    Team team;
    team.call(n - 1, true);
    team.await_answers(0, true);
    job.running = n - 1;
    team.run(job, n);
    for (int id = team.count + 1; id < n; ++id) start_thread_for({.job = &job, .id = id, .n = n, .moves = false});
    job.lead(n);
}

}  // namespace xrnn

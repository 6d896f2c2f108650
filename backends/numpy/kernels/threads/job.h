// The work of one `parallel` call, for the pool's threads and for those of an OpenMP library.
#pragma once

#include <atomic>

#include "barrier.h"

namespace xrnn {

struct Job {
    void (*const f)(int id, int n, void* context);
    void* const context;
    Stop* const stop;
    std::atomic<int> running{0};  // threads other than the caller's that have not finished

    // On a thread other than the caller's; `finished` comes after it.
    void run(int id, int n) { f(id, n, context); }
    void finished() { running.fetch_sub(1, std::memory_order_release); }

    // On the caller's thread: does its own share, then waits for the other threads. In a child that a signal handler
    // forked the other threads do not exist, and it returns without waiting.
    void lead(int n);
};

// How long a call waits for a thread that was awake, which answers within a microsecond, and for one that was asleep;
// in nanoseconds. A call runs without the threads that do not answer in time.
constexpr int64_t ANSWER = 20'000, WAKING_UP = 200'000;

// For tests and measurements: wait for all threads that are asked for, however long they take.
void require_all_threads(bool required);
bool all_threads_required();

}  // namespace xrnn

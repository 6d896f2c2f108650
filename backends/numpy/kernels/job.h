// What the threads of one `parallel` run, whosever they are, and how its caller ends it.
#pragma once

#include "parallel.h"
#include "waiting.h"

#include <atomic>

namespace xrnn {

struct Job {
    void (*const f)(int id, int n, void* context);
    void* const context;
    Stop* const stop;
    std::atomic<int> running{0};     // threads besides the caller's that haven't finished
    std::atomic<int64_t> waited{0};  // nanoseconds, of all threads

    // On a thread besides the caller's; `finished` comes after it.
    void run(int id, int n) {
        take_waited();
        f(id, n, context);
        waited.fetch_add(take_waited(), std::memory_order_relaxed);
    }
    void finished() { running.fetch_sub(1, std::memory_order_release); }

    // On the caller's thread: its own share, and then the wait for the others, which are `running`. In a child that a
    // signal's handler has forked meanwhile the others are missing, and nobody waits for them.
    void lead(int n);
};

}  // namespace xrnn

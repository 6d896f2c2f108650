// The threads that operations share; `parallel` of parallel.h runs on them.
//
// After a job a worker looks out for the next one for a moment, awake, and then sleeps: looking out takes a CPU, and
// waking takes 30 µs of the caller and 0.1 ms until the worker is there. So a call takes the workers that are awake,
// and wakes others only where it is long enough. A worker that doesn't answer a call has lost its CPU, and the call goes
// without it.
#pragma once

#include "job.h"

namespace xrnn {

// How many threads a call may have at once, of at most `most`: the caller and the workers that are awake, or, where it
// is worth waking some, all. Wakes those that sleep for the calls to come if they follow each other closely.
int ready_threads(int most, bool worth_waking);

// Always as many threads as are asked for, however long they take to come: for tests and measurements.
void insist_on_threads(bool insist);
bool threads_are_insisted_on();

// How long a call waits for a thread that was awake, which answers within a microsecond, and for one that was asleep; in
// nanoseconds.
constexpr int64_t ANSWER = 20'000, WAKING_UP = 200'000;

// Run a job on at most so many of the pool's threads. → how many it had.
int run_on_pool(Job& job, int most);

}  // namespace xrnn

// The worker threads that all operations share.
//
// After a job a worker polls for the next job for a moment and then sleeps. Polling takes a CPU; waking a worker takes
// 30 µs of the caller's time, and the worker starts after 0.1 ms. So a call uses the workers that are awake, and wakes
// others only if it is long enough. A worker that does not answer has lost its CPU, and the call runs without it.
#pragma once

#include "job.h"

namespace xrnn {

// Run a job on at most `most` threads: the caller's and the pool's.
void run_on_pool(Job& job, int most);

// Run a job on exactly n threads at the same time, the caller's and n - 1 others, however long they take to start. If
// too few workers are free, new threads run the rest: the caller of a busy worker may be waiting for this job.
void run_at_once(Job& job, int n);

// The number of threads that a call could use at once, at most `most`: the caller's and the workers that are awake.
int count_awake(int most);

// Wake or start `lacking` workers for later calls, and return at once. The pool gets at most `most` - 1 workers.
void wake_workers(int lacking, int most);

// How long a worker polls for the next job. Two steps of a training loop are less apart than that.
constexpr int64_t POLLING = 1'000'000;  // nanoseconds

}  // namespace xrnn

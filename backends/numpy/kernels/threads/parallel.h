// The number of threads of a call, and the call itself.
//
// OpenMP governs the number, so that OMP_NUM_THREADS and threadpoolctl have their effect, up to the CPUs that the
// process may use: with more threads than CPUs each barrier waits until every thread has had its turn. The threads are
// those of pool.h. OpenMP's own would poll for milliseconds after each call, and Linux would often wake them on the
// caller's CPU. If another library in the process uses OpenMP's threads anyway, those do the work: openmp.h. A forked
// child computes on one thread, since it does not have its parent's workers.
#pragma once

#include <cstdint>

namespace xrnn {

// The number of threads that are asked for, up to the cap. If it is more than one, this is a system call.
int max_threads();

// OpenMP's number, which OMP_NUM_THREADS and threadpoolctl set, up to MOST_THREADS.
int asked_threads();

// The number of CPUs that the process may use, by its affinity and its quota, up to MOST_THREADS; 1 in a forked child.
int thread_cap();

// The quota of the process in CPUs; 0: none.
void set_quota(int cpus);

// For tests: use this cap in place of the CPUs; 0: the CPUs again.
void set_thread_cap(int threads);

// The number of threads that a call gets without waiting, at most `most`. If it is `worth_waking` threads that sleep,
// that is `most`. Otherwise sleeping threads are woken for later calls once several calls follow each other closely.
int ready_threads(int most, bool worth_waking);

struct Stop;

// Call f(id, n, context) for each id < n on a thread of its own, and return when all have returned. n may be smaller
// than `threads`: f must divide its work by n. While the caller waits for the other threads it checks `stop`, if not
// null.
void parallel(int threads, void (*f)(int id, int n, void* context), void* context, Stop* stop = nullptr);

}  // namespace xrnn

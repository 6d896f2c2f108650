// The limit on threads while other processes use the CPUs.
//
// Threads that meet at barriers wait for the one that has lost its CPU; a single thread may then be faster. Each call
// reports how long its threads waited for each other. If that is too long, the limit is lowered and the next calls use
// fewer threads. A probe thread of the lowest priority then sleeps for a few milliseconds at a time. If it wakes up on
// time several times in a row, a CPU is free and the limit is raised.
#pragma once

#include <cstdint>

namespace xrnn {

// The most threads that a call may use now; MOST_THREADS if there is no limit.
int load_limit();

// A call of n threads has ended `now`, by clock_now(), after `elapsed` nanoseconds, of which a thread spent `waited` in
// long waits, on average over the threads that can wait.
void report_call(int n, int64_t elapsed, int64_t waited, int64_t now);

// A call would use this number of threads, more than the limit. The probe runs while there are such calls.
void report_demand(int threads);

// The share of the time that threads had waited when the limit was last lowered, in percent.
int waited_percent();

// For tests and measurements: no limit.
void ignore_load(bool ignore);

// ---- the policy ----

// Times of recent calls in nanoseconds; older calls have less weight.
struct WaitStatistics {
    int64_t elapsed = 0, waited = 0;

    WaitStatistics after(int64_t elapsed, int64_t waited) const;
    bool too_long(bool in_trial) const;  // in_trial: the limit was raised a moment ago
};

// The next lower and the next higher limit.
int fewer_threads(int n);
int more_threads(int n);

// Back-off: the number of wake-ups on time, in a row, that raise the limit. It doubles if the raised limit had to be
// lowered at once, and is reset if it `held`.
int next_back_off(int wake_ups, bool held);

}  // namespace xrnn

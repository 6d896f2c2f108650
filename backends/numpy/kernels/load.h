// Whether other processes leave this one the CPUs that it may use: threads that meet at barriers wait for the one that
// has lost its CPU, and one thread alone may be faster.
//
// Calls report how long their threads waited for each other. Where that is too long, the next calls take fewer. From
// then on a scout, a thread of the lowest priority there is, sleeps for a few milliseconds at a time: where it wakes
// up on time again and again, a CPU is free, and calls may take more.
#pragma once

#include <cstdint>

namespace xrnn {

// How many threads calls may have now, by what those before have waited; MOST_THREADS where nothing is known against it.
int load_limit();

// A call of n threads has ended `now`, by clock_now(), and taken so many nanoseconds; `waited` is how many of them
// somebody waited for somebody who was late, on average over those who can wait.
void report_call(int n, int64_t elapsed, int64_t waited, int64_t now);

// That a call would take so many threads, more than the limit: the scout looks on while there are such calls.
void report_wish(int threads);

// The share of the time that threads had waited when the limit was lowered last, in percent.
int waited_percent();

// Without a limit by load: for tests and measurements.
void ignore_load(bool ignore);

// ---- the rule ----

// Recent calls in nanoseconds: older ones count for less and less.
struct Waits {
    int64_t elapsed = 0, waited = 0;

    Waits and_then(int64_t elapsed, int64_t waited) const;
    bool too_long(bool in_trial) const;  // in_trial: more threads have been taken a moment ago
};

// The next lower and the next higher limit.
int fewer_threads(int n);
int more_threads(int n);

// How many times in a row the scout must be on time before calls take more threads, after a number that was enough the
// last time; `held`: more threads didn't have to wait.
int naps_needed(int needed, bool held);

}  // namespace xrnn

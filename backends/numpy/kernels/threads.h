// What the pool and the scout need of the operating system: threads, where they run, time.
#pragma once

#include <cstdint>

#include <pthread.h>

namespace xrnn {

// A set of CPUs, as the operating system has it.
struct Cpus {
    alignas(8) unsigned char bits[128];

    bool operator==(const Cpus& other) const { return __builtin_memcmp(bits, other.bits, sizeof bits) == 0; }
};

// Those that the caller may run on, and so the threads that work for it. Python sets a process's affinity thread by thread.
Cpus all_cpus();

// A thread that runs until the process ends, with all signals blocked: they are for Python's own. False where there is
// none to be had.
bool start_thread(void* (*f)(void*), void* argument, pthread_t* thread);

// Linux likes to start or wake a thread on the CPU of the one that does so, and two that wait for each other may end on
// one CPU beside an idle one; they then take turns for milliseconds. So a thread that is about to be woken is kept off
// the caller's CPU, until it calls run_on; a new one is so from its beginning; and a thread that waits for long moves.
// Where there is but one CPU to run on, all run there.
void keep_off_this_cpu(pthread_t thread, const Cpus& of);
void run_on(const Cpus& cpus);
void leave_this_cpu();

int64_t clock_now();  // nanoseconds
void sleep_for(int64_t nanoseconds);

// For loops that wait: leave what can be left of the core to its other hardware thread.
void relax();

}  // namespace xrnn

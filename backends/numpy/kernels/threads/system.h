// What the threads use of the operating system: threads, CPU affinity, forks, time.
#pragma once

#include <cstdint>
#include <thread>

namespace xrnn {

// The most threads of one call.
constexpr int MOST_THREADS = 64;

// A set of CPUs, in the operating system's format.
struct Cpus {
    alignas(8) unsigned char bits[128];

    bool operator==(const Cpus& other) const { return __builtin_memcmp(bits, other.bits, sizeof bits) == 0; }
};

// The CPUs that the calling thread may use. Its workers use the same ones: Python sets the affinity of single threads.
Cpus all_cpus();

// Their number, without OpenMP.
int count_cpus();

// The system's name of a thread.
using Thread = std::thread::native_handle_type;

// Start a thread that runs until the process ends. It blocks all signals, so that they reach Python's own threads.
// False if the system has no more threads.
bool start_thread(void* (*f)(void*), void* argument, Thread* thread);

// Linux often starts or wakes a thread on the CPU of the thread that does so. Two threads that wait for each other may
// then take turns on one CPU for milliseconds, beside an idle CPU. Therefore:
// - a thread that is about to be woken is kept off the caller's CPU, until it calls run_on itself;
// - a new thread starts on another CPU than its creator's;
// - a thread that waits for long leaves its CPU.
// If only one CPU is allowed, all threads stay on it. On macOS and Windows these functions do nothing.
void keep_off_this_cpu(Thread thread, const Cpus& of);
void run_on(const Cpus& cpus);
void leave_this_cpu();

bool in_forked_child();

int64_t clock_now();  // nanoseconds

void sleep_for(int64_t nanoseconds);

// For loops that wait: leaves the core's resources to its other hardware thread.
void relax();

// Asks the system whether this process may use tile registers (AMX). Linux gives them only to processes that ask: a signal
// handler then needs a larger stack.
struct TilePermission {
    bool has_tiles = false;  // the CPU has them, for bfloat16 and for bytes
    int error = 0;           // errno, if the system refuses
    bool granted() const { return has_tiles && !error; }
};
TilePermission ask_for_tiles();

// The operations of this thread that use the tile registers now: more than one if a signal handler has interrupted one
// and started another. All files share it.
int& running_tile_jobs();

}  // namespace xrnn

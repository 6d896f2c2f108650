// How the threads of one operation meet, and how a signal ends the operation early.
#pragma once

#include <cstdint>

#include "system.h"

namespace xrnn {

// Whether the threads of an operation must return early. What they have written is then undefined.
struct Stop {
    // On thread 0: calls the interrupt function if 50 ms have passed since the last time. On all others: reads the
    // answer.
    bool check(int id);

   private:
    int requested = 0;
    int64_t asked_at = 0;
};

// The function that decides whether an operation stops. It may take the GIL and run signal handlers, which may
// themselves run operations.
void set_interrupt(bool (*interrupted)());

// A barrier of n threads: what each thread wrote before it arrived is visible to all threads that have awaited it.
//
// Each thread raises a flag of its own and reads the flags of the others. This takes one transfer from cache to cache;
// a shared counter takes three. Between `arrive` and `await` a thread may do work that needs no other thread.
struct Barrier {
    explicit Barrier(int n);  // not inline: it would be a weak symbol of every level
    void arrive(int id);
    void await(int id, int n);  // until all n threads have arrived as often as this one, or `stop` is requested
    void wait(int id, int n);   // arrive, then await

    Stop stop;

   private:
    struct alignas(64) Flag {
        int64_t raised;  // how often
    };
    Flag flags[MOST_THREADS];
};

}  // namespace xrnn

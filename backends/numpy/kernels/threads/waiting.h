// Waiting for another thread: spinning at first, then in short sleeps.
#pragma once

#include <cstdint>

namespace xrnn {

// One wait: call `once` in a loop until the other thread is there.
//
// Threads that meet are microseconds apart, or as much as their shares of the work differ. After 0.2 ms, or `at_least`
// nanoseconds if that is more, the other thread has probably lost its CPU to another program. The waiting thread then
// moves to another CPU and sleeps.
class Waiting {
   public:
    explicit Waiting(int64_t at_least = 0) : limit(at_least > LONG ? at_least : LONG) {}
    void once();
    bool is_long() const { return slept; }

   private:
    static constexpr int64_t LONG = 200'000, SLEEP = 50'000;  // nanoseconds; waking up takes as long as SLEEP
    // Reading the clock takes as long as a few spins.
    static constexpr int SPINS_BEFORE_THE_CLOCK = 256, SPINS_BETWEEN_READINGS = 32;
    const int64_t limit;
    int64_t began = 0;
    int spins = 0;
    bool slept = false;
};

// How often a thread has waited long for another, or an operation ran without a thread that did not answer. Both happen
// if other threads use the CPUs.
int64_t count_delays();
void note_delay();

}  // namespace xrnn

#include "waiting.h"

#include "system.h"

namespace xrnn {

namespace {

// Reading the clock takes as long as a few spins.
constexpr int SPINS_BEFORE_THE_CLOCK = 256, SPINS_BETWEEN_READINGS = 32;
constexpr int64_t SLEEP = 50'000;  // nanoseconds; waking up takes as long again

}  // namespace

void Waiting::once() {
    relax();
    if (!slept) {
        if (++spins < SPINS_BEFORE_THE_CLOCK) return;
        if (!began) began = clock_now();
        if (spins % SPINS_BETWEEN_READINGS || clock_now() - began < limit) return;
        leave_this_cpu();  // the other thread may be queued for this CPU
        slept = true;
    }
    sleep_for(SLEEP);
}

}  // namespace xrnn

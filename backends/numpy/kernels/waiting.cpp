#include "waiting.h"

#include "threads.h"

namespace xrnn {

namespace {

// A look at the clock takes as long as a few spins.
constexpr int SPINS_BEFORE_THE_CLOCK = 256, SPINS_BETWEEN_LOOKS = 32;
constexpr int64_t NAP = 50'000;  // nanoseconds; waking from it takes as long again

thread_local int64_t waited = 0;

}  // namespace

void Waiting::once() {
    relax();
    if (!slept) {
        if (++spins < SPINS_BEFORE_THE_CLOCK) return;
        if (!began) began = clock_now();
        if (spins % SPINS_BETWEEN_LOOKS || clock_now() - began < limit) return;
        leave_this_cpu();  // the other may be waiting for it
        slept = true;
    }
    sleep_for(NAP);
}

Waiting::~Waiting() {
    if (slept) waited += clock_now() - began;
}

void add_waited(int64_t nanoseconds) { waited += nanoseconds; }

int64_t take_waited() {
    const int64_t result = waited;
    waited = 0;
    return result;
}

}  // namespace xrnn

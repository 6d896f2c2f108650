#include "waiting.h"

#include <atomic>

#include "system.h"

namespace xrnn {

static std::atomic<int64_t> delays{0};

int64_t count_delays() { return delays.load(std::memory_order_relaxed); }

void note_delay() { delays.fetch_add(1, std::memory_order_relaxed); }

void Waiting::once() {
    relax();
    if (!slept) {
        if (++spins < SPINS_BEFORE_THE_CLOCK) return;
        if (!began) began = clock_now();
        if (spins % SPINS_BETWEEN_READINGS || clock_now() - began < limit) return;
        leave_this_cpu();  // the other thread may be queued for this CPU
        slept = true;
        note_delay();
    }
    sleep_for(SLEEP);
}

}  // namespace xrnn

#include "waiting.h"

#include "system.h"

namespace xrnn {

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

#include "job.h"

#include "waiting.h"

namespace xrnn {

static std::atomic<bool> required{false};

void require_all_threads(bool r) { required = r; }

bool all_threads_required() { return required.load(std::memory_order_relaxed); }

void Job::lead(int n) {
    const int64_t began = clock_now();
    f(0, n, context);
    const int64_t elapsed = clock_now() - began;
    // The shares of the other threads may be somewhat larger.
    for (Waiting waiting(elapsed / 4); running.load(std::memory_order_acquire);) {
        if (in_forked_child()) return;
        waiting.once();
        if (stop && waiting.is_long()) stop->check(0);
    }
}

}  // namespace xrnn

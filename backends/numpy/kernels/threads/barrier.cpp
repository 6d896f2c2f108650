#include "barrier.h"

#include "scratch.h"
#include "waiting.h"

namespace xrnn {

namespace {

constexpr int64_t BETWEEN_INTERRUPTS = 50'000'000;  // nanoseconds

bool (*interrupted)() = [] { return false; };

}  // namespace

void set_interrupt(bool (*f)()) { interrupted = f; }

bool Stop::check(int id) {
    if (id != 0) return __atomic_load_n(&requested, __ATOMIC_RELAXED);
    const int64_t now = clock_now();
    if (!asked_at) asked_at = now;
    if (requested || now - asked_at < BETWEEN_INTERRUPTS) return requested;
    const ScratchSetAside mine;
    if (interrupted()) __atomic_store_n(&requested, 1, __ATOMIC_RELAXED);
    asked_at = clock_now();
    return requested;
}

Barrier::Barrier(int n) {
    for (int id = 0; id < n; ++id) flags[id].raised = 0;
}

void Barrier::arrive(int id) { __atomic_store_n(&flags[id].raised, flags[id].raised + 1, __ATOMIC_RELEASE); }

void Barrier::await(int id, int n) {
    for (int other = 0; other < n; ++other)
        // A thread that is one step ahead has raised its flag once more than this one.
        for (Waiting waiting; __atomic_load_n(&flags[other].raised, __ATOMIC_ACQUIRE) < flags[id].raised;) {
            waiting.once();
            if (waiting.is_long() && stop.check(id)) return;
        }
}

void Barrier::wait(int id, int n) {
    arrive(id);
    await(id, n);
}

}  // namespace xrnn

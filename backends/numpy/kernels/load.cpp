#include "load.h"

#include "parallel.h"
#include "threads.h"

#include <atomic>

#include <pthread.h>
#include <sched.h>

namespace xrnn {

namespace {

constexpr int64_t MILLISECOND = 1'000'000;

// The share of the time that threads may wait, in percent. Two that wait for w of it are 2 (1 - w) times as fast as one:
// from 3/8 on they gain less than a quarter, and earlier where they gain less than that when nobody waits.
constexpr int64_t MAY_WAIT = 30;
// Calls of so long must have waited, or a single stop of a virtual CPU would be taken for a busy machine. Where more
// threads are only tried, less is enough: a trial that fails costs speed for as long as it lasts.
constexpr int64_t EVIDENCE = 30 * MILLISECOND, EVIDENCE_IN_TRIAL = 10 * MILLISECOND;
// The time in which what has happened loses half its weight: after long calls without a wait, 26 ms of nothing else are
// too much.
constexpr int64_t MEMORY = 2 * EVIDENCE;

// How long the scout sleeps, and by how much it may oversleep where a CPU is free. Where none is, it is tens of
// milliseconds; a timer in a virtual machine is up to 0.2 late.
constexpr int64_t NAP = 4 * MILLISECOND, ON_TIME = 1 * MILLISECOND;
constexpr int FEWEST_NAPS = 4, MOST_NAPS = 128, MOST_ON_TIME = 16;  // 16 ms; half a second; 64 ms of a free CPU
// More threads that have to wait again so soon after the scout's word have not held.
constexpr int64_t TRIAL = 100 * MILLISECOND;
// The scout is late also where the others would give way, being of low priority themselves, and where a virtual
// machine's timers are late. Then only a trial tells: after so long for each nap that is needed, 32 ms to 1 s.
constexpr int64_t TRY_ANYWAY = 2 * NAP;
// A process that hasn't wished for threads so long needs no scout.
constexpr int64_t IDLE = 200 * MILLISECOND;

std::atomic<int> limit{MOST_THREADS}, percent{0}, scouting{0}, wished{1};
std::atomic<int64_t> recent_elapsed{0}, recent_waited{0}, lowered_at{0}, raised_at{0}, wished_at{0};
std::atomic<int> needed{FEWEST_NAPS};
std::atomic<bool> ignored{false};

// Without a lowest priority the scout would take CPU time from the others: then only a trial tells.
bool lower_priority() {
#if defined(__linux__)
    sched_param none = {};
    return sched_setscheduler(0, SCHED_IDLE, &none) == 0;
#else
    return false;
#endif
}

void raise_limit(int64_t now) {
    int seen = limit.load();
    const int more = more_threads(seen);
    raised_at = now;
    limit.compare_exchange_strong(seen, more >= wished.load() ? MOST_THREADS : more);
}

// It takes no lock: whoever waited for it would wait for a thread that hardly ever runs.
void* scout(void*) {
    const bool lowest = lower_priority();
    for (int on_time = 0;;) {
        const int64_t before = clock_now();
        if (limit.load() == MOST_THREADS || before - wished_at.load() > IDLE) {
            // A wish that comes just now may be missed: the next call has it again.
            scouting.store(0);
            scouting.wait(0);
            on_time = 0;
            continue;
        }
        sleep_for(NAP);
        const int64_t now = clock_now();
        on_time = lowest && now - before - NAP < ON_TIME ? on_time + 1 : 0;
        const int naps = needed.load();
        if (on_time >= (naps < MOST_ON_TIME ? naps : MOST_ON_TIME) || now - lowered_at.load() > naps * TRY_ANYWAY) {
            raise_limit(now);
            lowered_at = now;
            on_time = 0;
        }
    }
    return nullptr;
}

}  // namespace

int load_limit() {
    return ignored.load(std::memory_order_relaxed) ? MOST_THREADS : limit.load(std::memory_order_relaxed);
}

int waited_percent() { return percent.load(); }

void ignore_load(bool ignore) { ignored.store(ignore); }

void report_call(int n, int64_t elapsed, int64_t waited, int64_t now) {
    if (ignored.load(std::memory_order_relaxed)) return;
    const Waits before = {recent_elapsed.load(std::memory_order_relaxed),
                          recent_waited.load(std::memory_order_relaxed)};
    const Waits waits = before.and_then(elapsed, waited);
    const bool in_trial = now - raised_at.load(std::memory_order_relaxed) < TRIAL;
    if (!waits.too_long(in_trial)) {
        recent_elapsed.store(waits.elapsed, std::memory_order_relaxed);
        recent_waited.store(waits.waited, std::memory_order_relaxed);
        return;
    }
    recent_elapsed = 0, recent_waited = 0;
    percent = static_cast<int>(100 * waits.waited / waits.elapsed);
    needed = naps_needed(needed.load(), !in_trial);
    lowered_at = now;
    limit = fewer_threads(n);
    report_wish(n);
}

void report_wish(int threads) {
    wished.store(threads, std::memory_order_relaxed);
    const int64_t now = clock_now();
    if (now - wished_at.load(std::memory_order_relaxed) < NAP && scouting.load(std::memory_order_relaxed)) return;
    wished_at = now;
    static pthread_t thread;
    static const bool started = start_thread(scout, nullptr, &thread);
    if (!started) {  // there are no more threads to be had
        limit = MOST_THREADS;
        return;
    }
    keep_off_this_cpu(thread, all_cpus());  // where it would hardly ever run
    if (!scouting.exchange(1)) scouting.notify_one();
}

// ---- the rule ----

Waits Waits::and_then(int64_t elapsed_, int64_t waited_) const {
    Waits sum = {elapsed + elapsed_, waited + (waited_ < elapsed_ ? waited_ : elapsed_)};
    if (sum.elapsed > MEMORY && !sum.too_long(false)) sum.elapsed /= 2, sum.waited /= 2;
    return sum;
}

bool Waits::too_long(bool in_trial) const {
    return elapsed >= (in_trial ? EVIDENCE_IN_TRIAL : EVIDENCE) && 100 * waited > MAY_WAIT * elapsed;
}

int fewer_threads(int n) { return n > 4 ? n - n / 4 : n > 1 ? n - 1 : 1; }

int more_threads(int n) { return n + (n + 1) / 2; }

int naps_needed(int needed, bool held) {
    if (held) return FEWEST_NAPS;
    return 2 * needed < MOST_NAPS ? 2 * needed : MOST_NAPS;
}

}  // namespace xrnn

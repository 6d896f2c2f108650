#include "load.h"

#include "system.h"

#include <atomic>

#include <sched.h>

namespace xrnn {

namespace {

constexpr int64_t MILLISECOND = 1'000'000;

// The share of the time that threads may wait, in percent. Two threads that wait for a share w are 2 (1 - w) times as
// fast as one: from w = 3/8 on they gain less than a quarter. In practice the gain falls below that earlier.
constexpr int64_t MAY_WAIT = 30;
// Calls of this total length are needed before the limit is lowered: a single pause of a virtual CPU is no busy
// machine. Shortly after the limit was raised less is enough, since a failed trial costs speed as long as it lasts.
constexpr int64_t EVIDENCE = 30 * MILLISECOND, EVIDENCE_IN_TRIAL = 10 * MILLISECOND;
// Half-life of the wait statistics. After long calls without a wait, 26 ms of waiting are too much.
constexpr int64_t HALF_LIFE = 2 * EVIDENCE;

// How long the probe sleeps, and the delay at wake-up that still counts as on time. The delay is tens of milliseconds
// if no CPU is free, and up to 0.2 ms in a virtual machine with a free CPU.
constexpr int64_t SLEEP = 4 * MILLISECOND, ON_TIME = 1 * MILLISECOND;
// Back-off in wake-ups, from 16 ms to half a second. 16 wake-ups on time, 64 ms of a free CPU, are always enough.
constexpr int FEWEST_WAKE_UPS = 4, MOST_WAKE_UPS = 128, MOST_ON_TIME = 16;
// A raised limit that is lowered again within this time did not hold.
constexpr int64_t TRIAL = 100 * MILLISECOND;
// The probe is also late if the other processes have low priority themselves, or if the timers of a virtual machine are
// late. The limit is then raised all the same, after this time for each wake-up of the back-off: 32 ms to 1 s.
constexpr int64_t TRIAL_INTERVAL = 2 * SLEEP;
// The probe stops if no call has demanded threads for so long.
constexpr int64_t IDLE = 200 * MILLISECOND;

std::atomic<int> limit{MOST_THREADS}, percent{0}, probing{0}, demanded{1};
std::atomic<int64_t> recent_elapsed{0}, recent_waited{0}, lowered_at{0}, raised_at{0}, demanded_at{0};
std::atomic<int> back_off{FEWEST_WAKE_UPS};
std::atomic<bool> ignored{false};

// Without the lowest priority the probe would take CPU time from the other processes: then only trials tell.
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
    limit.compare_exchange_strong(seen, more >= demanded.load() ? MOST_THREADS : more);
}

// It holds no lock: a thread that waited for the lock would wait for a thread that hardly ever runs.
void* probe(void*) {
    const bool lowest = lower_priority();
    for (int on_time = 0;;) {
        const int64_t before = clock_now();
        if (limit.load() == MOST_THREADS || before - demanded_at.load() > IDLE) {
            // A demand that comes right now may be missed: the next call repeats it.
            probing.store(0);
            probing.wait(0);
            on_time = 0;
            continue;
        }
        sleep_for(SLEEP);
        const int64_t now = clock_now();
        on_time = lowest && now - before - SLEEP < ON_TIME ? on_time + 1 : 0;
        const int wake_ups = back_off.load();
        if (on_time >= (wake_ups < MOST_ON_TIME ? wake_ups : MOST_ON_TIME) ||
            now - lowered_at.load() > wake_ups * TRIAL_INTERVAL) {
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
    const WaitStatistics before = {recent_elapsed.load(std::memory_order_relaxed),
                                   recent_waited.load(std::memory_order_relaxed)};
    const WaitStatistics recent = before.after(elapsed, waited);
    const bool in_trial = now - raised_at.load(std::memory_order_relaxed) < TRIAL;
    if (!recent.too_long(in_trial)) {
        recent_elapsed.store(recent.elapsed, std::memory_order_relaxed);
        recent_waited.store(recent.waited, std::memory_order_relaxed);
        return;
    }
    recent_elapsed = 0, recent_waited = 0;
    percent = static_cast<int>(100 * recent.waited / recent.elapsed);
    back_off = next_back_off(back_off.load(), !in_trial);
    lowered_at = now;
    limit = fewer_threads(n);
    report_demand(n);
}

void report_demand(int threads) {
    demanded.store(threads, std::memory_order_relaxed);
    const int64_t now = clock_now();
    if (now - demanded_at.load(std::memory_order_relaxed) < SLEEP && probing.load(std::memory_order_relaxed)) return;
    demanded_at = now;
    static pthread_t thread;
    static const bool started = start_thread(probe, nullptr, &thread);
    if (!started) {
        limit = MOST_THREADS;
        return;
    }
    keep_off_this_cpu(thread, all_cpus());  // where it would hardly ever run
    if (!probing.exchange(1)) probing.notify_one();
}

// ---- the policy ----

WaitStatistics WaitStatistics::after(int64_t elapsed_, int64_t waited_) const {
    WaitStatistics sum = {elapsed + elapsed_, waited + (waited_ < elapsed_ ? waited_ : elapsed_)};
    if (sum.elapsed > HALF_LIFE && !sum.too_long(false)) sum.elapsed /= 2, sum.waited /= 2;
    return sum;
}

bool WaitStatistics::too_long(bool in_trial) const {
    return elapsed >= (in_trial ? EVIDENCE_IN_TRIAL : EVIDENCE) && 100 * waited > MAY_WAIT * elapsed;
}

int fewer_threads(int n) { return n > 4 ? n - n / 4 : n > 1 ? n - 1 : 1; }

int more_threads(int n) { return n + (n + 1) / 2; }

int next_back_off(int wake_ups, bool held) {
    if (held) return FEWEST_WAKE_UPS;
    return 2 * wake_ups < MOST_WAKE_UPS ? 2 * wake_ups : MOST_WAKE_UPS;
}

}  // namespace xrnn

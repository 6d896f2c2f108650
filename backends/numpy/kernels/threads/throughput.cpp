#include "throughput.h"

#include "system.h"

namespace xrnn {

namespace {

constexpr int64_t MILLISECOND = 1'000'000;

// The time after which the calls of a rate have lost half of their weight. Longer than a time slice of another process,
// so that a rate includes slices with and without that process.
constexpr double HALF_LIFE = 40 * MILLISECOND;
// Rates are forgotten at most once in this multiple of HALF_LIFE.
constexpr double FORGETS = 5;
// Let r be the rate with more threads divided by the rate with fewer. More threads are adopted if r > WORTH_MORE, and
// given up if r < WORTH_KEEPING. On free CPUs two threads gain more than that, or the work would not be divided. A
// smaller gain is at the expense of other processes: if all copies of a program used more threads for it, each would be
// slower than with one thread.
constexpr double WORTH_MORE = 1.3, WORTH_KEEPING = 1.25;
// Both, while other processes take CPUs from this one: then it gains most of r at their expense.
constexpr double WORTH_TAKING = 1.5;
// A trial ends after `length`, or after a `moment` if its rate is then below `slower` times the adopted one. Beside
// another process the first milliseconds with more threads, a time slice, are as fast as on a free CPU. A trial of
// more threads is therefore longer. It has at least two calls, since the first must wake the threads.
struct Trial {
    int calls;
    double length, moment, slower;
};
constexpr Trial OF_FEWER = {.calls = 1, .length = 2 * MILLISECOND, .moment = MILLISECOND / 4, .slower = 0.75};
// A contended trial may begin with another process's time slice.
constexpr Trial CONTENDED = {.calls = 1, .length = 20 * MILLISECOND, .moment = 20 * MILLISECOND, .slower = 1};
constexpr Trial OF_MORE = {.calls = 2, .length = 20 * MILLISECOND, .moment = 2 * MILLISECOND, .slower = 1};
// The number of calls before the first trial of fewer threads.
constexpr double FIRST_CALLS = 20;
// A trial that lost some time is repeated after this multiple of that time, or after LONGEST: trials cost 2 %, and a few
// percent if a call takes more than 10 ms.
constexpr double REPAY = 50;
// A trial that lost no time, but gained none either, is repeated after this multiple of its length.
constexpr double REPEAT = 20;
// REPAY and REPEAT hold for fewer threads only if more were less than NEARLY times as fast. Otherwise the next trial
// waits for REPAY_CHECK times the loss, and at least for CHECK: it costs a quarter of a percent.
constexpr double NEARLY = 1.35, REPAY_CHECK = 400, CHECK = 2'000 * MILLISECOND;
// A rate of fewer threads that is younger than this decides without another trial.
constexpr int64_t FRESH = 300 * MILLISECOND;
// Back-off of trials of more threads: at first this time or number of calls, whichever is longer. It doubles while they
// are not adopted, or are given up within HELD or that number of calls.
constexpr int64_t SHORTEST = 10 * MILLISECOND, LONGEST = 500 * MILLISECOND, HELD = 100 * MILLISECOND;
constexpr int64_t SHORTEST_CALLS = 5, HELD_CALLS = 10;

// A kind decides for all once its calls have taken this multiple of the time of the deciding kind. Calls older than
// MEMORY have little weight.
constexpr double TAKES_OVER = 1.5, MEMORY = 200 * MILLISECOND;

int min(int a, int b) { return a < b ? a : b; }
int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }
double max(double a, double b) { return a > b ? a : b; }

double worth_keeping(bool contended) { return contended ? WORTH_TAKING : WORTH_KEEPING; }

}  // namespace

// ---- the policy ----

int fewer_threads(int n) { return n > 4 ? n - n / 4 : n > 1 ? n - 1 : 1; }

int more_threads(int n) { return n + (n + 1) / 2; }

void Rate::add(double multiply_adds_, int64_t elapsed_, int64_t now) {
    multiply_adds += multiply_adds_, elapsed += elapsed_, measured_at = now, ++calls;
    // At least two calls, however long they are.
    if (elapsed > 2 * HALF_LIFE && elapsed > 2.0 * elapsed_) multiply_adds /= 2, elapsed /= 2;
}

int ThreadChoice::scaled(int its_most, int64_t now) const {
    // A trial whose calls have stopped ends with the next of them: until then it does not count.
    const bool tries = tried.threads && now - reported_at < LONGEST;
    const int share = its_most * (tries ? tried.threads : adopted.threads) / most;
    return share > 1 ? share : 1;
}

int ThreadChoice::threads(int64_t now) {
    if (!tried.threads && adopted.threads < most && adopted.elapsed && now >= try_more_at)
        tried = {.threads = min(more_threads(adopted.threads), most)};
    return tried.threads ? tried.threads : adopted.threads;
}

void ThreadChoice::report(int threads, double multiply_adds, int64_t elapsed, int64_t now, bool contended) {
    time_in_calls += elapsed, reported_at = now;
    // Rates of free CPUs say nothing once CPUs are contended. They are forgotten seldom enough for a trial in between.
    if (contended && !was_contended && time_in_calls - forgot_at > FORGETS * HALF_LIFE)
        adopted = {.threads = adopted.threads}, below = tried = {}, forgot_at = time_in_calls;
    was_contended = contended;
    if (threads == tried.threads) {
        tried.add(multiply_adds, elapsed, now);
        judge_trial(elapsed, now, contended);
    } else if (threads == adopted.threads) {
        adopted.add(multiply_adds, elapsed, now);
        if (!tried.threads && threads > 1) consider_fewer(elapsed, now, contended);
    }
}

void ThreadChoice::judge_trial(int64_t elapsed, int64_t now, bool contended) {
    const double ratio = tried.value() / adopted.value();
    const bool is_fewer = tried.threads < adopted.threads;
    const Trial& rule = !is_fewer ? OF_MORE : contended ? CONTENDED : OF_FEWER;
    if (tried.calls < rule.calls || tried.elapsed < (ratio < rule.slower ? rule.moment : rule.length)) return;
    const Rate trial = tried;
    tried = {};
    const double lost = max(trial.elapsed * (1 - ratio), 0), wait = max(REPAY * lost, REPEAT * trial.elapsed);
    if (is_fewer) {
        below = trial;
        if (worth_keeping(contended) * ratio > 1) return adopt_fewer(elapsed, now);
        try_fewer_at = time_in_calls + wait;
        check_fewer_at = time_in_calls + max(REPAY_CHECK * lost, CHECK);
    } else if (ratio > (contended ? WORTH_TAKING : WORTH_MORE)) {
        below = adopted, adopted = trial, adopted_at = now;
    } else {
        back_off = min(max(2 * back_off, static_cast<int64_t>(wait)), LONGEST);
        try_more_at = now + back_off;
    }
}

void ThreadChoice::adopt_fewer(int64_t elapsed, int64_t now) {
    const bool held = now - adopted_at > max(HELD, HELD_CALLS * elapsed);
    back_off = min(max(held ? SHORTEST : 2 * back_off, SHORTEST_CALLS * elapsed), LONGEST);
    try_more_at = now + back_off;
    adopted = below, below = {}, adopted_at = now;
}

void ThreadChoice::consider_fewer(int64_t elapsed, int64_t now, bool contended) {
    if (adopted.elapsed < HALF_LIFE) return;
    const double ratio = below.threads ? below.value() / adopted.value() : 0;
    if (below.threads && now - below.measured_at < FRESH) {
        if (worth_keeping(contended) * ratio > 1) adopt_fewer(elapsed, now);
        return;
    }
    const double first = contended ? 0 : FIRST_CALLS * elapsed;
    const double again = contended || NEARLY * ratio > 1 ? try_fewer_at : check_fewer_at;
    if (time_in_calls >= (below.threads ? again : max(try_fewer_at, first)))
        tried = {.threads = below.threads ? below.threads : fewer_threads(adopted.threads)};
}

// ---- all kinds ----

ThreadLimit::Kind& ThreadLimit::find_or_replace(uint64_t name) {
    Kind* least = &kinds[0];
    for (Kind& kind : kinds) {
        if (kind.name == name) return kind;
        if (kind.elapsed < least->elapsed) least = &kind;
    }
    *least = {.name = name};
    return *least;
}

double ThreadLimit::elapsed_of(uint64_t name) const {
    for (const Kind& kind : kinds)
        if (kind.name == name) return kind.elapsed;
    return 0;
}

int ThreadLimit::threads(uint64_t kind, int most, int64_t now) {
    if (!deciding) return most;
    return kind == deciding ? choice.threads(now) : choice.scaled(most, now);
}

void ThreadLimit::report(uint64_t name, int most, int threads, double multiply_adds, int64_t elapsed_, int64_t now,
                         bool contended) {
    Kind& kind = find_or_replace(name);
    kind.elapsed += elapsed_, elapsed += elapsed_;
    if (elapsed > MEMORY) {
        elapsed /= 2;
        for (Kind& each : kinds) each.elapsed /= 2;
    }
    if (name != deciding && (!deciding || kind.elapsed > TAKES_OVER * elapsed_of(deciding))) {
        choice = ThreadChoice(most, deciding ? choice.scaled(most, now) : most);
        deciding = name, deciding_most = most;
    }
    if (name == deciding) choice.report(threads, multiply_adds, elapsed_, now, contended);
}

namespace {

ThreadLimit limit;
bool ignored = false;

// A process is contended if its threads lost a CPU to others after less than this, on average: two time slices.
constexpr int64_t UNDISTURBED = 8 * MILLISECOND;

// Reading the counts takes a system call. They are read at most this often, and compared after this much CPU time: a
// thread may lose its CPU a few times when it wakes after a pause.
constexpr int64_t SAMPLE = 40 * MILLISECOND;

// Whether this process was contended when its counts were last compared.
bool is_contended(int64_t now) {
    static int64_t read_at = 0;
    static CpuUse last;
    static bool contended = false;
    if (now - read_at < SAMPLE) return contended;
    read_at = now;
    const CpuUse use = cpu_use();
    if (use.time - last.time < SAMPLE) return contended;
    contended = use.time - last.time < UNDISTURBED * (use.losses - last.losses);
    last = use;
    return contended;
}

}  // namespace

MeasuredCall measured_call(uint64_t kind, double multiply_adds, int most, int64_t now) {
    if (ignored || most < 2) return {.most = most, .threads = most};
    return {.kind = kind, .most = most, .threads = limit.threads(kind, most, now), .multiply_adds = multiply_adds};
}

void report_call(const MeasuredCall& call, int64_t elapsed, int64_t now) {
    if (call.kind) limit.report(call.kind, call.most, call.threads, call.multiply_adds, elapsed, now, is_contended(now));
}

const ThreadLimit& thread_limit() { return limit; }

void ignore_throughput(bool ignore) { ignored = ignore; }

}  // namespace xrnn

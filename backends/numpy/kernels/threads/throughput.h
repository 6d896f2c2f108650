// The number of threads of a call, by measured throughput.
//
// While other processes use the CPUs, fewer threads may be faster: threads that meet at barriers wait for the one that
// has lost its CPU. Calls of one kind do the same operation, on sizes that differ by less than a factor of two in their
// length or their work. So their rates, in multiply-adds per nanosecond, are comparable. One kind decides for all, until
// the recent calls of another take 1.5 times as long.
//
// The first kind that decides starts with all threads. From time to time it tries fewer for a few milliseconds, and more
// often if fewer were nearly as fast the last time, or if other processes take CPUs from this one ("contended"): then
// fewer are probably faster. It keeps the smaller number if the larger one gains little. With
// fewer threads than possible it tries more. After a slow trial, the next one waits so long that trials cost about 2 %
// of the time.
#pragma once

#include <cstdint>

namespace xrnn {

// Recent calls on one number of threads; 0 threads: none.
struct Rate {
    int threads = 0, calls = 0;
    int64_t measured_at = 0;                // the end of the last call, by clock_now()
    double multiply_adds = 0, elapsed = 0;  // elapsed: in nanoseconds

    double value() const { return multiply_adds / elapsed; }
    void add(double multiply_adds, int64_t elapsed, int64_t now);
};

// The policy for calls of one kind. All times are nanoseconds, and `now` is by clock_now().
class ThreadChoice {
   public:
    explicit ThreadChoice(int most = 1, int adopted = 1) : most(most), adopted{.threads = adopted} {}

    // The number of threads of the next call.
    int threads(int64_t now);

    // The same number for a call of another kind that could use `its_most` threads.
    int scaled(int its_most, int64_t now) const;

    // A call on this number of threads has ended now.
    void report(int threads, double multiply_adds, int64_t elapsed, int64_t now, bool contended);

    int adopted_threads() const { return adopted.threads; }

   private:
    void judge_trial(int64_t elapsed, int64_t now, bool contended);
    void adopt_fewer(int64_t elapsed, int64_t now);
    void consider_fewer(int64_t elapsed, int64_t now, bool contended);

    int most;
    Rate adopted;
    Rate below;  // a smaller number of threads: the rate of its last use
    Rate tried;  // the number in use during a trial; 0 threads: no trial
    bool was_contended = false;
    int64_t reported_at = 0, adopted_at = 0, try_more_at = 0, back_off = 0;
    double time_in_calls = 0, forgot_at = 0, try_fewer_at = 0, check_fewer_at = 0;  // pauses between calls do not count
};

// The next lower and the next higher number of threads.
int fewer_threads(int n);
int more_threads(int n);

// The policy for all calls. The kind of a call is any hash of its operation, its sizes and the most threads that it can
// use.
class ThreadLimit {
   public:
    int threads(uint64_t kind, int most, int64_t now);
    void report(uint64_t kind, int most, int threads, double multiply_adds, int64_t elapsed, int64_t now,
                bool contended);

    // The most threads of the deciding kind, and the number that it has adopted.
    int most() const { return deciding_most; }
    int adopted() const { return choice.adopted_threads(); }

   private:
    struct Kind {
        uint64_t name = 0;
        double elapsed = 0;  // nanoseconds of recent calls
    };
    Kind& find_or_replace(uint64_t name);
    double elapsed_of(uint64_t name) const;

    static constexpr int KINDS = 16;
    Kind kinds[KINDS];
    double elapsed = 0;  // of all kinds
    uint64_t deciding = 0;
    int deciding_most = 1;
    ThreadChoice choice;  // of the deciding kind
};

// One call. The functions below share one ThreadLimit without a lock: their callers hold the GIL.
struct MeasuredCall {
    uint64_t kind = 0;  // 0: not measured
    int most = 1, threads = 1;
    double multiply_adds = 0;
};

// A call that could use `most` threads, with its number of threads.
MeasuredCall measured_call(uint64_t kind, double multiply_adds, int most, int64_t now);

void report_call(const MeasuredCall& call, int64_t elapsed, int64_t now);

const ThreadLimit& thread_limit();

// For tests and measurements: always use all threads.
void ignore_throughput(bool ignore);

}  // namespace xrnn

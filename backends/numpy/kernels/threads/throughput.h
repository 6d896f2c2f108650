// The number of threads of a call, by measured throughput.
//
// While other processes use the CPUs, fewer threads may be faster: threads that meet at barriers wait for the one that
// has lost its CPU. The number of threads with the highest average throughput is used. The average is over a second of
// calls, which is longer than the rhythm of most other processes. Short blocks of calls at random times try the next
// lower and the next higher number.
//
// If the threads get much less CPU time than they ask for, others compete for the CPUs. What this process gains by more
// threads, the other processes lose. So fewer threads are used, even if they are slower: each copy of a program would
// otherwise gain by more threads, whatever the others do, and all copies together would be slower.
#pragma once

#include <cstdint>
#include <functional>

namespace xrnn {

int64_t cpu_time();  // of this process

// The policy for all calls. The kind of a call is any hash of its operation, its sizes and the most threads that it can
// use. All times are nanoseconds; `now` is by clock_now(), and cpu_clock reads the CPU time of this process.
class ThreadLimit {
   public:
    explicit ThreadLimit(std::function<int64_t()> cpu_clock = cpu_time) : cpu_clock(std::move(cpu_clock)) {}

    // The number of threads of the next call, which could use `most`.
    int threads(int most) const { return at_level(most, level); }

    // A call has ended now.
    void report(uint64_t kind, int most, int threads, double multiply_adds, int64_t elapsed, int64_t now);

    // For the last call: the most threads that it could use, and the number without trials.
    int most() const { return last_most; }
    int adopted() const { return at_level(last_most, adopted_level); }

   private:
    // Level l is `most`, reduced to two thirds l times.
    static constexpr int LEVELS = 10;
    static int at_level(int most, int level);

    // Sums over recent calls, in nanoseconds. The work of a call is its time at the highest rate of its kind: so calls of
    // all kinds are comparable.
    struct Sums {
        double work = 0, elapsed = 0;
        double asked = 0, cpu = 0;  // the CPU time of threads that never lose their CPU, and the real one
        double rate() const { return work / elapsed; }
        double share() const { return 2 * asked > elapsed ? cpu / asked : 1; }  // 1 if it is mostly unknown
        void add(const Sums& other) {
            work += other.work, elapsed += other.elapsed, asked += other.asked, cpu += other.cpu;
        }
        void scale(double by) { work *= by, elapsed *= by, asked *= by, cpu *= by; }
    };
    // 0 for the first call of a kind, whose rate has nothing to be compared with.
    double work_of(uint64_t kind, double multiply_adds, int64_t elapsed);
    void end_block(int64_t now);
    bool is_known(int level) const;
    bool pays(int level) const;
    double chance(int level) const;
    double random();

    const std::function<int64_t()> cpu_clock;
    int level = 0, adopted_level = 0, last_most = 1;
    Sums recent[LEVELS], block;
    int64_t block_began = 0, cpu_began = 0, last_end = 0;
    struct {
        uint64_t name = 0;
        double rate = 0;  // the highest, in multiply-adds per nanosecond
    } kinds[64];
    uint32_t random_state = 1;
};

}  // namespace xrnn

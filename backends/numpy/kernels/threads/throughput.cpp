#include "throughput.h"

#include <algorithm>
#include <ctime>

#include "pool.h"

namespace xrnn {

namespace {

constexpr double MILLISECOND = 1e6;

// Shortest length of a block, which is a run of calls on one number of threads. Beside another process, the first
// milliseconds (a time slice) are as fast as on a free CPU.
constexpr double BLOCK = 20 * MILLISECOND;
// The time after which calls have lost most of their weight: a few periods of a neighbour that computes for 0.1 s and
// then sleeps.
constexpr double MEMORY = 1'000 * MILLISECOND;
// Averages over less call time are not compared: they hold one block, or blocks that have lost their weight.
constexpr double ENOUGH = 30 * MILLISECOND;
// The part of the throughput that trials may cost, and the largest part of the blocks that are trials.
constexpr double COST = 0.007, MOST_TRIALS = 0.1;
// If each thread gets less than this part of a CPU, others compete for the CPUs. Two threads on two CPUs get 0.63 to
// 0.89 beside a process that computes half of the time or less, and at most 0.59 beside one that always computes.
constexpr double UNCONTENDED = 0.6;

}  // namespace

int64_t cpu_time() { return static_cast<int64_t>(1e9 / CLOCKS_PER_SEC * static_cast<double>(std::clock())); }

int ThreadLimit::at_level(int most, int level) {
    while (level--) most = most > 1 ? most - (most + 2) / 3 : 1;
    return most;
}

double ThreadLimit::random() {
    random_state = 1'664'525 * random_state + 1'013'904'223;
    return random_state / 4'294'967'296.0;
}

double ThreadLimit::work_of(uint64_t name, double multiply_adds, int64_t elapsed) {
    size_t place = name * 0x9E3779B97F4A7C15 >> 58;  // of 64; the low bits of two hashes are often equal
    if (kinds[place].rate && kinds[place].name != name) place ^= 1;
    auto& kind = kinds[place];
    const double rate = multiply_adds / static_cast<double>(elapsed);
    if (kind.name != name) {
        kind = {.name = name, .rate = rate};
        return 0;
    }
    if (rate > kind.rate) kind.rate = rate;
    return multiply_adds / kind.rate;
}

void ThreadLimit::report(uint64_t kind, int most, int threads, double multiply_adds, int64_t elapsed, int64_t now) {
    last_most = most;
    const double time = static_cast<double>(elapsed), pause = static_cast<double>(now - elapsed - last_end);
    const double polling = std::min<double>(pause, POLLING);  // workers that wait for the next call
    block.asked += threads * (time + polling) + (pause - polling) / 2;  // perhaps the caller slept
    last_end = now;
    if (threads != this->threads(most)) return;  // the others were asleep
    const double work = work_of(kind, multiply_adds, elapsed);
    if (!work) return;  // the first call of its kind
    block.work += work, block.elapsed += time;
    if (block.elapsed >= BLOCK) end_block(now);
}

void ThreadLimit::end_block(int64_t now) {
    const int64_t cpu = cpu_clock();
    for (Sums& each : recent) each.scale(MEMORY / (MEMORY + block.elapsed));
    if (block_began) {  // unknown for the first block
        block.cpu = static_cast<double>(cpu - cpu_began);
        if (static_cast<double>(now - block_began) > 2 * block.elapsed) block.asked = block.cpu = 0;  // mostly pauses
        recent[level].add(block);
    }
    block = {}, block_began = now, cpu_began = cpu;

    const bool was_trial = level != adopted_level, has_fewer = adopted() > 1, has_more = adopted_level > 0;
    if (has_fewer && is_known(adopted_level + 1) && !pays(adopted_level))
        ++adopted_level;
    else if (has_more && is_known(adopted_level - 1) && pays(adopted_level - 1))
        --adopted_level;
    level = adopted_level;
    if (was_trial) return;
    const bool try_fewer = has_fewer && (!has_more || random() < 0.5);
    const int other = adopted_level + (try_fewer ? 1 : -1);
    if (other >= 0 && other < LEVELS && random() < chance(other)) level = other;
}

// Whether the throughput at this level can be compared with the adopted one.
bool ThreadLimit::is_known(int other) const {
    return recent[other].elapsed >= ENOUGH && recent[adopted_level].elapsed >= ENOUGH;
}

// Whether this level is better than the next one, which has fewer threads.
bool ThreadLimit::pays(int l) const {
    if (at_level(last_most, l) == at_level(last_most, l + 1)) return true;  // one thread: a higher level may have more
    return recent[l].share() >= UNCONTENDED && recent[l].rate() > recent[l + 1].rate();
}

// The probability of a trial of this level in the next block.
double ThreadLimit::chance(int other) const {
    if (!recent[other].elapsed) return 1;
    const double lost = 1 - recent[other].rate() / recent[adopted_level].rate();
    return lost * MOST_TRIALS > COST ? COST / lost : MOST_TRIALS;
}

}  // namespace xrnn

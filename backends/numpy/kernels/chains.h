// The division of the sums over the hidden units into chains (tile.h).
#pragma once

#include "weights.h"

namespace {

// The order of the sums over the hidden units, for operands with elements P. With few rows, threads usually divide the
// columns. The chains are then so short that each of up to four threads has a complete chain of its own units. It can
// sum this chain while the other threads finish the previous step.
template <class P>
Order order_of_recurrence(int64_t N, int64_t H, int gates) {
    constexpr int64_t MANY_ROWS = 8, SHORTEST = 64 / TERMS<P>;
    const int64_t quarter = (elements<P>(H) / 4 + SHORTEST / 2 - 1) / (SHORTEST / 2) * (SHORTEST / 2);
    const int64_t chain = N >= MANY_ROWS || quarter > CHAIN ? CHAIN : quarter < SHORTEST ? SHORTEST : quarter;
    // If reading the weights takes most of the time, a second partial sum only takes room in a strip.
    return {!IS_PAIR<P> && is_wide<P>(N, H, gates * H) ? 1 : partials<Sum<P>>(N, H, widest(N)), chain};
}

// The chains whose units all lie in [first, last): a thread that owns these units can sum them without the others. All
// numbers count elements: pairs of units, if the operands are pairs.
struct LocalChains {
    static constexpr int MOST = 2;  // a tile has room for this number of segments
    int64_t begin = 0, end = 0, chain = 0;
    int count = 0;

    LocalChains() = default;
    LocalChains(int64_t first, int64_t last, int64_t H, int64_t chain) : chain(chain) {
        const int64_t from = (first + chain - 1) / chain * chain;
        int64_t to = last == H ? H : last / chain * chain;
        if (to > from + MOST * chain) to = from + MOST * chain;
        if (from < to) {
            begin = from;
            end = to;
            count = int((to - from + chain - 1) / chain);
        }
    }
    int64_t chain_begin(int i) const { return begin + i * chain; }
    int64_t chain_end(int i) const { return i + 1 < count ? begin + (i + 1) * chain : end; }
};

}  // namespace

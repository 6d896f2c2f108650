// What the passes ask of a cell: which columns of the weights feed which pre-activation.
#pragma once

#include "cell_list.h"
#include "weights.h"

namespace {

// Gate g is pre-activation number g. x_of[g] and h_of[g] are the numbers of the blocks of H columns in Wx and in Wh
// that feed it, or -1; b_of[g] is that of its bias: the gates that x feeds, in their order, then the others.
constexpr int MOST_GATES = 4;

struct Gates {
    int count;  // PRE
    int x_count, h_count;
    int x_of[MOST_GATES], h_of[MOST_GATES], b_of[MOST_GATES];
};

template <class Cell>
constexpr Gates gates_of() {
    Gates gates = {Cell::PRE, sizeof(Cell::FROM_X) / sizeof(int), sizeof(Cell::FROM_H) / sizeof(int),
                   {-1, -1, -1, -1}, {-1, -1, -1, -1}, {}};
    for (int i = 0; i < gates.x_count; ++i) gates.x_of[Cell::FROM_X[i]] = i;
    for (int i = 0; i < gates.h_count; ++i) gates.h_of[Cell::FROM_H[i]] = i;
    for (int g = 0, others = gates.x_count; g < gates.count; ++g)
        gates.b_of[g] = gates.x_of[g] < 0 ? others++ : gates.x_of[g];
    return gates;
}

// A linear map alone.
constexpr Gates ONE_GATE = {1, 1, 0, {0, -1, -1, -1}, {-1, -1, -1, -1}, {}};

// The next terms of t's sums: dz (rows, gates · H) @ Wᵀ, of the gates that W, transposed, has. Gates that follow each
// other in both are one segment.
template <class S>
XRNN_INLINE void add_gates(Tile<S>& t, const Weights<S>& WT, Piece p, int gates, const int (&of)[MOST_GATES],
                           int64_t H, const S* dz, int64_t dz_row) {
    for (int g = 0, end; g < gates; g = end) {
        end = g + 1;
        if (of[g] < 0) continue;
        while (end < gates && of[end] == of[end - 1] + 1) ++end;
        WT.add_to(t, p, 0, dz + g * H, dz_row, of[g] * H, (of[g] + end - g) * H);
    }
}

// How the sums over the hidden units are made. Where rows are few, threads are likely to divide the columns; then the
// chains are short enough for each of up to four threads to have one of its own, which it can sum before the others
// have finished the step before.
template <class S>
Order order_of_recurrence(int64_t N, int64_t H, int gates) {
    constexpr int64_t MANY_ROWS = 8, SHORTEST = 64;
    const int64_t quarter = (H / 4 + 31) / 32 * 32;
    const int64_t chain = N >= MANY_ROWS || quarter > CHAIN ? CHAIN : quarter < SHORTEST ? SHORTEST : quarter;
    // Where the time is that of reading the weights, further partial sums only take room in a strip.
    return {is_wide<S>(N, H, gates * H) ? 1 : partials<S>(N, H, widest(N)), chain};
}

// The chains of a sum over the H units whose units all lie in [first, last).
struct OwnChains {
    static constexpr int MOST = 2;  // a tile has room for so many segments
    int64_t begin = 0, end = 0, chain = 0;
    int count = 0;

    OwnChains() = default;
    OwnChains(int64_t first, int64_t last, int64_t H, int64_t chain) : chain(chain) {
        const int64_t from = (first + chain - 1) / chain * chain;
        int64_t to = last == H ? H : last / chain * chain;
        if (to > from + MOST * chain) to = from + MOST * chain;
        if (from < to) begin = from, end = to, count = int((to - from + chain - 1) / chain);
    }
    int64_t chain_begin(int i) const { return begin + i * chain; }
    int64_t chain_end(int i) const { return i + 1 < count ? begin + (i + 1) * chain : end; }
};

}  // namespace

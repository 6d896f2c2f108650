// Which rows of the batch and which panels of columns a thread computes at every step.
#pragma once

#include "weights.h"

namespace {

using xrnn::Barrier;
using xrnn::panel_threads;
using xrnn::Partition;
using xrnn::Split;

// Lets a thread check a Stop about once in 20 µs of work.
class StopPoll {
   public:
    StopPoll(xrnn::Stop& stop, int id) : stop(stop), id(id) {}

    // Call this before some multiply-adds. True: return.
    XRNN_INLINE bool stops(int64_t multiply_adds) {
        left -= multiply_adds;
        return left < 0 ? check() : stopped;
    }
    bool has_stopped() const { return stopped; }

   private:
    static constexpr int64_t INTERVAL = 1'000'000;  // multiply-adds
    xrnn::Stop& stop;
    const int id;
    int64_t left = INTERVAL;
    bool stopped = false;

    bool check() {
        left = INTERVAL;
        if (!stopped) stopped = stop.check(id);
        return stopped;
    }
};

// The rows of the batch in slots, in order of decreasing length. At step t the first active(t) slots are running, and
// the others are past their ends. Without lengths slot s is row s, and all slots run at every step.
struct Slots {
    const int64_t* const lengths;
    const int64_t T, N;
    int64_t* order = nullptr;  // (N,): the row of each slot
    int64_t* ends = nullptr;   // (T+2,): the number of rows that are at least this long

    template <class S>
    Slots(const int64_t* lengths, int64_t T, int64_t N, Arena<S>& arena) : lengths(lengths), T(T), N(N) {
        if (lengths) {
            order = arena.template take_of<int64_t>(N);
            ends = arena.template take_of<int64_t>(T + 2);
        }
    }

    // Counting sort. A length outside [0, T] counts as the nearer end, so that all indices stay within the arrays.
    void sort() const {
        if (!lengths) return;
        for (int64_t t = 0; t <= T + 1; ++t) ends[t] = 0;
        for (int64_t n = 0; n < N; ++n) ++ends[length(n)];
        for (int64_t t = T; t >= 0; --t) ends[t] += ends[t + 1];  // rows of length t or more
        for (int64_t t = 0; t <= T; ++t) ends[t] = ends[t + 1];   // rows longer than t: the first slot of length t
        for (int64_t n = 0; n < N; ++n) order[ends[length(n)]++] = n;
    }

    int64_t row(int64_t slot) const { return order ? order[slot] : slot; }
    int64_t active(int64_t t) const { return ends ? ends[t + 1] : N; }

   private:
    int64_t length(int64_t n) const { return lengths[n] < 0 ? 0 : lengths[n] > T ? T : lengths[n]; }
};

// Whether a pass prefetches: only if the arrays of all steps are larger than a core's own cache. `elements` is their
// number of elements for each unit in a step. Smaller problems were up to 12 % slower with prefetch instructions.
template <class S>
bool is_worth_fetching(const xrnn::Sequence<S>& sequence, int64_t elements) {
    constexpr int64_t MUCH = 2 << 20;  // bytes
    return sequence.N > FEW_ROWS && sequence.T * sequence.N * sequence.H * elements * int64_t(sizeof(S)) > MUCH;
}

// The share of thread `id` of n: the slots first, first + stride, … below `end`, and the panels [panel0, panel1). If
// rows with lengths are divided, the threads take turns slot by slot, so that all have about as many at every step.
template <class S>
struct Share {
    const Panels<S>& panels;
    int64_t first = 0, stride = 1, end, panel0 = 0, panel1, column0, column1;

    Share(const Panels<S>& panels, int64_t rows, bool take_turns, Split split, int id, int n)
        : panels(panels), end(rows), panel1(panels.count) {
        if (split == Split::COLUMNS) {
            panel0 = share(panels.count, id, n);
            panel1 = share(panels.count, id + 1, n);
        } else if (take_turns) {
            first = id;
            stride = n;
        } else {
            first = share(rows, id, n);
            end = share(rows, id + 1, n);
        }
        slot_count = below(end);
        column0 = panels.begin(panel0);
        column1 = panel1 < panels.count ? panels.begin(panel1) : panels.columns;
    }

    int64_t slot(int64_t m) const { return first + m * stride; }
    int64_t count() const { return slot_count; }
    // The number of its slots among the first `active` slots.
    int64_t below(int64_t active) const {
        const int64_t limit = active < end ? active : end;
        if (limit <= first) return 0;
        return stride == 1 ? limit - first : (limit - first + stride - 1) / stride;
    }
    int64_t pieces() const { return panel1 - panel0; }

    // Panel number i at step t. Each step reverses the order of the step before: if the weights do not fit the cache,
    // the panels that were used last are still there.
    Piece piece(int64_t t, int64_t i) const { return panels.piece(t % 2 ? panel1 - 1 - i : panel0 + i); }

   private:
    int64_t slot_count;
};

// a (rows, K) @ weights that are read in strips. The columns of all gates lie side by side; each thread has one range
// of them, in proportion to its units. So it reads long pieces of the rows, but with several gates these are not the
// columns of its own units. `output(c)` is the StripOutput of column c; t as for Share::piece.
template <class S, class Output>
void multiply_in_strips(const Weights<S>& weights, const Share<S>& mine, Order order, const S* a, int64_t a_row,
                        int64_t rows, int64_t t, StopPoll& poll, const Output& output) {
    const int64_t first = weights.gates * mine.column0;
    const Panels<S> strips(weights.gates * mine.column1 - first, 1, STRIP);
    for (int64_t i = 0; i < strips.count; ++i) {
        const int64_t p = t % 2 ? strips.count - 1 - i : i, column = first + strips.begin(p);
        if (poll.stops(rows * weights.K * strips.valid(p))) return;
        const auto& matrix = weights.matrix;
        run_strip<S>(order, a, a_row, rows, matrix.data + column * matrix.col, matrix.row, matrix.col, weights.K,
                     strips.valid(p), [&](int64_t c) { return output(column + c); });
    }
}

// The most rows of N that one thread has.
inline int64_t rows_of_thread(Partition partition, int64_t N) {
    return partition.split == Split::ROWS ? (N + partition.threads - 1) / partition.threads : N;
}

}  // namespace

// The forward pass of a cell without a recurrent product: z = x[t] @ Wx + b + add[t], then one step of
// the cell.
//
// z does not depend on h. The products of several steps are computed first, as one product over the rows of all these
// steps. So tiles are tall even for a batch of one row. Then one pass over these steps, a chunk, runs the cell, with
// the states in registers. A thread owns some rows, or some panels of units, for the complete sequence. It waits for
// the other threads only once, after the weights are packed.
//
// The backward pass is that of all cells (backward.h), without the product and the barrier of a step.
#pragma once

#include "gates.h"
#include "share.h"

namespace {

template <class Cell>
constexpr bool SCANS = gates_of<Cell>().h_count == 0;

template <class P>
struct ScanPass {
    using S = Sum<P>;
    static constexpr int W = Simd<S>::LANES;
    // Rows of x in one product. They share each load of Wx, and their pre-activations stay in the cache.
    static constexpr int64_t ROWS = 96;

    // Some steps of some of my rows. A row is in the chunk at the steps before its end.
    struct Chunk {
        int64_t begin, end;       // steps, in the order of time
        int64_t first, last;      // my rows number first … last - 1
        int64_t at[ROWS + 1];     // the rows of the chunk before each step
        S* sums;                  // (rows of the chunk, gates, a panel)
        int64_t rows() const { return at[end - begin]; }
    };

    // A pointer to `scan_cell<Cell>`, the only code that depends on the cell.
    using ScanCell = void (ScanPass::*)(const Share<S>& mine, const Chunk& chunk, Piece p) const;

    const xrnn::Forward<S>& f;
    const xrnn::Sequence<S>& sequence;
    const Partition partition;
    const int states;
    const Gates& gates;
    const ScanCell scan_of_cell;
    const Panels<S> panels;
    const Order order;
    const int64_t x_length;  // elements of a row of x
    Slots slots;
    S* bias;    // (gates, units): b, each row filled up with zeros
    Weights<P> Wx;
    S* sums;    // (ROWS, gates, a panel) for each thread
    P* x_rows;  // (ROWS, D) for each thread, if the rows of a chunk may be copied side by side
    Barrier barrier;

    ScanPass(Arena<S>& arena, const xrnn::Forward<S>& f, Partition partition, const Shape& shape, ScanCell scan_of_cell)
        : f(f),
          sequence(f.sequence),
          partition(partition),
          states(shape.states),
          gates(shape.gates),
          scan_of_cell(scan_of_cell),
          panels(f.packed ? Panels<S>(sequence.H, f.packed->threads)
                          : Panels<S>(sequence.H, panel_threads(partition), widest(sequence.T * sequence.N))),
          order(order_of_product<S>(sequence.T * sequence.N, sequence.H, widest(sequence.T * sequence.N))),
          x_length(elements<P>(sequence.D)),
          slots(sequence.lengths, sequence.T, sequence.N, arena),
          bias(arena.take(gates.count * panels.padded())),
          Wx(f.packed ? Weights<P>(x_matrix(), f.packed->Wx)
                      : Weights<P>(x_matrix(), {.passes = chunks(), .rows = most_rows()}, arena)),
          sums(arena.take(partition.threads * most_rows() * gates.count * panels.width(0) * W)),
          x_rows(arena.template take_of<P>(may_copy() ? partition.threads * most_rows() * x_length : 0)),
          barrier(partition.threads) {}

    void prepare() {
        slots.sort();
        copy_bias(f, gates, panels.padded(), bias);
    }

    void thread(int id, int n) {
        const Share<S> mine(panels, sequence.N, sequence.lengths, partition.split, id, n);
        const Share<S> packing(panels, sequence.N, false, Split::COLUMNS, id, n);
        if (!f.packed) Wx.pack(packing.panel0, packing.panel1);
        for (int64_t m = 0; m < mine.count(); ++m)
            write_initial_states(f, states, slots.row(mine.slot(m)), mine.column0, mine.column1);
        barrier.wait(id, n);
        StopPoll poll(barrier.stop, id);
        Chunk chunk;
        chunk.sums = sums + id * most_rows() * gates.count * panels.width(0) * W;
        for (chunk.first = 0; chunk.first < mine.count(); chunk.first = chunk.last) {
            chunk.last = chunk.first + ROWS < mine.count() ? chunk.first + ROWS : mine.count();
            const int64_t steps = ROWS / (chunk.last - chunk.first);
            for (int64_t i = 0; i < sequence.T; i += steps) {
                const int64_t count = sequence.T - i < steps ? sequence.T - i : steps;
                chunk.begin = sequence.reverse ? sequence.T - i - count : i;
                chunk.end = chunk.begin + count;
                run(mine, chunk, id, poll);
                if (poll.has_stopped()) return;
            }
        }
    }

    // The cell's steps of a chunk for panel p.
    template <class Cell>
    void scan_cell(const Share<S>& mine, const Chunk& chunk, Piece p) const {
        const int whole = p.last == W ? p.width : p.width - 1;
        int v = 0;
        for (; v + 2 <= whole; v += 2) scan_vectors<Cell, 2, true>(mine, chunk, p, v, W);
        for (; v < whole; ++v) scan_vectors<Cell, 1, true>(mine, chunk, p, v, W);
        if (v < p.width) scan_vectors<Cell, 1, false>(mine, chunk, p, v, p.last);
    }

   private:
    // Whether the rows of x of each chunk are apart, or not of type P.
    bool gathers() const {
        return sequence.lengths || IS_PAIR<P> || (partition.split == Split::ROWS && partition.threads > 1);
    }
    GateMatrix<S> x_matrix() const {
        return {.matrix = sequence.Wx, .part_rows = sequence.D, .panels = panels, .gates = gates.x_count};
    }
    int64_t chunks() const { return (sequence.T * sequence.N + ROWS - 1) / ROWS; }
    // If N > ROWS, the last rows of the batch take several steps at a time.
    bool may_copy() const { return gathers() || (sequence.N > ROWS && sequence.T > 1); }
    int64_t most_rows() const { return sequence.T * sequence.N < ROWS ? sequence.T * sequence.N : ROWS; }

    void run(const Share<S>& mine, Chunk& chunk, int id, StopPoll& poll) const {
        chunk.at[0] = 0;
        for (int64_t t = chunk.begin; t < chunk.end; ++t) {
            const int64_t running = mine.below(slots.active(t)), end = running < chunk.last ? running : chunk.last;
            chunk.at[t - chunk.begin + 1] = chunk.at[t - chunk.begin] + (end > chunk.first ? end - chunk.first : 0);
        }
        const P* const x = x_of(mine, chunk, id);
        for (int64_t j = 0; j < mine.pieces(); ++j) {
            const Piece p = mine.piece(0, j);
            for (int g = 0; g < gates.count && chunk.rows(); ++g) {
                if (poll.stops(chunk.rows() * sequence.D * p.width * W)) return;
                Product<P> product(order);
                Wx.add_to(product, p, gates.x_of[g], x, x_length);
                product.init = bias + g * panels.padded() + p.begin;
                product.out = chunk.sums + g * p.width * W;
                product.out_row = gates.count * p.width * W;
                run_rows(product, p.width, chunk.rows());
            }
            (this->*scan_of_cell)(mine, chunk, p);
        }
    }

    // x of the rows of a chunk, side by side.
    const P* x_of(const Share<S>& mine, const Chunk& chunk, int id) const {
        if constexpr (!IS_PAIR<P>)
            if (!gathers() && (chunk.last - chunk.first == sequence.N || chunk.end - chunk.begin == 1))
                return sequence.x + (chunk.begin * sequence.N + chunk.first) * sequence.D;
        P* const copied = x_rows + id * most_rows() * x_length;
        P* to = copied;
        for (int64_t t = chunk.begin; t < chunk.end; ++t)
            for (int64_t m = chunk.first; m - chunk.first < running(chunk, t); ++m, to += x_length)
                copy_elements(sequence.x + (t * sequence.N + slots.row(mine.slot(m))) * sequence.D, sequence.D, to);
        return copied;
    }

    // The number of rows of the chunk at step t.
    static int64_t running(const Chunk& chunk, int64_t t) {
        return chunk.at[t - chunk.begin + 1] - chunk.at[t - chunk.begin];
    }

    // The steps of the VECTORS vectors of units from number v on in panel p; the last one has n units. The inner loop
    // reads local variables: the compiler assumes that the store of a vector may change any member.
    template <class Cell, int VECTORS, bool WHOLE>
    XRNN_INLINE void scan_vectors(const Share<S>& mine, const Chunk& chunk, Piece p, int v, int n) const {
        constexpr int PRE = Cell::PRE, STATES = Cell::STATES;
        constexpr Gates GATES = gates_of<Cell>();
        const int64_t H = sequence.H, N = sequence.N, state_row = sequence.state_row, column = p.begin + v * W,
                      gate_stride = p.width * W;
        const int64_t steps = chunk.end - chunk.begin, direction = sequence.reverse ? -1 : 1;
        const int64_t first = sequence.reverse ? chunk.end - 1 : chunk.begin;
        const S* const sums = chunk.sums + v * W;
        const xrnn::StepRows<S> add = f.add;
        S *states[STATES], *const kept = f.z;
        for (int k = 0; k < STATES; ++k) states[k] = f.states[k] + column;
        Vec<S> own[VECTORS][xrnn::MOST_OWN] = {};
        for (int u = 0; u < VECTORS; ++u)
            for (int i = 0; i < Cell::OWN; ++i)
                own[u][i] = load_columns<S, WHOLE>(sequence.own[i] + column + u * W, n);
        for (int64_t m = chunk.first; m < chunk.last; ++m) {
            const int64_t row = slots.row(mine.slot(m)), place = m - chunk.first;
            int64_t at = ((first + sequence.reverse) * N + row) * state_row,
                    z_at = (first * N + row) * PRE * H + column,
                    add_at = first * add.step + row * add.row + column;
            Vec<S> state[VECTORS][STATES];
            for (int k = 0; k < STATES; ++k)
                for (int u = 0; u < VECTORS; ++u) state[u][k] = load_columns<S, WHOLE>(states[k] + at + u * W, n);
            // The number of rows of the chunk before a step is rows[0], and after it rows[1].
            const int64_t* rows = chunk.at + (first - chunk.begin);
            for (int64_t i = 0; i < steps;
                 ++i, rows += direction, z_at += direction * N * PRE * H, add_at += direction * add.step) {
                at += direction * N * state_row;
                const bool runs = place < rows[1] - rows[0];  // past its end a row keeps its states, and z is 0
                const S* const from = sums + (rows[0] + place) * PRE * gate_stride;
                for (int u = 0; u < VECTORS; ++u) {
                    Vec<S> z[PRE] = {};
                    if (runs) {
                        Vec<S> now[STATES];
                        for (int g = 0; g < PRE; ++g) z[g] = load<S>(from + g * gate_stride + u * W);
                        if (add.data)
                            for (int g = 0; g < PRE; ++g)
                                z[g] += load_columns<S, WHOLE>(add.data + add_at + GATES.b_of[g] * H + u * W, n);
                        Cell::step(z, state[u], now, own[u]);
                        for (int k = 0; k < STATES; ++k) state[u][k] = now[k];
                    }
                    for (int k = 0; k < STATES; ++k) store_columns<S, WHOLE>(states[k] + at + u * W, state[u][k], n);
                    if (kept)
                        for (int g = 0; g < PRE; ++g)
                            store_columns<S, WHOLE>(kept + z_at + g * H + u * W, z[g], n);
                }
            }
        }
    }
};

}  // namespace

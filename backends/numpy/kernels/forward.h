// The recurrence: z = x[t] @ Wx + h[t-1] @ Wh + b, then one step of the cell.
//
// Who owns what. A thread owns the same rows (Split::ROWS) or units (Split::COLUMNS) of every step. By rows it reads
// only what it wrote itself. By columns it reads whole rows of the step before, hence the barrier between two steps;
// while the others are on their way there, it can take the terms of its own units.
//
// Why it is fast. The weights are packed once for the whole sequence. The pre-activations of a few rows and of one
// panel of units, all gates of them, go from the registers to a block in the nearest cache, from which the cell's step
// takes them at once. A thread's share of the weights stays in its own cache where it fits.
//
// Lengths. The rows are taken in order of decreasing length, so that those still running are a prefix: x and h of them
// are copied side by side, and what is past its end takes no arithmetic at all.
#pragma once

#include "cell.h"
#include "share.h"

namespace {

template <class S, template <class> class CellOf>
struct ForwardPass {
    using Cell = CellOf<Vec<S>>;
    static constexpr int W = Simd<S>::LANES, PRE = Cell::PRE;
    static constexpr Gates GATES = gates_of<Cell>();

    // Rows whose pre-activations are held at a time: with all gates of a panel they fit the nearest cache.
    static constexpr int64_t ROWS = 48;
    // Rows of x, over all steps, that are projected at a time: many enough to share the reading of Wx.
    static constexpr int64_t PROJECTED_ROWS = 96;

    const xrnn::Forward<S>& f;
    const xrnn::Sequence<S>& of;
    const Partition partition;
    const Panels<S> panels;
    const Order x_order, h_order;
    const bool project_first, own_first;
    const int64_t projected_steps;
    Slots slots;
    S* bias;  // PRE rows of b, each filled up with zeros
    Weights<S> Wx, Wh;
    S* z;               // for each thread: (ROWS, PRE, a panel)
    S* xz;              // (projected_steps, N, X, units): x @ Wx + b, where that is made first
    S* own_chains;      // (OwnChains::MOST, R, N, units)
    S *x_slots[2], *h_slots[2];  // with lengths: x (N, D) and h (N, units) of the slots; this step's and the next one's
    Barrier barrier;

    ForwardPass(const xrnn::Forward<S>& f, Partition partition, Arena<S>& arena)
        : f(f),
          of(f.of),
          partition(partition),
          panels(of.H, panel_threads(partition), widest(of.N)),
          x_order(x_order_of(of)),
          h_order(order_of_recurrence<S>(of.N, of.H)),
          project_first(partition.project_first && !of.lengths),
          own_first(partition.own_first && partition.threads > 1 && !of.lengths),
          projected_steps(project_first ? steps_of(of.T, of.N, PROJECTED_ROWS) : 0),
          slots(of.lengths, of.T, of.N, arena),
          bias(arena.take(PRE * panels.padded())),
          Wx(of.Wx, of.D, GATES.x_count, panels, project_first ? uses<S>(1, of.T * of.N) : uses<S>(of.T, of.N), of.N,
             arena),
          Wh(of.Wh, of.H, GATES.h_count, panels, uses<S>(of.T, of.N), of.N, arena),
          z(arena.take(partition.threads * block())),
          xz(arena.take(projected_steps * of.N * GATES.x_count * panels.padded())),
          own_chains(arena.take(own_first ? OwnChains::MOST * GATES.h_count * of.N * panels.padded() : 0)),
          barrier(partition.threads) {
        for (int i = 0; i < 2; ++i) {
            x_slots[i] = arena.take(of.lengths ? of.N * of.D : 0);
            h_slots[i] = arena.take(of.lengths ? of.N * panels.padded() : 0);
        }
    }

    void prepare() {
        slots.sort();
        for (int g = 0; g < PRE; ++g)
            copy_padded(f.b + g * of.H * f.b_stride, f.b_stride, of.H, panels.padded(), bias + g * panels.padded());
    }

    void thread(int id, int n) {
        const Share<S> mine(panels, of.N, of.lengths, partition.split, id, n),
            packing(panels, of.N, false, Split::COLUMNS, id, n), moving(panels, of.N, true, Split::ROWS, id, n);
        for (int64_t p = packing.panel0; p < packing.panel1; ++p) Wx.pack(p), Wh.pack(p);
        start(moving);
        barrier.wait(id, n);
        for (int64_t i = 0; i < of.T; ++i) {
            if (project_first && i % projected_steps == 0) project(mine, i);
            step(mine, i, id, n);
            if (of.lengths) idle(moving, i);
            if (partition.split == Split::COLUMNS) barrier.arrive(id);
        }
    }

   private:
    // Wherever x @ Wx comes first by the rule, all its rows can share a tile; elsewhere x and h share the sums.
    static Order x_order_of(const xrnn::Sequence<S>& of) {
        if (xrnn::projects_first(of.N)) return order_of_product<S>(PROJECTED_ROWS, of.H, WIDEST);
        return order_of_recurrence<S>(of.N, of.H);
    }
    static int64_t steps_of(int64_t T, int64_t N, int64_t rows) {
        const int64_t steps = (rows + N - 1) / N;
        return steps < T ? steps : T;
    }

    int64_t block() const { return ROWS * PRE * panels.width(0) * W; }
    int64_t time(int64_t i) const { return of.reverse ? of.T - 1 - i : i; }  // of the i-th step
    S* before(int state, int64_t t) const { return f.states[state] + (t + of.reverse) * of.N * of.H; }
    S* after(int state, int64_t t) const { return f.states[state] + (t + !of.reverse) * of.N * of.H; }

    // The initial states of these slots, and the first step's x.
    void start(const Share<S>& moving) const {
        const int64_t H = of.H;
        for (int64_t slot = moving.first; slot < moving.end; slot += moving.stride) {
            const int64_t row = slots.row(slot);
            for (int k = 0; k < Cell::STATES; ++k) {
                const Matrix<S>& from = f.initial[k];
                S* to = before(k, time(0)) + row * H;
                if (from.data)
                    copy(from.data + row * from.row, from.col, H, to);
                else
                    fill_zeros(to, H);
            }
            if (!of.lengths) continue;
            for (S* h : h_slots) copy(before(0, time(0)) + row * H, 1, H, h + slot * panels.padded());
        }
        if (of.lengths && of.T > 0) gather_x(moving, 0);
    }

    void gather_x(const Share<S>& moving, int64_t i) const {
        const int64_t D = of.D, active = slots.active(time(i));
        for (int64_t slot = moving.first; slot < active; slot += moving.stride)
            copy(of.x + (time(i) * of.N + slots.row(slot)) * D, 1, D, x_slots[i % 2] + slot * D);
    }

    // What is past its end keeps its states, and the next step gets its x.
    void idle(const Share<S>& moving, int64_t i) const {
        const int64_t t = time(i), H = of.H;
        for (int64_t slot = moving.first; slot < moving.end; slot += moving.stride)
            if (slot >= slots.active(t))
                for (int k = 0; k < Cell::STATES; ++k)
                    copy(before(k, t) + slots.row(slot) * H, 1, H, after(k, t) + slots.row(slot) * H);
        if (i + 1 < of.T) gather_x(moving, i + 1);
    }

    // x @ Wx + b of my rows and units, for the steps from number i on.
    void project(const Share<S>& mine, int64_t i) const {
        const int64_t N = of.N, D = of.D, row = GATES.x_count * panels.padded();
        const int64_t steps = of.T - i < projected_steps ? of.T - i : projected_steps, rows = mine.end - mine.first;
        const int64_t begin = of.reverse ? of.T - i - steps : i;
        // Where the rows of all steps lie one after another, they are one product.
        const int64_t passes = rows == N ? 1 : steps, together = rows == N ? steps * N : rows;
        for (int64_t p = mine.panel0; p < mine.panel1; ++p)
            for (int g = 0; g < PRE; ++g) {
                const int x_gate = GATES.x_of[g];
                if (x_gate < 0) continue;
                for (int64_t s = 0; s < passes; ++s) {
                    Tile<S> tile(x_order);
                    Wx.add_to(tile, p, x_gate, of.x + ((begin + s) * N + mine.first) * D, D);
                    tile.init = bias + g * panels.padded() + panels.begin(p);
                    tile.out = projected(s, mine.first, x_gate) + panels.begin(p), tile.out_row = row;
                    run_rows(tile, panels.width(p), together);
                }
            }
    }

    S* projected(int64_t step, int64_t row, int x_gate) const {
        return xz + ((step * of.N + row) * GATES.x_count + x_gate) * panels.padded();
    }

    struct Operand {
        const S* data;
        int64_t row;
    };

    void step(const Share<S>& mine, int64_t i, int id, int n) {
        const int64_t t = time(i), rows = mine.below(slots.active(t));
        const Operand x = of.lengths ? Operand{x_slots[i % 2] + mine.first * of.D, mine.stride * of.D}
                                     : Operand{of.x + (t * of.N + mine.first) * of.D, of.D};
        const Operand h = of.lengths
                              ? Operand{h_slots[i % 2] + mine.first * panels.padded(), mine.stride * panels.padded()}
                              : Operand{before(0, t) + mine.first * of.H, of.H};
        const OwnChains own = own_first ? OwnChains(mine.column0, mine.column1, of.H, h_order.chain)
                                        : OwnChains(0, 0, 0, h_order.chain);
        sum_own(mine, own, h);
        if (partition.split == Split::COLUMNS) barrier.await(id, n);
        S* const sums = z + id * block();
        for (int64_t j = mine.panel0; j < mine.panel1; ++j) {
            const int64_t p = mine.panel(i, j);
            for (int64_t begin = 0; begin < rows; begin += ROWS) {
                const int64_t count = rows - begin < ROWS ? rows - begin : ROWS;
                for (int g = 0; g < PRE; ++g)
                    sum(mine, own, i, p, g, {x.data + begin * x.row, x.row}, {h.data + begin * h.row, h.row}, begin,
                        count, sums);
                finish(mine, i, p, begin, count, sums);
            }
        }
    }

    // The chains of h @ Wh that need only my own units.
    void sum_own(const Share<S>& mine, const OwnChains& own, Operand h) const {
        for (int c = 0; c < own.count(); ++c)
            for (int64_t p = mine.panel0; p < mine.panel1; ++p)
                for (int r = 0; r < GATES.h_count; ++r) {
                    Tile<S> tile(h_order);
                    Wh.add_to(tile, p, r, h.data, h.row, own.chain_begin(c), own.chain_end(c));
                    tile.out = own_chain(c, r, mine.first) + panels.begin(p), tile.out_row = panels.padded();
                    run_rows(tile, panels.width(p), mine.end - mine.first);
                }
    }

    S* own_chain(int c, int r, int64_t row) const {
        return own_chains + ((c * GATES.h_count + r) * of.N + row) * panels.padded();
    }

    // Gate g of panel p: x @ Wx + h @ Wh + b of `rows` of my rows, from number `begin` on, → sums.
    void sum(const Share<S>& mine, const OwnChains& own, int64_t i, int64_t p, int g, Operand x, Operand h,
             int64_t begin, int64_t rows, S* sums) const {
        const int x_gate = GATES.x_of[g], h_gate = GATES.h_of[g], width = panels.width(p);
        Tile<S> tile(h_order);
        tile.out = sums + g * width * W, tile.out_row = PRE * width * W;
        tile.init = bias + g * panels.padded() + panels.begin(p);
        if (x_gate >= 0 && project_first) {
            const int64_t s = i % projected_steps, chunk = i - s;
            const int64_t steps = of.T - chunk < projected_steps ? of.T - chunk : projected_steps;
            tile.init = projected(of.reverse ? steps - 1 - s : s, mine.first + begin, x_gate) + panels.begin(p);
            tile.init_row = GATES.x_count * panels.padded();
        } else if (x_gate >= 0) {
            Wx.add_to(tile, p, x_gate, x.data, x.row);
            if (!(x_order == h_order) || h_gate < 0) {  // x makes sums of its own
                tile.order = x_order;
                run_rows(tile, width, rows);
                if (h_gate < 0) return;
                tile = Tile<S>(h_order);
                tile.out = sums + g * width * W, tile.out_row = PRE * width * W;
                tile.init = tile.out, tile.init_row = tile.out_row;
            }
        }
        if (h_gate >= 0) {
            Wh.add_to(tile, p, h_gate, h.data, h.row, 0, own.begin);
            for (int c = 0; c < own.count(); ++c)
                add_chain(tile, own_chain(c, h_gate, mine.first + begin) + panels.begin(p), panels.padded());
            Wh.add_to(tile, p, h_gate, h.data, h.row, own.end, of.H);
        }
        run_rows(tile, width, rows);
    }

    // The cell's step for panel p of the same rows: sums → the states after it, and what is kept.
    void finish(const Share<S>& mine, int64_t i, int64_t p, int64_t begin, int64_t rows, const S* sums) const {
        const int64_t t = time(i), H = of.H, kept_values = of.T * of.N * H;
        const int width = panels.width(p);
        for (int64_t m = 0; m < rows; ++m) {
            const int64_t slot = mine.first + (begin + m) * mine.stride, row = slots.row(slot);
            for (int v = 0; v < width; ++v, sums += W) {
                const int n = v + 1 < width ? W : panels.last(p);
                const int64_t column = panels.begin(p) + v * W, at = row * H + column;
                Vec<S> z[PRE], old[Cell::STATES], now[Cell::STATES], kept[Cell::KEPT + 1];
                for (int g = 0; g < PRE; ++g) z[g] = load<S>(sums + g * width * W);
                for (int k = 0; k < Cell::STATES; ++k) old[k] = load_columns<S>(before(k, t) + at, n);
                Cell::step(z, old, now, kept, of.leak ? load_columns<S>(of.leak + column, n) : Vec<S>{});
                for (int k = 0; k < Cell::STATES; ++k) store_columns<S>(after(k, t) + at, now[k], n);
                if (of.lengths) store<S>(h_slots[(i + 1) % 2] + slot * panels.padded() + column, now[0]);
                if (f.kept)
                    for (int j = 0; j < Cell::KEPT; ++j)
                        store_columns<S>(f.kept + j * kept_values + t * of.N * H + at, kept[j], n);
            }
            sums += (PRE - 1) * width * W;
        }
    }
};

template <class S, template <class> class CellOf>
bool forward(const xrnn::Forward<S>& f, Partition partition) {
    if (f.of.N == 0 || f.of.H == 0) return true;  // no array has elements to write
    return run_pass<ForwardPass<S, CellOf>, S>(f, partition, partition.threads);
}

}  // namespace

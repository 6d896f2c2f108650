// The recurrence: z = x[t] @ Wx + h[t-1] @ Wh + b, then one step of the cell.
//
// Who owns what. A thread owns the same rows (Split::ROWS) or units (Split::COLUMNS) of every step. By rows it reads
// only what it wrote itself. By columns it reads whole rows of the step before, hence the barrier between two steps;
// while the others are on their way there, it can take the terms of its own units. Where weights are read in strips, a
// thread sums a range of all gates' columns, and takes its units' sums from the others at a barrier within the step.
//
// Why it is fast. The weights are packed once for the whole sequence. The pre-activations of a few rows and of one
// panel of units, all gates of them, go from the registers to a block in the nearest cache, from which the cell's step
// takes them at once. A thread's share of the weights stays in its own cache where it fits.
//
// Lengths. The rows are taken in order of decreasing length, so that those still running are a prefix: x and h of them
// are copied side by side, and what is past its end takes no arithmetic at all.
#pragma once

#include "gates.h"
#include "share.h"

namespace {

template <class S, template <class> class CellOf>
struct ForwardPass {
    using Cell = CellOf<Vec<S>>;
    static constexpr int W = Simd<S>::LANES, PRE = Cell::PRE;
    static constexpr Gates GATES = gates_of<Cell>();

    // Rows whose pre-activations are held at a time: the height of two tiles. With many more, what the cell's step
    // writes comes in a burst longer than the CPU's queue of stores (48 rows took 4 % longer at N = 256, H = 64); with
    // few, the queue drains while the next tile adds.
    static constexpr int64_t ROWS = 12;
    // Rows of x, over all steps, that are projected at a time: many enough to share the reading of Wx.
    static constexpr int64_t PROJECTED_ROWS = 96;

    const xrnn::Forward<S>& f;
    const xrnn::Sequence<S>& of;
    const Partition partition;
    const Panels<S> panels;
    const Order x_order, h_order;
    const bool project_first, own_first;  // see Partition
    const bool fetches;
    const int64_t projected_steps;        // how many at a time
    Slots slots;
    S* bias;  // PRE rows of b, each filled up with zeros
    Weights<S> Wx, Wh;
    S* z;               // for each thread: (ROWS, PRE, a panel); in strips (N, PRE, H) for all
    S* x_panel;         // for each thread: (D, a panel), where the panels of Wx are packed one by one
    S* xz;              // (projected_steps, N, X, units): x @ Wx + b, where that is made first
    S* own_chains;      // (OwnChains::MOST, R, N, units)
    S *x_slots[2], *h_slots[2];  // with lengths: x (N, D) and h (N, units) of the slots; this step's and the next one's
    Barrier barrier;

    ForwardPass(const xrnn::Forward<S>& f, Partition partition, Arena<S>& arena)
        : f(f),
          of(f.of),
          partition(partition),
          panels(of.H, panel_threads(partition), widest(rows_of_thread(partition, of.N))),
          x_order(x_order_of(of)),
          h_order(order_of_recurrence<S>(of.N, of.H, GATES.h_count)),
          project_first(partition.project_first && !of.lengths),
          own_first(partition.own_first && partition.threads > 1 && !of.lengths && !h_in_strips()),
          fetches(is_worth_fetching<S>(of, Cell::STATES + PRE)),
          projected_steps(project_first ? steps_of(of.T, of.N, PROJECTED_ROWS) : 0),
          slots(of.lengths, of.T, of.N, arena),
          bias(arena.take(PRE * panels.padded())),
          Wx(of.Wx, of.D, GATES.x_count, panels, x_passes(), x_rows(), x_in_strips(), arena,
             panels_of_x_are_single_use()),
          Wh(of.Wh, of.H, GATES.h_count, panels, of.T, of.N, h_in_strips(), arena),
          z(arena.take(Wh.in_strips ? of.N * PRE * of.H : partition.threads * block())),
          x_panel(arena.take(Wx.one_by_one ? partition.threads * of.D * panels.width(0) * W : 0)),
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
            copy_padded(f.b + GATES.b_of[g] * of.H * f.b_stride, f.b_stride, of.H, panels.padded(),
                        bias + g * panels.padded());
    }

    void thread(int id, int n) {
        const Share<S> mine(panels, of.N, of.lengths, partition.split, id, n),
            packing(panels, of.N, false, Split::COLUMNS, id, n), moving(panels, of.N, true, Split::ROWS, id, n);
        Wx.pack(packing.panel0, packing.panel1);
        Wh.pack(packing.panel0, packing.panel1);
        start(moving);
        barrier.wait(id, n);
        Look look(barrier.stop, id);
        int64_t projected = 0;  // steps so far; xz holds the last `projected_steps` of them, or fewer
        for (int64_t i = 0; i < of.T; ++i) {
            if (project_first && i == projected) {
                projected += project(mine, i, x_panel + id * of.D * panels.width(0) * W, look);
                if (Wx.in_strips || Wh.in_strips) exchange(id, n);
            }
            step(mine, i, projected, id, n, look);
            if (look.has_stopped()) return;
            if (of.lengths) idle(moving, i);
            if (partition.split == Split::COLUMNS) barrier.arrive(id);
        }
    }

   private:
    // The order of the sums over x. It must not depend on the partition that is in force, so it goes by the rule's: where
    // that projects first, a tile's rows are those of all steps; elsewhere x and h are terms of the same sums.
    static Order x_order_of(const xrnn::Sequence<S>& of) {
        if (xrnn::projects_first(of.N)) return order_of_product<S>(of.T * of.N, of.H, widest(of.N));
        return order_of_recurrence<S>(of.N, of.H, GATES.h_count);
    }
    // Wx is read in one pass where all steps are projected first.
    int64_t x_passes() const { return project_first ? 1 : of.T; }
    int64_t x_rows() const { return project_first ? of.T * of.N : of.N; }
    bool h_in_strips() const {
        return project_first && Weights<S>::suits_strips(of.Wh, of.H, GATES.h_count, panels, of.T, of.N);
    }
    bool x_in_strips() const {
        return project_first && Weights<S>::suits_strips(of.Wx, of.D, GATES.x_count, panels, x_passes(), x_rows());
    }
    // Where each panel of Wx is needed once and by one thread, it is packed right then, into the nearer caches.
    bool panels_of_x_are_single_use() const {
        return project_first && projected_steps == of.T && panel_threads(partition) == partition.threads;
    }
    static int64_t steps_of(int64_t T, int64_t N, int64_t rows) {
        const int64_t steps = (rows + N - 1) / N;
        return steps < T ? steps : T;
    }

    int64_t block() const { return PRE * W * ROWS * panels.width(0); }
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

    // Rows past their end keep their states; and x of the next step is gathered. z becomes 0 for those rows: the plain
    // backward pass computes with their z before it drops the result, and stale memory could hold a NaN.
    void idle(const Share<S>& moving, int64_t i) const {
        const int64_t t = time(i), H = of.H;
        for (int64_t slot = moving.first; slot < moving.end; slot += moving.stride) {
            if (slot < slots.active(t)) continue;
            const int64_t row = slots.row(slot);
            for (int k = 0; k < Cell::STATES; ++k) copy(before(k, t) + row * H, 1, H, after(k, t) + row * H);
            if (f.z) fill_zeros(f.z + (t * of.N + row) * PRE * H, PRE * H);
        }
        if (i + 1 < of.T) gather_x(moving, i + 1);
    }

    // x @ Wx + b of my rows and units, for some steps from number i on → how many steps. `panel` is memory for one.
    int64_t project(const Share<S>& mine, int64_t i, S* panel, Look& look) const {
        const int64_t N = of.N, D = of.D;
        const int64_t steps = of.T - i < projected_steps ? of.T - i : projected_steps, rows = mine.end - mine.first;
        const int64_t begin = of.reverse ? of.T - i - steps : i;
        // Where the rows of all steps lie one after another, they are one product.
        const int64_t passes = rows == N ? 1 : steps, together = rows == N ? steps * N : rows;
        if (Wx.in_strips) {
            const auto output = [&](int64_t c) {
                const int64_t r = c / of.H, left = (r + 1) * of.H - c;
                S* const out = xz + mine.first * xz_row() + c;
                return StripOutput<S>{bias + Cell::FROM_X[r] * of.H + of.H - left, 0, out, xz_row(), left};
            };
            multiply_in_strips(Wx, mine, x_order, of.x + (begin * N + mine.first) * D, D, together, 0, look, output);
            return steps;
        }
        for (int64_t j = 0; j < mine.pieces(); ++j) {
            const Piece p = mine.piece(0, j);
            for (int g = 0; g < PRE; ++g) {
                const int x_gate = GATES.x_of[g];
                if (x_gate < 0) continue;
                if (look.stops(passes * together * D * p.width * W)) return steps;
                if (Wx.one_by_one) Wx.copy_panel(p, x_gate, 0, D, panel);
                for (int64_t s = 0; s < passes; ++s) {
                    Tile<S> tile(x_order);
                    const S* const x = of.x + ((begin + s) * N + mine.first) * D;
                    if (Wx.one_by_one)
                        add_product(tile, x, D, 1, panel, p.width * W, D);
                    else
                        Wx.add_to(tile, p, x_gate, x, D);
                    tile.init = bias + g * panels.padded() + p.begin;
                    tile.out = xz + (s * N + mine.first) * xz_row() + x_gate * panels.padded() + p.begin;
                    tile.out_row = xz_row();
                    run_rows(tile, p.width, together);
                }
            }
        }
        return steps;
    }

    int64_t xz_row() const { return GATES.x_count * panels.padded(); }

    // Rows of an operand, from my first on.
    struct Operand {
        const S* data;
        int64_t row;
    };
    // What a step reads and writes.
    struct Operands {
        Operand x, xz, h;  // xz: x @ Wx + b, where it is made first; else x counts
        S* sums;           // my block of pre-activations
        const S* before[Cell::STATES];
        S* after[Cell::STATES];
        S* z;        // (N, PRE · H); null where it isn't kept
        S* h_slots;  // with lengths the next step's h in slots, else null
    };

    void step(const Share<S>& mine, int64_t i, int64_t projected, int id, int n, Look& look) {
        const int64_t t = time(i), rows = mine.below(slots.active(t)), units = panels.padded();
        Operands in = {.x = {of.x + (t * of.N + mine.first) * of.D, of.D},
                       .xz = {nullptr, xz_row()},
                       .h = {before(0, t) + mine.first * of.H, of.H},
                       .sums = z + id * block(),
                       .before = {},
                       .after = {},
                       .z = f.z ? f.z + t * of.N * PRE * of.H : nullptr,
                       .h_slots = of.lengths ? h_slots[(i + 1) % 2] : nullptr};
        for (int k = 0; k < Cell::STATES; ++k) in.before[k] = before(k, t), in.after[k] = after(k, t);
        if (of.lengths) {
            in.x = {x_slots[i % 2] + mine.first * of.D, mine.stride * of.D};
            in.h = {h_slots[i % 2] + mine.first * units, mine.stride * units};
        }
        if (project_first) {
            const int64_t begin = (projected - 1) / projected_steps * projected_steps;
            in.xz.data = xz + ((of.reverse ? projected - 1 - i : i - begin) * of.N + mine.first) * xz_row();
        }
        const OwnChains own = own_first ? OwnChains(mine.column0, mine.column1, of.H, h_order.chain) : OwnChains();
        sum_own(mine, own, in.h);
        if (partition.split == Split::COLUMNS) barrier.await(id, n);
        if (Wh.in_strips) return step_in_strips(mine, in, i, id, n, look);
        for (int64_t j = 0; j < mine.pieces(); ++j) {
            const Piece p = mine.piece(i, j);
            for (int64_t begin = 0; begin < rows; begin += ROWS) {
                const int64_t count = rows - begin < ROWS ? rows - begin : ROWS;
                if (look.stops(count * PRE * (of.D + of.H) * p.width * W)) return;
                if (fetches) fetch_ahead(mine, in, p, begin, count);
                for (int g = 0; g < PRE; ++g) sum(mine, own, in, p, g, begin, count);
                finish(mine, in, p, in.sums, p.width * W, begin, count);
            }
        }
    }

    // What the threads have summed in strips becomes visible to all. A cell with one gate has its sums already.
    void exchange(int id, int n) {
        if (PRE > 1 && partition.split == Split::COLUMNS) barrier.wait(id, n);
    }

    // The same in strips: the sums of all gates' columns by whoever has them, then the cell's step for my units.
    void step_in_strips(const Share<S>& mine, const Operands& in, int64_t i, int id, int n, Look& look) {
        const int64_t H = of.H, row = PRE * H, rows = mine.count();
        S* const sums = z + mine.first * row;
        const auto output = [&](int64_t c) {
            const int64_t r = c / H, left = (r + 1) * H - c, g = Cell::FROM_H[r], at = g * H + H - left;
            const int x_gate = GATES.x_of[g];
            if (x_gate < 0) return StripOutput<S>{bias + at, 0, sums + at, row, left};
            return StripOutput<S>{in.xz.data + x_gate * H + H - left, in.xz.row, sums + at, row, left};
        };
        multiply_in_strips(Wh, mine, h_order, in.h.data, in.h.row, rows, i, look, output);
        if (look.has_stopped()) return;
        exchange(id, n);
        for (int g = 0; g < PRE; ++g)
            for (int64_t m = 0; m < rows && GATES.h_of[g] < 0; ++m)
                copy(in.xz.data + m * in.xz.row + GATES.x_of[g] * H + mine.column0, 1, mine.column1 - mine.column0,
                     sums + m * row + g * H + mine.column0);
        for (int64_t j = 0; j < mine.pieces(); ++j) {
            const Piece p = mine.piece(i, j);
            finish(mine, in, p, sums + p.begin, H, 0, rows);
        }
    }

    // The chains of h @ Wh that need only my own units.
    void sum_own(const Share<S>& mine, const OwnChains& own, Operand h) const {
        for (int c = 0; c < own.count; ++c)
            for (int64_t j = 0; j < mine.pieces(); ++j) {
                const Piece p = mine.piece(0, j);
                for (int r = 0; r < GATES.h_count; ++r) {
                    Tile<S> tile(h_order);
                    Wh.add_to(tile, p, r, h.data + own.chain_begin(c), h.row, own.chain_begin(c), own.chain_end(c));
                    tile.out = own_chain(c, r, mine.first) + p.begin, tile.out_row = panels.padded();
                    run_rows(tile, p.width, mine.end - mine.first);
                }
            }
    }

    S* own_chain(int c, int r, int64_t row) const {
        return own_chains + ((c * GATES.h_count + r) * of.N + row) * panels.padded();
    }

    // Gate g of panel p: x @ Wx + h @ Wh + b of `rows` of my rows, from number `begin` on, → sums.
    void sum(const Share<S>& mine, const OwnChains& own, const Operands& in, Piece p, int g, int64_t begin,
             int64_t rows) const {
        const int x_gate = GATES.x_of[g], h_gate = GATES.h_of[g], width = p.width;
        S* const out = in.sums + g * width * W;
        const int64_t out_row = PRE * width * W;
        Tile<S> tile(h_order);
        tile.out = out, tile.out_row = out_row;
        tile.init = bias + g * panels.padded() + p.begin;
        if (x_gate >= 0 && project_first) {
            tile.init = in.xz.data + begin * in.xz.row + x_gate * panels.padded() + p.begin;
            tile.init_row = in.xz.row;
        } else if (x_gate >= 0) {
            Wx.add_to(tile, p, x_gate, in.x.data + begin * in.x.row, in.x.row);
            if (h_gate < 0 || !(x_order == h_order)) {  // x's sums are made by themselves
                tile.order = x_order;
                run_rows(tile, width, rows);
                if (h_gate < 0) return;
                tile = Tile<S>(h_order);
                tile.out = out, tile.out_row = out_row;
                tile.init = out, tile.init_row = out_row;
            }
        }
        if (h_gate >= 0) {
            const S* h = in.h.data + begin * in.h.row;
            Wh.add_to(tile, p, h_gate, h, in.h.row, 0, own.begin);
            for (int c = 0; c < own.count; ++c)
                add_chain(tile, own_chain(c, h_gate, mine.first + begin) + p.begin, panels.padded());
            Wh.add_to(tile, p, h_gate, h + own.end, in.h.row, own.end, of.H);
        }
        run_rows(tile, width, rows);
    }

    // What `finish` will write, and the states that no sum reads.
    void fetch_ahead(const Share<S>& mine, const Operands& in, Piece p, int64_t begin, int64_t rows) const {
        const int64_t n = (p.width - 1) * W + p.last;
        for (int64_t m = begin; m < begin + rows; ++m) {
            const int64_t row = slots.row(mine.slot(m)), at = row * of.H + p.begin;
            for (int k = 0; k < Cell::STATES; ++k) fetch(in.after[k] + at, n);
            for (int k = 1; k < Cell::STATES; ++k) fetch(in.before[k] + at, n);
            for (int g = 0; g < PRE && in.z; ++g) fetch(in.z + (row * PRE + g) * of.H + p.begin, n);
        }
    }

    // The cell's step for panel p of the same rows: sums, whose gates lie `gate` apart, → the states after it, and z if
    // it is kept.
    void finish(const Share<S>& mine, const Operands& in, Piece p, const S* sums, int64_t gate, int64_t begin,
                int64_t rows) const {
        for (int v = 0; v < p.width; ++v)
            if (v + 1 < p.width || p.last == W)
                finish_vector<true>(mine, in, p.begin + v * W, W, sums + v * W, gate, begin, rows);
            else
                finish_vector<false>(mine, in, p.begin + v * W, p.last, sums + v * W, gate, begin, rows);
    }

    // The same of the n units from `column` on.
    template <bool WHOLE>
    XRNN_INLINE void finish_vector(const Share<S>& mine, const Operands& in, int64_t column, int n, const S* sums,
                                   int64_t gate, int64_t begin, int64_t rows) const {
        const int64_t H = of.H, units = panels.padded();
        Vec<S> own[xrnn::MOST_OWN] = {};
        for (int i = 0; i < Cell::OWN; ++i) own[i] = load_columns<S, WHOLE>(of.own[i] + column, n);
        for (int64_t m = begin; m < begin + rows; ++m, sums += PRE * gate) {
            const int64_t slot = mine.slot(m), row = slots.row(slot), at = row * H + column;
            Vec<S> z[PRE], old[Cell::STATES], now[Cell::STATES];
            for (int g = 0; g < PRE; ++g) z[g] = load<S>(sums + g * gate);
            for (int k = 0; k < Cell::STATES; ++k) old[k] = load_columns<S, WHOLE>(in.before[k] + at, n);
            Cell::step(z, old, now, own);
            for (int k = 0; k < Cell::STATES; ++k) store_columns<S, WHOLE>(in.after[k] + at, now[k], n);
            if (in.h_slots) store<S>(in.h_slots + slot * units + column, now[0]);
            if (in.z)
                for (int g = 0; g < PRE; ++g)
                    store_columns<S, WHOLE>(in.z + (row * PRE + g) * H + column, z[g], n);
        }
    }
};

template <class S, template <class> class CellOf>
bool forward(const xrnn::Forward<S>& f, Partition partition) {
    if (f.of.N == 0 || f.of.H == 0) return true;  // no array has elements to write
    return run_pass<ForwardPass<S, CellOf>, S>(f, partition, partition.threads);
}

}  // namespace

// The recurrence: z = x[t] @ Wx + h[t-1] @ Wh + b + add[t], then one step of the cell.
//
// A thread owns the same rows or units at every step. By rows it reads only values that it wrote itself. By columns it
// reads complete rows of the step before, so all threads meet at a barrier between two steps.
//
// The weights are packed once for the sequence. The tiles compute some pre-activations: of a few rows, one panel of
// units, and all gates of these units. These stay in the nearest cache, and the cell's step reads them there right
// away. A thread's share of the weights stays in its own cache if it fits.
//
// The modes of a pass. All of them give the same bits. "Requested" means: set in the Partition.
//
//   mode           used if                               effect
//   by rows        Split::ROWS                           no barrier
//   by columns     Split::COLUMNS                        a barrier between two steps
//   project_first  requested, and no lengths             xz = x @ Wx + b of many steps is one product before them;
//                                                        otherwise the terms of x are added in each step
//   local_first    requested, by columns, no lengths,    a step sums the chains of the thread's own units before the
//                  one head, h not in strips, not by     barrier (chains.h)
//                  tiles
//   prepacked      Forward::packed, if it suits()        this pass does not pack
//   in strips      project_first, one head, few rows,    Wx, Wh or both are not packed, but read in the user's matrix
//                  few steps, and sizes that             (strip.h); threads exchange sums at one more barrier
//                  suits_strips names
//   heads          Sequence::heads                       a panel that spans several heads is split at their
//                                                        boundaries; each piece sums over the units of its own
//                                                        head
//   one by one     project_first for all steps at once,  a panel of Wx is packed right before its only use
//                  panels divided among all threads
//   lengths        Sequence::lengths                     rows in order of decreasing length, so that the running rows
//                                                        are a prefix; their x and h are copied side by side
//   training       Forward::z                            z is kept
#pragma once

#include "chains.h"
#include "gates.h"
#include "scan.h"
#include "share.h"

namespace {

template <class P>
struct ForwardPass {
    using S = Sum<P>;
    static constexpr int W = Simd<S>::LANES;

    // Rows of an operand, from my first row on.
    template <class E>
    struct Operand {
        const E* data;
        int64_t row;
    };
    // The operands and results of a step.
    struct Operands {
        Operand<P> x, h;
        Operand<S> xz;  // with project_first used in place of x
        S* sums;        // my pre-activations, in z
        const S* add;   // Forward::add of this step
        const S* before[xrnn::MOST_STATES];
        S* after[xrnn::MOST_STATES];
        S* z;        // (N, gates · H); null if it is not kept
        P* h_slots;  // the next step's h in slots; null if the next step reads it in `after`
    };

    // A pointer to `step_cell<Cell>`, the only code that depends on the cell.
    using StepCell = void (ForwardPass::*)(const Share<S>& mine, const Operands& in, Piece p, const S* sums,
                                           int64_t stride, int64_t begin, int64_t rows) const;

    // Rows whose pre-activations are held at a time: the height of two tiles. With many more rows the cell's step
    // writes more at once than the CPU's store queue holds (48 rows took 4 % longer at N = 256, H = 64). With few rows
    // the queue drains during the next tile.
    static constexpr int64_t ROWS = IS_PART<P> ? 32 : 12;
    // project_first: the rows of x in one product, from several steps. They share each load of Wx.
    static constexpr int64_t PROJECTED_ROWS = 96;

    const xrnn::Forward<S>& f;
    const xrnn::Sequence<S>& sequence;
    const Partition partition;
    const int states;
    const Gates& gates;
    const StepCell step_of_cell;
    const xrnn::PackedWeights* const prepacked;  // null: not in this mode
    const Panels<S> panels;
    const Order x_order, h_order;
    const bool project_first, fetches, gathers;  // gathers: x and h of a step are copied to x_slots and h_slots
    const int64_t x_length, h_length, h_row;  // elements of a row of x, of h, and of h_slots
    const int64_t projected_steps;  // project_first: the steps of one product; otherwise 0
    Slots slots;
    S* bias;          // (gates, units): b, each row filled up with zeros
    Weights<P> Wx, Wh;
    const bool local_first;
    const bool fetches_panels;  // tiles prefetch the next panel of the weights
    S* z;             // (ROWS, gates, a panel) for each thread; in strips (N, gates, units) for all threads
    P* x_panel;       // one by one: (D, a panel) for each thread
    P* x_pairs;       // project_first, in pairs: (projected_steps · N, D) for each thread
    S* xz;            // project_first: (projected_steps, N, X, units)
    S* local_chains;  // local_first: (LocalChains::MOST, R, N, units)
    P *x_slots[2], *h_slots[2];  // gathers: x (N, D) and h (N, units) of the slots, of this step and the next
    Barrier barrier;

    ForwardPass(Arena<S>& arena, const xrnn::Forward<S>& f, Partition partition, const Shape& shape,
                StepCell step_of_cell)
        : f(f),
          sequence(f.sequence),
          partition(partition),
          states(shape.states),
          gates(shape.gates),
          step_of_cell(step_of_cell),
          prepacked(suits(f.packed) ? f.packed : nullptr),
          panels(prepacked ? Panels<S>(sequence.H, prepacked->threads) : own_panels()),
          x_order(order_of_x()),
          h_order(order_of_recurrence<P>(sequence.N, sequence.H, gates.h_count)),
          project_first(partition.project_first && !sequence.lengths),
          fetches(is_worth_fetching<S>(sequence, states + gates.count)),
          gathers(sequence.lengths || IS_PAIR<P>),
          x_length(elements<P>(sequence.D)),
          h_length(elements<P>(sequence.H)),
          h_row(elements<P>(panels.padded())),
          projected_steps(project_first ? steps_of(sequence.T, sequence.N, PROJECTED_ROWS) : 0),
          slots(sequence.lengths, sequence.T, sequence.N, arena),
          bias(arena.take(gates.count * panels.padded())),
          Wx(prepacked ? Weights<P>(x_matrix(), prepacked->Wx) : Weights<P>(x_matrix(), x_use(), arena)),
          Wh(prepacked ? Weights<P>(h_matrix(), prepacked->Wh) : Weights<P>(h_matrix(), h_use(), arena)),
          local_first(!IS_PART<P> && partition.local_first && partition.threads > 1 && !sequence.lengths &&
                      sequence.heads.count == 1 && !Wh.in_strips()),
          fetches_panels(xrnn::prefetches_panels(rows_of_thread(partition, sequence.N),
                                                 (Wx.packed_bytes() + Wh.packed_bytes()) / panel_threads(partition))),
          z(arena.take(Wh.in_strips() ? sequence.N * gates.count * panels.padded() : partition.threads * z_size())),
          x_panel(arena.template take_of<P>(Wx.one_by_one() ? partition.threads * x_length * panels.width(0) * W : 0)),
          x_pairs(
              arena.template take_of<P>(IS_PAIR<P> ? partition.threads * projected_steps * sequence.N * x_length : 0)),
          xz(arena.take(projected_steps * sequence.N * gates.x_count * panels.padded())),
          local_chains(arena.take(local_first ? LocalChains::MOST * gates.h_count * sequence.N * panels.padded() : 0)),
          barrier(partition.threads) {
        for (int i = 0; i < 2; ++i) {
            x_slots[i] = arena.template take_of<P>(gathers && !project_first ? sequence.N * x_length : 0);
            h_slots[i] = arena.template take_of<P>(gathers ? sequence.N * h_row : 0);
        }
    }

    void prepare() {
        slots.sort();
        copy_bias(f, gates, panels.padded(), bias);
        if (Wx.in_strips()) clear_padding(xz, projected_steps * sequence.N * gates.x_count);
        if (Wh.in_strips()) clear_padding(z, sequence.N * gates.count);
    }

    void thread(int id, int n) {
        const Share<S> mine(panels, sequence.N, sequence.lengths, partition.split, id, n),
            packing(panels, sequence.N, false, Split::COLUMNS, id, n),
            my_rows(panels, sequence.N, sequence.lengths, Split::ROWS, id, n);
        if (!prepacked) {
            Wx.pack(packing.panel0, packing.panel1);
            Wh.pack(packing.panel0, packing.panel1);
        }
        begin_rows(my_rows);
        barrier.wait(id, n);
        StopPoll poll(barrier.stop, id);
        int64_t begin = 0, end = 0;  // xz holds the steps [begin, end)
        for (int64_t i = 0; i < sequence.T; ++i) {
            if (project_first && i == end) {
                begin = end;
                end += project(mine, i, id, poll);
                if (Wx.in_strips() || Wh.in_strips()) exchange(id, n);
            }
            step(mine, i, sequence.reverse ? end - 1 - i : i - begin, id, n, poll);
            if (poll.has_stopped()) return;
            if (sequence.lengths) keep_finished_rows(my_rows, i);
            if (gathers && i + 1 < sequence.T) gather_x(my_rows, i + 1);
            if (partition.split == Split::COLUMNS) barrier.arrive(id);
        }
    }

    // The cell's step for panel p and `rows` of my rows from number `begin` on. In `sums` the gates are `stride` apart.
    template <class Cell>
    void step_cell(const Share<S>& mine, const Operands& in, Piece p, const S* sums, int64_t stride, int64_t begin,
                   int64_t rows) const {
        for (int v = 0; v < p.width; ++v)
            if (v + 1 < p.width || p.last == W)
                step_vector<Cell, true>(mine, in, p.begin + v * W, W, sums + v * W, stride, begin, rows);
            else
                step_vector<Cell, false>(mine, in, p.begin + v * W, p.last, sums + v * W, stride, begin, rows);
    }

    // The same for the n units from `column` on.
    template <class Cell, bool WHOLE>
    XRNN_INLINE void step_vector(const Share<S>& mine, const Operands& in, int64_t column, int n, const S* sums,
                                 int64_t stride, int64_t begin, int64_t rows) const {
        constexpr int PRE = Cell::PRE;
        constexpr Gates GATES = gates_of<Cell>();
        const int64_t H = sequence.H, add_row = f.add.row;
        const S* const add = in.add;  // local, because the compiler assumes that a store may change a member
        Vec<S> own[xrnn::MOST_OWN] = {};
        for (int i = 0; i < Cell::OWN; ++i) own[i] = load_columns<S, WHOLE>(sequence.own[i] + column, n);
        Exceptions<P> exceptions;
        for (int64_t m = begin; m < begin + rows; ++m, sums += PRE * stride) {
            const int64_t slot = mine.slot(m), row = slots.row(slot), at = row * H + column;
            Vec<S> z[PRE], old[Cell::STATES], now[Cell::STATES];
            for (int g = 0; g < PRE; ++g) z[g] = load<S>(sums + g * stride);
            if (add)
                for (int g = 0; g < PRE; ++g)
                    z[g] += load_columns<S, WHOLE>(add + row * add_row + GATES.b_of[g] * H + column, n);
            for (int k = 0; k < Cell::STATES; ++k) old[k] = load_columns<S, WHOLE>(in.before[k] + at, n);
            Cell::step(z, old, now, own);
            for (int k = 0; k < Cell::STATES; ++k) store_columns<S, WHOLE>(in.after[k] + at, now[k], n);
            if (in.h_slots) {
                store_elements<S, WHOLE>(in.h_slots + slot * h_row, column, now[0], n);
                exceptions.template see<WHOLE>(now[0], n);
            }
            if (in.z)
                for (int g = 0; g < PRE; ++g)
                    store_columns<S, WHOLE>(in.z + (row * PRE + g) * H + column, z[g], n);
        }
    }

   private:
    // The order of the sums over x. It must not depend on the partition. So it follows from the sizes, by the choice
    // that choose_partition makes for them. If that choice is to project first, a tile has rows of all steps. Otherwise
    // x and h are terms of the same sums.
    Order order_of_x() const {
        const int64_t size = sizeof(P) / TERMS<P>;
        if (xrnn::projects_first(sequence.N, xrnn::count_weight_bytes(sequence.D, gates.x_count * sequence.H, size)))
            return order_of_product<S>(sequence.T * sequence.N, sequence.H, widest(sequence.N));
        return order_of_recurrence<P>(sequence.N, sequence.H, gates.h_count);
    }
    Panels<S> own_panels() const { return Panels<S>(sequence.H, panel_threads(partition), widest_panel()); }
    // A single step of few rows reads the weights in the user's matrix. If its rows lie a multiple of 4 KiB apart,
    // they share so few sets of the caches that a second tile reads them from the third level again. So panels are
    // narrower if one tile then holds all rows of x: 7 or 8 with AVX-512. Still narrower ones are slower to read.
    int widest_panel() const {
        const int64_t rows = rows_of_thread(partition, sequence.N);
        const bool conflicts = sequence.T == 1 && sequence.Wh.row * sizeof(S) % 4096 == 0;
        return conflicts && rows > tallest(WIDEST) && rows <= tallest(WIDEST - 1) ? WIDEST - 1 : widest(rows);
    }
    // Whether all threads get the same number of its panels, and these are not much narrower than the pass's own.
    bool suits(const xrnn::PackedWeights* packed) const {
        if (!packed) return false;
        const Panels<S> given(sequence.H, packed->threads);
        const int own = own_panels().width(0), width = given.width(0);
        return given.count % panel_threads(partition) == 0 && (width >= own || 2 * width >= WIDEST);
    }
    int64_t head_size() const { return sequence.H / sequence.heads.count; }
    GateMatrix<S> x_matrix() const {
        return {.matrix = sequence.Wx, .part_rows = sequence.D, .panels = panels, .gates = gates.x_count};
    }
    GateMatrix<S> h_matrix() const {
        return {.matrix = sequence.Wh,
                .part_rows = head_size(),
                .panels = panels,
                .gates = gates.h_count,
                .heads = sequence.heads};
    }
    Use x_use() const {
        if (!project_first) return {.passes = sequence.T, .rows = sequence.N};
        const bool single_use = projected_steps == sequence.T && panel_threads(partition) == partition.threads;
        return {.passes = 1,
                .rows = sequence.T * sequence.N,
                .strip_partials = x_order.partials,
                .single_use = single_use};
    }
    Use h_use() const {
        return {.passes = sequence.T, .rows = sequence.N, .strip_partials = project_first ? h_order.partials : 0};
    }
    static int64_t steps_of(int64_t T, int64_t N, int64_t rows) {
        const int64_t steps = (rows + N - 1) / N;
        return steps < T ? steps : T;
    }

    // Write zeros behind the last unit of each gate. Strips leave these lanes out, but the cell's step computes them as
    // well. Scratch memory may hold subnormal numbers there, and a step on these takes several times as long.
    void clear_padding(S* sums, int64_t gates_of_rows) const {
        const int64_t units = panels.padded();
        for (int64_t r = 0; r < gates_of_rows; ++r) fill_zeros(sums + r * units + sequence.H, units - sequence.H);
    }

    int64_t z_size() const { return gates.count * W * ROWS * panels.width(0); }
    int64_t time(int64_t i) const { return sequence.reverse ? sequence.T - 1 - i : i; }  // of the i-th step
    S* before(int state, int64_t t) const { return f.states[state] + (t + sequence.reverse) * sequence.N * sequence.H; }
    S* after(int state, int64_t t) const { return f.states[state] + (t + !sequence.reverse) * sequence.N * sequence.H; }

    // Write the initial states of my rows. If x and h are copied to slots, also copy those of the first step.
    void begin_rows(const Share<S>& my_rows) const {
        const int64_t H = sequence.H;
        for (int64_t slot = my_rows.first; slot < my_rows.end; slot += my_rows.stride) {
            const int64_t row = slots.row(slot);
            write_initial_states(f, states, row, 0, H);
            if (!gathers) continue;
            for (P* h : h_slots) copy_elements(before(0, time(0)) + row * H, H, h + slot * h_row);
        }
        if (gathers && sequence.T > 0) gather_x(my_rows, 0);
    }

    void gather_x(const Share<S>& my_rows, int64_t i) const {
        if (project_first) return;
        const int64_t end = my_rows.end < slots.active(time(i)) ? my_rows.end : slots.active(time(i));
        for (int64_t slot = my_rows.first; slot < end; slot += my_rows.stride)
            copy_elements(sequence.x + (time(i) * sequence.N + slots.row(slot)) * sequence.D, sequence.D,
                          x_slots[i % 2] + slot * x_length);
    }

    // Rows past their end keep their states. z of these rows becomes 0: the plain backward pass computes with it before
    // it drops the result, and old memory could hold a NaN.
    void keep_finished_rows(const Share<S>& my_rows, int64_t i) const {
        const int64_t t = time(i), H = sequence.H;
        for (int64_t slot = my_rows.first; slot < my_rows.end; slot += my_rows.stride) {
            if (slot < slots.active(t)) continue;
            const int64_t row = slots.row(slot);
            for (int k = 0; k < states; ++k) copy(before(k, t) + row * H, 1, H, after(k, t) + row * H);
            if (f.z) fill_zeros(f.z + (t * sequence.N + row) * gates.count * H, gates.count * H);
        }
    }

    // xz = x @ Wx + b for my rows and units, for a number of steps from step i on → that number.
    int64_t project(const Share<S>& mine, int64_t i, int id, StopPoll& poll) const {
        const int64_t steps = sequence.T - i < projected_steps ? sequence.T - i : projected_steps;
        const int64_t begin = sequence.reverse ? sequence.T - i - steps : i;
        if constexpr (!IS_PAIR<P>)
            if (Wx.in_strips()) {
                project_in_strips(mine, begin, steps, poll);
                return steps;
            }
        project_in_panels(mine, begin, steps, id, poll);
        return steps;
    }

    // If my rows are all rows, those of several steps are neighbours in memory.
    void project_in_strips(const Share<S>& mine, int64_t begin, int64_t steps, StopPoll& poll) const {
        const int64_t N = sequence.N, rows = mine.end - mine.first;
        const int64_t passes = rows == N ? 1 : steps, together = rows == N ? steps * N : rows;
        for (int64_t s = 0; s < passes; ++s) {
            const auto output = [&](int64_t c) {
                const int64_t r = c / sequence.H, unit = c - r * sequence.H, units = panels.padded();
                S* const out = xz + (s * N + mine.first) * xz_row() + r * units + unit;
                return StripOutput<S>{bias + gates.from_x[r] * units + unit, 0, out, xz_row(), sequence.H - unit};
            };
            multiply_in_strips(Wx, mine, x_order, sequence.x + ((begin + s) * N + mine.first) * sequence.D, sequence.D,
                               together, 0, poll, output);
        }
    }

    // x of my rows in some steps; the rows of two steps lie N · x_length apart.
    const P* x_of_steps(const Share<S>& mine, int64_t begin, int64_t steps, int id) const {
        const int64_t N = sequence.N, rows = mine.end - mine.first;
        const S* const x = sequence.x + (begin * N + mine.first) * sequence.D;
        if constexpr (IS_PAIR<P>) {
            P* const pairs = x_pairs + id * projected_steps * N * x_length;
            for (int64_t s = 0; s < steps; ++s)
                for (int64_t m = 0; m < rows; ++m)
                    copy_elements(x + (s * N + m) * sequence.D, sequence.D, pairs + (s * N + m) * x_length);
            return pairs;
        } else {
            return x;
        }
    }

    void project_in_panels(const Share<S>& mine, int64_t begin, int64_t steps, int id, StopPoll& poll) const {
        const int64_t N = sequence.N, rows = mine.end - mine.first;
        const P* const first_x = x_of_steps(mine, begin, steps, id);
        P* const panel = x_panel + id * x_length * panels.width(0) * W;  // scratch memory for one panel of Wx
        // If my rows are all rows, the rows of several steps are one product.
        const int64_t passes = rows == N ? 1 : steps, together = rows == N ? steps * N : rows;
        for (int64_t j = 0; j < mine.pieces(); ++j) {
            const Piece p = mine.piece(0, j);
            for (int g = 0; g < gates.count; ++g) {
                const int x_gate = gates.x_of[g];
                if (x_gate < 0) continue;
                if (poll.stops(passes * together * sequence.D * p.width * W)) return;
                if (Wx.one_by_one()) Wx.copy_panel(p, x_gate, panel);
                for (int64_t s = 0; s < passes; ++s) {
                    Product<P> product(x_order);
                    const P* const x = first_x + s * N * x_length;
                    if (Wx.one_by_one())
                        add_segment(product, x, x_length, 1, panel, p.width * W, x_length);
                    else
                        Wx.add_to(product, p, x_gate, x, x_length);
                    product.init = bias + g * panels.padded() + p.begin;
                    product.out = xz + (s * N + mine.first) * xz_row() + x_gate * panels.padded() + p.begin;
                    product.out_row = xz_row();
                    run_rows(product, p.width, together);
                }
            }
        }
    }

    int64_t xz_row() const { return gates.x_count * panels.padded(); }

    Operand<P> x_of_step(const Share<S>& mine, int64_t i) const {
        if constexpr (!IS_PAIR<P>)
            if (!gathers) return {sequence.x + (time(i) * sequence.N + mine.first) * sequence.D, sequence.D};
        return {x_slots[i % 2] + mine.first * x_length, mine.stride * x_length};
    }

    Operand<P> h_of_step(const Share<S>& mine, int64_t i) const {
        if constexpr (!IS_PAIR<P>)
            if (!gathers) return {before(0, time(i)) + mine.first * sequence.H, sequence.H};
        return {h_slots[i % 2] + mine.first * h_row, mine.stride * h_row};
    }

    Operands operands(const Share<S>& mine, int64_t i, int64_t place, int id) const {
        const int64_t t = time(i);
        Operands in = {.x = x_of_step(mine, i),
                       .h = h_of_step(mine, i),
                       .xz = {nullptr, xz_row()},
                       .sums = z + id * z_size(),
                       .add = f.add.data ? f.add.data + t * f.add.step : nullptr,
                       .before = {},
                       .after = {},
                       .z = f.z ? f.z + t * sequence.N * gates.count * sequence.H : nullptr,
                       .h_slots = gathers ? h_slots[(i + 1) % 2] : nullptr};
        for (int k = 0; k < states; ++k) {
            in.before[k] = before(k, t);
            in.after[k] = after(k, t);
        }
        if (project_first) in.xz.data = xz + (place * sequence.N + mine.first) * xz_row();
        return in;
    }

    // Step i. With project_first, xz holds it as its step number `place`.
    void step(const Share<S>& mine, int64_t i, int64_t place, int id, int n, StopPoll& poll) {
        const Operands in = operands(mine, i, place, id);
        const LocalChains local =
            local_first ? LocalChains(elements<P>(mine.column0), elements<P>(mine.column1), h_length, h_order.chain)
                        : LocalChains();
        sum_local_chains(mine, local, in.h);
        if (partition.split == Split::COLUMNS) barrier.await(id, n);
        if constexpr (!IS_PAIR<P>)
            if (Wh.in_strips()) return step_in_strips(mine, in, i, id, n, poll);
        const int64_t rows = mine.below(slots.active(time(i)));
        for (int64_t j = 0; j < mine.pieces(); ++j) {
            const bool last = j + 1 == mine.pieces();
            const Piece p = mine.piece(i, j), after = mine.piece(i, last ? j : j + 1);
            const Piece* const next = fetches_panels && !last ? &after : nullptr;
            for (int64_t begin = 0; begin < rows; begin += ROWS) {
                const int64_t count = rows - begin < ROWS ? rows - begin : ROWS;
                if (poll.stops(count * gates.count * (sequence.D + sequence.H) * p.width * W)) return;
                if (fetches) fetch_ahead(mine, in, p, begin, count);
                for (int g = 0; g < gates.count; ++g) sum_gate(mine, local, in, p, g, begin, count, {next, begin});
                (this->*step_of_cell)(mine, in, p, in.sums, p.width * W, begin, count);
            }
        }
    }

    // Wait until all threads have computed their sums in strips. With one gate this is not needed: each thread has
    // computed the sums of its own units.
    void exchange(int id, int n) {
        if (gates.count > 1 && partition.split == Split::COLUMNS) barrier.wait(id, n);
    }

    // A step in strips: first the sums for my share of the columns of all gates, then the cell's step for my units.
    void step_in_strips(const Share<S>& mine, const Operands& in, int64_t i, int id, int n, StopPoll& poll) {
        const int64_t units = panels.padded(), row = gates.count * units, rows = mine.count();
        S* const sums = z + mine.first * row;
        const auto output = [&](int64_t c) {
            const int64_t r = c / sequence.H, unit = c - r * sequence.H, left = sequence.H - unit, g = gates.from_h[r];
            const int64_t at = g * units + unit;
            const int x_gate = gates.x_of[g];
            if (x_gate < 0) return StripOutput<S>{bias + at, 0, sums + at, row, left};
            return StripOutput<S>{in.xz.data + x_gate * units + unit, in.xz.row, sums + at, row, left};
        };
        multiply_in_strips(Wh, mine, h_order, in.h.data, in.h.row, rows, i, poll, output);
        if (poll.has_stopped()) return;
        exchange(id, n);
        for (int g = 0; g < gates.count; ++g)
            for (int64_t m = 0; m < rows && gates.h_of[g] < 0; ++m)
                copy(in.xz.data + m * in.xz.row + gates.x_of[g] * units + mine.column0, 1,
                     mine.column1 - mine.column0, sums + m * row + g * units + mine.column0);
        for (int64_t j = 0; j < mine.pieces(); ++j) {
            const Piece p = mine.piece(i, j);
            (this->*step_of_cell)(mine, in, p, sums + p.begin, units, 0, rows);
        }
    }

    void sum_local_chains(const Share<S>& mine, const LocalChains& local, Operand<P> h) const {
        for (int c = 0; c < local.count; ++c)
            for (int64_t j = 0; j < mine.pieces(); ++j) {
                const Piece p = mine.piece(0, j);
                for (int r = 0; r < gates.h_count; ++r) {
                    const int64_t begin = local.chain_begin(c);
                    Product<P> product(h_order);
                    Wh.add_to(product, p, r, h.data + begin, h.row, begin, local.chain_end(c));
                    product.out = local_chain(c, r, mine.first) + p.begin;
                    product.out_row = panels.padded();
                    run_rows(product, p.width, mine.end - mine.first);
                }
            }
    }

    S* local_chain(int c, int r, int64_t row) const {
        return local_chains + ((c * gates.h_count + r) * sequence.N + row) * panels.padded();
    }

    // sums = x @ Wx + h @ Wh + b of gate g and panel p, for `rows` of my rows from number `begin` on.
    void sum_gate(const Share<S>& mine, const LocalChains& local, const Operands& in, Piece p, int g, int64_t begin,
                  int64_t rows, Next next) const {
        const int x_gate = gates.x_of[g], h_gate = gates.h_of[g], width = p.width;
        S* const out = in.sums + g * width * W;
        const int64_t out_row = gates.count * width * W;
        Product<P> product(h_order);
        product.out = out;
        product.out_row = out_row;
        product.init = bias + g * panels.padded() + p.begin;
        if (x_gate >= 0 && project_first) {
            product.init = in.xz.data + begin * in.xz.row + x_gate * panels.padded() + p.begin;
            product.init_row = in.xz.row;
        } else if (x_gate >= 0) {
            Wx.add_to(product, p, x_gate, in.x.data + begin * in.x.row, in.x.row, next);
            if (h_gate < 0 || !(x_order == h_order)) {  // two separate sums
                product.order = x_order;
                run_rows(product, width, rows);
                if (h_gate < 0) return;
                product = Product<P>(h_order);
                product.out = out;
                product.out_row = out_row;
                product.init = out;
                product.init_row = out_row;
            }
        }
        if (h_gate >= 0 && sequence.heads.count > 1) return add_heads(product, p, h_gate, in, begin, rows);
        if (h_gate >= 0) {
            const P* h = in.h.data + begin * in.h.row;
            Wh.add_to(product, p, h_gate, h, in.h.row, 0, local.begin, next);
            for (int c = 0; c < local.count; ++c)
                add_chain(product, local_chain(c, h_gate, mine.first + begin) + p.begin, panels.padded());
            Wh.add_to(product, p, h_gate, h + local.end, in.h.row, local.end, h_length, next);
        }
        run_rows(product, width, rows);
    }

    // The terms of h of several heads. `product` has the sums before them, and the terms of x if there are any.
    void add_heads(Product<P>& product, Piece p, int h_gate, const Operands& in, int64_t begin, int64_t rows) const {
        const auto h_of = [&](int64_t head) { return in.h.data + begin * in.h.row + head * Wh.length; };
        p.head = int(p.begin / head_size());
        if (p.begin + (p.width - 1) * W + p.last <= (p.head + 1) * head_size()) {
            Wh.add_to(product, p, h_gate, h_of(p.head), in.h.row);
            return run_rows(product, p.width, rows);
        }
        S* const out = product.out;
        Operand<S> init = {product.init, product.init_row};
        if (product.count > 0) {
            run_rows(product, p.width, rows);
            init = {out, product.out_row};
        }
        each_head<S>(p, sequence.heads, head_size(), [&](Piece piece) {
            Product<P> sums(h_order);
            const int64_t at = piece.begin - p.begin;
            sums.init = init.data + at;
            sums.init_row = init.row;
            sums.out = out + at;
            sums.out_row = product.out_row;
            sums.last = piece.last;
            Wh.add_to(sums, piece, h_gate, h_of(piece.head), in.h.row);
            run_rows(sums, piece.width, rows);
        });
    }

    // Prefetch the arrays that step_cell writes, and those that it reads and no sum reads.
    void fetch_ahead(const Share<S>& mine, const Operands& in, Piece p, int64_t begin, int64_t rows) const {
        const int64_t n = (p.width - 1) * W + p.last;
        for (int64_t m = begin; m < begin + rows; ++m) {
            const int64_t row = slots.row(mine.slot(m)), at = row * sequence.H + p.begin;
            for (int k = 0; k < states; ++k) fetch(in.after[k] + at, n);
            for (int k = 1; k < states; ++k) fetch(in.before[k] + at, n);
            for (int g = 0; g < gates.count && in.z; ++g)
                fetch(in.z + (row * gates.count + g) * sequence.H + p.begin, n);
            for (int g = 0; g < gates.count && in.add; ++g)
                fetch(in.add + row * f.add.row + g * sequence.H + p.begin, n);
        }
    }
};

template <class P, template <class> class CellOf>
bool forward(const xrnn::Forward<Sum<P>>& f, Partition partition) {
    if (f.sequence.N == 0 || f.sequence.H == 0) return true;  // no array has elements to write
    using Cell = CellOf<Vec<Sum<P>>>;
    if constexpr (SCANS<Cell>) {
        using Pass = ScanPass<P>;
        return run_pass<Pass, Sum<P>>(partition.threads, f, partition, SHAPE<Cell>, &Pass::template scan_cell<Cell>);
    } else {
        using Pass = ForwardPass<P>;
        return run_pass<Pass, Sum<P>>(partition.threads, f, partition, SHAPE<Cell>, &Pass::template step_cell<Cell>);
    }
}

}  // namespace

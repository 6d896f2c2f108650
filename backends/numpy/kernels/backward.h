// The gradients of the recurrence, last step first. A step of this pass adds dz @ Whᵀ of the step after to the gradient
// that came from above, and computes the cell's gradient from it. The products of dz follow in chunks of steps.
//
// Once a chunk has its dz, the products read it from the cache, so that dz of the complete sequence never exists.
// Threads own rows, panels and steps as in the forward pass.
//
// Two buffers hold dz of this chunk and of the last one. The first step of a chunk still reads dz of the last chunk,
// and slower threads may still be in its products, so a new chunk must not overwrite it. Then one barrier a chunk is
// enough, between its dz and its products.
//
// The gradients of own parameters are summed over the steps for each row, then over the rows: in the same order for
// every partition.
//
// A cell whose z does not depend on h has no product and no barrier in a step.
//
// With lengths a chunk holds the running rows only. They are copied side by side for the products. In bfloat16, the
// operands of the weight gradients are copied too: their pairs join the numbers of two rows.
#pragma once

#include "chains.h"
#include "products.h"

namespace {

template <class P>
struct BackwardPass {
    using S = Sum<P>;
    static constexpr int W = Simd<S>::LANES;

    // dz of some rows, and the same as elements of an operand.
    struct Gradient {
        S* dz;
        P* dz_rows;
    };

    // `differentiate` of a cell.
    using Differentiate = void (BackwardPass::*)(const Share<S>& mine, int64_t t, Piece p, int64_t begin, int64_t end,
                                                 int64_t active, Gradient out) const;

    // Slots whose sums are held at a time, as in the forward pass.
    static constexpr int64_t ROWS = IS_PART<P> ? 32 : 12;

    const xrnn::Backward<S>& f;
    const xrnn::Sequence<S>& sequence;
    const Partition partition;
    const Shape& shape;
    const Gates& gates;
    const Differentiate gradient_of_cell;
    const Panels<S> panels;
    const Order order;
    const bool local_first, fetches;
    const int64_t steps;   // of a chunk
    const int64_t length;  // elements of a gate of dz
    Slots slots;
    S* carry[xrnn::MOST_STATES];  // (N, units) in slots: the gradient of the states after a step, from all later steps
    S* own_sums[xrnn::MOST_OWN];  // (N, units) in slots: the gradient of an own parameter, of the steps so far; null:
                                  // not needed
    S* dz[2];                     // (steps · N, gates · H) each
    P* dz_rows[2];                // (steps · N, gates · length) each: in pairs, otherwise dz
    S* local_chains;              // (LocalChains::MOST, N, units)
    Weights<P> WhT;
    const bool fetches_panels;    // tiles prefetch the next panel of the weights
    GradientProducts<P> products;
    P *x_rows, *h_rows, *dz_down;  // x and h of the rows of a chunk, with lengths or in pairs; dz, in pairs
    S* dx_rows;                    // with lengths: dx of the rows of a chunk
    int64_t* places;               // with lengths, for each thread: t · N + row for each row of a chunk
    Barrier barrier;

    BackwardPass(Arena<S>& arena, const xrnn::Backward<S>& f, Partition partition, const Shape& shape,
                 Differentiate gradient_of_cell)
        : f(f),
          sequence(f.sequence),
          partition(partition),
          shape(shape),
          gates(shape.gates),
          gradient_of_cell(gradient_of_cell),
          panels(sequence.H, panel_threads(partition), widest(rows_of_thread(partition, sequence.N))),
          order(order_of_recurrence<P>(sequence.N, sequence.H, gates.h_count)),
          // Not with several gates: the terms of a thread's own units are then several ranges, and a step is long
          // compared with its barrier.
          local_first(!IS_PART<P> && gates.h_count == 1 && partition.local_first && partition.threads > 1 &&
                      sequence.heads.count == 1 && !sequence.lengths),
          fetches(is_worth_fetching<S>(sequence, shape.states + gates.count)),
          steps(chunk_steps(sequence.T, sequence.N)),
          length(elements<P>(sequence.H)),
          slots(sequence.lengths, sequence.T, sequence.N, arena),
          dz{arena.take(steps * sequence.N * gates.count * sequence.H),
             arena.take(sequence.T > steps ? steps * sequence.N * gates.count * sequence.H : 0)},
          local_chains(arena.take(local_first ? LocalChains::MOST * sequence.N * panels.padded() : 0)),
          WhT({.matrix = {sequence.Wh.data, sequence.Wh.col, sequence.Wh.row},
               .part_rows = sequence.H / sequence.heads.count,
               .panels = panels,
               .parts = gates.h_count,
               .heads = sequence.heads},
              {.passes = sequence.T, .rows = sequence.N}, arena),
          fetches_panels(xrnn::prefetches_panels(rows_of_thread(partition, sequence.N),
                                                 WhT.packed_bytes() / panel_threads(partition))),
          products(sequence.H, gates, sequence.D, f.dWx, h_size(), f.dWh, sequence.Wx, f.db, f.dx != nullptr,
                   sequence.T * sequence.N, partition.threads, arena, sequence.heads),
          x_rows(arena.template take_of<P>(gathers() ? elements<P>(steps * sequence.N) * sequence.D : 0)),
          h_rows(arena.template take_of<P>(gathers() ? elements<P>(steps * sequence.N) * h_size() : 0)),
          dz_down(arena.template take_of<P>(
              IS_PAIR<P> && !IS_PART<P> && f.db ? elements<P>(steps * sequence.N) * gates.count * sequence.H : 0)),
          dx_rows(arena.take(sequence.lengths && f.dx ? steps * sequence.N * sequence.D : 0)),
          places(arena.template take_of<int64_t>(sequence.lengths ? partition.threads * steps * sequence.N : 0)),
          barrier(partition.threads) {
        for (int k = 0; k < shape.states; ++k) carry[k] = arena.take(sequence.N * panels.padded());
        for (int i = 0; i < shape.own; ++i)
            own_sums[i] = f.db && f.d_own[0] ? arena.take(sequence.N * panels.padded()) : nullptr;
        for (int i = 0; i < 2; ++i)
            if constexpr (IS_PAIR<P>)
                dz_rows[i] = arena.template take_of<P>(
                    i == 0 || sequence.T > steps ? steps * sequence.N * gates.count * length : 0);
            else
                dz_rows[i] = dz[i];
    }

    static int64_t chunk_steps(int64_t T, int64_t N) {
        const int64_t fill = (CHUNK + N - 1) / N;
        return T < fill ? T : fill;
    }

    void prepare() { slots.sort(); }

    void thread(int id, int n) {
        const int64_t N = sequence.N;
        const Share<S> mine(panels, N, sequence.lengths, partition.split, id, n),
            packing(panels, N, false, Split::COLUMNS, id, n);
        WhT.pack(packing.panel0, packing.panel1);
        products.pack(id, n);
        for (int64_t m = share(N, id, n); m < share(N, id + 1, n); ++m) {
            for (int k = 0; k < shape.states; ++k) fill_zeros(carry[k] + m * panels.padded(), panels.padded());
            for (int i = 0; i < shape.own && own_sums[0]; ++i)
                fill_zeros(own_sums[i] + m * panels.padded(), panels.padded());
        }
        if constexpr (IS_PART<P>) clear_ends(id, n);
        barrier.wait(id, n);

        StopPoll poll(barrier.stop, id);
        Later later = {nullptr, 0};
        int64_t done = 0;
        for (int chunk = 0; done < sequence.T; ++chunk) {
            const int64_t count = sequence.T - done < steps ? sequence.T - done : steps;
            const int64_t begin = sequence.reverse ? done : sequence.T - done - count;
            int64_t rows = 0;
            for (int64_t t = begin; t < begin + count; ++t) rows += slots.active(t);
            int64_t row = sequence.reverse ? 0 : rows;  // the first row of the current step among those of the chunk
            for (int64_t i = 0; i < count; ++i) {
                const int64_t t = sequence.reverse ? begin + i : begin + count - 1 - i, active = slots.active(t);
                if (!sequence.reverse) row -= active;
                const int64_t gate = row * gates.count;  // its first gate
                const Gradient out = {dz[chunk % 2] + gate * sequence.H, dz_rows[chunk % 2] + gate * length};
                if (sequence.reverse) row += active;
                step(
                    mine, done + i, later, id, n, poll,
                    [&](Piece p, int64_t begin, int64_t end) { fetch_ahead(mine, t, p, begin, end, out.dz); },
                    [&](Piece p, int64_t begin, int64_t end) {
                        (this->*gradient_of_cell)(mine, t, p, begin, end, active, out);
                    });
                if (poll.has_stopped()) return;
                barrier.arrive(id);
                if (gates.h_count > 0) later = {out.dz_rows, active};
            }
            barrier.await(id, n);
            add_products({dz[chunk % 2], dz_rows[chunk % 2]}, begin, count, rows, chunk == 0, id, n, poll);
            if (poll.has_stopped()) return;
            done += count;
        }
        for (int64_t p = share(panels.count, id, n); p < share(panels.count, id + 1, n); ++p)
            for (int i = 0; i < shape.own && own_sums[0]; ++i)
                add_rows(own_sums[i] + panels.begin(p), panels.padded(), N, panels.valid(p),
                         f.d_own[i] + panels.begin(p), true);
        step(
            mine, done, later, id, n, poll, [](Piece, int64_t, int64_t) {},
            [&](Piece p, int64_t begin, int64_t end) { write_initial(mine, p, begin, end); });
    }

    // The cell's gradient of step t for panel p of my rows: the carry, and dz of the `active` slots.
    template <class Cell>
    void differentiate(const Share<S>& mine, int64_t t, Piece p, int64_t begin, int64_t end, int64_t active,
                       Gradient out) const {
        for (int v = 0; v < p.width; ++v)
            if (v + 1 < p.width || p.last == W)
                differentiate_vector<Cell, true>(mine, t, p.begin + v * W, W, begin, end, active, out);
            else
                differentiate_vector<Cell, false>(mine, t, p.begin + v * W, p.last, begin, end, active, out);
    }

    // The same for the n units from `column` on.
    template <class Cell, bool WHOLE>
    XRNN_INLINE void differentiate_vector(const Share<S>& mine, int64_t t, int64_t column, int n, int64_t begin,
                                          int64_t end, int64_t active, Gradient out) const {
        constexpr int PRE = Cell::PRE;
        constexpr Gates GATES = gates_of<Cell>();
        const int64_t H = sequence.H, step = sequence.N * sequence.state_row, units = panels.padded();
        Vec<S> own[xrnn::MOST_OWN] = {};
        for (int i = 0; i < Cell::OWN; ++i) own[i] = load_columns<S, WHOLE>(sequence.own[i] + column, n);
        const S *old_states[Cell::STATES], *new_states[Cell::STATES], *above[Cell::STATES];
        for (int k = 0; k < Cell::STATES; ++k) {
            old_states[k] = f.states[k] + (t + sequence.reverse) * step + column;
            new_states[k] = f.states[k] + (t + !sequence.reverse) * step + column;
            above[k] = f.dstates[k].data ? f.dstates[k].data + t * f.dstates[k].step + column : nullptr;
        }
        const int64_t z_at = t * PRE * sequence.N * H + column;
        const S* const z_of_step = Cell::KEEPS_Z ? f.z + z_at : nullptr;
        S* const dadd = f.dadd ? f.dadd + z_at : nullptr;
        Exceptions<P> exceptions;
        for (int64_t m = begin; m < end; ++m) {
            const int64_t slot = mine.slot(m), row = slots.row(slot), at = row * sequence.state_row,
                          carried = slot * units + column;
            Vec<S> dafter[Cell::STATES];
            for (int k = 0; k < Cell::STATES; ++k) {
                dafter[k] = load<S>(carry[k] + carried);
                if (above[k]) dafter[k] += load_columns<S, WHOLE>(above[k] + row * f.dstates[k].row, n);
            }
            if (slot >= active) {  // past its end a row keeps its states
                for (int k = 0; k < Cell::STATES; ++k) store<S>(carry[k] + carried, dafter[k]);
                for (int g = 0; g < PRE && dadd; ++g) store_columns<S, WHOLE>(dadd + (row * PRE + g) * H, Vec<S>{}, n);
                continue;
            }
            Vec<S> old[Cell::STATES], now[Cell::STATES], z[PRE], dz[PRE + Cell::OWN], dbefore[Cell::STATES];
            for (int k = 0; k < Cell::STATES; ++k) {
                old[k] = load_columns<S, WHOLE>(old_states[k] + at, n);
                now[k] = load_columns<S, WHOLE>(new_states[k] + at, n);
            }
            if (Cell::KEEPS_Z)
                for (int g = 0; g < PRE; ++g) z[g] = load_columns<S, WHOLE>(z_of_step + (row * PRE + g) * H, n);
            Cell::gradient(dafter, old, now, z, own, dz, dbefore);
            for (int g = 0; g < PRE; ++g) {
                const int64_t gate = slot * PRE + g;
                store_columns<S, WHOLE>(out.dz + gate * H + column, dz[g], n);
                if constexpr (IS_PAIR<P>) {
                    store_elements<S, WHOLE>(out.dz_rows + gate * length, column, dz[g], n);
                    exceptions.template see<WHOLE>(dz[g], n);
                }
            }
            if (dadd)
                for (int g = 0; g < PRE; ++g)
                    store_columns<S, WHOLE>(dadd + (row * PRE + GATES.b_of[g]) * H, dz[g], n);
            for (int i = 0; i < Cell::OWN && own_sums[0]; ++i)
                store<S>(own_sums[i] + carried, load<S>(own_sums[i] + carried) + dz[PRE + i]);
            for (int k = Cell::DIRECT ? 0 : 1; k < Cell::STATES; ++k) store<S>(carry[k] + carried, dbefore[k]);
        }
    }

   private:
    // The columns of h that the weight gradients read.
    int64_t h_size() const { return gates.h_count > 0 ? sequence.H : 0; }
    bool gathers() const { return f.db && (sequence.lengths || IS_PAIR<P>); }

    // The last group of a gate may end with terms that no vector of units covers. They must be zeros.
    void clear_ends(int id, int n) const {
        const int64_t all = sequence.H % (2 * GROUP) ? steps * sequence.N * gates.count : 0;
        for (int buffer = 0; buffer < (sequence.T > steps ? 2 : 1); ++buffer)
            for (int64_t i = share(all, id, n); i < share(all, id + 1, n); ++i)
                fill_zeros(dz_rows[buffer] + (i + 1) * length - GROUP, GROUP);
    }

    // dz of the step after, (rows, gates · length) in slots; none at the last step.
    struct Later {
        const P* dz;
        int64_t rows;
    };

    // carry[h] += dz @ Whᵀ of the later step, then `use`, for each of my panels and some of my slots at a time. `ahead`
    // runs before, to prefetch the arrays that `use` needs.
    template <class Ahead, class Use>
    void step(const Share<S>& mine, int64_t i, Later later, int id, int n, StopPoll& poll, Ahead ahead, Use use) {
        const int64_t width = gates.count * length;
        const P* a = later.dz ? later.dz + mine.first * width : nullptr;
        const int64_t a_row = mine.stride * width, rows = mine.below(later.rows);
        const LocalChains local = local_first && later.dz
                                      ? LocalChains(elements<P>(mine.column0), elements<P>(mine.column1), length,
                                                    order.chain)
                                      : LocalChains();
        sum_local_chains(mine, local, a, a_row, rows);
        if (partition.split == Split::COLUMNS && gates.h_count > 0) barrier.await(id, n);
        for (int64_t j = 0; j < mine.pieces(); ++j) {
            const bool last = j + 1 == mine.pieces();
            const Piece p = mine.piece(i, j), after = mine.piece(i, last ? j : j + 1);
            const Piece* const next = fetches_panels && !last ? &after : nullptr;
            for (int64_t begin = 0, end; begin < mine.count(); begin = end) {
                end = begin + ROWS < mine.count() ? begin + ROWS : mine.count();
                if (poll.stops((end - begin) * gates.count * sequence.H * p.width * W)) return;
                if (fetches && begin < rows) ahead(p, begin, end < rows ? end : rows);
                if (begin < rows)
                    propagate(mine, local, p, a, a_row, begin, end < rows ? end : rows, {next, begin});
                use(p, begin, end);
            }
        }
    }

    void sum_local_chains(const Share<S>& mine, const LocalChains& local, const P* a, int64_t a_row,
                          int64_t rows) const {
        for (int c = 0; c < local.count; ++c)
            for (int64_t j = 0; j < mine.pieces(); ++j) {
                const Piece p = mine.piece(0, j);
                Product<P> product(order);
                WhT.add_to(product, p, 0, a + local.chain_begin(c), a_row, local.chain_begin(c), local.chain_end(c));
                product.out = local_chain(c, mine.first) + p.begin;
                product.out_row = panels.padded();
                run_rows(product, p.width, rows);
            }
    }

    S* local_chain(int c, int64_t row) const { return local_chains + (c * sequence.N + row) * panels.padded(); }

    // carry[h] += dz @ Whᵀ of panel p for my slots number begin … end - 1; a are the rows of dz.
    void propagate(const Share<S>& mine, const LocalChains& local, Piece p, const P* a, int64_t a_row, int64_t begin,
                   int64_t end, Next next) const {
        if (sequence.heads.count > 1) return propagate_heads(mine, p, a + begin * a_row, a_row, begin, end);
        Product<P> product(order);
        product.out_row = mine.stride * panels.padded();
        product.out = carry[0] + mine.first * panels.padded() + begin * product.out_row + p.begin;
        if (shape.direct) {
            product.init = product.out;
            product.init_row = product.out_row;
        }
        a += begin * a_row;
        if (local.count == 0) {
            add_gates(product, WhT, p, gates.count, gates.h_of, length, a, a_row, next);
        } else {
            WhT.add_to(product, p, 0, a, a_row, 0, local.begin, next);
            for (int c = 0; c < local.count; ++c)
                add_chain(product, local_chain(c, mine.first + begin) + p.begin, panels.padded());
            WhT.add_to(product, p, 0, a + local.end, a_row, local.end, length, next);
        }
        run_rows(product, p.width, end - begin);
    }

    // The same for several heads: the terms are dz of the head's own units, gate by gate.
    void propagate_heads(const Share<S>& mine, Piece p, const P* a, int64_t a_row, int64_t begin, int64_t end) const {
        const int64_t K = WhT.length / gates.h_count;  // elements of a gate of a head
        each_head<S>(p, sequence.heads, sequence.H / sequence.heads.count, [&](Piece piece) {
            Product<P> product(order);
            product.out_row = mine.stride * panels.padded();
            product.out = carry[0] + mine.first * panels.padded() + begin * product.out_row + piece.begin;
            if (shape.direct) {
                product.init = product.out;
                product.init_row = product.out_row;
            }
            product.last = piece.last;
            for (int g = 0; g < gates.count; ++g)
                if (const int r = gates.h_of[g]; r >= 0)
                    WhT.add_to(product, piece, 0, a + g * length + piece.head * K, a_row, r * K, (r + 1) * K);
            run_rows(product, piece.width, end - begin);
        });
    }

    // Prefetch the arrays that `differentiate` reads and writes.
    void fetch_ahead(const Share<S>& mine, int64_t t, Piece p, int64_t begin, int64_t end, const S* out) const {
        const int64_t H = sequence.H, n = (p.width - 1) * W + p.last;
        for (int64_t m = begin; m < end; ++m) {
            const int64_t slot = mine.slot(m), row = slots.row(slot),
                          at = (t * sequence.N + row) * sequence.state_row + p.begin;
            for (int k = 0; k < shape.states; ++k) {
                fetch(f.states[k] + at, n);
                fetch(f.states[k] + at + sequence.N * sequence.state_row, n);
                const auto& above = f.dstates[k];
                if (above.data) fetch(above.data + t * above.step + row * above.row + p.begin, n);
            }
            for (int g = 0; g < gates.count; ++g) {
                if (shape.keeps_z) fetch(f.z + ((t * sequence.N + row) * gates.count + g) * H + p.begin, n);
                fetch(out + (slot * gates.count + g) * H + p.begin, n);
            }
        }
    }

    void write_initial(const Share<S>& mine, Piece p, int64_t begin, int64_t end) const {
        for (int64_t m = begin; m < end; ++m)
            for (int k = 0; k < shape.states; ++k)
                copy(carry[k] + mine.slot(m) * panels.padded() + p.begin, 1, (p.width - 1) * W + p.last,
                     f.dinitial[k] + slots.row(mine.slot(m)) * sequence.state_row + p.begin);
    }

    // The products of a chunk's `rows` rows of dz, of `count` steps from `begin` on.
    void add_products(Gradient of_chunk, int64_t begin, int64_t count, int64_t rows, bool first, int id, int n,
                      StopPoll& poll) {
        const int64_t N = sequence.N, D = sequence.D;
        const int64_t* my_places = nullptr;
        if (sequence.lengths) my_places = find_places(begin, count, id);
        if (gathers()) {
            gather(of_chunk, begin, rows, my_places, id, n);
            barrier.wait(id, n);
        }
        GradientOperands<P> operands = {of_chunk.dz, of_chunk.dz_rows, dz_down, {x_rows, h_rows}};
        if constexpr (!IS_PAIR<P>) {
            operands.dz_down = of_chunk.dz;
            if (!sequence.lengths) {
                operands.x[0] = sequence.x + begin * N * D;
                operands.x[1] = h_before() + begin * N * sequence.H;
            }
        }
        S* const dx = !f.dx ? nullptr : sequence.lengths ? dx_rows : f.dx + begin * N * D;
        products.add(operands, rows, dx, first, id, n, poll);
        if (!f.dx || !sequence.lengths || poll.has_stopped()) return;
        for (int64_t i = share(rows, id, n); i < share(rows, id + 1, n); ++i)
            copy(dx_rows + i * D, 1, D, f.dx + my_places[i] * D);
        for (int64_t t = begin; t < begin + count; ++t)
            for (int64_t slot = slots.active(t) + id; slot < N; slot += n)
                fill_zeros(f.dx + (t * N + slots.row(slot)) * D, D);
    }

    // h before each step.
    const S* h_before() const { return f.states[0] + sequence.reverse * sequence.N * sequence.H; }

    // With lengths: t · N + row for each row of a chunk.
    const int64_t* find_places(int64_t begin, int64_t count, int id) const {
        int64_t *const mine = places + id * steps * sequence.N, *place = mine;
        for (int64_t t = begin; t < begin + count; ++t)
            for (int64_t slot = 0; slot < slots.active(t); ++slot) *place++ = t * sequence.N + slots.row(slot);
        return mine;
    }

    // Copy my part of the rows of a chunk to x_rows, h_rows and dz_down.
    void gather(Gradient of_chunk, int64_t begin, int64_t rows, const int64_t* my_places, int id, int n) const {
        const int64_t D = sequence.D, H = sequence.H, width = gates.count * H;
        const int64_t first = share_elements<P>(rows, id, n), end = share_elements<P>(rows, id + 1, n);
        const auto place = [&](int64_t i) { return my_places ? my_places[i] : begin * sequence.N + i; };
        if constexpr (IS_PAIR<P>) {
            pair_down([&](int64_t i) { return sequence.x + place(i) * D; }, rows, D, first, end, x_rows);
            pair_down([&](int64_t i) { return h_before() + place(i) * H; }, rows, h_size(), first, end, h_rows);
            if constexpr (!IS_PART<P>)
                pair_down([&](int64_t i) { return of_chunk.dz + i * width; }, rows, width, first, end, dz_down);
        } else {
            for (int64_t i = first; i < end; ++i) {
                copy(sequence.x + place(i) * D, 1, D, x_rows + i * D);
                copy(h_before() + place(i) * H, 1, h_size(), h_rows + i * h_size());
            }
        }
    }
};

template <class P, template <class> class CellOf>
bool backward(const xrnn::Backward<Sum<P>>& f, Partition partition) {
    using S = Sum<P>;
    using Cell = CellOf<Vec<S>>;
    constexpr Gates GATES = gates_of<Cell>();
    const xrnn::Sequence<S>& sequence = f.sequence;
    if (sequence.T == 0 || sequence.N == 0 || sequence.H == 0) {  // all sums are empty
        if (f.db) {
            fill_zeros(f.dWx.data, sequence.D * GATES.x_count * sequence.H);
            fill_zeros(f.dWh.data, sequence.H * GATES.h_count * sequence.H / sequence.heads.count);
            fill_zeros(f.db, Cell::PRE * sequence.H);
            for (int i = 0; i < Cell::OWN && f.d_own[i]; ++i) fill_zeros(f.d_own[i], sequence.H);
        }
        if (f.dx) fill_zeros(f.dx, sequence.T * sequence.N * sequence.D);
        for (int k = 0; k < Cell::STATES; ++k)
            for (int64_t row = 0; row < sequence.N; ++row)
                fill_zeros(f.dinitial[k] + row * sequence.state_row, sequence.H);
        return true;
    }
    using Pass = BackwardPass<P>;
    return run_pass<Pass, S>(partition.threads, f, partition, SHAPE<Cell>, &Pass::template differentiate<Cell>);
}

}  // namespace

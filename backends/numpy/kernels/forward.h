// The recurrence: h[t] = φ(x[t] @ Wx + h[t-1] @ Wh + b).
//
// Who owns what. A thread owns the same rows (Split::ROWS) or panels (Split::COLUMNS) of every step. By rows it reads
// only what it wrote itself. By columns it reads whole rows of the step before, hence the barrier between two steps;
// while the others are on their way there, it can take the terms of x and of its own columns.
//
// Why it is fast. The weights are packed once for the whole sequence; every sum stays in registers from the bias to the
// nonlinearity; a thread's share of the weights stays in its own cache where it fits, and where it doesn't, each step
// goes through it in the opposite direction from the last, which finds its end still there.
#pragma once

#include "weights.h"

namespace {

using xrnn::Barrier;
using xrnn::Partition;
using xrnn::Split;

// The rows and panels that thread `id` of n owns.
template <class S>
struct Share {
    int64_t row0, row1, panel0, panel1, column0, column1;

    Share(const Panels<S>& panels, int64_t rows, Split split, int id, int n)
        : row0(0), row1(rows), panel0(0), panel1(panels.count) {
        if (split == Split::ROWS) {
            row0 = share(rows, id, n), row1 = share(rows, id + 1, n);
        } else {
            panel0 = share(panels.count, id, n), panel1 = share(panels.count, id + 1, n);
        }
        column0 = panels.begin(panel0);
        column1 = panel1 < panels.count ? panels.begin(panel1) : panels.columns;
    }
    // Panel number i in the order of step t, which is the reverse of the last step's.
    int64_t panel(int64_t t, int64_t i) const { return t % 2 ? panel1 - 1 - (i - panel0) : i; }
};

inline int panel_threads(Partition partition) { return partition.split == Split::COLUMNS ? partition.threads : 1; }
constexpr int widest(int64_t rows) { return rows <= FEW_ROWS ? WIDEST_OF_FEW : WIDEST; }

template <class S>
struct ForwardPass {
    const xrnn::Forward<S>& f;
    const Partition partition;
    const Panels<S> panels;
    S* bias;  // b, contiguous and filled up with zeros
    Weights<S> Wx, Wh;
    Barrier barrier;

    ForwardPass(const xrnn::Forward<S>& f, Partition partition, Arena<S>& arena)
        : f(f),
          partition(partition),
          panels(f.H, panel_threads(partition), widest(f.N)),
          bias(arena.take(panels.padded())),
          Wx(f.Wx, f.D, panels, partition.project_first ? uses<S>(1, f.T * f.N) : uses<S>(f.T, f.N), f.N, arena),
          Wh(f.Wh, f.H, panels, uses<S>(f.T, f.N), f.N, arena),
          barrier(partition.threads) {}

    void prepare() { copy_padded(f.b, f.b_stride, f.H, panels.padded(), bias); }

    void thread(int id, int n) {
        const int64_t N = f.N, D = f.D, H = f.H, step = N * H;
        const Share<S> mine(panels, N, partition.split, id, n), packing(panels, N, Split::COLUMNS, id, n);
        for (int64_t p = packing.panel0; p < packing.panel1; ++p) Wx.pack(p), Wh.pack(p);
        copy_state(share(N, id, n), share(N, id + 1, n));
        barrier.wait(id, n);

        const int64_t row0 = mine.row0, rows = mine.row1 - mine.row0;
        if (partition.project_first) {
            // Where the rows of all steps lie one after another, they are one product.
            const int64_t passes = rows == N ? 1 : f.T, all = rows == N ? f.T * N : rows;
            for (int64_t p = mine.panel0; p < mine.panel1; ++p)
                for (int64_t t = 0; t < passes; ++t) {
                    Tile<S> tile = resume(p, f.hs + (t + 1) * step + row0 * H);
                    tile.init = bias + panels.begin(p), tile.init_row = 0;
                    Wx.add_to(tile, p, f.x + (t * N + row0) * D, D);
                    run_rows(tile, panels.width(p), all);
                }
        }
        const Epilogue nonlinearity = f.relu ? Epilogue::RELU : Epilogue::TANH;
        const bool own_first = partition.own_first && n > 1;
        for (int64_t t = 0; t < f.T; ++t) {
            const S* h = f.hs + t * step + row0 * H;
            S* out = f.hs + (t + 1) * step + row0 * H;
            if (partition.split == Split::COLUMNS && !own_first) barrier.await(id, n);
            for (int64_t i = mine.panel0; i < mine.panel1; ++i) {
                const int64_t p = mine.panel(t, i);
                Tile<S> tile = resume(p, out);
                if (!partition.project_first) {
                    tile.init = bias + panels.begin(p), tile.init_row = 0;
                    Wx.add_to(tile, p, f.x + (t * N + row0) * D, D);
                }
                if (own_first) {
                    Wh.add_to(tile, p, h, H, mine.column0, mine.column1);
                } else {
                    Wh.add_to(tile, p, h, H);
                    tile.epilogue = nonlinearity;
                }
                run_rows(tile, panels.width(p), rows);
            }
            if (own_first) {
                barrier.await(id, n);
                for (int64_t p = mine.panel0; p < mine.panel1; ++p) {
                    Tile<S> tile = resume(p, out);
                    Wh.add_to(tile, p, h, H, 0, mine.column0);
                    Wh.add_to(tile, p, h, H, mine.column1, H);
                    tile.epilogue = nonlinearity;
                    run_rows(tile, panels.width(p), rows);
                }
            }
            if (partition.split == Split::COLUMNS) barrier.arrive(id);
        }
    }

   private:
    // Sums of panel p that go on from what stands in `out`.
    Tile<S> resume(int64_t p, S* out) const {
        Tile<S> t = {};
        t.out = out + panels.begin(p), t.out_row = f.H;
        t.init = t.out, t.init_row = f.H;
        t.epilogue = Epilogue::LINEAR;
        t.last = panels.last(p);
        return t;
    }

    void copy_state(int64_t row0, int64_t row1) const {
        const Matrix<S>& from = f.h_prev;
        if (!from.data) return fill_zeros(f.hs + row0 * f.H, (row1 - row0) * f.H);
        for (int64_t m = row0; m < row1; ++m) copy(from.data + m * from.row, from.col, f.H, f.hs + m * f.H);
    }
};

template <class S>
bool forward(const xrnn::Forward<S>& f, Partition partition) {
    if (f.N == 0 || f.H == 0) return true;  // hs has no elements
    return run_pass<ForwardPass<S>, S>(f, partition, partition.threads);
}

}  // namespace

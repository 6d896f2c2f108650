// The gradients of the recurrence: dz[t] = (dh[t] + dz[t+1] @ Whᵀ) · φ'(z[t]), and the products of dz.
//
// The steps are taken in chunks, last first. Once a chunk has its dz, the products take it from the cache, so that dz
// is never held as a whole. Rows, panels and steps are owned as in the forward pass. A chunk's dz lies in one of two
// buffers in turn: the first step of the next chunk reads the one while the other is filled, and a barrier between a
// chunk's dz and its products suffices.
#pragma once

#include "products.h"

namespace {

template <class S>
struct BackwardPass {
    const xrnn::Backward<S>& f;
    const Partition partition;
    const Panels<S> panels;
    const int64_t steps;  // of a chunk
    S* zeros;             // a row of them
    S* dz[2];             // (steps, N, H) each
    Weights<S> WhT;
    GradientProducts<S> products;
    Barrier barrier;

    BackwardPass(const xrnn::Backward<S>& f, Partition partition, Arena<S>& arena)
        : f(f),
          partition(partition),
          panels(f.H, panel_threads(partition), widest(f.N)),
          steps(chunk_steps(f.T, f.N)),
          zeros(arena.take(panels.padded())),
          dz{arena.take(steps * f.N * f.H), arena.take(f.T > steps ? steps * f.N * f.H : 0)},
          WhT({f.Wh.data, f.Wh.col, f.Wh.row}, f.H, panels, uses<S>(f.T, f.N), f.N, arena),
          products(f.H, {f.D, f.dWx}, {f.H, f.dWh}, f.Wx, f.db, f.T * f.N, partition.threads, arena),
          barrier(partition.threads) {}

    static int64_t chunk_steps(int64_t T, int64_t N) {
        const int64_t fill = N > 0 ? (CHUNK + N - 1) / N : 1;
        return T < fill ? T : fill;
    }

    void prepare() {
        fill_zeros(zeros, panels.padded());
        products.prepare();
    }

    void thread(int id, int n) {
        const int64_t N = f.N, H = f.H;
        const Share<S> mine(panels, N, partition.split, id, n), packing(panels, N, Split::COLUMNS, id, n);
        for (int64_t p = packing.panel0; p < packing.panel1; ++p) WhT.pack(p);
        products.pack(id, n);
        barrier.wait(id, n);

        const S* dz_next = nullptr;  // dz of the step after, which the last one doesn't have
        int64_t end = f.T;
        for (int chunk = 0; chunk == 0 || end > 0; ++chunk) {
            S* const dz_chunk = dz[chunk % 2];
            const int64_t begin = end > steps ? end - steps : 0;
            for (int64_t t = end - 1; t >= begin; --t) {
                S* out = dz_chunk + (t - begin) * N * H;
                step(mine, t, dz_next, out, id, n);
                barrier.arrive(id);
                dz_next = out;
            }
            barrier.await(id, n);
            products.add(dz_chunk, (end - begin) * N, {f.x + begin * N * f.D, f.hs + begin * N * H},
                         f.dx + begin * N * f.D, chunk == 0, id, n);
            end = begin;
        }
        step(mine, -1, dz_next, f.dh_prev, id, n);
    }

   private:
    // dz[t] of this thread's rows and panels; dh_prev for t = -1, which has neither a gradient from above nor a
    // nonlinearity.
    void step(const Share<S>& mine, int64_t t, const S* dz_next, S* out, int id, int n) {
        const int64_t H = f.H, row0 = mine.row0;
        const bool by_columns = partition.split == Split::COLUMNS, own_first = partition.own_first && n > 1 && dz_next;
        const Epilogue slope = t < 0 ? Epilogue::LINEAR : f.relu ? Epilogue::RELU_GRADIENT : Epilogue::TANH_GRADIENT;
        const S* dz = dz_next + (dz_next ? row0 * H : 0);
        if (by_columns && !own_first) barrier.await(id, n);
        for (int64_t i = mine.panel0; i < mine.panel1; ++i) {
            const int64_t p = mine.panel(t + 1, i), c = panels.begin(p);
            Tile<S> tile = resume(p, t, row0, out);
            tile.init = t < 0 ? zeros : f.dh + t * f.dh_step + row0 * f.dh_row + c;
            tile.init_row = t < 0 ? 0 : f.dh_row;
            if (own_first) {
                WhT.add_to(tile, p, dz, H, mine.column0, mine.column1);
            } else {
                if (dz_next) WhT.add_to(tile, p, dz, H);
                tile.epilogue = slope;
            }
            run_rows(tile, panels.width(p), mine.row1 - row0);
        }
        if (!own_first) return;
        barrier.await(id, n);
        for (int64_t p = mine.panel0; p < mine.panel1; ++p) {
            Tile<S> tile = resume(p, t, row0, out);
            WhT.add_to(tile, p, dz, H, 0, mine.column0);
            WhT.add_to(tile, p, dz, H, mine.column1, H);
            tile.epilogue = slope;
            run_rows(tile, panels.width(p), mine.row1 - row0);
        }
    }

    // Sums of panel p that go on from what stands in `out`.
    Tile<S> resume(int64_t p, int64_t t, int64_t row0, S* out) const {
        Tile<S> tile = {};
        tile.out = out + row0 * f.H + panels.begin(p), tile.out_row = f.H;
        tile.init = tile.out, tile.init_row = f.H;
        tile.y = f.hs + ((t + 1) * f.N + row0) * f.H + panels.begin(p), tile.y_row = f.H;
        tile.epilogue = Epilogue::LINEAR;
        tile.last = panels.last(p);
        return tile;
    }
};

template <class S>
bool backward(const xrnn::Backward<S>& f, Partition partition) {
    if (f.T == 0 || f.N == 0 || f.H == 0) {  // sums of nothing
        fill_zeros(f.dWx, f.D * f.H), fill_zeros(f.dWh, f.H * f.H), fill_zeros(f.db, f.H);
        fill_zeros(f.dx, f.T * f.N * f.D), fill_zeros(f.dh_prev, f.N * f.H);
        return true;
    }
    return run_pass<BackwardPass<S>, S>(f, partition, partition.threads);
}

}  // namespace

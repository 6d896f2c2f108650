// The products of a linear map y = x @ W + b and of its gradients, over any number of rows. The recurrence ends in the
// same gradients, of two maps that share dz.
#pragma once

#include "forward.h"

namespace {

// ---- y = x @ W + b ----

template <class S>
struct AffinePass {
    const xrnn::Affine<S>& f;
    const Partition partition;
    const Panels<S> panels;
    S* bias;  // b, contiguous and filled up with zeros
    Weights<S> W;
    Barrier barrier;

    AffinePass(const xrnn::Affine<S>& f, Partition partition, Arena<S>& arena)
        : f(f),
          partition(partition),
          panels(f.C, panel_threads(partition), widest(f.rows)),
          bias(arena.take(panels.padded())),
          W(f.W, f.D, panels, uses<S>(1, f.rows), f.rows, arena),
          barrier(partition.threads) {}

    void prepare() { copy_padded(f.b, f.b_stride, f.C, panels.padded(), bias); }

    void thread(int id, int n) {
        const Share<S> mine(panels, f.rows, partition.split, id, n), packing(panels, f.rows, Split::COLUMNS, id, n);
        for (int64_t p = packing.panel0; p < packing.panel1; ++p) W.pack(p);
        barrier.wait(id, n);
        for (int64_t p = mine.panel0; p < mine.panel1; ++p) {
            Tile<S> t = {};
            W.add_to(t, p, f.x + mine.row0 * f.D, f.D);
            t.init = bias + panels.begin(p);
            t.epilogue = Epilogue::LINEAR;
            t.out = f.y + mine.row0 * f.C + panels.begin(p), t.out_row = f.C;
            t.last = panels.last(p);
            run_rows(t, panels.width(p), mine.row1 - mine.row0);
        }
    }
};

// ---- its gradients ----

// Rows that are summed at a time: a panel of dz for them stays in the cache while x passes.
constexpr int64_t CHUNK = 256;

// What rows of dz give: dW = xᵀ @ dz for each map, db = Σ dz, dx = dz @ Wᵀ of the first.
template <class S>
struct GradientProducts {
    struct Map {
        int64_t D;
        S* dW;  // out (D, H) contiguous
    };

    const int64_t H;
    const Map maps[2];
    S* const db;             // out (H,)
    const Panels<S> columns;  // of dW and db
    const Panels<S> dx_columns;
    S *zeros, *ones;
    Weights<S> WT;
    S* packed;  // CHUNK rows of a panel of dz for each thread

    GradientProducts(int64_t H, Map first, Map second, Matrix<S> W, S* db, int64_t rows, int threads, Arena<S>& arena)
        : H(H),
          maps{first, second},
          db(db),
          columns(H, threads),
          dx_columns(first.D, 1),
          zeros(arena.take(columns.padded() > dx_columns.padded() ? columns.padded() : dx_columns.padded())),
          ones(arena.take(CHUNK)),
          WT({W.data, W.col, W.row}, H, dx_columns, uses<S>(1, rows), rows, arena),
          packed(arena.take(threads * PACKED)) {}

    void prepare() {
        fill_zeros(zeros, ones - zeros);
        for (int64_t k = 0; k < CHUNK; ++k) ones[k] = 1;
    }

    void pack(int id, int n) const {
        for (int64_t p = share(dx_columns.count, id, n); p < share(dx_columns.count, id + 1, n); ++p) WT.pack(p);
    }

    // Thread id's part for `rows` rows of dz, with x (rows, D) of each map and dx (rows, D) of the first. The `first`
    // call overwrites dW and db, further ones add to them. All threads must see dz and the packed weights.
    void add(const S* dz, int64_t rows, const S* const (&x)[2], S* dx, bool first, int id, int n) const {
        const int64_t row0 = share(rows, id, n), row1 = share(rows, id + 1, n);
        for (int64_t begin = row0; begin < row1; begin += CHUNK)
            for (int64_t p = 0; p < dx_columns.count; ++p) {
                Tile<S> t = {};
                WT.add_to(t, p, dz + begin * H, H);
                t.init = zeros;
                t.epilogue = Epilogue::LINEAR;
                t.out = dx + begin * maps[0].D + dx_columns.begin(p), t.out_row = maps[0].D;
                t.last = dx_columns.last(p);
                run_rows(t, dx_columns.width(p), row1 - begin < CHUNK ? row1 - begin : CHUNK);
            }

        S* b = packed + id * PACKED;
        for (int64_t begin = 0; begin == 0 || begin < rows; begin += CHUNK, first = false) {
            const int64_t K = rows - begin < CHUNK ? rows - begin : CHUNK;
            for (int64_t p = share(columns.count, id, n); p < share(columns.count, id + 1, n); ++p) {
                const int64_t c = columns.begin(p), width = columns.width(p) * Simd<S>::LANES;
                pack_rows(dz + begin * H + c, H, K, columns.valid(p), int(width), b);
                for (int i = 0; i < 2; ++i)
                    if (maps[i].D > 0) add_product(p, {x[i] + begin * maps[i].D, 1, maps[i].D, b, width, K}, maps[i].D, maps[i].dW + c, first);
                add_product(p, {ones, 1, 1, b, width, K}, 1, db + c, first);
            }
        }
    }

   private:
    static constexpr int64_t PACKED = CHUNK * WIDEST * Simd<S>::LANES;

    // out (rows, panel p) += aᵀ @ b
    void add_product(int64_t p, Segment<S> term, int64_t rows, S* out, bool first) const {
        Tile<S> t = {};
        t.segments[t.count++] = term;
        t.init = first ? zeros : out, t.init_row = first ? 0 : H;
        t.epilogue = Epilogue::LINEAR;
        t.out = out, t.out_row = H;
        t.last = columns.last(p);
        run_rows(t, columns.width(p), rows);
    }
};

template <class S>
struct AffineGradientPass {
    const xrnn::AffineGradients<S>& f;
    GradientProducts<S> products;
    Barrier barrier;

    // The second map has no inputs.
    AffineGradientPass(const xrnn::AffineGradients<S>& f, int threads, Arena<S>& arena)
        : f(f), products(f.C, {f.D, f.dW}, {0, f.dW}, f.W, f.db, f.rows, threads, arena), barrier(threads) {}

    void prepare() { products.prepare(); }

    void thread(int id, int n) {
        products.pack(id, n);
        barrier.wait(id, n);
        products.add(f.dy, f.rows, {f.x, f.x}, f.dx, true, id, n);
    }
};

template <class S>
bool affine(const xrnn::Affine<S>& f, Partition partition) {
    if (f.rows == 0 || f.C == 0) return true;  // y has no elements
    return run_pass<AffinePass<S>, S>(f, partition, partition.threads);
}

template <class S>
bool affine_gradients(const xrnn::AffineGradients<S>& f, int threads) {
    if (f.rows == 0 || f.C == 0) {  // sums of nothing
        fill_zeros(f.dW, f.D * f.C), fill_zeros(f.db, f.C), fill_zeros(f.dx, f.rows * f.D);
        return true;
    }
    return run_pass<AffineGradientPass<S>, S>(f, threads, threads);
}

}  // namespace

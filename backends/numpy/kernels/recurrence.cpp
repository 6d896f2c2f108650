// The recurrence of the Elman cell and its gradients, for one instruction-set level.
//
// Compiled once a level, with XRNN_LEVEL naming it; everything but the table at the end is in an anonymous namespace
// and uses no `std::` template, so that no symbol of a higher level can stand in for one of a lower.
//
// Layout. The H columns of the output are cut into panels of up to WIDEST vectors. A weight matrix is packed panel by
// panel, the K rows of a panel one after another: the inner loop then reads one stream of whole vectors, and the last
// panel is filled up with zeros. Where a panel is used too rarely to pay for that, it is read where it lies.
//
// Who owns what. A thread owns the same rows (Split::ROWS) or panels (Split::COLUMNS) of every step. By rows it reads
// only what it wrote itself. By columns it reads whole rows of the step before, hence the barrier after each step.
//
// Why it is fast. The weights are packed once for the whole sequence; every sum stays in registers from the bias to the
// nonlinearity; a thread's share of the weights stays in its own cache where it fits, and where it doesn't, each step
// goes through it in the opposite direction from the last, which finds its end still there.
#include "kernels.h"
#include "parallel.h"
#include "tile.h"

namespace {

using xrnn::Barrier;
using xrnn::Matrix;
using xrnn::Partition;
using xrnn::Split;

XRNN_INLINE int64_t share(int64_t total, int id, int n) { return total * id / n; }

// The columns of an output, cut into panels of nearly equal width; a multiple of `threads` panels, so that each
// thread has as many.
template <class S>
struct Panels {
    static constexpr int W = Simd<S>::LANES;
    int64_t columns, vectors, count;

    Panels(int64_t columns, int threads) : columns(columns), vectors((columns + W - 1) / W) {
        count = (vectors + WIDEST - 1) / WIDEST;
        count = (count + threads - 1) / threads * threads;
        if (count > vectors) count = vectors;
    }
    int64_t begin(int64_t p) const { return vectors * p / count * W; }
    int width(int64_t p) const { return static_cast<int>(vectors * (p + 1) / count - vectors * p / count); }
    // Valid columns in the last vector of panel p.
    int last(int64_t p) const {
        return p + 1 < count ? W : static_cast<int>(columns - (vectors - 1) * W);
    }
    int64_t padded() const { return vectors * W; }
};

// A weight matrix (K, columns) as the tiles read it.
template <class S>
struct Weights {
    static constexpr int W = Simd<S>::LANES;
    Matrix<S> matrix;
    int64_t K;
    const Panels<S>& panels;
    S* packed;
    bool in_place;  // read the panels of whole vectors where they lie

    // `uses`: how many tiles read each panel.
    Weights(Matrix<S> matrix, int64_t K, const Panels<S>& panels, int64_t uses, S* packed)
        : matrix(matrix), K(K), panels(panels), packed(packed) {
        in_place = matrix.col == 1 && (uses < 4 || (panels.count == 1 && matrix.row == panels.padded()));
    }

    static size_t size(int64_t K, const Panels<S>& panels) { return K * panels.padded(); }

    bool lies_packed(int64_t p) const { return !in_place || panels.last(p) != W; }

    void pack(int64_t p) const {
        if (!lies_packed(p)) return;
        const int64_t begin = panels.begin(p), width = panels.width(p) * W;
        const int64_t valid = width - W + panels.last(p);
        const S* from = matrix.data + begin * matrix.col;
        S* to = packed + K * begin;
        if (matrix.col == 1) {
            for (int64_t k = 0; k < K; ++k, from += matrix.row, to += width) {
                int64_t c = 0;
                for (; c + W <= valid; c += W) store<S>(to + c, load<S>(from + c));
                if (c < width) store<S>(to + c, load_part<S>(from + c, valid - c));
            }
            return;
        }
        // Blocks of k keep what is written in the nearest cache while the columns pass.
        constexpr int64_t BLOCK = 16;
        for (int64_t begin_k = 0; begin_k < K; begin_k += BLOCK) {
            const int64_t end_k = begin_k + BLOCK < K ? begin_k + BLOCK : K;
            for (int64_t c = 0; c < width; ++c)
                for (int64_t k = begin_k; k < end_k; ++k)
                    to[k * width + c] = c < valid ? from[k * matrix.row + c * matrix.col] : S(0);
        }
    }

    Segment<S> segment(int64_t p, const S* a, int64_t a_row) const {
        if (lies_packed(p)) return {a, a_row, 1, packed + K * panels.begin(p), panels.width(p) * W, K};
        return {a, a_row, 1, matrix.data + panels.begin(p), matrix.row, K};
    }
};

// How many tiles read each panel of weights in T passes over `rows` rows.
template <class S>
int64_t uses(int64_t T, int64_t rows) {
    return T * ((rows + tallest(WIDEST) - 1) / tallest(WIDEST));
}

// The rows and panels of thread `id`, and the packing of the weights they need.
template <class S>
struct Share {
    int64_t row0, row1, panel0, panel1;

    Share(const Panels<S>& panels, int64_t rows, Split split, int id, int n)
        : row0(0), row1(rows), panel0(0), panel1(panels.count) {
        if (split == Split::ROWS) {
            row0 = share(rows, id, n), row1 = share(rows, id + 1, n);
        } else {
            panel0 = share(panels.count, id, n), panel1 = share(panels.count, id + 1, n);
        }
    }
};

template <class S>
void copy_rows(Matrix<S> from, int64_t row0, int64_t row1, int64_t columns, S* to) {
    for (int64_t m = row0; m < row1; ++m)
        for (int64_t c = 0; c < columns; ++c)
            to[m * columns + c] = from.data ? from.data[m * from.row + c * from.col] : S(0);
}

// ---- forward ----

template <class S>
struct ForwardPass {
    const xrnn::Forward<S>& f;
    const Partition partition;
    const Panels<S> panels;
    S* bias;  // b, contiguous and filled up with zeros
    Weights<S> Wx, Wh;
    Barrier barrier;

    static size_t scratch_size(const xrnn::Forward<S>& f, const Panels<S>& panels) {
        return (1 + f.D + f.H) * panels.padded();
    }

    ForwardPass(const xrnn::Forward<S>& f, Partition partition, const Panels<S>& panels, S* memory)
        : f(f),
          partition(partition),
          panels(panels),
          bias(memory),
          Wx(f.Wx, f.D, this->panels, partition.project_first ? uses<S>(1, f.T * f.N) : uses<S>(f.T, f.N),
             memory + panels.padded()),
          Wh(f.Wh, f.H, this->panels, uses<S>(f.T, f.N), Wx.packed + Weights<S>::size(f.D, panels)) {}

    // Rows of any number of steps, which lie one after another: init → out.
    void run(int64_t p, int64_t rows, const S* init, int64_t init_row, Epilogue epilogue, S* out, const S* x,
             const S* h) const {
        const int64_t begin = panels.begin(p);
        Tile<S> t = {};
        if (x) t.segments[t.count++] = Wx.segment(p, x, f.D);
        if (h) t.segments[t.count++] = Wh.segment(p, h, f.H);
        t.init = init + begin, t.init_row = init_row;
        t.epilogue = epilogue;
        t.out = out + begin, t.out_row = f.H;
        t.last = panels.last(p);
        run_rows(t, panels.width(p), rows);
    }

    void thread(int id, int n) {
        const int64_t N = f.N, D = f.D, H = f.H, step = N * H;
        const Share<S> mine(panels, N, partition.split, id, n), packing(panels, N, Split::COLUMNS, id, n);
        for (int64_t p = packing.panel0; p < packing.panel1; ++p) Wx.pack(p), Wh.pack(p);
        copy_rows(f.h_prev, share(N, id, n), share(N, id + 1, n), H, f.hs);
        barrier.wait(n);

        const int64_t row0 = mine.row0, rows = mine.row1 - mine.row0;
        if (partition.project_first) {
            // Where the rows of all steps lie one after another, they are one product.
            const int64_t passes = rows == N ? 1 : f.T, all = rows == N ? f.T * N : rows;
            for (int64_t p = mine.panel0; p < mine.panel1; ++p)
                for (int64_t t = 0; t < passes; ++t)
                    run(p, all, bias, 0, Epilogue::LINEAR, f.hs + (t + 1) * step + row0 * H,
                        f.x + (t * N + row0) * D, nullptr);
        }
        const Epilogue nonlinearity = f.relu ? Epilogue::RELU : Epilogue::TANH;
        for (int64_t t = 0; t < f.T; ++t) {
            const S* h = f.hs + t * step + row0 * H;
            S* out = f.hs + (t + 1) * step + row0 * H;
            for (int64_t i = mine.panel0; i < mine.panel1; ++i) {
                const int64_t p = t % 2 ? mine.panel1 - 1 - (i - mine.panel0) : i;
                if (partition.project_first)
                    run(p, rows, out, H, nonlinearity, out, nullptr, h);
                else
                    run(p, rows, bias, 0, nonlinearity, out, f.x + (t * N + row0) * D, h);
            }
            if (partition.split == Split::COLUMNS) barrier.wait(n);
        }
    }
};

template <class S>
bool forward(const xrnn::Forward<S>& f, Partition partition) {
    const Panels<S> panels(f.H, partition.split == Split::COLUMNS ? partition.threads : 1);
    S* memory = static_cast<S*>(xrnn::scratch(ForwardPass<S>::scratch_size(f, panels) * sizeof(S)));
    if (!memory) return false;
    ForwardPass<S> pass(f, partition, panels, memory);
    for (int64_t c = 0; c < panels.padded(); ++c) pass.bias[c] = c < f.H ? f.b[c * f.b_stride] : S(0);
    xrnn::parallel(
        partition.threads, [](int id, int n, void* p) { static_cast<ForwardPass<S>*>(p)->thread(id, n); }, &pass);
    return true;
}

// ---- backward ----

template <class S>
struct BackwardPass {
    const xrnn::Backward<S>& f;
    const Partition partition;
    const Panels<S> panels;
    S* zeros;  // a row of them
    Weights<S> WhT;
    Barrier barrier;

    static size_t scratch_size(const xrnn::Backward<S>& f, const Panels<S>& panels) {
        return (1 + f.H) * panels.padded();
    }

    BackwardPass(const xrnn::Backward<S>& f, Partition partition, const Panels<S>& panels, S* memory)
        : f(f),
          partition(partition),
          panels(panels),
          zeros(memory),
          WhT({f.Wh.data, f.Wh.col, f.Wh.row}, f.H, this->panels, uses<S>(f.T, f.N), memory + panels.padded()) {}

    void thread(int id, int n) {
        const int64_t N = f.N, H = f.H, step = N * H;
        const Share<S> mine(panels, N, partition.split, id, n), packing(panels, N, Split::COLUMNS, id, n);
        for (int64_t p = packing.panel0; p < packing.panel1; ++p) WhT.pack(p);
        barrier.wait(n);

        const int64_t row0 = mine.row0, rows = mine.row1 - mine.row0;
        // Row T-1 has no step after it, row -1 is dh_prev and has neither a gradient from above nor a nonlinearity.
        for (int64_t t = f.T - 1; t >= -1; --t) {
            for (int64_t i = mine.panel0; i < mine.panel1; ++i) {
                const int64_t p = t & 1 ? mine.panel1 - 1 - (i - mine.panel0) : i, begin = panels.begin(p);
                Tile<S> tile = {};
                if (t < f.T - 1)
                    tile.segments[tile.count++] = WhT.segment(p, f.dz + (t + 1) * step + row0 * H, H);
                tile.init = t < 0 ? zeros : f.dh + t * f.dh_step + row0 * f.dh_row + begin;
                tile.init_row = t < 0 ? 0 : f.dh_row;
                tile.epilogue = t < 0 ? Epilogue::LINEAR : f.relu ? Epilogue::RELU_GRADIENT : Epilogue::TANH_GRADIENT;
                tile.out = (t < 0 ? f.dh_prev : f.dz + t * step) + row0 * H + begin, tile.out_row = H;
                tile.y = f.hs + (t + 1) * step + row0 * H + begin, tile.y_row = H;
                tile.last = panels.last(p);
                run_rows(tile, panels.width(p), rows);
            }
            if (partition.split == Split::COLUMNS) barrier.wait(n);
        }
    }
};

template <class S>
bool backward(const xrnn::Backward<S>& f, Partition partition) {
    const Panels<S> panels(f.H, partition.split == Split::COLUMNS ? partition.threads : 1);
    S* memory = static_cast<S*>(xrnn::scratch(BackwardPass<S>::scratch_size(f, panels) * sizeof(S)));
    if (!memory) return false;
    BackwardPass<S> pass(f, partition, panels, memory);
    for (int64_t c = 0; c < panels.padded(); ++c) pass.zeros[c] = 0;
    xrnn::parallel(
        partition.threads, [](int id, int n, void* p) { static_cast<BackwardPass<S>*>(p)->thread(id, n); }, &pass);
    return true;
}

// ---- the products after the loop ----

// Rows of dz that are packed and summed at a time: a panel of them stays in the cache while x and h pass.
constexpr int64_t CHUNK = 256;

template <class S>
struct GradientPass {
    const xrnn::Gradients<S>& f;
    const Panels<S> columns;   // of dWx, dWh, db
    const Panels<S> dx_columns;
    S* zeros;
    S* ones;
    Weights<S> WxT;
    S* chunks;  // one a thread: CHUNK rows of a panel of dz
    Barrier barrier;

    static size_t chunk_size() { return CHUNK * WIDEST * Simd<S>::LANES; }
    static int64_t row_size(const Panels<S>& columns, const Panels<S>& dx_columns) {
        return columns.padded() > dx_columns.padded() ? columns.padded() : dx_columns.padded();
    }
    static size_t scratch_size(const xrnn::Gradients<S>& f, const Panels<S>& columns, const Panels<S>& dx_columns,
                               int threads) {
        return row_size(columns, dx_columns) + CHUNK + f.H * dx_columns.padded() + threads * chunk_size();
    }

    GradientPass(const xrnn::Gradients<S>& f, const Panels<S>& columns, const Panels<S>& dx_columns, S* memory)
        : f(f),
          columns(columns),
          dx_columns(dx_columns),
          zeros(memory),
          ones(memory + row_size(columns, dx_columns)),
          WxT({f.Wx.data, f.Wx.col, f.Wx.row}, f.H, this->dx_columns, uses<S>(1, f.T * f.N), ones + CHUNK),
          chunks(WxT.packed + Weights<S>::size(f.H, dx_columns)) {}

    // out (rows, panel p) += aᵀ (rows, K) @ b (K, panel p); a lies as (K, rows).
    void accumulate(int64_t p, const S* a, int64_t rows, int64_t a_col, const S* b, int64_t b_row, int64_t K, S* out,
                    int64_t out_row, bool first) const {
        Tile<S> t = {};
        t.segments[t.count++] = {a, 1, a_col, b, b_row, K};
        t.init = first ? zeros : out, t.init_row = first ? 0 : out_row;
        t.epilogue = Epilogue::LINEAR;
        t.out = out, t.out_row = out_row;
        t.last = columns.last(p);
        run_rows(t, columns.width(p), rows);
    }

    void thread(int id, int n) {
        const int64_t D = f.D, H = f.H, all = f.T * f.N;
        constexpr int W = Simd<S>::LANES;
        const Share<S> packing(dx_columns, 0, Split::COLUMNS, id, n), mine(columns, 0, Split::COLUMNS, id, n);
        for (int64_t p = packing.panel0; p < packing.panel1; ++p) WxT.pack(p);
        barrier.wait(n);

        const int64_t row0 = share(all, id, n), row1 = share(all, id + 1, n);
        for (int64_t begin = row0; begin < row1; begin += CHUNK) {
            const int64_t rows = row1 - begin < CHUNK ? row1 - begin : CHUNK;
            for (int64_t p = 0; p < dx_columns.count; ++p) {
                Tile<S> t = {};
                t.segments[t.count++] = WxT.segment(p, f.dz + begin * H, H);
                t.init = zeros;
                t.epilogue = Epilogue::LINEAR;
                t.out = f.dx + begin * D + dx_columns.begin(p), t.out_row = D;
                t.last = dx_columns.last(p);
                run_rows(t, dx_columns.width(p), rows);
            }
        }

        S* chunk = chunks + id * chunk_size();
        for (int64_t begin = 0; begin == 0 || begin < all; begin += CHUNK) {
            const int64_t K = all - begin < CHUNK ? all - begin : CHUNK;
            for (int64_t p = mine.panel0; p < mine.panel1; ++p) {
                const int64_t c0 = columns.begin(p), width = columns.width(p) * W;
                const int64_t valid = width - W + columns.last(p);
                for (int64_t k = 0; k < K; ++k) {
                    const S* from = f.dz + (begin + k) * H + c0;
                    int64_t c = 0;
                    for (; c + W <= valid; c += W) store<S>(chunk + k * width + c, load<S>(from + c));
                    if (c < width) store<S>(chunk + k * width + c, load_part<S>(from + c, valid - c));
                }
                const bool first = begin == 0;
                accumulate(p, f.x + begin * D, D, D, chunk, width, K, f.dWx + c0, H, first);
                accumulate(p, f.hs + begin * H, H, H, chunk, width, K, f.dWh + c0, H, first);
                accumulate(p, ones, 1, 1, chunk, width, K, f.db + c0, H, first);
            }
        }
    }
};

template <class S>
bool gradients(const xrnn::Gradients<S>& f, int threads) {
    const Panels<S> columns(f.H, threads), dx_columns(f.D, 1);
    S* memory =
        static_cast<S*>(xrnn::scratch(GradientPass<S>::scratch_size(f, columns, dx_columns, threads) * sizeof(S)));
    if (!memory) return false;
    GradientPass<S> pass(f, columns, dx_columns, memory);
    for (S* p = pass.zeros; p < pass.ones; ++p) *p = 0;
    for (int64_t k = 0; k < CHUNK; ++k) pass.ones[k] = 1;
    xrnn::parallel(
        threads, [](int id, int n, void* p) { static_cast<GradientPass<S>*>(p)->thread(id, n); }, &pass);
    return true;
}

template <class S>
void tanh_of(const S* x, S* y, int64_t size) {
    constexpr int W = Simd<S>::LANES;
    int64_t i = 0;
    for (; i + W <= size; i += W) store<S>(y + i, tanh<S>(load<S>(x + i)));
    if (i < size) store_part<S>(y + i, tanh<S>(load_part<S>(x + i, size - i)), size - i);
}

template <class S>
constexpr xrnn::Operations<S> OPERATIONS = {forward<S>, backward<S>, gradients<S>, tanh_of<S>};

}  // namespace

#define XRNN_JOIN_(a, b) a##b
#define XRNN_JOIN(a, b) XRNN_JOIN_(a, b)

const xrnn::Kernels& xrnn::XRNN_JOIN(kernels_, XRNN_LEVEL)() {
    static constexpr Kernels table = {VECTOR_BYTES, OPERATIONS<float>, OPERATIONS<double>};
    return table;
}

// A linear map y = x @ W + b and its gradients, over any number of rows. The weight gradients of the recurrence are the
// same products, for two maps that share dz.
#pragma once

#include "gates.h"
#include "share.h"
#include "tile_products.h"

namespace {

// ---- y = x @ W + b ----

template <class P>
struct AffinePass {
    using S = Sum<P>;
    // Rows of x at a time: few enough for a poll of the stop, and as pairs for the cache.
    static constexpr int64_t ROWS = IS_PAIR<P> ? 256 : 4096;

    const xrnn::Affine<S>& f;
    const Partition partition;
    const Panels<S> panels;
    const Order order;
    const int64_t x_length;  // elements of a row of x
    S* bias;                 // b, contiguous and filled up with zeros
    P* x_pairs;              // in pairs: rows_at_once() rows of x for each thread
    Weights<P> W;
    Barrier barrier;

    AffinePass(Arena<S>& arena, const xrnn::Affine<S>& f, Partition partition)
        : f(f),
          partition(partition),
          panels(f.C, panel_threads(partition), widest(f.rows)),
          order(order_of_product<S>(f.rows, f.C, widest(f.rows))),
          x_length(elements<P>(f.D)),
          bias(arena.take(panels.padded())),
          x_pairs(arena.template take_of<P>(IS_PAIR<P> ? partition.threads * rows_at_once() * x_length : 0)),
          W({.matrix = f.W, .part_rows = f.D, .panels = panels},
            {.passes = 1, .rows = f.rows, .strip_partials = order.partials}, arena),
          barrier(partition.threads) {}

    void prepare() { copy_padded(f.b, f.b_stride, f.C, panels.padded(), bias); }

    void thread(int id, int n) {
        const Share<S> mine(panels, f.rows, false, partition.split, id, n),
            packing(panels, f.rows, false, Split::COLUMNS, id, n);
        W.pack(packing.panel0, packing.panel1);
        barrier.wait(id, n);
        StopPoll poll(barrier.stop, id);
        if constexpr (!IS_PAIR<P>)
            if (W.in_strips()) {
                const auto output = [&](int64_t c) {
                    return StripOutput<S>{bias + c, 0, f.y + mine.first * f.C + c, f.C, f.C - c};
                };
                multiply_in_strips(W, mine, order, f.x + mine.first * f.D, f.D, mine.count(), 0, poll, output);
                return;
            }
        for (int64_t begin = mine.first, end; begin < mine.end; begin = end) {
            end = begin + ROWS < mine.end ? begin + ROWS : mine.end;
            const P* const x = x_of_rows(begin, end, id);
            for (int64_t i = 0; i < mine.pieces(); ++i) {
                const Piece p = mine.piece(0, i);
                if (poll.stops((end - begin) * f.D * p.width * Simd<S>::LANES)) return;
                Product<P> product(order);
                W.add_to(product, p, 0, x, x_length);
                product.init = bias + p.begin;
                product.out = f.y + begin * f.C + p.begin;
                product.out_row = f.C;
                product.last = p.last;
                run_rows(product, p.width, end - begin);
            }
        }
    }

   private:
    // Of a thread. It may have all rows: a call may get fewer threads than its partition has.
    int64_t rows_at_once() const { return f.rows < ROWS ? f.rows : ROWS; }

    const P* x_of_rows(int64_t begin, int64_t end, int id) const {
        if constexpr (IS_PAIR<P>) {
            P* const pairs = x_pairs + id * rows_at_once() * x_length;
            for (int64_t r = begin; r < end; ++r)
                copy_elements(f.x + r * f.D, f.D, pairs + (r - begin) * x_length);
            return pairs;
        } else {
            return f.x + begin * f.D;
        }
    }
};

// ---- its gradients ----

// Rows of dz that are multiplied at a time. They make one chain of each sum. A panel of dz with this number of rows
// stays in the cache while every column of x is multiplied by it. Tiles multiply so fast that reading and writing dW
// once a chunk takes a large part of the time: hence longer chunks.
#if defined(XRNN_PARTS)
constexpr int64_t CHUNK = 2 * CHAIN;
#else
constexpr int64_t CHUNK = CHAIN;
#endif

// Rows of dz and of the inputs x of two maps, as operands of the products. If P is a number, the three dz pointers
// point to the same array. If P has parts, x are transposed (transpose_rows), and dz_down is not used.
template <class P>
struct GradientOperands {
    const Sum<P>* dz;  // (rows, gates · H)
    const P* dz_rows;  // (rows, gates · elements(H)): the terms of a sum are neighbours in a row
    const P* dz_down;  // (elements(rows), gates · H): the terms of a sum are neighbours in a column
    const P* x[2];     // (elements(rows), D) each, in the same way
};

// out (n,) = Σ of `rows` rows, in a fixed order. Without `first`, the sum is added to out.
template <class S>
void add_rows(const S* from, int64_t row, int64_t rows, int64_t n, S* out, bool first) {
    constexpr int64_t W = Simd<S>::LANES, PARTIALS = 4;
    for (int64_t c = 0; c < n; c += W) {
        const int columns = n - c < W ? int(n - c) : W;
        Vec<S> sums[PARTIALS] = {};
        int64_t r = 0;
        for (; r + PARTIALS <= rows; r += PARTIALS)
            for (int u = 0; u < PARTIALS; ++u) sums[u] += load_columns<S>(from + (r + u) * row + c, columns);
        for (; r < rows; ++r) sums[0] += load_columns<S>(from + r * row + c, columns);
        Vec<S> sum = (sums[0] + sums[2]) + (sums[1] + sums[3]);
        if (!first) sum += load_columns<S>(out + c, columns);
        store_columns<S>(out + c, sum, columns);
    }
}

// The gradients from rows of dz (rows, PRE · H): dW = xᵀ @ dz for each map and the gates that it feeds; db = Σ dz;
// dx = dz @ Wᵀ of the first map. If db is null, neither it nor dW is computed. If dx is not needed, W is not packed.
template <class P>
struct GradientProducts {
    using S = Sum<P>;
    struct Map {
        int64_t D;
        xrnn::WeightGradient<S> dW;  // of (D, its gates · H)
        int gates;                   // the number of gates that it feeds
        const int (&of)[MOST_GATES];
        const Panels<S> columns;     // of x
        Heads heads = {};            // of dW, if it is the gradient of several heads
    };

    const int64_t H, width, length;  // of a row of dz: PRE · H; elements of a gate
    const Gates& gates;
    const Map maps[2];
    const bool far;              // whether tiles prefetch dW
    S* const db;                 // out (PRE · H,), or null
    const Panels<S> columns;     // of a gate
    const Panels<S> dx_columns;  // no panels if dx is not needed
    const Order dx_order;
    Weights<P> WT;
    P* packed;  // CHUNK rows of a panel of dz for each thread

    GradientProducts(int64_t H, const Gates& gates, int64_t x_size, xrnn::WeightGradient<S> dWx, int64_t h_size,
                     xrnn::WeightGradient<S> dWh, Matrix<S> Wx, S* db, bool needs_dx, int64_t rows, int threads,
                     Arena<S>& arena, Heads heads = {})
        : H(H),
          width(gates.count * H),
          length(elements<P>(H)),
          gates(gates),
          maps{{x_size, dWx, gates.x_count, gates.x_of, Panels<S>(x_size, 1)},
               {h_size, dWh, gates.h_count, gates.h_of, Panels<S>(h_size, 1), heads}},
          far(xrnn::prefetches_gradients((x_size * gates.x_count + h_size / heads.count * gates.h_count) * H *
                                         int64_t(sizeof(S)))),
          db(db),
          columns(H, threads),
          dx_columns(needs_dx ? x_size : 0, 1, widest(rows)),
          dx_order(order_of_product<S>(rows, x_size, widest(rows))),
          WT({.matrix = {Wx.data, Wx.col, Wx.row}, .part_rows = H, .panels = dx_columns, .parts = gates.x_count},
             {.passes = 1, .rows = rows}, arena),
          packed(arena.template take_of<P>(db ? threads * PACKED : 0)) {}

    void pack(int id, int n) const {
        WT.pack(share(dx_columns.count, id, n), share(dx_columns.count, id + 1, n));
    }

    // Thread id's part of the products of `rows` rows. dx (rows, D) is the first map's input gradient, or null. The
    // first call overwrites dW and db, later calls add to them. Before the call, a barrier must have made the operands
    // and the packed weights visible to all threads.
    void add(const GradientOperands<P>& of, int64_t rows, S* dx, bool first, int id, int n, StopPoll& poll) const {
        add_dx(of.dz_rows, share(rows, id, n), share(rows, id + 1, n), dx, poll);
        if (!db) return;
        P* b = packed + id * PACKED;
        const int64_t my_begin = first_panel(id, n), my_end = first_panel(id + 1, n);
        for (int64_t begin = 0; begin == 0 || begin < rows; begin += CHUNK) {
            const bool overwrites = first && begin == 0;
            const int64_t rows_of_chunk = rows - begin < CHUNK ? rows - begin : CHUNK;
            const int64_t K = elements<P>(rows_of_chunk), row = elements<P>(begin);
            for (int64_t i = my_begin; i < my_end; ++i) {
                const int g = int(i / columns.count);
                const int64_t p = i % columns.count, c = columns.begin(p), b_row = columns.width(p) * Simd<S>::LANES;
                if (poll.stops(K * (maps[0].D + maps[1].D) * b_row)) return;
                const S* numbers = of.dz + begin * width + g * H + c;
                if constexpr (IS_PART<P>)
                    copy_rows(numbers, width, rows_of_chunk, columns.valid(p), int(b_row), b);
                else
                    copy_rows(of.dz_down + row * width + g * H + c, width, K, columns.valid(p), int(b_row), b);
                int64_t numbers_row = width;
                if constexpr (!IS_PAIR<P>) {  // nearer, and side by side
                    numbers = b;
                    numbers_row = b_row;
                }
                add_rows(numbers, numbers_row, rows_of_chunk, columns.valid(p), db + gates.b_of[g] * H + c, overwrites);
                for (int m = 0; m < 2; ++m) {
                    const Map& map = maps[m];
                    if (map.of[g] < 0 || map.D == 0) continue;
                    if constexpr (IS_PART<P>)
                        add_part_product(map, p, g, of.x[m] + row * map.D, b, K, overwrites);
                    else if (!map.dW.transposed)
                        add_panel(map, columns.piece(p), g, of.x[m] + row * map.D, b, b_row, K, overwrites);
                }
            }
            if constexpr (!IS_PART<P>)
                for (int m = 0; m < 2; ++m)
                    if (maps[m].dW.transposed)
                        add_transposed(maps[m], of.dz_down + row * width, of.x[m] + row * maps[m].D, K, b, overwrites, id,
                                       n, poll);
        }
    }

   private:
    // If heads split a panel, the last vector of its last piece may reach past the panel: hence one vector more.
    static constexpr int64_t PACKED = (CHUNK / TERMS<P> * WIDEST + 1) * Simd<S>::LANES;

    // The first of thread id's panels of dz, counted over all gates. A panel takes as many rows of products as there
    // are columns in the maps that its gate feeds, and the gates of a GRU differ in that. With equal numbers of panels,
    // threads would wait for each other after every chunk.
    int64_t first_panel(int id, int n) const {
        int64_t rows[MOST_GATES] = {}, all = 0;
        for (int g = 0; g < gates.count; ++g) {
            rows[g] = 1;  // db
            for (const Map& map : maps)
                if (map.of[g] >= 0 && (IS_PART<P> || !map.dW.transposed)) rows[g] += map.D / map.heads.count;
            all += rows[g] * columns.count;
        }
        int64_t before = share(all, id, n);
        int g = 0;
        for (; before > rows[g] * columns.count; ++g) before -= rows[g] * columns.count;
        return g * columns.count + (before + rows[g] / 2) / rows[g];
    }

    void add_dx(const P* dz, int64_t row0, int64_t row1, S* dx, StopPoll& poll) const {
        const int64_t D = maps[0].D;
        for (int64_t begin = row0; begin < row1; begin += CHUNK)
            for (int64_t i = 0; i < dx_columns.count; ++i) {
                const Piece p = dx_columns.piece(i);
                if (poll.stops(CHUNK * width * p.width * Simd<S>::LANES)) return;
                Product<P> product(dx_order);
                const int64_t dz_row = gates.count * length;
                add_gates(product, WT, p, gates.count, gates.x_of, length, dz + begin * dz_row, dz_row);
                product.out = dx + begin * D + p.begin;
                product.out_row = D;
                product.last = p.last;
                run_rows(product, p.width, row1 - begin < CHUNK ? row1 - begin : CHUNK);
            }
    }

    // dWᵀ += dzᵀ @ x for K rows of elements, by panels of x, where dW uses panels of dz. There may be few of them, of
    // different widths, so the threads divide the vectors of dWᵀ: panel after panel, and within a panel by rows.
    void add_transposed(const Map& map, const P* dz, const P* x, int64_t K, P* b, bool first, int id, int n,
                        StopPoll& poll) const {
        const Panels<S>& columns = map.columns;
        const int64_t rows = map.gates * H, begin = share(columns.vectors * rows, id, n),
                      end = share(columns.vectors * rows, id + 1, n);
        const auto row_of = [&](int64_t vector, int64_t before, int64_t panel_width) {
            const int64_t row = (vector - before) / panel_width;
            return vector < before ? 0 : row < rows ? row : rows;
        };
        int64_t before = 0;  // vectors of the panels before p
        for (int64_t p = 0; p < columns.count && before < end; before += columns.width(p++) * rows) {
            const int64_t c = columns.begin(p), b_row = columns.width(p) * Simd<S>::LANES;
            const int64_t row0 = row_of(begin, before, columns.width(p)), row1 = row_of(end, before, columns.width(p));
            if (row0 == row1) continue;
            if (poll.stops(K * (row1 - row0) * b_row)) return;
            copy_rows(x + c, map.D, K, columns.valid(p), int(b_row), b);
            for (int g = 0; g < gates.count; ++g) {
                if (map.of[g] < 0) continue;
                const int64_t gate = map.of[g] * H, from = row0 > gate ? row0 : gate,
                              to = row1 < gate + H ? row1 : gate + H;
                if (from < to)
                    add_product(order_of(H, columns), columns.piece(p), dz + g * H + from - gate, width, to - from, b,
                                b_row, K, map.dW.data + from * map.D + c, map.D, first);
            }
        }
    }

    // The order of the sums of a product with this number of rows. It is the same for every division among threads.
    static Order order_of(int64_t rows, const Panels<S>& columns) {
        return order_of_product<S>(rows, columns.columns, WIDEST);
    }

    // Panel p of gate g of dW += x @ b,  x (D, K): both orders of dW, since a tile can be transposed.
    void add_part_product(const Map& map, int64_t p, int g, const P* x, const P* b, int64_t K, bool first) const {
        const int64_t column = map.of[g] * H + columns.begin(p), row = map.gates * H;
        Product<P> product(order_of(map.D, columns));
        add_segment(product, x, K, 1, b, columns.width(p) * Simd<S>::LANES, K);
        product.out = map.dW.data + (map.dW.transposed ? column * map.D : column);
        product.out_row = map.dW.transposed ? map.D : row;
        product.init = first ? nullptr : product.out;
        product.init_row = product.out_row;
        product.last = columns.last(p);
        product.of_chunks = true;
        if constexpr (IS_PART<P>) run_rows(product, columns.width(p), map.D, map.dW.transposed);
    }

    // Panel p of gate g of dW += xᵀ @ b,  x (K, D): in each head the product of its own units.
    void add_panel(const Map& map, Piece p, int g, const P* x, const P* b, int64_t b_row, int64_t K,
                   bool first) const {
        if (map.heads.count == 1)
            return add_product(order_of(map.D, columns), p, x, map.D, map.D, b, b_row, K,
                               map.dW.data + map.of[g] * H + p.begin, map.gates * H, first);
        const int64_t units = H / map.heads.count, out_row = map.gates * units;
        each_head<S>(p, map.heads, units, [&](Piece piece) {
            const int64_t unit = piece.head * units, column = map.of[g] * units + piece.begin - unit;
            add_product(order_of(units, columns), piece, x + unit, map.D, units, b + piece.begin - p.begin, b_row, K,
                        map.dW.data + unit * out_row + column, out_row, first);
        });
    }

    // out (rows, piece p) += aᵀ @ b,  a (K, rows)
    void add_product(Order order, Piece p, const P* a, int64_t a_row, int64_t rows, const P* b, int64_t b_row,
                     int64_t K, S* out, int64_t out_row, bool first) const {
        Product<P> product(order);
        add_segment(product, a, 1, a_row, b, b_row, K);
        product.init = first ? nullptr : out;
        product.init_row = out_row;
        product.out = out;
        product.out_row = out_row;
        product.last = p.last;
        product.far = far;
        run_rows(product, p.width, rows);
    }
};

// A matrix (rows, columns) as the operand x of products that sum over its rows: the elements first … end - 1 of each
// column. `row_at` gives a row.
template <class RowAt>
void pair_down(RowAt row_at, int64_t rows, int64_t columns, int64_t first, int64_t end, Pair* to) {
    for (int64_t i = first; i < end; ++i)
        pair_rows<false>(row_at(2 * i), 2 * i + 1 < rows ? row_at(2 * i + 1) : nullptr, columns, to + i * columns);
}

#if defined(XRNN_PARTS)
template <class RowAt, int PARTS>
void pair_down(RowAt row_at, int64_t rows, int64_t columns, int64_t first, int64_t end, Part<PARTS>* to) {
    transpose_rows<CHUNK>(row_at, rows, columns, first, end, to);
}
#endif

// The beginning of thread id's part of the elements of n terms: of complete groups, for parts.
template <class P>
int64_t share_elements(int64_t n, int id, int threads) {
    constexpr int64_t UNIT = IS_PART<P> ? GROUP : 1;
    return share(elements<P>(n) / UNIT, id, threads) * UNIT;
}

template <class P>
struct AffineGradientPass {
    using S = Sum<P>;
    // In pairs: rows that are converted at a time. Two buffers hold them, so that one barrier between the conversion
    // and the products is enough.
    static constexpr int64_t ROWS = 8 * CHUNK;

    const xrnn::AffineGradients<S>& f;
    const int64_t buffer_rows, dy_length;  // dy_length: elements of a row of dy
    GradientProducts<P> products;
    P *x_down[2], *dy_down[2], *dy_rows[2];
    Barrier barrier;

    AffineGradientPass(Arena<S>& arena, const xrnn::AffineGradients<S>& f, int threads)
        : f(f),
          buffer_rows(f.rows < ROWS ? f.rows : ROWS),
          dy_length(elements<P>(f.C)),
          products(f.C, ONE_GATE, f.D, {f.dW, false}, 0, {nullptr, false}, f.W, f.db, f.dx != nullptr, f.rows,
                   threads, arena),
          barrier(threads) {
        for (int i = 0; i < 2; ++i) {
            const int64_t rows = IS_PAIR<P> && (i == 0 || f.rows > ROWS) ? buffer_rows : 0;
            x_down[i] = arena.template take_of<P>(elements<P>(rows) * f.D);
            dy_down[i] = arena.template take_of<P>(IS_PART<P> ? 0 : elements<P>(rows) * f.C);
            dy_rows[i] = arena.template take_of<P>(f.dx ? rows * dy_length : 0);
        }
    }

    void prepare() {}

    void thread(int id, int n) {
        products.pack(id, n);
        StopPoll poll(barrier.stop, id);
        if constexpr (IS_PAIR<P>) {
            for (int64_t begin = 0; begin < f.rows; begin += ROWS) {
                const int64_t rows = f.rows - begin < ROWS ? f.rows - begin : ROWS;
                const int buffer = int(begin / ROWS % 2);
                convert(begin, rows, buffer, id, n);
                barrier.wait(id, n);
                products.add({f.dy + begin * f.C, dy_rows[buffer], dy_down[buffer], {x_down[buffer], nullptr}}, rows,
                             f.dx ? f.dx + begin * f.D : nullptr, begin == 0, id, n, poll);
                if (poll.has_stopped()) return;
            }
        } else {
            barrier.wait(id, n);
            products.add({f.dy, f.dy, f.dy, {f.x, nullptr}}, f.rows, f.dx, true, id, n, poll);
        }
    }

   private:
    // Thread id's part of the pairs of some rows.
    void convert(int64_t begin, int64_t rows, int buffer, int id, int n) const {
        const int64_t first = share_elements<P>(rows, id, n), end = share_elements<P>(rows, id + 1, n);
        pair_down([&](int64_t r) { return f.x + (begin + r) * f.D; }, rows, f.D, first, end, x_down[buffer]);
        if constexpr (!IS_PART<P>)
            pair_down([&](int64_t r) { return f.dy + (begin + r) * f.C; }, rows, f.C, first, end, dy_down[buffer]);
        for (int64_t r = 2 * first; f.dx && r < 2 * end && r < rows; ++r)
            copy_elements(f.dy + (begin + r) * f.C, f.C, dy_rows[buffer] + r * dy_length);
    }
};

template <class P>
bool affine(const xrnn::Affine<Sum<P>>& f, Partition partition) {
    if (f.rows == 0 || f.C == 0) return true;  // y has no elements
    return run_pass<AffinePass<P>, Sum<P>>(partition.threads, f, partition);
}

template <class P>
bool affine_gradients(const xrnn::AffineGradients<Sum<P>>& f, int threads) {
    if (f.rows == 0 || f.C == 0) {  // all sums are empty
        fill_zeros(f.dW, f.D * f.C);
        fill_zeros(f.db, f.C);
        if (f.dx) fill_zeros(f.dx, f.rows * f.D);
        return true;
    }
    return run_pass<AffineGradientPass<P>, Sum<P>>(threads, f, threads);
}

}  // namespace

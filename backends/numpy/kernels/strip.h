// The product of one or two rows with wide weights, which are read from the caller's matrix without packing.
//
//   out[m, j] = start[m, j] + Σ_k a[m, k] · b[k, j]        in the order of tile.h: the same bits
//
// One row or two use each weight once or twice, so the time is that of reading the weights. Memory is fast along a row;
// the narrow panels of tile.h would change to another page with every row of b. A strip is up to STRIP vectors wide,
// over columns of any gates, and takes a few rows of b at a time. Its sums are too many for the registers and stay in
// the nearest cache.
//
// A large NumPy array usually starts 16 bytes past a multiple of 64, and a vector that crosses two cache lines takes
// longer to load. So if the length of b's rows is a multiple of the vector width, a strip reads aligned vectors. Only the
// first and the last vector are not aligned, and they overlap their neighbours.
#pragma once

#include "tile.h"

namespace {

// Vectors of the widest strip: 4 KiB of a row of b, and as much of each row of sums.
constexpr int STRIP = 4096 / VECTOR_BYTES;

// The destination of some columns of a strip. Columns of different gates may have different destinations.
template <class S>
struct StripOutput {
    const S* start;
    int64_t start_row;
    S* out;
    int64_t out_row;
    int64_t columns;  // the number of neighbouring columns with this destination
};

template <class S, int MR, int U>
struct Strip {
    static constexpr int W = Simd<S>::LANES;
    static constexpr int64_t ROW = (STRIP + 2) * W;

    // The `body` columns are read in aligned vectors. A vector at the start of the strip reads the `head` columns before
    // them, one at its end the `tail` columns after them.
    const int64_t width, head, body, tail;
    alignas(64) S sums[U][MR][ROW];  // partial sums: of the body, then of the first and the last vector
    alignas(64) S totals[MR][ROW];   // start + all chains so far, for each column

    // width ≥ W
    Strip(int64_t width, const S* b, int64_t b_row)
        : width(width),
          head(b_row % W == 0 ? int64_t(-(reinterpret_cast<uintptr_t>(b) / sizeof(S)) % W) : 0),
          body((width - head) / W * W),
          tail(width - head - body) {}

    // sums[…][c …] += a @ n columns of b, for R terms; term i goes to partial sum i mod U.
    template <int R>
    XRNN_INLINE void add_columns(int64_t c, int64_t n, const Vec<S> (&as)[MR][R], const S* b, int64_t b_row) {
        constexpr int USED = R < U ? R : U;
        for (const int64_t end = c + n; c < end; c += W, b += W) {
            Vec<S> s[USED][MR];
#pragma GCC unroll 4
            for (int i = 0; i < USED * MR; ++i) s[i / MR][i % MR] = load<S>(sums[i / MR][i % MR] + c);
#pragma GCC unroll 8
            for (int i = 0; i < R; ++i) {
                const Vec<S> y = load_once<MR, S>(load<S>(b + i * b_row));
#pragma GCC unroll 2
                for (int m = 0; m < MR; ++m) s[i % USED][m] = multiply_add(as[m][i], y, s[i % USED][m]);
            }
#pragma GCC unroll 4
            for (int i = 0; i < USED * MR; ++i) store<S>(sums[i / MR][i % MR] + c, s[i / MR][i % MR]);
        }
    }

    // The same for all columns.
    template <int R>
    XRNN_INLINE void add_terms(const S* a, int64_t a_row, const S* b, int64_t b_row) {
        Vec<S> as[MR][R];
        for (int m = 0; m < MR; ++m)
            for (int i = 0; i < R; ++i) as[m][i] = broadcast<S>(a[m * a_row + i]);
        add_columns<R>(0, body, as, b + head, b_row);
        if (head) add_columns<R>(body, W, as, b, b_row);
        if (tail) add_columns<R>(body + W, W, as, b + width - W, b_row);
    }

    // totals += a chain of k terms. The remainder at its end goes to the first partial sum.
    void add_chain(const S* a, int64_t a_row, const S* b, int64_t b_row, int64_t k) {
        constexpr int R = 8 / MR;  // few enough that the broadcast elements of a leave registers for the sums
        __builtin_memset(sums, 0, sizeof(sums));
        for (; k >= R; k -= R, a += R, b += R * b_row) add_terms<R>(a, a_row, b, b_row);
        for (; k >= U; k -= U, a += U, b += U * b_row) add_terms<U>(a, a_row, b, b_row);
        if (k > 0) add_terms<1>(a, a_row, b, b_row);
        for (int m = 0; m < MR; ++m) {
            add_sums(m, 0, body, int(head));
            for (int64_t c = 0; c < body; c += W) add_sums(m, head + c, c, W);
            add_sums(m, head + body, body + 2 * W - tail, int(tail));
        }
    }

    // n ≤ W columns of totals += the folded sums from number `from` on
    XRNN_INLINE void add_sums(int m, int64_t column, int64_t from, int n) {
        Vec<S> sum = load_columns<S>(sums[0][m] + from, n);
        if constexpr (U == 2) sum += load_columns<S>(sums[1][m] + from, n);
        store_columns<S>(totals[m] + column, load_columns<S>(totals[m] + column, n) + sum, n);
    }
};

// a (MR, K) @ b (K, width), K > 0; `output(c)` is the StripOutput of column c.
template <class S, int MR, int U, class Output>
void strip(Order order, const S* a, int64_t a_row, const S* b, int64_t b_row, int64_t K, int64_t width,
           const Output& output) {
    Strip<S, MR, U> strip(width, b, b_row);
    // f(its columns of totals, the destination, the row, the bytes) for each row and destination.
    const auto each = [&](auto f) {
        for (int64_t c = 0, n; c < width; c += n) {
            const StripOutput<S> to = output(c);
            n = to.columns < width - c ? to.columns : width - c;
            for (int m = 0; m < MR; ++m) f(strip.totals[m] + c, to, m, n * sizeof(S));
        }
    };
    each([](S* totals, const StripOutput<S>& to, int m, size_t bytes) {
        __builtin_memcpy(totals, to.start + m * to.start_row, bytes);
    });
    for (int64_t begin = 0; begin < K; begin += order.chain)
        strip.add_chain(a + begin, a_row, b + begin * b_row, b_row, K - begin < order.chain ? K - begin : order.chain);
    each([](const S* totals, const StripOutput<S>& to, int m, size_t bytes) {
        __builtin_memcpy(to.out + m * to.out_row, totals, bytes);
    });
}

// The same for one row or two.
template <class S, class Output>
void run_strip(Order order, const S* a, int64_t a_row, int64_t rows, const S* b, int64_t b_row, int64_t K,
               int64_t width, const Output& output) {
    const auto run = order.partials == 2 ? (rows == 1 ? strip<S, 1, 2, Output> : strip<S, 2, 2, Output>)
                                         : (rows == 1 ? strip<S, 1, 1, Output> : strip<S, 2, 1, Output>);
    if (rows > 0) run(order, a, a_row, b, b_row, K, width, output);
}

}  // namespace

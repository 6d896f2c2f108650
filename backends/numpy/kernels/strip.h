// The product of few rows with weights that are read from the caller's matrix without packing: up to two rows, or up to
// four if the columns of the matrix are contiguous. `suits_strips` in weights.h says for which sizes.
//
//   out[m, j] = start[m, j] + Σ_k a[m, k] · b[k, j]        in the order of tile.h: the same bits
//
// Few rows use each weight only a few times, so reading the weights takes most of the time. Memory is fast along a row;
// the narrow panels of tile.h would change to another page with every row of b. A strip is up to STRIP vectors wide,
// over columns of any gates, and takes a few rows of b at a time. Its sums are too many for the registers and stay in
// the nearest cache.
//
// A large NumPy array usually starts 16 bytes past a multiple of 64, and a vector that crosses two cache lines takes
// longer to load. So if the length of b's rows is a multiple of the vector width, a strip reads aligned vectors. Only the
// first and the last vector are not aligned, and they overlap their neighbours.
//
// If the columns of b are contiguous, as in the transposed weights of PyTorch, `multiply_columns` computes the same
// sums.
#pragma once

#include "tile.h"
#include "transpose.h"

namespace {

// Vectors of the widest strip: 4 KiB of a row of b, and as much of each row of sums.
constexpr int STRIP = 4096 / VECTOR_BYTES;

// The most partial sums for one row of a, and for more rows or contiguous columns.
constexpr int MOST_PARTIALS_OF_ONE_ROW = 4, MOST_PARTIALS = 2;

// Rows that are multiplied by contiguous columns at a time. They share the transposing of these columns.
constexpr int MOST_ROWS_OF_COLUMNS = 4;

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
#pragma GCC unroll 8
            for (int i = 0; i < USED * MR; ++i) s[i / MR][i % MR] = load<S>(sums[i / MR][i % MR] + c);
#pragma GCC unroll 8
            for (int i = 0; i < R; ++i) {
                const Vec<S> y = load_once<MR, S>(load<S>(b + i * b_row));
#pragma GCC unroll 2
                for (int m = 0; m < MR; ++m) s[i % USED][m] = multiply_add(as[m][i], y, s[i % USED][m]);
            }
#pragma GCC unroll 8
            for (int i = 0; i < USED * MR; ++i) store<S>(sums[i / MR][i % MR] + c, s[i / MR][i % MR]);
        }
    }

    // sums += a @ b for R terms, over all columns of the strip.
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
        for (auto& rows : sums)
            for (S* row : rows) __builtin_memset(row, 0, (body + 2 * W) * sizeof(S));
        for (; k >= R; k -= R, a += R, b += R * b_row) add_terms<R>(a, a_row, b, b_row);
        for (; k >= U; k -= U, a += U, b += U * b_row) add_terms<U>(a, a_row, b, b_row);
        for (; k > 0; --k, ++a, b += b_row) add_terms<1>(a, a_row, b, b_row);
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
        if constexpr (U == 4) {
            sum += load_columns<S>(sums[2][m] + from, n);
            sum += load_columns<S>(sums[1][m] + from, n) + load_columns<S>(sums[3][m] + from, n);
        }
        store_columns<S>(totals[m] + column, load_columns<S>(totals[m] + column, n) + sum, n);
    }
};

// f(column, destination, columns) for each destination of the columns [begin, end).
template <class S, class Output, class F>
XRNN_INLINE void each_output(const Output& output, int64_t begin, int64_t end, F f) {
    for (int64_t c = begin, n; c < end; c += n) {
        const StripOutput<S> to = output(c);
        n = to.columns < end - c ? to.columns : end - c;
        f(c, to, n);
    }
}

// totals = start of the columns [begin, end); column `begin` is totals[…][0].
template <int MR, class S, int64_t ROW, class Output>
void read_starts(S (&totals)[MR][ROW], const Output& output, int64_t begin, int64_t end) {
    each_output<S>(output, begin, end, [&](int64_t c, const StripOutput<S>& to, int64_t n) {
        for (int m = 0; m < MR; ++m)
            __builtin_memcpy(totals[m] + c - begin, to.start + m * to.start_row, n * sizeof(S));
    });
}

// The destinations of these columns = totals.
template <int MR, class S, int64_t ROW, class Output>
void write_totals(const S (&totals)[MR][ROW], const Output& output, int64_t begin, int64_t end) {
    each_output<S>(output, begin, end, [&](int64_t c, const StripOutput<S>& to, int64_t n) {
        for (int m = 0; m < MR; ++m) __builtin_memcpy(to.out + m * to.out_row, totals[m] + c - begin, n * sizeof(S));
    });
}

// a (MR, K) @ b (K, width), K > 0; `output(c)` is the StripOutput of column c.
template <class S, int MR, int U, class Output>
void strip(Order order, const S* a, int64_t a_row, const S* b, int64_t b_row, int64_t K, int64_t width,
           const Output& output) {
    Strip<S, MR, U> strip(width, b, b_row);
    read_starts<MR>(strip.totals, output, 0, width);
    for (int64_t begin = 0; begin < K; begin += order.chain)
        strip.add_chain(a + begin, a_row, b + begin * b_row, b_row, K - begin < order.chain ? K - begin : order.chain);
    write_totals<MR>(strip.totals, output, 0, width);
}

// The same for a matrix whose columns are contiguous and lie b_col apart, as those of PyTorch's weights. Squares of W × W
// elements are transposed in registers before each use. This takes about as long as reading them from the third level
// of the cache; packing them would also write them there. Two squares at a time, because the sums of one wait for the
// term before.
template <class S, int MR, int U>
struct ColumnSums {
    static constexpr int W = Simd<S>::LANES, SQUARES = 2;
    const S* const a;
    const int64_t a_row;
    Vec<S> sums[SQUARES][U][MR];

    // sums += the first `terms` terms of a @ W columns, which begin at b.
    template <bool WHOLE>
    XRNN_INLINE void add_square(Vec<S> (&sums)[U][MR], int64_t k, const S* b, int64_t b_col, int terms) {
        Vec<S> square[W];
        if constexpr (WHOLE) {
            load_transposed<S>(b + k, b_col, square);
        } else {
            for (int i = 0; i < W; ++i) square[i] = load_part<S>(b + i * b_col + k, terms);
            transpose<S>(square);
        }
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i)
            if (WHOLE || i < terms)
#pragma GCC unroll 4
                for (int m = 0; m < MR; ++m)
                    sums[i % U][m] = multiply_add(broadcast<S>(a[m * a_row + k + i]), square[i], sums[i % U][m]);
    }

    // totals (MR, G · W) += a @ G · W columns, in chains
    template <int G, int64_t ROW>
    void add(S (&totals)[MR][ROW], Order order, const S* b, int64_t b_col, int64_t K) {
        for (int64_t begin = 0; begin < K; begin += order.chain) {
            const int64_t end = K - begin < order.chain ? K : begin + order.chain;
            for (auto& of_square : sums)
                for (auto& partial : of_square)
                    for (auto& sum : partial) sum = Vec<S>{};
            int64_t k = begin;
            for (; k + W <= end; k += W)
#pragma GCC unroll 2
                for (int g = 0; g < G; ++g) add_square<true>(sums[g], k, b + g * W * b_col, b_col, W);
            for (int g = 0; g < G && k < end; ++g)
                add_square<false>(sums[g], k, b + g * W * b_col, b_col, int(end - k));
            for (int g = 0; g < G; ++g)
                for (int m = 0; m < MR; ++m) {
                    Vec<S> sum = sums[g][0][m];
                    if constexpr (U == 2) sum += sums[g][1][m];
                    store<S>(totals[m] + g * W, load<S>(totals[m] + g * W) + sum);
                }
        }
    }
};

// a (MR, K) @ b (K, width), K > 0, width ≥ W
template <class S, int MR, int U, class Output>
void multiply_columns(Order order, const S* a, int64_t a_row, const S* b, int64_t b_col, int64_t K, int64_t width,
                      const Output& output) {
    constexpr int W = Simd<S>::LANES, SQUARES = ColumnSums<S, MR, U>::SQUARES;
    ColumnSums<S, MR, U> sums{a, a_row, {}};
    alignas(64) S totals[MR][int64_t(SQUARES * W)];
    for (int64_t c = 0; c < width;) {
        const bool whole = width - c >= SQUARES * W;
        const int64_t begin = whole || width - c >= W ? c : width - W, end = whole ? c + SQUARES * W : begin + W;
        read_starts<MR>(totals, output, begin, end);
        if (whole)
            sums.template add<SQUARES>(totals, order, b + begin * b_col, b_col, K);
        else
            sums.template add<1>(totals, order, b + begin * b_col, b_col, K);
        write_totals<MR>(totals, output, begin, end);
        c = end;
    }
}

// `multiply_columns` for MR rows, with the number of partial sums that `order` has.
template <class S, int MR, class Output>
XRNN_INLINE void run_columns(Order order, const S* a, int64_t a_row, const S* b, int64_t b_col, int64_t K,
                             int64_t width, const Output& output) {
    const auto run = order.partials == 2 ? multiply_columns<S, MR, 2, Output> : multiply_columns<S, MR, 1, Output>;
    run(order, a, a_row, b, b_col, K, width, output);
}

// a (rows, K) @ b (K, width) for up to FEW_ROWS rows, or if columns are contiguous, MOST_ROWS_OF_COLUMNS.
template <class S, class Output>
void run_strip(Order order, const S* a, int64_t a_row, int64_t rows, const S* b, int64_t b_row, int64_t b_col,
               int64_t K, int64_t width, const Output& output) {
    if (b_col == 1) {
        const auto run = rows == 1 ? (order.partials == 4   ? strip<S, 1, 4, Output>
                                      : order.partials == 2 ? strip<S, 1, 2, Output>
                                                            : strip<S, 1, 1, Output>)
                                   : (order.partials == 2 ? strip<S, 2, 2, Output> : strip<S, 2, 1, Output>);
        if (rows > 0) run(order, a, a_row, b, b_row, K, width, output);
        return;
    }
    switch (rows) {
        case 1: return run_columns<S, 1>(order, a, a_row, b, b_col, K, width, output);
        case 2: return run_columns<S, 2>(order, a, a_row, b, b_col, K, width, output);
        case 3: return run_columns<S, 3>(order, a, a_row, b, b_col, K, width, output);
        case 4: return run_columns<S, 4>(order, a, a_row, b, b_col, K, width, output);
    }
}

}  // namespace

// The product of one or two rows with wide weights, which are read from the caller's matrix without packing.
//
//   out[m, j] = start[m, j] + Σ_k a[m, k] · b[k, j]        in the order of tile.h: the same bits
//
// One row or two use each weight once or twice, so the time is that of reading the weights. Memory is fast along a row;
// the narrow panels of tile.h would change to another page with every row of b. A strip is up to STRIP vectors wide,
// over columns of any gates, and takes a few rows of b at a time. Its sums are too many for the registers and stay in
// the nearest cache.
#pragma once

#include "tile.h"

namespace {

// Vectors of the widest strip: 4 KiB of a row of b, and as much of each row of sums.
constexpr int STRIP = 4096 / VECTOR_BYTES;

// sums (U, MR, NV vectors) += a @ b for R terms; term i goes to partial sum i mod U.
template <class S, int R, int MR, int U>
XRNN_INLINE void add_to_strip(S* sums, int NV, const S* a, int64_t a_row, const S* b, int64_t b_row) {
    constexpr int W = Simd<S>::LANES;
    const int64_t width = int64_t(NV) * W;
    Vec<S> as[MR][R];
    for (int m = 0; m < MR; ++m)
        for (int i = 0; i < R; ++i) as[m][i] = broadcast<S>(a[m * a_row + i]);
    for (int64_t c = 0; c < width; c += W) {
        Vec<S> s[U][MR];
#pragma GCC unroll 4
        for (int i = 0; i < U * MR; ++i) s[i / MR][i % MR] = load<S>(sums + i * width + c);
#pragma GCC unroll 8
        for (int i = 0; i < R; ++i) {
            const Vec<S> y = load<S>(b + i * b_row + c);
#pragma GCC unroll 2
            for (int m = 0; m < MR; ++m) s[i % U][m] = multiply_add(as[m][i], y, s[i % U][m]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < U * MR; ++i) store<S>(sums + i * width + c, s[i / MR][i % MR]);
    }
}

// sums (U, MR, NV vectors) = a chain of k terms. The remainder at its end goes to the first partial sum.
template <class S, int MR, int U>
void sum_strip(S* sums, int NV, const S* a, int64_t a_row, const S* b, int64_t b_row, int64_t k) {
    constexpr int R = 8 / MR;  // terms at a time, so that the broadcast elements of a leave registers for the sums
    __builtin_memset(sums, 0, sizeof(Vec<S>) * U * MR * NV);
    for (; k >= R; k -= R, a += R, b += R * b_row)
        add_to_strip<S, R, MR, U>(sums, NV, a, a_row, b, b_row);
    for (; k >= U; k -= U, a += U, b += U * b_row)
        add_to_strip<S, U, MR, U>(sums, NV, a, a_row, b, b_row);
    if (k > 0) add_to_strip<S, 1, MR, 1>(sums, NV, a, a_row, b, b_row);
}

// The destination of some columns of a strip. Columns of different gates may have different destinations.
template <class S>
struct StripOutput {
    const S* start;  // null for zeros; may be `out` itself
    int64_t start_row;
    S* out;
    int64_t out_row;
    int64_t columns;  // the number of neighbouring columns with this destination, a multiple of LANES
};

// n columns of out = start + the folded sums, whose rows are `width` apart.
template <class S, int MR, int U>
XRNN_INLINE void close_strip(const StripOutput<S>& to, int64_t n, const S* sums, int64_t width) {
    constexpr int W = Simd<S>::LANES;
    for (int m = 0; m < MR; ++m)
        for (int64_t c = 0; c < n; c += W) {
            Vec<S> sum = load<S>(sums + m * width + c);
            if (U == 2) sum += load<S>(sums + (MR + m) * width + c);
            if (to.start) sum += load<S>(to.start + m * to.start_row + c);
            store<S>(to.out + m * to.out_row + c, sum);
        }
}

// a (MR, K) @ b (K, NV vectors), K > 0; `output(c)` is the StripOutput of column c.
template <class S, int MR, int U, class Output>
void strip(Order order, const S* a, int64_t a_row, const S* b, int64_t b_row, int64_t K, int NV, const Output& output) {
    alignas(64) S sums[U * MR * STRIP * Simd<S>::LANES];
    const int64_t width = int64_t(NV) * Simd<S>::LANES;
    for (int64_t begin = 0; begin < K; begin += order.chain) {
        const int64_t k = K - begin < order.chain ? K - begin : order.chain;
        sum_strip<S, MR, U>(sums, NV, a + begin, a_row, b + begin * b_row, b_row, k);
        for (int64_t c = 0, n; c < width; c += n) {
            StripOutput<S> to = output(c);
            n = to.columns < width - c ? to.columns : width - c;
            if (begin > 0) to.start = to.out, to.start_row = to.out_row;
            close_strip<S, MR, U>(to, n, sums + c, width);
        }
    }
}

// The same for one row or two.
template <class S, class Output>
void run_strip(Order order, const S* a, int64_t a_row, int64_t rows, const S* b, int64_t b_row, int64_t K, int NV,
               const Output& output) {
    const bool two = order.partials == 2;
    if (rows == 1) (two ? strip<S, 1, 2, Output> : strip<S, 1, 1, Output>)(order, a, a_row, b, b_row, K, NV, output);
    if (rows == 2) (two ? strip<S, 2, 2, Output> : strip<S, 2, 1, Output>)(order, a, a_row, b, b_row, K, NV, output);
}

}  // namespace

// The product of one row or two with wide weights that are read where they lie.
//
//   out[m, j] = init[m, j] + Σ_segments Σ_k a[m, k] · b[k, j]        as in tile.h, in the same order: the same bits
//
// So few rows use each weight once or twice, and the time is that of reading them. Memory is fast along a row: the tile's
// narrow panel would touch another page with every row of b. A strip is up to STRIP vectors wide, takes a few rows of b
// at a time, and keeps its sums in the nearest cache, since they are too many for the registers.
#pragma once

#include "tile.h"

namespace {

// Vectors of the widest strip: 4 KiB of a row of b, and as much of each row of sums.
constexpr int STRIP = 4096 / VECTOR_BYTES;

// sums (U, MR, NV vectors) += a @ b for R terms; term i goes to partial sum i mod U.
template <class S, int R, int MR, int U>
XRNN_INLINE void add_to_strip(S* sums, int NV, const S* a, int64_t a_row, int64_t a_col, const S* b, int64_t b_row) {
    constexpr int W = Simd<S>::LANES;
    const int64_t width = int64_t(NV) * W;
    Vec<S> as[MR][R];
    for (int m = 0; m < MR; ++m)
        for (int i = 0; i < R; ++i) as[m][i] = broadcast<S>(a[m * a_row + i * a_col]);
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

// sums (U, MR, NV vectors) = a chain of k terms; what is left at its end goes to the first partial sum.
template <class S, int MR, int U>
void sum_strip(S* sums, int NV, const S* a, int64_t a_row, int64_t a_col, const S* b, int64_t b_row, int64_t k) {
    constexpr int R = 8 / MR;  // of which the broadcast elements of a leave registers for the sums
    __builtin_memset(sums, 0, sizeof(Vec<S>) * U * MR * NV);
    for (; k >= R; k -= R, a += R * a_col, b += R * b_row)
        add_to_strip<S, R, MR, U>(sums, NV, a, a_row, a_col, b, b_row);
    for (; k >= U; k -= U, a += U * a_col, b += U * b_row)
        add_to_strip<S, U, MR, U>(sums, NV, a, a_row, a_col, b, b_row);
    if (k > 0) add_to_strip<S, 1, MR, 1>(sums, NV, a, a_row, a_col, b, b_row);
}

// out = the folded sums + start; a null start stands for zeros.
template <class S, int MR, int U>
void close_strip(const Tile<S>& t, int NV, const S* sums, const S* start, int64_t start_row) {
    constexpr int W = Simd<S>::LANES;
    const int64_t width = int64_t(NV) * W;
    for (int m = 0; m < MR; ++m)
        for (int64_t c = 0; c < width; c += W) {
            Vec<S> sum = load<S>(sums + m * width + c);
            if (U == 2) sum += load<S>(sums + (MR + m) * width + c);
            if (start) sum += load<S>(start + m * start_row + c);
            store<S>(t.out + m * t.out_row + c, sum);
        }
}

template <class S, int MR, int U>
void strip(const Tile<S>& t, int NV) {
    alignas(64) S sums[U * MR * STRIP * Simd<S>::LANES];
    const S* start = t.init;
    int64_t start_row = t.init_row;
    for (int i = 0; i < t.count; ++i) {
        const Segment<S>& s = t.segments[i];
        if (s.chain) {
            for (int m = 0; m < MR; ++m)
                __builtin_memcpy(sums + m * NV * Simd<S>::LANES, s.chain + m * s.chain_row, sizeof(Vec<S>) * NV);
            close_strip<S, MR, 1>(t, NV, sums, start, start_row);
            start = t.out, start_row = t.out_row;
            continue;
        }
        for (int64_t begin = 0; begin < s.K; begin += t.order.chain) {
            const int64_t k = s.K - begin < t.order.chain ? s.K - begin : t.order.chain;
            sum_strip<S, MR, U>(sums, NV, s.a + begin * s.a_col, s.a_row, s.a_col, s.b + begin * s.b_row, s.b_row, k);
            close_strip<S, MR, U>(t, NV, sums, start, start_row);
            start = t.out, start_row = t.out_row;
        }
    }
    if (t.count > 0) return;
    __builtin_memset(sums, 0, sizeof(Vec<S>) * MR * NV);
    close_strip<S, MR, 1>(t, NV, sums, start, start_row);
}

// Run `t` over `rows` rows of NV vectors: by tiles where they are as narrow as a panel, else as a strip of one row or
// two. `t` is used up.
template <class S>
void run_piece(Tile<S>& t, int NV, int64_t rows) {
    if (NV <= WIDEST_OF_FEW) return run_rows(t, NV, rows);
    const bool two_partials = t.order.partials == 2;
    if (rows == 1) (two_partials ? strip<S, 1, 2> : strip<S, 1, 1>)(t, NV);
    if (rows == 2) (two_partials ? strip<S, 2, 2> : strip<S, 2, 1>)(t, NV);
}

}  // namespace

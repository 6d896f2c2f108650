// The register tile: MR rows × NV vectors of output, summed over k and finished before they are stored.
//
//   out[m, j] = epilogue( init[m, j] + Σ_segments Σ_k a[m, k] · b[k, j] )
//
// Written once; forward and backward are two epilogues of it. Every sum stays in a register from its first term to the
// nonlinearity, so the output is written once and never read. A row's elements of a are broadcast, hence a may have any
// strides; the columns of b and out are contiguous.
#pragma once

#include "simd.h"
#include "tanh.h"

namespace {

// One term of the sum: a (rows, K) @ b (K, columns).
template <class S>
struct Segment {
    const S* a;
    int64_t a_row, a_col;  // strides of a in elements
    const S* b;            // readable in whole vectors, see Panel
    int64_t b_row;
    int64_t K;
};

enum class Epilogue {
    LINEAR,  // the sum itself
    TANH,    // φ(sum)
    RELU,
    TANH_GRADIENT,  // sum · φ'(z), with φ' taken from the output y: 1 - y²
    RELU_GRADIENT,  // y > 0
};

template <class S>
struct Tile {
    Segment<S> segments[2];
    int count;      // of segments: 0, 1 or 2
    const S* init;  // (rows, columns) with stride init_row, which is 0 for one row that serves all (the bias)
    int64_t init_row;
    Epilogue epilogue;
    S* out;  // (rows, columns) with stride out_row; may be init itself, and overlaps nothing else
    int64_t out_row;
    const S* y;  // for the gradients: the outputs, (rows, columns) with stride y_row
    int64_t y_row;
    int last;  // valid columns in the last vector, 1 … LANES
};

// Enough independent sums to hide the latency of a multiply-add: few rows take several partial sums over k.
constexpr int partial_sums(int sums) { return sums >= 8 ? 1 : sums >= 4 ? 2 : sums >= 2 ? 4 : 8; }

// Rows of the tallest tile with NV vectors: as many sums as leave registers for NV vectors of b and one of a.
constexpr int tallest(int NV) { return REGISTERS == 32 ? 24 / (NV < 2 ? 2 : NV) : 12 / (NV < 2 ? 2 : NV); }
constexpr int WIDEST = REGISTERS == 32 ? 4 : 2;

template <class S, int MR, int NV, class F>
XRNN_INLINE void finish(const Tile<S>& t, const Vec<S> (&sums)[MR][NV], F f) {
    constexpr int W = Simd<S>::LANES;
    const bool whole = t.last == W;
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) {
            S* p = t.out + m * t.out_row + v * W;
            const Vec<S> result = f(sums[m][v], t.y + m * t.y_row + v * W, v + 1 < NV || whole);
            if (v + 1 < NV || whole)
                store<S>(p, result);
            else
                store_part<S>(p, result, t.last);
        }
}

template <class S, int MR, int NV>
void tile(const Tile<S>& t) {
    constexpr int W = Simd<S>::LANES, U = partial_sums(MR * NV);
    const bool whole = t.last == W;
    Vec<S> sums[U][MR][NV];
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) {
            const S* p = t.init + m * t.init_row + v * W;
            sums[0][m][v] = v + 1 < NV || whole ? load<S>(p) : load_part<S>(p, t.last);
#pragma GCC unroll 8
            for (int u = 1; u < U; ++u) sums[u][m][v] = Vec<S>{};
        }
    for (int i = 0; i < t.count; ++i) {
        const S *a = t.segments[i].a, *b = t.segments[i].b;
        const int64_t a_row = t.segments[i].a_row, a_col = t.segments[i].a_col, b_row = t.segments[i].b_row;
        int64_t k = t.segments[i].K;
        for (; k >= U; k -= U)
#pragma GCC unroll 8
            for (int u = 0; u < U; ++u, a += a_col, b += b_row) {
                Vec<S> bs[NV];
#pragma GCC unroll 4
                for (int v = 0; v < NV; ++v) bs[v] = load<S>(b + v * W);
#pragma GCC unroll 16
                for (int m = 0; m < MR; ++m) {
                    const Vec<S> x = Vec<S>{} + a[m * a_row];
#pragma GCC unroll 4
                    for (int v = 0; v < NV; ++v) sums[u][m][v] += x * bs[v];
                }
            }
        if constexpr (U > 1)
            for (; k > 0; --k, a += a_col, b += b_row)
#pragma GCC unroll 16
                for (int m = 0; m < MR; ++m)
#pragma GCC unroll 4
                    for (int v = 0; v < NV; ++v) sums[0][m][v] += a[m * a_row] * load<S>(b + v * W);
    }
#pragma GCC unroll 3
    for (int half = U / 2; half > 0; half /= 2)
#pragma GCC unroll 4
        for (int u = 0; u < half; ++u)
#pragma GCC unroll 16
            for (int m = 0; m < MR; ++m)
#pragma GCC unroll 4
                for (int v = 0; v < NV; ++v) sums[u][m][v] += sums[u + half][m][v];

    const Vec<S> zero = {};
    const auto outputs = [&t](const S* y, bool all) { return all ? load<S>(y) : load_part<S>(y, t.last); };
    switch (t.epilogue) {
        case Epilogue::LINEAR:
            return finish<S, MR, NV>(t, sums[0], [](Vec<S> z, const S*, bool) { return z; });
        case Epilogue::TANH:
            return finish<S, MR, NV>(t, sums[0], [](Vec<S> z, const S*, bool) { return tanh<S>(z); });
        case Epilogue::RELU:  // NaN stays, as in np.maximum
            return finish<S, MR, NV>(t, sums[0], [&](Vec<S> z, const S*, bool) { return z < zero ? zero : z; });
        case Epilogue::TANH_GRADIENT:
            return finish<S, MR, NV>(t, sums[0], [&](Vec<S> dh, const S* p, bool all) {
                const Vec<S> y = outputs(p, all);
                return dh * (1 - y * y);
            });
        case Epilogue::RELU_GRADIENT:
            return finish<S, MR, NV>(t, sums[0], [&](Vec<S> dh, const S* p, bool all) {
                return dh * (outputs(p, all) > zero ? zero + 1 : zero);
            });
    }
}

// The tiles by number of vectors and of rows.
template <class S>
struct Tiles {
    using Function = void (*)(const Tile<S>&);
    Function by_shape[WIDEST][tallest(1)] = {};

    template <int NV, int MR>
    constexpr void fill() {
        by_shape[NV - 1][MR - 1] = tile<S, MR, NV>;
        if constexpr (MR < tallest(NV))
            fill<NV, MR + 1>();
        else if constexpr (NV < WIDEST)
            fill<NV + 1, 1>();
    }
    constexpr Tiles() { fill<1, 1>(); }
};

template <class S>
constexpr Tiles<S> TILES;

// Run `t` over `rows` rows of NV vectors: tiles as tall and as equal in height as they can be.
template <class S>
void run_rows(Tile<S> t, int NV, int64_t rows) {
    const int64_t tiles = (rows + tallest(NV) - 1) / tallest(NV);
    for (int64_t i = 0, done = 0; i < tiles; ++i) {
        const int64_t height = rows * (i + 1) / tiles - done;
        TILES<S>.by_shape[NV - 1][height - 1](t);
        done += height;
        for (int s = 0; s < t.count; ++s) t.segments[s].a += height * t.segments[s].a_row;
        t.init += height * t.init_row;
        t.out += height * t.out_row;
        t.y += height * t.y_row;  // a null y stays unread: its stride is 0
    }
}

}  // namespace

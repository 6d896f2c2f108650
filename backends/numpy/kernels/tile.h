// The register tile: MR rows × NV vectors of output, summed over k and finished before they are stored.
//
//   out[m, j] = epilogue( init[m, j] + Σ_segments Σ_k a[m, k] · b[k, j] )
//
// Written once; forward and backward are two epilogues of it. Sums stay in registers to the nonlinearity, so the output
// is written once and never read. A row's elements of a are broadcast, hence a may have any strides; the columns of b
// and out are contiguous.
#pragma once

#include "exponential.h"
#include "simd.h"

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

// Terms that are added one after another. The error of a sum grows with the length of such a chain, so a longer sum is
// made of several, as in a product by blocks; and one that is already long ends with its segment.
constexpr int64_t CHAIN = 256, LONG = 64;

// Rows of the tallest tile with NV vectors: as many sums as leave registers for what they are made of.
constexpr int tallest(int NV) { return (REGISTERS == 32 ? 24 : 12) / (NV < 2 ? 2 : NV); }

// Vectors in the widest tile of many rows, and of few: without rows to share them, long pieces of b stream better.
constexpr int WIDEST = REGISTERS == 32 ? 4 : 2, WIDEST_OF_FEW = 2 * WIDEST;
constexpr int FEW_ROWS = 2;

// Vector v of row m at p: whole, or the valid part of the last one.
template <class S, int NV>
XRNN_INLINE Vec<S> load_columns(const Tile<S>& t, const S* p, int v) {
    return v + 1 < NV || t.last == Simd<S>::LANES ? load<S>(p) : load_part<S>(p, t.last);
}

template <class S, int MR, int NV, class F>
XRNN_INLINE void finish(const Tile<S>& t, const Vec<S> (&sums)[MR][NV], F f) {
    constexpr int W = Simd<S>::LANES;
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m)
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) {
            S* p = t.out + m * t.out_row + v * W;
            const Vec<S> result = f(sums[m][v], m, v);
            if (v + 1 < NV || t.last == W)
                store<S>(p, result);
            else
                store_part<S>(p, result, t.last);
        }
}

// sums += a @ b for one k. Whichever of the two needs fewer registers is loaded as a whole.
template <class S, int MR, int NV>
XRNN_INLINE void add_term(Vec<S> (&sums)[MR][NV], const S* a, int64_t a_row, const S* b) {
    constexpr int W = Simd<S>::LANES;
    if constexpr (MR < NV) {
        Vec<S> as[MR];
#pragma GCC unroll 16
        for (int m = 0; m < MR; ++m) as[m] = Vec<S>{} + a[m * a_row];
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) {
            const Vec<S> y = load<S>(b + v * W);
#pragma GCC unroll 16
            for (int m = 0; m < MR; ++m) sums[m][v] += as[m] * y;
        }
    } else {
        Vec<S> bs[NV];
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) bs[v] = load<S>(b + v * W);
#pragma GCC unroll 16
        for (int m = 0; m < MR; ++m) {
            const Vec<S> x = Vec<S>{} + a[m * a_row];
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) sums[m][v] += x * bs[v];
        }
    }
}

template <class S, int MR, int NV>
void tile(const Tile<S>& t) {
    constexpr int W = Simd<S>::LANES, U = partial_sums(MR * NV);
    Vec<S> sums[U][MR][NV] = {};
    Vec<S> total[MR][NV];  // of the finished chains, once there is one
    const S* start = t.init;
    int64_t start_row = t.init_row;
    // sums[0] = start + Σ sums
    const auto close = [&]() __attribute__((always_inline)) {
#pragma GCC unroll 3
        for (int half = U / 2; half > 0; half /= 2)
#pragma GCC unroll 4
            for (int u = 0; u < half; ++u)
#pragma GCC unroll 16
                for (int m = 0; m < MR; ++m)
#pragma GCC unroll 8
                    for (int v = 0; v < NV; ++v) sums[u][m][v] += sums[u + half][m][v];
#pragma GCC unroll 16
        for (int m = 0; m < MR; ++m)
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v)
                sums[0][m][v] += load_columns<S, NV>(t, start + m * start_row + v * W, v);
    };
    int64_t room = CHAIN * U;
    for (int i = 0; i < t.count; ++i) {
        const S *a = t.segments[i].a, *b = t.segments[i].b;
        const int64_t a_row = t.segments[i].a_row, a_col = t.segments[i].a_col, b_row = t.segments[i].b_row;
        for (int64_t left = t.segments[i].K; left > 0;) {
            if (room == 0) {
                close();
#pragma GCC unroll 16
                for (int m = 0; m < MR; ++m)
#pragma GCC unroll 8
                    for (int v = 0; v < NV; ++v) total[m][v] = sums[0][m][v];
#pragma GCC unroll 8
                for (int u = 0; u < U; ++u)
#pragma GCC unroll 16
                    for (int m = 0; m < MR; ++m)
#pragma GCC unroll 8
                        for (int v = 0; v < NV; ++v) sums[u][m][v] = Vec<S>{};
                start = reinterpret_cast<const S*>(total), start_row = NV * W;
                room = CHAIN * U;
            }
            int64_t k = left < room ? left : room;
            left -= k, room -= k;
            for (; k >= U; k -= U)
#pragma GCC unroll 8
                for (int u = 0; u < U; ++u, a += a_col, b += b_row) add_term<S, MR, NV>(sums[u], a, a_row, b);
            if constexpr (U > 1)
                for (; k > 0; --k, a += a_col, b += b_row) add_term<S, MR, NV>(sums[0], a, a_row, b);
        }
        if (CHAIN * U - room >= LONG * U) room = 0;
    }
    close();

    const Vec<S> zero = {};
    const auto outputs = [&](int m, int v) { return load_columns<S, NV>(t, t.y + m * t.y_row + v * W, v); };
    switch (t.epilogue) {
        case Epilogue::LINEAR:
            return finish<S, MR, NV>(t, sums[0], [](Vec<S> z, int, int) { return z; });
        case Epilogue::TANH:
            return finish<S, MR, NV>(t, sums[0], [](Vec<S> z, int, int) { return tanh<S>(z); });
        case Epilogue::RELU:  // NaN stays, as in np.maximum
            return finish<S, MR, NV>(t, sums[0], [&](Vec<S> z, int, int) { return z < zero ? zero : z; });
        case Epilogue::TANH_GRADIENT:
            return finish<S, MR, NV>(t, sums[0], [&](Vec<S> dh, int m, int v) {
                const Vec<S> y = outputs(m, v);
                return dh * (1 - y * y);
            });
        case Epilogue::RELU_GRADIENT:
            return finish<S, MR, NV>(t, sums[0], [&](Vec<S> dh, int m, int v) {
                return dh * (outputs(m, v) > zero ? zero + 1 : zero);
            });
    }
}

// The tiles by number of vectors and of rows.
template <class S>
struct Tiles {
    using Function = void (*)(const Tile<S>&);
    Function by_shape[WIDEST_OF_FEW][tallest(1)] = {};

    template <int NV, int MR>
    constexpr void fill() {
        by_shape[NV - 1][MR - 1] = tile<S, MR, NV>;
        if constexpr (MR < tallest(NV))
            fill<NV, MR + 1>();
        else if constexpr (NV < WIDEST_OF_FEW)
            fill<NV + 1, 1>();
    }
    constexpr Tiles() { fill<1, 1>(); }
};

template <class S>
constexpr Tiles<S> TILES;

struct Heights {
    int by_width[WIDEST_OF_FEW] = {};
    constexpr Heights() {
        for (int NV = 1; NV <= WIDEST_OF_FEW; ++NV) by_width[NV - 1] = tallest(NV);
    }
};
constexpr Heights TALLEST;

// Run `t` over `rows` rows of NV vectors: tiles as tall and as equal in height as they can be. `t` is used up, not
// copied: a copy would wait for what was just written to it, and that for all of the step before.
template <class S>
void run_rows(Tile<S>& t, int NV, int64_t rows) {
    const auto& by_height = TILES<S>.by_shape[NV - 1];
    const int64_t most = TALLEST.by_width[NV - 1];
    while (rows > most) {
        const int64_t tiles = (rows + most - 1) / most, height = rows / tiles;
        by_height[height - 1](t);
        rows -= height;
        for (int s = 0; s < t.count; ++s) t.segments[s].a += height * t.segments[s].a_row;
        t.init += height * t.init_row;
        t.out += height * t.out_row;
        if (t.y) t.y += height * t.y_row;
    }
    if (rows > 0) by_height[rows - 1](t);
}

}  // namespace

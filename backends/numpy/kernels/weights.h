// A weight matrix as the tiles read it.
//
// The columns of an output are cut into panels of a few vectors. A matrix is packed panel by panel, the K rows of a panel
// one after another: the inner loop then reads one stream of whole vectors, and the last panel is filled up with zeros.
// Where a panel is used too rarely to pay for that, or streams as well where it is, it is read where it lies.
#pragma once

#include "arena.h"
#include "kernels.h"
#include "tile.h"
#include "transpose.h"

namespace {

using xrnn::Matrix;

// Where the part of thread `id` of n begins. A division takes longer than much of what is divided.
XRNN_INLINE int64_t share(int64_t total, int id, int n) { return n == 1 ? total * id : total * id / n; }

// n elements, `stride` apart → contiguous.
template <class S>
void copy(const S* from, int64_t stride, int64_t n, S* to) {
    if (stride == 1 && n > 0) {  // memcpy from a null pointer is undefined, even for 0 bytes
        __builtin_memcpy(to, from, n * sizeof(S));
    } else {
        for (int64_t i = 0; i < n; ++i) to[i] = from[i * stride];
    }
}

template <class S>
void fill_zeros(S* to, int64_t n) {
    if (n > 0) __builtin_memset(to, 0, n * sizeof(S));
}

// The same as `copy`, filled up with zeros to `padded` elements.
template <class S>
void copy_padded(const S* from, int64_t stride, int64_t n, int64_t padded, S* to) {
    copy(from, stride, n, to);
    fill_zeros(to + n, padded - n);
}

// The columns of an output, cut into panels of nearly equal width; a multiple of `threads` panels, so that each
// thread has as many.
template <class S>
struct Panels {
    static constexpr int W = Simd<S>::LANES;
    int64_t columns, vectors, count;

    Panels(int64_t columns, int threads, int widest = WIDEST) : columns(columns), vectors((columns + W - 1) / W) {
        count = (vectors + widest - 1) / widest;
        count = (count + threads - 1) / threads * threads;
        if (count > vectors) count = vectors;
        narrow = count ? vectors / count : 0, wide = count ? vectors % count : 0;
    }
    int64_t begin(int64_t p) const { return (p * narrow + (p < wide ? p : wide)) * W; }
    int width(int64_t p) const { return static_cast<int>(narrow + (p < wide)); }
    // Valid columns in the last vector of panel p.
    int last(int64_t p) const { return p + 1 < count ? W : static_cast<int>(columns - (vectors - 1) * W); }
    int valid(int64_t p) const { return (width(p) - 1) * W + last(p); }
    int64_t padded() const { return vectors * W; }

   private:
    int64_t narrow, wide;  // vectors of a panel; how many of the first panels have one more
};

// K rows of `valid` contiguous columns each → rows of `width` columns, filled up with zeros.
template <class S>
void pack_rows(const S* from, int64_t from_row, int64_t K, int valid, int width, S* to) {
    constexpr int W = Simd<S>::LANES;
    for (int64_t k = 0; k < K; ++k, from += from_row, to += width) {
        int c = 0;
        for (; c + W <= valid; c += W) store<S>(to + c, load<S>(from + c));
        if (c < width) store<S>(to + c, load_part<S>(from + c, valid - c));
    }
}

// The same of a matrix whose columns are contiguous, `from_col` apart.
template <class S>
void pack_columns(const S* from, int64_t from_col, int64_t K, int valid, int width, S* to) {
    constexpr int W = Simd<S>::LANES;
    for (int c = 0; c < width; c += W)
        for (int64_t k = 0; k < K; k += W) {
            const int there = K - k < W ? static_cast<int>(K - k) : W;
            Vec<S> square[W] = {};
            for (int i = 0; i < W && c + i < valid; ++i) {
                const S* p = from + (c + i) * from_col + k;
                square[i] = there == W ? load<S>(p) : load_part<S>(p, there);
            }
            transpose<S>(square);
            for (int i = 0; i < there; ++i) store<S>(to + (k + i) * width + c, square[i]);
        }
}

// The matrices of a map's gates, which lie beside each other: gate g has the columns from g · panels.columns on, and
// the panels of all gates are cut alike.
template <class S>
struct Weights {
    static constexpr int W = Simd<S>::LANES;
    Matrix<S> matrix;  // (K, gates · columns)
    int64_t K;
    int gates;
    const Panels<S>& panels;
    S* packed;
    bool in_place;  // read the panels of whole vectors where they lie

    // Each panel is read by `uses` tiles, whose sums start from `rows` rows.
    Weights(Matrix<S> matrix, int64_t K, int gates, const Panels<S>& panels, int64_t uses, int64_t rows,
            Arena<S>& arena)
        : matrix(matrix), K(K), gates(gates), panels(panels) {
        // Beside other gates a row's piece is too short to stream: the pieces lie a whole row of gates apart.
        const bool streams = gates == 1 && (panels.count == 1 ? matrix.row == panels.padded()
                                                              : rows <= FEW_ROWS && whole_vectors() &&
                                                                    matrix.row * sizeof(S) <= 2048);
        in_place = matrix.col == 1 && (uses < 4 || streams);
        packed = arena.take(in_place && panels.columns == panels.padded() ? 0 : gates * K * panels.padded());
    }

    // Panel p of every gate.
    void pack(int64_t p) const {
        if (K == 0 || !lies_packed(p)) return;  // a matrix without rows may have no address to count from
        const int width = panels.width(p) * W, valid = panels.valid(p);
        for (int g = 0; g < gates; ++g) {
            const S* from = matrix.data + (g * panels.columns + panels.begin(p)) * matrix.col;
            S* to = packed_panel(p, g);
            if (matrix.col == 1) {
                pack_rows(from, matrix.row, K, valid, width, to);
            } else if (matrix.row == 1) {
                pack_columns(from, matrix.col, K, valid, width, to);
            } else {
                for (int64_t k = 0; k < K; ++k)
                    for (int c = 0; c < width; ++c)
                        to[k * width + c] = c < valid ? from[k * matrix.row + c * matrix.col] : S(0);
            }
        }
    }

    // The next terms of t's sums: a @ panel p of gate g, of all K, or of those in [begin, end), which a holds.
    XRNN_INLINE void add_to(Tile<S>& t, int64_t p, int g, const S* a, int64_t a_row) const {
        add_to(t, p, g, a, a_row, 0, K);
    }

    XRNN_INLINE void add_to(Tile<S>& t, int64_t p, int g, const S* a, int64_t a_row, int64_t begin, int64_t end) const {
        if (begin == end) return;  // as in `pack`
        const bool is_packed = lies_packed(p);
        const S* b = is_packed ? packed_panel(p, g) : matrix.data + g * panels.columns + panels.begin(p);
        const int64_t b_row = is_packed ? panels.width(p) * W : matrix.row;
        Segment<S>& segment = t.segments[t.count++];
        segment.a = a, segment.a_row = a_row, segment.a_col = 1;
        segment.b = b + begin * b_row, segment.b_row = b_row;
        segment.K = end - begin, segment.chain = nullptr;
    }

   private:
    S* packed_panel(int64_t p, int g) const { return packed + K * (g * panels.padded() + panels.begin(p)); }
    bool lies_packed(int64_t p) const { return !in_place || panels.last(p) != W; }
    bool whole_vectors() const {  // of which none crosses a cache line
        return reinterpret_cast<uintptr_t>(matrix.data) % VECTOR_BYTES == 0 && matrix.row % W == 0;
    }
};

// The next term of t's sums: a chain that was summed before.
template <class S>
XRNN_INLINE void add_chain(Tile<S>& t, const S* sums, int64_t row) {
    Segment<S>& segment = t.segments[t.count++];
    segment.a = nullptr, segment.a_row = 0;
    segment.chain = sums, segment.chain_row = row;
}

// How many tiles read each panel of weights in T passes over `rows` rows.
template <class S>
int64_t uses(int64_t T, int64_t rows) {
    return T * ((rows + tallest(WIDEST) - 1) / tallest(WIDEST));
}

}  // namespace

// A weight matrix in the form in which the tiles read it.
//
// The columns of an output are cut into panels of a few vectors. A matrix is packed panel by panel, with the K rows of
// a panel one after another. The inner loop then reads one stream of whole vectors; the last panel is filled up with
// zeros. If a panel is used too rarely to repay packing, or streams as well in the user's matrix, it is read there. For
// one row or two, wide weights are read in strips, which are wider than a panel: see strip.h.
#pragma once

#include "arena.h"
#include "kernels.h"
#include "strip.h"
#include "transpose.h"

namespace {

using xrnn::Matrix;

// The beginning of thread id's part of `total`. It avoids the division for one thread, since a division takes longer
// than a step of a small pass.
XRNN_INLINE int64_t share(int64_t total, int id, int n) { return n == 1 ? total * id : total * id / n; }

// Copy n elements that lie `stride` apart.
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

// Neighbouring columns of an output: a panel, or a strip.
struct Piece {
    int64_t begin;  // its first column
    int width;      // vectors
    int last;       // valid columns in the last of them
};

// The columns of an output, cut into panels of nearly equal width. There is a multiple of `threads` panels, so that all
// threads have the same number, unless there are fewer vectors.
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
    Piece piece(int64_t p) const { return {begin(p), width(p), last(p)}; }

   private:
    int64_t narrow, wide;  // vectors of a panel; the number of panels, the first ones, that have one more
};

// Copy K rows of `valid` contiguous columns to rows of `width` columns, filled up with zeros.
template <class S>
void copy_rows(const S* from, int64_t from_row, int64_t K, int valid, int width, S* to) {
    constexpr int W = Simd<S>::LANES;
    for (int64_t k = 0; k < K; ++k, from += from_row, to += width) {
        int c = 0;
        for (; c + W <= valid; c += W) store<S>(to + c, load<S>(from + c));
        if (c < width) store<S>(to + c, load_part<S>(from + c, valid - c));
    }
}

// The same for a matrix whose columns are contiguous and lie `from_col` apart.
template <class S>
void copy_columns(const S* from, int64_t from_col, int64_t K, int valid, int width, S* to) {
    constexpr int W = Simd<S>::LANES;
    for (int64_t k = 0; k < K; k += W)
        for (int c = 0; c < width; c += W) {
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

// The weights of all gates that x feeds, or of those that h feeds. The gates lie side by side in one matrix: gate g has
// panels.columns columns from g · panels.columns on. Each gate is cut into the same panels.
template <class S>
struct Weights {
    static constexpr int W = Simd<S>::LANES;
    Matrix<S> matrix;  // (K, gates · columns)
    int64_t K;
    int gates;
    const Panels<S>& panels;
    S* packed;
    const bool in_strips;  // read in strips in the user's matrix
    bool in_place;         // panels of whole vectors are read in the user's matrix
    bool one_by_one;       // the caller packs each panel right before its use, by `copy_panel`

    // `rows` rows are multiplied by the weights in each of `passes` passes. in_strips: only if suits_strips.
    // single_use: each panel is used once and by one thread.
    Weights(Matrix<S> matrix, int64_t K, int gates, const Panels<S>& panels, int64_t passes, int64_t rows,
            bool in_strips, Arena<S>& arena, bool single_use = false)
        : matrix(matrix), K(K), gates(gates), panels(panels), in_strips(in_strips) {
        const bool whole = panels.columns == panels.padded();
        const int64_t tiles = (rows + tallest(WIDEST) - 1) / tallest(WIDEST), uses = passes * tiles;
        // With one gate of at most 2 KiB a row, the rows of a panel are close enough for the CPU's prefetcher. With
        // several gates they are a row of all gates apart.
        const bool streams = gates == 1 && (panels.count == 1 ? matrix.row == panels.padded()
                                                              : (rows <= FEW_ROWS || uses <= FEW_USES) &&
                                                                    whole_vectors() && matrix.row * sizeof(S) <= 2048);
        in_place = matrix.col == 1 && !in_strips && (uses < 4 || streams);
        one_by_one = single_use && !in_place && !in_strips;
        packed = arena.take((in_place && whole) || in_strips || one_by_one ? 0 : gates * K * panels.padded());
    }

    // Strips save the packing; packed panels save a part of every pass. They save much of it if they stay in the cores'
    // own caches, less if they do not, and least if several gates make long rows. Measured on two cores at H from 256
    // to 1024.
    static bool suits_strips(Matrix<S> matrix, int64_t K, int gates, const Panels<S>& panels, int64_t passes,
                             int64_t rows) {
        constexpr int64_t FEW_PASSES = 6, FEW_IF_WIDE = 14, FEW_IF_WIDE_GATES = 24, NARROWEST = 16;
        const bool wide = is_wide<S>(rows, K, gates * panels.columns);
        const int64_t few = !wide ? FEW_PASSES : gates == 1 ? FEW_IF_WIDE : FEW_IF_WIDE_GATES;
        return matrix.col == 1 && rows <= FEW_ROWS && passes < few && K > 0 && panels.columns == panels.padded() &&
               panels.vectors >= NARROWEST;
    }

    // Pack panels [first, end) of every gate, a few rows of all these panels at a time. Memory is fast along a row, and
    // the next row may lie in another page.
    void pack(int64_t first, int64_t end) const {
        constexpr int64_t ROWS = 8;
        if (in_strips || one_by_one) return;
        if (matrix.col != 1) {
            for (int64_t p = first; p < end; ++p) pack_rows(p, 0, K);
            return;
        }
        for (int64_t k = 0; k < K; k += ROWS)
            for (int64_t p = first; p < end; ++p) pack_rows(p, k, K - k < ROWS ? K - k : ROWS);
    }

    // Rows [k, k + rows) of panel p of gate g → to, rows of p.width vectors.
    void copy_panel(Piece p, int g, int64_t k, int64_t rows, S* to) const {
        const int width = p.width * W, valid = (p.width - 1) * W + p.last;
        const S* from = matrix.data + k * matrix.row + (g * panels.columns + p.begin) * matrix.col;
        if (matrix.col == 1) {
            copy_rows(from, matrix.row, rows, valid, width, to);
        } else if (matrix.row == 1) {
            copy_columns(from, matrix.col, rows, valid, width, to);
        } else {
            for (int64_t i = 0; i < rows; ++i)
                for (int c = 0; c < width; ++c)
                    to[i * width + c] = c < valid ? from[i * matrix.row + c * matrix.col] : S(0);
        }
    }

    // The next terms of t's sums: a @ piece p of gate g, for all K terms, or for the terms [begin, end), for which a
    // has the elements.
    XRNN_INLINE void add_to(Tile<S>& t, Piece p, int g, const S* a, int64_t a_row) const {
        add_to(t, p, g, a, a_row, 0, K);
    }

    XRNN_INLINE void add_to(Tile<S>& t, Piece p, int g, const S* a, int64_t a_row, int64_t begin, int64_t end) const {
        if (begin == end) return;  // a matrix without rows may be a null pointer
        const bool is_packed = lies_packed(p);
        const S* b = is_packed ? packed_panel(p, g) : matrix.data + g * panels.columns + p.begin;
        const int64_t b_row = is_packed ? p.width * W : matrix.row;
        add_product(t, a, a_row, 1, b + begin * b_row, b_row, end - begin);
    }

   private:
    // The most uses of a panel that is read in the user's matrix though there are many rows.
    static constexpr int64_t FEW_USES = 32;

    // Rows [k, k + rows) of panel number `number` of every gate.
    void pack_rows(int64_t number, int64_t k, int64_t rows) const {
        const Piece p = panels.piece(number);
        if (!lies_packed(p)) return;
        for (int g = 0; g < gates; ++g) copy_panel(p, g, k, rows, packed_panel(p, g) + k * p.width * W);
    }

    S* packed_panel(Piece p, int g) const { return packed + K * (g * panels.padded() + p.begin); }
    bool lies_packed(Piece p) const { return !in_strips && (!in_place || p.last != W); }
    bool whole_vectors() const {  // no vector crosses a cache line
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

}  // namespace

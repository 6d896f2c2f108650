// A weight matrix as the tiles read it.
//
// The columns of an output are cut into panels of a few vectors. A matrix is packed panel by panel, the K rows of a panel
// one after another: the inner loop then reads one stream of whole vectors, and the last panel is filled up with zeros.
// Where a panel is used too rarely to pay for that, or streams as well where it is, it is read where it lies. For one row
// or two, wide weights are then read in strips, which are wider than a panel: see strip.h.
#pragma once

#include "arena.h"
#include "kernels.h"
#include "strip.h"
#include "transpose.h"

namespace {

using xrnn::Matrix;

// Where the part of thread `id` of n begins. One thread divides nothing: a division takes longer than a small pass's step.
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

// Neighbouring columns of an output: a panel, or a strip.
struct Piece {
    int64_t begin;  // its first column
    int width;      // vectors
    int last;       // valid columns in the last of them
};

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
    Piece piece(int64_t p) const { return {begin(p), width(p), last(p)}; }

   private:
    int64_t narrow, wide;  // vectors of a panel; how many of the first panels have one more
};

// K rows of `valid` contiguous columns each → rows of `width` columns, filled up with zeros.
template <class S>
void copy_rows(const S* from, int64_t from_row, int64_t K, int valid, int width, S* to) {
    constexpr int W = Simd<S>::LANES;
    for (int64_t k = 0; k < K; ++k, from += from_row, to += width) {
        int c = 0;
        for (; c + W <= valid; c += W) store<S>(to + c, load<S>(from + c));
        if (c < width) store<S>(to + c, load_part<S>(from + c, valid - c));
    }
}

// The same of a matrix whose columns are contiguous, `from_col` apart.
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

// The weights of all gates that x feeds, or h. The gates lie beside each other in one matrix: gate g has the columns from
// g · panels.columns on, and each is cut into the same panels.
template <class S>
struct Weights {
    static constexpr int W = Simd<S>::LANES;
    Matrix<S> matrix;  // (K, gates · columns)
    int64_t K;
    int gates;
    const Panels<S>& panels;
    S* packed;
    const bool in_strips;  // read in strips where they lie
    bool in_place;         // read in panels where they lie, those of whole vectors
    bool one_by_one;       // the caller packs each panel when it needs it, by `copy_panel`

    // `rows` rows are multiplied by them in each of `passes` passes; in_strips as `suits_strips` allows; single_use: each
    // panel is needed once and by one thread.
    Weights(Matrix<S> matrix, int64_t K, int gates, const Panels<S>& panels, int64_t passes, int64_t rows,
            bool in_strips, Arena<S>& arena, bool single_use = false)
        : matrix(matrix), K(K), gates(gates), panels(panels), in_strips(in_strips) {
        const bool whole = panels.columns == panels.padded();
        const int64_t tiles = (rows + tallest(WIDEST) - 1) / tallest(WIDEST), uses = passes * tiles;
        // With one gate of at most 2 KiB a row, the pieces of a panel lie near enough for the CPU to fetch them ahead.
        // With several gates they lie a whole row of gates apart.
        const bool streams = gates == 1 && (panels.count == 1 ? matrix.row == panels.padded()
                                                              : (rows <= FEW_ROWS || uses <= FEW_USES) &&
                                                                    whole_vectors() && matrix.row * sizeof(S) <= 2048);
        in_place = matrix.col == 1 && !in_strips && (uses < 4 || streams);
        one_by_one = single_use && !in_place && !in_strips;
        packed = arena.take((in_place && whole) || in_strips || one_by_one ? 0 : gates * K * panels.padded());
    }

    // Strips save the packing, and packed panels save a part of every pass: much of it where they stay in the cores' own
    // caches, and less where they don't, least where several gates make long pieces of a row. Measured on two cores at H
    // from 256 to 1024.
    static bool suits_strips(Matrix<S> matrix, int64_t K, int gates, const Panels<S>& panels, int64_t passes,
                             int64_t rows) {
        constexpr int64_t FEW_PASSES = 6, FEW_IF_WIDE = 14, FEW_IF_WIDE_GATES = 24, NARROWEST = 16;
        const bool wide = is_wide<S>(rows, K, gates * panels.columns);
        const int64_t few = !wide ? FEW_PASSES : gates == 1 ? FEW_IF_WIDE : FEW_IF_WIDE_GATES;
        return matrix.col == 1 && rows <= FEW_ROWS && passes < few && K > 0 && panels.columns == panels.padded() &&
               panels.vectors >= NARROWEST;
    }

    // Pack panels [first, end) of every gate, a few rows of all of them at a time: a row goes on in the next panel, and
    // memory is fast along it, while the next row may lie in another page.
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

    // The next terms of t's sums: a @ piece p of gate g, of all K, or of those in [begin, end), which a holds.
    XRNN_INLINE void add_to(Tile<S>& t, Piece p, int g, const S* a, int64_t a_row) const {
        add_to(t, p, g, a, a_row, 0, K);
    }

    XRNN_INLINE void add_to(Tile<S>& t, Piece p, int g, const S* a, int64_t a_row, int64_t begin, int64_t end) const {
        if (begin == end) return;  // a matrix without rows may have no address to count from
        const bool is_packed = lies_packed(p);
        const S* b = is_packed ? packed_panel(p, g) : matrix.data + g * panels.columns + p.begin;
        const int64_t b_row = is_packed ? p.width * W : matrix.row;
        add_product(t, a, a_row, 1, b + begin * b_row, b_row, end - begin);
    }

   private:
    // Tiles that may read a panel where it lies though its rows are many.
    static constexpr int64_t FEW_USES = 32;

    // Rows [k, k + rows) of panel number `number` of every gate.
    void pack_rows(int64_t number, int64_t k, int64_t rows) const {
        const Piece p = panels.piece(number);
        if (!lies_packed(p)) return;
        for (int g = 0; g < gates; ++g) copy_panel(p, g, k, rows, packed_panel(p, g) + k * p.width * W);
    }

    S* packed_panel(Piece p, int g) const { return packed + K * (g * panels.padded() + p.begin); }
    bool lies_packed(Piece p) const { return !in_strips && (!in_place || p.last != W); }
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

}  // namespace

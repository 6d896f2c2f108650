// A weight matrix in the layout in which the tiles read it.
//
// The columns of an output are cut into panels of a few vectors. A matrix is packed panel by panel, with the K rows of
// a panel one after another. The inner loop then reads one stream of whole vectors; the last panel is filled up with
// zeros. A panel is read in the user's matrix if it is used too rarely to repay packing, or if it is read there as
// fast. For up to four rows over a few steps, some weights are read in strips, which are wider than a panel: see
// strip.h. Pairs (pairs.h) are always packed.
#pragma once

#include "arena.h"
#include "kernels.h"
#include "parts.h"
#include "strip.h"
#include "transpose.h"

namespace {

using xrnn::Heads;
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
    int head = 0;   // with several heads: the head of all its columns
};

// Cut p where a head ends, each head having `columns` columns, and call f(piece) for every piece.
template <class S, class F>
XRNN_INLINE void each_head(Piece p, Heads heads, int64_t columns, F f) {
    constexpr int W = Simd<S>::LANES;
    if (heads.count == 1) return f(p);
    const int64_t end = p.begin + (p.width - 1) * W + p.last;
    for (int64_t begin = p.begin, next; begin < end; begin = next) {
        const int64_t head = begin / columns;
        next = (head + 1) * columns < end ? (head + 1) * columns : end;
        const int64_t vectors = (next - begin + W - 1) / W;
        f(Piece{begin, int(vectors), int(next - begin - (vectors - 1) * W), int(head)});
    }
}

// The columns of an output, cut into panels of nearly equal width. There is a multiple of `threads` panels, so that all
// threads have the same number, unless there are fewer vectors. One thread and one panel need one division instead
// of three, since a small pass makes several Panels.
template <class S>
struct Panels {
    static constexpr int W = Simd<S>::LANES;
    int64_t columns, vectors, count;

    Panels(int64_t columns, int threads, int widest = WIDEST) : columns(columns), vectors((columns + W - 1) / W) {
        count = (vectors + widest - 1) / widest;
        if (threads > 1) count = (count + threads - 1) / threads * threads;
        if (count > vectors) count = vectors;
        narrow = count > 1 ? vectors / count : vectors;
        wide = count > 1 ? vectors % count : 0;
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

// The same as pairs of rows: K rows make (K + 1) / 2 rows of pairs.
inline void copy_rows(const float* from, int64_t from_row, int64_t K, int valid, int width, Pair* to) {
    for (int64_t k = 0; k < K; k += 2, from += 2 * from_row, to += width)
        pair_rows<true>(from, k + 1 < K ? from + from_row : nullptr, valid, to);
}

// The same for a matrix whose columns are contiguous and lie `from_col` apart: blocks of W columns are transposed. All
// indices of `square` are constants, so that the compiler keeps it in registers.
template <class S, class P>
void copy_columns(const S* from, int64_t from_col, int64_t K, int valid, int width, P* to) {
    constexpr int W = Simd<S>::LANES, TALL = TERMS<P> * W;
    for (int64_t k = 0; k < K; k += TALL)
        for (int c = 0; c < width; c += W) {
            const int rows = K - k < TALL ? int(K - k) : TALL, columns = valid - c < W ? valid - c : W;
            const S* p = from + c * from_col + k;
            int64_t next = from_col;
            S edge[W][TALL];
            if (rows < TALL || columns < W) {  // a copy filled up with zeros
                __builtin_memset(edge, 0, sizeof(edge));
                for (int i = 0; i < columns; ++i) copy(p + i * from_col, 1, rows, edge[i]);
                p = edge[0];
                next = TALL;
            }
            Vec<P> square[W];
            if constexpr (IS_PAIR<P>) {
#pragma GCC unroll 16
                for (int i = 0; i < W; ++i, p += next) square[i] = pairs_along(load<S>(p), load<S>(p + W));
                transpose<P>(square);
            } else {
                load_transposed<S>(p, next, square);
            }
#pragma GCC unroll 16
            for (int i = 0; i < W; ++i)
                if (i * TERMS<P> < rows) store<P>(to + (k / TERMS<P> + i) * width + c, square[i]);
        }
}

// The same for other strides.
template <class S>
void copy_elements_one_by_one(Matrix<S> from, int64_t K, int valid, int width, S* to) {
    for (int64_t k = 0; k < K; ++k)
        for (int c = 0; c < width; ++c) to[k * width + c] = c < valid ? from.data[k * from.row + c * from.col] : S(0);
}

inline void copy_elements_one_by_one(Matrix<float> from, int64_t K, int valid, int width, Pair* to) {
    constexpr int W = Simd<float>::LANES;
    for (int64_t k = 0; k < K; k += 2, to += width)
        for (int c = 0; c < width; c += W) {
            float rows[2][W] = {};
            for (int i = 0; i < 2 && k + i < K; ++i)
                copy(from.data + (k + i) * from.row + c * from.col, from.col, valid - c < W ? valid - c : W, rows[i]);
            pair_rows<true>(rows[0], rows[1], W, to + c);
        }
}

// The same for all strides.
template <class S, class P>
XRNN_INLINE void copy_matrix(Matrix<S> from, int64_t K, int valid, int width, P* to) {
    if (from.col == 1)
        copy_rows(from.data, from.row, K, valid, width, to);
    else if (from.row == 1)
        copy_columns(from.data, from.col, K, valid, width, to);
    else
        copy_elements_one_by_one(from, K, valid, width, to);
}

#if defined(XRNN_PARTS)

// The same as operand b of bfloat16 parts: unless rows are contiguous, through a copy of each group in order.
template <int PARTS>
void copy_matrix(Matrix<float> from, int64_t K, int valid, int width, Part<PARTS>* to) {
    if (from.col == 1) return copy_rows(from.data, from.row, K, valid, width, to);
    constexpr int W = Simd<float>::LANES;
    alignas(64) float ordered[2 * GROUP * W];
    for (int64_t k = 0; k < K; k += 2 * GROUP)
        for (int c = 0; c < width; c += W, to += GROUP * W) {
            const int64_t rows = K - k < 2 * GROUP ? K - k : 2 * GROUP;
            const Matrix<float> group = {from.data + k * from.row + c * from.col, from.row, from.col};
            copy_matrix(group, rows, valid - c < W ? valid - c : W, W, ordered);
            copy_rows(ordered, W, rows, W, W, to);
        }
}

#endif

// The panel that the tiles read after the current one; null if it is not prefetched. `rows`: the number of rows that
// have been multiplied by the current panel before.
struct Next {
    const Piece* piece = nullptr;
    int64_t rows = 0;
};

// The weights of all gates that x feeds, or of those that h feeds, in the user's memory. The gates lie side by side:
// gate g has panels.columns columns from g · panels.columns on. Each gate is cut into the same panels.
//
// With several heads there is such a matrix for each head, with a share of the columns. The piece of a panel in each
// head is packed separately (each_head): it has no zeros, and the rows of its head only.
template <class S>
struct GateMatrix {
    Matrix<S> matrix;  // (parts · part_rows, gates · columns), of the first head
    int64_t part_rows;
    const Panels<S>& panels;
    int gates = 1;
    int64_t parts = 1;  // of a transposed matrix, where they lie one below the other; no pair has rows of two parts
    Heads heads = {};
};

// The use of a GateMatrix in a pass: `rows` rows are multiplied by it in each of `passes` passes.
struct Use {
    int64_t passes, rows;
    int strip_partials = 0;   // the partial sums of the pass, if it can read strips; otherwise 0
    bool single_use = false;  // each panel is used once and by one thread
};

// How a pass reads its weights.
enum class Reading {
    PACKED,      // `pack` copies all panels before their use, and add_to reads the copies
    IN_PLACE,    // add_to reads panels of whole vectors in the user's matrix; only the others are packed
    IN_STRIPS,   // multiply_in_strips reads the user's matrix, in strips, or in columns if these are contiguous
    ONE_BY_ONE,  // the pass packs each panel right before its use, by copy_panel
};

// The elements of packed weights are of type P.
template <class P>
struct Weights : GateMatrix<Sum<P>> {
    using S = Sum<P>;
    using From = GateMatrix<S>;
    using From::matrix, From::part_rows, From::gates, From::panels, From::parts, From::heads;
    static constexpr int W = Simd<S>::LANES, FEW_PASSES = 6;
    const Reading reading;
    const int64_t columns;  // of a gate of a head
    const int64_t K;
    const int64_t length;   // elements of a column
    P* packed;

    bool in_strips() const { return reading == Reading::IN_STRIPS; }
    bool one_by_one() const { return reading == Reading::ONE_BY_ONE; }

    Weights(const From& from, Use use, Arena<S>& arena) : Weights(from, choose_reading(from, use), nullptr) {
        packed = arena.template take_of<P>(has_packed() ? packed_size() : 0);
    }

    // Packed in memory of the caller. Only the first user of the memory calls `pack`.
    Weights(const From& from, void* packed) : Weights(from, Reading::PACKED, packed) {}

    // Pack panels [first, end) of every gate, a few rows of all these panels at a time. Memory is fast along a row, and
    // the next row may lie in another page.
    void pack(int64_t first, int64_t end) const {
        constexpr int64_t ROWS = IS_PART<P> ? 2 * GROUP : 8;
        if (!has_packed()) return;
        if (matrix.col != 1) {
            for (int64_t p = first; p < end; ++p) pack_rows(p, 0, K);
            return;
        }
        for (int64_t from = 0; from < K; from += part_rows)
            for (int64_t k = 0; k < part_rows; k += ROWS)
                for (int64_t p = first; p < end; ++p)
                    pack_rows(p, from + k, part_rows - k < ROWS ? part_rows - k : ROWS);
    }

    int64_t packed_size() const { return gates * length * packed_columns(); }  // elements

    // Panel p of gate g → to, rows of p.width vectors.
    void copy_panel(Piece p, int g, P* to) const { copy_panel(p, g, 0, K, to); }

    // The next terms of the sums: a @ piece p of gate g, for all terms, or for those of the elements [begin, end) of a
    // column.
    XRNN_INLINE void add_to(Product<P>& product, Piece p, int g, const P* a, int64_t a_row, Next next = {}) const {
        add_to(product, p, g, a, a_row, 0, length, next);
    }

    XRNN_INLINE void add_to(Product<P>& product, Piece p, int g, const P* a, int64_t a_row, int64_t begin, int64_t end,
                            Next next = {}) const {
        if (begin == end) return;  // then the matrix may be null, and an offset of null is undefined
        const P* b = packed_panel(p, g);
        int64_t b_row = p.width * W;
        if constexpr (!IS_PAIR<P>)
            if (is_in_place(p)) {
                b = matrix.data + offset(p, g);
                b_row = matrix.row;
            }
        add_segment(product, a, a_row, 1, b + begin * b_row, b_row, end - begin);
        if constexpr (!IS_PAIR<P>)
            if (next.piece) announce(product, packed_panel(*next.piece, g), begin, end, next);
    }

    int64_t packed_bytes() const { return has_packed() ? packed_size() * int64_t(sizeof(P)) : 0; }

   private:
    XRNN_INLINE Weights(const From& from, Reading reading, void* packed)
        : From(from),
          reading(reading),
          columns(heads.count == 1 ? panels.columns : panels.columns / heads.count),
          K(parts * part_rows),
          length(parts * elements<P>(part_rows)),
          packed(static_cast<P*>(packed)) {}

    static Reading choose_reading(const From& from, Use use) {
        const bool in_rows = from.matrix.col == 1, in_columns = !in_rows && from.matrix.row == 1;
        if (!IS_PAIR<P> && (in_rows || in_columns) && use.strip_partials && suits_strips(from, use))
            return Reading::IN_STRIPS;
        if (!IS_PAIR<P> && in_rows && suits_reading_in_place(from, use)) return Reading::IN_PLACE;
        return use.single_use ? Reading::ONE_BY_ONE : Reading::PACKED;
    }

    // Strips save the packing; packed panels save a part of every pass. They save most if they fit the cores' own
    // caches, and least with several gates and aligned rows, because strips read these fast. Columns are transposed at
    // each step, so packing them pays earlier. Measured on two cores at H from 256 to 1024. Narrower rows are read in
    // place as fast, unless the last vector is not full: then its panel would be packed. Measured at H from 17 to 250.
    static bool suits_strips(const From& from, Use use) {
        constexpr int64_t FEW_IF_WIDE = 14, FEW_IF_WIDE_GATES = 24, FEW_IF_WIDE_COLUMNS = 9, FEW_OF_ROWS = 4;
        constexpr int NARROWEST = 16, NARROWEST_IF_NOT_FULL = 2;
        const Panels<S>& panels = from.panels;
        const bool in_columns = from.matrix.col != 1;
        const int most_rows = in_columns ? MOST_ROWS_OF_COLUMNS : FEW_ROWS;
        const int most_partials = in_columns || use.rows > 1 ? MOST_PARTIALS : MOST_PARTIALS_OF_ONE_ROW;
        const int narrowest = in_columns || panels.columns % W == 0 ? NARROWEST : NARROWEST_IF_NOT_FULL;
        if (use.rows > most_rows || use.strip_partials > most_partials || from.heads.count > 1 ||
            from.part_rows == 0 || panels.vectors < narrowest || panels.valid(panels.count - 1) < W)
            return false;
        if (use.rows > FEW_ROWS) return use.passes < FEW_OF_ROWS;
        if (!is_wide<S>(use.rows, from.part_rows, from.gates * panels.columns)) return use.passes < FEW_PASSES;
        if (in_columns) return use.passes < FEW_IF_WIDE_COLUMNS;
        return use.passes < (from.gates == 1 || from.matrix.row % W ? FEW_IF_WIDE : FEW_IF_WIDE_GATES);
    }

    // Packing does not pay if a panel is used fewer than four times. If the matrix has one gate, and rows of at most
    // 2 KiB, the CPU's prefetcher follows the panel's rows in place: packing then pays only from FEW_PASSES on. The
    // exception are low tiles, with few rows or in wide panels: they spend most of their time on loading the panel,
    // which is faster if it is packed. With several gates, the rows of a panel are too far apart to be prefetched.
    static bool suits_reading_in_place(const From& from, Use use) {
        if (use.passes * ((use.rows + tallest(WIDEST) - 1) / tallest(WIDEST)) < 4) return true;
        if (from.gates > 1) return false;
        if (from.panels.count == 1) return from.matrix.row == from.panels.padded();
        const bool has_whole_vectors =  // no vector crosses a cache line
            reinterpret_cast<uintptr_t>(from.matrix.data) % VECTOR_BYTES == 0 && from.matrix.row % W == 0;
        return use.passes < FEW_PASSES && has_whole_vectors && from.matrix.row * sizeof(S) <= 2048 &&
               use.rows > FEW_ROWS && tallest(from.panels.width(0)) > 3;
    }

    bool is_in_place(Piece p) const { return reading == Reading::IN_PLACE && p.last == W; }
    bool has_packed() const { return reading == Reading::PACKED || (reading == Reading::IN_PLACE && columns % W != 0); }

    // The last segment has terms of the elements [begin, end). Its tiles prefetch these elements of the next panel.
    static XRNN_INLINE void announce(Product<P>& product, const P* panel, int64_t begin, int64_t end, Next next) {
        Segment<P>& s = product.segments[product.count - 1];
        const int64_t row = next.piece->width * W;
        s.next = panel + begin * row + next.rows / tallest(next.piece->width) * s.K * LINE<P>;
        s.next_end = panel + end * row;
        product.has_next = true;
    }

    // Rows [k, k + rows) of panel number `number` of every gate.
    void pack_rows(int64_t number, int64_t k, int64_t rows) const {
        each_head<S>(panels.piece(number), heads, columns, [&](Piece p) {
            if (is_in_place(p)) return;
            for (int g = 0; g < gates; ++g) copy_panel(p, g, k, rows, packed_panel(p, g));
        });
    }

    // Rows [k, k + rows) of panel p of gate g → their place in `panel`. Both ends are ends of a part, or k is the first
    // row of an element, and for bfloat16 parts of a group.
    void copy_panel(Piece p, int g, int64_t k, int64_t rows, P* panel) const {
        if (rows == 0) return;  // then the matrix may be null, and an offset of null is undefined
        if constexpr (IS_PAIR<P>)
            for (; rows > part_rows; k += part_rows, rows -= part_rows) copy_within_part(p, g, k, part_rows, panel);
        copy_within_part(p, g, k, rows, panel);
    }

    void copy_within_part(Piece p, int g, int64_t k, int64_t rows, P* panel) const {
        const int width = p.width * W, valid = (p.width - 1) * W + p.last;
        // The element of a column that contains row k.
        const int64_t element = IS_PAIR<P> && k > 0 ? k / part_rows * elements<P>(part_rows) + k % part_rows / 2 : k;
        copy_matrix(Matrix<S>{matrix.data + k * matrix.row + offset(p, g), matrix.row, matrix.col}, rows, valid, width,
                    panel + element * width);
    }

    // The first element of piece p of gate g in the user's matrix.
    int64_t offset(Piece p, int g) const {
        return p.head * heads.stride + (g * columns + p.begin - p.head * columns) * matrix.col;
    }
    // Every head but the first may begin inside a vector, and then starts a new packed vector. So there is room for
    // one more vector per further head.
    int64_t packed_columns() const { return panels.padded() + (heads.count - 1) * W; }
    P* packed_panel(Piece p, int g) const {
        return packed + length * (g * packed_columns() + p.begin / W * W + p.head * W);
    }
};

// xrnn::Operations::pack
template <class P>
int64_t pack(Matrix<Sum<P>> matrix, Heads heads, int64_t K, int gates, int64_t H, int threads, void* to) {
    const Panels<Sum<P>> panels(H, threads);
    const Weights<P> weights({.matrix = matrix, .part_rows = K, .panels = panels, .gates = gates, .heads = heads}, to);
    const TileJob job;
    if (to) weights.pack(0, panels.count);
    return job.found_exceptional() ? -1 : weights.packed_size() * int64_t(sizeof(P));
}

// The next term of the sums: a chain that was summed before.
template <class P>
XRNN_INLINE void add_chain(Product<P>& product, const Sum<P>* sums, int64_t row) {
    Segment<P>& segment = product.segments[product.count++];
    segment.a = nullptr;
    segment.a_row = 0;
    segment.next = nullptr;
    segment.chain = sums;
    segment.chain_row = row;
}

}  // namespace

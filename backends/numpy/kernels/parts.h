// Factors as sums of bfloat16 parts, for products by tiles (AMX).
//
//   v ≈ v₀ + v₁               two parts of 8 bits each
//   v · w ≈ v₀w₀              one product: bfloat16
//         + v₀w₁ + v₁w₀       three products, of two parts (Henry, Tang and Heinecke, 2019)
//
// An element of an operand is a pair of terms of a sum, as in pairs.h, for each part. A group is 16 elements, the depth
// of a tile; a sum is filled up with zeros to whole groups. In memory,
//
//   operand a   row after row; in a row group after group, each (parts, 16 pairs)
//   operand b   group after group; in a group vector after vector of 16 columns, each (parts, 16 pairs, 16 columns)
//
// so that 16 rows or 16 columns of a part and of a group are one tile.
//
// A number of 2⁵⁰ or more, an infinity or a NaN can overflow in a part, product or partial sum although the result is
// finite. So `exceptional` is set when such a number is split, and the operation is then computed without tiles. With
// one part, bfloat16 keeps infinity and NaN, and nothing is exceptional.
#pragma once

#include "registers.h"
#include "transpose.h"

namespace {

template <int PARTS>
struct Part {
    Pair pairs[PARTS];
};

template <int PARTS>
struct SumOf<Part<PARTS>> {
    using Type = float;
};
template <int PARTS>
constexpr int TERMS<Part<PARTS>> = 2;

template <class P>
constexpr bool IS_PART = false;
template <int PARTS>
constexpr bool IS_PART<Part<PARTS>> = true;

constexpr int GROUP = 16;  // elements

template <int PARTS>
struct ElementsOf<Part<PARTS>> {
    static constexpr int64_t count(int64_t n) { return (n + 2 * GROUP - 1) / (2 * GROUP) * GROUP; }
};

// The memory of elements from the start of a group on.
template <int PARTS>
XRNN_INLINE Pair* pairs_of(Part<PARTS>* group) {
    return reinterpret_cast<Pair*>(group);
}
template <int PARTS>
XRNN_INLINE const Pair* pairs_of(const Part<PARTS>* group) {
    return reinterpret_cast<const Pair*>(group);
}

// Sets `exceptional` at its end if it has seen an exceptional number among the n first lanes of a vector.
template <class P>
struct Exceptions {
    template <bool WHOLE>
    XRNN_INLINE void see(Vec<Sum<P>>, int) {}
};

#if defined(XRNN_PARTS)

template <int PARTS>
struct Exceptions<Part<PARTS>> {
    Vec<Pair> largest = {};

    template <bool WHOLE>
    XRNN_INLINE void see(Vec<float> v, int n) {
        const Vec<Pair> magnitude = (Vec<Pair>)(WHOLE ? v : first_lanes(v, n)) & 0x7fffffffu;
        if constexpr (PARTS > 1) largest = magnitude > largest ? magnitude : largest;
    }
    XRNN_INLINE ~Exceptions() {
        constexpr Pair LIMIT = (127 + 50) << 23;  // the bits of 2⁵⁰
        if constexpr (PARTS > 1)
            for (int i = 0; i < Simd<Pair>::LANES; ++i)
                if (largest[i] >= LIMIT) exceptional = true;
    }
};

// Call use(p, pairs) for each part p; `join` makes pairs of the numbers `first` and `second`.
template <int PARTS, class Join, class Use>
XRNN_INLINE void split(Vec<float> first, Vec<float> second, Join join, Use use) {
#pragma GCC unroll 2
    for (int p = 0; p < PARTS; ++p) {
        use(p, join(first, second));
        if (p + 1 == PARTS) break;
        first -= (Vec<float>)rounded(first);
        second -= (Vec<float>)rounded(second);
    }
}

// Write the n ≤ 16 first numbers of v, and zeros after them, into a row of operand a. `column`, a multiple of 16, is
// the term of the first one.
template <class S, bool WHOLE, int PARTS>
XRNN_INLINE void store_elements(Part<PARTS>* row, int64_t column, Vec<float> v, int n) {
    Pair* const to = pairs_of(row + column / (2 * GROUP) * GROUP) + column % (2 * GROUP) / 2;
    split<PARTS>(
        WHOLE ? v : first_lanes(v, n), Vec<float>{}, [](Vec<float> a, Vec<float>) { return a; },
        [&](int p, Vec<float> part) { store_half(to + p * GROUP, part); });
}

// n neighbouring numbers → a row of operand a.
template <int PARTS>
void copy_elements(const float* from, int64_t n, Part<PARTS>* to) {
    constexpr int W = 16;
    Exceptions<Part<PARTS>> exceptions;
    for (; n > 0; n -= 2 * W, from += 2 * W, to += GROUP) {
        const Vec<float> first = load_columns<float>(from, n < W ? int(n) : W);
        const Vec<float> second = n > W ? load_columns<float>(from + W, n < 2 * W ? int(n - W) : W) : Vec<float>{};
        exceptions.template see<true>(first, W), exceptions.template see<true>(second, W);
        split<PARTS>(first, second, pairs_along,
                     [&](int p, Vec<Pair> pairs) { store<Pair>(pairs_of(to) + p * GROUP, pairs); });
    }
}

// The pairs across rows k and k + 1 of K rows, for n columns from column c on. row_at(k) is row k.
template <int PARTS, class RowAt, class Use>
XRNN_INLINE void split_rows(RowAt row_at, int64_t k, int64_t K, int64_t c, int n, Exceptions<Part<PARTS>>& exceptions,
                            Use use) {
    constexpr int W = 16;
    const Vec<float> first = k < K ? load_columns<float>(row_at(k) + c, n) : Vec<float>{};
    const Vec<float> second = k + 1 < K ? load_columns<float>(row_at(k + 1) + c, n) : Vec<float>{};
    exceptions.template see<true>(first, W), exceptions.template see<true>(second, W);
    split<PARTS>(first, second, pairs_across, use);
}

// K rows of `valid` contiguous columns → operand b with `width` columns.
template <int PARTS>
void copy_rows(const float* from, int64_t from_row, int64_t K, int valid, int width, Part<PARTS>* to) {
    constexpr int W = 16;
    Exceptions<Part<PARTS>> exceptions;
    const auto row_at = [&](int64_t k) { return from + k * from_row; };
    for (int64_t k = 0; k < K; k += 2 * GROUP)
        for (int c = 0; c < width; c += W, to += GROUP * W) {
            const int n = valid - c < W ? valid - c : W;
            for (int i = 0; i < GROUP; ++i)
                split_rows<PARTS>(row_at, k + 2 * i, K, c, n, exceptions, [&](int p, Vec<Pair> pairs) {
                    store<Pair>(pairs_of(to) + (p * GROUP + i) * W, pairs);
                });
        }
}

// The transpose of a matrix (rows, columns) as operand a, for sums over its rows in chains of CHAIN terms: chain after
// chain, each (columns, elements of the chain). This writes the elements first … end - 1, multiples of GROUP.
template <int64_t CHAIN, int PARTS, class RowAt>
void transpose_rows(RowAt row_at, int64_t rows, int64_t columns, int64_t first, int64_t end, Part<PARTS>* to) {
    constexpr int W = 16;
    constexpr int64_t MOST = CHAIN / 2;  // elements of a chain
    const int64_t all = ElementsOf<Part<PARTS>>::count(rows);
    Exceptions<Part<PARTS>> exceptions;
    for (int64_t k = first; k < end; k += GROUP) {
        const int64_t begin = k / MOST * MOST, length = all - begin < MOST ? all - begin : MOST;
        for (int64_t c = 0; c < columns; c += W) {
            const int n = columns - c < W ? int(columns - c) : W;
            Vec<Pair> squares[PARTS][W];
            for (int i = 0; i < GROUP; ++i)
                split_rows<PARTS>(row_at, 2 * (k + i), rows, c, n, exceptions,
                                  [&](int p, Vec<Pair> pairs) { squares[p][i] = pairs; });
            Part<PARTS>* const group = to + begin * columns + c * length + k - begin;
            for (int p = 0; p < PARTS; ++p) {
                transpose<Pair>(squares[p]);
                for (int m = 0; m < n; ++m) store<Pair>(pairs_of(group + m * length) + p * GROUP, squares[p][m]);
            }
        }
    }
}

#endif

}  // namespace

// The transpose of W vectors of W lanes, and the sums of their lanes, in registers.
//
// It takes log2(W) rounds. Round d = 1, 2, 4, … exchanges the upper right quarter of each block of 2d × 2d with its
// lower left quarter.
#pragma once

#include "simd.h"

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define XRNN_SHUFFLES 1
#endif
#endif

namespace {

#if defined(XRNN_SHUFFLES)  // GCC 12 or later, Clang

template <int... j>
struct Lanes {};

template <int n, int... j>
struct LanesBelow : LanesBelow<n - 1, n - 1, j...> {};

template <int... j>
struct LanesBelow<0, j...> {
    using Type = Lanes<j...>;
};

// One round for rows a and b, which are d apart: in every 2d lanes, exchange the last d of a with the first d of b.
template <class S, int d, int... j>
XRNN_INLINE void exchange(Vec<S>& a, Vec<S>& b, Lanes<j...>) {
    constexpr int W = Simd<S>::LANES;
    const Vec<S> upper = __builtin_shufflevector(a, b, (j & d ? W + j - d : j)...);
    b = __builtin_shufflevector(a, b, (j & d ? W + j : j + d)...);
    a = upper;
}

// The rounds d to END / 2.
template <class S, int d = 1, int END = Simd<S>::LANES>
XRNN_INLINE void transpose(Vec<S> (&rows)[Simd<S>::LANES]) {
    constexpr int W = Simd<S>::LANES;
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i)
        if (!(i & d)) exchange<S, d>(rows[i], rows[i + d], typename LanesBelow<W>::Type());
    if constexpr (2 * d < END) transpose<S, 2 * d, END>(rows);
}

// Half a vector.
template <class S>
struct Half {
    typedef S V __attribute__((vector_size(VECTOR_BYTES / 2)));
    typedef S Unaligned __attribute__((vector_size(VECTOR_BYTES / 2), aligned(sizeof(S)), may_alias));
};

template <class S, int... j>
XRNN_INLINE Vec<S> load_halves(const S* lower, const S* upper, Lanes<j...>) {
    const typename Half<S>::V l = *reinterpret_cast<const typename Half<S>::Unaligned*>(lower),
                              u = *reinterpret_cast<const typename Half<S>::Unaligned*>(upper);
    return __builtin_shufflevector(l, u, j...);
}

// The transpose of the W rows that begin at p and lie `next` apart. The loads do the round d = W / 2: a load into half
// of a register does not need the port of the shuffles, which are the slowest part.
template <class S>
XRNN_INLINE void load_transposed(const S* p, int64_t next, Vec<S> (&rows)[Simd<S>::LANES]) {
    constexpr int W = Simd<S>::LANES, H = W / 2;
    if constexpr (W < 4) {
        for (int i = 0; i < W; ++i) rows[i] = load<S>(p + i * next);
        return transpose<S>(rows);
    } else {
#pragma GCC unroll 8
        for (int i = 0; i < H; ++i) {
            const S *const upper = p + i * next, *const lower = upper + H * next;
            rows[i] = load_halves(upper, lower, typename LanesBelow<W>::Type());
            rows[i + H] = load_halves(upper + H, lower + H, typename LanesBelow<W>::Type());
        }
        transpose<S, 1, H>(rows);
    }
}

#else  // lane by lane

template <class S>
XRNN_INLINE void transpose(Vec<S> (&rows)[Simd<S>::LANES]) {
    constexpr int W = Simd<S>::LANES;
    for (int i = 0; i < W; ++i)
        for (int j = 0; j < i; ++j) {
            const S above = rows[j][i];
            rows[j][i] = rows[i][j];
            rows[i][j] = above;
        }
}

#endif

// The sum of the lanes of a and of b, in pairs of lanes d apart: lane j gets that of a if j & d is 0, and otherwise
// that of b.
template <class S, int d>
XRNN_INLINE Vec<S> add_pairs(Vec<S> a, Vec<S> b) {
#if defined(XRNN_SHUFFLES)
    exchange<S, d>(a, b, typename LanesBelow<Simd<S>::LANES>::Type());
    return a + b;
#else
    Vec<S> sums;
    for (int j = 0; j < Simd<S>::LANES; ++j) sums[j] = j & d ? b[j - d] + b[j] : a[j] + a[j + d];
    return sums;
#endif
}

// Lane j: the sum of the lanes of rows[j].
template <class S, int d = 1>
XRNN_INLINE Vec<S> sums_of_lanes(Vec<S> (&rows)[Simd<S>::LANES]) {
    constexpr int W = Simd<S>::LANES;
#pragma GCC unroll 16
    for (int i = 0; i < W; i += 2 * d) rows[i] = add_pairs<S, d>(rows[i], rows[i + d]);
    if constexpr (2 * d < W)
        return sums_of_lanes<S, 2 * d>(rows);
    else
        return rows[0];
}

}  // namespace

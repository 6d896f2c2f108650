// Products in bfloat16 with sums in float32.
//
// The factors are rounded to bfloat16. In Σ a[k] · b[k], a[2k] and a[2k+1] are stored as one pair of 32 bits, and so are
// b[2k] and b[2k+1]. One instruction adds both products to a float32 sum. A tile treats a pair as one element, so K terms
// take (K + 1) / 2 elements. If K is odd, a zero fills the last pair of both operands.
//
// Rounding is to the nearest value, ties to even. NaN and infinity are kept; subnormal numbers become zero.
//
// Without the instructions the functions emulate them, so that tests check the packing on any CPU.
#pragma once

#include "simd.h"

namespace {

// Terms of a sum in one element of an operand.
template <class P>
constexpr int TERMS = 1;
template <>
constexpr int TERMS<Pair> = 2;

template <class P>
constexpr bool IS_PAIR = TERMS<P> == 2;

template <class P>
struct ElementsOf {
    static constexpr int64_t count(int64_t n) { return (n + TERMS<P> - 1) / TERMS<P>; }
};

// The number of elements for n terms.
template <class P>
XRNN_INLINE constexpr int64_t elements(int64_t n) {
    return ElementsOf<P>::count(n);
}

#if defined(__AVX512BF16__)

XRNN_INLINE Vec<float> multiply_add(Vec<Pair> a, Vec<Pair> b, Vec<float> c) {
    return (Vec<float>)_mm512_dpbf16_ps((__m512)c, (__m512bh)a, (__m512bh)b);
}

// bfloat16 of each number, in the upper half of its lane.
XRNN_INLINE Vec<Pair> rounded(Vec<float> v) {
    return (Vec<Pair>)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)v)), 16);
}

// The pairs (v[0], v[1]), (v[2], v[3]), … of v = first, then second.
XRNN_INLINE Vec<Pair> pairs_along(Vec<float> first, Vec<float> second) {
    return (Vec<Pair>)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
}

// The pairs (first[0], second[0]), (first[1], second[1]), …
XRNN_INLINE Vec<Pair> pairs_across(Vec<float> first, Vec<float> second) {
    typedef uint16_t Halves __attribute__((vector_size(64)));
    constexpr Halves ORDER = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                              8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return (Vec<Pair>)_mm512_permutexvar_epi16((__m512i)ORDER, (__m512i)pairs_along(first, second));
}

#else  // emulated

XRNN_INLINE Vec<Pair> rounded(Vec<float> v) {
    const Vec<Pair> bits = (Vec<Pair>)v, magnitude = bits & 0x7fffffffu;
    const Vec<Pair> nearest = bits + 0x7fffu + (bits >> 16 & 1u), quiet = bits | 0x400000u;
    const Vec<Pair> value = magnitude > 0x7f800000u ? quiet : magnitude < 0x800000u ? bits & 0x80000000u : nearest;
    return value & 0xffff0000u;
}

XRNN_INLINE Vec<float> multiply_add(Vec<Pair> a, Vec<Pair> b, Vec<float> c) {
    constexpr Pair UPPER = 0xffff0000u;
    c = multiply_add((Vec<float>)(a & UPPER), (Vec<float>)(b & UPPER), c);
    return multiply_add((Vec<float>)(a << 16), (Vec<float>)(b << 16), c);
}

XRNN_INLINE Vec<Pair> pairs_across(Vec<float> first, Vec<float> second) { return rounded(first) >> 16 | rounded(second); }

XRNN_INLINE Vec<Pair> pairs_along(Vec<float> first, Vec<float> second) {
    constexpr int W = Simd<float>::LANES;
    Vec<float> even = {}, odd = {};
    for (int i = 0; i < W; i += 2) {
        even[i / 2] = first[i];
        odd[i / 2] = first[i + 1];
        even[(W + i) / 2] = second[i];
        odd[(W + i) / 2] = second[i + 1];
    }
    return pairs_across(even, odd);
}

#endif

// v with zeros from lane n on.
XRNN_INLINE Vec<float> first_lanes(Vec<float> v, int n) {
#if defined(__AVX512F__)
    return (Vec<float>)_mm512_maskz_mov_ps((__mmask16)((1u << n) - 1), (__m512)v);
#else
    for (int i = n; i < Simd<float>::LANES; ++i) v[i] = 0;
    return v;
#endif
}

// Write the pairs (v[0], v[1]), (v[2], v[3]), …: half a vector of them.
XRNN_INLINE void store_half(Pair* p, Vec<float> v) {
#if defined(__AVX512BF16__)
    _mm256_storeu_si256(reinterpret_cast<__m256i_u*>(p), (__m256i)_mm512_cvtneps_pbh((__m512)v));
#else
    store_part<Pair>(p, pairs_along(v, Vec<float>{}), Simd<float>::LANES / 2);
#endif
}

// Write the n ≤ LANES first numbers of v as elements of a row, from term `column` on. WHOLE: n = LANES, known at compile
// time.
template <class S, bool WHOLE>
XRNN_INLINE void store_elements(S* row, int64_t column, Vec<S> v, int n) {
    store_columns<S, WHOLE>(row + column, v, n);
}

template <class S, bool WHOLE>
XRNN_INLINE void store_elements(Pair* row, int64_t column, Vec<float> v, int n) {
    Pair* const p = row + column / 2;
    WHOLE ? store_half(p, v) : store_part<Pair>(p, pairs_along(first_lanes(v, n), Vec<float>{}), (n + 1) / 2);
}

// n neighbouring numbers → elements of an operand.
template <class S>
void copy_elements(const S* from, int64_t n, S* to) {
    if (n > 0) __builtin_memcpy(to, from, n * sizeof(S));  // memcpy from null is undefined
}

inline void copy_elements(const float* from, int64_t n, Pair* to) {
    constexpr int W = Simd<float>::LANES;
    for (; n >= 2 * W; n -= 2 * W, from += 2 * W, to += W)
        store<Pair>(to, pairs_along(load<float>(from), load<float>(from + W)));
    if (n > W) {
        store_elements<float, true>(to, 0, load<float>(from), W);
        n -= W;
        from += W;
        to += W / 2;
    }
    if (n > 0) store_elements<float, false>(to, 0, load_columns<float>(from, int(n)), int(n));
}

// Write the n pairs (first[i], second[i]). If `second` is null, zeros take its place. If FILLED, the last vector is filled
// up with zeros; otherwise nothing is written beyond the n pairs.
template <bool FILLED>
void pair_rows(const float* first, const float* second, int64_t n, Pair* to) {
    constexpr int W = Simd<float>::LANES;
    for (; n > 0; n -= W, first += W, to += W) {
        const int columns = n < W ? int(n) : W;
        const Vec<float> below = second ? load_columns<float>(second, columns) : Vec<float>{};
        if (second) second += W;
        store_columns<Pair, FILLED>(to, pairs_across(load_columns<float>(first, columns), below), columns);
    }
}

}  // namespace

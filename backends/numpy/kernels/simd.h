// The widest vectors of an instruction-set level, written with the vector extensions of GCC and Clang.
//
// All code here is inlined into the one file that includes it, in its anonymous namespace. The same names mean other
// instructions at another level, so none of them may become a symbol that the linker merges.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define XRNN_INLINE inline __attribute__((always_inline))

namespace {

// XRNN_PARTS: the operands of products by tiles are groups of 16 numbers (parts.h). Where the CPU has shorter vectors,
// the compiler makes vectors of this length from them, to emulate tiles.
#if defined(__AVX512F__) || defined(XRNN_PARTS)
constexpr int VECTOR_BYTES = 64, REGISTERS = 32;
#elif defined(__AVX2__)
constexpr int VECTOR_BYTES = 32, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int VECTOR_BYTES = 16, REGISTERS = 32;
#else
constexpr int VECTOR_BYTES = 16, REGISTERS = 16;
#endif

template <class S>
struct Simd;

template <>
struct Simd<float> {
    static constexpr int LANES = VECTOR_BYTES / 4;
    typedef float V __attribute__((vector_size(VECTOR_BYTES)));
    typedef float Unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
    typedef uint32_t I __attribute__((vector_size(VECTOR_BYTES)));
};

template <>
struct Simd<double> {
    static constexpr int LANES = VECTOR_BYTES / 8;
    typedef double V __attribute__((vector_size(VECTOR_BYTES)));
    typedef double Unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(8), may_alias));
    typedef uint64_t I __attribute__((vector_size(VECTOR_BYTES)));
};

// Two neighbouring terms of a sum, rounded to bfloat16; the first is in the lower half.
using Pair = uint32_t;

template <>
struct Simd<Pair> {
    static constexpr int LANES = VECTOR_BYTES / 4;
    typedef uint32_t V __attribute__((vector_size(VECTOR_BYTES)));
    typedef uint32_t Unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
};

// The type of a sum of products of elements P.
template <class P>
struct SumOf {
    using Type = P;
};
template <>
struct SumOf<Pair> {
    using Type = float;
};
template <class P>
using Sum = typename SumOf<P>::Type;

template <class S>
using Vec = typename Simd<S>::V;
template <class S>
using IntVec = typename Simd<S>::I;

template <class S>
XRNN_INLINE Vec<S> load(const S* p) {
    return *reinterpret_cast<const typename Simd<S>::Unaligned*>(p);
}

template <class S>
XRNN_INLINE void store(S* p, Vec<S> v) {
    *reinterpret_cast<typename Simd<S>::Unaligned*>(p) = v;
}

// a in every lane. Subtracting zero changes no a, not even -0, so the compiler drops the subtraction.
template <class S>
XRNN_INLINE Vec<S> broadcast(S a) {
    return a - Vec<S>{};
}

// v, from memory, in a register for all its USES. Multiply-adds of x86 can read memory, so without this GCC may load v
// again for each of two or three uses. The loads then take longer than the arithmetic. The vectors of emulated tiles
// are wider than a register.
template <int USES, class S>
XRNN_INLINE Vec<S> load_once(Vec<S> v) {
#if defined(__AVX512F__) || (defined(__x86_64__) && !defined(XRNN_PARTS))
    if constexpr (USES > 1) asm("" : "+v"(v));
#endif
    return v;
}

// a · b + c, rounded once if the level has fused operations. A compiler fuses a product and a sum by its own estimate
// of what is faster, in one tile and not in another, which changes bits. So the compiler may not fuse
// (-ffp-contract=off), and every fused operation is written out.
#if defined(__AVX512F__)
XRNN_INLINE Vec<float> multiply_add(Vec<float> a, Vec<float> b, Vec<float> c) {
    return (Vec<float>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
XRNN_INLINE Vec<double> multiply_add(Vec<double> a, Vec<double> b, Vec<double> c) {
    return (Vec<double>)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}
#elif defined(__AVX2__)
XRNN_INLINE Vec<float> multiply_add(Vec<float> a, Vec<float> b, Vec<float> c) {
    return (Vec<float>)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
XRNN_INLINE Vec<double> multiply_add(Vec<double> a, Vec<double> b, Vec<double> c) {
    return (Vec<double>)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
}
#elif defined(__aarch64__) && !defined(XRNN_PARTS)
XRNN_INLINE Vec<float> multiply_add(Vec<float> a, Vec<float> b, Vec<float> c) {
    return (Vec<float>)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
XRNN_INLINE Vec<double> multiply_add(Vec<double> a, Vec<double> b, Vec<double> c) {
    return (Vec<double>)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
#else  // this level has no fused operations
XRNN_INLINE Vec<float> multiply_add(Vec<float> a, Vec<float> b, Vec<float> c) { return a * b + c; }
XRNN_INLINE Vec<double> multiply_add(Vec<double> a, Vec<double> b, Vec<double> c) { return a * b + c; }
#endif

// The first n < LANES elements, then zeros. It reads nothing beyond the n elements.
template <class S>
XRNN_INLINE Vec<S> load_part(const S* p, int n) {
    Vec<S> v = {};
#if defined(__AVX512F__)
    if constexpr (sizeof(S) == 4)
        return (Vec<S>)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
    else
        return (Vec<S>)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
#else
    for (int i = 0; i < n; ++i) v[i] = p[i];
#endif
    return v;
}

// Writes the first n < LANES elements and nothing beyond them.
template <class S>
XRNN_INLINE void store_part(S* p, Vec<S> v, int n) {
#if defined(__AVX512F__)
    if constexpr (sizeof(S) == 4)
        _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
    else
        _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)v);
#else
    for (int i = 0; i < n; ++i) p[i] = v[i];
#endif
}

// The n ≤ LANES columns of a vector. WHOLE: n = LANES, known at compile time.
template <class S, bool WHOLE = false>
XRNN_INLINE Vec<S> load_columns(const S* p, int n) {
    return WHOLE || n == Simd<S>::LANES ? load<S>(p) : load_part<S>(p, n);
}

template <class S, bool WHOLE = false>
XRNN_INLINE void store_columns(S* p, Vec<S> v, int n) {
    WHOLE || n == Simd<S>::LANES ? store<S>(p, v) : store_part<S>(p, v, n);
}

// Prefetch n elements that will be read or written after some other work.
template <class S>
XRNN_INLINE void fetch(const S* p, int64_t n) {
    constexpr int LINE = 64 / sizeof(S);
    for (int64_t i = 0; i < n; i += LINE) __builtin_prefetch(p + i, 0, 2);
}

}  // namespace

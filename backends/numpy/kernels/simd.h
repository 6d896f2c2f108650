// Vectors of the widest kind that the instruction-set level of this translation unit has, by the vector extensions
// of GCC and Clang.
//
// Everything here is inlined into the one file that includes it and lives in its anonymous namespace: the same names
// mean other instructions in another level's file, so none of them may become a symbol that the linker merges.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define XRNN_INLINE inline __attribute__((always_inline))

namespace {

#if defined(__AVX512F__)
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

// The first n < LANES elements, the rest zero: nothing beyond them is read.
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

// Writes the first n < LANES elements and touches nothing beyond them.
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

}  // namespace

// 2^x of a vector, for decays.
//
//   x = k + u,  k = ⌊x⌋,  0 ≤ u ≤ 1        2^x = 2^k p(u)
//
// p is the minimax polynomial of 2^u on [0, 1] (Remez exchange in 50 digits), with p(0) = 1 and p(1) = 2: the decay of
// a tiny x is 1. Its relative error is 2^-28 in float32 and 2^-58 in float64. Results below the normal numbers become 0
// if denormal numbers are flushed (FlushDenormals), and results above the largest number become infinity.
#pragma once

#include "exponential.h"

namespace {

template <class S>
struct Exp2Constants;

template <>
struct Exp2Constants<float> {
    static constexpr float P[] = {1.0f,
                                  0.6931470036506653f,
                                  0.2402295172214508f,
                                  0.05548415333032608f,
                                  0.009678063914179802f,
                                  0.00124408770352602f,
                                  0.00021715025650337338f};
};

template <>
struct Exp2Constants<double> {
    static constexpr double P[] = {1.0,
                                   0.693147180559946,
                                   0.24022650695906156,
                                   0.05550410866563528,
                                   0.009618129099246057,
                                   0.0013333558645579294,
                                   0.00015403511793229692,
                                   1.5253185630585735e-05,
                                   1.3208229383770922e-06,
                                   1.0254321272807332e-07,
                                   6.554520394109067e-09,
                                   6.273188444217382e-10};
};

// p(u)
template <class S>
XRNN_INLINE Vec<S> exp2_polynomial(Vec<S> u) {
    constexpr int degree = sizeof(Exp2Constants<S>::P) / sizeof(S) - 1;
    Vec<S> p = Vec<S>{} + Exp2Constants<S>::P[degree];
#pragma GCC unroll 16
    for (int i = degree - 1; i >= 0; --i) p = multiply_add(p, u, broadcast<S>(Exp2Constants<S>::P[i]));
    return p;
}

#if defined(__AVX512F__)

// With AVX-512's own instructions: nine in float32 in place of fourteen, and no x needs a bound.
template <class S>
XRNN_INLINE Vec<S> exp2(Vec<S> x) {
    constexpr int MINUS_FLOOR = 1;  // x - ⌊x⌋, and 0 for an infinite x
    if constexpr (sizeof(S) == 4) {
        const Vec<S> p = exp2_polynomial<S>((Vec<S>)_mm512_reduce_ps((__m512)x, MINUS_FLOOR));
        return (Vec<S>)_mm512_scalef_ps((__m512)p, (__m512)x);  // p · 2^⌊x⌋
    } else {
        const Vec<S> p = exp2_polynomial<S>((Vec<S>)_mm512_reduce_pd((__m512d)x, MINUS_FLOOR));
        return (Vec<S>)_mm512_scalef_pd((__m512d)p, (__m512d)x);
    }
}

#else

template <class S>
XRNN_INLINE Vec<S> exp2(Vec<S> x) {
    using C = Constants<S>;
    using V = Vec<S>;
    // From 2^BIAS+1 on the result is infinity, and 2^-BIAS counts as 0. A NaN fails both comparisons and stays.
    const V most = V{} + S(C::BIAS + 1), least = V{} - S(C::BIAS);
    x = x > most ? most : x;
    x = x < least ? least : x;
    // The low bits of `rounded` hold k plus the bias of the exponent. x - 1/2 rounds to ⌊x⌋, or to x - 1 or x for an
    // integer x.
    const V rounded = (x - S(0.5)) + (C::ROUND + C::BIAS);
    const V u = x - (rounded - (C::ROUND + C::BIAS));
    return (V)((IntVec<S>)rounded << C::MANTISSA) * exp2_polynomial<S>(u);
}

#endif

// While this object lives, the calling thread computes with 0 in place of denormal numbers. A state that decays towards
// 0 would become denormal, and an operation on such a number takes a hundred times as long.
class FlushDenormals {
   public:
#if defined(__x86_64__)
    FlushDenormals() : before(__builtin_ia32_stmxcsr()) { __builtin_ia32_ldmxcsr(before | FLUSH); }
    ~FlushDenormals() { __builtin_ia32_ldmxcsr(before); }
#elif defined(__aarch64__)
    FlushDenormals() {
        asm volatile("mrs %0, fpcr" : "=r"(before));
        asm volatile("msr fpcr, %0" : : "r"(before | FLUSH));
    }
    ~FlushDenormals() { asm volatile("msr fpcr, %0" : : "r"(before)); }
#else
    FlushDenormals() {}
#endif
    FlushDenormals(const FlushDenormals&) = delete;

   private:
#if defined(__x86_64__)
    static constexpr unsigned FLUSH = 0x8040;  // flush results to zero, and take operands as zero
    const unsigned before;
#elif defined(__aarch64__)
    static constexpr uint64_t FLUSH = 1 << 24;
    uint64_t before;
#endif
};

}  // namespace

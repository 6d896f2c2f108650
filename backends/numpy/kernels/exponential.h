// exp and tanh of a vector, by one reduction and one polynomial.
//
//   2a = k·ln2 + 2s,  |2s| ≤ ln2/2,  k an integer        exp(2a) = 2ᵏ + 2ᵏ·p,  p = exp(2s) - 1
//
// p = 2s + s²·q(s): q is the minimax polynomial, relative to p, on |s| ≤ ln2/4 (Remez exchange in 50 digits); its
// error is 2^-26 in float32 and 2^-55 in float64.
#pragma once

#include "simd.h"

namespace {

template <class S>
struct Constants;

template <>
struct Constants<float> {
    static constexpr float SATURATED = 10.0f;  // from 9.02 on tanh rounds to 1
    static constexpr float LEAST = -87.0f;     // below, exp is subnormal
    static constexpr float LOG2_E_TIMES_2 = 2.88539008f;
    // ln2/2 in two parts. The first ends in zeros, so that k times it is exact even without fused operations.
    static constexpr float HALF_LN2_HIGH = 0.3465728759765625f, HALF_LN2_LOW = 7.1430341e-7f;
    static constexpr float Q[] = {1.9999999259858952f, 1.3333234739968276f, 0.6666752114080955f, 0.2677295062383413f,
                                  0.08884810367554853f};
    static constexpr int MANTISSA = 23, BIAS = 127;
    static constexpr float ROUND = 12582912.0f;  // 1.5 · 2^23: adding it rounds to an integer, held in the low bits
    static constexpr uint32_t MAGNITUDE = 0x7fffffff;
};

template <>
struct Constants<double> {
    static constexpr double SATURATED = 20.0;  // from 19.07 on
    static constexpr double LEAST = -708.0;
    static constexpr double LOG2_E_TIMES_2 = 2.8853900817779268147;
    static constexpr double HALF_LN2_HIGH = 0.3465735902799665, HALF_LN2_LOW = 6.17333302073885e-15;
    static constexpr double Q[] = {2.0000000000000020799,   1.3333333333333271184,   0.66666666666522353279,
                                   0.26666666666847120881,  0.088888889162664066485, 0.025396825239972926604,
                                   0.0063491853167665004296, 0.0014109392726653224252, 0.00028289118719375922365,
                                   0.00005131014404098022237};
    static constexpr int MANTISSA = 52, BIAS = 1023;
    static constexpr double ROUND = 6755399441055744.0;  // 1.5 · 2^52
    static constexpr uint64_t MAGNITUDE = 0x7fffffffffffffff;
};

template <class S>
struct PowerOfTwo {
    Vec<S> power, p;  // exp(2a) = power + power · p
};

template <class S>
XRNN_INLINE PowerOfTwo<S> reduce(Vec<S> a) {
    using C = Constants<S>;
    using V = Vec<S>;
    // The low bits of `rounded` hold k plus the bias of the exponent. Shifted to the exponent's place, they are 2ᵏ.
    V rounded = multiply_add(a, broadcast<S>(C::LOG2_E_TIMES_2), broadcast<S>(C::ROUND + C::BIAS));
    V k = rounded - (C::ROUND + C::BIAS);
    V s = multiply_add(-k, broadcast<S>(C::HALF_LN2_LOW), multiply_add(-k, broadcast<S>(C::HALF_LN2_HIGH), a));
    constexpr int degree = sizeof(C::Q) / sizeof(S) - 1;
    V q = V{} + C::Q[degree];
#pragma GCC unroll 16
    for (int i = degree - 1; i >= 0; --i) q = multiply_add(q, s, broadcast<S>(C::Q[i]));
    return {(V)((IntVec<S>)rounded << C::MANTISSA), multiply_add(s * s, q, s + s)};
}

// tanh(x) = sign(x) · e / (e + 2),  e = exp(2|x|) - 1 = 2ᵏ·p + (2ᵏ - 1): within 4 units in the last place.
//
// The relative error of e is small for every k. For k = 0, e = p ≈ 2s, so that tanh of a tiny x is x; for k = 1 the
// rounding error of the subtraction is small compared with e + 2. The result never exceeds 1, since e ≤ e + 2.
template <class S>
XRNN_INLINE Vec<S> tanh(Vec<S> x) {
    using C = Constants<S>;
    using V = Vec<S>;
    using I = IntVec<S>;
    const V saturated = V{} + C::SATURATED;
    V a = (V)((I)x & C::MAGNITUDE);
    a = a > saturated ? saturated : a;  // the comparison is false for NaN, which stays
    const PowerOfTwo<S> r = reduce<S>(a);
    V e = multiply_add(r.power, r.p, r.power - 1);
    V y = e / (e + 2);
    return (V)((I)y | ((I)x & ~C::MAGNITUDE));
}

// exp(x) for x ≤ 0, and 0 where it would be subnormal; NaN stays NaN.
template <class S>
XRNN_INLINE Vec<S> exp_negative(Vec<S> x) {
    using V = Vec<S>;
    const V least = V{} + Constants<S>::LEAST;
    const PowerOfTwo<S> r = reduce<S>((x < least ? least : x) * S(0.5));
    const V y = multiply_add(r.power, r.p, r.power);
    return x < least ? V{} : y;
}

// log(1 + x) for 0 ≤ x ≤ 1: 2 artanh(s) = 2 (s + s³/3 + s⁵/5 + …) with s = x / (x + 2) ≤ 1/3. The first term that is left
// out is below half a unit in the last place.
template <class S>
XRNN_INLINE Vec<S> log1p(Vec<S> x) {
    using V = Vec<S>;
    constexpr int terms = sizeof(S) == 4 ? 7 : 16;
    const V s = x / (x + 2), square = s * s;
    V sum = V{} + S(1) / (2 * terms - 1);
#pragma GCC unroll 16
    for (int i = terms - 1; i > 0; --i) sum = multiply_add(sum, square, broadcast<S>(S(1) / (2 * i - 1)));
    return 2 * s * sum;
}

// For the cells: their templates know the type V of a vector, but not that of its elements.
XRNN_INLINE Vec<float> tanh(Vec<float> x) { return tanh<float>(x); }
XRNN_INLINE Vec<double> tanh(Vec<double> x) { return tanh<double>(x); }
XRNN_INLINE Vec<float> exp_negative(Vec<float> x) { return exp_negative<float>(x); }
XRNN_INLINE Vec<double> exp_negative(Vec<double> x) { return exp_negative<double>(x); }
XRNN_INLINE Vec<float> log1p(Vec<float> x) { return log1p<float>(x); }
XRNN_INLINE Vec<double> log1p(Vec<double> x) { return log1p<double>(x); }

}  // namespace

// exp and tanh of a vector, by one reduction and one polynomial.
//
//   t = k·ln2 + u,  |u| ≤ ln2/2,  k an integer        exp(t) = 2ᵏ + 2ᵏ·p,  p = exp(u) - 1
//
// p = u + u²·q(u): q is the minimax polynomial, relative to p (Remez exchange in 50 digits); its error is 2^-26 in
// float32 and 2^-55 in float64.
#pragma once

#include "simd.h"

namespace {

template <class S>
struct Constants;

template <>
struct Constants<float> {
    static constexpr float SATURATED = 20.0f;  // from 18.03 on tanh(t/2) rounds to 1
    static constexpr float LEAST = -87.0f;     // below, exp is subnormal
    static constexpr float LOG2_E = 1.44269502f;
    // ln2 in two parts. The first ends in zeros, so that k times it is exact even without fused operations.
    static constexpr float LN2_HIGH = 0.693145751953125f, LN2_LOW = 1.42860677e-6f;
    static constexpr float Q[] = {0.49999997019767761f, 0.16666543483734131f, 0.04166720062494278f,
                                  0.0083665475249290466f, 0.0013882516650483012f};
    static constexpr int MANTISSA = 23, BIAS = 127;
    static constexpr float ROUND = 12582912.0f;  // 1.5 · 2^23: adding it rounds to an integer, held in the low bits
    static constexpr uint32_t MAGNITUDE = 0x7fffffff;
};

template <>
struct Constants<double> {
    static constexpr double SATURATED = 40.0;  // from 38.13 on
    static constexpr double LEAST = -708.0;
    static constexpr double LOG2_E = 1.4426950408889634;
    static constexpr double LN2_HIGH = 0.693147180559933, LN2_LOW = 1.23466660414777e-14;
    static constexpr double Q[] = {0.5000000000000006,     0.16666666666666588,    0.04166666666657647,
                                   0.008333333333389726,   0.001388888893166626,   0.0001984126971872885,
                                   2.4801505143619142e-05, 2.7557407669244577e-06, 2.7626092499390547e-07,
                                   2.5053781270009874e-08};
    static constexpr int MANTISSA = 52, BIAS = 1023;
    static constexpr double ROUND = 6755399441055744.0;  // 1.5 · 2^52
    static constexpr uint64_t MAGNITUDE = 0x7fffffffffffffff;
};

template <class S>
struct PowerOfTwo {
    Vec<S> power, p;  // exp(t) = power + power · p
};

template <class S>
XRNN_INLINE PowerOfTwo<S> reduce(Vec<S> t) {
    using C = Constants<S>;
    using V = Vec<S>;
    // The low bits of `rounded` hold k plus the bias of the exponent. Shifted to the exponent's place, they are 2ᵏ.
    V rounded = multiply_add(t, broadcast<S>(C::LOG2_E), broadcast<S>(C::ROUND + C::BIAS));
    V minus_k = (C::ROUND + C::BIAS) - rounded;
    V u = multiply_add(minus_k, broadcast<S>(C::LN2_LOW), multiply_add(minus_k, broadcast<S>(C::LN2_HIGH), t));
    constexpr int degree = sizeof(C::Q) / sizeof(S) - 1;
    V q = V{} + C::Q[degree];
#pragma GCC unroll 16
    for (int i = degree - 1; i >= 0; --i) q = multiply_add(q, u, broadcast<S>(C::Q[i]));
    return {(V)((IntVec<S>)rounded << C::MANTISSA), multiply_add(u * u, q, u)};
}

// tanh(x/2) = sign(x) · e / (e + 2),  e = exp(|x|) - 1 = 2ᵏ·p + (2ᵏ - 1): within 4 units in the last place.
//
// The relative error of e is small for every k. For k = 0, e = p ≈ u, so that tanh(x/2) of a tiny x is x/2; for k = 1 the
// rounding error of the subtraction is small compared with e + 2. The result never exceeds 1, since e ≤ e + 2.
template <class S>
XRNN_INLINE Vec<S> tanh_of_half(Vec<S> x) {
    using C = Constants<S>;
    using V = Vec<S>;
    using I = IntVec<S>;
    const V saturated = V{} + C::SATURATED;
    V t = (V)((I)x & C::MAGNITUDE);
    t = t > saturated ? saturated : t;  // the comparison is false for NaN, which stays
    const PowerOfTwo<S> r = reduce<S>(t);
    V e = multiply_add(r.power, r.p, r.power - 1);
    V y = e / (e + 2);
    return (V)((I)y | ((I)x & ~C::MAGNITUDE));
}

// exp(x) for x ≤ 0, and 0 where it would be subnormal; NaN stays NaN.
template <class S>
XRNN_INLINE Vec<S> exp_negative(Vec<S> x) {
    using V = Vec<S>;
    const V least = V{} + Constants<S>::LEAST;
    const PowerOfTwo<S> r = reduce<S>(x < least ? least : x);
    const V y = multiply_add(r.power, r.p, r.power);
    return x < least ? V{} : y;
}

// 2 artanh(s) = 2 (s + s³/3 + s⁵/5 + …) for 0 ≤ s ≤ 1/3. The first term that is left out is below half a unit in the last
// place.
template <class S>
XRNN_INLINE Vec<S> twice_artanh(Vec<S> s) {
    using V = Vec<S>;
    constexpr int terms = sizeof(S) == 4 ? 7 : 16;
    const V square = s * s;
    V sum = V{} + S(1) / (2 * terms - 1);
#pragma GCC unroll 16
    for (int i = terms - 1; i > 0; --i) sum = multiply_add(sum, square, broadcast<S>(S(1) / (2 * i - 1)));
    return 2 * s * sum;
}

// log(1 + x) for 0 ≤ x ≤ 1
template <class S>
XRNN_INLINE Vec<S> log1p(Vec<S> x) {
    return twice_artanh<S>(x / (x + 2));
}

// For the cells: their templates know the type V of a vector, but not that of its elements.
XRNN_INLINE Vec<float> tanh_of_half(Vec<float> x) { return tanh_of_half<float>(x); }
XRNN_INLINE Vec<double> tanh_of_half(Vec<double> x) { return tanh_of_half<double>(x); }
XRNN_INLINE Vec<float> tanh(Vec<float> x) { return tanh_of_half<float>(x + x); }
XRNN_INLINE Vec<double> tanh(Vec<double> x) { return tanh_of_half<double>(x + x); }
XRNN_INLINE Vec<float> exp_negative(Vec<float> x) { return exp_negative<float>(x); }
XRNN_INLINE Vec<double> exp_negative(Vec<double> x) { return exp_negative<double>(x); }
XRNN_INLINE Vec<float> log1p(Vec<float> x) { return log1p<float>(x); }
XRNN_INLINE Vec<double> log1p(Vec<double> x) { return log1p<double>(x); }

}  // namespace

// h[t] = (f h[t-1] + i y) / (f + i);  f, i = σ(z₀), σ(z₁),  y = g(z₂)        (Feng et al., 2024)
//
// With w = i / (f + i): h[t] = h[t-1] + w (y - h[t-1]). This header also needs exp_negative(V), for a V ≤ 0.
#pragma once

#include "min_gru.h"

namespace {

template <class V, class G>
struct MinLstmOf {
    static constexpr int STATES = 1, PRE = 3, OWN = 0;
    static constexpr int FROM_X[] = {0, 1, 2};
    static constexpr decltype(nullptr) FROM_H = nullptr;
    static constexpr bool KEEPS_Z = true, DIRECT = true;

    // z becomes w, f, y. w = (e + a) / (2e + a + b) with e : a : b = 1 : exp(-z₀) : exp(-z₁), and the largest of the
    // three is 1. So nothing overflows, and the denominator is not 0, even if f and i underflow.
    static XRNN_INLINE void step(V* z, const V* before, V* after, const V*) {
        const V lowest = V{} - 1e30f;  // not -∞: its difference below would be NaN
        const V z0 = z[0] < lowest ? lowest : z[0], z1 = z[1] < lowest ? lowest : z[1];
        V least = z0 < z1 ? z0 : z1;
        least = least < V{} ? least : V{};
        const V e = exp_negative(least), a = e + exp_negative(least - z0), b = e + exp_negative(least - z1);
        z[0] = a / (a + b);
        z[1] = sigmoid(z0);
        z[2] = G::value(z[2]);
        after[0] = multiply_add(z[0], z[2] - before[0], before[0]);
    }

    // (1 - w) i = w f
    static XRNN_INLINE void gradient(const V* dafter, const V* before, const V*, const V* z, const V*, V* dz,
                                     V* dbefore) {
        const V w = z[0], f = z[1], y = z[2], dh = dafter[0], through_w = dh * w * (y - before[0]);
        dz[0] = through_w * ((w - 1) * (1 - f));
        dz[1] = through_w * (1 - w - w * f);
        dz[2] = dh * w * G::slope(y);
        dbefore[0] = dh * (1 - w);
    }
};

template <class V>
struct MinLstm : MinLstmOf<V, Linear> {
    static constexpr const char* NAME = "min_lstm";
};
template <class V>
struct MinLstmPositive : MinLstmOf<V, Positive> {
    static constexpr const char* NAME = "min_lstm_positive";
};

}  // namespace

// h[t] = h[t-1] + u (y - h[t-1]);  u = σ(z₀),  y = g(z₁)        (Feng et al., 2024)
#pragma once

#include "activations.h"

namespace {

// g(v) = v
struct Linear {
    template <class V>
    static XRNN_INLINE V value(V v) {
        return v;
    }
    template <class V>
    static XRNN_INLINE V slope(V) {
        return V{} + 1;
    }
};

// g(v) = v + 1/2 for v ≥ 0, otherwise σ(v)
struct Positive {
    template <class V>
    static XRNN_INLINE V value(V v) {
        const V low = sigmoid(v);
        return v < V{} ? low : v + V(V{} + 1) / 2;
    }
    template <class V>
    static XRNN_INLINE V slope(V y) {  // from y: below 1/2 if and only if v < 0, up to rounding
        return y + y < V{} + 1 ? y * (1 - y) : V{} + 1;
    }
};

template <class V, class G>
struct MinGruOf {
    static constexpr int STATES = 1, PRE = 2, OWN = 0;
    static constexpr int FROM_X[] = {0, 1};
    static constexpr decltype(nullptr) FROM_H = nullptr;
    static constexpr bool KEEPS_Z = true, DIRECT = true;

    // z becomes u, y.
    static XRNN_INLINE void step(V* z, const V* before, V* after, const V*) {
        z[0] = sigmoid(z[0]);
        z[1] = G::value(z[1]);
        after[0] = multiply_add(z[0], z[1] - before[0], before[0]);
    }

    static XRNN_INLINE void gradient(const V* dafter, const V* before, const V*, const V* z, const V*, V* dz,
                                     V* dbefore) {
        const V u = z[0], y = z[1], dh = dafter[0];
        dz[0] = dh * (y - before[0]) * (u * (1 - u));
        dz[1] = dh * u * G::slope(y);
        dbefore[0] = dh * (1 - u);
    }
};

template <class V>
struct MinGru : MinGruOf<V, Linear> {
    static constexpr const char* NAME = "min_gru";
};
template <class V>
struct MinGruPositive : MinGruOf<V, Positive> {
    static constexpr const char* NAME = "min_gru_positive";
};

}  // namespace

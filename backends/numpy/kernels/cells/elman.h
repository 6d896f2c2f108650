// h[t] = φ(z),  z = x[t] @ Wx + h[t-1] @ Wh + b        (Elman, 1990)
// with leak:  h[t] = (1 - leak) h[t-1] + leak φ(z)
#pragma once

#include "activations.h"

namespace {

struct Tanh {
    template <class V>
    static XRNN_INLINE V value(V z) {
        return tanh(z);
    }
    template <class V>
    static XRNN_INLINE V slope(V y) {  // from the output: z need not be kept
        return 1 - y * y;
    }
};

struct Relu {
    template <class V>
    static XRNN_INLINE V value(V z) {
        return z < V{} ? V{} : z;  // NaN stays, as in np.maximum
    }
    template <class V>
    static XRNN_INLINE V slope(V y) {
        return y > V{} ? V{} + 1 : V{};
    }
};

template <class V, class Phi>
struct Elman {
    static constexpr int STATES = 1, PRE = 1, KEPT = 0;
    static constexpr int FROM_X[] = {0}, FROM_H[] = {0};
    static constexpr bool DIRECT = false;  // dh reaches dh_prev through z alone

    static XRNN_INLINE void step(const V* z, const V*, V* after, V*, V) { after[0] = Phi::value(z[0]); }

    static XRNN_INLINE void gradient(const V* dafter, const V*, const V* after, const V*, V, V* dz, V*) {
        dz[0] = dafter[0] * Phi::slope(after[0]);
    }
};

template <class V, class Phi>
struct LeakyElman {
    static constexpr int STATES = 1, PRE = 1, KEPT = 1;  // y = φ(z): taking it out of h would divide by the leak
    static constexpr int FROM_X[] = {0}, FROM_H[] = {0};
    static constexpr bool DIRECT = true;

    static XRNN_INLINE void step(const V* z, const V* before, V* after, V* kept, V leak) {
        const V y = Phi::value(z[0]);
        kept[0] = y;
        after[0] = multiply_add(leak, y, (1 - leak) * before[0]);
    }

    static XRNN_INLINE void gradient(const V* dafter, const V*, const V*, const V* kept, V leak, V* dz, V* dbefore) {
        dz[0] = leak * dafter[0] * Phi::slope(kept[0]);
        dbefore[0] = (1 - leak) * dafter[0];
    }
};

template <class V>
using TanhElman = Elman<V, Tanh>;
template <class V>
using ReluElman = Elman<V, Relu>;
template <class V>
using LeakyTanhElman = LeakyElman<V, Tanh>;
template <class V>
using LeakyReluElman = LeakyElman<V, Relu>;

}  // namespace

// h[t] = φ(z),  z = x[t] @ Wx + h[t-1] @ Wh + b        (Elman, 1990)
// with leak:  h[t] = (1 - leak) h[t-1] + leak φ(z)
#pragma once

#include "activations.h"

namespace {

struct Tanh {
    static constexpr const char* NAME = "tanh";

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
    static constexpr const char* NAME = "relu";

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
    static constexpr const char* NAME = Phi::NAME;
    static constexpr int STATES = 1, PRE = 1;
    static constexpr int FROM_X[] = {0}, FROM_H[] = {0};
    static constexpr bool KEEPS_Z = false, DIRECT = false, LEAKS = false;  // dh reaches dh_prev through z alone

    static XRNN_INLINE void step(V* z, const V*, V* after, V) { after[0] = Phi::value(z[0]); }

    static XRNN_INLINE void gradient(const V* dafter, const V*, const V* after, const V*, V, V* dz, V*) {
        dz[0] = dafter[0] * Phi::slope(after[0]);
    }
};

template <class V, class Phi>
struct LeakyElman {
    static constexpr const char* NAME = Phi::NAME;
    static constexpr int STATES = 1, PRE = 1;
    static constexpr int FROM_X[] = {0}, FROM_H[] = {0};
    // y = φ(z) is kept: taken back out of h, its rounding error would be divided by the leak.
    static constexpr bool KEEPS_Z = true, DIRECT = true, LEAKS = true;

    static XRNN_INLINE void step(V* z, const V* before, V* after, V leak) {
        z[0] = Phi::value(z[0]);
        after[0] = multiply_add(leak, z[0], (1 - leak) * before[0]);
    }

    static XRNN_INLINE void gradient(const V* dafter, const V*, const V*, const V* z, V leak, V* dz, V* dbefore) {
        dz[0] = leak * dafter[0] * Phi::slope(z[0]);
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

// c[t] = f c[t-1] + i g,  h[t] = o tanh(c[t]);  i, f, o = σ(z₀, z₁, z₃),  g = tanh(z₂)
//                                    (Hochreiter and Schmidhuber, 1997; the forget gate: Gers et al., 2000)
#pragma once

#include "activations.h"

namespace {

template <class V>
struct Lstm {
    static constexpr int STATES = 2, PRE = 4, KEPT = 4;  // states h, c; kept i, f, g, o
    static constexpr int FROM_X[] = {0, 1, 2, 3}, FROM_H[] = {0, 1, 2, 3};
    static constexpr bool DIRECT = false;  // dh reaches dh_prev through the gates alone

    static XRNN_INLINE void step(const V* z, const V* before, V* after, V* kept, V) {
        const V i = sigmoid(z[0]), f = sigmoid(z[1]), g = tanh(z[2]), o = sigmoid(z[3]);
        kept[0] = i, kept[1] = f, kept[2] = g, kept[3] = o;
        after[1] = multiply_add(f, before[1], i * g);
        after[0] = o * tanh(after[1]);
    }

    static XRNN_INLINE void gradient(const V* dafter, const V* before, const V* after, const V* kept, V, V* dz,
                                     V* dbefore) {
        const V i = kept[0], f = kept[1], g = kept[2], o = kept[3];
        const V dh = dafter[0], s = tanh(after[1]);
        const V dc = multiply_add(dh * o, 1 - s * s, dafter[1]);
        dz[0] = dc * g * (i * (1 - i));
        dz[1] = dc * before[1] * (f * (1 - f));
        dz[2] = dc * i * (1 - g * g);
        dz[3] = dh * s * (o * (1 - o));
        dbefore[1] = f * dc;
    }
};

}  // namespace

// c[t] = f c[t-1] + i g,  h[t] = o tanh(c[t]);  i, f, o = σ(z₀), σ(z₁), σ(z₃),  g = tanh(z₂)
//                                    (Hochreiter and Schmidhuber, 1997; the forget gate: Gers et al., 2000)
#pragma once

#include "activations.h"

namespace {

template <class V>
struct Lstm {
    static constexpr const char* NAME = "lstm";
    static constexpr int STATES = 2, PRE = 4, OWN = 0;  // the states are h, c
    static constexpr int FROM_X[] = {0, 1, 2, 3}, FROM_H[] = {0, 1, 2, 3};
    static constexpr bool KEEPS_Z = true, DIRECT = false;  // h depends on the previous h through z alone

    // z becomes i, f, g, o.
    static XRNN_INLINE void step(V* z, const V* before, V* after, const V*) {
        z[0] = sigmoid(z[0]);
        z[1] = sigmoid(z[1]);
        z[2] = tanh(z[2]);
        z[3] = sigmoid(z[3]);
        after[1] = multiply_add(z[1], before[1], z[0] * z[2]);
        after[0] = z[3] * tanh(after[1]);
    }

    static XRNN_INLINE void gradient(const V* dafter, const V* before, const V* after, const V* z, const V*, V* dz,
                                     V* dbefore) {
        const V i = z[0], f = z[1], g = z[2], o = z[3];
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

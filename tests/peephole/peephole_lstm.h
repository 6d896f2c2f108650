// i, f = σ(z₀ + p_i c[t-1]), σ(z₁ + p_f c[t-1]),  g = tanh(z₂);  c[t] = f c[t-1] + i g
// o = σ(z₃ + p_o c[t]),  h[t] = o tanh(c[t])                        (Gers and Schmidhuber, 2000)
#pragma once

#include "../../backends/numpy/kernels/cells/activations.h"

namespace {

template <class V>
struct PeepholeLstm {
    static constexpr const char* NAME = "peephole_lstm";
    static constexpr int STATES = 2, PRE = 4, OWN = 3;  // the states are h, c; own: p_i, p_f, p_o
    static constexpr int FROM_X[] = {0, 1, 2, 3}, FROM_H[] = {0, 1, 2, 3};
    static constexpr bool KEEPS_Z = true, DIRECT = false;  // h depends on the previous h through z alone

    // z becomes i, f, g, o.
    static XRNN_INLINE void step(V* z, const V* before, V* after, const V* own) {
        const V c = before[1];
        z[0] = sigmoid(multiply_add(own[0], c, z[0]));
        z[1] = sigmoid(multiply_add(own[1], c, z[1]));
        z[2] = tanh(z[2]);
        after[1] = multiply_add(z[1], c, z[0] * z[2]);
        z[3] = sigmoid(multiply_add(own[2], after[1], z[3]));
        after[0] = z[3] * tanh(after[1]);
    }

    static XRNN_INLINE void gradient(const V* dafter, const V* before, const V* after, const V* z, const V* own, V* dz,
                                     V* dbefore) {
        const V i = z[0], f = z[1], g = z[2], o = z[3], c = before[1];
        const V dh = dafter[0], s = tanh(after[1]);
        dz[3] = dh * s * (o * (1 - o));
        const V dc = multiply_add(dz[3], own[2], multiply_add(dh * o, 1 - s * s, dafter[1]));
        dz[0] = dc * g * (i * (1 - i));
        dz[1] = dc * c * (f * (1 - f));
        dz[2] = dc * i * (1 - g * g);
        dbefore[1] = multiply_add(dz[0], own[0], multiply_add(dz[1], own[1], f * dc));
        dz[4] = dz[0] * c;
        dz[5] = dz[1] * c;
        dz[6] = dz[3] * after[1];
    }
};

}  // namespace

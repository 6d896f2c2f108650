// h[t] = n + u (h[t-1] - n);  r, u = σ(z₁), σ(z₂),  n = tanh(z₀ + r z₃)
//                                    (Cho et al., 2014, with the reset gate after the product)
//
// The parts of Wx and Wh are r, u, n. x feeds n through z₀, and h through z₃, which has a bias of its own. z₀ comes
// first, so that the three gates fed by h are neighbours.
#pragma once

#include "activations.h"

namespace {

template <class V>
struct Gru {
    static constexpr const char* NAME = "gru";
    static constexpr int STATES = 1, PRE = 4, OWN = 0;
    static constexpr int FROM_X[] = {1, 2, 0}, FROM_H[] = {1, 2, 3};
    static constexpr bool KEEPS_Z = true, DIRECT = true;

    // z becomes n, r, u, z₃.
    static XRNN_INLINE void step(V* z, const V* before, V* after, const V*) {
        z[1] = sigmoid(z[1]);
        z[2] = sigmoid(z[2]);
        z[0] = tanh(multiply_add(z[1], z[3], z[0]));
        after[0] = multiply_add(z[2], before[0] - z[0], z[0]);
    }

    static XRNN_INLINE void gradient(const V* dafter, const V* before, const V*, const V* z, const V*, V* dz,
                                     V* dbefore) {
        const V n = z[0], r = z[1], u = z[2], m = z[3];
        const V dh = dafter[0], dn = dh * (1 - u) * (1 - n * n);
        dz[0] = dn;
        dz[1] = dn * m * (r * (1 - r));
        dz[2] = dh * (before[0] - n) * (u * (1 - u));
        dz[3] = dn * r;
        dbefore[0] = u * dh;
    }
};

}  // namespace

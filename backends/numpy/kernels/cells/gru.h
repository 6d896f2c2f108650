// h[t] = n + u (h[t-1] - n);  r, u = σ(z₀, z₁),  n = tanh(z₂ + r z₃)
//                                    (Cho et al., 2014, with the reset gate after the product)
//
// x feeds z₀, z₁, z₂ and h feeds z₀, z₁, z₃: z₂ is the input's part of n, z₃ the recurrent part that r gates.
#pragma once

#include "activations.h"

namespace {

template <class V>
struct Gru {
    static constexpr int STATES = 1, PRE = 4, KEPT = 4;  // kept r, u, n, z₃
    static constexpr int FROM_X[] = {0, 1, 2}, FROM_H[] = {0, 1, 3};
    static constexpr bool DIRECT = true;

    static XRNN_INLINE void step(const V* z, const V* before, V* after, V* kept, V) {
        const V r = sigmoid(z[0]), u = sigmoid(z[1]), n = tanh(multiply_add(r, z[3], z[2]));
        kept[0] = r, kept[1] = u, kept[2] = n, kept[3] = z[3];
        after[0] = multiply_add(u, before[0] - n, n);
    }

    static XRNN_INLINE void gradient(const V* dafter, const V* before, const V*, const V* kept, V, V* dz, V* dbefore) {
        const V r = kept[0], u = kept[1], n = kept[2], z3 = kept[3];
        const V dh = dafter[0], dn = dh * (1 - u) * (1 - n * n);
        dz[0] = dn * z3 * (r * (1 - r));
        dz[1] = dh * (before[0] - n) * (u * (1 - u));
        dz[2] = dn;
        dz[3] = dn * r;
        dbefore[0] = u * dh;
    }
};

}  // namespace

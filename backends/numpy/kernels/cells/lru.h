// s[t] = λ s[t-1] + g z,  complex, with the real parts first; own: Re λ, Im λ, g = exp(γ)        (Orvieto et al., 2023)
#pragma once

namespace {

template <class V>
struct Lru {
    static constexpr const char* NAME = "lru";
    static constexpr int STATES = 2, PRE = 2, OWN = 3;  // the real and the imaginary part of s and of z
    static constexpr int FROM_X[] = {0, 1};
    static constexpr decltype(nullptr) FROM_H = nullptr;
    static constexpr bool KEEPS_Z = false, DIRECT = true, JOINED = true;

    static XRNN_INLINE void step(V* z, const V* before, V* after, const V* own) {
        const V re = own[0], im = own[1], g = own[2];
        after[0] = multiply_add(g, z[0], multiply_add(re, before[0], -im * before[1]));
        after[1] = multiply_add(g, z[1], multiply_add(re, before[1], im * before[0]));
    }

    // dz[4] is the gradient of γ: g z = s' - λ s, so that z need not be kept.
    static XRNN_INLINE void gradient(const V* dafter, const V* before, const V* after, const V*, const V* own, V* dz,
                                     V* dbefore) {
        const V re = own[0], im = own[1], g = own[2], d_re = dafter[0], d_im = dafter[1];
        dz[0] = g * d_re;
        dz[1] = g * d_im;
        dbefore[0] = multiply_add(re, d_re, im * d_im);
        dbefore[1] = multiply_add(re, d_im, -im * d_re);
        dz[2] = multiply_add(before[0], d_re, before[1] * d_im);
        dz[3] = multiply_add(before[0], d_im, -before[1] * d_re);
        dz[4] = multiply_add(after[0], d_re, after[1] * d_im) -
                multiply_add(before[0], dbefore[0], before[1] * dbefore[1]);
    }
};

}  // namespace

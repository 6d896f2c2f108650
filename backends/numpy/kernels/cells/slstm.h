// m[t] = max(log f + m[t-1], log i), or log i where n[t-1] = 0;  i = exp(z₀),  f = exp(z₁) or σ(z₁)
// i' = exp(log i - m[t]),  f' = exp(log f + m[t-1] - m[t])
// c[t] = f' c[t-1] + i' g,  n[t] = f' n[t-1] + i',  h[t] = o c[t] / n[t];  g = tanh(z₂),  o = σ(z₃)
//                                    (Beck et al., 2024)
//
// The gradient takes m as a constant. This header also needs exp_negative(V) for a V ≤ 0, and log1p(V) for a V in [0, 1].
#pragma once

#include "activations.h"

namespace {

// log f, and its derivative by z
template <class V>
struct LogForget {
    V value, slope;
};

struct Exponential {
    template <class V>
    static XRNN_INLINE LogForget<V> log_forget(V z) {
        return {z, V{} + 1};
    }
};

struct Sigmoid {
    template <class V>
    static XRNN_INLINE LogForget<V> log_forget(V z) {
        const V t = exp_negative(z < V{} ? z : -z), one = V{} + 1;
        return {(z < V{} ? z : V{}) - log1p(t), (z < V{} ? one : t) / (1 + t)};
    }
};

template <class V>
struct ScaledGates {
    V i, f;  // i', f'
};

template <class V, class Forget>
struct SlstmOf {
    static constexpr int STATES = 4, PRE = 4, OWN = 0;  // the states are h, c, n, m
    static constexpr int FROM_X[] = {0, 1, 2, 3}, FROM_H[] = {0, 1, 2, 3};
    static constexpr bool KEEPS_Z = true, DIRECT = false;  // h depends on the previous h through z alone

    // z becomes log i - log f - m, ∂(log f)/∂z₁, g, o.
    static XRNN_INLINE void step(V* z, const V* before, V* after, const V*) {
        const LogForget<V> log_f = Forget::log_forget(z[1]);
        const V log_i = z[0], past = log_f.value + before[3], d = log_i - past;
        V m = d < V{} ? past : log_i;
        m = d == d ? m : d;  // NaN
        after[3] = before[2] == V{} ? log_i : m;
        const ScaledGates<V> scaled = scale(d, before[2]);
        z[0] = d;
        z[1] = log_f.slope;
        z[2] = tanh(z[2]);
        z[3] = sigmoid(z[3]);
        after[1] = multiply_add(scaled.f, before[1], scaled.i * z[2]);
        after[2] = multiply_add(scaled.f, before[2], scaled.i);
        after[0] = z[3] * (after[1] / after[2]);
    }

    static XRNN_INLINE void gradient(const V* dafter, const V* before, const V* after, const V* z, const V*, V* dz,
                                     V* dbefore) {
        const ScaledGates<V> scaled = scale(z[0], before[2]);
        const V g = z[2], o = z[3], h = after[0], dh = dafter[0], dh_per_n = dh / after[2];
        const V dc = multiply_add(dh_per_n, o, dafter[1]), dn = dafter[2] - dh_per_n * h;
        dz[0] = scaled.i * multiply_add(g, dc, dn);
        dz[1] = scaled.f * z[1] * multiply_add(before[1], dc, before[2] * dn);
        dz[2] = dc * scaled.i * (1 - g * g);
        dz[3] = dh * h * (1 - o);
        dbefore[1] = scaled.f * dc;
        dbefore[2] = scaled.f * dn;
        dbefore[3] = V{};
    }

   private:
    // i' and f' from d = log i - log f - m. One of them is 1, except where n = 0: there i' = 1 and f' = exp(-d), which
    // is limited to exp(80), so that it is finite in float32.
    static XRNN_INLINE ScaledGates<V> scale(V d, V n) {
        const V lowest = V{} - 80, one = V{} + 1, fresh_d = d < lowest ? lowest : d;
        const V bounded = n == V{} ? fresh_d : d;
        const V e = exp_negative(bounded < V{} ? bounded : -bounded);
        const V past = n == V{} ? 1 / e : one, now = n == V{} ? one : e;  // for d < 0
        return {d < V{} ? now : one, d < V{} ? past : e};
    }
};

template <class V>
struct Slstm : SlstmOf<V, Exponential> {
    static constexpr const char* NAME = "slstm";
};
template <class V>
struct SlstmSigmoid : SlstmOf<V, Sigmoid> {
    static constexpr const char* NAME = "slstm_sigmoid";
};

}  // namespace

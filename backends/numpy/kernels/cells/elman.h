// h[t] = φ(z),  z = x[t] @ Wx + h[t-1] @ Wh + b        (Elman, 1990)
// leaky:    h[t] = (1 - leak) h[t-1] + leak φ(z)       (Jaeger et al., 2007)
// current:  v[t] = (1 - leak) v[t-1] + leak z,  h[t] = φ(v[t])        (Miller and Fumarola, 2012)
//
// It calls exp_negative(z), defined for z ≤ 0, and log1p(z), defined for z in [0, 1]: declare both before this header.
#pragma once

namespace {

struct Tanh {
    template <class V>
    static XRNN_INLINE V value(V z) {
        return tanh(z);
    }
    template <class V>
    static XRNN_INLINE V slope(V y) {  // from the output, so that z need not be kept
        return 1 - y * y;
    }
};

struct Relu {
    template <class V>
    static XRNN_INLINE V value(V z) {
        return z < V{} ? V{} : z;  // NaN stays NaN, as in np.maximum
    }
    template <class V>
    static XRNN_INLINE V slope(V y) {
        return y > V{} ? V{} + 1 : V{};
    }
};

// log(1 + exp(z))
struct Softplus {
    template <class V>
    static XRNN_INLINE V value(V z) {
        return (z < V{} ? V{} : z) + log1p(exp_negative(z < V{} ? z : -z));
    }
    template <class V>
    static XRNN_INLINE V slope(V y) {  // σ(z) = 1 - exp(-y); for a small y its series, since the difference loses digits
        const V series = y * (1 - y / 2 * (1 - y / 3 * (1 - y / 4 * (1 - y / 5))));
        const V difference = 1 - exp_negative(-y);
        return 64 * y < V{} + 1 ? series : difference;
    }
};

template <class V, class Phi>
struct Elman {
    static constexpr int STATES = 1, PRE = 1, OWN = 0;
    static constexpr int FROM_X[] = {0}, FROM_H[] = {0};
    static constexpr bool KEEPS_Z = false, DIRECT = false;  // h depends on the previous h through z alone

    static XRNN_INLINE void step(V* z, const V*, V* after, const V*) { after[0] = Phi::value(z[0]); }

    static XRNN_INLINE void gradient(const V* dafter, const V*, const V* after, const V*, const V*, V* dz, V*) {
        dz[0] = dafter[0] * Phi::slope(after[0]);
    }
};

template <class V, class Phi>
struct LeakyElman {
    static constexpr int STATES = 1, PRE = 1, OWN = 1;  // leak
    static constexpr int FROM_X[] = {0}, FROM_H[] = {0};
    // y = φ(z) is kept. Computing y from h would divide the rounding error of h by the leak.
    static constexpr bool KEEPS_Z = true, DIRECT = true;

    // z becomes y.
    static XRNN_INLINE void step(V* z, const V* before, V* after, const V* own) {
        const V leak = own[0];
        z[0] = Phi::value(z[0]);
        after[0] = multiply_add(leak, z[0], (1 - leak) * before[0]);
    }

    static XRNN_INLINE void gradient(const V* dafter, const V* before, const V*, const V* z, const V* own, V* dz,
                                     V* dbefore) {
        const V leak = own[0];
        dz[0] = leak * dafter[0] * Phi::slope(z[0]);
        dz[1] = dafter[0] * (z[0] - before[0]);  // of the leak
        dbefore[0] = (1 - leak) * dafter[0];
    }
};

template <class V, class Phi>
struct CurrentElman {
    static constexpr int STATES = 2, PRE = 1, OWN = 1;  // the states are h, v; leak
    static constexpr int FROM_X[] = {0}, FROM_H[] = {0};
    static constexpr bool KEEPS_Z = false, DIRECT = false;  // h depends on the previous h through z alone

    static XRNN_INLINE void step(V* z, const V* before, V* after, const V* own) {
        const V leak = own[0];
        after[1] = multiply_add(leak, z[0], (1 - leak) * before[1]);
        after[0] = Phi::value(after[1]);
    }

    static XRNN_INLINE void gradient(const V* dafter, const V* before, const V* after, const V*, const V* own, V* dz,
                                     V* dbefore) {
        const V leak = own[0], dv = multiply_add(dafter[0], Phi::slope(after[0]), dafter[1]);
        dz[0] = leak * dv;
        dz[1] = dv * ((after[1] - before[1]) / leak);  // of the leak: z - v
        dbefore[1] = (1 - leak) * dv;
    }
};

template <class V>
struct TanhElman : Elman<V, Tanh> {
    static constexpr const char* NAME = "tanh";
};
template <class V>
struct ReluElman : Elman<V, Relu> {
    static constexpr const char* NAME = "relu";
};
template <class V>
struct SoftplusElman : Elman<V, Softplus> {
    static constexpr const char* NAME = "softplus";
};
template <class V>
struct LeakyTanhElman : LeakyElman<V, Tanh> {
    static constexpr const char* NAME = "leaky_tanh";
};
template <class V>
struct LeakyReluElman : LeakyElman<V, Relu> {
    static constexpr const char* NAME = "leaky_relu";
};
template <class V>
struct LeakySoftplusElman : LeakyElman<V, Softplus> {
    static constexpr const char* NAME = "leaky_softplus";
};
template <class V>
struct CurrentTanhElman : CurrentElman<V, Tanh> {
    static constexpr const char* NAME = "current_tanh";
};
template <class V>
struct CurrentReluElman : CurrentElman<V, Relu> {
    static constexpr const char* NAME = "current_relu";
};
template <class V>
struct CurrentSoftplusElman : CurrentElman<V, Softplus> {
    static constexpr const char* NAME = "current_softplus";
};

}  // namespace

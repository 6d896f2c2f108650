// Functions of a pre-activation that several cells use. It needs multiply_add and tanh_of_half(z), which is tanh(z/2).
#pragma once

namespace {

// σ(z) = 1 / (1 + exp(-z)) = tanh(z/2) / 2 + 1/2
template <class V>
XRNN_INLINE V sigmoid(V z) {
    const V half = (V{} + 1) / 2;
    return multiply_add(tanh_of_half(z), half, half);
}

}  // namespace

// Functions of a pre-activation that several cells use.
#pragma once

namespace {

// σ(z) = 1 / (1 + exp(-z)), as (tanh(z/2) + 1) / 2
template <class V>
XRNN_INLINE V sigmoid(V z) {
    return (tanh(z / 2) + 1) / 2;
}

}  // namespace

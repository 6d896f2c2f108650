// What several cells apply to a pre-activation. V is a vector on the CPU; a scalar will do as well.
#pragma once

#include "../exponential.h"

namespace {

// σ(z) = 1 / (1 + exp(-z)), as (tanh(z/2) + 1) / 2
template <class V>
XRNN_INLINE V sigmoid(V z) {
    return (tanh(z / 2) + 1) / 2;
}

}  // namespace

// The kernels at one instruction-set level.
//
// Compiled once a level, with XRNN_LEVEL naming it; everything but the table at the end is in an anonymous namespace
// and uses no `std::` template, so that no symbol of a higher level can stand in for one of a lower.
#include "backward.h"
#include "cross_entropy.h"
#include "forward.h"
#include "products.h"

namespace {

template <class S>
void tanh_of(const S* x, S* y, int64_t size) {
    constexpr int W = Simd<S>::LANES;
    int64_t i = 0;
    for (; i + W <= size; i += W) store<S>(y + i, tanh<S>(load<S>(x + i)));
    if (i < size) store_part<S>(y + i, tanh<S>(load_part<S>(x + i, size - i)), size - i);
}

template <class S, template <class> class CellOf>
constexpr xrnn::Recurrence<S> RECURRENCE = {forward<S, CellOf>, backward<S, CellOf>};

template <class S>
constexpr xrnn::Operations<S> OPERATIONS = {
    .recurrences = {RECURRENCE<S, TanhElman>, RECURRENCE<S, ReluElman>, RECURRENCE<S, Lstm>, RECURRENCE<S, Gru>},
    .leaky = {RECURRENCE<S, LeakyTanhElman>, RECURRENCE<S, LeakyReluElman>},
    .affine = affine<S>,
    .affine_gradients = affine_gradients<S>,
    .cross_entropy = cross_entropy<S>,
    .tanh = tanh_of<S>,
};

}  // namespace

#define XRNN_JOIN_(a, b) a##b
#define XRNN_JOIN(a, b) XRNN_JOIN_(a, b)

const xrnn::Kernels& xrnn::XRNN_JOIN(kernels_, XRNN_LEVEL)() {
    static constexpr Kernels table = {VECTOR_BYTES, OPERATIONS<float>, OPERATIONS<double>};
    return table;
}

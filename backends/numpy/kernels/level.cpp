// The kernels of one instruction-set level and one element type.
//
// Compiled once for each pair, with XRNN_LEVEL and XRNN_TYPE naming it. With XRNN_PAIRS the elements are float, and the
// products are in bfloat16 (pairs.h). With XRNN_PARTS they are sums of products of this number of bfloat16 parts
// (parts.h), and XRNN_WITHOUT_PARTS names the level that computes exceptional operands. Such levels have no operations
// without products. Everything but the function at the end is in an anonymous namespace and uses no `std::` template, so
// that no symbol of a higher level can replace one of a lower level.
#include "backward.h"
#include "causal_convolution.h"
#include "cross_entropy.h"
#include "forward.h"
#include "int8_pass.h"
#include "matrix_memory.h"
#include "products.h"
#include "selective_scan.h"

namespace {

template <class S>
void tanh_of(const S* x, S* y, int64_t size) {
    constexpr int W = Simd<S>::LANES;
    int64_t i = 0;
    for (; i + W <= size; i += W) store<S>(y + i, tanh(load<S>(x + i)));
    if (i < size) store_part<S>(y + i, tanh(load_part<S>(x + i, size - i)), size - i);
}

// The recurrence on int8 weights is the same at all precisions: only the table of float32 has it. It has no joined
// states.
template <class P, template <class> class CellOf>
constexpr auto int8_of() -> decltype(xrnn::Recurrence<Sum<P>>::int8) {
    if constexpr (sizeof(P) == 4 && !IS_PAIR<P> && joined_states<CellOf<Vec<Sum<P>>>>() == 1)
        return int8_forward<CellOf>;
    else
        return nullptr;
}

// ---- If an operation by tiles returns false (no memory, or an exceptional operand), it runs again without tiles. ----

#if defined(XRNN_PARTS)

const xrnn::Operations<float>& without_parts() { return xrnn::XRNN_WITHOUT_PARTS(); }

const xrnn::Recurrence<float>& without_parts(const char* cell) {
    const xrnn::Recurrence<float>* r = without_parts().recurrences;
    while (__builtin_strcmp(r->name, cell) != 0) ++r;
    return *r;
}

template <int PARTS, template <class> class CellOf>
struct OrWithout {
    static bool forward(const xrnn::Forward<float>& f, Partition partition) {
        if (::forward<Part<PARTS>, CellOf>(f, partition)) return true;
        xrnn::Forward<float> same = f;
        same.packed = nullptr;  // it is packed in parts
        return without_parts(CellOf<Vec<float>>::NAME).forward(same, partition);
    }
    static bool backward(const xrnn::Backward<float>& f, Partition partition) {
        return ::backward<Part<PARTS>, CellOf>(f, partition) ||
               without_parts(CellOf<Vec<float>>::NAME).backward(f, partition);
    }
};

template <int PARTS>
bool affine_or_without(const xrnn::Affine<float>& f, Partition partition) {
    return affine<Part<PARTS>>(f, partition) || without_parts().affine(f, partition);
}

template <int PARTS>
bool affine_gradients_or_without(const xrnn::AffineGradients<float>& f, int threads) {
    return affine_gradients<Part<PARTS>>(f, threads) || without_parts().affine_gradients(f, threads);
}

#endif

template <class P, template <class> class CellOf>
constexpr xrnn::Recurrence<Sum<P>> recurrence_of() {
    using S = Sum<P>;
    using Cell = CellOf<Vec<S>>;
    constexpr Gates GATES = gates_of<Cell>();
    static_assert(Cell::STATES <= xrnn::MOST_STATES && Cell::PRE <= MOST_GATES && Cell::OWN <= xrnn::MOST_OWN);
    static_assert(joined_states<Cell>() == 1 || GATES.h_count == 0);
#if defined(XRNN_PARTS)
    using Passes = OrWithout<XRNN_PARTS, CellOf>;
    constexpr auto forward = Passes::forward;
    constexpr auto backward = Passes::backward;
#else
    constexpr auto forward = ::forward<P, CellOf>;
    constexpr auto backward = ::backward<P, CellOf>;
#endif
    return {.name = Cell::NAME,
            .states = Cell::STATES,
            .pre = Cell::PRE,
            .joined = joined_states<Cell>(),
            .x_gates = GATES.x_count,
            .h_gates = GATES.h_count,
            .own = Cell::OWN,
            .keeps_z = Cell::KEEPS_Z,
            .forward = forward,
            .backward = backward,
            .int8 = int8_of<P, CellOf>()};
}

template <class P, template <class> class... CellOf>
constexpr xrnn::Operations<Sum<P>> operations_of(CellList<CellOf...>) {
    static_assert(sizeof...(CellOf) < xrnn::MOST_CELLS);
#if defined(XRNN_PARTS)
    constexpr auto affine = affine_or_without<XRNN_PARTS>;
    constexpr auto affine_gradients = affine_gradients_or_without<XRNN_PARTS>;
#else
    constexpr auto affine = ::affine<P>;
    constexpr auto affine_gradients = ::affine_gradients<P>;
#endif
    xrnn::Operations<Sum<P>> operations = {.recurrences = {recurrence_of<P, CellOf>()...},
                                           .pack = pack<P>,
                                           .affine = affine,
                                           .affine_gradients = affine_gradients,
                                           .cross_entropy = nullptr,
                                           .selective_scan = nullptr,
                                           .selective_scan_gradients = nullptr,
                                           .matrix_memory = nullptr,
                                           .matrix_memory_gradients = nullptr,
                                           .causal_convolution = nullptr,
                                           .causal_convolution_gradients = nullptr,
                                           .tanh = nullptr};
    if constexpr (!IS_PAIR<P>) {
        operations.cross_entropy = cross_entropy<P>;
        operations.selective_scan = selective_scan<P>;
        operations.selective_scan_gradients = selective_scan_gradients<P>;
        operations.matrix_memory = matrix_memory<P>;
        operations.matrix_memory_gradients = matrix_memory_gradients<P>;
        operations.causal_convolution = causal_convolution<P>;
        operations.causal_convolution_gradients = causal_convolution_gradients<P>;
        operations.tanh = tanh_of<P>;
    }
    return operations;
}

#if defined(XRNN_PAIRS)
using Element = Pair;
#elif defined(XRNN_PARTS)
using Element = Part<XRNN_PARTS>;
#else
using Element = XRNN_TYPE;
#endif

}  // namespace

#define XRNN_JOIN_(a, b) a##_##b
#define XRNN_JOIN(a, b) XRNN_JOIN_(a, b)

const xrnn::Operations<XRNN_TYPE>& xrnn::XRNN_JOIN(XRNN_LEVEL, XRNN_TYPE)() {
    static constexpr Operations<XRNN_TYPE> operations = operations_of<Element>(Cells());
    return operations;
}

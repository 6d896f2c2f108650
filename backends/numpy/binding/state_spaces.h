// The selective scan, the matrix memory and the causal convolution. _kernels.pyi describes the shapes.
#pragma once

#include <optional>

#include "arrays.h"
#include "calls.h"
#include "levels.h"
#include "recurrences.h"

namespace {

// A contiguous array, or None. It must outlive the call.
template <class S>
class OptionalInput {
   public:
    OptionalInput(nb::handle given, std::initializer_list<int64_t> shape) {
        if (!given.is_none()) array.emplace(given, shape), array->contiguous();
    }
    const S* data() const { return array ? array->data() : nullptr; }

   private:
    std::optional<Input<S>> array;
};

// The lengths of the rows, or None: copied, since they determine which memory is accessed.
class Lengths {
   public:
    Lengths(nb::handle given, int64_t N) {
        if (!given.is_none()) array.emplace(given, std::initializer_list<int64_t>{N}), array->own_copy();
    }
    const int64_t* data() const { return array ? array->data() : nullptr; }

   private:
    std::optional<Input<int64_t>> array;
};

// A new array if the operand that it is the gradient of is not None, otherwise None.
template <class S>
nb::object gradient_of(nb::handle operand, std::initializer_list<npy_intp> shape) {
    return operand.is_none() ? nb::none() : empty<S>(shape);
}
template <class S>
S* data_or_null(const nb::object& made) {
    return made.is_none() ? nullptr : data<S>(made);
}

// The threads of a call of an operation whose tasks do not wait for each other. A short call keeps the GIL.
template <class Operation>
Division<int> divide_tasks(Operation operation, int64_t multiply_adds, int64_t size, int64_t tasks) {
    if (multiply_adds < BRIEF * 4 / size && !for_tests::partition.threads) return {1, true};
    Division<int> division = divide(operation, multiply_adds, size);
    if (division.threads > tasks) division.threads = int(std::max<int64_t>(tasks, 1));
    return division;
}

// The time of a step of a channel in multiply-adds, besides that of its keys, and that of a key.
constexpr int64_t SCAN_CHANNEL = 60, SCAN_KEY = 12;

template <class S>
struct ScanInputs {
    int64_t T, N, D, K, groups;
    StepsInput<S> u, delta, B, C, z;
    Input<S> A;
    OptionalInput<S> skip, bias, initial;
    Lengths lengths;
    SelectiveScan<S> scan;

    ScanInputs(nb::handle u_, nb::handle delta_, nb::handle A_, nb::handle B_, nb::handle C_, int64_t groups_,
               nb::handle skip_, nb::handle z_, nb::handle bias_, bool softplus, nb::handle initial_,
               nb::handle lengths_)
        : T(size(u_, 0)),
          N(size(u_, 1)),
          D(size(u_, 2)),
          K(size(A_, 1)),
          groups(groups_),
          A(A_, {D, K}),
          skip(skip_, {D}),
          bias(bias_, {D}),
          initial(initial_, {N, D, K}),
          lengths(lengths_, N) {
        if (T < 1 || N < 1 || D < 1 || K < 1 || groups < 1 || D % groups)
            throw nb::type_error("expected sizes of 1 or more, and groups that divide the channels");
        scan = {.T = T,
                .N = N,
                .D = D,
                .K = K,
                .groups = groups,
                .u = u.rows(u_, false, T, N, D),
                .delta = delta.rows(delta_, false, T, N, D),
                .z = z.rows(z_, false, T, N, D),
                .A = A.matrix(),
                .B = B.rows(B_, false, T, N, groups * K),
                .C = C.rows(C_, false, T, N, groups * K),
                .skip = skip.data(),
                .bias = bias.data(),
                .softplus = softplus,
                .initial = initial.data(),
                .lengths = lengths.data()};
    }

    // The multiply-adds of a forward pass.
    int64_t work() const { return T * N * D * (K * SCAN_KEY + SCAN_CHANNEL); }
};

template <class S>
nb::object selective_scan(nb::handle u, nb::handle delta, nb::handle A, nb::handle B, nb::handle C, int64_t groups,
                          nb::handle skip, nb::handle z, nb::handle bias, bool softplus, nb::handle initial,
                          nb::handle lengths, bool training) {
    const ScanInputs<S> in(u, delta, A, B, C, groups, skip, z, bias, softplus, initial, lengths);
    nb::object y = empty<S>({in.T, in.N, in.D}), last = empty<S>({in.N, in.D, in.K});
    nb::object saved = training ? empty<S>({(in.T + SCAN_CHUNK - 1) / SCAN_CHUNK, in.N, in.K, in.D}) : nb::none();
    const ScanForward<S> f = {.scan = in.scan, .y = data<S>(y), .last = data<S>(last), .saved = data_or_null<S>(saved)};
    const auto operation = operations<S>().selective_scan;
    run_into<S>({}, operation, f, divide_tasks(operation, in.work(), sizeof(S), in.N * in.D));
    return tuple_of(y, last, saved);
}

template <class S>
nb::object selective_scan_gradients(nb::handle u, nb::handle delta, nb::handle A, nb::handle B, nb::handle C,
                                    int64_t groups, nb::handle skip, nb::handle z, nb::handle bias, bool softplus,
                                    nb::handle initial, nb::handle lengths, nb::handle saved, nb::handle dy,
                                    nb::handle dlast) {
    const ScanInputs<S> in(u, delta, A, B, C, groups, skip, z, bias, softplus, initial, lengths);
    const auto [T, N, D, K] = std::array{in.T, in.N, in.D, in.K};
    const OptionalInput<S> saved_in(saved, {(T + SCAN_CHUNK - 1) / SCAN_CHUNK, N, K, D}), dlast_in(dlast, {N, D, K});
    if (saved.is_none()) throw nb::type_error("expected the saved states of a forward pass in training");
    StepsInput<S> dy_in;
    nb::object du = empty<S>({T, N, D}), ddelta = empty<S>({T, N, D}), dA = empty<S>({D, K}),
               dB = empty<S>({T, N, groups * K}), dC = empty<S>({T, N, groups * K}), dskip = gradient_of<S>(skip, {D}),
               dz = gradient_of<S>(z, {T, N, D}), dbias = gradient_of<S>(bias, {D}),
               dinitial = gradient_of<S>(initial, {N, D, K});
    const ScanBackward<S> f = {.scan = in.scan,
                               .saved = saved_in.data(),
                               .dy = dy_in.rows(dy, false, T, N, D),
                               .dlast = dlast_in.data(),
                               .du = data<S>(du),
                               .ddelta = data<S>(ddelta),
                               .dz = data_or_null<S>(dz),
                               .dA = data<S>(dA),
                               .dB = data<S>(dB),
                               .dC = data<S>(dC),
                               .dskip = data_or_null<S>(dskip),
                               .dbias = data_or_null<S>(dbias),
                               .dinitial = data_or_null<S>(dinitial)};
    const auto operation = operations<S>().selective_scan_gradients;
    run_into<S>({}, operation, f, divide_tasks(operation, 2 * in.work(), sizeof(S), N * D));
    return tuple_of(du, ddelta, dA, dB, dC, dskip, dz, dbias, dinitial);
}

// An array (T, N, heads, columns), read in place if its last axis is contiguous, otherwise copied.
template <class S>
class HeadsInput {
   public:
    HeadRows<S> rows(nb::handle given, int64_t T, int64_t N, int64_t heads, int64_t columns) {
        if (given.is_none()) return {};
        array.emplace(given, std::initializer_list<int64_t>{T, N, heads, columns});
        array->contiguous_rows();
        return {.data = array->data(), .step = array->stride(0), .row = array->stride(1), .head = array->stride(2)};
    }

   private:
    std::optional<Input<S>> array;
};

template <class S>
struct MemoryInputs {
    int64_t T, N, H, K, V, groups;
    HeadsInput<S> q, k, v;
    Input<S> log_decay;
    OptionalInput<S> initial;
    Lengths lengths;
    MatrixMemory<S> memory;

    MemoryInputs(nb::handle q_, nb::handle k_, nb::handle v_, nb::handle log_decay_, nb::handle initial_,
                 nb::handle lengths_)
        : T(size(v_, 0)),
          N(size(v_, 1)),
          H(size(v_, 2)),
          K(size(k_, 3)),
          V(size(v_, 3)),
          groups(size(k_, 2)),
          log_decay(log_decay_, {T, N, H}),
          initial(initial_, {N, H, K, V}),
          lengths(lengths_, N) {
        if (T < 1 || N < 1 || H < 1 || K < 1 || V < 1 || groups < 1 || H % groups)
            throw nb::type_error("expected sizes of 1 or more, and groups that divide the heads");
        memory = {.T = T,
                  .N = N,
                  .H = H,
                  .K = K,
                  .V = V,
                  .groups = groups,
                  .q = q.rows(q_, T, N, groups, K),
                  .k = k.rows(k_, T, N, groups, K),
                  .v = v.rows(v_, T, N, H, V),
                  .log_decay = {.data = log_decay.data(),
                                .step = log_decay.stride(0),
                                .row = log_decay.stride(1),
                                .head = log_decay.stride(2)},
                  .initial = initial.data(),
                  .lengths = lengths.data()};
    }

    // The multiply-adds of a forward pass: about 2.5 for each element of the state and step.
    int64_t work() const { return T * N * H * K * V * 5 / 2; }
};

template <class S>
nb::object matrix_memory(nb::handle q, nb::handle k, nb::handle v, nb::handle log_decay, nb::handle initial,
                         nb::handle lengths, bool training) {
    const MemoryInputs<S> in(q, k, v, log_decay, initial, lengths);
    nb::object y = empty<S>({in.T, in.N, in.H, in.V}), last = empty<S>({in.N, in.H, in.K, in.V}), saved = nb::none();
    if (training) saved = empty<S>({(in.T + MEMORY_CHUNK - 1) / MEMORY_CHUNK, in.N, in.H, in.K, in.V});
    const MemoryForward<S> f = {
        .memory = in.memory, .y = data<S>(y), .last = data<S>(last), .saved = data_or_null<S>(saved)};
    const auto operation = operations<S>().matrix_memory;
    run_into<S>({}, operation, f, divide_tasks(operation, in.work(), sizeof(S), in.N * in.H * in.V));
    return tuple_of(y, last, saved);
}

template <class S>
nb::object matrix_memory_gradients(nb::handle q, nb::handle k, nb::handle v, nb::handle log_decay, nb::handle initial,
                                   nb::handle lengths, nb::handle saved, nb::handle dy, nb::handle dlast) {
    const MemoryInputs<S> in(q, k, v, log_decay, initial, lengths);
    const auto [T, N, H, K, V] = std::array{in.T, in.N, in.H, in.K, in.V};
    const OptionalInput<S> saved_in(saved, {(T + MEMORY_CHUNK - 1) / MEMORY_CHUNK, N, H, K, V}),
        dlast_in(dlast, {N, H, K, V});
    HeadsInput<S> dy_in;
    nb::object dq = empty<S>({T, N, in.groups, K}), dk = empty<S>({T, N, in.groups, K}), dv = empty<S>({T, N, H, V}),
               dlog_decay = empty<S>({T, N, H}), dinitial = gradient_of<S>(initial, {N, H, K, V});
    const MemoryBackward<S> f = {.memory = in.memory,
                                 .saved = saved_in.data(),
                                 .dy = dy_in.rows(dy, T, N, H, V),
                                 .dlast = dlast_in.data(),
                                 .dq = data<S>(dq),
                                 .dk = data<S>(dk),
                                 .dv = data<S>(dv),
                                 .dlog_decay = data<S>(dlog_decay),
                                 .dinitial = data_or_null<S>(dinitial)};
    const auto operation = operations<S>().matrix_memory_gradients;
    run_into<S>({}, operation, f, divide_tasks(operation, 3 * in.work(), sizeof(S), N * H * (K + V)));
    return tuple_of(dq, dk, dv, dlog_decay, dinitial);
}

template <class S>
struct ConvolutionInputs {
    int64_t T, N, D, W;
    StepsInput<S> x, initial;
    Input<S> weight;
    OptionalInput<S> bias;
    Lengths lengths;
    CausalConvolution<S> convolution;

    ConvolutionInputs(nb::handle x_, nb::handle weight_, nb::handle bias_, bool silu, nb::handle initial_,
                      nb::handle lengths_)
        : T(size(x_, 0)),
          N(size(x_, 1)),
          D(size(x_, 2)),
          W(size(weight_, 1)),
          weight(weight_, {D, W}),
          bias(bias_, {D}),
          lengths(lengths_, N) {
        if (T < 1 || N < 1 || D < 1 || W < 1) throw nb::type_error("expected sizes of 1 or more");
        convolution = {.T = T,
                       .N = N,
                       .D = D,
                       .W = W,
                       .x = x.rows(x_, false, T, N, D),
                       .weight = weight.matrix(),
                       .bias = bias.data(),
                       .silu = silu,
                       .initial = initial.rows(initial_, false, W - 1, N, D),
                       .lengths = lengths.data()};
    }

    // The multiply-adds of a forward pass: silu takes the time of 24.
    int64_t work() const { return T * N * D * (W + 24); }
};

template <class S>
nb::object causal_convolution(nb::handle x, nb::handle weight, nb::handle bias, bool silu, nb::handle initial,
                              nb::handle lengths) {
    const ConvolutionInputs<S> in(x, weight, bias, silu, initial, lengths);
    nb::object y = empty<S>({in.T, in.N, in.D}), last = empty<S>({in.W - 1, in.N, in.D});
    const ConvolutionForward<S> f = {.convolution = in.convolution, .y = data<S>(y), .last = data<S>(last)};
    const auto operation = operations<S>().causal_convolution;
    run_into<S>({}, operation, f, divide_tasks(operation, in.work(), sizeof(S), in.N * in.D));
    return tuple_of(y, last);
}

template <class S>
nb::object causal_convolution_gradients(nb::handle x, nb::handle weight, nb::handle bias, bool silu,
                                        nb::handle initial, nb::handle lengths, nb::handle dy, nb::handle dlast) {
    const ConvolutionInputs<S> in(x, weight, bias, silu, initial, lengths);
    StepsInput<S> dy_in, dlast_in;
    nb::object dx = empty<S>({in.T, in.N, in.D}), dweight = empty<S>({in.D, in.W}),
               dbias = gradient_of<S>(bias, {in.D}), dinitial = gradient_of<S>(initial, {in.W - 1, in.N, in.D});
    const ConvolutionBackward<S> f = {.convolution = in.convolution,
                                      .dy = dy_in.rows(dy, false, in.T, in.N, in.D),
                                      .dlast = dlast_in.rows(dlast, false, in.W - 1, in.N, in.D),
                                      .dx = data<S>(dx),
                                      .dweight = data<S>(dweight),
                                      .dbias = data_or_null<S>(dbias),
                                      .dinitial = data_or_null<S>(dinitial)};
    const auto operation = operations<S>().causal_convolution_gradients;
    run_into<S>({}, operation, f, divide_tasks(operation, 2 * in.work(), sizeof(S), in.N * in.D));
    return tuple_of(dx, dweight, dbias, dinitial);
}

// The function for the element type of `like`, called with all arguments.
template <class OfFloat, class OfDouble, class... Arguments>
nb::object by_type(nb::handle like, OfFloat of_float, OfDouble of_double, Arguments... arguments) {
    return is_float32(like) ? of_float(arguments...) : of_double(arguments...);
}

void define_state_spaces(nb::module_& m) {
    m.def("selective_scan", [](nb::handle u, nb::handle delta, nb::handle A, nb::handle B, nb::handle C, int64_t groups,
                               nb::handle skip, nb::handle z, nb::handle bias, bool softplus, nb::handle initial,
                               nb::handle lengths, bool training) {
        return by_type(u, selective_scan<float>, selective_scan<double>, u, delta, A, B, C, groups, skip, z, bias,
                       softplus, initial, lengths, training);
    }, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg().none(),
       nb::arg().none(), nb::arg(), nb::arg().none(), nb::arg().none(), nb::arg());
    m.def("selective_scan_gradients", [](nb::handle u, nb::handle delta, nb::handle A, nb::handle B, nb::handle C,
                                         int64_t groups, nb::handle skip, nb::handle z, nb::handle bias, bool softplus,
                                         nb::handle initial, nb::handle lengths, nb::handle saved, nb::handle dy,
                                         nb::handle dlast) {
        return by_type(u, selective_scan_gradients<float>, selective_scan_gradients<double>, u, delta, A, B, C, groups,
                       skip, z, bias, softplus, initial, lengths, saved, dy, dlast);
    }, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg().none(),
       nb::arg().none(), nb::arg(), nb::arg().none(), nb::arg().none(), nb::arg(), nb::arg().none(), nb::arg().none());
    m.def("matrix_memory", [](nb::handle q, nb::handle k, nb::handle v, nb::handle log_decay, nb::handle initial,
                              nb::handle lengths, bool training) {
        return by_type(v, matrix_memory<float>, matrix_memory<double>, q, k, v, log_decay, initial, lengths, training);
    }, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg().none(), nb::arg());
    m.def("matrix_memory_gradients", [](nb::handle q, nb::handle k, nb::handle v, nb::handle log_decay,
                                        nb::handle initial, nb::handle lengths, nb::handle saved, nb::handle dy,
                                        nb::handle dlast) {
        return by_type(v, matrix_memory_gradients<float>, matrix_memory_gradients<double>, q, k, v, log_decay, initial,
                       lengths, saved, dy, dlast);
    }, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg().none(), nb::arg(), nb::arg().none(),
       nb::arg().none());
    m.def("causal_convolution", [](nb::handle x, nb::handle weight, nb::handle bias, bool silu, nb::handle initial,
                                   nb::handle lengths) {
        return by_type(x, causal_convolution<float>, causal_convolution<double>, x, weight, bias, silu, initial,
                       lengths);
    }, nb::arg(), nb::arg(), nb::arg().none(), nb::arg(), nb::arg().none(), nb::arg().none());
    m.def("causal_convolution_gradients", [](nb::handle x, nb::handle weight, nb::handle bias, bool silu,
                                             nb::handle initial, nb::handle lengths, nb::handle dy, nb::handle dlast) {
        return by_type(x, causal_convolution_gradients<float>, causal_convolution_gradients<double>, x, weight, bias,
                       silu, initial, lengths, dy, dlast);
    }, nb::arg(), nb::arg(), nb::arg().none(), nb::arg(), nb::arg().none(), nb::arg().none(), nb::arg().none(),
       nb::arg().none());
}

}  // namespace

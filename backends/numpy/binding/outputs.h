// The affine map, the cross-entropy, and tanh for its test.
#pragma once

#include "arrays.h"
#include "calls.h"
#include "levels.h"

namespace {

template <class S>
nb::object affine(nb::handle x, nb::handle W, nb::handle b, int products) {
    const int64_t rows = size(x, 0), D = size(x, 1), C = size(b, 0);
    Input<S> x_in(x, {rows, D}), W_in(W, {D, C}), b_in(b, {C});
    nb::object y = empty<S>({rows, C});
    const Form<S> form = form_of<S>(products, 1, rows, D, C);
    const Affine<S> f = {.rows = rows,
                         .D = D,
                         .C = C,
                         .x = x_in.contiguous().data(),
                         .W = W_in.matrix(),
                         .b = b_in.data(),
                         .b_stride = b_in.stride(0),
                         .y = data<S>(y)};
    const auto operation = form.operations.affine;
    run_into<S>({}, operation, f, divide(operation, 1, rows, D, C, form.size, form.tiles));
    return y;
}

template <class S>
nb::object affine_gradients(nb::handle x, nb::handle W, nb::handle dy, nb::handle dW, nb::handle db,
                            bool needs_dx, int products) {
    const int64_t rows = size(x, 0), D = size(x, 1), C = size(dy, 1);
    Input<S> x_in(x, {rows, D}), W_in(W, {D, C}), dy_in(dy, {rows, C});
    nb::object dx = needs_dx ? empty<S>({rows, D}) : nb::none();
    const AffineGradients<S> f = {.rows = rows,
                                  .D = D,
                                  .C = C,
                                  .x = x_in.contiguous().data(),
                                  .W = W_in.matrix(),
                                  .dy = dy_in.contiguous().data(),
                                  .dW = output<S>(dW, {D, C}),
                                  .db = output<S>(db, {C}),
                                  .dx = needs_dx ? data<S>(dx) : nullptr};
    const Form<S> form = form_of<S>(products, 1, rows, D, C);
    const auto operation = form.operations.affine_gradients;
    run_into<S>({{f.dW, D * C}, {f.db, C}}, operation, f, divide(operation, 2 * rows * D * C, form.size));
    return dx;
}

// The multiply-adds that take about the time of an exponential.
constexpr int64_t EXPONENTIAL = 16;

template <class S>
nb::object cross_entropy(nb::handle logits, nb::handle targets, nb::handle weights) {
    const int64_t rows = size(logits, 0), C = size(logits, 1);
    Input<S> logits_in(logits, {rows, C});
    Input<S> weights_in(weights, {rows});
    Input<int64_t> targets_in(targets, {rows});
    if (C == 0) throw nb::value_error("the logits have no columns");
    targets_in.own_copy();
    for (int64_t i = 0; i < rows; ++i)
        if (targets_in.data()[i] < 0 || targets_in.data()[i] >= C) throw nb::index_error("a target is no column");
    nb::object losses = empty<S>({rows}), dlogits = empty<S>({rows, C});
    const CrossEntropy<S> f = {.rows = rows,
                               .C = C,
                               .logits = logits_in.contiguous().data(),
                               .targets = targets_in.data(),
                               .weights = weights_in.contiguous().data(),
                               .dlogits = data<S>(dlogits),
                               .losses = data<S>(losses)};
    const auto operation = operations<S>().cross_entropy;
    run_into<S>({}, operation, f, divide(operation, rows * C * EXPONENTIAL, sizeof(S)));
    return nb::make_tuple(losses, dlogits);
}

template <class S>
nb::object tanh_of(nb::handle x) {
    const int64_t n = size(x, 0);
    Input<S> x_in(x, {n});
    nb::object y = empty<S>({n});
    operations<S>().tanh(x_in.contiguous().data(), data<S>(y), n);
    return y;
}

}  // namespace

// The recurrences of the cells. _kernels.pyi describes the shapes.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "calls.h"
#include "fastcall.h"
#include "levels.h"
#include "packed.h"

namespace {

// The names of the cells that have kernels in the level in use: a tuple of interned strings, in the order of
// `Operations::recurrences`. They are not deleted at exit, as the interpreter is gone by then.
PyObject* cell_names = nullptr;

void use_level(const char* name) {
    set_level(name);
    nb::list names;
    for (const Recurrence<float>* r = operations<float>().recurrences; r->name; ++r)
        names.append(nb::steal(PyUnicode_InternFromString(r->name)));
    Py_XSETREF(cell_names, nb::tuple(names).release().ptr());
}

// The kernels of the cell of this name. Equal interned strings are one object, so that comparing addresses is enough.
// It saves 25 to 50 ns, 5 % of a step of an LSTM or GRU with 4 units.
template <class S>
const Recurrence<S>& recurrence(nb::handle cell) {
    PyObject* name = cell.inc_ref().ptr();
    PyUnicode_InternInPlace(&name);
    const nb::object interned = nb::steal(name);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(cell_names); ++i)
        if (interned.ptr() == PyTuple_GET_ITEM(cell_names, i)) return operations<S>().recurrences[i];
    const nb::object listed = nb::str(", ").attr("join")(nb::handle(cell_names));
    throw nb::value_error(("expected a cell that has kernels: " + nb::cast<std::string>(listed)).c_str());
}

// The array of state k, or None, from a tuple or a list with an item for each state, or from None for all states.
nb::handle item(nb::handle arrays, int k) {
    PyObject* all = arrays.ptr();
    if (arrays.is_none()) return arrays;
    if (!(PyTuple_Check(all) || PyList_Check(all)) || PySequence_Fast_GET_SIZE(all) <= k)
        throw nb::type_error("expected an array for each state");
    return PySequence_Fast_GET_ITEM(all, k);
}

// An own parameter of a cell: an array (H,), or a number of any type that serves all units.
template <class S>
class OwnParameter {
   public:
    OwnParameter(nb::handle given, int64_t H) {
        PyObject* const value = given.ptr();
        if (!(PyFloat_Check(value) || PyLong_Check(value) || PyArray_CheckScalar(value))) {
            array.emplace(given, std::initializer_list<int64_t>{H});
            array->contiguous();
            return;
        }
        const double number = PyFloat_AsDouble(value);
        if (number == -1 && PyErr_Occurred()) throw nb::python_error();
        repeated.assign(std::max<int64_t>(H, 1), S(number));
    }
    const S* data() const { return array ? array->data() : repeated.data(); }

   private:
    std::optional<Input<S>> array;
    std::vector<S> repeated;
};

// An array (T, N, columns), or (N, columns) of one step, read through the strides of its first axes. It must outlive the
// call.
template <class S>
class StepsInput {
   public:
    StepRows<S> rows(nb::handle given, bool one_step, int64_t T, int64_t N, int64_t columns) {
        if (given.is_none()) return {};
        array.emplace(one_step ? Input<S>(given, {N, columns}) : Input<S>(given, {T, N, columns}));
        array->contiguous_rows();
        return {.data = array->data(), .step = array->stride(0), .row = array->stride(one_step ? 0 : 1)};
    }

   private:
    std::optional<Input<S>> array;
};

// The inputs of both directions. It must outlive the call.
template <class S>
struct SequenceInputs {
    bool one_step, has_heads;  // x is (N, D); Wh is (heads, H/heads, R · H/heads)
    int64_t T, N, D, H, heads, state_row;
    Input<S> x, Wx, Wh;
    std::optional<Input<int64_t>> lengths;
    std::optional<OwnParameter<S>> own[MOST_OWN];

    SequenceInputs(const Recurrence<S>& cell, nb::handle x_, nb::handle Wx_, nb::handle Wh_, nb::handle lengths_,
                   nb::handle own_)
        : one_step(ndim(x_) == 2),
          has_heads(ndim(Wh_) == 3),
          T(one_step ? 1 : size(x_, 0)),
          N(size(x_, -2)),
          D(size(x_, -1)),
          H(has_heads ? size(Wh_, 0) * size(Wh_, 1) : size(Wh_, 0) / cell.joined),
          heads(has_heads ? std::max<int64_t>(size(Wh_, 0), 1) : 1),
          state_row(cell.joined * H),
          x(one_step ? Input<S>(x_, {N, D}) : Input<S>(x_, {T, N, D})),
          Wx(Wx_, {D, cell.x_gates * H}),
          Wh(has_heads ? Input<S>(Wh_, {heads, units(), cell.h_gates * units()})
                       : Input<S>(Wh_, {state_row, cell.h_gates * H})) {
        x.contiguous();
        if (!lengths_.is_none()) {
            lengths.emplace(lengths_, std::initializer_list<int64_t>{N});
            lengths->own_copy();
        }
        if (!PyTuple_Check(own_.ptr()) || PyTuple_GET_SIZE(own_.ptr()) != cell.own)
            throw nb::value_error(("expected a tuple of " + std::to_string(cell.own) + " own parameters of the cell " +
                                   cell.name).c_str());
        for (int k = 0; k < cell.own; ++k) own[k].emplace(PyTuple_GET_ITEM(own_.ptr(), k), H);
    }

    int64_t units() const { return H / heads; }  // of a head

    Sequence<S> sequence(bool reverse) const {
        Sequence<S> sequence = {
                .reverse = reverse,
                .T = T,
                .N = N,
                .D = D,
                .H = H,
                .x = x.data(),
                .Wx = Wx.matrix(),
                .Wh = has_heads ? Matrix<S>{Wh.data(), Wh.stride(1), Wh.stride(2)} : Wh.matrix(),
                .heads = {heads, has_heads ? Wh.stride(0) : 0},
                .lengths = lengths ? lengths->data() : nullptr,
                .own = {},
                .state_row = state_row};
        for (int k = 0; k < MOST_OWN; ++k) sequence.own[k] = own[k] ? own[k]->data() : nullptr;
        return sequence;
    }
};

// The kernel that a call runs, in the precision of its products, and its division among threads.
template <class S, class Operation>
struct Call {
    const Form<S> form;
    const Operation operation;
    const Division<Partition> division;

    Call(Operation Recurrence<S>::*pass, const Recurrence<S>& cell, const SequenceInputs<S>& in, Form<S> form)
        : form(form),
          operation(form.operations.recurrences[&cell - operations<S>().recurrences].*pass),
          division(cell.h_gates
                       ? divide(operation, in.T, in.N, in.D + in.units(), cell.h_gates * in.H, form.size, form.tiles,
                                MOST_THREADS, count_weight_bytes(in.D, cell.x_gates * in.H, form.size), PASSES)
                       : divide_scan(cell, in)) {}

   private:
    static constexpr int PASSES = std::is_same_v<Operation, decltype(Recurrence<S>::backward)> ? 2 : 1;

    // The products of all steps are one product.
    Division<Partition> divide_scan(const Recurrence<S>& cell, const SequenceInputs<S>& in) const {
        return divide_by(operation, 1, in.T * in.N, in.D + SCAN, cell.x_gates * in.H, form.size, PASSES, [&](int most) {
            return choose_scan_partition(in.T, in.N, in.D, cell.x_gates, in.H, form.size, most, form.tiles);
        });
    }
};

template <class S>
Form<S> form_of(int products, const Recurrence<S>& cell, const SequenceInputs<S>& in) {
    return cell.h_gates
               ? form_of<S>(products, in.T, in.N, in.D + in.units(), cell.h_gates * in.H, in.heads, in.units())
               : form_of<S>(products, 1, in.T * in.N, in.D, cell.x_gates * in.H);
}

// → states, z, kept, which is None
template <class S>
nb::object forward(nb::handle name, nb::handle x, nb::handle Wx, nb::handle Wh, nb::handle b, nb::handle initial,
                   nb::handle add, nb::handle lengths, bool reverse, nb::handle own, bool training, int products,
                   nb::handle packed) {
    const Recurrence<S>& cell = recurrence<S>(name);
    const SequenceInputs<S> in(cell, x, Wx, Wh, lengths, own);
    const Input<S> b_in(b, {cell.pre * in.H});
    StepsInput<S> add_in;
    std::optional<Input<S>> initial_in[MOST_STATES];
    Forward<S> f = {.sequence = in.sequence(reverse),
                    .packed = nullptr,
                    .b = b_in.data(),
                    .b_stride = b_in.stride(0),
                    .add = add_in.rows(add, in.one_step, in.T, in.N, cell.pre * in.H),
                    .initial = {},
                    .states = {},
                    .z = nullptr};
    nb::object states = nb::steal(PyTuple_New(cell.states / cell.joined));
    nb::object z = nb::none();
    for (int k = 0; k < cell.states; ++k) {
        const int array = k / cell.joined;
        if (k % cell.joined == 0) {
            if (const nb::handle given = item(initial, array); !given.is_none()) {
                initial_in[array].emplace(given, std::initializer_list<int64_t>{in.N, in.state_row});
                f.initial[k] = initial_in[array]->matrix();
            }
            nb::object state = empty<S>({in.T + 1, in.N, in.state_row});
            f.states[k] = data<S>(state);
            PyTuple_SET_ITEM(states.ptr(), array, state.release().ptr());
        } else {
            f.states[k] = f.states[k - 1] + in.H;
            f.initial[k] = f.initial[k - 1];
            if (f.initial[k].data) f.initial[k].data += in.H * f.initial[k].col;
        }
    }
    if (training && cell.keeps_z) {
        z = empty<S>({in.T, in.N, cell.pre * in.H});
        f.z = data<S>(z);
    }
    const Form<S> asked = form_of(products, cell, in);
    PackedForms* const frozen = packed.is_none() ? nullptr : &nb::cast<PackedForms&>(packed);
    const bool refused = frozen && frozen->cannot_represent(asked, f.sequence);
    const Call call(&Recurrence<S>::forward, cell, in, refused ? plain_form<S>() : asked);
    std::optional<PackedWeights> weights;
    if (frozen) {
        weights = frozen->weights(call.form, cell, f.sequence, call.division.threads);
        f.packed = weights ? &*weights : nullptr;
    }
    run_into<S>({}, call.operation, f, call.division);
    return tuple_of(states, z, nb::none());
}

template <class S>
nb::object backward(nb::handle name, nb::handle x, nb::handle Wx, nb::handle Wh, nb::handle states, nb::handle z,
                    nb::handle lengths, bool reverse, nb::handle own, nb::handle dstates, nb::handle dWx,
                    nb::handle dWh, nb::handle db, nb::handle d_own, nb::handle dadd, bool needs_dx, int products) {
    const Recurrence<S>& cell = recurrence<S>(name);
    const SequenceInputs<S> in(cell, x, Wx, Wh, lengths, own);
    std::optional<Input<S>> states_in[MOST_STATES], z_in;
    StepsInput<S> dstates_in[MOST_STATES];
    nb::object dx = !needs_dx     ? nb::none()
                    : in.one_step ? empty<S>({in.N, in.D})
                                  : empty<S>({in.T, in.N, in.D});
    nb::object dinitial = nb::steal(PyTuple_New(cell.states / cell.joined));
    Backward<S> f = {.sequence = in.sequence(reverse),
                     .states = {},
                     .z = nullptr,
                     .dstates = {},
                     .dWx = {nullptr, false},
                     .dWh = {nullptr, false},
                     .db = nullptr,
                     .d_own = {},
                     .dadd = nullptr,
                     .dx = needs_dx ? data<S>(dx) : nullptr,
                     .dinitial = {}};
    for (int k = 0; k < cell.states; ++k) {
        const int array = k / cell.joined;
        if (k % cell.joined) {
            f.states[k] = f.states[k - 1] + in.H;
            f.dinitial[k] = f.dinitial[k - 1] + in.H;
            f.dstates[k] = f.dstates[k - 1];
            if (f.dstates[k].data) f.dstates[k].data += in.H;
            continue;
        }
        states_in[array].emplace(item(states, array), std::initializer_list<int64_t>{in.T + 1, in.N, in.state_row});
        f.states[k] = states_in[array]->contiguous().data();
        f.dstates[k] = dstates_in[array].rows(item(dstates, array), in.one_step, in.T, in.N, in.state_row);
        nb::object made = empty<S>({in.N, in.state_row});
        f.dinitial[k] = data<S>(made);
        PyTuple_SET_ITEM(dinitial.ptr(), array, made.release().ptr());
    }
    if (cell.keeps_z) {
        z_in.emplace(z, std::initializer_list<int64_t>{in.T, in.N, cell.pre * in.H});
        f.z = z_in->contiguous().data();
    }
    const int64_t X = cell.x_gates * in.H, R = cell.h_gates * in.units(), B = cell.pre * in.H;
    if (!db.is_none()) {
        f.dWx = weight_gradient<S>(dWx, {in.D, X});
        f.dWh = in.has_heads ? WeightGradient<S>{output<S>(dWh, {in.heads, in.units(), R}), false}
                             : weight_gradient<S>(dWh, {in.state_row, R});
        f.db = output<S>(db, {B});
        for (int k = 0; k < cell.own && !d_own.is_none(); ++k) f.d_own[k] = output<S>(item(d_own, k), {in.H});
    }
    if (!dadd.is_none()) f.dadd = in.one_step ? output<S>(dadd, {in.N, B}) : output<S>(dadd, {in.T, in.N, B});
    const Call call(&Recurrence<S>::backward, cell, in, form_of(products, cell, in));
    static_assert(MOST_OWN == 4);
    run_into<S>({{f.dWx.data, in.D * X}, {f.dWh.data, in.H * R}, {f.db, B}, {f.d_own[0], in.H}, {f.d_own[1], in.H},
                 {f.d_own[2], in.H}, {f.d_own[3], in.H}, {f.dadd, in.T * in.N * B}},
                call.operation, f, call.division);
    return tuple_of(dx, dinitial);
}

PyObject* call_forward(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
    return answer([&] {
        const auto [cell, x, Wx, Wh, b, initial, add, lengths, reverse, own, training, products, packed] =
            take<13>(arguments, count);
        const auto f = is_float32(x) ? forward<float> : forward<double>;
        return f(cell, x, Wx, Wh, b, initial, add, lengths, reverse.is(Py_True), own, training.is(Py_True),
                 nb::cast<int>(products), packed);
    });
}

PyObject* call_backward(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
    return answer([&] {
        const auto [cell, x, Wx, Wh, states, z, lengths, reverse, own, dstates, dWx, dWh, db, d_own, dadd, needs_dx,
                    products] = take<17>(arguments, count);
        const auto f = is_float32(x) ? backward<float> : backward<double>;
        return f(cell, x, Wx, Wh, states, z, lengths, reverse.is(Py_True), own, dstates, dWx, dWh, db, d_own, dadd,
                 needs_dx.is(Py_True), nb::cast<int>(products));
    });
}

PyMethodDef RECURRENCES[] = {method("forward", call_forward), method("backward", call_backward), {}};

}  // namespace

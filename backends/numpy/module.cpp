// The Python face of the CPU kernels: arrays are checked and made, the level and the partition chosen, the GIL released.
//
// NumPy's own C API reads the arrays, since a step of a small layer takes less time than the import of a few arrays
// through DLPack.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#include <numpy/arrayobject.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <new>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/load.h"
#include "kernels/parallel.h"
#include "kernels/partition.h"
#include "kernels/pool.h"
#include "kernels/threads.h"

namespace nb = nanobind;
using namespace xrnn;

namespace {

#if defined(__clang__)
#define XRNN_COMPILER "Clang " __clang_version__
#elif defined(__GNUC__)
#define XRNN_COMPILER "GCC " __VERSION__
#else
#define XRNN_COMPILER "an unknown compiler"
#endif

// ---- the instruction-set level ----

struct Level {
    const char* name;
    const Kernels& (*kernels)();
    bool runs_here;
};

std::vector<Level> all_levels() {
    std::vector<Level> levels = {{"baseline", kernels_baseline, true}};
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
    levels.push_back({"avx2", kernels_avx2, avx2});
    levels.push_back({"avx512", kernels_avx512, avx512});
#endif
    return levels;
}

Level level = all_levels().front();

void set_level(const std::string& name) {
    std::string here;
    for (const Level& l : all_levels()) {
        if (!l.runs_here) continue;
        if (l.name == name) {
            level = l;
            return;
        }
        here += here.empty() ? l.name : std::string(", ") + l.name;
    }
    throw nb::value_error(("XRNN_ISA=" + name + " does not run here: expected one of " + here).c_str());
}

// ---- arrays ----

PyArrayObject* as_array(nb::handle h) {
    if (!PyArray_Check(h.ptr())) throw nb::type_error("expected NumPy arrays");
    return reinterpret_cast<PyArrayObject*>(h.ptr());
}

template <class S>
constexpr int TYPE = NPY_FLOAT64;
template <>
constexpr int TYPE<float> = NPY_FLOAT32;
template <>
constexpr int TYPE<int64_t> = NPY_INT64;

// An input, read through its strides. Copied only where its elements are misaligned or in the other byte order.
template <class S>
class Input {
   public:
    Input(nb::handle h, std::initializer_list<int64_t> shape) : array(as_array(h)) {
        check(shape);
        if (!PyArray_ISBEHAVED_RO(array) || !strides_are_whole()) copy();
    }

    const S* data() const { return static_cast<const S*>(PyArray_DATA(array)); }
    int64_t stride(int axis) const { return PyArray_STRIDE(array, axis) / int64_t(sizeof(S)); }
    Matrix<S> matrix() const { return {data(), stride(0), stride(1)}; }

    Input& contiguous() {
        if (!PyArray_IS_C_CONTIGUOUS(array)) copy();
        return *this;
    }
    Input& contiguous_rows() {
        if (stride(PyArray_NDIM(array) - 1) != 1) copy();
        return *this;
    }

   private:
    PyArrayObject* array;
    nb::object copied;

    void check(std::initializer_list<int64_t> shape) const {
        bool fits = PyArray_TYPE(array) == TYPE<S> && PyArray_NDIM(array) == int(shape.size());
        int axis = 0;
        for (int64_t size : shape) fits = fits && PyArray_DIM(array, axis++) == size;
        if (!fits) throw nb::type_error("the arrays don't fit each other in dtype or shape");
    }
    bool strides_are_whole() const {  // not so in a field of a packed record
        for (int axis = 0; axis < PyArray_NDIM(array); ++axis)
            if (PyArray_STRIDE(array, axis) % int64_t(sizeof(S))) return false;
        return true;
    }
    void copy() {
        PyObject* made = PyArray_CheckFromAny(
            reinterpret_cast<PyObject*>(array), nullptr, 0, 0,
            NPY_ARRAY_CARRAY_RO | NPY_ARRAY_NOTSWAPPED | NPY_ARRAY_ENSURECOPY, nullptr);
        if (!made) throw nb::python_error();
        copied = nb::steal(made);
        array = reinterpret_cast<PyArrayObject*>(made);
    }
};

// An array to overwrite: contiguous, since the layer made it.
template <class S>
S* output(nb::handle h, std::initializer_list<int64_t> shape) {
    Input<S> checked(h, shape);
    PyArrayObject* array = as_array(h);
    if (!PyArray_ISCARRAY(array)) throw nb::type_error("expected contiguous, writable arrays to overwrite");
    return static_cast<S*>(PyArray_DATA(array));
}

// The same of a matrix that may also be the transpose of a contiguous one.
template <class S>
WeightGradient<S> weight_gradient(nb::handle h, std::initializer_list<int64_t> shape) {
    PyArrayObject* array = as_array(h);
    if (!PyArray_ISFARRAY(array) || PyArray_IS_C_CONTIGUOUS(array)) return {output<S>(h, shape), false};
    Input<S> checked(h, shape);
    return {static_cast<S*>(PyArray_DATA(array)), true};
}

template <class S>
nb::object empty(std::initializer_list<npy_intp> shape) {
    PyObject* made = PyArray_SimpleNew(int(shape.size()), const_cast<npy_intp*>(shape.begin()), TYPE<S>);
    if (!made) throw nb::python_error();
    return nb::steal(made);
}

template <class S>
S* data(const nb::object& made) {
    return static_cast<S*>(PyArray_DATA(reinterpret_cast<PyArrayObject*>(made.ptr())));
}

int64_t size(nb::handle h, int axis) {
    PyArrayObject* array = as_array(h);
    if (axis >= PyArray_NDIM(array)) throw nb::type_error("the arrays don't fit each other in dtype or shape");
    return PyArray_DIM(array, axis);
}

nb::object pair(const nb::object& first, const nb::object& second) {
    PyObject* made = PyTuple_Pack(2, first.ptr(), second.ptr());
    if (!made) throw nb::python_error();
    return nb::steal(made);
}

bool is_float32(nb::handle h) { return PyArray_TYPE(as_array(h)) == NPY_FLOAT32; }

template <class S>
const Operations<S>& operations() {
    if constexpr (sizeof(S) == 4)
        return level.kernels().f32;
    else
        return level.kernels().f64;
}

// ---- the operations; shapes in _kernels.pyi ----

// The partition that is used in place of the rule's, for tests and measurements; no threads: none.
Partition forced = {0, Split::ROWS, false, false};

void hold_threads(bool hold) {
    insist_on_threads(hold);
    ignore_load(hold);
}

// How many threads there may be, and are at once. Asking takes as long as a small operation: only for work that is worth
// two.
int threads_for(int64_t multiply_adds, int64_t size, int64_t weight_bytes, bool once) {
    if (choose_threads(multiply_adds, size, 2, once) == 1) return 1;
    int most = max_threads();
    if (const int limit = load_limit(); limit < most) {
        report_wish(most);
        most = limit;
    }
    return ready_threads(most, is_worth_waking(multiply_adds, size, weight_bytes));
}

template <class S>
Partition partition(int64_t T, int64_t N, int64_t K, int64_t H) {
    if (forced.threads) return forced;
    const int64_t weight_bytes = count_weight_bytes(K, H, sizeof(S));
    const int most = threads_for(count_multiply_adds(T, N, K, H), sizeof(S), weight_bytes, T == 1);
    return choose_partition(T, N, K, H, sizeof(S), most);
}

template <class S>
int threads(int64_t multiply_adds) {
    if (forced.threads) return forced.threads;
    return choose_threads(multiply_adds, sizeof(S), threads_for(multiply_adds, sizeof(S), 0, false), false);
}

// Whether the calling thread is the one that runs Python's signal handlers. The others need not ask for the GIL.
bool is_main_thread() {
    thread_local int is_main = -1;
    thread_local bool forked = false;
    if (is_main < 0 || forked != in_forked_child()) {  // in a forked child the thread that forked is the main one
        forked = in_forked_child();
        nb::object main = nb::module_::import_("threading").attr("main_thread")().attr("ident");
        is_main = nb::cast<unsigned long>(main) == PyThread_get_thread_ident();
    }
    return is_main;
}

thread_local bool asks_python = false;

// A signal's handler has raised: its exception waits in the thread's state until `run` finds it. A handler that forks
// returns twice. In the child the operation can't go on, since the other threads are the parent's.
bool interrupted() {
    if (!asks_python) return false;
    nb::gil_scoped_acquire acquire;
    const bool was_forked = in_forked_child();
    bool raised = PyErr_CheckSignals() != 0;
    if (!raised && in_forked_child() != was_forked) {
        PyErr_SetString(PyExc_RuntimeError, "a signal handler forked during a fused call: the child can't end the call, "
                                            "expected it to end by os._exit() in the handler");
        raised = true;
    }
    asks_python = true;  // an operation of the handler's has ended
    return raised;
}

// Take the GIL again. Before version 3.14 an exiting Python ends the daemon threads that ask for it by pthread_exit, which
// unwinds the stack as an exception does, and nanobind's functions would answer that by aborting the process. Such a
// thread never leaves this function: it sleeps until the process is gone.
void take_gil(PyThreadState* state) {
    struct SleepIfUnwound {
        bool unwound = true;
        ~SleepIfUnwound() {
            while (unwound) sleep_for(1'000'000'000);
        }
    } guard;
    PyEval_RestoreThread(state);
    guard.unwound = false;
}

// Run an operation without the GIL.
template <class Operation, class Arguments, class... Threads>
bool run(Operation operation, const Arguments& arguments, Threads... threads) {
    asks_python = is_main_thread();
    bool had_memory = true;
    PyThreadState* const state = PyEval_SaveThread();
    if constexpr (std::is_void_v<decltype(operation(arguments, threads...))>)
        operation(arguments, threads...);
    else
        had_memory = operation(arguments, threads...);
    take_gil(state);
    asks_python = false;
    if (!had_memory) throw std::bad_alloc();
    return !PyErr_Occurred();
}

// The same; what was half written when a signal's handler raised becomes NaN.
struct Output {
    void* data;
    int64_t size;
};
template <class S, class Operation, class Arguments, class Threads>
void run_into(std::initializer_list<Output> outputs, Operation operation, const Arguments& arguments, Threads threads) {
    if (run(operation, arguments, threads)) return;
    for (const Output& out : outputs)
        std::fill_n(static_cast<S*>(out.data), out.size, std::numeric_limits<S>::quiet_NaN());
    throw nb::python_error();
}

// The kernels of the cell of this name, with a leak or without.
template <class S>
const Recurrence<S>& recurrence(const char* name, bool leaky) {
    std::string names, with_leak;
    bool known = false;
    for (const Recurrence<S>* r = operations<S>().recurrences; r->name; ++r) {
        const bool found = std::strcmp(r->name, name) == 0;
        if (found && r->leaks == leaky) return *r;
        known = known || found;
    }
    for (const Recurrence<S>* r = operations<S>().recurrences; r->name; ++r) {
        std::string& list = r->leaks ? with_leak : names;
        list += (list.empty() ? "" : ", ") + std::string(r->name);
    }
    if (known) throw nb::value_error(("only these cells have a leak: " + with_leak).c_str());
    throw nb::value_error(("expected a cell that has kernels: " + names).c_str());
}

// One array a state, or None in its place, in a tuple or a list; None for all of them is as good.
nb::handle item(nb::handle arrays, int k) {
    PyObject* all = arrays.ptr();
    if (arrays.is_none()) return arrays;
    if (!(PyTuple_Check(all) || PyList_Check(all)) || PySequence_Fast_GET_SIZE(all) <= k)
        throw nb::type_error("expected an array a state");
    return PySequence_Fast_GET_ITEM(all, k);
}

// What both directions read. The inputs must outlive the call.
template <class S>
struct SequenceInputs {
    int64_t T, N, D, H;
    Input<S> x, Wx, Wh;
    std::optional<Input<int64_t>> lengths;
    std::optional<Input<S>> leak;
    std::vector<S> equal_leaks;  // of a leak that is a number

    SequenceInputs(const Recurrence<S>& cell, nb::handle x_, nb::handle Wx_, nb::handle Wh_, nb::handle lengths_,
                   nb::handle leak_)
        : T(size(x_, 0)),
          N(size(x_, 1)),
          D(size(x_, 2)),
          H(size(Wh_, 0)),
          x(x_, {T, N, D}),
          Wx(Wx_, {D, cell.x_gates * H}),
          Wh(Wh_, {H, cell.h_gates * H}) {
        x.contiguous();
        if (!lengths_.is_none()) lengths.emplace(lengths_, std::initializer_list<int64_t>{N}), lengths->contiguous();
        if (PyFloat_Check(leak_.ptr()) || PyLong_Check(leak_.ptr()))
            equal_leaks.assign(std::max<int64_t>(H, 1), S(nb::cast<double>(leak_)));
        else if (!leak_.is_none())
            leak.emplace(leak_, std::initializer_list<int64_t>{H}), leak->contiguous();
    }

    bool leaky() const { return leak || !equal_leaks.empty(); }

    Sequence<S> sequence(bool reverse) const {
        return {.reverse = reverse,
                .T = T,
                .N = N,
                .D = D,
                .H = H,
                .x = x.data(),
                .Wx = Wx.matrix(),
                .Wh = Wh.matrix(),
                .lengths = lengths ? lengths->data() : nullptr,
                .leak = leak ? leak->data() : leaky() ? equal_leaks.data() : nullptr};
    }
};

template <class S>
nb::object forward(const char* name, nb::handle x, nb::handle Wx, nb::handle Wh, nb::handle b, nb::handle initial,
                   nb::handle lengths, bool reverse, nb::handle leak, bool training) {
    const Recurrence<S>& cell = recurrence<S>(name, !leak.is_none());
    const SequenceInputs<S> in(cell, x, Wx, Wh, lengths, leak);
    const Input<S> b_in(b, {cell.pre * in.H});
    std::optional<Input<S>> initial_in[MOST_STATES];
    Forward<S> f = {.of = in.sequence(reverse),
                    .b = b_in.data(),
                    .b_stride = b_in.stride(0),
                    .initial = {},
                    .states = {},
                    .z = nullptr};
    nb::object states = nb::steal(PyTuple_New(cell.states)), z = nb::none();
    for (int k = 0; k < cell.states; ++k) {
        if (const nb::handle given = item(initial, k); !given.is_none()) {
            initial_in[k].emplace(given, std::initializer_list<int64_t>{in.N, in.H});
            f.initial[k] = initial_in[k]->matrix();
        }
        nb::object state = empty<S>({in.T + 1, in.N, in.H});
        f.states[k] = data<S>(state);
        PyTuple_SET_ITEM(states.ptr(), k, state.release().ptr());
    }
    if (training && cell.keeps_z) {
        z = empty<S>({in.T, in.N, cell.pre * in.H});
        f.z = data<S>(z);
    }
    run_into<S>({}, cell.forward, f, partition<S>(in.T, in.N, in.D + in.H, cell.h_gates * in.H));
    return pair(states, z);
}

template <class S>
nb::object backward(const char* name, nb::handle x, nb::handle Wx, nb::handle Wh, nb::handle states, nb::handle z,
                    nb::handle lengths, bool reverse, nb::handle leak, nb::handle dstates, nb::handle dWx,
                    nb::handle dWh, nb::handle db) {
    const Recurrence<S>& cell = recurrence<S>(name, !leak.is_none());
    const SequenceInputs<S> in(cell, x, Wx, Wh, lengths, leak);
    std::optional<Input<S>> states_in[MOST_STATES], dstates_in[MOST_STATES], z_in;
    nb::object dx = empty<S>({in.T, in.N, in.D}), dinitial = nb::steal(PyTuple_New(cell.states));
    Backward<S> f = {.of = in.sequence(reverse),
                     .states = {},
                     .z = nullptr,
                     .dstates = {},
                     .dWx = weight_gradient<S>(dWx, {in.D, cell.x_gates * in.H}),
                     .dWh = weight_gradient<S>(dWh, {in.H, cell.h_gates * in.H}),
                     .db = output<S>(db, {cell.pre * in.H}),
                     .dx = data<S>(dx),
                     .dinitial = {}};
    for (int k = 0; k < cell.states; ++k) {
        states_in[k].emplace(item(states, k), std::initializer_list<int64_t>{in.T + 1, in.N, in.H});
        f.states[k] = states_in[k]->contiguous().data();
        if (const nb::handle given = item(dstates, k); !given.is_none()) {
            Input<S>& above = dstates_in[k].emplace(given, std::initializer_list<int64_t>{in.T, in.N, in.H});
            above.contiguous_rows();
            f.dstates[k] = {.data = above.data(), .step = above.stride(0), .row = above.stride(1)};
        }
        nb::object made = empty<S>({in.N, in.H});
        f.dinitial[k] = data<S>(made);
        PyTuple_SET_ITEM(dinitial.ptr(), k, made.release().ptr());
    }
    if (cell.keeps_z) {
        z_in.emplace(z, std::initializer_list<int64_t>{in.T, in.N, cell.pre * in.H});
        f.z = z_in->contiguous().data();
    }
    const int64_t X = cell.x_gates * in.H, R = cell.h_gates * in.H;
    run_into<S>({{f.dWx.data, in.D * X}, {f.dWh.data, in.H * R}, {f.db, cell.pre * in.H}}, cell.backward, f,
                partition<S>(in.T, in.N, in.D + in.H, R));
    return pair(dx, dinitial);
}

template <class S>
nb::object affine(nb::handle x, nb::handle W, nb::handle b) {
    const int64_t rows = size(x, 0), D = size(x, 1), C = size(b, 0);
    Input<S> x_in(x, {rows, D}), W_in(W, {D, C}), b_in(b, {C});
    nb::object y = empty<S>({rows, C});
    const Affine<S> f = {.rows = rows,
                         .D = D,
                         .C = C,
                         .x = x_in.contiguous().data(),
                         .W = W_in.matrix(),
                         .b = b_in.data(),
                         .b_stride = b_in.stride(0),
                         .y = data<S>(y)};
    run_into<S>({}, operations<S>().affine, f, partition<S>(1, rows, D, C));
    return y;
}

template <class S>
nb::object affine_gradients(nb::handle x, nb::handle W, nb::handle dy, nb::handle dW, nb::handle db) {
    const int64_t rows = size(x, 0), D = size(x, 1), C = size(dy, 1);
    Input<S> x_in(x, {rows, D}), W_in(W, {D, C}), dy_in(dy, {rows, C});
    nb::object dx = empty<S>({rows, D});
    const AffineGradients<S> f = {.rows = rows,
                                  .D = D,
                                  .C = C,
                                  .x = x_in.contiguous().data(),
                                  .W = W_in.matrix(),
                                  .dy = dy_in.contiguous().data(),
                                  .dW = output<S>(dW, {D, C}),
                                  .db = output<S>(db, {C}),
                                  .dx = data<S>(dx)};
    run_into<S>({{f.dW, D * C}, {f.db, C}}, operations<S>().affine_gradients, f, threads<S>(2 * rows * D * C));
    return dx;
}

// An exponential takes about as long as this many multiply-adds.
constexpr int64_t EXPONENTIAL = 16;

template <class S>
nb::object cross_entropy(nb::handle logits, nb::handle targets, nb::handle weights) {
    const int64_t rows = size(logits, 0), C = size(logits, 1);
    Input<S> logits_in(logits, {rows, C});
    Input<S> weights_in(weights, {rows});
    Input<int64_t> targets_in(targets, {rows});
    if (C == 0) throw nb::value_error("the logits have no columns");
    targets_in.contiguous();
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
    run_into<S>({}, operations<S>().cross_entropy, f, threads<S>(rows * C * EXPONENTIAL));
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

NB_MODULE(_kernels, m) {
    if (_import_array() < 0) throw nb::python_error();
    m.doc() = "The compiled kernels of the NumPy backend.";
    m.def("compiler", [] { return XRNN_COMPILER; });
    m.def("levels", [] {
        nb::list names;
        for (const Level& l : all_levels())
            if (l.runs_here) names.append(l.name);
        return names;
    });
    m.def("level", [] { return level.name; });
    m.def("set_level", [](const char* name) { set_level(name); });
    m.def("max_threads", max_threads);
    m.def("asked_threads", asked_threads);
    m.def("thread_cap", thread_cap);
    m.def("set_quota", [](std::optional<int> cpus) { set_quota(cpus.value_or(0)); }, nb::arg("cpus").none());
    m.def("set_thread_cap", [](std::optional<int> n) { set_thread_cap(n.value_or(0)); }, nb::arg("threads").none());
    set_interrupt(interrupted);
    m.def("hold_threads", hold_threads);
    m.def("threads_after", [](int n, const std::vector<std::pair<int64_t, int64_t>>& calls) {
        Waits waits;
        for (const auto& [elapsed, waited] : calls) waits = waits.and_then(elapsed, waited);
        return waits.too_long(false) ? fewer_threads(n) : n;
    });
    m.def("more_threads", more_threads);
    m.def("naps_needed", naps_needed);
    m.def("load", [] {
        const int limit = load_limit();
        return nb::make_tuple(limit == MOST_THREADS ? nb::none() : nb::object(nb::int_(limit)), waited_percent());
    });
    m.def("is_worth_waking", is_worth_waking);
    m.def("partition", [](int64_t T, int64_t N, int64_t K, int64_t H, int64_t itemsize, int max_threads) {
        const Partition p = choose_partition(T, N, K, H, itemsize, max_threads);
        return nb::make_tuple(p.threads, p.split == Split::ROWS ? "rows" : "columns", p.project_first);
    });
    m.def("force_partition", [](int threads, const std::string& split, bool project_first) {
        const bool by_rows = split == "rows";
        if (threads < 0 || threads > MOST_THREADS || !(by_rows || split == "columns"))
            throw nb::value_error("expected 0 to 64 threads, by rows or columns");
        hold_threads(threads > 0);
        forced = {threads, by_rows ? Split::ROWS : Split::COLUMNS, project_first, !by_rows};
    });
    m.def("tanh", [](nb::handle x) { return is_float32(x) ? tanh_of<float>(x) : tanh_of<double>(x); });
    m.def("forward", [](const char* cell, nb::handle x, nb::handle Wx, nb::handle Wh, nb::handle b, nb::handle initial,
                        nb::handle lengths, bool reverse, nb::handle leak, bool training) {
        return (is_float32(x) ? forward<float> : forward<double>)(cell, x, Wx, Wh, b, initial, lengths, reverse, leak,
                                                                  training);
    }, nb::arg("cell"), nb::arg("x"), nb::arg("Wx"), nb::arg("Wh"), nb::arg("b"), nb::arg("initial").none(),
       nb::arg("lengths").none(), nb::arg("reverse"), nb::arg("leak").none(), nb::arg("training"));
    m.def("backward", [](const char* cell, nb::handle x, nb::handle Wx, nb::handle Wh, nb::handle states,
                         nb::handle z, nb::handle lengths, bool reverse, nb::handle leak, nb::handle dstates,
                         nb::handle dWx, nb::handle dWh, nb::handle db) {
        return (is_float32(x) ? backward<float> : backward<double>)(cell, x, Wx, Wh, states, z, lengths, reverse,
                                                                    leak, dstates, dWx, dWh, db);
    }, nb::arg("cell"), nb::arg("x"), nb::arg("Wx"), nb::arg("Wh"), nb::arg("states"), nb::arg("z").none(),
       nb::arg("lengths").none(), nb::arg("reverse"), nb::arg("leak").none(), nb::arg("dstates"), nb::arg("dWx"),
       nb::arg("dWh"), nb::arg("db"));
    m.def("affine", [](nb::handle x, nb::handle W, nb::handle b) {
        return (is_float32(x) ? affine<float> : affine<double>)(x, W, b);
    });
    m.def("affine_gradients", [](nb::handle x, nb::handle W, nb::handle dy, nb::handle dW, nb::handle db) {
        return (is_float32(x) ? affine_gradients<float> : affine_gradients<double>)(x, W, dy, dW, db);
    });
    m.def("cross_entropy", [](nb::handle logits, nb::handle targets, nb::handle weights) {
        return (is_float32(logits) ? cross_entropy<float> : cross_entropy<double>)(logits, targets, weights);
    });
}

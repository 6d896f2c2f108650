// A call of an operation: its number of threads, the GIL, and signals.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <initializer_list>
#include <limits>
#include <new>
#include <string>
#include <type_traits>

#include <nanobind/nanobind.h>

#include "../kernels/partition.h"
#include "../kernels/threads/parallel.h"
#include "../kernels/threads/throughput.h"
#include "../kernels/threads/waiting.h"
#include "for_tests.h"

namespace nb = nanobind;
using namespace xrnn;

namespace {

// All calls share it. Their threads hold the GIL when they use it.
ThreadLimit thread_limit;

// The number of bits of a size, so that sizes between two powers of two are alike. The type of std::bit_width depends on
// the library.
int64_t magnitude(int64_t size) { return static_cast<int64_t>(std::bit_width(static_cast<uint64_t>(size))); }

// The kind of a call: a hash of its operation and sizes (FNV-1a).
template <class Operation>
uint64_t kind_of(Operation operation, std::initializer_list<int64_t> sizes) {
    uint64_t hash = 0xcbf29ce484222325 ^ reinterpret_cast<uintptr_t>(operation);
    for (const int64_t size : sizes) hash = (hash ^ static_cast<uint64_t>(size)) * 0x100000001b3;
    return hash;
}

// The most threads that a call may use. Reading the limits takes as long as a small operation, so they are read only if
// the work is worth a second thread.
int most_threads(int64_t multiply_adds, int64_t size, bool once) {
    return choose_threads(multiply_adds, size, 2, once) == 1 ? 1 : max_threads();
}

// A call whose throughput is measured.
struct MeasuredCall {
    uint64_t kind = 0;  // 0: not measured
    int most = 1, threads = 1;
    double multiply_adds = 0;
};

// The number of threads of a call that could use `most`.
MeasuredCall choose_threads_now(uint64_t kind, int64_t multiply_adds, int64_t size, int64_t weight_bytes, int most) {
    MeasuredCall call = {.most = most, .threads = most};
    if (!for_tests::threads_held && most > 1)
        call = {.kind = kind, .most = most, .threads = thread_limit.threads(most), .multiply_adds = double(multiply_adds)};
    call.threads = ready_threads(call.threads, is_worth_waking(multiply_adds, size, weight_bytes));
    return call;
}

// A call with fewer multiply-adds of 4 bytes, some 5 µs, keeps the GIL. Beside another thread that runs Python code, a
// call that releases the GIL waits far longer than that to get it back.
constexpr int64_t BRIEF = 200'000;
// Fixed costs of a step and of each of its rows, in multiply-adds: 0.1 µs, and some nanoseconds.
constexpr int64_t STEP = 4'000, ROW = 200;

// The threads or the partition of a call, and whether it keeps the GIL.
template <class Threads>
struct Division {
    Threads threads;
    bool brief = false;
    MeasuredCall call = {};
};

// For any policy: partition_of(most) is the partition for at most that number of threads.
//
// The sizes give the multiply-adds of a forward pass. A backward pass has twice as many, because it multiplies once for
// the gradients of its inputs and once for those of its weights: its `passes` is 2, and otherwise it is 1. So a backward
// pass is long enough to wake sleeping threads at half the sizes. Nothing else depends on `passes`.
template <class Operation, class PartitionOf>
Division<Partition> divide_by(Operation operation, int64_t T, int64_t N, int64_t K, int64_t H, int64_t size,
                              int passes, PartitionOf partition_of) {
    if (for_tests::partition.threads) return {for_tests::partition};
    const int64_t multiply_adds = count_multiply_adds(T, N, K, H);
    // An empty axis counts as 1: the call still packs the weights, zeroes their gradients, or fills y.
    const auto at_least_one = [](int64_t n) { return std::max<int64_t>(n, 1); };
    const int64_t work = count_multiply_adds(at_least_one(T), at_least_one(N), at_least_one(K), H);
    const bool brief = work < BRIEF * 4 / size && N < BRIEF && T < BRIEF / (STEP + ROW * N);

    const Partition partition = partition_of(most_threads(multiply_adds, size, T == 1));
    if (partition.threads == 1) return {partition, brief};
    // Sequences of about the same length are of one kind.
    const uint64_t kind = kind_of(operation, {magnitude(T), N, K, H, partition.threads});
    const MeasuredCall call =
        choose_threads_now(kind, multiply_adds, passes * size, count_weight_bytes(K, H, size), partition.threads);
    return {call.threads < partition.threads ? partition_of(call.threads) : partition, brief, call};
}

// For a recurrence, or for a product with T = 1; K terms in a sum, H columns, `size` bytes an element of the operands.
// tiles: the products are by tiles; at_most: the most threads that the operation can use; x_bytes: the bytes of Wx.
template <class Operation>
Division<Partition> divide(Operation operation, int64_t T, int64_t N, int64_t K, int64_t H, int64_t size,
                           bool tiles = false, int at_most = MOST_THREADS, int64_t x_bytes = 0, int passes = 1) {
    return divide_by(operation, T, N, K, H, size, passes, [&](int most) {
        return choose_partition(T, N, K, H, size, std::min(most, at_most), tiles, x_bytes);
    });
}

template <class Operation>
Division<int> divide(Operation operation, int64_t multiply_adds, int64_t size) {
    if (for_tests::partition.threads) return {for_tests::partition.threads};
    const int threads = choose_threads(multiply_adds, size, most_threads(multiply_adds, size, false), false);
    if (threads == 1) return {1};
    const uint64_t kind = kind_of(operation, {magnitude(multiply_adds), threads});
    const MeasuredCall call = choose_threads_now(kind, multiply_adds, size, 0, threads);
    return {call.threads, false, call};
}

// Whether the calling thread is the one that runs Python's signal handlers. Only that thread takes the GIL to run them.
bool is_main_thread() {
    thread_local int is_main = -1;
    thread_local bool forked = false;
    if (is_main < 0 || forked != in_forked_child()) {  // in a forked child the thread that forked is the main thread
        forked = in_forked_child();
        nb::object main = nb::module_::import_("threading").attr("main_thread")().attr("ident");
        is_main = nb::cast<unsigned long>(main) == PyThread_get_thread_ident();
    }
    return is_main;
}

thread_local bool asks_python = false;

// Whether a signal handler has raised. Its exception stays in the thread's state until `run` finds it. A handler that
// forks returns twice. In the child the operation cannot continue, since the other threads exist in the parent only.
bool interrupted() {
    if (!asks_python) return false;
    nb::gil_scoped_acquire acquire;
    const bool was_forked = in_forked_child();
    asks_python = false;  // a handler may call a brief operation, which would miss another handler's exception
    bool raised = PyErr_CheckSignals() != 0;
    if (!raised && in_forked_child() != was_forked) {
        PyErr_SetString(PyExc_RuntimeError, "a signal handler forked during a fused call, which the child cannot "
                                            "continue: expected the handler to end the child by os._exit()");
        raised = true;
    }
    asks_python = true;
    return raised;
}

// Take the GIL again. When Python before 3.14 exits, a daemon thread that asks for the GIL ends in pthread_exit. This
// unwinds the stack like an exception, and nanobind's functions would then abort the process. So such a thread never
// leaves this function: it sleeps until the process ends.
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

// False if the operation had no memory.
template <class Operation, class Arguments, class Threads>
bool apply(Operation operation, const Arguments& arguments, Threads threads) {
    if constexpr (std::is_void_v<decltype(operation(arguments, threads))>) {
        operation(arguments, threads);
        return true;
    } else {
        return operation(arguments, threads);
    }
}

// Called after every few delays of the kernels' threads (waiting.h), until it returns True.
PyObject* on_delays = nullptr;
constexpr int64_t DELAYS = 8;
int64_t next_report = DELAYS;

void set_on_delays(nb::object function) {
    Py_XDECREF(on_delays);
    on_delays = function.release().ptr();
    next_report = count_delays() + DELAYS;
}

void report_delays() {
    next_report = count_delays() + DELAYS;
    if (!on_delays || in_forked_child()) return;
    try {
        if (nb::cast<bool>(nb::handle(on_delays)())) Py_CLEAR(on_delays);
    } catch (nb::python_error& error) {
        error.discard_as_unraisable("the function for delays");
    }
}

// Run an operation, without the GIL unless it is brief. False if a signal handler raised in the meantime.
template <class Operation, class Arguments, class Threads>
bool run(Operation operation, const Arguments& arguments, Division<Threads> division) {
    if (division.brief) {
        if (!apply(operation, arguments, division.threads)) throw std::bad_alloc();
        return true;
    }
    const MeasuredCall& call = division.call;
    asks_python = is_main_thread();
    PyThreadState* const state = PyEval_SaveThread();
    const int64_t began = call.kind ? clock_now() : 0;
    const bool had_memory = apply(operation, arguments, division.threads);
    const int64_t ended = call.kind ? clock_now() : 0;
    take_gil(state);
    asks_python = false;
    if (!had_memory) throw std::bad_alloc();
    if (PyErr_Occurred()) return false;
    if (count_delays() >= next_report) report_delays();
    if (call.kind) thread_limit.report(call.kind, call.most, call.threads, call.multiply_adds, ended - began, ended);
    return true;
}

// An array that becomes NaN if a signal ends the call.
struct Output {
    void* data;  // null: not computed
    int64_t size;
};

// As `run`. If a signal handler raises, the outputs become NaN and the exception is passed on.
template <class S, class Operation, class Arguments, class Threads>
void run_into(std::initializer_list<Output> outputs, Operation operation, const Arguments& arguments,
              Division<Threads> division) {
    if (run(operation, arguments, division)) return;
    for (const Output& out : outputs)
        if (out.data) std::fill_n(static_cast<S*>(out.data), out.size, std::numeric_limits<S>::quiet_NaN());
    throw nb::python_error();
}

// ---- functions by CPython's own calling convention ----
//
// It passes the arguments of a recurrence in half the time of nanobind, which saves a fiftieth of a small step.

// The result of f for Python, or null after setting Python's exception.
template <class F>
PyObject* answer(const F& f) noexcept {
    try {
        return f().release().ptr();
    } catch (nb::python_error& error) {
        error.restore();
    } catch (const nb::builtin_exception& error) {
        PyErr_SetString(error.type() == nb::exception_type::type_error ? PyExc_TypeError : PyExc_ValueError,
                        error.what());
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
    } catch (const std::exception& error) {
        PyErr_SetString(PyExc_RuntimeError, error.what());
    }
    return nullptr;
}

// The arguments of a function, exactly COUNT.
template <size_t COUNT>
std::array<nb::handle, COUNT> take(PyObject* const* arguments, Py_ssize_t count) {
    if (count != COUNT) throw nb::type_error(("expected " + std::to_string(COUNT) + " arguments by position").c_str());
    std::array<nb::handle, COUNT> taken;
    std::copy_n(arguments, COUNT, taken.begin());
    return taken;
}

}  // namespace

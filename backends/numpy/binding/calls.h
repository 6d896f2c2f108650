// A call of an operation: how many threads it has, who holds the GIL meanwhile, and what signals do to it.
#pragma once

#include <algorithm>
#include <array>
#include <initializer_list>
#include <limits>
#include <new>
#include <string>
#include <type_traits>

#include <nanobind/nanobind.h>

#include "../kernels/load.h"
#include "../kernels/parallel.h"
#include "../kernels/partition.h"
#include "../kernels/pool.h"
#include "../kernels/threads.h"

namespace nb = nanobind;
using namespace xrnn;

namespace {

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

// Multiply-adds (of 4 bytes) of a call that keeps the GIL: some 5 µs. Beside a thread that computes in Python a call that
// gives the GIL up waits for it far longer than that.
constexpr int64_t BRIEF = 200'000;
// How many of them a step counts for besides its own, and each of its rows: 0.1 µs, and some nanoseconds.
constexpr int64_t STEP = 4'000, ROW = 200;

// How a call is divided among threads, and whether it keeps the GIL.
template <class Threads>
struct Division {
    Threads threads;
    bool brief;
};

// Of a recurrence or of a product, for which T = 1; K terms in a sum, H columns.
template <class S>
Division<Partition> divide(int64_t T, int64_t N, int64_t K, int64_t H) {
    if (forced.threads) return {forced, false};
    const int64_t multiply_adds = count_multiply_adds(T, N, K, H);
    const int most = threads_for(multiply_adds, sizeof(S), count_weight_bytes(K, H, sizeof(S)), T == 1);
    // An empty axis counts as one: the weights are packed or their gradients zeroed, or y is filled, all the same.
    const auto at_least_one = [](int64_t n) { return std::max<int64_t>(n, 1); };
    const int64_t work = count_multiply_adds(at_least_one(T), at_least_one(N), at_least_one(K), H);
    const bool brief = work < BRIEF * 4 / int64_t(sizeof(S)) && N < BRIEF && T < BRIEF / (STEP + ROW * N);
    return {choose_partition(T, N, K, H, sizeof(S), most), brief};
}

template <class S>
Division<int> divide(int64_t multiply_adds) {
    if (forced.threads) return {forced.threads, false};
    const int most = threads_for(multiply_adds, sizeof(S), 0, false);
    return {choose_threads(multiply_adds, sizeof(S), most, false), false};
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
    asks_python = false;  // a brief operation of the handler's would not look for the exception
    bool raised = PyErr_CheckSignals() != 0;
    if (!raised && in_forked_child() != was_forked) {
        PyErr_SetString(PyExc_RuntimeError, "a signal handler forked during a fused call: the child can't end the call, "
                                            "expected it to end by os._exit() in the handler");
        raised = true;
    }
    asks_python = true;
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

// False where the operation had no memory.
template <class Operation, class Arguments, class Threads>
bool apply(Operation operation, const Arguments& arguments, Threads threads) {
    if constexpr (std::is_void_v<decltype(operation(arguments, threads))>)
        return operation(arguments, threads), true;
    else
        return operation(arguments, threads);
}

// Run an operation, without the GIL unless it is brief. False where a signal's handler raised meanwhile.
template <class Operation, class Arguments, class Threads>
bool run(Operation operation, const Arguments& arguments, Division<Threads> division) {
    if (division.brief) {
        if (!apply(operation, arguments, division.threads)) throw std::bad_alloc();
        return true;
    }
    asks_python = is_main_thread();
    PyThreadState* const state = PyEval_SaveThread();
    const bool had_memory = apply(operation, arguments, division.threads);
    take_gil(state);
    asks_python = false;
    if (!had_memory) throw std::bad_alloc();
    return !PyErr_Occurred();
}

// The same; what was half written when a signal's handler raised becomes NaN.
struct Output {
    void* data;  // null: not computed
    int64_t size;
};
template <class S, class Operation, class Arguments, class Threads>
void run_into(std::initializer_list<Output> outputs, Operation operation, const Arguments& arguments,
              Division<Threads> division) {
    if (run(operation, arguments, division)) return;
    for (const Output& out : outputs)
        if (out.data) std::fill_n(static_cast<S*>(out.data), out.size, std::numeric_limits<S>::quiet_NaN());
    throw nb::python_error();
}

// ---- functions by CPython's own convention ----
//
// It hands over the ten arguments of a recurrence in half the time of nanobind's, a fiftieth of a small step.

// What a function returns to Python: what f does, or null, after an exception has become Python's.
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

// The arguments, which must be so many.
template <size_t COUNT>
std::array<nb::handle, COUNT> take(PyObject* const* arguments, Py_ssize_t count) {
    if (count != COUNT) throw nb::type_error(("expected " + std::to_string(COUNT) + " arguments by position").c_str());
    std::array<nb::handle, COUNT> taken;
    std::copy_n(arguments, COUNT, taken.begin());
    return taken;
}

}  // namespace

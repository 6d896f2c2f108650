// A call of an operation: it runs without the GIL, ends if a signal handler raises, and reports its throughput.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <new>
#include <type_traits>

#include <nanobind/nanobind.h>

#include "delays.h"
#include "division.h"
#include "signals.h"

namespace nb = nanobind;
using namespace xrnn;

namespace {

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

}  // namespace

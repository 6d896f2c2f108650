// Delays of the kernels' threads, which a function of Python explains.
#pragma once

#include <cstdint>

#include <nanobind/nanobind.h>

#include "../kernels/threads/system.h"
#include "../kernels/threads/waiting.h"

namespace nb = nanobind;
using namespace xrnn;

namespace {

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

}  // namespace

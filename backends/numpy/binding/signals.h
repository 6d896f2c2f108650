// Python's signals while the kernels run, and the GIL after them.
#pragma once

#include <cstdint>

#include <nanobind/nanobind.h>

#include "../kernels/threads/system.h"

namespace nb = nanobind;
using namespace xrnn;

namespace {

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

}  // namespace

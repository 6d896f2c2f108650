// For tests and measurements: what they set in place of the usual choices. Nothing else sets any of it.
#pragma once

#include <optional>
#include <string>

#include <nanobind/nanobind.h>

#include "../kernels/partition.h"
#include "../kernels/threads/job.h"
#include "../kernels/threads/parallel.h"
#include "../kernels/threads/scratch.h"

namespace nb = nanobind;
using namespace xrnn;

namespace {
namespace for_tests {

// The partition of every call; 0 threads: the usual choice.
Partition partition = {0, Split::ROWS, false, false};

// Always use all threads.
bool threads_held = false;

// Take products of bfloat16 parts in every size.
bool products_forced = false;

void hold_threads(bool hold) {
    require_all_threads(hold);
    threads_held = hold;
}

void force_partition(int threads, const std::string& split, bool project_first) {
    const bool by_rows = split == "rows";
    if (threads < 0 || threads > MOST_THREADS || !(by_rows || split == "columns"))
        throw nb::value_error("expected 0 to 64 threads, by rows or columns");
    hold_threads(threads > 0);
    partition = {threads, by_rows ? Split::ROWS : Split::COLUMNS, project_first, !by_rows};
}

void define(nb::module_& m) {
    m.def("hold_threads", hold_threads);
    m.def("force_partition", force_partition);
    m.def("force_products", [](bool forced) { products_forced = forced; });
    m.def("set_thread_cap", [](std::optional<int> n) { set_thread_cap(n.value_or(0)); }, nb::arg("threads").none());
    m.def("kept_scratch", kept_scratch);
    m.def("set_l2", [](std::optional<int64_t> bytes) { set_l2(bytes.value_or(0)); }, nb::arg("bytes").none());
}

}  // namespace for_tests
}  // namespace

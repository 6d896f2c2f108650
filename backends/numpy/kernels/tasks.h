// A pass whose tasks do not wait for each other, on several threads.
#pragma once

#include "threads/barrier.h"
#include "threads/parallel.h"
#include "threads/scratch.h"

namespace {

// Runs a pass. Its `thread` runs some of the tasks, with scratch memory of its own. A pass with `add_parts` also
// gets memory for parts of sums, which it adds when all tasks have ended. False if the memory can't be allocated.
template <class S, class Pass>
bool run_tasks(Pass pass, int threads) {
    constexpr bool HAS_PARTS = requires { pass.add_parts(0, 1); };
    constexpr int64_t LINE = 64 / sizeof(S);
    const int64_t each = (pass.scratch() + LINE - 1) / LINE * LINE;
    int64_t wanted = threads * each;
    if constexpr (HAS_PARTS) wanted += pass.parts_size();
    S* const memory = static_cast<S*>(xrnn::scratch(size_t(wanted) * sizeof(S)));
    if (!memory) return false;
    if constexpr (HAS_PARTS) pass.parts = memory + threads * each;

    xrnn::Stop stop;
    const auto on_threads = [&](auto f) {
        xrnn::parallel(threads, [](int id, int n, void* p) { (*static_cast<decltype(f)*>(p))(id, n); }, &f, &stop);
    };
    on_threads([&](int id, int n) {
        Pass mine = pass;
        mine.thread(id, n, memory + id * each, stop);
    });
    if constexpr (HAS_PARTS)
        if (pass.parts_size() > 0) on_threads([&](int id, int n) { pass.add_parts(id, n); });
    xrnn::trim_scratch();
    return true;
}

}  // namespace

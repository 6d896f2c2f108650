// Scratch memory of one pass: what its parts take, one after another.
#pragma once

#include "parallel.h"
#include "simd.h"

namespace {

// Without memory it only counts. A pass is thus constructed twice by the same lines: to learn its size, and to run; so
// its constructor must not write to what it takes.
template <class S>
struct Arena {
    S* memory;
    int64_t used = 0;

    S* take(int64_t size) {
        S* taken = memory ? memory + used : nullptr;
        constexpr int64_t LINE = 64 / sizeof(S);
        used += (size + LINE - 1) / LINE * LINE;
        return taken;
    }

    int64_t* take_integers(int64_t size) {
        return reinterpret_cast<int64_t*>(take((size * int64_t(sizeof(int64_t)) + sizeof(S) - 1) / sizeof(S)));
    }
};

// Construct Pass(f, partition, arena) and run its thread(id, n) on the partition's threads; false without memory.
template <class Pass, class S, class F, class P>
bool run_pass(const F& f, P partition, int threads) {
    Arena<S> count{nullptr};
    Pass{f, partition, count};
    S* memory = static_cast<S*>(xrnn::scratch(count.used * sizeof(S)));
    if (!memory) return false;
    Arena<S> arena{memory};
    Pass pass(f, partition, arena);
    pass.prepare();
    xrnn::parallel(threads, [](int id, int n, void* p) { static_cast<Pass*>(p)->thread(id, n); }, &pass);
    xrnn::trim_scratch();
    return true;
}

}  // namespace

// Scratch memory for a pass, and `run_pass`, which runs a pass on several threads.
#pragma once

#include "registers.h"
#include "threads/barrier.h"
#include "threads/parallel.h"
#include "threads/scratch.h"

namespace {

// Memory that a pass takes piece by piece in its constructor. If it takes more than there is, `used` tells the size
// that it needs, and the pass is constructed again with that size. So the constructor must not write to the pieces.
template <class S>
struct Arena {
    S* memory;
    int64_t size, used = 0;

    S* take(int64_t wanted) {
        constexpr int64_t LINE = 64 / sizeof(S);
        const int64_t begin = used;
        used += (wanted + LINE - 1) / LINE * LINE;
        return memory + (used <= size ? begin : 0);
    }

    template <class T>
    T* take_of(int64_t wanted) {
        return reinterpret_cast<T*>(take(wanted * int64_t(sizeof(T) / sizeof(S))));
    }
};

// Construct Pass(arena, arguments...) and run its thread(id, n) on `threads` threads. False if there is no memory, or if
// a thread found an operand that needs another form (TileJob): the results are then undefined.
template <class Pass, class S, class... Arguments>
bool run_pass(int threads, const Arguments&... arguments) {
    // Enough for most small passes. Constructing such a pass a second time would take longer than its arithmetic.
    constexpr int64_t FIRST = 64 << 10;
    S* memory = static_cast<S*>(xrnn::scratch(FIRST));
    if (!memory) return false;
    Arena<S> first{memory, FIRST / int64_t(sizeof(S))};
    Pass small(first, arguments...);
    const auto run = [threads](Pass& pass) {
        struct Run {
            Pass& pass;
            int exceptional = 0;
        } running = {pass};
        pass.prepare();
        xrnn::parallel(
            threads,
            [](int id, int n, void* p) {
                Run& running = *static_cast<Run*>(p);
                const TileJob job;
                running.pass.thread(id, n);
                if (job.found_exceptional()) __atomic_store_n(&running.exceptional, 1, __ATOMIC_RELAXED);
            },
            &running, &pass.barrier.stop);
        xrnn::trim_scratch();
        return !running.exceptional;
    };
    if (first.used <= first.size) return run(small);

    memory = static_cast<S*>(xrnn::scratch(first.used * sizeof(S)));
    if (!memory) return false;
    Arena<S> arena{memory, first.used};
    Pass pass(arena, arguments...);
    return run(pass);
}

}  // namespace

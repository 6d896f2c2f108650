// The one way to threads.
//
// OpenMP governs their number, so that OMP_NUM_THREADS and threadpoolctl are heard. A forked child stays on one
// thread: libgomp hangs there once its parent has used threads. With -DXRNN_STD_THREADS (the build for
// ThreadSanitizer, which misreads libgomp's own synchronization) std::thread takes OpenMP's place.
#pragma once

#include <cstddef>

namespace xrnn {

// How many threads `parallel` may use now.
int max_threads();

// Call f(id, n, context) for each id < n on a thread of its own, and return when all have. n may turn out smaller than
// asked for (within another parallel region it is 1): f must go by the n it is given.
void parallel(int threads, void (*f)(int id, int n, void* context), void* context);

// Where n threads of one `parallel` wait for each other; what each wrote before is visible to all after.
struct Barrier {
    Barrier();  // not inline: it would be a weak symbol of every level
    void wait(int n);

   private:
    alignas(64) int arrived = 0;
    alignas(64) int generation = 0;
};

// Memory of the calling thread for one operation, aligned to 64 bytes; its contents are lost at the next call. It is
// kept until the thread ends, since fresh pages cost more than what is computed in them. Null if there is no more.
void* scratch(size_t bytes);

}  // namespace xrnn

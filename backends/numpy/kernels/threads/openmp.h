// The threads of an OpenMP library that the process uses for other work, such as PyTorch's, instead of the pool's.
//
// After each of its own operations such a library's threads poll for the next one for milliseconds, on the CPUs that
// the pool's threads would need. A program that calls both kinds of operations in turn needs one set of threads.
#pragma once

#include "job.h"

namespace xrnn {

// The library's functions. GOMP_parallel is GNU's; LLVM's and Intel's libraries have it too.
struct OpenMP {
    void (*GOMP_parallel)(void (*f)(void*), void* argument, unsigned threads, unsigned flags);
    int (*omp_get_max_threads)();
    int (*omp_get_num_threads)();
};

// From now on use the threads of this library, which must stay loaded, and its number of threads. Null: the pool's;
// no job runs on the library's threads any more when the call returns.
void use_openmp(const OpenMP* library);

const OpenMP* openmp_in_use();

// Whether the library's threads probably poll for a job. No library tells.
bool openmp_is_awake();

// The number of short calls in a row after which a call tries whether the library's threads are awake.
int calls_before_openmp();

// Run a job on at most `most` of the library's threads. False, and nothing has run: the library is not in use any more.
bool run_on_openmp(const OpenMP& library, Job& job, int most);

}  // namespace xrnn

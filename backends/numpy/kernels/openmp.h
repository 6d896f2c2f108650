// Threads of an OpenMP library that is in the process anyway, as PyTorch's, in place of the pool's.
//
// After each of its own operations such a library's threads look out for the next one for milliseconds, and take CPUs
// that the pool's threads would need. Whoever calls both operations in turn is served best by one set of threads.
#pragma once

#include "job.h"

namespace xrnn {

// The library's functions by their usual names. GNU's defines the first, and LLVM's and Intel's have it too.
struct OpenMP {
    void (*GOMP_parallel)(void (*f)(void*), void* argument, unsigned threads, unsigned flags);
    int (*omp_get_max_threads)();
    int (*omp_get_num_threads)();
};

// Use the threads of this library, which is to stay, and its number of them, from now on; null: the pool's own.
void use_openmp(const OpenMP* library);

const OpenMP* openmp_in_use();

// Whether the library's threads probably look out for the next job.
bool openmp_is_awake();

// After how many short calls in a row it is worth trying whether they do.
int calls_before_openmp();

// Run a job on at most so many of the library's threads. → how many it had.
int run_on_openmp(const OpenMP& library, Job& job, int most);

}  // namespace xrnn

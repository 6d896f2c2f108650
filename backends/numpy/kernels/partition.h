// How a recurrence is divided among threads.
#pragma once

#include <cstdint>

namespace xrnn {

enum class Split {
    ROWS,     // each thread has its rows of the batch for the whole sequence and never waits for another
    COLUMNS,  // each thread has its columns of the hidden state, and all meet at a barrier after every step
};

struct Partition {
    int threads;         // 1: the split says nothing
    Split split;
    bool project_first;  // x @ Wx + b of all steps before the first step, rather than inside each step
};

// The rule. T steps, N rows, D inputs (0 for a backward pass), H columns, `size` bytes an element, at most
// `max_threads` threads. The thresholds stand in partition.cpp.
Partition choose_partition(int64_t T, int64_t N, int64_t D, int64_t H, int64_t size, int max_threads);

}  // namespace xrnn

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
    bool own_first;      // by columns: a step begins with what the thread has computed itself, while others finish
};

// The rule. T steps, N rows, K terms in a sum (D + H for a forward pass), H columns, `size` bytes an element, at most
// `max_threads` threads. A product without steps has T = 1. The thresholds stand in partition.cpp.
Partition choose_partition(int64_t T, int64_t N, int64_t K, int64_t H, int64_t size, int max_threads);

// The multiply-adds that choose_partition counts for these sizes.
int64_t count_multiply_adds(int64_t T, int64_t N, int64_t K, int64_t H);

// Whether x @ Wx + b of all steps comes before the first step by the rule: where rows are few, it reads Wx less often.
bool projects_first(int64_t N);

// The bytes of weights that a pass reads.
int64_t count_weight_bytes(int64_t K, int64_t H, int64_t size);

// How many threads so many multiply-adds are worth, of `size` bytes; `once` for what may come once in a while.
int choose_threads(int64_t multiply_adds, int64_t size, int max_threads, bool once);

// Whether so many multiply-adds of `size` bytes take long enough to wake a thread for them, or the fetching of the
// weights does, as in a single step of one row.
bool is_worth_waking(int64_t multiply_adds, int64_t size, int64_t weight_bytes);

}  // namespace xrnn

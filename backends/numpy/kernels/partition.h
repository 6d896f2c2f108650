// The division of a recurrence among threads.
#pragma once

#include <cstdint>

namespace xrnn {

enum class Split {
    ROWS,     // each thread has its rows of the batch for the complete sequence and never waits for another thread
    COLUMNS,  // each thread has its columns of the hidden state; all threads meet at a barrier after every step
};

struct Partition {
    int threads;  // with one thread the split has no meaning
    Split split;
    bool project_first;  // x @ Wx + b of several steps in one product before them, rather than within each step
    bool local_first;    // by columns: a step starts with the terms of the thread's own columns, before the barrier
};

// For tests: the bytes of a core's second-level cache; 0: as the system says.
void set_l2(int64_t bytes);

// Whether tiles prefetch the next panel of packed weights, if a thread has this number of rows and reads this number of
// bytes of weights in a step.
bool prefetches_panels(int64_t rows, int64_t bytes);

// Whether tiles prefetch weight gradients of this size, and the columns that they are sums over.
bool prefetches_gradients(int64_t bytes);

// The number of threads that share the panels of a step.
int panel_threads(Partition partition);

// The policy. T steps, N rows, K terms in a sum (D + H for a forward pass), H columns, `size` bytes an element, at most
// `max_threads` threads; `tiles`: tiles multiply 16 rows at a time; Wx has x_bytes bytes. A product without steps has
// T = 1. The thresholds are in partition.cpp.
Partition choose_partition(int64_t T, int64_t N, int64_t K, int64_t H, int64_t size, int max_threads,
                           bool tiles = false, int64_t x_bytes = 0);

// The same for a cell without a recurrent product, whose threads do not wait in a step (scan.h): Wx is (D, gates · H).
Partition choose_scan_partition(int64_t T, int64_t N, int64_t D, int64_t gates, int64_t H, int64_t size,
                                int max_threads, bool tiles = false);

// Cost of one pre-activation in such a cell's step, in multiply-adds.
constexpr int64_t SCAN = 16;

// The multiply-adds that choose_partition counts for these sizes.
int64_t count_multiply_adds(int64_t T, int64_t N, int64_t K, int64_t H);

// The policy for project_first, for N rows and this many bytes of Wx: it is then read once for many steps.
bool projects_first(int64_t N, int64_t x_bytes);

// The bytes of weights (K, H).
int64_t count_weight_bytes(int64_t K, int64_t H, int64_t size);

// The bytes of weights that T steps read from beyond a core's own cache: all weights in each step, or once if they fit.
int64_t count_weight_reads(int64_t T, int64_t K, int64_t H, int64_t size);

// Whether products in bfloat16 repay the conversion of the operands, which float32 does not need. Sizes as for
// choose_partition, in numbers, not in pairs.
bool repays_bfloat16(int64_t T, int64_t N, int64_t K, int64_t H);

// Whether 3 or 1 products of bfloat16 parts by tiles (AMX) are faster than float32. Sizes as for choose_partition.
bool repays_tiles(int products, int64_t T, int64_t N, int64_t K, int64_t H);

// The number of threads for this number of multiply-adds on elements of `size` bytes. `once`: a single step, which no
// further step may follow.
int choose_threads(int64_t multiply_adds, int64_t size, int max_threads, bool once);

// Whether a call is long enough to wake a sleeping thread: it has many multiply-adds, or reads many weights, as a few
// steps of one row may do.
bool is_worth_waking(int64_t multiply_adds, int64_t size, int64_t weight_reads);

}  // namespace xrnn

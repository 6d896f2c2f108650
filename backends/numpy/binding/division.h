// The number of threads of a call, and how its work is divided among them.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <initializer_list>

#include "../kernels/partition.h"
#include "../kernels/threads/parallel.h"
#include "../kernels/threads/throughput.h"
#include "for_tests.h"

using namespace xrnn;

namespace {

// All calls share it. Their threads hold the GIL when they use it.
ThreadLimit thread_limit;

// The number of bits of a size, so that sizes between two powers of two are alike. The type of std::bit_width depends on
// the library.
int64_t magnitude(int64_t size) { return static_cast<int64_t>(std::bit_width(static_cast<uint64_t>(size))); }

// The kind of a call: a hash of its operation and sizes (FNV-1a).
template <class Operation>
uint64_t kind_of(Operation operation, std::initializer_list<int64_t> sizes) {
    uint64_t hash = 0xcbf29ce484222325 ^ reinterpret_cast<uintptr_t>(operation);
    for (const int64_t size : sizes) hash = (hash ^ static_cast<uint64_t>(size)) * 0x100000001b3;
    return hash;
}

// The most threads that a call may use. Reading the limits takes as long as a small operation, so they are read only if
// the work is worth a second thread.
int most_threads(int64_t multiply_adds, int64_t size, bool once) {
    return choose_threads(multiply_adds, size, 2, once) == 1 ? 1 : max_threads();
}

// A call whose throughput is measured.
struct MeasuredCall {
    uint64_t kind = 0;  // 0: not measured
    int most = 1, threads = 1;
    double multiply_adds = 0;
};

// The number of threads of a call that could use `most`.
MeasuredCall choose_threads_now(uint64_t kind, int64_t multiply_adds, int64_t size, int64_t weight_reads, int most) {
    MeasuredCall call = {.most = most, .threads = most};
    if (!for_tests::threads_held && most > 1)
        call = {.kind = kind, .most = most, .threads = thread_limit.threads(most), .multiply_adds = double(multiply_adds)};
    call.threads = ready_threads(call.threads, is_worth_waking(multiply_adds, size, weight_reads));
    return call;
}

// A call with fewer multiply-adds of 4 bytes, some 5 µs, keeps the GIL. Beside another thread that runs Python code, a
// call that releases the GIL waits far longer than that to get it back.
constexpr int64_t BRIEF = 200'000;
// Fixed costs of a step and of each of its rows, in multiply-adds: 0.1 µs, and some nanoseconds.
constexpr int64_t STEP = 4'000, ROW = 200;

// The threads or the partition of a call, and whether it keeps the GIL.
template <class Threads>
struct Division {
    Threads threads;
    bool brief = false;
    MeasuredCall call = {};
};

// For any policy: partition_of(most) is the partition for at most that number of threads.
//
// The sizes give the multiply-adds of a forward pass. A backward pass has twice as many, because it multiplies once for
// the gradients of its inputs and once for those of its weights: its `passes` is 2, and otherwise it is 1. So a backward
// pass is long enough to wake sleeping threads at half the sizes. Nothing else depends on `passes`.
template <class Operation, class PartitionOf>
Division<Partition> divide_by(Operation operation, int64_t T, int64_t N, int64_t K, int64_t H, int64_t size,
                              int passes, PartitionOf partition_of) {
    if (for_tests::partition.threads) return {for_tests::partition};
    const int64_t multiply_adds = count_multiply_adds(T, N, K, H);
    // An empty axis counts as 1: the call still packs the weights, zeroes their gradients, or fills y.
    const auto at_least_one = [](int64_t n) { return std::max<int64_t>(n, 1); };
    const int64_t work = count_multiply_adds(at_least_one(T), at_least_one(N), at_least_one(K), H);
    const bool brief = work < BRIEF * 4 / size && N < BRIEF && T < BRIEF / (STEP + ROW * N);

    const Partition partition = partition_of(most_threads(multiply_adds, size, T == 1));
    if (partition.threads == 1) return {partition, brief};
    // Sequences of about the same length are of one kind.
    const uint64_t kind = kind_of(operation, {magnitude(T), N, K, H, partition.threads});
    const MeasuredCall call =
        choose_threads_now(kind, multiply_adds, passes * size, count_weight_reads(T, K, H, size), partition.threads);
    return {call.threads < partition.threads ? partition_of(call.threads) : partition, brief, call};
}

// For a recurrence, or for a product with T = 1; K terms in a sum, H columns, `size` bytes an element of the operands.
// tiles: the products are by tiles; at_most: the most threads that the operation can use; x_bytes: the bytes of Wx.
template <class Operation>
Division<Partition> divide(Operation operation, int64_t T, int64_t N, int64_t K, int64_t H, int64_t size,
                           bool tiles = false, int at_most = MOST_THREADS, int64_t x_bytes = 0, int passes = 1) {
    return divide_by(operation, T, N, K, H, size, passes, [&](int most) {
        return choose_partition(T, N, K, H, size, std::min(most, at_most), tiles, x_bytes);
    });
}

template <class Operation>
Division<int> divide(Operation operation, int64_t multiply_adds, int64_t size) {
    if (for_tests::partition.threads) return {for_tests::partition.threads};
    const int threads = choose_threads(multiply_adds, size, most_threads(multiply_adds, size, false), false);
    if (threads == 1) return {1};
    const uint64_t kind = kind_of(operation, {magnitude(multiply_adds), threads});
    const MeasuredCall call = choose_threads_now(kind, multiply_adds, size, 0, threads);
    return {call.threads, false, call};
}

}  // namespace

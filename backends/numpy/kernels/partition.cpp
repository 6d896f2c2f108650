#include "partition.h"

#if !defined(_WIN32)
#include <unistd.h>
#endif

namespace xrnn {

namespace {

// Thresholds, measured on two cores. `python -m benchmarks.partition` shows how far each choice is from the best one.

// float32 multiply-adds for each thread: about 10 µs of work. With fewer, another thread costs more than it saves.
// Just above it (T = 50, N = 16, D = H = 32) two threads take 0.66 of one thread's time for forward and backward.
constexpr int64_t WORTH_A_THREAD = 500'000;
// The same for a single step, which has one barrier. An LSTM step at H = 256 takes 24 µs on one thread, 15 on two.
constexpr int64_t WORTH_A_THREAD_ONCE = 250'000;
// The same if the other thread is asleep: about 0.5 ms of work.
constexpr int64_t WORTH_WAKING = 25'000'000;
// Bytes of weights for which a sleeping thread is woken even if there is less work. They are read from the third level
// or from memory, at 17 to 32 GB/s.
constexpr int64_t READS_WORTH_WAKING = 16 << 20;
// float32 multiply-adds of each thread in one step, between two barriers. In a virtual machine a barrier can take a
// microsecond. Just above it (T = 50, N = 2, D = H = 96) two threads take 0.74 of one thread's time for forward and
// backward.
constexpr int64_t WORTH_A_BARRIER = 25'000;
// Rows with which a tile runs near its best rate. With fewer rows, reading the weights takes most of the time.
constexpr int64_t GOOD_ROWS = 4;
// The width of a thread's columns, in bytes, with which a tile runs near its best rate.
constexpr int64_t GOOD_COLUMNS = 256;
// Projecting first saves reading Wx in every step, and costs storing x @ Wx. With fewer than GOOD_ROWS rows it always
// pays. With up to ROWS_WORTH_PROJECTING rows it pays if Wx has X_WORTH_PROJECTING bytes. A GRU with N = 4 took 0.83 of
// the time if Wx has 9 MiB (T = 10, D = 512, H = 1536), and 1.05 of it with 0.75 MiB (T = 50, D = H = 256). With N = 64
// it took 0.96 to 1.00 of the time.
// The order of the sums follows this choice, so it is the same on all machines.
constexpr int64_t ROWS_WORTH_PROJECTING = 64, X_WORTH_PROJECTING = 2 << 20;
// Packed weights that are this many times as large as a core's second-level cache come from the third level, and tiles
// prefetch them. Of smaller weights, more is still in the second level. With fewer rows, a panel has too few tiles to
// prefetch the next one. In both cases the prefetches cost more time than they save.
constexpr double FAR_WEIGHTS = 2.5;
constexpr int64_t ROWS_WORTH_PREFETCHING = 24;
// A core's second-level cache, if the system does not tell its size.
constexpr int64_t USUAL_L2 = 1 << 20;

// Weights for which products in bfloat16 save more than the rounding and pairing of x, h and dz costs. At D = H = 64 the
// backward pass of the Elman cell (8,192 weights) took 1.1 times as long as in float32, at 128 (32,768) 0.9 times.
constexpr int64_t WEIGHTS_WORTH_ROUNDING = 32'000;
// Steps, or rows of all steps, that repay the packing of weights that float32 reads in place. With one row of 256 units,
// 5 steps took 1.2 times as long as in float32, 50 steps 0.6 times; an affine map with 8 rows took 1.2 times, with 64
// rows 0.7 times as long.
constexpr int64_t STEPS_WORTH_PACKING = 16, ROWS_WORTH_PACKING = 64;

// Rows of a tile.
constexpr int64_t TILE_ROWS = 16;
// Rows that repay products of 1 and of 3 parts; each tile at the edge costs as much as a full one. A full tile of an Intel
// Xeon, with the conversion of one operand, has 5.6 to 9 and 2.6 to 3.6 times the rate of float32.
constexpr int64_t ROWS_WORTH_ONE = 4, ROWS_WORTH_THREE = 8;
// Rows of all steps that repay splitting and packing the weights.
constexpr int64_t ROWS_WORTH_SPLITTING = 128;

int64_t forced_l2 = 0;  // 0: the system's

int64_t l2_of_the_system() {
#if defined(_SC_LEVEL2_CACHE_SIZE)
    if (const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE); bytes > 0) return bytes;
#endif
    return USUAL_L2;
}

int64_t l2() {
    static const int64_t of_the_system = l2_of_the_system();
    return forced_l2 ? forced_l2 : of_the_system;
}

// Bytes of weights that stay in a core's own cache from step to step: three quarters of it, beside x, h and z.
int64_t near_cache() { return l2() / 4 * 3; }

int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

// a · b for numbers ≥ 0, or the largest number if that is less: `xrnn info` may ask about sizes that no machine holds.
int64_t product(int64_t a, int64_t b) {
    int64_t result;
    return __builtin_mul_overflow(a, b, &result) ? INT64_MAX : result;
}

// Streaming the weights costs about as much as the arithmetic of one row: hence N + 1.
int64_t multiply_adds_of_a_step(int64_t N, int64_t K, int64_t H) {
    return N > 0 ? product(N < INT64_MAX ? N + 1 : N, product(H, K)) : 0;
}

}  // namespace

void set_l2(int64_t bytes) { forced_l2 = bytes; }

bool prefetches_panels(int64_t rows, int64_t bytes) {
    return rows >= ROWS_WORTH_PREFETCHING && double(bytes) > FAR_WEIGHTS * double(l2());
}

// The other half of the cache is for the rows of a chunk.
bool prefetches_gradients(int64_t bytes) { return bytes >= l2() / 2; }

int panel_threads(Partition partition) { return partition.split == Split::COLUMNS ? partition.threads : 1; }

int64_t count_multiply_adds(int64_t T, int64_t N, int64_t K, int64_t H) {
    return product(T, multiply_adds_of_a_step(N, K, H));
}

bool repays_bfloat16(int64_t T, int64_t N, int64_t K, int64_t H) {
    return product(K, H) >= WEIGHTS_WORTH_ROUNDING && (T >= STEPS_WORTH_PACKING || product(T, N) >= ROWS_WORTH_PACKING);
}

bool repays_tiles(int products, int64_t T, int64_t N, int64_t K, int64_t H) {
    return product(K, H) >= WEIGHTS_WORTH_ROUNDING && product(T, N) >= ROWS_WORTH_SPLITTING &&
           N >= (products == 3 ? ROWS_WORTH_THREE : ROWS_WORTH_ONE);
}

bool projects_first(int64_t N, int64_t x_bytes) {
    return N < GOOD_ROWS || (N <= ROWS_WORTH_PROJECTING && x_bytes >= X_WORTH_PROJECTING);
}

int choose_threads(int64_t multiply_adds, int64_t size, int max_threads, bool once) {
    const int64_t worth = once ? WORTH_A_THREAD_ONCE : WORTH_A_THREAD;
    return static_cast<int>(max(1, min(max_threads, product(multiply_adds, size) / 4 / worth)));
}

bool is_worth_waking(int64_t multiply_adds, int64_t size, int64_t weight_reads) {
    return product(multiply_adds, size) / 4 >= WORTH_WAKING || weight_reads >= READS_WORTH_WAKING;
}

int64_t count_weight_bytes(int64_t K, int64_t H, int64_t size) { return product(product(H, K), size); }

int64_t count_weight_reads(int64_t T, int64_t K, int64_t H, int64_t size) {
    const int64_t bytes = count_weight_bytes(K, H, size);
    return bytes > near_cache() ? product(max(T, 1), bytes) : bytes;
}

Partition choose_partition(int64_t T, int64_t N, int64_t K, int64_t H, int64_t size, int max_threads, bool tiles,
                           int64_t x_bytes) {
    const int64_t by_work = choose_threads(count_multiply_adds(T, N, K, H), size, max_threads, T == 1);
    const int64_t by_rows = min(by_work, N / (tiles ? TILE_ROWS : GOOD_ROWS));
    const int64_t by_columns = min(by_work, product(multiply_adds_of_a_step(N, K, H), size) / 4 / WORTH_A_BARRIER);
    const int64_t weight_bytes = count_weight_bytes(K, H, size);

    // If threads divide the rows, each reads all weights. This is fast if the weights fit its cache, or are used for many
    // rows. In a single step, each thread also reads the weights that other threads have packed: then this pays only if
    // there are too few columns to divide.
    const bool weights_fit = weight_bytes <= near_cache() || N / max(by_rows, 1) >= 6 * GOOD_ROWS;
    const bool rows = by_rows >= by_columns && weights_fit && (T > 1 || product(H, size) / by_work < GOOD_COLUMNS);
    const int64_t threads = max(1, rows ? by_rows : by_columns);
    // local_first reads the weights in two parts and loads the sums twice. This pays only if the weights fit the cache:
    // otherwise it also finds fewer of them there from the previous step.
    const bool local_first = !rows && threads > 1 && weight_bytes / threads <= near_cache();
    return {static_cast<int>(threads), rows ? Split::ROWS : Split::COLUMNS, projects_first(N, x_bytes),
            local_first};
}

Partition choose_scan_partition(int64_t T, int64_t N, int64_t D, int64_t gates, int64_t H, int64_t size,
                                int max_threads, bool tiles) {
    const int64_t multiply_adds = count_multiply_adds(1, product(T, N), D + SCAN, product(gates, H));
    const int64_t by_work = choose_threads(multiply_adds, size, max_threads, false);
    const int64_t by_columns = min(by_work, product(H, size) / GOOD_COLUMNS);
    const int64_t by_rows = min(by_work, N / (tiles ? TILE_ROWS : 1));
    const bool columns = by_columns >= by_rows;
    return {static_cast<int>(max(1, columns ? by_columns : by_rows)), columns ? Split::COLUMNS : Split::ROWS, true, false};
}

}  // namespace xrnn

#include "partition.h"

namespace xrnn {

namespace {

// Multiply-adds (of 4 bytes) below which another thread costs more than it saves: about 40 µs of work each.
constexpr int64_t WORTH_A_THREAD = 2'000'000;
// The same for one step between two barriers: about 1 µs each.
constexpr int64_t WORTH_A_BARRIER = 30'000;
// Rows with which a tile runs near its best rate; with fewer, the weights are streamed for too little work.
constexpr int64_t GOOD_ROWS = 6;
// Bytes of weights that stay in a core's own cache from step to step.
constexpr int64_t NEAR_CACHE = 768 << 10;

int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

}  // namespace

Partition choose_partition(int64_t T, int64_t N, int64_t D, int64_t H, int64_t size, int max_threads) {
    // A row alone pays for streaming the weights, about as much as for its arithmetic: hence N + 1.
    const int64_t step = (N + 1) * H * (D + H) * size / 4;
    const int64_t by_work = min(max_threads, T * step / WORTH_A_THREAD);
    const bool project_first = N < GOOD_ROWS;

    const int64_t by_rows = min(by_work, N / GOOD_ROWS);
    const int64_t by_columns = min(by_work, step / WORTH_A_BARRIER);
    const bool rows = by_rows >= by_columns && (H * (D + H) * size <= NEAR_CACHE || N / max(by_rows, 1) >= 4 * GOOD_ROWS);
    const int64_t threads = max(1, rows ? by_rows : by_columns);
    return {static_cast<int>(threads), rows ? Split::ROWS : Split::COLUMNS, project_first};
}

}  // namespace xrnn

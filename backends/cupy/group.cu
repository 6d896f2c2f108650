// The whole sequence in one cooperative launch: blocks that share W, and that hand each other the states through L2.
//
// grid (blocks that split the columns of W, groups that split the batch), all of them resident at once; at most 256
// threads; see tile.cu for the arrays and the layout. Block (s, g) has the columns s · columns … of W, and the rows
// N · g / G … of the batch, which it takes ROWS at a time.
//
// The arrival flag is the data. Before the launch, every element of `state` that is to be filled is empty: a NaN with
// all bits set, which no result may be; it is written once, and a block that needs it looks until it is there. So
// nothing has to be ordered: there is no counter, no barrier over the grid, no fence, and no buffer that could be
// reused too early.
// (After Diamos et al., 2016: Persistent RNNs.) It holds for relu and for gradients as it does for tanh: only one bit
// pattern is taken, and a real NaN that has it gets another.
//
// It can't hang. A block that has waited for longer than `patience` clock cycles writes 1 to *gave_up, which is pinned
// host memory, publishes NaN for everything that it still owes, so that others don't wait for it, and ends.

__device__ __forceinline__ bool is_empty(Real x) { return bits_of(x) == ~decltype(bits_of(x))(0); }

// Asks for the 16 bytes from p on, of which `left` elements are of the row, if they are missing; v keeps the others.
// wide: all rows are 16-byte aligned.
template <bool wide>
__device__ __forceinline__ void ask(Vector& v, const Real* p, int left, bool missing) {
    if (wide) {
        look_wide_if(missing, p, v.at);
    } else {
#pragma unroll
        for (int c = 0; c < kVector; ++c) look_if(missing && c < left, p + c, v.at[c]);
    }
}

// Brings `rows` states, from `from` on, into the tile, waiting for those that are still empty unless they are given.
// Returns whether it gave up.
//
// A thread has kLoads vectors under way at a time: one round trip to L2 for all of them. A branch between two loads
// would make the second wait for the first, so each load has a predicate instead. While a thread waits it asks again
// for those vectors only that are still missing: L2 has to serve the others' first requests at the same time.
template <bool wide>
__device__ __forceinline__ bool bring(const Tile& tile, const Real* from, int rows, bool given, long long patience) {
    constexpr int kLoads = 4;
    const int H = tile.g.H, stride = blockDim.x * kVector;
    bool gave_up = false;
    for (int start = threadIdx.x * kVector; start < H && rows > 0; start += stride * (kLoads / ROWS)) {
        Vector v[kLoads] = {};  // what lies beyond the row stays zero
        const Real* p[kLoads];
        int left[kLoads];
        bool missing[kLoads];
#pragma unroll
        for (int e = 0; e < kLoads; ++e) {
            const int n = e % ROWS, k = start + e / ROWS * stride;
            left[e] = n < rows ? H - k : 0;
            p[e] = from + static_cast<size_t>(n) * H + k;
            missing[e] = left[e] > 0;
        }
        const long long since = clock64();
        bool waiting;
        do {
            waiting = false;
#pragma unroll
            for (int e = 0; e < kLoads; ++e) ask<wide>(v[e], p[e], left[e], missing[e]);
#pragma unroll
            for (int e = 0; e < kLoads; ++e) {
                missing[e] = false;
#pragma unroll
                for (int c = 0; c < kVector; ++c) missing[e] |= !given && is_empty(v[e].at[c]);
                waiting |= missing[e];
            }
            gave_up |= waiting && clock64() - since > patience;
        } while (waiting && !gave_up);
#pragma unroll
        for (int e = 0; e < kLoads; ++e) {
            const int n = e % ROWS, k = start + e / ROWS * stride;
            if (left[e] > 0) *reinterpret_cast<Vector*>(tile.state_at(n, k)) = v[e];
        }
    }
    return gave_up;
}

extern "C" __global__ void __launch_bounds__(256, 1)
group(const Real* W, const Real* start, const Real* hs, Real* state, int T, int N, int H, int relu,
      int columns, int column_threads, int slice, int pitch, long long patience, unsigned* gave_up) {
    SHARED_MEMORY(shared);
    const int first = blockIdx.x * columns;
    columns = min(columns, H - first);
    Tile tile({H, columns, column_threads, slice, pitch}, shared, W, first);
    Outputs mine(columns);
    const int begin = static_cast<long long>(N) * blockIdx.y / gridDim.y;
    const int end = static_cast<long long>(N) * (blockIdx.y + 1) / gridDim.y;
    const size_t step = static_cast<size_t>(N) * H;
    const Real nan = Real(0) / Real(0);  // not the one that means empty
    const auto ask_inputs = [&](int i, int first_row) {
        const int rows = i < T ? min(ROWS, end - first_row) : 0;  // after the last step nothing is asked for
        const int t = BACKWARD ? T - 1 - min(i, T - 1) : min(i, T - 1);
        const size_t own = static_cast<size_t>(first_row) * H + first;
        return mine.ask(start + t * step + own, hs + (t + 1) * step + own, rows, H);
    };
    Inputs ahead = ask_inputs(0, begin);
    __syncthreads();  // the zeros are in place

    for (int i = 0; i < T; ++i) {
        const int t = BACKWARD ? T - 1 - i : i;
        const bool alone = BACKWARD && i == 0;
        const Real* previous = state + (t + BACKWARD) * step;
        Real* next = state + (t + 1 - BACKWARD) * step;
        for (int first_row = begin; first_row < end; first_row += ROWS) {
            const int rows = min(ROWS, end - first_row);
            const size_t tile_offset = static_cast<size_t>(first_row) * H, own = tile_offset + first;
            const bool last = first_row + ROWS >= end;
            const Inputs inputs = ahead;
            ahead = ask_inputs(i + last, last ? begin : first_row + ROWS);

            // Also the barrier after which the states are in place.
            const Real* from = previous + tile_offset;
            const int wanted = alone ? 0 : rows;
            if (__syncthreads_or(H % kVector == 0 ? bring<true>(tile, from, wanted, i == 0, patience)
                                                  : bring<false>(tile, from, wanted, i == 0, patience))) {
                if (threadIdx.x == 0) tell_host(gave_up);
                for (; i < T; ++i) {
                    Real* owed = state + ((BACKWARD ? T - 1 - i : i) + 1 - BACKWARD) * step;
                    for (int n = begin; n < end; ++n)
                        for (int j = threadIdx.x; j < columns; j += blockDim.x)
                            publish(owed + static_cast<size_t>(n) * H + first + j, nan);
                }
                return;
            }
            if (!alone) tile.multiply();
            __syncthreads();  // all slices have been summed, and nobody reads the states any more
            mine.finish(tile, inputs, rows, alone, relu, [&](int n, Real value) {
                publish(next + own + static_cast<size_t>(n) * H + mine.j, is_empty(value) ? nan : value);
            });
        }
    }
}

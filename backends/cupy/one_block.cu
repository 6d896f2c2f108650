// The whole sequence in one launch, each block for ROWS batch rows and with all of W to itself: blocks never meet.
//
// grid (⌈N / ROWS⌉), at most 256 threads; see tile.cu for the arrays and the layout.
// `start` may be the rows of `state` that are to be filled: an element is read by the thread that overwrites it, a step
// before it does.

extern "C" __global__ void __launch_bounds__(256, 1)
one_block(const Real* W, const Real* start, const Real* hs, Real* state, int T, int N, int H, int relu,
          int columns, int column_threads, int slice, int pitch) {
    SHARED_MEMORY(shared);
    Tile tile({H, columns, column_threads, slice, pitch}, shared, W, 0);
    Outputs mine(columns);
    const int first_row = blockIdx.x * ROWS, rows = min(ROWS, N - first_row);
    const size_t step = static_cast<size_t>(N) * H, tile_offset = static_cast<size_t>(first_row) * H;
    __syncthreads();  // the zeros are in place

    for (int n = mine.n; n < rows && !BACKWARD; n += mine.stride)
        *tile.state_at(n, mine.j) = state[tile_offset + static_cast<size_t>(n) * H + mine.j];

    const auto ask = [&](int i) {
        const int t = min(i, T - 1);  // after the last step nothing is asked for
        const size_t in = (BACKWARD ? T - 1 - t : t) * step + tile_offset;
        return mine.ask(start + in, hs + in + step, i < T ? rows : 0, H);
    };
    Inputs ahead = ask(0);

    for (int i = 0; i < T; ++i) {
        const int t = BACKWARD ? T - 1 - i : i;
        const bool alone = BACKWARD && i == 0;
        const size_t out = (t + 1 - BACKWARD) * step + tile_offset;
        const Inputs inputs = ahead;
        ahead = ask(i + 1);

        __syncthreads();  // the states are in place
        if (!alone) tile.multiply();
        __syncthreads();  // all slices have been summed, and nobody reads the states any more
        mine.finish(tile, inputs, rows, alone, relu, [&](int n, Real value) {
            state[out + static_cast<size_t>(n) * H + mine.j] = value;
            *tile.state_at(n, mine.j) = value;
        });
    }
}

// The sequence in one cooperative launch: blocks that share Wh exchange h, or backward dz.
//
// grid (blocks that split the units, groups that split the batch), all of them resident at once. Block (s, g) has the
// units s · units … and the rows N · g / G … of the batch, which it takes ROWS at a time.
// h, or the blocks of dz that Wh feeds, is empty (exchange.cu), h also in its initial slot. What a unit passes from
// round to round is read by the thread that wrote it.

extern "C" __global__ void __launch_bounds__(THREADS, 1)
group(const Real* W, PARAMETERS, int units, int column_threads, int slice, int pitch, long long patience,
      unsigned* gave_up) {
    SHARED_MEMORY(shared);
    const Run run{ARGUMENTS};
    const int first = blockIdx.x * units, own = min(units, H - first);
    Tile tile(Run::Weights{W, H, first, own}, column_threads, slice, pitch, shared);
    const int begin = first_row_of(N, blockIdx.y), end = first_row_of(N, blockIdx.y + 1);
    Output out[OUTPUTS];
    Real leak[OUTPUTS];
    Run::Inputs ahead[OUTPUTS];
    const auto ask = [&](int i, int first_row) {
#pragma unroll
        for (int e = 0; e < OUTPUTS; ++e) {
            const int row = first_row + out[e].n;
            ahead[e] = run.ask(i, row, first + out[e].u, out[e].n < ROWS && row < end);
        }
    };
#pragma unroll
    for (int e = 0; e < OUTPUTS; ++e) out[e] = output(e, own), leak[e] = run.leak(first + out[e].u);
    ask(0, begin);

    for (int i = 0; i < run.rounds(); ++i) {
        for (int first_row = begin; first_row < end; first_row += ROWS) {
            const int rows = min(ROWS, end - first_row);
            const bool last = first_row + ROWS >= end;
            State state[OUTPUTS] = {};
#pragma unroll
            for (int e = 0; e < OUTPUTS; ++e)
                if (out[e].n < rows) run.load(i, first_row + out[e].n, first + out[e].u, state[e]);
            if (__syncthreads_or(bring(tile, run.operands(i, first_row, rows), patience))) {  // the operands are in place
                if (threadIdx.x == 0) tell_host(gave_up);
                for (; i < run.rounds(); ++i)
                    for (int owed = threadIdx.x; owed < own * (end - begin); owed += blockDim.x)
                        run.give_up(i, begin + owed / own, first + owed % own);
                return;
            }
            if (run.multiplies(i)) tile.multiply();
            __syncthreads();  // the slices' sums are in place, and the operands are no longer read
            Run::Inputs in[OUTPUTS];
#pragma unroll
            for (int e = 0; e < OUTPUTS; ++e) in[e] = ahead[e];
            ask(i + last, last ? begin : first_row + ROWS);
#pragma unroll
            for (int e = 0; e < OUTPUTS; ++e) {
                const int n = out[e].n, u = out[e].u;
                if (n >= rows) continue;
                const auto sum = [&](int g) { return tile.total(n, g * own + u); };
                const auto publish_it = [](Real* p, int, Real x) { publish(p, never_empty(x)); };
                run.finish(i, first_row + n, first + u, in[e], leak[e], state[e], sum, publish_it);
                run.store(i, first_row + n, first + u, state[e]);
            }
        }
    }
}

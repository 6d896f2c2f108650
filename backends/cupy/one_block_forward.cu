// The sequence in one launch, each block for ROWS batch rows and with all of Wh: blocks never meet.
//
// grid (⌈N / ROWS⌉). A unit's states stay in the registers of its thread.

extern "C" __global__ void __launch_bounds__(THREADS, 1)
one_block(const Real* W, FORWARD_PARAMETERS, int column_threads, int slice, int pitch) {
    SHARED_MEMORY(shared);
    const Forward run{FORWARD_ARGUMENTS};
    const size_t stride = static_cast<size_t>(kFed) * H;
    Tile tile({H, kFed * H, column_threads, slice, pitch}, shared, [=](int j, int k0) { return W + k0 * stride + j; }, [=](int, int k) { return k * stride; });
    const int first_row = blockIdx.x * ROWS, rows = min(ROWS, N - first_row);
    Output out[OUTPUTS];
    Real states[OUTPUTS][kStates] = {}, leak[OUTPUTS] = {};
    Forward::Inputs ahead[OUTPUTS];
    __syncthreads();  // the zeros are in place
#pragma unroll
    for (int e = 0; e < OUTPUTS; ++e) {
        out[e] = output(e, H);
        ahead[e] = run.ask(0, first_row + out[e].n, out[e].u, out[e].n < rows);
        if (out[e].n >= rows) continue;
        run.start(first_row + out[e].n, out[e].u, states[e]);
        leak[e] = run.leak(out[e].u);
        *tile.operand_at(out[e].n, out[e].u) = states[e][0];
    }
    for (int i = 0; i < T; ++i) {
        Forward::Inputs in[OUTPUTS];
#pragma unroll
        for (int e = 0; e < OUTPUTS; ++e) {
            in[e] = ahead[e];
            ahead[e] = run.ask(i + 1, first_row + out[e].n, out[e].u, out[e].n < rows);
        }
        __syncthreads();  // the states are in place
        tile.multiply();
        __syncthreads();  // the slices' sums are in place, and the states are no longer read
#pragma unroll
        for (int e = 0; e < OUTPUTS; ++e) {
            const int n = out[e].n, u = out[e].u;
            if (n >= rows) continue;
            run.advance(i, first_row + n, u, in[e], leak[e], states[e], [&](int g) { return tile.total(n, g * H + u); });
            const size_t at = run.after(i) + static_cast<size_t>(first_row + n) * H + u;
            h[at] = *tile.operand_at(n, u) = states[e][0];
            if (kStates > 1) c[at] = states[e][kStates - 1];
        }
    }
}

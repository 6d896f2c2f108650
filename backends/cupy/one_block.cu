// The sequence in one launch, each block for ROWS batch rows and with all of Wh: blocks never meet.
//
// grid (⌈N / ROWS⌉). What a unit passes from round to round stays in the registers of its thread.

extern "C" __global__ void __launch_bounds__(THREADS, 1)
one_block(const Real* W, PARAMETERS, int column_threads, int slice, int pitch) {
    SHARED_MEMORY(shared);
    const Run run{ARGUMENTS};
    Tile tile(Run::Weights{W, H, 0, H}, column_threads, slice, pitch, shared);
    const int first_row = blockIdx.x * ROWS, rows = min(ROWS, N - first_row);
    Output out[OUTPUTS];
    State state[OUTPUTS] = {};
    Real leak[OUTPUTS] = {};
    Run::Inputs ahead[OUTPUTS];
#pragma unroll
    for (int e = 0; e < OUTPUTS; ++e) {
        out[e] = output(e, H);
        ahead[e] = run.ask(0, first_row + out[e].n, out[e].u, out[e].n < rows);
        if (out[e].n >= rows) continue;
        run.load(0, first_row + out[e].n, out[e].u, state[e]);
        leak[e] = run.leak(out[e].u);
        *tile.operand_at(out[e].n, out[e].u) = state[e][0];  // backward: 0
    }
    for (int i = 0; i < run.rounds(); ++i) {
        Run::Inputs in[OUTPUTS];
#pragma unroll
        for (int e = 0; e < OUTPUTS; ++e) {
            in[e] = ahead[e];
            ahead[e] = run.ask(i + 1, first_row + out[e].n, out[e].u, out[e].n < rows);
        }
        __syncthreads();  // the operands are in place
        if (run.multiplies(i)) tile.multiply();
        __syncthreads();  // the slices' sums are in place, and the operands are no longer read
#pragma unroll
        for (int e = 0; e < OUTPUTS; ++e) {
            const int n = out[e].n, u = out[e].u;
            if (n >= rows) continue;
            const auto sum = [&](int g) { return tile.total(n, g * H + u); };
            const auto publish = [&](Real* p, int g, Real x) { *p = *tile.operand_at(n, g * H + u) = x; };
            run.finish(i, first_row + n, u, in[e], leak[e], state[e], sum, publish);
            if (i + 1 == run.rounds()) run.store(i, first_row + n, u, state[e]);
        }
    }
}

// The sequence in one launch, each block for ROWS batch rows and with all of Whᵀ: blocks never meet.
//
// grid (⌈N / ROWS⌉). A unit's carry stays in the registers of its thread. One more round than there are steps completes
// dh_given.

extern "C" __global__ void __launch_bounds__(THREADS, 1)
one_block(const Real* W, BACKWARD_PARAMETERS, int column_threads, int slice, int pitch) {
    SHARED_MEMORY(shared);
    const Backward run{BACKWARD_ARGUMENTS};
    const size_t stride = static_cast<size_t>(kFed) * H;
    Tile tile({kFed * H, H, column_threads, slice, pitch}, shared, [=](int j, int k0) { return W + j * stride + k0; }, [](int, int k) { return k; });
    const int first_row = blockIdx.x * ROWS, rows = min(ROWS, N - first_row);
    Output out[OUTPUTS];
    Real carry[OUTPUTS][kStates] = {}, leak[OUTPUTS] = {};
    Backward::Inputs ahead[OUTPUTS];
#pragma unroll
    for (int e = 0; e < OUTPUTS; ++e) {
        out[e] = output(e, H);
        ahead[e] = run.ask(0, first_row + out[e].n, out[e].u, out[e].n < rows);
        if (out[e].n < rows) leak[e] = run.leak(out[e].u);
    }
    for (int i = 0; i <= T; ++i) {
        Backward::Inputs in[OUTPUTS];
#pragma unroll
        for (int e = 0; e < OUTPUTS; ++e) {
            in[e] = ahead[e];
            ahead[e] = run.ask(i + 1, first_row + out[e].n, out[e].u, out[e].n < rows && i < T);
        }
        __syncthreads();  // dz is in place
        if (i > 0) tile.multiply();
        __syncthreads();  // the slices' sums are in place, and dz is no longer read
#pragma unroll
        for (int e = 0; e < OUTPUTS; ++e) {
            const int n = out[e].n, u = out[e].u;
            if (n >= rows) continue;
            if (in[e].fed) carry[e][0] += tile.total(n, u);
            if (i == T) {
                run.store_carry(i, first_row + n, u, carry[e]);
                continue;
            }
            Real d[kPre];
            run.gradient(in[e], leak[e], carry[e], d);
            Real* to = run.gates(i, first_row + n, u);
#pragma unroll
            for (int g = 0; g < kPre; ++g) to[static_cast<size_t>(g) * H] = d[g];
#pragma unroll
            for (int g = 0; g < kFed; ++g) *tile.operand_at(n, g * H + u) = d[kFirstFed + g];
        }
    }
}

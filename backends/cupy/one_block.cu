// The sequence in one launch, each block for ROWS batch rows and with all of a head's Wh: blocks never meet.
//
// grid (⌈N / ROWS⌉, 1, heads). What a unit passes from round to round stays in the registers of its thread.

extern "C" __global__ void __launch_bounds__(THREADS, 1)
one_block(const Real* W, PARAMETERS, int column_threads, int slice, int pitch) {
    SHARED_MEMORY(shared);
    const Run run{ARGUMENTS};
    Tile tile(Run::Weights{of_head(W, K), K, 0, K}, column_threads, slice, pitch, shared);
    const auto publish = [&](int n, int k, Real* p, Real x) { *p = *tile.operand_at(n, k) = x; };
    const int first_row = blockIdx.x * ROWS, rows = min(ROWS, N - first_row);
    Outputs outputs(run, blockIdx.z * K, K);
    outputs.load(run, 0, first_row, rows);
    outputs.ask(run, 0, first_row, rows);
#pragma unroll
    for (int e = 0; e < OUTPUTS; ++e)  // backward: zeros
        if (outputs.n[e] < rows) *tile.operand_at(outputs.n[e], outputs.u[e]) = outputs.state[e][0];

    for (int i = 0; i < run.rounds(); ++i) {
        Outputs::Inputs in = outputs.ahead;
        outputs.ask(run, i + 1, first_row, rows);
        __syncthreads();  // the operands are in place
        if (run.multiplies(i)) tile.multiply();
        __syncthreads();  // the slices' sums are in place, and the operands are no longer read
        outputs.finish(run, tile, i, first_row, rows, in, i + 1 == run.rounds(), publish);
    }
}

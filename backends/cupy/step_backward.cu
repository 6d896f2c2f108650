// The stepwise form: one kernel a time step, before the library's product; and one more that completes dh_given.
//
// arrived (N, H): dz @ Whᵀ of the step taken before. fed (N, FED H): a copy of what the next product multiplies, null if
// that is all of dz. A block has `blockDim.x` units of a row; grid (rows × blocks of a row).

extern "C" __global__ void __launch_bounds__(THREADS)
step_backward(const Real* arrived, Real* fed, BACKWARD_PARAMETERS, int i) {
    const Backward run{BACKWARD_ARGUMENTS};
    const int blocks = (H + blockDim.x - 1) / blockDim.x;
    const int row = blockIdx.x / blocks, unit = blockIdx.x % blocks * blockDim.x + threadIdx.x;
    if (unit >= H) return;
    const Backward::Inputs in = run.ask(i, row, unit, true);
    Real carry[kStates], d[kPre];
    run.load_carry(i, row, unit, carry);
    if (in.fed) carry[0] += arrived[static_cast<size_t>(row) * H + unit];
    if (i < T) {
        run.gradient(in, run.leak(unit), carry, d);
        Real* out = run.gates(i, row, unit);
#pragma unroll
        for (int g = 0; g < kPre; ++g) out[static_cast<size_t>(g) * H] = d[g];
        Real* copy = fed + static_cast<size_t>(row) * kFed * H + unit;
#pragma unroll
        for (int g = 0; g < kFed && fed; ++g) copy[static_cast<size_t>(g) * H] = d[kFirstFed + g];
    }
    run.store_carry(i, row, unit, carry);
}

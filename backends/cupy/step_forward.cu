// The stepwise form: one kernel a time step, after the library's product.
//
// rec (N, FED H): h @ Wh of this step. A block has `blockDim.x` units of a row; grid (rows × blocks of a row).

extern "C" __global__ void __launch_bounds__(THREADS) step_forward(const Real* rec, FORWARD_PARAMETERS, int i) {
    const Forward run{FORWARD_ARGUMENTS};
    const int blocks = (H + blockDim.x - 1) / blockDim.x;
    const int row = blockIdx.x / blocks, unit = blockIdx.x % blocks * blockDim.x + threadIdx.x;
    if (unit >= H) return;
    Forward::Inputs in = run.ask(i, row, unit, true);
    const size_t at = static_cast<size_t>(row) * H + unit;
    Real states[kStates];
    states[0] = h[run.before(i) + at];
    if (kStates > 1) states[kStates - 1] = c[run.before(i) + at];
    const Real* sums = rec + static_cast<size_t>(row) * kFed * H + unit;
    run.advance(i, row, unit, in, run.leak(unit), states, [=](int g) { return sums[static_cast<size_t>(g) * H]; });
    h[run.after(i) + at] = states[0];
    if (kStates > 1) c[run.after(i) + at] = states[kStates - 1];
}

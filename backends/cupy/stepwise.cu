// The stepwise form: one kernel a round. Forward: after the library's product. Backward: before it.
//
// sums (N, kSums · H): forward h @ Wh of this step, backward dz @ Whᵀ of the step taken before. fed (N, FED · H): a copy
// of what the next product multiplies, null: none. A block has `blockDim.x` units of a row; grid (rows × blocks of a row).

extern "C" __global__ void __launch_bounds__(THREADS) stepwise(const Real* sums, Real* fed, PARAMETERS, int i) {
    const Run run{ARGUMENTS};
    const int blocks = (H + blockDim.x - 1) / blockDim.x;
    const int row = blockIdx.x / blocks, unit = blockIdx.x % blocks * blockDim.x + threadIdx.x;
    if (unit >= H) return;
    Run::Inputs in = run.ask(i, row, unit, true);
    State state;
    run.load(i, row, unit, state);
    const auto sum = [&](int g) { return sums[(static_cast<size_t>(row) * kSums + g) * H + unit]; };
    const auto publish = [&](Real* p, int g, Real x) {
        *p = x;
        if (fed) fed[(static_cast<size_t>(row) * kFed + g) * H + unit] = x;
    };
    run.finish(i, row, unit, in, run.leak(unit), state, sum, publish);
    run.store(i, row, unit, state);
}

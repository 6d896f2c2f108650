// The stepwise form: one kernel a round. Forward: after the library's product. Backward: before it.
//
// sums (H / K, N, kSums · K): forward h @ Wh of this step, backward dz @ Whᵀ of the step taken before, of each head.
// fed (H / K, N, kParts · K): a copy of what the next product multiplies, null: none. grid (⌈N · H / threads⌉).

extern "C" __global__ void __launch_bounds__(THREADS) stepwise(const Real* sums, Real* fed, PARAMETERS, int i) {
    const Run run{ARGUMENTS};
    const size_t pair = pair_of_thread();
    if (pair >= run.pairs()) return;
    const int row = pair / H, unit = pair % H, head = unit / K, in_head = unit - head * K;
    const size_t head_row = head * static_cast<size_t>(N) + row;
    Run::Inputs in = run.ask(i, row, unit, true);
    State state;
    run.load(i, row, unit, state);
    const auto sum = [&](int g) { return sums[(head_row * kSums + g) * K + in_head]; };
    const auto publish = [&](Real* p, int g, Real x) {
        *p = x;
        if (fed) fed[(head_row * kParts + g) * K + in_head] = x;
    };
    Own own = run.own_of(unit);
    run.finish(i, row, unit, in, own, state, sum, publish);
    run.store(i, row, unit, state);
    run.add_own(row, unit, own);
}

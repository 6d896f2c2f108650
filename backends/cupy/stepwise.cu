// The stepwise form: one kernel a round. Forward: after the library's product. Backward: before it.
//
// sums (N, kSums · H): forward h @ Wh of this step, backward dz @ Whᵀ of the step taken before. fed (N, FED · H): a copy
// of what the next product multiplies, null: none. grid (⌈N · H / threads⌉).

extern "C" __global__ void __launch_bounds__(THREADS) stepwise(const Real* sums, Real* fed, PARAMETERS, int i) {
    const Run run{ARGUMENTS};
    const size_t pair = pair_of_thread();
    if (pair >= run.pairs()) return;
    const int row = pair / H, unit = pair % H;
    Run::Inputs in = run.ask(i, row, unit, true);
    State state;
    run.load(i, row, unit, state);
    const auto sum = [&](int g) { return sums[(static_cast<size_t>(row) * kSums + g) * H + unit]; };
    const auto publish = [&](Real* p, int g, Real x) {
        *p = x;
        if (fed) fed[(static_cast<size_t>(row) * kFed + g) * H + unit] = x;
    };
    Own own = run.own_of(unit);
    run.finish(i, row, unit, in, own, state, sum, publish);
    run.store(i, row, unit, state);
    run.add_own(row, unit, own);
}

// A cell whose z does not depend on h: the sequence in one launch. A thread has one unit of one row, for all steps.
//
// Threads do not wait for each other, and the states stay in registers. So a step takes the time of reading its inputs.
// A thread requests them AHEAD rounds before their use, because a read of memory takes longer than many steps.
//
// grid (⌈N · H / threads⌉). Neighbouring threads have neighbouring units. The matrix W has no elements.

extern "C" __global__ void __launch_bounds__(THREADS) scan(const Real*, PARAMETERS) {
    Run run{ARGUMENTS};
    run.join();
    const size_t pair = pair_of_thread();
    if (pair >= run.pairs()) return;
    const int row = pair / H, unit = pair % H;
    Own own = run.own_of(unit);
    State state;
    run.load(0, row, unit, state);
    Run::Inputs ahead[AHEAD];
#pragma unroll
    for (int e = 0; e < AHEAD; ++e) ahead[e] = run.ask(e, row, unit, true);
    const auto sum = [](int) { return Real(0); };
    const auto publish = [](Real* p, int, Real x) { *p = x; };
    for (int first = 0; first < run.rounds(); first += AHEAD) {
#pragma unroll
        for (int e = 0; e < AHEAD; ++e) {
            const int i = first + e;
            if (i >= run.rounds()) break;
            Run::Inputs in = ahead[e];
            ahead[e] = run.ask(i + AHEAD, row, unit, true);
            run.finish(i, row, unit, in, own, state, sum, publish);
        }
    }
    run.store(run.rounds() - 1, row, unit, state);
    run.add_own(row, unit, own);
}

// The sequence in one cooperative launch: blocks that share Whᵀ exchange dz.
//
// grid (blocks that split the units, groups that split the batch), all of them resident at once; see group_forward.cu.
// The blocks of dz that Wh feeds are empty (exchange.cu). One more round than there are steps completes dh_given.

extern "C" __global__ void __launch_bounds__(THREADS, 1)
group(const Real* W, BACKWARD_PARAMETERS, int units, int column_threads, int slice, int pitch, long long patience,
      unsigned* gave_up) {
    SHARED_MEMORY(shared);
    const Backward run{BACKWARD_ARGUMENTS};
    const int first = blockIdx.x * units;
    units = min(units, H - first);
    const int own = units;
    const size_t stride = static_cast<size_t>(kFed) * H, width = static_cast<size_t>(kPre) * H;
    Tile tile({kFed * H, own, column_threads, slice, pitch}, shared, [=](int j, int k0) { return W + (first + j) * stride + k0; }, [](int, int k) { return k; });
    const int begin = first_row_of(N, blockIdx.y), end = first_row_of(N, blockIdx.y + 1);
    const bool wide = H % kVector == 0;
    Output out[OUTPUTS];
    Real leak[OUTPUTS];
    Backward::Inputs ahead[OUTPUTS];
    const auto ask = [&](int i, int first_row) {
#pragma unroll
        for (int e = 0; e < OUTPUTS; ++e) {
            const int row = first_row + out[e].n;
            ahead[e] = run.ask(i, row, first + out[e].u, i <= T && out[e].n < ROWS && row < end);
        }
    };
#pragma unroll
    for (int e = 0; e < OUTPUTS; ++e) out[e] = output(e, own), leak[e] = run.leak(first + out[e].u);
    ask(0, begin);

    for (int i = 0; i <= T; ++i) {
        for (int first_row = begin; first_row < end; first_row += ROWS) {
            const int rows = min(ROWS, end - first_row);
            const bool last = first_row + ROWS >= end;
            Backward::Inputs in[OUTPUTS];
            Real carry[OUTPUTS][kStates] = {};
#pragma unroll
            for (int e = 0; e < OUTPUTS; ++e) {
                in[e] = ahead[e];
                if (out[e].n < rows) run.load_carry(i, first_row + out[e].n, first + out[e].u, carry[e]);
            }
            ask(i + last, last ? begin : first_row + ROWS);
            const Real* from = i ? run.gates(i - 1, first_row, kFirstFed * H) : dz;
            const int wanted = i ? rows : 0;
            if (__syncthreads_or(wide ? bring<true>(tile, from, width, wanted, false, patience)
                                      : bring<false>(tile, from, width, wanted, false, patience))) {  // dz is in place
                if (threadIdx.x == 0) tell_host(gave_up);
                for (; i <= T; ++i)
                    for (int owed = threadIdx.x; owed < own * (end - begin); owed += blockDim.x) {
                        const int row = begin + owed / own, unit = first + owed % own;
                        for (int g = 0; g < kPre && i < T; ++g)
                            publish(run.gates(i, row, unit) + static_cast<size_t>(g) * H, nan());
                        Real lost[kStates];
                        for (Real& each : lost) each = nan();
                        if (i == T) run.store_carry(i, row, unit, lost);
                    }
                return;
            }
            if (i > 0) tile.multiply();
            __syncthreads();  // the slices' sums are in place, and dz is no longer read
#pragma unroll
            for (int e = 0; e < OUTPUTS; ++e) {
                const int n = out[e].n, u = out[e].u;
                if (n >= rows) continue;
                if (in[e].fed) carry[e][0] += tile.total(n, u);
                if (i < T) {
                    Real d[kPre];
                    run.gradient(in[e], leak[e], carry[e], d);
                    Real* to = run.gates(i, first_row + n, first + u);
#pragma unroll
                    for (int g = 0; g < kPre; ++g) {
                        const bool fed = g >= kFirstFed && g < kFirstFed + kFed;
                        Real* const element = to + static_cast<size_t>(g) * H;
                        if (fed) publish(element, never_empty(d[g]));
                        else *element = d[g];
                    }
                }
                run.store_carry(i, first_row + n, first + u, carry[e]);
            }
        }
    }
}

// The sequence in one cooperative launch: blocks that share Wh exchange h.
//
// grid (blocks that split the units, groups that split the batch), all of them resident at once. Block (s, g) has the
// units s · units … and the rows N · g / G … of the batch, which it takes ROWS at a time.
// h is empty (exchange.cu), also in its initial slot. A unit's c is read by the thread that wrote it.

extern "C" __global__ void __launch_bounds__(THREADS, 1)
group(const Real* W, FORWARD_PARAMETERS, int units, int column_threads, int slice, int pitch, long long patience,
      unsigned* gave_up) {
    SHARED_MEMORY(shared);
    const Forward run{FORWARD_ARGUMENTS};
    const int first = blockIdx.x * units;
    units = min(units, H - first);
    const int own = units;
    const size_t stride = static_cast<size_t>(kFed) * H;
    Tile tile({H, kFed * own, column_threads, slice, pitch}, shared,
              [=](int j, int k0) { return W + k0 * stride + static_cast<size_t>(j / own) * H + first + j % own; },
              [=](int, int k) { return k * stride; });
    const int begin = first_row_of(N, blockIdx.y), end = first_row_of(N, blockIdx.y + 1);
    const bool wide_slots = H % kVector == 0, wide_given = wide_slots && reinterpret_cast<size_t>(h_given) % 16 == 0;
    Output out[OUTPUTS];
    Real leak[OUTPUTS];
    Forward::Inputs ahead[OUTPUTS];
    const auto ask = [&](int i, int first_row) {
#pragma unroll
        for (int e = 0; e < OUTPUTS; ++e) {
            const int row = first_row + out[e].n;
            ahead[e] = run.ask(i, row, first + out[e].u, out[e].n < ROWS && row < end);
        }
    };
#pragma unroll
    for (int e = 0; e < OUTPUTS; ++e) out[e] = output(e, own), leak[e] = run.leak(first + out[e].u);
    ask(0, begin);
    __syncthreads();  // the zeros are in place

    for (int i = 0; i < T; ++i) {
        for (int first_row = begin; first_row < end; first_row += ROWS) {
            const int rows = min(ROWS, end - first_row);
            const bool last = first_row + ROWS >= end;
            Forward::Inputs in[OUTPUTS];
            Real states[OUTPUTS][kStates] = {};
            size_t at[OUTPUTS];
#pragma unroll
            for (int e = 0; e < OUTPUTS; ++e) {
                in[e] = ahead[e];
                at[e] = static_cast<size_t>(first_row + out[e].n) * H + first + out[e].u;
                if (out[e].n >= rows) continue;
                if (i == 0) run.start(first_row + out[e].n, first + out[e].u, states[e]);
                if (i > 0 && kStates > 1) states[e][kStates - 1] = c[run.before(i) + at[e]];
            }
            ask(i + last, last ? begin : first_row + ROWS);
            const Real* from = (i ? h + run.before(i) : h_given) + static_cast<size_t>(first_row) * H;
            const int wanted = i || h_given ? rows : 0;  // zeros are in place already
            const bool wide = i ? wide_slots : wide_given;
            if (__syncthreads_or(wide ? bring<true>(tile, from, H, wanted, i == 0, patience)
                                      : bring<false>(tile, from, H, wanted, i == 0, patience))) {  // h is in place
                if (threadIdx.x == 0) tell_host(gave_up);
                for (; i < T; ++i)
                    for (int owed = threadIdx.x; owed < own * (end - begin); owed += blockDim.x) {
                        const int row = begin + owed / own, unit = first + owed % own;
                        const size_t to = run.after(i) + static_cast<size_t>(row) * H + unit;
                        publish(h + to, nan());
                        if (kStates > 1) c[to] = nan();
                        for (int g = 0; g < kPre; ++g) run.gates(i, row, unit)[static_cast<size_t>(g) * H] = nan();
                    }
                return;
            }
#pragma unroll
            for (int e = 0; e < OUTPUTS; ++e)
                if (i > 0 && out[e].n < rows) states[e][0] = *tile.operand_at(out[e].n, first + out[e].u);
            tile.multiply();
            __syncthreads();  // the slices' sums are in place, and h is no longer read
#pragma unroll
            for (int e = 0; e < OUTPUTS; ++e) {
                const int n = out[e].n, u = out[e].u;
                if (n >= rows) continue;
                run.advance(i, first_row + n, first + u, in[e], leak[e], states[e],
                            [&](int g) { return tile.total(n, g * own + u); });
                publish(h + run.after(i) + at[e], never_empty(states[e][0]));
                if (kStates > 1) c[run.after(i) + at[e]] = states[e][kStates - 1];
            }
        }
    }
}

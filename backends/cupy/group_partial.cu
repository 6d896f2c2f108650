// The sequence in one cooperative launch: blocks that share Wh exchange partial sums of dh. For float.
//
// grid (blocks that split a head's units, groups that split the batch, heads), all of them resident at once; see
// group.cu. A block holds the same columns of Wh as forward. From dz of its units it computes what these add to dh of all
// units of the head, and the block that owns a unit adds the S partial sums of it, in a fixed order.
//
// parts (2, N, S, H), all zero before the launch: parts[i mod 2][n][s][k] is what block s adds to dh[n, k] in step i. The
// arrival flag is the last bit of the mantissa: the number of times that the element was written, mod 2. So the buffer
// is never reset, and no fence is needed: a block writes step i + 2 only after all partial sums of step i + 1 arrived,
// and each of these depends on its block having read step i. A partial sum is off by at most one unit in the last place;
// one that is not finite becomes NaN.

XRNN_INLINE float flagged(float x, unsigned use) {
    const unsigned bits = bits_of(x);
    const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
    return float_of(finite ? (bits & ~1u) | use : 0x7fc00000u | use);
}
XRNN_INLINE bool arrived(float x, unsigned use) { return (bits_of(x) & 1u) == use; }
XRNN_INLINE unsigned use_of(int i) { return (i / 2 + 1) & 1; }  // of the slot of step i

struct Weights {  // (FED · own, units): the transpose of the columns of a head's units from `first` on
    static constexpr bool kAlongColumns = false;
    const Real* W;
    int units, first, own;
    XRNN_INLINE int K() const { return kFed * own; }
    XRNN_INLINE int columns() const { return units; }
    XRNN_INLINE const Real* column(int j, int) const { return W + j * (static_cast<size_t>(kFed) * units) + first; }
    XRNN_INLINE size_t row(int k0, int k) const { return static_cast<size_t>((k0 + k) / own) * units + (k0 + k) % own; }
    XRNN_INLINE bool wide() const { return (own | first | units) % kVector == 0 && is_aligned(W); }
};

extern "C" __global__ void __launch_bounds__(THREADS, 1)
group_partial(const Real* W, PARAMETERS, int units, int column_threads, int slice, int pitch, long long patience,
              unsigned* gave_up, Real* parts) {
    SHARED_MEMORY(shared);
    const Run run{ARGUMENTS};
    const int S = gridDim.x, outputs = ROWS * units;
    const int in_head = blockIdx.x * units, first = blockIdx.z * K + in_head, own = min(units, K - in_head);
    Tile tile(Weights{of_head(W, K), K, in_head, own}, column_threads, slice, pitch, shared);
    // Several threads add for an output: helper h adds the partial sums h, h + helpers, …, and shuffles add the sums of
    // a warp's helpers, if whole helpers lie in each warp.
    Real* const gathered = tile.remaining;  // (sums, outputs)
    const int helpers = blockDim.x / outputs, helper = threadIdx.x / outputs, out = threadIdx.x % outputs;
    const int span = 32 % outputs == 0 && blockDim.x % 32 == 0 ? 32 : outputs, sums = blockDim.x / span;
    const bool gathers = helper < helpers && threadIdx.x % span < outputs;
    Real* const slot = gathered + threadIdx.x / span * outputs + out;
    const int n = out / units, u = out % units;
    const int begin = first_row_of(N, blockIdx.y), end = first_row_of(N, blockIdx.y + 1);
    Own unit_own = u < own ? run.own_of(first + u) : Own{};
    const auto ask = [&](int i, int first_row) {
        return run.ask(i, first_row + n, first + u, helper == 0 && u < own && first_row + n < end);
    };
    Run::Inputs ahead = ask(0, begin);

    for (int i = 0; i < run.rounds(); ++i) {
        for (int first_row = begin; first_row < end; first_row += ROWS) {
            const int rows = min(ROWS, end - first_row), row = first_row + n;
            const bool here = n < rows && u < own && helper < helpers, mine = here && helper == 0;
            const bool last = first_row + ROWS >= end;
            Run::Inputs in = ahead;
            ahead = ask(i + last, last ? begin : first_row + ROWS);
            State carry = {};
            Real sum = 0;
            if (mine) run.load(i, row, first + u, carry);
            bool lost = false;
            if (i > 0 && here) {
                const Real* p = parts + (((i - 1) & 1) * static_cast<size_t>(N) + row) * S * H + first + u;
                Patience waited{patience};
                for (int s = helper; s < S && !lost; s += LOADS * helpers) {
                    Real v[LOADS] = {};
                    bool missing[LOADS], waiting;
#pragma unroll
                    for (int e = 0; e < LOADS; ++e) missing[e] = s + e * helpers < S;
                    do {
                        waiting = false;
#pragma unroll
                        for (int e = 0; e < LOADS; ++e)
                            look_if(missing[e], p + static_cast<size_t>(s + e * helpers) * H, v[e]);
#pragma unroll
                        for (int e = 0; e < LOADS; ++e) {
                            missing[e] = missing[e] && !arrived(v[e], use_of(i - 1));
                            waiting |= missing[e];
                        }
                        lost |= waiting && waited.is_over();
                    } while (waiting && !lost);
#pragma unroll
                    for (int e = 0; e < LOADS; ++e) sum += v[e];
                }
            }
            add_lanes<0>(&sum, outputs, span);
            if (gathers) *slot = sum;
            if (__syncthreads_or(lost))  // the helpers' sums are in place
                return give_up(run, i, begin, end, first, own, gave_up);  // blocks that need its sums give up as well
            if (mine) {
                const auto total = [&](int) {
                    Real dh = 0;
                    for (int s = 0; s < sums; ++s) dh += gathered[s * outputs + out];
                    return dh;
                };
                const auto publish = [&](Real* p, int g, Real x) { *p = *tile.operand_at(n, g * own + u) = x; };
                run.finish(i, row, first + u, in, unit_own, carry, total, publish);
                run.store(i, row, first + u, carry);
                run.add_own(row, first + u, unit_own);
            }
            __syncthreads();  // dz is in place, and the helpers' sums are no longer read
            if (i == T) continue;
            tile.multiply();
            __syncthreads();  // the slices' sums are in place, and dz is no longer read
            for (int at = threadIdx.x; at < rows * column_threads; at += blockDim.x) {
                const int m = at / column_threads, j = at % column_threads * kVector;
                Real* to = parts + (((i & 1) * static_cast<size_t>(N) + first_row + m) * S + blockIdx.x) * H;
                to += blockIdx.z * K + j;
                Vector v;
#pragma unroll
                for (int e = 0; e < kVector; ++e) v.at[e] = flagged(tile.total(m, j + e), use_of(i));
                if (K % kVector == 0) {
                    publish_wide(to, v.at);
                } else {
                    for (int e = 0; e < kVector; ++e)
                        if (j + e < K) publish(to + e, v.at[e]);
                }
            }
        }
    }
}

// How the blocks of a group hand each other what they computed, through L2, without a barrier over the grid.
//
// The arrival flag is the data. Before the launch every element that is exchanged is empty: a NaN with all bits set,
// which no result may be. It is written once, and a block that needs it polls until it is there. So nothing has to be
// ordered: there is no counter, no fence, and no buffer that could be reused too early.
// (After Diamos et al., 2016: Persistent RNNs.) A result that happens to be this NaN is replaced by another NaN.
//
// It can't hang. A block that has polled for longer than `patience` nanoseconds sets *gave_up, which is pinned host
// memory, writes NaN to everything that it still owes, so that others don't wait for it, and ends.

XRNN_INLINE bool is_empty(Real x) { return bits_of(x) == ~decltype(bits_of(x))(0); }
XRNN_INLINE Real never_empty(Real x) { return is_empty(x) ? nan() : x; }

// Requests the 16 bytes from p on, of which `left` elements belong to the row, if they are missing; v keeps the others.
// wide: all rows are 16-byte aligned.
template <bool wide>
XRNN_INLINE void request(Vector& v, const Real* p, int left, bool missing) {
    if (wide) {
        look_wide_if(missing, p, v.at);
    } else {
#pragma unroll
        for (int c = 0; c < kVector; ++c) look_if(missing && c < left, p + c, v.at[c]);
    }
}

// Copies each row's elements that this thread's team multiplies into the tile; polls for those that are empty, unless they
// are ready. Returns whether it gave up.
//
// A thread has LOADS requests in flight at a time: one round trip to L2 for all of them. A branch between two loads
// would make the second wait for the first, so each load is predicated instead. A poll requests only the vectors that
// are still missing: L2 has to serve the others' first requests at the same time.
template <bool wide>
XRNN_INLINE bool bring_as(const Tile& tile, const Operands& o, long long patience) {
    const int stride = tile.team * kVector, member = tile.team < blockDim.x ? threadIdx.x % 32 : threadIdx.x;
    Patience waited{patience};
    bool gave_up = false;
    for (int at = tile.begin + member * kVector; at < tile.end && o.rows > 0 && !gave_up;
         at += stride * (LOADS / ROWS)) {
        Vector v[LOADS] = {};  // elements past the row's end stay zero
        const Real* p[LOADS];
        int left[LOADS];
        bool missing[LOADS];
#pragma unroll
        for (int e = 0; e < LOADS; ++e) {
            const int n = e % ROWS, k = at + e / ROWS * stride;
            left[e] = n < o.rows ? tile.end - k : 0;
            p[e] = o.from + n * o.pitch + k;
            if (wide)  // if not, there is one head or one part (choice.py): no gap
#pragma unroll
                for (int g = 1; g < kParts; ++g) p[e] += k >= g * o.part ? o.gap : 0;
            missing[e] = left[e] > 0;
        }
        bool waiting;
        do {
            waiting = false;
#pragma unroll
            for (int e = 0; e < LOADS; ++e) request<wide>(v[e], p[e], left[e], missing[e]);
#pragma unroll
            for (int e = 0; e < LOADS; ++e) {
                missing[e] = false;
#pragma unroll
                for (int c = 0; c < kVector; ++c) missing[e] |= !o.ready && is_empty(v[e].at[c]);
                waiting |= missing[e];
            }
            gave_up |= waiting && waited.is_over();
        } while (waiting && !gave_up);
#pragma unroll
        for (int e = 0; e < LOADS; ++e) {
            const int n = e % ROWS, k = at + e / ROWS * stride;
            if (left[e] > 0) *reinterpret_cast<Vector*>(tile.operand_at(n, k)) = v[e];
        }
    }
    return gave_up;
}
XRNN_INLINE bool bring(const Tile& tile, const Operands& o, long long patience) {
    return o.wide ? bring_as<true>(tile, o, patience) : bring_as<false>(tile, o, patience);
}

// Ends a block that gave up in round i: NaN for all that it still owes, the rows begin … end of its units.
XRNN_INLINE void give_up(const Run& run, int i, int begin, int end, int first, int own, unsigned* gave_up) {
    if (threadIdx.x == 0) tell_host(gave_up);
    for (; i < run.rounds(); ++i)
        for (int owed = threadIdx.x; owed < own * (end - begin); owed += blockDim.x)
            run.give_up(i, begin + owed / own, first + owed % own);
}

// The rows of the batch that a group has: blockIdx.y of gridDim.y.
XRNN_INLINE int first_row_of(int N, unsigned group) { return static_cast<long long>(N) * group / gridDim.y; }

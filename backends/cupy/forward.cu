// One time step of one unit, forward (cell.cu).

#define PARAMETERS                                                                                         \
    Real *z, OF_STATES(Real *, s), OF_STATES(const Real *, given), const Real *params, Real param_of_all, \
        const int *lengths, int T, int N, int H, int K, int reverse, int training
#define ARGUMENTS z, THESE(s), THESE(given), params, param_of_all, lengths, T, N, H, K, reverse, training

constexpr int kSums = kFed, kParts = 1;

struct Run {
    Real *z, *s[kArrays];
    const Real *given[kArrays], *params;
    Real param_of_all;
    const int* lengths;
    int T, N, H, K, reverse, training;

    XRNN_INLINE int rounds() const { return T; }
    XRNN_INLINE bool multiplies(int) const { return true; }
    XRNN_INLINE int t(int i) const { return reverse ? T - 1 - i : i; }
    XRNN_INLINE void join() {
#pragma unroll
        for (int k = 1; k < kJoined; ++k) {
            s[k] = s[0] + k * H;
            given[k] = given[0] ? given[0] + k * H : nullptr;
        }
    }
    XRNN_INLINE size_t place(int row, int unit) const { return static_cast<size_t>(row) * kJoined * H + unit; }
    XRNN_INLINE size_t step() const { return place(N, 0); }
    XRNN_INLINE size_t pairs() const { return static_cast<size_t>(N) * H; }
    XRNN_INLINE size_t before(int i) const { return (t(i) + !!reverse) * step(); }
    XRNN_INLINE size_t after(int i) const { return (t(i) + !reverse) * step(); }
    XRNN_INLINE ptrdiff_t to_next() const { return reverse ? -ptrdiff_t(step()) : ptrdiff_t(step()); }
    XRNN_INLINE Own own_of(int unit) const { return own_of_unit(params, param_of_all, H, unit); }
    XRNN_INLINE Real* gates(int i, int row, int unit) const {
        return z + (t(i) * static_cast<size_t>(N) + row) * kPre * H + unit;
    }

    struct Weights {  // (units, FED · own): the columns of a head's units from `first` on, part by part
        static constexpr bool kAlongColumns = true;  // what lies side by side
        const Real* W;
        int units, first, own;
        XRNN_INLINE int K() const { return units; }
        XRNN_INLINE int columns() const { return kFed * own; }
        XRNN_INLINE const Real* column(int j, int k0) const {
            return W + row(0, k0) + static_cast<size_t>(j / own) * units + first + j % own;
        }
        XRNN_INLINE size_t row(int, int k) const { return k * (static_cast<size_t>(kFed) * units); }
        XRNN_INLINE bool wide() const { return (own | first | units) % kVector == 0 && is_aligned(W); }
    };
    XRNN_INLINE Operands operands(int i, int row, int rows) const {
        const size_t at = static_cast<size_t>(row) * H + blockIdx.z * K;
        const bool whole = K % kVector == 0;
        if (i > 0) return {s[0] + before(i) + at, size_t(H), K, 0, rows, false, whole};
        if (!given[0]) return {s[0], size_t(H), K, 0, 0, true, whole};
        return {given[0] + at, size_t(H), K, 0, rows, true, whole && is_aligned(given[0])};
    }

    struct Inputs {
        Real z[kPre];
        bool idle;
    };
    XRNN_INLINE Inputs ask(int i, int row, int unit, bool wanted) const {
        Inputs in = {};
        if (wanted && i < T) {
            const Real* p = gates(i, row, unit);
#pragma unroll
            for (int g = 0; g < kPre; ++g) in.z[g] = p[static_cast<size_t>(g) * H];
            in.idle = lengths && t(i) >= lengths[row];
        }
        return in;
    }
    // The states before a step; the initial ones are also copied to their slot.
    XRNN_INLINE void load(int i, int row, int unit, State& states) const {
        const size_t at = place(row, unit), slot = before(i) + at;
        if (i > 0) {
#pragma unroll
            for (int k = 0; k < kStates; ++k) states[k] = s[k][slot];
            return;
        }
#pragma unroll
        for (int k = 0; k < kStates; ++k) {
            states[k] = given[k] ? given[k][at] : Real(0);
            if (given[k] != s[k] + before(0)) s[k][slot] = states[k];
        }
    }
    XRNN_INLINE void store(int, int, int, const State&) const {}  // they are results, which `finish` writes
    XRNN_INLINE void add_own(int, int, const Own&) const {}
    template <class Sum, class Publish>
    XRNN_INLINE void finish(int i, int row, int unit, Inputs& in, Own& own, State& states, Sum sum,
                            Publish publish) const {
        State next;
#pragma unroll
        for (int g = 0; g < kFed; ++g) in.z[kFirstFed + g] += sum(g);
        TheCell::step(in.z, states, next, own.at);
        if (!in.idle) {
#pragma unroll
            for (int k = 0; k < kStates; ++k) states[k] = next[k];
        }
        if (TheCell::KEEPS_Z && training) {
            Real* out = gates(i, row, unit);
#pragma unroll
            for (int g = 0; g < kPre; ++g) out[static_cast<size_t>(g) * H] = in.z[g];
        }
        const size_t slot = after(i) + place(row, unit);
        publish(s[0] + slot, 0, states[0]);
#pragma unroll
        for (int k = 1; k < kStates; ++k) s[k][slot] = states[k];
    }
    XRNN_INLINE void give_up(int i, int row, int unit) const {
        const size_t slot = after(i) + place(row, unit);
        publish(s[0] + slot, nan());
#pragma unroll
        for (int k = 1; k < kStates; ++k) s[k][slot] = nan();
        for (int g = 0; g < kPre; ++g) gates(i, row, unit)[static_cast<size_t>(g) * H] = nan();
    }
};

// One time step of one unit, forward and backward: what all forms share. T time steps, N batch, H hidden size.
//
// All arrays are C-contiguous, and W, h and dz 16-byte aligned.
//     W        (H, FED H)        Wh
//     z        (T, N, PRE H)     forward: x @ Wx + b, overwritten with the gates if `training` and the cell keeps them;
//                                backward: these gates
//     h, c     (T+1, N, H)       slot 0 is the initial state, slot t + 1 the state after step t;
//                                in reverse: slot T, and slot t. c is null for cells with one state
//     h_given, c_given  (N, H)   null: zeros. Forward copies them to the initial slot, unless they lie there
//     dh, dc   (T, N, H)         the gradients of the results, null: zeros
//     dz       (T, N, PRE H)     filled by backward
//     dh_given, dc_given (N, H)  filled by backward: the gradients of the initial states. Until then they hold what a
//                                step passes to the one before it past z (the carry)
//     leaks    (H,)              null: leak_of_all; for leaky cells only
//     lengths  (N,)              null: all rows have T steps. A row that is past its length is idle: its states stay,
//                                its dz is 0, and its gradients are passed on
// Step i is the i-th that the loop takes, t(i) its position in time.

typedef CELL<Real> TheCell;
constexpr int kPre = TheCell::PRE, kStates = TheCell::STATES;
constexpr int kFed = sizeof(TheCell::FROM_H) / sizeof(int);  // parts of Wh
constexpr int kFirstFed = TheCell::FROM_H[0];                // they feed neighbouring blocks of z, from this one on
constexpr bool kLeaks = TheCell::OWN > 0;                    // the only parameter that a cell may have of its own
constexpr int kVector = 16 / sizeof(Real);

struct alignas(16) Vector {
    Real at[kVector];
};

XRNN_INLINE Real nan() { return Real(0) / Real(0); }

#define FORWARD_PARAMETERS                                                                                        \
    Real *z, Real *h, Real *c, const Real *h_given, const Real *c_given, const Real *leaks, Real leak_of_all, const int *lengths, \
        int T, int N, int H, int reverse, int training
#define FORWARD_ARGUMENTS z, h, c, h_given, c_given, leaks, leak_of_all, lengths, T, N, H, reverse, training
#define BACKWARD_PARAMETERS                                                                                    \
    const Real *z, const Real *h, const Real *c, const Real *dh, const Real *dc, Real *dz, Real *dh_given,     \
        Real *dc_given, const Real *leaks, Real leak_of_all, const int *lengths, int T, int N, int H, int reverse
#define BACKWARD_ARGUMENTS z, h, c, dh, dc, dz, dh_given, dc_given, leaks, leak_of_all, lengths, T, N, H, reverse

struct Forward {
    Real *z, *h, *c;
    const Real *h_given, *c_given, *leaks;
    Real leak_of_all;
    const int* lengths;
    int T, N, H, reverse, training;

    XRNN_INLINE int t(int i) const { return reverse ? T - 1 - i : i; }
    XRNN_INLINE size_t step() const { return static_cast<size_t>(N) * H; }
    XRNN_INLINE size_t before(int i) const { return (t(i) + !!reverse) * step(); }
    XRNN_INLINE size_t after(int i) const { return (t(i) + !reverse) * step(); }
    XRNN_INLINE Real leak(int unit) const { return kLeaks ? (leaks ? leaks[unit] : leak_of_all) : Real(0); }
    XRNN_INLINE Real* gates(int i, int row, int unit) const {
        return z + (t(i) * static_cast<size_t>(N) + row) * kPre * H + unit;
    }

    struct Inputs {
        Real z[kPre];
        bool idle;
    };
    // Requests the inputs of a step. The kernels do so one step ahead: a read of memory takes longer than a small step.
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
    // The initial states of a unit, also copied to their slot.
    XRNN_INLINE void start(int row, int unit, Real (&states)[kStates]) const {
        const size_t at = static_cast<size_t>(row) * H + unit, slot = before(0) + at;
        states[0] = h_given ? h_given[at] : Real(0);
        if (h_given != h + before(0)) h[slot] = states[0];
        if (kStates > 1) {
            states[kStates - 1] = c_given ? c_given[at] : Real(0);
            if (c_given != c + before(0)) c[slot] = states[kStates - 1];
        }
    }
    // states become those after the step. sum(g): the unit's element of part g of h @ Wh.
    template <class Sum>
    XRNN_INLINE void advance(int i, int row, int unit, Inputs& in, Real leak, Real (&states)[kStates], Sum sum) const {
        Real next[kStates];
#pragma unroll
        for (int g = 0; g < kFed; ++g) in.z[kFirstFed + g] += sum(g);
        TheCell::step(in.z, states, next, &leak);
        if (!in.idle) {
#pragma unroll
            for (int k = 0; k < kStates; ++k) states[k] = next[k];
        }
        if (TheCell::KEEPS_Z && training) {
            Real* out = gates(i, row, unit);
#pragma unroll
            for (int g = 0; g < kPre; ++g) out[static_cast<size_t>(g) * H] = in.z[g];
        }
    }
};

struct Backward {
    const Real *z, *h, *c, *dh, *dc;
    Real *dz, *dh_given, *dc_given;
    const Real* leaks;
    Real leak_of_all;
    const int* lengths;
    int T, N, H, reverse;

    XRNN_INLINE int t(int i) const { return reverse ? i : T - 1 - i; }
    XRNN_INLINE size_t step() const { return static_cast<size_t>(N) * H; }
    XRNN_INLINE Real leak(int unit) const { return kLeaks ? (leaks ? leaks[unit] : leak_of_all) : Real(0); }
    XRNN_INLINE Real* gates(int i, int row, int unit) const {
        return dz + (t(i) * static_cast<size_t>(N) + row) * kPre * H + unit;
    }

    struct Inputs {
        Real z[kPre], before[kStates], after[kStates], above[kStates];
        bool idle;
        bool fed;  // whether dz of the step taken before reaches h through Wh. (0 · ∞ is NaN: an idle row adds nothing.)
    };
    XRNN_INLINE Inputs ask(int i, int row, int unit, bool wanted) const {
        Inputs in = {};
        if (!wanted) return in;
        const int length = lengths ? lengths[row] : T;
        in.fed = i > 0 && t(i - 1) < length;
        if (i >= T) return in;
        in.idle = t(i) >= length;
        const size_t unit_at = static_cast<size_t>(row) * H + unit, at = t(i) * step() + unit_at;
        const size_t before = at + (reverse ? step() : 0), after = at + (reverse ? 0 : step());
        if (TheCell::KEEPS_Z) {
            const Real* p = z + (t(i) * static_cast<size_t>(N) + row) * kPre * H + unit;
#pragma unroll
            for (int g = 0; g < kPre; ++g) in.z[g] = p[static_cast<size_t>(g) * H];
        }
        in.before[0] = h[before], in.after[0] = h[after], in.above[0] = dh ? dh[at] : Real(0);
        if (kStates > 1) {
            in.before[kStates - 1] = c[before], in.after[kStates - 1] = c[after];
            in.above[kStates - 1] = dc ? dc[at] : Real(0);
        }
        return in;
    }
    // The carry, where a thread doesn't keep it in registers. What is known to be 0 isn't read.
    XRNN_INLINE void load_carry(int i, int row, int unit, Real (&carry)[kStates]) const {
        const size_t at = static_cast<size_t>(row) * H + unit;
        carry[0] = i > 0 && (TheCell::DIRECT || lengths) ? dh_given[at] : Real(0);
        if (kStates > 1) carry[kStates - 1] = i > 0 ? dc_given[at] : Real(0);
    }
    XRNN_INLINE void store_carry(int i, int row, int unit, const Real (&carry)[kStates]) const {
        const size_t at = static_cast<size_t>(row) * H + unit;
        if (i == T || TheCell::DIRECT || lengths) dh_given[at] = carry[0];
        if (kStates > 1) dc_given[at] = carry[kStates - 1];
    }
    // From all that arrives at the states after the step, in `carry`: d, the gradients of its gates, and the new carry.
    XRNN_INLINE void gradient(const Inputs& in, Real leak, Real (&carry)[kStates], Real (&d)[kPre]) const {
        Real dafter[kStates], dbefore[kStates] = {};
#pragma unroll
        for (int k = 0; k < kStates; ++k) dafter[k] = in.above[k] + carry[k];
        TheCell::gradient(dafter, in.before, in.after, in.z, &leak, d, dbefore);
#pragma unroll
        for (int g = 0; g < kPre; ++g) d[g] = in.idle ? Real(0) : d[g];
#pragma unroll
        for (int k = 0; k < kStates; ++k) carry[k] = in.idle ? dafter[k] : dbefore[k];
    }
};

// One time step of one unit, backward (cell.cu). One more round than there are steps completes d_given[0].

#define PARAMETERS                                                                                                  \
    const Real *z, OF_STATES(const Real *, s), OF_STATES(const Real *, above), Real *dz, OF_STATES(Real *, d),      \
        Real *d_own, const Real *params, Real param_of_all, const int *lengths, int T, int N, int H, int K, int reverse
#define ARGUMENTS z, THESE(s), THESE(above), dz, THESE(d), d_own, params, param_of_all, lengths, T, N, H, K, reverse

constexpr int kSums = 1, kParts = kFed;

struct Run {
    const Real *z, *s[kArrays], *above[kArrays];
    Real *dz, *d_given[kArrays], *d_own;
    const Real* params;
    Real param_of_all;
    const int* lengths;
    int T, N, H, K, reverse;

    XRNN_INLINE int rounds() const { return T + 1; }
    XRNN_INLINE bool multiplies(int i) const { return i > 0; }
    XRNN_INLINE int t(int i) const { return reverse ? i : T - 1 - i; }
    XRNN_INLINE void join() {
#pragma unroll
        for (int k = 1; k < kJoined; ++k) {
            s[k] = s[0] + k * H;
            above[k] = above[0] ? above[0] + k * H : nullptr;
            d_given[k] = d_given[0] + k * H;
        }
    }
    XRNN_INLINE size_t place(int row, int unit) const { return static_cast<size_t>(row) * kJoined * H + unit; }
    XRNN_INLINE size_t step() const { return place(N, 0); }
    XRNN_INLINE size_t pairs() const { return static_cast<size_t>(N) * H; }
    XRNN_INLINE ptrdiff_t to_next() const { return (reverse ? kPre : -kPre) * ptrdiff_t(step()); }
    XRNN_INLINE Own own_of(int unit) const { return own_of_unit(params, param_of_all, H, unit); }
    XRNN_INLINE Real* gates(int i, int row, int unit) const {
        return dz + (t(i) * static_cast<size_t>(N) + row) * kPre * H + unit;
    }

    struct Weights {  // (FED · units, own): the transpose of the rows of a head's units from `first` on
        static constexpr bool kAlongColumns = false;
        const Real* W;
        int units, first, own;
        XRNN_INLINE int K() const { return kFed * units; }
        XRNN_INLINE int columns() const { return own; }
        XRNN_INLINE const Real* column(int j, int k0) const { return W + (first + j) * (static_cast<size_t>(kFed) * units) + k0; }
        XRNN_INLINE size_t row(int, int k) const { return k; }
        XRNN_INLINE bool wide() const { return kFed * units % kVector == 0 && is_aligned(W); }
    };
    XRNN_INLINE Operands operands(int i, int row, int rows) const {
        const Real* from = i > 0 ? gates(i - 1, row, kFirstFed * H + blockIdx.z * K) : dz;
        return {from, static_cast<size_t>(kPre) * H, K, H - K, i > 0 ? rows : 0, false, K % kVector == 0};
    }

    struct Inputs {
        Real z[kPre];
        State before, after, above;
        int length;
    };
    XRNN_INLINE Inputs ask(int i, int row, int unit, bool wanted) const {
        Inputs in = {};
        if (!wanted || i > T) return in;
        in.length = lengths ? lengths[row] : T;
        if (i == T) return in;
        const size_t at = t(i) * step() + place(row, unit);
        const size_t before = at + (reverse ? step() : 0), after = at + (reverse ? 0 : step());
        if (TheCell::KEEPS_Z) {
            const Real* p = z + (t(i) * static_cast<size_t>(N) + row) * kPre * H + unit;
#pragma unroll
            for (int g = 0; g < kPre; ++g) in.z[g] = p[static_cast<size_t>(g) * H];
        }
#pragma unroll
        for (int k = 0; k < kStates; ++k) {
            in.before[k] = s[k][before];
            in.after[k] = s[k][after];
            in.above[k] = above[k] ? above[k][at] : Real(0);
        }
        return in;
    }
    // Whether the carry of state k may differ from 0. If not, it isn't read.
    XRNN_INLINE bool carries(int k) const { return k > 0 || TheCell::DIRECT || lengths; }
    XRNN_INLINE void load(int i, int row, int unit, State& carry) const {
        const size_t at = place(row, unit);
#pragma unroll
        for (int k = 0; k < kStates; ++k) carry[k] = i > 0 && carries(k) ? d_given[k][at] : Real(0);
    }
    XRNN_INLINE void store(int i, int row, int unit, const State& carry) const {
        const size_t at = place(row, unit);
#pragma unroll
        for (int k = 0; k < kStates; ++k)
            if (i == T || carries(k)) d_given[k][at] = carry[k];
    }
    // The sums are in memory, because the tiled forms have no free registers for them, nor for their addresses. The
    // empty asm hides that `row` is the same in each round. Otherwise the compiler would compute the addresses before
    // the loop, and keep them.
    XRNN_INLINE void add_own(int row, int unit, Own& own) const {
#pragma unroll
        for (int p = 0; p < kOwn; ++p) {
            if (d_own) {
                asm volatile("" : "+r"(row));
                d_own[(static_cast<size_t>(row) * kOwn + p) * H + unit] += own.d[p];
            }
            own.d[p] = 0;
        }
    }
    template <class Sum, class Publish>
    XRNN_INLINE void finish(int i, int row, int unit, Inputs& in, Own& own, State& carry, Sum sum,
                            Publish publish) const {
        // dz of an idle row doesn't reach h through Wh: 0 · ∞ is NaN.
        if (i > 0 && t(i - 1) < in.length) carry[0] += sum(0);
        if (i == T) return;
        const bool idle = t(i) >= in.length;
        State dafter, dbefore = {};
        Real d[kPre + kOwn];
#pragma unroll
        for (int k = 0; k < kStates; ++k) dafter[k] = in.above[k] + carry[k];
        TheCell::gradient(dafter, in.before, in.after, in.z, own.at, d, dbefore);
#pragma unroll
        for (int k = 0; k < kStates; ++k) carry[k] = idle ? dafter[k] : dbefore[k];
#pragma unroll
        for (int p = 0; p < kOwn; ++p) own.d[p] += idle ? Real(0) : d[kPre + p];
        Real* to = gates(i, row, unit);
#pragma unroll
        for (int g = 0; g < kPre; ++g) {
            Real* const element = to + static_cast<size_t>(g) * H;
            const Real dz = idle ? Real(0) : d[g];
            if (g >= kFirstFed && g < kFirstFed + kFed) publish(element, g - kFirstFed, dz);
            else *element = dz;
        }
    }
    XRNN_INLINE void give_up(int i, int row, int unit) const {
        State lost;
        for (Real& each : lost) each = nan();
        for (int g = 0; g < kPre && i < T; ++g) publish(gates(i, row, unit) + static_cast<size_t>(g) * H, nan());
        if (i < T) return;
        store(i, row, unit, lost);
        for (int p = 0; p < kOwn && d_own; ++p) d_own[(static_cast<size_t>(row) * kOwn + p) * H + unit] = nan();
    }
};

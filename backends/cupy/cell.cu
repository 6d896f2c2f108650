// The cell, and the arrays of a run. T time steps, N batch, H hidden size, K units of a head (H without heads).
// forward.cu or backward.cu has one time step.
//
// All arrays are C-contiguous. z, h and dz are 16-byte aligned.
//     W        (H / K, K, FED K) Wh, head by head; without elements for cells that it does not feed (scan.cu)
//     z        (T, N, PRE H)     forward: x @ Wx + b, overwritten with the gates if `training` and the cell keeps them;
//                                backward: these gates
//     s        (T+1, N, H)       of each state, s[0] is h: slot 0 is the initial state, slot t + 1 the state after
//                                step t; in reverse: slot T, and slot t
//     given    (N, H)            of each state, null: zeros. Forward copies it to the initial slot, unless it lies there
//     above    (T, N, H)         of each state: the gradient of the result, null: zeros
//     dz       (T, N, PRE H)     filled by backward
//     d_given  (N, H)            of each state, filled by backward: the gradient of the initial state. Until then it
//                                holds what a step passes to the one before it past z (the carry)
//     params   (OWN, H)          the cell's own parameters, such as the leak; null: param_of_all for all units
//     d_own    (N, OWN, H)       backward adds their gradients to it, each row's part. null: not needed
//     lengths  (N,)              null: all rows have T steps. A row that is past its length is idle: its states stay,
//                                its dz is 0, and its gradients are passed on
// If a cell is JOINED, all its states are in the rows of the first array, such as (T+1, N, 2 H) in s[0] (join).
// Step i is the i-th that the loop takes, t(i) its position in time.
//
// forward.cu and backward.cu define the same names, so that each form is one file for both directions:
//     PARAMETERS, ARGUMENTS    of every kernel
//     Run                      its members: the parameters
//     Run::Weights             the part of Wh that a block multiplies by (tile.cu)
//     kSums                    sums that a unit receives from a product
//     kParts                   numbers of a unit that a product multiplies
//     rounds(), multiplies(i)  of the loop; whether round i has a product
//     operands(i, row, rows)   what the product of round i multiplies, as other blocks have written it (exchange.cu)
//     ask(i, row, unit, wanted)   requests the inputs of a round. The kernels do so one round ahead: a read of memory
//                              takes longer than a small step
//     load, store (i, row, unit, state)   what a unit passes from round to round, for threads that don't keep it in
//                              registers: the states, or the carry
//     own_of(unit)             the unit's own parameters
//     add_own(row, unit, own)  adds the sums of their gradients to d_own, and clears the sums
//     finish(i, row, unit, in, own, state, sum, publish)   the cell's step. sum(g) is the unit's sum g of the product;
//                              publish(p, g, x) writes x, part g of what the next product multiplies, to *p
//     give_up(i, row, unit)    writes NaN in place of the results
//     to_next()                the distance from an element that a round publishes to the same one of the next round

typedef CELL<Real> TheCell;
template <int blocks>
constexpr int count(const int (&)[blocks]) { return blocks; }
constexpr int count(decltype(nullptr)) { return 0; }
template <int blocks>
constexpr int first_of(const int (&of)[blocks]) { return of[0]; }
constexpr int first_of(decltype(nullptr)) { return 0; }
template <class Cell>
constexpr auto joined_states(int) -> decltype(Cell::JOINED * 1) { return Cell::JOINED ? Cell::STATES : 1; }
template <class Cell>
constexpr int joined_states(...) { return 1; }

constexpr int kPre = TheCell::PRE, kStates = TheCell::STATES, kOwn = TheCell::OWN;
constexpr int kFed = count(TheCell::FROM_H);          // parts of Wh
constexpr int kFirstFed = first_of(TheCell::FROM_H);  // they feed neighbouring blocks of z, from this one on
constexpr int kJoined = joined_states<TheCell>(0);     // states side by side in h
constexpr int kVector = 16 / sizeof(Real);

// Parameters of a kernel: an array for each of four states, null for states that the cell doesn't have.
constexpr int kArrays = 4;
#define OF_STATES(type, name) type name##0, type name##1, type name##2, type name##3
#define THESE(name) name##0, name##1, name##2, name##3
static_assert(kStates <= kArrays, "a cell has at most four states");

struct alignas(16) Vector {
    Real at[kVector];
};
typedef Real State[kStates];

// The matrix of this block's head. In the tiled forms blockIdx.z is the head, and its units begin at blockIdx.z · K.
XRNN_INLINE const Real* of_head(const Real* W, int K) { return W + static_cast<size_t>(blockIdx.z) * K * kFed * K; }

struct Own {
    Real at[kOwn > 0 ? kOwn : 1];
    Real d[kOwn > 0 ? kOwn : 1];  // the sum of its gradients
};
XRNN_INLINE Own own_of_unit(const Real* params, Real param_of_all, int H, int unit) {
    Own own = {};
#pragma unroll
    for (int p = 0; p < kOwn; ++p) own.at[p] = params ? params[p * static_cast<size_t>(H) + unit] : param_of_all;
    return own;
}

struct Operands {
    const Real* from;  // of the first row
    size_t pitch;      // from one row to the next
    int part, gap;     // elements of a part of a row; those up to the next part, which belong to other heads
    int rows;          // 0: the operands are zeros
    bool ready, wide;  // no block writes them in this launch; all parts of all rows are 16-byte aligned
};

// row · H + unit: what a thread of a form without tiles computes.
XRNN_INLINE size_t pair_of_thread() { return static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
XRNN_INLINE bool is_aligned(const Real* p) { return reinterpret_cast<size_t>(p) % 16 == 0; }
XRNN_INLINE Real nan() { return Real(0) / Real(0); }

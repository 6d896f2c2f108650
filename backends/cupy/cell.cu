// The cell, and the arrays of a run. T time steps, N batch, H hidden size. forward.cu or backward.cu has one time step.
//
// All arrays are C-contiguous. z, h and dz are 16-byte aligned.
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
//
// forward.cu and backward.cu define the same names, so that each form is one file for both directions:
//     PARAMETERS, ARGUMENTS    of every kernel
//     Run                      its members: the parameters
//     Run::Weights             the part of Wh that a block multiplies by (tile.cu)
//     kSums                    sums that a unit receives from a product
//     rounds(), multiplies(i)  of the loop; whether round i has a product
//     operands(i, row, rows)   what the product of round i multiplies, as other blocks have written it (exchange.cu)
//     ask(i, row, unit, wanted)   requests the inputs of a round. The kernels do so one round ahead: a read of memory
//                              takes longer than a small step
//     load, store (i, row, unit, state)   what a unit passes from round to round, for threads that don't keep it in
//                              registers: the states, or the carry
//     finish(i, row, unit, in, leak, state, sum, publish)   the cell's step. sum(g) is the unit's sum g of the product;
//                              publish(p, g, x) writes x, part g of what the next product multiplies, to *p
//     give_up(i, row, unit)    writes NaN in place of the results
//     to_next()                the distance from an element that a round publishes to the same one of the next round

typedef CELL<Real> TheCell;
constexpr int kPre = TheCell::PRE, kStates = TheCell::STATES;
constexpr int kFed = sizeof(TheCell::FROM_H) / sizeof(int);  // parts of Wh
constexpr int kFirstFed = TheCell::FROM_H[0];                // they feed neighbouring blocks of z, from this one on
constexpr bool kLeaks = TheCell::OWN > 0;                    // the only parameter that a cell may have of its own
constexpr int kVector = 16 / sizeof(Real);

struct alignas(16) Vector {
    Real at[kVector];
};
typedef Real State[kStates];

struct Operands {
    const Real* from;  // of the first row
    size_t pitch;      // from one row to the next
    int rows;          // 0: the operands are zeros
    bool ready, wide;  // no block writes them in this launch; all rows are 16-byte aligned
};

XRNN_INLINE bool is_aligned(const Real* p) { return reinterpret_cast<size_t>(p) % 16 == 0; }
XRNN_INLINE Real nan() { return Real(0) / Real(0); }

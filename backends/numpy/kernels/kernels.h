// The arguments of the kernels, and the table of kernels of each instruction-set level.
//
// T time steps, N batch, D input size, H hidden size; `d` in front means gradient. All strides are in elements.
// Pointers are valid for the call. Inputs are only read and may overlap each other; outputs overlap nothing. An array
// without elements may be a null pointer. Adding to a null pointer is undefined, so the operations return early for
// empty sizes.
#pragma once

#include <cstdint>

#include "partition.h"

namespace xrnn {

template <class S>
struct Matrix {
    const S* data;
    int64_t row, col;  // strides, of any sign
};

// An array (T, N, ·), contiguous within a row. Null data: there is none.
template <class S>
struct StepRows {
    const S* data;
    int64_t step, row;  // strides
};

// The recurrent weights of several heads are one matrix for each head, `stride` apart. Head j has the units
// [j · H/count, (j + 1) · H/count). Its h feeds its own units only.
struct Heads {
    int64_t count = 1, stride = 0;
};

// The gradient of a weight matrix (K, P): out, contiguous, or, transposed, (P, K) contiguous.
template <class S>
struct WeightGradient {
    S* data;
    bool transposed;
};

constexpr int MOST_CELLS = 24, MOST_STATES = 4, MOST_OWN = 4;

// The arguments of both directions. The cell defines the number of its states, of its pre-activations (PRE), and of the
// pre-activations that x and h feed (X and R): cell_list.h.
template <class S>
struct Sequence {
    bool reverse;            // the recurrence runs from the last step to the first
    int64_t T, N, D, H;
    const S* x;              // (T, N, D) contiguous
    Matrix<S> Wx;            // (D, X·H)
    Matrix<S> Wh;            // (H, R·H); with several heads that of head 0, (H/heads, R·H/heads)
    Heads heads;             // of Wh
    const int64_t* lengths;  // (N,) contiguous; from its length on a row keeps its state. Null: all lengths are T
    const S* own[MOST_OWN];  // the cell's own parameters, (H,) contiguous each
    int64_t state_row;       // from one row of a state to the next: H, or STATES · H if the states lie side by side
};

// Packed Wx and Wh (Operations::pack), for any number of passes by the level that packed them.
struct PackedWeights {
    void *Wx, *Wh;
    int threads;  // the number of threads for which the columns are cut into panels
};

// State k before step t is states[k][t], after it states[k][t+1]; the other way round if reversed.
template <class S>
struct Forward {
    Sequence<S> sequence;
    const PackedWeights* packed;     // Wx and Wh, packed before; null: the pass packs them, or reads them unpacked
    const S* b;                      // (PRE·H,) with stride b_stride
    int64_t b_stride;
    StepRows<S> add;                 // (T, N, PRE·H), added to z, with the parts of b; not read past a row's end
    Matrix<S> initial[MOST_STATES];  // (N, H) each, or null data for zeros
    S* states[MOST_STATES];          // out (T+1, N, H) each, with rows of state_row elements
    S* z;                            // out (T, N, PRE·H) contiguous, as the cell's step leaves it, 0 past a row's end;
                                     // null: not kept
};

// dz[t], dbefore = the cell's gradient of dstates[t] + dafter; then dbefore of h += dz[t] @ Whᵀ
// dWx = Σ x[t]ᵀ @ dz[t],   dWh = Σ h_before[t]ᵀ @ dz[t],   db = Σ dz[t],   dx[t] = dz[t] @ Wxᵀ
// d_own = Σ of the cell's gradient of its own parameters
template <class S>
struct Backward {
    Sequence<S> sequence;
    const S* states[MOST_STATES];  // as Forward wrote them
    const S* z;                    // as Forward wrote it; null if the cell does not need it
    StepRows<S> dstates[MOST_STATES];  // (T, N, H) each; null data for zeros
    WeightGradient<S> dWx, dWh;    // of (D, X·H), (H, R·H); with several heads dWh is contiguous, head after head
    S* db;                         // out (PRE·H,) contiguous; null: neither db nor dWx, dWh and d_own are computed
    S* d_own[MOST_OWN];            // out (H,) contiguous each: the gradients of `own`; null: not computed
    S* dadd;                       // out (T, N, PRE·H) contiguous: dz, with the parts of b; null: not computed
    S* dx;                         // out (T, N, D) contiguous; null: not computed
    S* dinitial[MOST_STATES];      // out (N, H) each, with rows of state_row elements
};

// y = x @ W + b
template <class S>
struct Affine {
    int64_t rows, D, C;
    const S* x;        // (rows, D) contiguous
    Matrix<S> W;       // (D, C)
    const S* b;        // (C,) with stride b_stride
    int64_t b_stride;
    S* y;              // out (rows, C) contiguous
};

// dW = xᵀ @ dy,   db = Σ dy,   dx = dy @ Wᵀ
template <class S>
struct AffineGradients {
    int64_t rows, D, C;
    const S* x;        // (rows, D) contiguous
    Matrix<S> W;       // (D, C)
    const S* dy;       // (rows, C) contiguous
    S *dW, *db;        // out (D, C), (C,) contiguous
    S* dx;             // out (rows, D) contiguous; null: not computed
};

// For each row: loss = -weight · log softmax(logits)[target],  dlogits = (softmax(logits) - onehot(target)) · weight
template <class S>
struct CrossEntropy {
    int64_t rows, C;         // C ≥ 1
    const S* logits;         // (rows, C) contiguous
    const int64_t* targets;  // (rows,), each in [0, C)
    const S* weights;        // (rows,)
    S* dlogits;              // out (rows, C) contiguous
    S* losses;               // out (rows,)
};

// The steps between two states that a selective scan saves: CHUNK of xrnn/ops/selective_scan.py.
constexpr int64_t SCAN_CHUNK = 16;

// The operands of a selective scan: selective_scan.h has its equations. D channels, K keys of a state, D/groups
// channels of a group.
template <class S>
struct SelectiveScan {
    int64_t T, N, D, K, groups;
    StepRows<S> u, delta, z;  // (T, N, D); z has null data if there is none
    Matrix<S> A;              // (D, K)
    StepRows<S> B, C;         // (T, N, groups · K)
    const S *skip, *bias;     // (D,) contiguous; null: zeros
    bool softplus;
    const S* initial;         // (N, D, K) contiguous; null: zeros
    const int64_t* lengths;   // (N,) contiguous. Past its end a row keeps its state, and y is 0. Null: all are T
};

template <class S>
struct ScanForward {
    SelectiveScan<S> scan;
    S* y;      // out (T, N, D) contiguous
    S* last;   // out (N, D, K) contiguous
    S* saved;  // out (⌈T / SCAN_CHUNK⌉, N, K, D) contiguous: the states before steps 0, SCAN_CHUNK, …; null: not saved
};

template <class S>
struct ScanBackward {
    SelectiveScan<S> scan;
    const S* saved;      // as ScanForward wrote it
    StepRows<S> dy;      // (T, N, D); null data for zeros
    const S* dlast;      // (N, D, K) contiguous; null: zeros
    S *du, *ddelta;      // out (T, N, D) contiguous
    S* dz;               // out (T, N, D) contiguous; null if z is
    S* dA;               // out (D, K) contiguous
    S *dB, *dC;          // out (T, N, groups · K) contiguous
    S *dskip, *dbias;    // out (D,); null: not computed
    S* dinitial;         // out (N, D, K) contiguous; null: not computed
};

// The steps between two states that a matrix memory saves: CHUNK of xrnn/ops/matrix_memory.py.
constexpr int64_t MEMORY_CHUNK = 64;

// An array (T, N, heads, ·), contiguous within a head. Null data: there is none.
template <class S>
struct HeadRows {
    const S* data;
    int64_t step, row, head;  // strides
};

// The operands of a matrix memory: matrix_memory.h has its equations. H heads, K keys, V values, H/groups heads of a
// group.
template <class S>
struct MatrixMemory {
    int64_t T, N, H, K, V, groups;
    HeadRows<S> q, k;         // (T, N, groups, K)
    HeadRows<S> v;            // (T, N, H, V)
    HeadRows<S> log_decay;    // (T, N, H, 1)
    const S* initial;         // (N, H, K, V) contiguous; null: zeros
    const int64_t* lengths;   // (N,) contiguous. Past its end a row keeps its state, and y is 0. Null: all are T
};

template <class S>
struct MemoryForward {
    MatrixMemory<S> memory;
    S* y;      // out (T, N, H, V) contiguous
    S* last;   // out (N, H, K, V) contiguous
    S* saved;  // out (⌈T / MEMORY_CHUNK⌉, N, H, K, V) contiguous: the states before steps 0, MEMORY_CHUNK, …; null:
               // not saved
};

template <class S>
struct MemoryBackward {
    MatrixMemory<S> memory;
    const S* saved;   // as MemoryForward wrote it
    HeadRows<S> dy;   // (T, N, H, V); null data for zeros
    const S* dlast;   // (N, H, K, V) contiguous; null: zeros
    S *dq, *dk;       // out (T, N, groups, K) contiguous
    S* dv;            // out (T, N, H, V) contiguous
    S* dlog_decay;    // out (T, N, H) contiguous
    S* dinitial;      // out (N, H, K, V) contiguous; null: not computed
};

// The causal convolution of each channel by itself: causal_convolution.h has its equations. W taps.
template <class S>
struct CausalConvolution {
    int64_t T, N, D, W;
    StepRows<S> x;           // (T, N, D)
    Matrix<S> weight;        // (D, W)
    const S* bias;           // (D,) contiguous; null: zeros
    bool silu;
    StepRows<S> initial;     // (W - 1, N, D); null data for zeros
    const int64_t* lengths;  // (N,) contiguous; past its end y of a row is 0. Null: all are T
};

template <class S>
struct ConvolutionForward {
    CausalConvolution<S> convolution;
    S* y;     // out (T, N, D) contiguous
    S* last;  // out (W - 1, N, D) contiguous
};

template <class S>
struct ConvolutionBackward {
    CausalConvolution<S> convolution;
    StepRows<S> dy;     // (T, N, D); null data for zeros
    StepRows<S> dlast;  // (W - 1, N, D); null data for zeros
    S* dx;              // out (T, N, D) contiguous
    S* dweight;         // out (D, W) contiguous
    S* dbias;           // out (D,); null: not computed
    S* dinitial;        // out (W - 1, N, D) contiguous; null: not computed
};

struct Int8Forward;  // int8.h

// The kernels of a cell, and its numbers that determine the shapes of the arrays. Operations that need scratch memory
// return false if there is none; nothing is written then.
template <class S>
struct Recurrence {
    const char* name;
    int states, pre;       // states and pre-activations of a unit
    int joined;            // the states of a unit in one array: 1, or all of them
    int x_gates, h_gates;  // the numbers of pre-activations that x @ Wx and h @ Wh feed
    int own;               // own parameters: Sequence::own
    bool keeps_z;          // the backward pass needs Forward::z
    bool (*forward)(const Forward<S>&, Partition);
    bool (*backward)(const Backward<S>&, Partition);
    bool (*int8)(const Int8Forward&, int threads);  // null for float64, and if states are joined
};

template <class S>
struct Operations {
    Recurrence<S> recurrences[MOST_CELLS];  // the entry after the last one has no name
    // Packs a matrix (K, gates · H), or one of several heads, into `to`, which is aligned to 64 bytes, and returns the
    // bytes that it takes there. If `to` is null, it only returns the bytes. Returns -1 if the matrix has elements that
    // this form cannot represent.
    int64_t (*pack)(Matrix<S>, Heads, int64_t K, int gates, int64_t H, int threads, void* to);
    bool (*affine)(const Affine<S>&, Partition);
    bool (*affine_gradients)(const AffineGradients<S>&, int threads);
    void (*cross_entropy)(const CrossEntropy<S>&, int threads);
    bool (*selective_scan)(const ScanForward<S>&, int threads);
    bool (*selective_scan_gradients)(const ScanBackward<S>&, int threads);
    bool (*matrix_memory)(const MemoryForward<S>&, int threads);
    bool (*matrix_memory_gradients)(const MemoryBackward<S>&, int threads);
    bool (*causal_convolution)(const ConvolutionForward<S>&, int threads);
    bool (*causal_convolution_gradients)(const ConvolutionBackward<S>&, int threads);
    void (*tanh)(const S* x, S* y, int64_t size);  // y = tanh(x), for the test of its accuracy
};

// The operations of each instruction-set level on each element type: level.cpp.
const Operations<float>& baseline_float();
const Operations<double>& baseline_double();
// Products in bfloat16, here with emulated instructions, for tests; and no operations without products.
const Operations<float>& emulated_bfloat16_float();
#if defined(__x86_64__)
const Operations<float>& avx2_float();
const Operations<double>& avx2_double();
const Operations<float>& avx512_float();
const Operations<double>& avx512_double();
const Operations<float>& avx512bf16_float();  // products in bfloat16, by the instructions
// Products by tiles, as 3 or 1 products of bfloat16 parts (parts.h). Operands that parts cannot represent are computed by
// avx512_float. Operations without products are null here.
const Operations<float>& amx3_float();
const Operations<float>& amx1_float();
#endif
// The same with emulated tiles, for tests on any CPU. emulated_float computes exceptional operands: it is baseline_float
// and the cell of tests/peephole.
const Operations<float>& emulated_float();
const Operations<double>& emulated_double();
const Operations<float>& emulated_amx3_float();
const Operations<float>& emulated_amx1_float();

}  // namespace xrnn

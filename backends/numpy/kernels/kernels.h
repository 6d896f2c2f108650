// What the kernels are given, and the table of them that each instruction-set level has.
//
// T time steps, N batch, D input size, H hidden size; `d` in front means gradient. All strides are in elements. Every
// pointer is lent for the call; inputs are only read and may overlap each other, outputs overlap nothing. An array
// without elements may be a null pointer, to which nothing may be added: the operations return before they would.
#pragma once

#include <cstdint>

#include "partition.h"

namespace xrnn {

template <class S>
struct Matrix {
    const S* data;
    int64_t row, col;  // strides, of any sign
};

// h[t] = φ(x[t] @ Wx + h[t-1] @ Wh + b)
template <class S>
struct Forward {
    int64_t T, N, D, H;
    const S* x;        // (T, N, D) contiguous
    Matrix<S> Wx;      // (D, H)
    Matrix<S> Wh;      // (H, H)
    const S* b;        // (H,) with stride b_stride
    int64_t b_stride;
    Matrix<S> h_prev;  // (N, H), or null data for zeros
    S* hs;             // out (T+1, N, H) contiguous: hs[0] = h_prev, hs[1:] the outputs
    bool relu;         // φ: relu or tanh
};

// dz[t] = (dh[t] + dz[t+1] @ Whᵀ) · φ'(z[t]),   dh_prev = dz[0] @ Whᵀ
// dWx = Σ x[t]ᵀ @ dz[t],   dWh = Σ h[t-1]ᵀ @ dz[t],   db = Σ dz[t],   dx[t] = dz[t] @ Wxᵀ
template <class S>
struct Backward {
    int64_t T, N, D, H;
    const S* x;              // (T, N, D) contiguous
    const S* hs;             // (T+1, N, H) contiguous, as Forward wrote it
    Matrix<S> Wx;            // (D, H)
    Matrix<S> Wh;            // (H, H)
    const S* dh;             // (T, N, H) with strides dh_step, dh_row, and 1 within a row
    int64_t dh_step, dh_row;
    S *dWx, *dWh, *db;       // out (D, H), (H, H), (H,) contiguous
    S* dx;                   // out (T, N, D) contiguous
    S* dh_prev;              // out (N, H) contiguous
    bool relu;
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
    S* dx;             // out (rows, D) contiguous
};

// loss = -weight · log softmax(logits)[target],   dlogits = (softmax(logits) - onehot(target)) · weight, of each row
template <class S>
struct CrossEntropy {
    int64_t rows, C;         // C ≥ 1
    const S* logits;         // (rows, C) contiguous
    const int64_t* targets;  // (rows,), each in [0, C)
    const S* weights;        // (rows,)
    S* dlogits;              // out (rows, C) contiguous
    S* losses;               // out (rows,)
};

// Those that need scratch return false where no memory was left for it: nothing is written then.
template <class S>
struct Operations {
    bool (*forward)(const Forward<S>&, Partition);
    bool (*backward)(const Backward<S>&, Partition);
    bool (*affine)(const Affine<S>&, Partition);
    bool (*affine_gradients)(const AffineGradients<S>&, int threads);
    void (*cross_entropy)(const CrossEntropy<S>&, int threads);
    void (*tanh)(const S* x, S* y, int64_t size);  // y = tanh(x), for the test of its accuracy
};

struct Kernels {
    int vector_bytes;
    Operations<float> f32;
    Operations<double> f64;
};

const Kernels& kernels_baseline();
#if defined(__x86_64__)
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();
#endif

}  // namespace xrnn

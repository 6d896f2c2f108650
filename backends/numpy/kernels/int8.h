// A recurrence with weights of 8 bits, for inference. xrnn/ops/int8.py has its equations.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace xrnn {

// The units of a panel: the columns of the weights that are computed together, for all gates.
constexpr int INT8_UNITS = 16;

// An int8 matrix (K, gates · H), packed by panels of 16 units, zeros beyond the last unit and the last row:
//   values (panels, K/4 rounded up, gates, 16 units, 4 rows)
//   sums   (panels, gates, 16): 128 times the sum of a column, which is subtracted since activations are
//          stored as q + 128, bytes ≥ 0
//   scale  (panels, gates, 16): of a column
struct Int8Matrix {
    int64_t K;
    int gates;
    const int8_t* values;
    const int32_t* sums;
    const float* scale;
};

// sums (rows, gates, 16) = q @ a panel of the matrix.   q (rows, 4 · quads): bytes
using Int8Sums = void (*)(const uint8_t* q, int64_t rows, int64_t quads, const int8_t* panel, int gates, int32_t* sums);

struct Int8Forward {
    int64_t T, N, D, H;
    const float* x;                     // (T, N, D) contiguous
    Int8Matrix Wx, Wh;
    const float* b;                     // (PRE·H,) contiguous
    StepRows<float> add;                // (T, N, PRE·H), added to z, with the parts of b
    Matrix<float> initial[MOST_STATES];  // (N, H) each; null data for zeros
    const float* own[MOST_OWN];         // (H,) each, contiguous
    float* states[MOST_STATES];         // out (T+1, N, H) each, contiguous
    Int8Sums sums;                      // null: the level's own
};

#if defined(__x86_64__)
// By the AVX512-VNNI instructions: int8_vnni.cpp. The same results, since sums of integers are exact.
void int8_sums_vnni(const uint8_t* q, int64_t rows, int64_t quads, const int8_t* panel, int gates, int32_t* sums);
// By tile registers, for INT8_TILE_ROWS rows or more: int8_amx.cpp.
void int8_sums_amx(const uint8_t* q, int64_t rows, int64_t quads, const int8_t* panel, int gates, int32_t* sums);
#endif
// The same with emulated tiles, for tests.
void int8_sums_emulated_amx(const uint8_t* q, int64_t rows, int64_t quads, const int8_t* panel, int gates,
                            int32_t* sums);
constexpr int64_t INT8_TILE_ROWS = 16;

}  // namespace xrnn

// The sums of int8.h by tile registers (AMX), for 16 rows or more. XRNN_INT8_SUMS is the name of the function.
#include "int8.h"
#include "registers.h"

namespace {

constexpr int ROWS = 16, ROW_BYTES = 64, QUADS = 16;  // of a tile; a quad is four rows of weights

// The last quads of K, which do not fill a tile: copies filled up with zeros.
struct Tail {
    alignas(64) uint8_t q[ROWS][ROW_BYTES];
    alignas(64) int8_t weights[4][QUADS][ROW_BYTES];
};

// The sums of RB tiles of rows and all gates: a register for each tile of sums.
template <int GATES, int RB>
void sum_rows(const uint8_t* q, int64_t quads, const int8_t* panel, Tail& tail, int32_t* sums) {
    static_assert(GATES * RB <= 4);
    Registers registers;
    const auto add = [&]<int r>(const uint8_t* rows, int64_t row_bytes, const int8_t* weights, int64_t gate,
                                int64_t weights_row) __attribute__((always_inline)) {
        registers.template load<4>(rows, row_bytes);
        const auto multiply = [&]<int g>() __attribute__((always_inline)) {
            if constexpr (g < GATES) {
                registers.template load<5>(weights + g * gate, weights_row);
                registers.template multiply_bytes<r * GATES + g, 4, 5>();
            }
        };
        multiply.template operator()<0>(), multiply.template operator()<1>();
        multiply.template operator()<2>(), multiply.template operator()<3>();
    };
    const auto of_rows = [&]<int r>() __attribute__((always_inline)) {
        const uint8_t* const rows = q + r * ROWS * quads * 4;
        int64_t k = 0;
        for (; k + QUADS <= quads; k += QUADS)
            add.template operator()<r>(rows + k * 4, quads * 4, panel + k * GATES * ROW_BYTES, ROW_BYTES,
                                       GATES * ROW_BYTES);
        if (k == quads) return;
        for (int m = 0; m < ROWS; ++m) __builtin_memcpy(tail.q[m], rows + (m * quads + k) * 4, (quads - k) * 4);
        add.template operator()<r>(tail.q[0], ROW_BYTES, tail.weights[0][0], QUADS * ROW_BYTES, ROW_BYTES);
    };
    const auto store = [&]<int i>() __attribute__((always_inline)) {
        if constexpr (i < GATES * RB)
            registers.template store<i>(sums + (i / GATES * ROWS * GATES + i % GATES) * xrnn::INT8_UNITS,
                                        GATES * ROW_BYTES);
    };
    registers.template zero<0>(), registers.template zero<1>(), registers.template zero<2>(),
        registers.template zero<3>();
    of_rows.template operator()<0>();
    if constexpr (RB > 1) of_rows.template operator()<1>();
    store.template operator()<0>(), store.template operator()<1>(), store.template operator()<2>(),
        store.template operator()<3>();
}

template <int GATES>
void sum_panel(const uint8_t* q, int64_t rows, int64_t quads, const int8_t* panel, int32_t* sums) {
    constexpr int RB = GATES == 1 ? 2 : 1;
    Tail tail = {};
    for (int64_t k = quads / QUADS * QUADS; k < quads; ++k)
        for (int g = 0; g < GATES; ++g)
            __builtin_memcpy(tail.weights[g][k % QUADS], panel + (k * GATES + g) * ROW_BYTES, ROW_BYTES);
    const auto run = [&]<int BLOCKS>(int64_t row) __attribute__((always_inline)) {
        sum_rows<GATES, BLOCKS>(q + row * quads * 4, quads, panel, tail, sums + row * GATES * xrnn::INT8_UNITS);
    };
    int64_t row = 0;
    for (; row + RB * ROWS <= rows; row += RB * ROWS) run.template operator()<RB>(row);
    for (; row + ROWS <= rows; row += ROWS) run.template operator()<1>(row);
    if (row < rows) run.template operator()<1>(rows - ROWS);  // some rows again: they get the same sums
}

}  // namespace

// rows ≥ 16
void xrnn::XRNN_INT8_SUMS(const uint8_t* q, int64_t rows, int64_t quads, const int8_t* panel, int gates,
                          int32_t* sums) {
    const TileJob job;
    switch (gates) {
        case 0: return;
        case 1: return sum_panel<1>(q, rows, quads, panel, sums);
        case 2: return sum_panel<2>(q, rows, quads, panel, sums);
        case 3: return sum_panel<3>(q, rows, quads, panel, sums);
        default: return sum_panel<4>(q, rows, quads, panel, sums);
    }
}

// The tile of tile.h in tile registers: the same sums, of products of parts (parts.h).
//
// A block of sums is up to 2 × 2 registers: 32 rows and 32 columns. Four registers are left for operands: two for a part
// of a, two for a part of b. The order of the products changes only one of the two from one product to the next.
#pragma once

#include "parts.h"
#include "tile.h"

namespace {

#if defined(XRNN_PARTS)

// RB registers of rows, the last one with the `last_rows` first rows of a register, by VB registers of columns.
template <int PARTS, int RB, int VB>
struct TileBlock {
    static constexpr int W = 16;
    Registers registers;
    const int last_rows;
    alignas(64) Pair edge[PARTS][W][BLOCK] = {};  // the rows of the last register and zeros, if it is not full
    alignas(64) float sums[RB][VB][W][W];

    explicit TileBlock(int last_rows) : last_rows(last_rows) {}

    // sums = a @ b for K elements
    void multiply(const Part<PARTS>* a, int64_t a_row, const Part<PARTS>* b, int64_t b_row, int64_t K) {
        each<RB>([&]<int i>() { each<VB>([&]<int j>() { registers.template zero<2 * i + j>(); }); });
        for (int64_t k = 0; k < K; k += BLOCK, a += BLOCK, b += BLOCK * b_row) {
            if (last_rows < W) copy_edge(a + (RB - 1) * W * a_row, a_row);
            const auto load_a = [&](int p) { load_rows(a, a_row, p); };
            const auto load_b = [&](int p) {
                each<VB>([&]<int j>() {
                    registers.template load<6 + j>(pairs_of(b + j * W * BLOCK) + p * W * BLOCK, 64);
                });
            };
            if constexpr (PARTS == 1) {
                load_a(0), load_b(0), add_products();
            } else {
                load_a(0), load_b(1), add_products();
                load_b(0), add_products();
                load_a(1), add_products();
            }
        }
        each<RB>([&]<int i>() {
            each<VB>([&]<int j>() { registers.template store<2 * i + j>(sums[i][j], 4 * W); });
        });
    }

    // out = start + sums for the rows from `row` and the vectors from `vector` on. NV: vectors of out.
    void close(const Tile<Part<PARTS>>& t, const float* start, int64_t start_row, int64_t row, int vector, int NV,
               bool transposed) {
        for (int i = 0; i < RB; ++i)
            for (int j = 0; j < VB; ++j) {
                const int v = vector + j, columns = v + 1 < NV ? W : t.last, rows = i + 1 < RB ? W : last_rows;
                const int64_t first = row + i * W;
                if (!transposed) {
                    add(sums[i][j], rows, columns, start ? start + first * start_row + v * W : nullptr, start_row,
                        t.out + first * t.out_row + v * W, t.out_row);
                    continue;
                }
                Vec<float> square[W];
                for (int m = 0; m < W; ++m) square[m] = load<float>(sums[i][j][m]);
                transpose<float>(square);
                for (int m = 0; m < W; ++m) store<float>(sums[i][j][m], square[m]);
                add(sums[i][j], columns, rows, start ? start + v * W * start_row + first : nullptr, start_row,
                    t.out + v * W * t.out_row + first, t.out_row);
            }
    }

   private:
    // f.operator()<0>(), … <n - 1>(): the number of a register is a part of the instruction.
    template <int n, class F>
    static XRNN_INLINE void each(const F& f) {
        f.template operator()<0>();
        if constexpr (n > 1) f.template operator()<1>();
    }

    static void add(const float (&sums)[W][W], int rows, int columns, const float* start, int64_t start_row,
                    float* out, int64_t out_row) {
        for (int m = 0; m < rows; ++m) {
            Vec<float> sum = load<float>(sums[m]);
            if (start) sum += load_columns<float>(start + m * start_row, columns);
            store_columns<float>(out + m * out_row, sum, columns);
        }
    }

    void copy_edge(const Part<PARTS>* a, int64_t a_row) {
        for (int m = 0; m < last_rows; ++m)
            for (int p = 0; p < PARTS; ++p)
                store<Pair>(edge[p][m], load<Pair>(pairs_of(a + m * a_row) + p * BLOCK));
    }

    XRNN_INLINE void load_rows(const Part<PARTS>* a, int64_t a_row, int p) {
        const int64_t stride = a_row * sizeof(Part<PARTS>);
        each<RB>([&]<int i>() {
            if (i + 1 == RB && last_rows < W)
                registers.template load<4 + i>(edge[p], 64);
            else
                registers.template load<4 + i>(pairs_of(a + i * W * a_row) + p * BLOCK, stride);
        });
    }

    XRNN_INLINE void add_products() {
        each<RB>([&]<int i>() {
            each<VB>([&]<int j>() { registers.template multiply_pairs<2 * i + j, 4 + i, 6 + j>(); });
        });
    }
};

template <int PARTS, int RB, int VB>
void run_block(const Tile<Part<PARTS>>& t, int64_t row, int64_t rows, int vector, int NV, bool transposed) {
    TileBlock<PARTS, RB, VB> block(int(rows - row < RB * 16 ? rows - row - (RB - 1) * 16 : 16));
    const float* start = t.init;
    int64_t start_row = t.init_row;
    bool closed = false;
    const auto add = [&](const Part<PARTS>* a, int64_t a_row, const Part<PARTS>* b, int64_t b_row, int64_t K) {
        block.multiply(a, a_row, b, b_row, K);
        block.close(t, start, start_row, row, vector, NV, transposed);
        start = t.out, start_row = t.out_row, closed = true;
    };
    for (int i = 0; i < t.count; ++i) {
        const Segment<Part<PARTS>>& s = t.segments[i];
        for (int64_t k = 0; k < s.K; k += t.order.chain)
            add(s.a + row * s.a_row + k, s.a_row, s.b + k * s.b_row + vector * 16 * BLOCK, s.b_row,
                s.K - k < t.order.chain ? s.K - k : t.order.chain);
    }
    if (!closed) add(nullptr, 0, nullptr, 0, 0);  // without terms the sums are zeros
}

// Run t over `rows` rows of NV vectors. In `transposed` sums, out and init have a row for each column of the product.
template <int PARTS>
void run_rows(Tile<Part<PARTS>>& t, int NV, int64_t rows, bool transposed = false) {
    for (int vector = 0; vector < NV; vector += 2)
        for (int64_t row = 0; row < rows; row += 32) {
            const bool two_rows = rows - row > 16, two_vectors = NV - vector > 1;
            const auto run = two_rows ? (two_vectors ? run_block<PARTS, 2, 2> : run_block<PARTS, 2, 1>)
                                      : (two_vectors ? run_block<PARTS, 1, 2> : run_block<PARTS, 1, 1>);
            run(t, row, rows, vector, NV, transposed);
        }
}

#endif

}  // namespace

// The tile of tile.h in tile registers: the same sums, of products of parts (parts.h).
//
// An AmxTile holds up to 2 × 2 registers: 32 rows and 32 columns of sums. Four registers are left for operands: two for
// a part of a, two for a part of b. The order of the products changes only one of the two from one product to the next.
#pragma once

#include "parts.h"
#include "tile.h"

namespace {

#if defined(XRNN_PARTS)

// RB registers of rows, the last one with the `last_rows` first rows of a register, by VB registers of columns: the
// product's sums for the rows from `row` and the vectors from `vector` on. NV: vectors of out. The registers begin with
// init, and add the terms of all segments in their order. Weight gradients (of_chunks) begin with zeros: a chunk is
// summed before it is added to out.
template <int PARTS, int RB, int VB>
struct AmxTile {
    static constexpr int W = 16;
    Registers registers;
    const Product<Part<PARTS>>& product;
    const int64_t row;
    const int vector, NV, last_rows;
    const bool transposed;
    alignas(64) Pair edge[PARTS][W][GROUP];  // the rows of the last register and zeros, if it is not full
    alignas(64) float sums[RB][VB][W][W];    // of registers that are not stored in out

    AmxTile(const Product<Part<PARTS>>& product, int64_t row, int64_t rows, int vector, int NV, bool transposed)
        : product(product),
          row(row),
          vector(vector),
          NV(NV),
          last_rows(rows - row < RB * W ? int(rows - row) - (RB - 1) * W : W),
          transposed(transposed) {
        if (last_rows < W) __builtin_memset(edge, 0, sizeof(edge));
    }

    void run() {
        each([&]<int i, int j>() { begin<i, j>(); });
        for (int s = 0; s < product.count; ++s) multiply(product.segments[s]);
        each([&]<int i, int j>() { end<i, j>(); });
    }

   private:
    // f.operator()<i, j>() for each register i, j of sums: its number is a part of the instruction.
    template <class F>
    static XRNN_INLINE void each(const F& f) {
        f.template operator()<0, 0>();
        if constexpr (VB > 1) f.template operator()<0, 1>();
        if constexpr (RB > 1) f.template operator()<1, 0>();
        if constexpr (RB > 1 && VB > 1) f.template operator()<1, 1>();
    }

    int rows_of(int i) const { return i + 1 < RB ? W : last_rows; }
    int columns_of(int j) const { return vector + j + 1 < NV ? W : product.last; }
    bool is_whole(int i, int j) const { return rows_of(i) == W && columns_of(j) == W; }
    // The place of register i, j in a matrix with these rows.
    int64_t place(int i, int j, int64_t stride) const {
        const int64_t r = row + i * W, c = (vector + j) * W;
        return transposed ? c * stride + r : r * stride + c;
    }

    template <int i, int j>
    XRNN_INLINE void begin() {
        if (!product.init || product.of_chunks) return registers.template zero<2 * i + j>();
        const float* const init = product.init + place(i, j, product.init_row);
        if (is_whole(i, j)) return registers.template load<2 * i + j>(init, 4 * product.init_row);
        for (int m = 0; m < W; ++m)
            store<float>(sums[i][j][m], m < rows_of(i)
                                            ? load_columns<float>(init + m * product.init_row, columns_of(j))
                                            : Vec<float>{});
        registers.template load<2 * i + j>(sums[i][j], 4 * W);
    }

    template <int i, int j>
    XRNN_INLINE void end() {
        if (is_whole(i, j) && !transposed && !(product.of_chunks && product.init))
            return registers.template store<2 * i + j>(product.out + place(i, j, product.out_row), 4 * product.out_row);
        registers.template store<2 * i + j>(sums[i][j], 4 * W);
        add_sums(sums[i][j], i, j);
    }

    // out = the sums of register i, j, plus init if they began with zeros
    void add_sums(float (&sums)[W][W], int i, int j) const {
        int rows = rows_of(i), columns = columns_of(j);
        if (transposed) {
            Vec<float> square[W];
            for (int m = 0; m < W; ++m) square[m] = load<float>(sums[m]);
            transpose<float>(square);
            for (int m = 0; m < W; ++m) store<float>(sums[m], square[m]);
            rows = columns_of(j);
            columns = rows_of(i);
        }
        const bool adds = product.of_chunks && product.init;
        const float* const start = adds ? product.init + place(i, j, product.init_row) : nullptr;
        float* const out = product.out + place(i, j, product.out_row);
        for (int m = 0; m < rows; ++m) {
            Vec<float> sum = load<float>(sums[m]);
            if (start) sum += load_columns<float>(start + m * product.init_row, columns);
            store_columns<float>(out + m * product.out_row, sum, columns);
        }
    }

    // registers += the terms of s
    XRNN_INLINE void multiply(const Segment<Part<PARTS>>& s) {
        const Part<PARTS>*a = s.a + row * s.a_row, *b = s.b + vector * W * GROUP;
        for (int64_t k = 0; k < s.K; k += GROUP, a += GROUP, b += GROUP * s.b_row) {
            if (last_rows < W) copy_edge(a + (RB - 1) * W * s.a_row, s.a_row);
            load_a(a, s.a_row, 0);
            if constexpr (PARTS > 1) {
                load_b(b, 1);
                add_products();
            }
            load_b(b, 0);
            add_products();
            if constexpr (PARTS > 1) {
                load_a(a, s.a_row, 1);
                add_products();
            }
        }
    }

    void copy_edge(const Part<PARTS>* a, int64_t a_row) {
        for (int m = 0; m < last_rows; ++m)
            for (int p = 0; p < PARTS; ++p)
                store<Pair>(edge[p][m], load<Pair>(pairs_of(a + m * a_row) + p * GROUP));
    }

    // Load part p of an operand.
    XRNN_INLINE void load_a(const Part<PARTS>* a, int64_t a_row, int p) {
        const int64_t stride = a_row * sizeof(Part<PARTS>);
        if constexpr (RB > 1) registers.template load<4>(pairs_of(a) + p * GROUP, stride);
        if (last_rows < W) return registers.template load<3 + RB>(edge[p], 64);
        registers.template load<3 + RB>(pairs_of(a + (RB - 1) * W * a_row) + p * GROUP, stride);
    }
    XRNN_INLINE void load_b(const Part<PARTS>* b, int p) {
        registers.template stream<6>(pairs_of(b) + p * W * GROUP, 64);
        if constexpr (VB > 1) registers.template stream<7>(pairs_of(b + W * GROUP) + p * W * GROUP, 64);
    }

    XRNN_INLINE void add_products() {
        each([&]<int i, int j>() { registers.template multiply_pairs<2 * i + j, 4 + i, 6 + j>(); });
    }
};

// Compute `rows` rows of NV vectors. If `transposed`, out and init have a row for each column of the product.
template <int PARTS>
void run_rows(Product<Part<PARTS>>& product, int NV, int64_t rows, bool transposed = false) {
    for (int vector = 0; vector < NV; vector += 2)
        for (int64_t row = 0; row < rows; row += 32) {
            const auto run = [&]<int RB, int VB>() {
                AmxTile<PARTS, RB, VB>(product, row, rows, vector, NV, transposed).run();
            };
            if (NV - vector > 1)
                rows - row > 16 ? run.template operator()<2, 2>() : run.template operator()<1, 2>();
            else
                rows - row > 16 ? run.template operator()<2, 1>() : run.template operator()<1, 1>();
        }
}

#endif

}  // namespace

// The recurrence of int8.h: z = x[t] @ Wx + h[t-1] @ Wh + b + add[t] with factors of 8 bits, then one step of the
// cell in float32.
//
// A step quantizes the rows of x and h: each row has one scale. Each thread does this for all rows: with the few rows
// that int8 weights are meant for, this takes less time than a second barrier. Then it computes its own panels of units.
// All threads meet at a barrier between two steps.
#pragma once

#include "gates.h"
#include "int8_sums.h"
#include "share.h"

namespace {

// The rows of W in groups of 4, and the bytes of a panel of W.
inline int64_t quads(const xrnn::Int8Matrix& W) { return (W.K + 3) / 4; }
inline int64_t panel_bytes(const xrnn::Int8Matrix& W) { return quads(W) * W.gates * xrnn::INT8_UNITS * 4; }

// A row of n floats as bytes q = 128 + round(127 · row / max |row|), padded with 128 to a multiple of 4 → the scale
// max |row| / 127. A row with NaN or infinity has the scale NaN. Rows below 1e-30 count as zeros: 127 / max must be finite.
inline float quantize_int8(const float* row, int64_t n, uint8_t* q) {
    using V = Vec<float>;
    constexpr int W = Simd<float>::LANES;
    typedef uint8_t Bytes __attribute__((vector_size(W)));
    V most = {}, not_finite = {};
    const auto measure = [&](V v) {
        const V size = v < V{} ? -v : v;
        most = size > most ? size : most;
        not_finite += v - v;
    };
    int64_t i = 0;
    for (; i + W <= n; i += W) measure(load<float>(row + i));
    if (i < n) measure(load_part<float>(row + i, int(n - i)));
    float max = 0, nan = 0;
    for (int j = 0; j < W; ++j) {
        max = most[j] > max ? most[j] : max;
        nan += not_finite[j];
    }
    const bool is_zero = !(max >= 1e-30f) || nan != 0;
    const float inverse = is_zero ? 0.0f : 127 / max;

    // Adding 1.5 · 2²³ rounds to an integer, ties to even, and leaves it in the lowest bits.
    const V factor = broadcast<float>(inverse), rounds = broadcast<float>(12582912.0f);
    const auto bytes = [&](V v) {
        const V shifted = (is_zero ? V{} : v * factor) + rounds;
        return __builtin_convertvector((IntVec<float>)shifted + 128, Bytes);
    };
    for (i = 0; i + W <= n; i += W) {
        const Bytes block = bytes(load<float>(row + i));
        std::memcpy(q + i, &block, W);
    }
    if (i < n) {
        const Bytes block = bytes(load_part<float>(row + i, int(n - i)));
        for (int j = 0; i < n; ++i, ++j) q[i] = block[j];
    }
    for (; i % 4; ++i) q[i] = 128;
    return nan == 0 ? (is_zero ? 0.0f : max / 127) : nan;
}

struct Int8Pass {
    static constexpr int UNITS = INT8_UNITS, W = Simd<float>::LANES;

    // The scratch memory of one thread.
    struct Own {
        uint8_t *x, *h;          // (N, 4 · quads): the bytes of the rows
        float *x_scale, *h_scale;  // (N,)
        int32_t *x_sums, *h_sums;  // (N, gates, 16)
    };

    // `step_cell` of a cell.
    using StepCell = void (Int8Pass::*)(const Own& mine, int64_t t, int64_t p) const;

    const xrnn::Int8Forward& f;
    const int states;
    const Gates& gates;
    const StepCell step_of_cell;
    const xrnn::Int8Sums sums;
    const bool signed_sums;  // the sums are those of q - 128, so nothing is subtracted
    const int64_t panels;
    Own owns[xrnn::MOST_THREADS];
    Barrier barrier;

    Int8Pass(Arena<float>& arena, const xrnn::Int8Forward& f, int threads, const Shape& shape, StepCell step_of_cell)
        : f(f),
          states(shape.states),
          gates(shape.gates),
          step_of_cell(step_of_cell),
          sums(f.sums ? f.sums : sum_int8),
          signed_sums(!f.sums && Int8Lanes::SIGNED),
          panels((f.H + UNITS - 1) / UNITS),
          barrier(threads) {
        for (int i = 0; i < threads; ++i)
            owns[i] = {.x = reinterpret_cast<uint8_t*>(arena.take(f.N * quads(f.Wx))),
                       .h = reinterpret_cast<uint8_t*>(arena.take(f.N * quads(f.Wh))),
                       .x_scale = arena.take(f.N),
                       .h_scale = arena.take(f.N),
                       .x_sums = reinterpret_cast<int32_t*>(arena.take(f.N * gates.x_count * UNITS)),
                       .h_sums = reinterpret_cast<int32_t*>(arena.take(f.N * gates.h_count * UNITS))};
    }

    void prepare() {}

    void thread(int id, int n) {
        const int64_t panel0 = share(panels, id, n), panel1 = share(panels, id + 1, n);
        for (int k = 0; k < states; ++k) write_initial(k, panel0 * UNITS, end_of(panel1));
        StopPoll poll(barrier.stop, id);
        for (int64_t t = 0; t < f.T; ++t) {
            barrier.wait(id, n);  // h is complete
            quantize(owns[id], t);
            for (int64_t p = panel0; p < panel1; ++p) {
                if (poll.stops(f.N * (f.D * gates.x_count + f.H * gates.h_count) * UNITS / 4)) return;
                multiply(f.Wx, p, owns[id].x, owns[id].x_sums);
                multiply(f.Wh, p, owns[id].h, owns[id].h_sums);
                (this->*step_of_cell)(owns[id], t, p);
            }
            if (poll.has_stopped()) return;
        }
    }

    // The cell's step for all rows and a panel, from the sums.
    template <class Cell>
    void step_cell(const Own& mine, int64_t t, int64_t p) const {
        constexpr Gates GATES = gates_of<Cell>();
        const int64_t begin = p * UNITS;
        const int units = int(end_of(p + 1) - begin);
        for (int64_t row = 0; row < f.N; ++row)
            for (int j = 0; j < units; j += W) {
                const int n = units - j < W ? units - j : W;
                const int64_t at = row * f.H + begin + j;
                Vec<float> z[Cell::PRE], before[Cell::STATES], after[Cell::STATES], own_of_cell[xrnn::MOST_OWN] = {};
                for (int g = 0; g < Cell::PRE; ++g) {
                    const int from_x = GATES.x_of[g], from_h = GATES.h_of[g];
                    z[g] = load_columns<float>(f.b + GATES.b_of[g] * f.H + begin + j, n);
                    if (from_x >= 0) z[g] += product(f.Wx, p, from_x, j, mine.x_scale[row], row, mine.x_sums);
                    if (from_h >= 0) z[g] += product(f.Wh, p, from_h, j, mine.h_scale[row], row, mine.h_sums);
                    if (f.add.data)
                        z[g] += load_columns<float>(
                            f.add.data + t * f.add.step + row * f.add.row + GATES.b_of[g] * f.H + begin + j, n);
                }
                for (int k = 0; k < Cell::STATES; ++k) before[k] = load_columns<float>(state(k, t) + at, n);
                for (int k = 0; k < Cell::OWN; ++k) own_of_cell[k] = load_columns<float>(f.own[k] + begin + j, n);
                Cell::step(z, before, after, own_of_cell);
                for (int k = 0; k < Cell::STATES; ++k) store_columns<float>(state(k, t + 1) + at, after[k], n);
            }
    }

   private:
    int64_t end_of(int64_t panel) const { return panel * UNITS < f.H ? panel * UNITS : f.H; }
    float* state(int k, int64_t t) const { return f.states[k] + t * f.N * f.H; }

    void write_initial(int k, int64_t column0, int64_t column1) const {
        const xrnn::Matrix<float>& from = f.initial[k];
        for (int64_t row = 0; row < f.N; ++row) {
            float* const to = state(k, 0) + row * f.H;
            for (int64_t j = column0; j < column1; ++j) to[j] = from.data ? from.data[row * from.row + j * from.col] : 0;
        }
    }

    void quantize(const Own& mine, int64_t t) const {
        for (int64_t row = 0; row < f.N; ++row) {
            mine.x_scale[row] = quantize_int8(f.x + (t * f.N + row) * f.D, f.D, mine.x + row * quads(f.Wx) * 4);
            if (gates.h_count > 0)
                mine.h_scale[row] = quantize_int8(state(0, t) + row * f.H, f.H, mine.h + row * quads(f.Wh) * 4);
        }
    }

    void multiply(const xrnn::Int8Matrix& W, int64_t p, const uint8_t* q, int32_t* out) const {
        sums(q, f.N, quads(W), W.values + p * panel_bytes(W), W.gates, out);
    }

    // The product of a row with units j, … of part `part` of W: an exact sum, times the scales of row and column.
    XRNN_INLINE Vec<float> product(const xrnn::Int8Matrix& W, int64_t p, int part, int j, float scale, int64_t row,
                                   const int32_t* sums) const {
        typedef int32_t Sums __attribute__((vector_size(VECTOR_BYTES)));
        const int64_t column = (p * W.gates + part) * UNITS + j;
        Sums sum, offset;
        std::memcpy(&sum, sums + (row * W.gates + part) * UNITS + j, sizeof(sum));
        std::memcpy(&offset, W.sums + column, sizeof(offset));
        const Sums exact = signed_sums ? sum : sum - offset;
        return __builtin_convertvector(exact, Vec<float>) * (scale * load<float>(W.scale + column));
    }
};

template <template <class> class CellOf>
bool int8_forward(const xrnn::Int8Forward& f, int threads) {
    if (f.N == 0) return true;
    using Cell = CellOf<Vec<float>>;
    constexpr Gates GATES = gates_of<Cell>();
    static_assert(has_int8_sums(GATES.x_count) && has_int8_sums(GATES.h_count));
    return run_pass<Int8Pass, float>(threads, f, threads, SHAPE<Cell>, &Int8Pass::template step_cell<Cell>);
}

}  // namespace

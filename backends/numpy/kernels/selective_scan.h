// The selective scan of Mamba, forward and backward. docs/mathematics/mamba.md derives the gradient.
//
//   Δ = softplus(delta + bias)      S'[k] = 2^(Δ A₂[k]) S[k] + Δ u B[k]      y = (Σ_k C[k] S'[k] + skip u) silu(z)
//
// with A₂ = A log2(e). Lanes are channels: B[k] and C[k] are the same for all of them. A task is a row of the batch and
// a panel of channels, for all steps, in chunks of CHUNK steps. Each stage of a chunk is a loop of its own: the
// elementwise functions of Δ and z, whose latency then overlaps from step to step; the recurrence of a few keys k at a
// time, with their states in registers; the outputs. Tasks never wait for each other. The panels depend on the sizes
// only, and sums over panels and rows are added in their order, so the number of threads does not change any bit.
//
// The backward pass reads the states before each chunk, which the forward pass saved, and computes those of the chunk
// and their decays a second time. These lie in the nearest cache: 2 · CHUNK vectors for each key.
#pragma once

#include "exp2.h"
#include "kernels.h"
#include "share.h"
#include "tasks.h"
#include "transpose.h"

namespace {

// 1 / x for 1 ≤ x ≤ 3, within two units in the last place. A division of AVX-512 takes as long as eight multiply-adds.
template <class S>
XRNN_INLINE Vec<S> reciprocal(Vec<S> x) {
#if defined(__AVX512F__)
    if constexpr (sizeof(S) == 4) {
        const Vec<S> r = (Vec<S>)_mm512_rcp14_ps((__m512)x);  // 14 bits; a step of Newton's method doubles them
        return multiply_add(r, multiply_add(-x, r, broadcast<S>(1)), r);
    }
#endif
    return 1 / x;
}

// e = exp(-|x|), r = 1 / (1 + e). σ(x) and softplus(x) follow from these without overflow.
template <class S>
struct Logistic {
    Vec<S> x, e, r;

    XRNN_INLINE explicit Logistic(Vec<S> x) : x(x) {
        const Vec<S> minus = (Vec<S>)((IntVec<S>)x | ~Constants<S>::MAGNITUDE);  // -|x|
        e = exp2<S>(minus * Constants<S>::LOG2_E);
        r = reciprocal<S>(1 + e);
    }
    XRNN_INLINE Vec<S> sigmoid() const { return x > Vec<S>{} ? r : e * r; }
    XRNN_INLINE Vec<S> softplus() const {
        const Vec<S> positive = x < Vec<S>{} ? Vec<S>{} : x;  // a NaN stays
        return positive + twice_artanh<S>(e * reciprocal<S>(e + 2));
    }
};

template <class S>
struct ScanShape {
    static constexpr int W = Simd<S>::LANES;
    static constexpr int64_t CHUNK = xrnn::SCAN_CHUNK;
    static constexpr int VECTORS = 8;                     // of a panel
    static constexpr int64_t PANEL = VECTORS * W;         // channels of a panel
    static constexpr int KEYS = REGISTERS == 32 ? 8 : 4;  // keys of a block
    static constexpr S LOG2_E = S(1.4426950408889634), LN2 = S(0.6931471805599453);

    const xrnn::SelectiveScan<S>& scan;
    const int64_t keys;             // K, rounded up to complete blocks: the other keys have A = B = C = S = 0
    const int64_t group;            // channels of a group
    const int64_t panels_of_group;
    const int64_t panels;

    explicit ScanShape(const xrnn::SelectiveScan<S>& scan)
        : scan(scan),
          keys((scan.K + KEYS - 1) / KEYS * KEYS),
          group(scan.D / scan.groups),
          panels_of_group((group + PANEL - 1) / PANEL),
          panels(scan.groups * panels_of_group) {}

    int64_t end_of(int64_t n) const {  // the number of steps of a row
        if (!scan.lengths) return scan.T;
        return scan.lengths[n] < 0 ? 0 : scan.lengths[n] > scan.T ? scan.T : scan.lengths[n];
    }
    int64_t chunks() const { return (scan.T + CHUNK - 1) / CHUNK; }
    int64_t group_of(int64_t panel) const { return panel / panels_of_group; }
    int64_t first_channel(int64_t panel) const {
        return group_of(panel) * group + panel % panels_of_group * PANEL;
    }
    int64_t channels(int64_t panel) const {
        const int64_t left = group - panel % panels_of_group * PANEL;
        return left < PANEL ? left : PANEL;
    }
    // Multiply-adds that take about the time of a step of a panel.
    int64_t work() const { return PANEL * (keys * 12 + 60); }
};

// A panel of channels of one thread. `v` numbers the vectors of the panel; vector v has lanes(v) channels, and the
// other lanes hold zeros.
template <class S>
struct ScanPanel {
    using Shape = ScanShape<S>;
    static constexpr int W = Shape::W;
    const Shape& shape;
    int64_t panel, group, d0, count;
    int vectors;

    ScanPanel(const Shape& shape, int64_t panel)
        : shape(shape),
          panel(panel),
          group(shape.group_of(panel)),
          d0(shape.first_channel(panel)),
          count(shape.channels(panel)),
          vectors(int((count + W - 1) / W)) {}

    int lanes(int v) const { return count - v * W < W ? int(count - v * W) : W; }

    // (vectors, keys, W) ← scale · (D, K) from channel d0 on
    void read(S* to, const S* from, int64_t row, int64_t column, S scale) const {
        const int64_t K = shape.scan.K;
        for (int v = 0; v < vectors; ++v)
            for (int64_t k0 = 0; k0 < shape.keys; k0 += W) {
                const int n = int(K - k0 < W ? (K - k0 < 0 ? 0 : K - k0) : W);
                Vec<S> rows[W];
                for (int i = 0; i < W; ++i) {
                    const bool exists = i < lanes(v) && n > 0;
                    rows[i] = exists ? read_row(from + (v * W + i) * row + k0 * column, column, n) : Vec<S>{};
                }
                transpose<S>(rows);
                for (int i = 0; i < W && k0 + i < shape.keys; ++i)
                    store<S>(to + (v * shape.keys + k0 + i) * W, rows[i] * scale);
            }
    }
    // (D, K) contiguous from channel d0 on ← (vectors, keys, W)
    void write(S* to, const S* from) const {
        const int64_t K = shape.scan.K;
        for (int v = 0; v < vectors; ++v)
            for (int64_t k0 = 0; k0 < K; k0 += W) {
                const int n = int(K - k0 < W ? K - k0 : W);
                Vec<S> rows[W];
                for (int i = 0; i < W; ++i) rows[i] = i < n ? load<S>(from + (v * shape.keys + k0 + i) * W) : Vec<S>{};
                transpose<S>(rows);
                for (int i = 0; i < lanes(v); ++i) store_columns<S>(to + (v * W + i) * K + k0, rows[i], n);
            }
    }

    // Prefetch the panel's channels of a step.
    void fetch(const xrnn::StepRows<S>& from, int64_t t, int64_t n) const {
        if (from.data) ::fetch<S>(from.data + t * from.step + n * from.row + d0, count);
    }

    // The rows of B or C of the steps of a chunk, side by side: (CHUNK, keys)
    void read_keys(S* to, const xrnn::StepRows<S>& from, int64_t n, int64_t t0, int64_t steps) const {
        const int64_t K = shape.scan.K;
        for (int64_t i = 0; i < steps; ++i) {
            const S* const row = from.data + (t0 + i) * from.step + n * from.row + group * K;
            for (int64_t k = 0; k < K; ++k) to[i * shape.keys + k] = row[k];
            for (int64_t k = K; k < shape.keys; ++k) to[i * shape.keys + k] = 0;
        }
    }

   private:
    static Vec<S> read_row(const S* from, int64_t column, int n) {
        if (column == 1) return load_columns<S>(from, n);
        Vec<S> row = {};
        for (int i = 0; i < n; ++i) row[i] = from[i * column];
        return row;
    }
};

template <class S>
XRNN_INLINE Vec<S> load_channels(const xrnn::StepRows<S>& from, int64_t t, int64_t n, int64_t d, int lanes) {
    return load_columns<S>(from.data + t * from.step + n * from.row + d, lanes);
}

template <class S>
class ForwardScan {
   public:
    using Shape = ScanShape<S>;
    using Panel = ScanPanel<S>;
    using V = Vec<S>;
    static constexpr int W = Shape::W, KEYS = Shape::KEYS;
    static constexpr int64_t CHUNK = Shape::CHUNK, PANEL = Shape::PANEL, STAGE = PANEL * CHUNK;

    ForwardScan(const xrnn::ScanForward<S>& f) : f(f), scan(f.scan), shape(f.scan) {}

    // Elements of scratch memory of a thread.
    int64_t scratch() const { return 2 * PANEL * shape.keys + 2 * CHUNK * shape.keys + 3 * STAGE; }
    int64_t tasks() const { return scan.N * shape.panels; }

    void thread(int id, int n, S* memory, xrnn::Stop& stop) {
        const FlushDenormals flushed;
        StopPoll poll(stop, id);
        A2 = memory;
        states = A2 + PANEL * shape.keys;
        B = states + PANEL * shape.keys;
        C = B + CHUNK * shape.keys;
        delta = C + CHUNK * shape.keys;
        input = delta + STAGE;
        sums = input + STAGE;
        int64_t panel_read = -1;
        // The rows of a panel follow each other: its A stays in the cache.
        for (int64_t task = share(tasks(), id, n); task < share(tasks(), id + 1, n); ++task) {
            const Panel panel(shape, task / scan.N);
            if (panel.panel != panel_read)
                panel.read(A2, scan.A.data + panel.d0 * scan.A.row, scan.A.row, scan.A.col, Shape::LOG2_E);
            panel_read = panel.panel;
            if (!row(panel, task % scan.N, poll)) return;
        }
    }

   private:
    const xrnn::ScanForward<S>& f;
    const xrnn::SelectiveScan<S>& scan;
    const Shape shape;
    S *A2, *states;                 // (vectors, keys, W)
    S *B, *C;                       // (CHUNK, keys)
    S *delta, *input, *sums;        // (vectors, CHUNK, W): Δ, Δ u, skip u + Σ C S

    bool row(const Panel& panel, int64_t n, StopPoll& poll) {
        const int64_t D = scan.D, K = scan.K, end = shape.end_of(n);
        if (scan.initial)
            panel.read(states, scan.initial + (n * D + panel.d0) * K, K, 1, 1);
        else
            for (int64_t i = 0; i < PANEL * shape.keys; i += W) store<S>(states + i, V{});
        for (int64_t t0 = 0, chunk = 0; t0 < scan.T; t0 += CHUNK, ++chunk) {
            if (poll.stops(CHUNK * shape.work())) return false;
            if (f.saved) save(panel, f.saved + (chunk * scan.N + n) * K * D + panel.d0);
            const int64_t last = t0 + CHUNK < scan.T ? t0 + CHUNK : scan.T, steps = last < end ? last - t0 : end - t0;
            if (steps > 0) run(panel, n, t0, steps);
            for (int64_t t = steps > 0 ? t0 + steps : t0; t < last; ++t)
                for (int v = 0; v < panel.vectors; ++v)
                    store_columns<S>(f.y + (t * scan.N + n) * D + panel.d0 + v * W, V{}, panel.lanes(v));
        }
        panel.write(f.last + (n * D + panel.d0) * K, states);
        return true;
    }

    void save(const Panel& panel, S* to) const {
        for (int64_t k = 0; k < scan.K; ++k)
            for (int v = 0; v < panel.vectors; ++v)
                store_columns<S>(to + k * scan.D + v * W, load<S>(states + (v * shape.keys + k) * W), panel.lanes(v));
    }

    void run(const Panel& panel, int64_t n, int64_t t0, int64_t steps) {
        panel.read_keys(B, scan.B, n, t0, steps);
        panel.read_keys(C, scan.C, n, t0, steps);
        for (int64_t i = 0; i < steps; ++i)
            for (int v = 0; v < panel.vectors; ++v) {
                const int lanes = panel.lanes(v);
                const int64_t d = panel.d0 + v * W, at = (v * CHUNK + i) * W;
                const V u = load_channels(scan.u, t0 + i, n, d, lanes);
                V x = load_channels(scan.delta, t0 + i, n, d, lanes);
                if (scan.bias) x += load_columns<S>(scan.bias + d, lanes);
                if (scan.softplus) x = Logistic<S>(x).softplus();
                store<S>(delta + at, x);
                store<S>(input + at, x * u);
                store<S>(sums + at, scan.skip ? load_columns<S>(scan.skip + d, lanes) * u : V{});
            }
        const xrnn::StepRows<S> arrays[] = {scan.u, scan.delta, scan.z};
        for (int v = 0; v < panel.vectors; ++v) {
            // The rows of the next chunk lie in other pages, where the CPU's prefetcher does not look for them.
            for (int64_t t = t0 + CHUNK + 2 * v; t < t0 + CHUNK + 2 * v + 2 && t < scan.T; ++t)
                for (const auto& array : arrays) panel.fetch(array, t, n);
            for (int64_t k = 0; k < shape.keys; k += KEYS) keys(v, k, steps);
        }
        for (int64_t i = 0; i < steps; ++i)
            for (int v = 0; v < panel.vectors; ++v) {
                const int lanes = panel.lanes(v);
                const int64_t d = panel.d0 + v * W;
                V y = load<S>(sums + (v * CHUNK + i) * W);
                if (scan.z.data) {
                    const V z = load_channels(scan.z, t0 + i, n, d, lanes);
                    y *= z * Logistic<S>(z).sigmoid();
                }
                store_columns<S>(f.y + ((t0 + i) * scan.N + n) * scan.D + d, y, lanes);
            }
    }

    // The steps of the keys from k on, with their states in registers.
    void keys(int v, int64_t k, int64_t steps) {
        const S *const delta = this->delta + v * CHUNK * W, *const input = this->input + v * CHUNK * W;
        S* const sums = this->sums + v * CHUNK * W;
        V A[KEYS], state[KEYS];
        S* const states = this->states + (v * shape.keys + k) * W;
#pragma GCC unroll 8
        for (int j = 0; j < KEYS; ++j) {
            A[j] = load<S>(A2 + (v * shape.keys + k + j) * W);
            state[j] = load<S>(states + j * W);
        }
        for (int64_t i = 0; i < steps; ++i) {
            const S *const b = B + i * shape.keys + k, *const c = C + i * shape.keys + k;
            const V step = load<S>(delta + i * W), v = load<S>(input + i * W);
            V y[2] = {load<S>(sums + i * W), V{}};
#pragma GCC unroll 8
            for (int j = 0; j < KEYS; ++j) {
                state[j] = multiply_add(exp2<S>(step * A[j]), state[j], v * broadcast<S>(b[j]));
                y[j % 2] = multiply_add(state[j], broadcast<S>(c[j]), y[j % 2]);
            }
            store<S>(sums + i * W, y[0] + y[1]);
        }
#pragma GCC unroll 8
        for (int j = 0; j < KEYS; ++j) store<S>(states + j * W, state[j]);
    }
};

template <class S>
class BackwardScan {
   public:
    using Shape = ScanShape<S>;
    using Panel = ScanPanel<S>;
    using V = Vec<S>;
    static constexpr int W = Shape::W, KEYS = Shape::KEYS;
    static constexpr int64_t CHUNK = Shape::CHUNK, PANEL = Shape::PANEL, STAGE = PANEL * CHUNK;
    // What belongs to a key and a step of a chunk. The fields lie side by side: in arrays of their own, a load would
    // often have the same offset within 4 KiB as an earlier store, for which the CPU then waits.
    struct Record {
        V before, decay;  // the state before the step, and its decay in the step
        V dB, dC;         // sums over the vectors of the panel
    };

    // by_rows: a thread runs all panels of its rows. It then adds their parts of dB and dC itself.
    BackwardScan(const xrnn::ScanBackward<S>& f, bool by_rows)
        : f(f), scan(f.scan), shape(f.scan), by_rows(by_rows) {}

    // Elements of scratch memory: of a thread, and of the parts of the sums over panels and over rows.
    int64_t scratch() const {
        return 2 * PANEL * shape.keys + 2 * CHUNK * shape.keys + 8 * STAGE + 4 * W * KEYS * (CHUNK + 1);
    }
    int64_t part_of_B() const { return by_rows ? 0 : scan.T * scan.N * scan.K; }
    int64_t part_of_A() const { return PANEL * (shape.keys + 2); }  // dA (vectors, keys, W), dskip, dbias (vectors, W)
    int64_t parts_size() const { return 2 * shape.panels * part_of_B() + scan.N * shape.panels * part_of_A(); }
    S* parts;  // first those of A, (N, panels, part_of_A()), then those of B and C, (panels, T, N, K), unless by_rows

    void thread(int id, int n, S* memory, xrnn::Stop& stop) {
        const FlushDenormals flushed;
        StopPoll poll(stop, id);
        A2 = memory;
        dstates = A2 + PANEL * shape.keys;
        B = dstates + PANEL * shape.keys;
        C = B + CHUNK * shape.keys;
        delta = C + CHUNK * shape.keys;
        input = delta + STAGE;
        dy = input + STAGE;
        sums = dy + STAGE;
        dv = sums + STAGE;
        ddelta = dv + STAGE;
        slope = ddelta + STAGE;
        gate_slope = slope + STAGE;
        records = reinterpret_cast<Record*>(gate_slope + STAGE);
        if (by_rows) {
            for (int64_t row = share(scan.N, id, n); row < share(scan.N, id + 1, n); ++row)
                for (int64_t panel = 0; panel < shape.panels; ++panel)
                    if (!run(panel, row, poll)) return;
        } else {
            const int64_t tasks = scan.N * shape.panels;
            for (int64_t task = share(tasks, id, n); task < share(tasks, id + 1, n); ++task)
                if (!run(task / scan.N, task % scan.N, poll)) return;
        }
    }

    // Adds the parts, after all threads have returned from `thread`.
    void add_parts(int id, int n) {
        const FlushDenormals flushed;
        if (!by_rows) {
            const int64_t rows = scan.T * scan.N;
            for (int64_t row = share(rows, id, n); row < share(rows, id + 1, n); ++row)
                for (int64_t g = 0; g < scan.groups; ++g) {
                    add_panels(f.dB, parts_of_B(), row, g);
                    add_panels(f.dC, parts_of_C(), row, g);
                }
        }
        for (int64_t p = share(shape.panels, id, n); p < share(shape.panels, id + 1, n); ++p) {
            S* const total = parts + p * part_of_A();
            for (int64_t row = 1; row < scan.N; ++row) {
                const S* const part = parts + (row * shape.panels + p) * part_of_A();
                for (int64_t i = 0; i < part_of_A(); i += W)
                    store<S>(total + i, load<S>(total + i) + load<S>(part + i));
            }
            const Panel panel(shape, p);
            panel.write(f.dA + panel.d0 * scan.K, total);
            for (int v = 0; v < panel.vectors; ++v) {
                const V skip = load<S>(total + PANEL * shape.keys + v * W),
                        bias = load<S>(total + PANEL * (shape.keys + 1) + v * W);
                if (f.dskip) store_columns<S>(f.dskip + panel.d0 + v * W, skip, panel.lanes(v));
                if (f.dbias) store_columns<S>(f.dbias + panel.d0 + v * W, bias, panel.lanes(v));
            }
        }
    }

   private:
    const xrnn::ScanBackward<S>& f;
    const xrnn::SelectiveScan<S>& scan;
    const Shape shape;
    const bool by_rows;
    S *A2, *dstates;             // (vectors, keys, W)
    S *dA, *dskip, *dbias;       // of this task in parts_of_A
    S *B, *C;                    // (CHUNK, keys)
    // (vectors, CHUNK, W): Δ, Δ u, dy before the gate, skip u + Σ C S, dv, dΔ / ln(2), σ(delta + bias), dy silu'(z)
    S *delta, *input, *dy, *sums, *dv, *ddelta, *slope, *gate_slope;
    Record* records;             // (CHUNK + 1, KEYS)

    S* parts_of_B() const { return parts + scan.N * shape.panels * part_of_A(); }
    S* parts_of_C() const { return parts_of_B() + shape.panels * part_of_B(); }

    void add_panels(S* out, const S* parts, int64_t row, int64_t g) const {
        const int64_t K = scan.K;
        S* const total = out + (row * scan.groups + g) * K;
        for (int64_t k = 0; k < K; ++k) {
            S sum = parts[(g * shape.panels_of_group * scan.T * scan.N + row) * K + k];
            for (int64_t p = 1; p < shape.panels_of_group; ++p)
                sum += parts[((g * shape.panels_of_group + p) * scan.T * scan.N + row) * K + k];
            total[k] = sum;
        }
    }

    bool run(int64_t p, int64_t n, StopPoll& poll) {
        const Panel panel(shape, p);
        const int64_t D = scan.D, K = scan.K, end = shape.end_of(n);
        panel.read(A2, scan.A.data + panel.d0 * scan.A.row, scan.A.row, scan.A.col, Shape::LOG2_E);
        if (f.dlast)
            panel.read(dstates, f.dlast + (n * D + panel.d0) * K, K, 1, 1);
        else
            for (int64_t i = 0; i < PANEL * shape.keys; i += W) store<S>(dstates + i, V{});
        dA = parts + (n * shape.panels + p) * part_of_A();
        dskip = dA + PANEL * shape.keys;
        dbias = dskip + PANEL;
        for (int64_t i = 0; i < part_of_A(); i += W) store<S>(dA + i, V{});
        for (int64_t t = end; t < scan.T; ++t) clear(panel, n, t);
        for (int64_t chunk = (end + CHUNK - 1) / CHUNK - 1; chunk >= 0; --chunk) {
            if (poll.stops(2 * CHUNK * shape.work())) return false;
            const int64_t t0 = chunk * CHUNK, steps = end - t0 < CHUNK ? end - t0 : CHUNK;
            prepare(panel, n, t0, steps);
            for (int64_t k = 0; k < shape.keys; k += KEYS) {
                for (int64_t i = 0; i < steps * KEYS; ++i) records[i].dB = records[i].dC = V{};
                for (int v = 0; v < panel.vectors; ++v) {
                    if (scan.z.data)
                        states<true>(panel, n, chunk, v, k, steps);
                    else
                        states<false>(panel, n, chunk, v, k, steps);
                    gradients(v, k, steps);
                }
                write_sums(panel, n, t0, k, steps);
            }
            finish(panel, n, t0, steps);
        }
        if (f.dinitial) panel.write(f.dinitial + (n * D + panel.d0) * K, dstates);
        return true;
    }

    // Prefetch the channels from d on of a step: during the first block of keys the operands of the chunk before, during
    // the last block the results of this chunk. The CPU's prefetcher does not load them, because each step lies in
    // another page. One vector per step of the recurrence, because the CPU can wait for only a few lines at a time.
    XRNN_INLINE void fetch(int64_t t, int64_t n, int64_t d, int64_t k) const {
        if (k == 0 && t >= CHUNK) {
            const xrnn::StepRows<S>* const operands[] = {&scan.u, &scan.delta, &scan.z, &f.dy};
            for (const auto* from : operands)
                if (from->data) ::fetch<S>(from->data + (t - CHUNK) * from->step + n * from->row + d, W);
        }
        if (k + KEYS >= shape.keys) {
            const S* const results[] = {f.du, f.ddelta, f.dz};
            for (const S* const result : results)
                if (result) ::fetch<S>(result + (t * scan.N + n) * scan.D + d, W);
        }
    }

    // The gradients of a step past the end of a row.
    void clear(const Panel& panel, int64_t n, int64_t t) {
        const int64_t at = (t * scan.N + n) * scan.D + panel.d0;
        S* const outputs[] = {f.du, f.ddelta, f.dz};
        for (int v = 0; v < panel.vectors; ++v)
            for (S* const out : outputs)
                if (out) store_columns<S>(out + at + v * W, V{}, panel.lanes(v));
        for (int64_t k = 0; k < scan.K; ++k) {
            *sum_at(f.dB, parts_of_B(), panel, n, t, k) = 0;
            *sum_at(f.dC, parts_of_C(), panel, n, t, k) = 0;
        }
    }

    // The place of dB or dC of a step and a key, or of the panel's part of it.
    S* sum_at(S* out, S* parts, const Panel& panel, int64_t n, int64_t t, int64_t k) const {
        const int64_t row = t * scan.N + n;
        if (by_rows) return out + (row * scan.groups + panel.group) * scan.K + k;
        return parts + (panel.panel * scan.T * scan.N + row) * scan.K + k;
    }

    void prepare(const Panel& panel, int64_t n, int64_t t0, int64_t steps) {
        panel.read_keys(B, scan.B, n, t0, steps);
        panel.read_keys(C, scan.C, n, t0, steps);
        for (int64_t i = 0; i < steps; ++i)
            for (int v = 0; v < panel.vectors; ++v) {
                const int lanes = panel.lanes(v);
                const int64_t d = panel.d0 + v * W, at = (v * CHUNK + i) * W;
                const V u = load_channels(scan.u, t0 + i, n, d, lanes);
                V x = load_channels(scan.delta, t0 + i, n, d, lanes);
                if (scan.bias) x += load_columns<S>(scan.bias + d, lanes);
                if (scan.softplus) {
                    const Logistic<S> logistic(x);
                    x = logistic.softplus();
                    store<S>(slope + at, logistic.sigmoid());
                }
                store<S>(delta + at, x);
                store<S>(input + at, x * u);
                V dout = f.dy.data ? load_channels(f.dy, t0 + i, n, d, lanes) : V{};
                if (scan.z.data) {
                    const V z = load_channels(scan.z, t0 + i, n, d, lanes), s = Logistic<S>(z).sigmoid(), gate = z * s;
                    store<S>(gate_slope + at, dout * multiply_add(gate, 1 - s, s));
                    store<S>(sums + at, scan.skip ? load_columns<S>(scan.skip + d, lanes) * u : V{});
                    dout *= gate;
                }
                store<S>(dy + at, dout);
                store<S>(dskip + v * W, multiply_add(dout, u, load<S>(dskip + v * W)));
                store<S>(dv + at, V{});
                store<S>(ddelta + at, V{});
            }
    }

    // The states of the chunk and their decays, a second time.   GATED: also Σ C S, for the gradient of z
    template <bool GATED>
    void states(const Panel& panel, int64_t n, int64_t chunk, int v, int64_t k, int64_t steps) {
        const int64_t d = panel.d0 + v * W;
        const S* const saved = f.saved + ((chunk * scan.N + n) * scan.K + k) * scan.D + d;
        const S *const delta = this->delta + v * CHUNK * W, *const input = this->input + v * CHUNK * W;
        S* const sums = this->sums + v * CHUNK * W;
        Record* record = records;
        V A[KEYS], state[KEYS];
        const int valid = scan.K - k < KEYS ? int(scan.K - k) : KEYS;
#pragma GCC unroll 8
        for (int j = 0; j < KEYS; ++j) {
            A[j] = load<S>(A2 + (v * shape.keys + k + j) * W);
            state[j] = j < valid ? load_columns<S>(saved + j * scan.D, panel.lanes(v)) : V{};
        }
        for (int64_t i = 0; i < steps; ++i, record += KEYS) {
            const S *const b = B + i * shape.keys + k, *const c = C + i * shape.keys + k;
            fetch(chunk * CHUNK + i, n, d, k);
            const V step = load<S>(delta + i * W), v = load<S>(input + i * W);
            V y = {};
#pragma GCC unroll 8
            for (int j = 0; j < KEYS; ++j) {
                record[j].before = state[j];
                const V e = exp2<S>(step * A[j]);
                record[j].decay = e;
                state[j] = multiply_add(e, state[j], v * broadcast<S>(b[j]));
                if (GATED) y = multiply_add(state[j], broadcast<S>(c[j]), y);
            }
            if (GATED) store<S>(sums + i * W, load<S>(sums + i * W) + y);
        }
#pragma GCC unroll 8
        for (int j = 0; j < KEYS; ++j) record[j].before = state[j];
    }

    void gradients(int v, int64_t k, int64_t steps) {
        const S* const delta = this->delta + v * CHUNK * W;
        const S* const input = this->input + v * CHUNK * W;
        const S* const dy = this->dy + v * CHUNK * W;
        const S* const A = A2 + (v * shape.keys + k) * W;
        S* const dv = this->dv + v * CHUNK * W;
        S* const ddelta = this->ddelta + v * CHUNK * W;
        S* const dstates = this->dstates + (v * shape.keys + k) * W;
        S* const dA = this->dA + (v * shape.keys + k) * W;
        Record* record = records + steps * KEYS;
        V g[KEYS], sum[KEYS], after[KEYS];  // the gradient of the state through later steps, dA, the state
#pragma GCC unroll 8
        for (int j = 0; j < KEYS; ++j) {
            g[j] = load<S>(dstates + j * W);
            sum[j] = load<S>(dA + j * W);
            after[j] = record[j].before;
        }
        for (int64_t i = steps - 1; i >= 0; --i) {
            record -= KEYS;
            const S *const b = B + i * shape.keys + k, *const c = C + i * shape.keys + k;
            const V step = load<S>(delta + i * W), v = load<S>(input + i * W), dout = load<S>(dy + i * W);
            V to_v = load<S>(dv + i * W), to_delta = load<S>(ddelta + i * W);
#pragma GCC unroll 8
            for (int j = 0; j < KEYS; ++j) {
                Record& r = record[j];
                const V total = multiply_add(dout, broadcast<S>(c[j]), g[j]);
                r.dC = multiply_add(dout, after[j], r.dC);
                r.dB = multiply_add(total, v, r.dB);
                to_v = multiply_add(total, broadcast<S>(b[j]), to_v);
                g[j] = total * r.decay;
                after[j] = r.before;
                const V w = g[j] * after[j];
                to_delta = multiply_add(w, load<S>(A + j * W), to_delta);
                sum[j] = multiply_add(w, step, sum[j]);
            }
            store<S>(dv + i * W, to_v);
            store<S>(ddelta + i * W, to_delta);
        }
#pragma GCC unroll 8
        for (int j = 0; j < KEYS; ++j) {
            store<S>(dstates + j * W, g[j]);
            store<S>(dA + j * W, sum[j]);
        }
    }

    // dB and dC of the keys from k on: the sums over the channels of the panel.
    void write_sums(const Panel& panel, int64_t n, int64_t t0, int64_t k, int64_t steps) {
        // Panels of a group follow each other in the order of their numbers, so the first one writes and others add.
        const bool adds = by_rows && panel.panel % shape.panels_of_group;
        write_sums(&Record::dB, f.dB, parts_of_B(), adds, panel, n, t0, k, steps);
        write_sums(&Record::dC, f.dC, parts_of_C(), adds, panel, n, t0, k, steps);
    }
    void write_sums(V Record::*field, S* out, S* parts, bool adds, const Panel& panel, int64_t n, int64_t t0, int64_t k,
                    int64_t steps) {
        alignas(64) S sums[CHUNK * KEYS + W];
        for (int64_t i = 0; i < steps * KEYS; i += W) {
            V rows[W];
            for (int j = 0; j < W; ++j) rows[j] = i + j < steps * KEYS ? records[i + j].*field : V{};
            store<S>(sums + i, sums_of_lanes<S>(rows));
        }
        const int64_t valid = scan.K - k < KEYS ? scan.K - k : KEYS;
        for (int64_t i = 0; i < steps; ++i) {
            S* const to = sum_at(out, parts, panel, n, t0 + i, k);
            for (int64_t j = 0; j < valid; ++j) to[j] = adds ? to[j] + sums[i * KEYS + j] : sums[i * KEYS + j];
        }
    }

    void finish(const Panel& panel, int64_t n, int64_t t0, int64_t steps) {
        for (int64_t i = 0; i < steps; ++i)
            for (int v = 0; v < panel.vectors; ++v) {
                const int lanes = panel.lanes(v);
                const int64_t d = panel.d0 + v * W, at = (v * CHUNK + i) * W;
                const int64_t out = ((t0 + i) * scan.N + n) * scan.D + d;
                const V u = load_channels(scan.u, t0 + i, n, d, lanes), to_v = load<S>(dv + at);
                V du = to_v * load<S>(delta + at);
                if (scan.skip) du = multiply_add(load<S>(dy + at), load_columns<S>(scan.skip + d, lanes), du);
                V to_delta = multiply_add(to_v, u, load<S>(ddelta + at) * Shape::LN2);  // ddelta is a sum over A₂
                if (scan.softplus) to_delta *= load<S>(slope + at);
                if (scan.z.data) store_columns<S>(f.dz + out, load<S>(gate_slope + at) * load<S>(sums + at), lanes);
                store<S>(dbias + v * W, load<S>(dbias + v * W) + to_delta);
                store_columns<S>(f.du + out, du, lanes);
                store_columns<S>(f.ddelta + out, to_delta, lanes);
            }
    }
};

template <class S>
bool selective_scan(const xrnn::ScanForward<S>& f, int threads) {
    return run_tasks<S>(ForwardScan<S>(f), threads);
}

template <class S>
bool selective_scan_gradients(const xrnn::ScanBackward<S>& f, int threads) {
    const bool by_rows = threads == 1 || f.scan.N % threads == 0 || f.scan.N >= 4 * threads;
    return run_tasks<S>(BackwardScan<S>(f, by_rows), threads);
}

}  // namespace

// A matrix memory, forward and backward. docs/mathematics/matrix-memory.md derives the gradient.
//
//   S[t] = a[t] S[t-1] + k[t] v[t]ᵀ      y[t] = S[t]ᵀ q[t]      a = exp(log_decay)
//
// With D[t] the gradient of S[t], dS[t] there, the gradients of q, k and v are passes of the same recurrence with other
// operands:
//
//   pass      order      decay    keys  values  queries  state
//   y         in time    a[t]     k     v       q        S   (K, V)
//   dq        in time    a[t]     v     k       dy       Sᵀ  (V, K)
//   dk        reversed   a[t+1]   dy    q       v        Dᵀ  (V, K)
//   dv        reversed   a[t+1]   q     dy      k        D   (K, V)
//
// A pass reads its state once in STEPS steps. In a pass in time order, if S is the state before a block of steps,
//
//   y[b] = P[b] Sᵀ q[b] + Σ_{a≤b} R[a,b] ⟨q[b], k[a]⟩ v[a]       P[b] = a[0] … a[b],  R[a,b] = a[a+1] … a[b]
//   S after the block = P[last] S + Σ_a R[a,last] k[a] v[a]ᵀ
//
// so an element of the state costs 2 + 1/STEPS multiply-adds in a step instead of 3. Lanes are the columns of the
// state: sums across lanes are needed only for the scores ⟨q[b], k[a]⟩ and for dlog_decay. A task is a row of the
// batch, a head (for dq and dk a group of heads) and a panel of columns, for all steps. So its state stays in a near
// cache.
//
// dlog_decay[t] is a[t] ⟨D[t], S[t-1]⟩. The task of dk has Dᵀ. While it computes dq, it stores Sᵀ before each block
// of a chunk. With S before a block and D after it, the gradient of its step t is
//
//   P[last] a[last+1] ⟨S, D⟩ + Σ_{b≥t} P[b] ⟨q[b], S dy[b]⟩ + Σ_{a<t} R[a,last+1] ⟨k[a], D v[a]⟩
//     + Σ_{a<t≤b} R[a,b] ⟨q[b], k[a]⟩ ⟨v[a], dy[b]⟩
//
// These are sums without differences. (The usual form, a running sum of y · dy - v · dv, loses digits.)
//
// Decays and their products are computed in float64, and rounded for each block: the relative error of a decay near 1
// adds up over the many steps in which the state remains. The product over a block must not overflow: the sum of
// log_decay over STEPS steps stays below 88 in float32.
//
// Tasks never wait for each other. They depend on the sizes only, and sums over heads and panels are added in their
// order, so the number of threads does not change any bit.
#pragma once

#include "exp2.h"
#include "kernels.h"
#include "share.h"
#include "tasks.h"
#include "transpose.h"

namespace {

template <class S>
struct MemoryShape {
    static constexpr int W = Simd<S>::LANES;
    static constexpr int STEPS = 4;                          // of a block
    static constexpr int VECTORS = REGISTERS == 32 ? 2 : 1;  // of a panel
    static constexpr int64_t PANEL = VECTORS * W;            // columns of a panel
    static constexpr int64_t CHUNK = xrnn::MEMORY_CHUNK, BLOCKS = CHUNK / STEPS;
    static constexpr int64_t SCORES = STEPS * STEPS;         // of a block
    static constexpr double LOG2_E = 1.4426950408889634;

    const xrnn::MatrixMemory<S>& memory;
    const int64_t heads;  // of a group

    explicit MemoryShape(const xrnn::MatrixMemory<S>& memory) : memory(memory), heads(memory.H / memory.groups) {}

    static int64_t panels(int64_t columns) { return (columns + PANEL - 1) / PANEL; }
    static int64_t in_lines(int64_t elements) { return (elements + W - 1) / W * W; }
    int64_t blocks() const { return (memory.T + STEPS - 1) / STEPS; }
    // The size of the decays of a row and head, in elements of float64.
    int64_t decays() const {
        constexpr int64_t LANES = Simd<double>::LANES;
        return (memory.T + STEPS + LANES) / LANES * LANES;
    }
    // The length of the row of zeros: the longest row of an operand, in complete vectors, and a panel.
    int64_t zeros() const { return in_lines(memory.K > memory.V ? memory.K : memory.V) + PANEL; }

    int64_t end_of(int64_t n) const {  // the number of steps of a row
        if (!memory.lengths) return memory.T;
        return memory.lengths[n] < 0 ? 0 : memory.lengths[n] > memory.T ? memory.T : memory.lengths[n];
    }
};

// The columns of a state that a task computes. The lanes after the last column hold zeros.
template <class S>
struct Columns {
    static constexpr int W = Simd<S>::LANES;
    int64_t first, count;

    Columns(int64_t panel, int64_t columns) : first(panel * MemoryShape<S>::PANEL), count(columns - first) {
        if (count > MemoryShape<S>::PANEL) count = MemoryShape<S>::PANEL;
    }
    XRNN_INLINE int lanes(int v) const { return count - v * W < W ? int(count - v * W) : W; }
    XRNN_INLINE Vec<S> load(const S* row, int v) const { return load_columns<S>(row + first + v * W, lanes(v)); }
    XRNN_INLINE void store(S* row, int v, Vec<S> x) const { store_columns<S>(row + first + v * W, x, lanes(v)); }
};

// The vectors of an operand of a head, step by step; zeros after the last step.
template <class S>
struct Track {
    const S* first;
    int64_t step, end;
    const S* zeros;

    XRNN_INLINE const S* at(int64_t t) const { return t < end ? first + t * step : zeros; }
};

// A block of M steps from t0 on, for VECTORS vectors of columns.
template <class S, int M, int VECTORS, bool REVERSED>
struct MemoryBlock {
    using V = Vec<S>;
    static constexpr int W = Simd<S>::LANES;
    const S *keys[M], *values[M], *queries[M];
    S all, reads[M], writes[M];  // the decay over the block; the factors of query · state; those of the values
    S weights[M][M];             // [b][a], a ≤ b: R[a,b] times the score
    V sums[M][VECTORS];          // Σ over the rows of query · state

    // decays: from step t0 on, M + 1 of them.   scores: ⟨·[b], ·[a]⟩ at [b][a], for a ≤ b
    XRNN_INLINE MemoryBlock(const Track<S>& k, const Track<S>& v, const Track<S>& q, int64_t t0, const double* decays,
                            const S* scores) {
        for (int j = 0; j < M; ++j) keys[j] = k.at(t0 + j), values[j] = v.at(t0 + j), queries[j] = q.at(t0 + j);
        for (int b = 0; b < M; ++b) {
            double between = 1;
            for (int a = b; a >= 0; between *= decays[a], --a)
                weights[b][a] = S(between) * scores[b * MemoryShape<S>::STEPS + a];
        }
        double product = 1;
        if constexpr (REVERSED) {
            for (int j = 0; j < M; ++j) {
                writes[j] = S(product);
                product *= decays[j + 1];
            }
            product = 1;
            for (int j = M - 1; j >= 0; --j) {
                product *= decays[j + 1];
                reads[j] = S(product);
            }
        } else {
            for (int j = M - 1; j >= 0; --j) {
                writes[j] = S(product);
                product *= decays[j];
            }
            product = 1;
            for (int j = 0; j < M; ++j) {
                product *= decays[j];
                reads[j] = S(product);
            }
        }
        all = S(product);
    }

    // to (rows, VECTORS, W) ← the state after the block from that before it, which may be the same array.
    // With OTHER: dot += Σ state before the block ∘ other
    template <bool OTHER = false>
    XRNN_INLINE void run(const Columns<S>& columns, int64_t rows, const S* from, S* to, const S* other = nullptr,
                         V* dot = nullptr) {
        V w[M][VECTORS], sum[M][VECTORS], products = {};
        for (int j = 0; j < M; ++j)
            for (int v = 0; v < VECTORS; ++v) w[j][v] = columns.load(values[j], v) * writes[j], sum[j][v] = V{};
        const V decay = broadcast<S>(all);
        for (int64_t i = 0; i < rows; ++i) {
            V s[VECTORS];
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; ++v) s[v] = load_once<M + 1, S>(load<S>(from + (i * VECTORS + v) * W));
            if constexpr (OTHER)
#pragma GCC unroll 2
                for (int v = 0; v < VECTORS; ++v)
                    products = multiply_add(s[v], load<S>(other + (i * VECTORS + v) * W), products);
#pragma GCC unroll 4
            for (int j = 0; j < M; ++j) {
                const V q = broadcast<S>(queries[j][i]);
                for (int v = 0; v < VECTORS; ++v) sum[j][v] = multiply_add(q, s[v], sum[j][v]);
            }
            for (int v = 0; v < VECTORS; ++v) s[v] *= decay;
#pragma GCC unroll 4
            for (int j = 0; j < M; ++j) {
                const V k = broadcast<S>(keys[j][i]);
                for (int v = 0; v < VECTORS; ++v) s[v] = multiply_add(k, w[j][v], s[v]);
            }
            for (int v = 0; v < VECTORS; ++v) store<S>(to + (i * VECTORS + v) * W, s[v]);
        }
        for (int j = 0; j < M; ++j)
            for (int v = 0; v < VECTORS; ++v) sums[j][v] = sum[j][v];
        if constexpr (OTHER) *dot = products;
    }

    // The result of step j, after `run`.
    XRNN_INLINE V result(const Columns<S>& columns, int j, int v) const {
        V out = sums[j][v] * reads[j];
        if constexpr (REVERSED)
            for (int b = j; b < M; ++b)
                out = multiply_add(broadcast<S>(weights[b][j]), columns.load(values[b], v), out);
        else
            for (int a = 0; a <= j; ++a)
                out = multiply_add(broadcast<S>(weights[j][a]), columns.load(values[a], v), out);
        return out;
    }
};

// What the passes share: a thread's scratch memory, and operands in it.
template <class S>
class MemoryPass {
   public:
    using Shape = MemoryShape<S>;
    using V = Vec<S>;
    static constexpr int W = Shape::W, STEPS = Shape::STEPS, VECTORS = Shape::VECTORS;
    static constexpr int64_t PANEL = Shape::PANEL, CHUNK = Shape::CHUNK, SCORES = Shape::SCORES;

   protected:
    const xrnn::MatrixMemory<S>& memory;
    const Shape shape;
    double* decays;
    S *zeros, *scores;  // zeros(), (blocks, STEPS, STEPS): ⟨q[b], k[a]⟩
    int64_t decays_read = -1, scores_read = -1;

    explicit MemoryPass(const xrnn::MatrixMemory<S>& memory) : memory(memory), shape(memory) {}

    // The size of the decays, in elements of S.
    int64_t decays_size() const { return shape.decays() * int64_t(sizeof(double) / sizeof(S)); }
    int64_t shared_scratch() const { return decays_size() + shape.zeros() + shape.in_lines(shape.blocks() * SCORES); }
    S* take_scratch(S* from) {  // → the memory after it
        decays = reinterpret_cast<double*>(from);
        zeros = from + decays_size();
        scores = zeros + shape.zeros();
        for (int64_t i = 0; i < shape.zeros(); i += W) store<S>(zeros + i, V{});
        return scores + shape.in_lines(shape.blocks() * SCORES);
    }

    Track<S> track(const xrnn::HeadRows<S>& from, int64_t n, int64_t head) const {
        if (!from.data) return {zeros, 0, 0, zeros};
        return {from.data + n * from.row + head * from.head, from.step, shape.end_of(n), zeros};
    }
    int64_t state_at(int64_t n, int64_t h) const { return (n * memory.H + h) * memory.K * memory.V; }

    // decays ← a of all steps of a row and head, and 1 after the last step
    void read_decays(int64_t n, int64_t h) {
        if (decays_read == n * memory.H + h) return;
        decays_read = n * memory.H + h;
        const xrnn::HeadRows<S>& from = memory.log_decay;
        const int64_t end = shape.end_of(n);
        for (int64_t t = 0; t < shape.decays(); ++t)
            decays[t] = t < end ? double(from.data[t * from.step + n * from.row + h * from.head]) : 0.0;
        for (int64_t t = 0; t < shape.decays(); t += Simd<double>::LANES)
            store<double>(decays + t, exp2<double>(load<double>(decays + t) * Shape::LOG2_E));
    }

    // scores ← those of q and k
    void read_scores(int64_t n, int64_t group) {
        if (scores_read == n * memory.groups + group) return;
        scores_read = n * memory.groups + group;
        write_scores(scores, track(memory.q, n, group), track(memory.k, n, group), memory.K, 0, shape.end_of(n));
    }

    // For each block of the steps [t0, t1): ⟨later[b], earlier[a]⟩ over `size` elements, at [b][a] for a ≤ b.
    static void write_scores(S* to, const Track<S>& later, const Track<S>& earlier, int64_t size, int64_t t0,
                             int64_t t1) {
        constexpr int PAIRS = STEPS * (STEPS + 1) / 2;
        for (int64_t t = t0; t < t1; t += STEPS, to += SCORES) {
            V sums[PAIRS] = {};
            for (int64_t i = 0; i < size; i += W) {
                const int lanes = size - i < W ? int(size - i) : W;
                V x[STEPS];
                for (int a = 0; a < STEPS; ++a) x[a] = load_columns<S>(earlier.at(t + a) + i, lanes);
#pragma GCC unroll 4
                for (int b = 0, pair = 0; b < STEPS; ++b) {
                    const V y = load_columns<S>(later.at(t + b) + i, lanes);
#pragma GCC unroll 4
                    for (int a = 0; a <= b; ++a, ++pair) sums[pair] = multiply_add(y, x[a], sums[pair]);
                }
            }
            S totals[(PAIRS + W - 1) / W * W];
            for (int i = 0; i < PAIRS; i += W) {
                V rows[W];
                for (int j = 0; j < W; ++j) rows[j] = i + j < PAIRS ? sums[i + j] : V{};
                store<S>(totals + i, sums_of_lanes<S>(rows));
            }
            for (int b = 0, pair = 0; b < STEPS; ++b)
                for (int a = 0; a <= b; ++a, ++pair) to[b * STEPS + a] = totals[pair];
        }
    }

    // (rows, vectors, W) ← some columns of a matrix (rows, row) in memory, or zeros if it is null
    template <int VECTORS>
    void read_state(S* to, const S* from, int64_t rows, int64_t row, const Columns<S>& columns) const {
        for (int64_t i = 0; i < rows; ++i)
            for (int v = 0; v < VECTORS; ++v)
                store<S>(to + (i * VECTORS + v) * W, from ? columns.load(from + i * row, v) : V{});
    }
    template <int VECTORS>
    void write_state(S* to, const S* from, int64_t rows, int64_t row, const Columns<S>& columns) const {
        for (int64_t i = 0; i < rows; ++i)
            for (int v = 0; v < VECTORS; ++v) columns.store(to + i * row, v, load<S>(from + (i * VECTORS + v) * W));
    }
    // As read_state, from the transpose, (columns, rows)
    template <int VECTORS>
    void read_transposed(S* to, const S* from, int64_t rows, const Columns<S>& columns) const {
        for (int64_t i0 = 0; i0 < rows; i0 += W) {
            const int n = rows - i0 < W ? int(rows - i0) : W;
            for (int v = 0; v < VECTORS; ++v) {
                V lines[W];
                for (int i = 0; i < W; ++i) {
                    const bool exists = from && i < columns.lanes(v);
                    lines[i] = exists ? load_columns<S>(from + (columns.first + v * W + i) * rows + i0, n) : V{};
                }
                transpose<S>(lines);
                for (int i = 0; i < n; ++i) store<S>(to + ((i0 + i) * VECTORS + v) * W, lines[i]);
            }
        }
    }
};

template <class S>
class ForwardMemory : MemoryPass<S> {
    using Base = MemoryPass<S>;
    using V = Vec<S>;
    using Base::memory, Base::shape, Base::W, Base::STEPS, Base::PANEL, Base::CHUNK, Base::SCORES;

   public:
    explicit ForwardMemory(const xrnn::MemoryForward<S>& f) : Base(f.memory), f(f) {}

    int64_t scratch() const { return this->shared_scratch() + memory.K * PANEL; }

    void thread(int id, int n, S* scratch, xrnn::Stop& stop) {
        const FlushDenormals flushed;
        StopPoll poll(stop, id);
        state = this->take_scratch(scratch);
        const int64_t panels = shape.panels(memory.V), tasks = memory.N * memory.H * panels;
        for (int64_t task = share(tasks, id, n); task < share(tasks, id + 1, n); ++task) {
            const Columns<S> columns(task % panels, memory.V);
            const int64_t row = task / panels / memory.H, h = task / panels % memory.H;
            this->read_decays(row, h);
            this->read_scores(row, h / shape.heads);
            if (!(columns.count > W ? run<Base::VECTORS>(columns, row, h, poll) : run<1>(columns, row, h, poll)))
                return;
        }
    }

   private:
    const xrnn::MemoryForward<S>& f;
    S* state;  // (K, vectors, W)

    template <int VECTORS>
    bool run(const Columns<S>& columns, int64_t n, int64_t h, StopPoll& poll) const {
        const int64_t K = memory.K, width = memory.V, end = shape.end_of(n), at = this->state_at(n, h);
        const int64_t step = memory.N * memory.H * width;
        S* const y = f.y + (n * memory.H + h) * width;
        this->template read_state<VECTORS>(state, memory.initial ? memory.initial + at : nullptr, K, width, columns);
        for (int64_t t0 = 0, chunk = 0; t0 < memory.T; t0 += CHUNK, ++chunk) {
            if (poll.stops(CHUNK * K * VECTORS * W * 3)) return false;
            if (f.saved) {
                S* const saved = f.saved + chunk * memory.N * memory.H * K * width + at;
                this->template write_state<VECTORS>(saved, state, K, width, columns);
            }
            const int64_t last = t0 + CHUNK < end ? t0 + CHUNK : end;
            for (int64_t t = t0; t < last; t += STEPS) {
                if (last - t == 1)
                    block<1, VECTORS>(columns, n, h, t, last, y, step);
                else
                    block<STEPS, VECTORS>(columns, n, h, t, last, y, step);
            }
        }
        for (int64_t t = end; t < memory.T; ++t)
            for (int v = 0; v < VECTORS; ++v) columns.store(y + t * step, v, V{});
        this->template write_state<VECTORS>(f.last + at, state, K, width, columns);
        return true;
    }

    template <int M, int VECTORS>
    void block(const Columns<S>& columns, int64_t n, int64_t h, int64_t t, int64_t end, S* y, int64_t step) const {
        const int64_t group = h / shape.heads;
        MemoryBlock<S, M, VECTORS, false> steps(this->track(memory.k, n, group), this->track(memory.v, n, h),
                                                this->track(memory.q, n, group), t, this->decays + t,
                                                this->scores + t / STEPS * SCORES);
        steps.run(columns, memory.K, state, state);
        for (int j = 0; j < M && t + j < end; ++j)
            for (int v = 0; v < VECTORS; ++v) columns.store(y + (t + j) * step, v, steps.result(columns, j, v));
    }
};

template <class S>
class BackwardMemory : MemoryPass<S> {
    using Base = MemoryPass<S>;
    using Shape = MemoryShape<S>;
    using V = Vec<S>;
    using Base::memory, Base::shape, Base::W, Base::STEPS, Base::PANEL, Base::CHUNK, Base::SCORES;

   public:
    explicit BackwardMemory(const xrnn::MemoryBackward<S>& f) : Base(f.memory), f(f) {}

    int64_t scratch() const {
        const int64_t rows = memory.K > memory.V ? memory.K : memory.V;
        return this->shared_scratch() + Shape::BLOCKS * SCORES + CHUNK * W + rows * PANEL +
               (Shape::BLOCKS + 1) * memory.V * PANEL;
    }
    // dlog_decay of each panel of keys, (panels, T, N, H); none if there is one panel.
    int64_t part() const { return memory.T * memory.N * memory.H; }
    int64_t parts_size() const { return key_panels() > 1 ? key_panels() * part() : 0; }
    S* parts;

    void thread(int id, int n, S* scratch, xrnn::Stop& stop) {
        const FlushDenormals flushed;
        StopPoll poll(stop, id);
        gradient = this->take_scratch(scratch);
        states = gradient + (memory.K > memory.V ? memory.K : memory.V) * PANEL;
        value_scores = states + (Shape::BLOCKS + 1) * memory.V * PANEL;
        decay_sums = value_scores + Shape::BLOCKS * SCORES;
        const int64_t panels = key_panels();
        for (int64_t task = first_task(id, n); task < first_task(id + 1, n); ++task)
            if (task < key_tasks()) {
                const Columns<S> columns(task % panels, memory.K);
                const int64_t row = task / panels / memory.groups, group = task / panels % memory.groups;
                if (!(columns.count > W ? keys<Base::VECTORS>(columns, task % panels, row, group, poll)
                                        : keys<1>(columns, task % panels, row, group, poll)))
                    return;
            } else {
                const int64_t panels = shape.panels(memory.V), i = task - key_tasks();
                const Columns<S> columns(i % panels, memory.V);
                const int64_t row = i / panels / memory.H, h = i / panels % memory.H;
                this->read_decays(row, h);
                this->read_scores(row, h / shape.heads);
                if (!(columns.count > W ? values<Base::VECTORS>(columns, row, h, poll)
                                        : values<1>(columns, row, h, poll)))
                    return;
            }
    }

    // Adds the parts of dlog_decay, after all threads have returned from `thread`.
    void add_parts(int id, int n) const {
        const FlushDenormals flushed;
        for (int64_t i = share(part(), id, n); i < share(part(), id + 1, n); ++i) {
            S sum = parts[i];
            for (int64_t panel = 1; panel < key_panels(); ++panel) sum += parts[panel * part() + i];
            f.dlog_decay[i] = sum;
        }
    }

   private:
    const xrnn::MemoryBackward<S>& f;
    S* gradient;      // D (K, vectors, W), or Dᵀ (V, vectors, W)
    S* states;        // (BLOCKS + 1, V, vectors, W): Sᵀ before each block of a chunk, and after the last one
    S* value_scores;  // (BLOCKS, STEPS, STEPS): ⟨dy[b], v[a]⟩
    S* decay_sums;    // (CHUNK, W): first P[b] q[b] ∘ S dy[b], then dlog_decay, each the sum of its lanes

    int64_t key_panels() const { return shape.panels(memory.K); }
    // Tasks of dq, dk and dlog_decay come first, then those of dv.
    int64_t key_tasks() const { return memory.N * memory.groups * key_panels(); }
    int64_t value_tasks() const { return memory.N * memory.H * shape.panels(memory.V); }
    // The first task of a thread, when the tasks are divided by their work.
    int64_t first_task(int id, int n) const {
        const int64_t work_of_keys = 5 * shape.heads * memory.V, work_of_values = 2 * memory.K;
        const int64_t of_keys = key_tasks() * work_of_keys;
        const int64_t begin = share(of_keys + value_tasks() * work_of_values, id, n);
        if (begin <= of_keys) return (begin + work_of_keys - 1) / work_of_keys;
        return key_tasks() + (begin - of_keys + work_of_values - 1) / work_of_values;
    }

    // ---- dq, dk and dlog_decay of a group, for some of its keys ----

    template <int VECTORS>
    bool keys(const Columns<S>& columns, int64_t panel, int64_t n, int64_t group, StopPoll& poll) {
        const int64_t end = shape.end_of(n);
        S* const part = parts_size() ? parts + panel * this->part() : f.dlog_decay;
        for (int64_t t = end; t < memory.T; ++t)
            for (int v = 0; v < VECTORS; ++v) {
                columns.store(f.dq + row_of_keys(t, n, group), v, V{});
                columns.store(f.dk + row_of_keys(t, n, group), v, V{});
            }
        for (int64_t r = 0; r < shape.heads; ++r) {
            const int64_t h = group * shape.heads + r, at = this->state_at(n, h);
            this->read_decays(n, h);
            this->template read_transposed<VECTORS>(gradient, f.dlast ? f.dlast + at : nullptr, memory.V, columns);
            for (int64_t t = end; t < memory.T; ++t) part[(t * memory.N + n) * memory.H + h] = 0;
            for (int64_t chunk = (end + CHUNK - 1) / CHUNK - 1; chunk >= 0; --chunk) {
                if (poll.stops(CHUNK * memory.V * VECTORS * W * 6)) return false;
                const int64_t t0 = chunk * CHUNK, t1 = end - t0 < CHUNK ? end : t0 + CHUNK;
                const Track<S> dy = this->track(f.dy, n, h);
                this->write_scores(value_scores, dy, this->track(memory.v, n, h), memory.V, t0, t1);
                const S* const saved = f.saved + chunk * memory.N * memory.H * memory.K * memory.V + at;
                this->template read_transposed<VECTORS>(states, saved, memory.V, columns);
                for (int64_t t = t0; t < t1; t += STEPS) {
                    if (t1 - t == 1)
                        queries_of_block<1, VECTORS>(columns, n, h, t0, t, t1);
                    else
                        queries_of_block<STEPS, VECTORS>(columns, n, h, t0, t, t1);
                }
                for (int64_t t = t0 + (t1 - t0 - 1) / STEPS * STEPS; t >= t0; t -= STEPS) {
                    if (t1 - t == 1)
                        keys_of_block<1, VECTORS>(columns, n, h, t0, t, t1);
                    else
                        keys_of_block<STEPS, VECTORS>(columns, n, h, t0, t, t1);
                }
                for (int64_t i = 0; i < t1 - t0; i += W) {
                    V rows[W];
                    for (int j = 0; j < W; ++j) rows[j] = i + j < t1 - t0 ? load<S>(decay_sums + (i + j) * W) : V{};
                    const V sums = sums_of_lanes<S>(rows);
                    for (int j = 0; j < W && i + j < t1 - t0; ++j)
                        part[((t0 + i + j) * memory.N + n) * memory.H + h] = sums[j];
                }
            }
        }
        return true;
    }

    int64_t row_of_keys(int64_t t, int64_t n, int64_t group) const {
        return ((t * memory.N + n) * memory.groups + group) * memory.K;
    }
    // Stores the result of a head, or adds it to those of the heads before it in its group.
    XRNN_INLINE void add_head(S* out, const Columns<S>& columns, int v, V result, int64_t h) const {
        columns.store(out, v, h % shape.heads ? columns.load(out, v) + result : result);
    }

    template <int M, int VECTORS>
    void queries_of_block(const Columns<S>& columns, int64_t n, int64_t h, int64_t t0, int64_t t, int64_t end) const {
        const int64_t group = h / shape.heads, block = (t - t0) / STEPS, size = memory.V * VECTORS * W;
        MemoryBlock<S, M, VECTORS, false> steps(this->track(memory.v, n, h), this->track(memory.k, n, group),
                                                this->track(f.dy, n, h), t, this->decays + t,
                                                value_scores + block * SCORES);
        steps.run(columns, memory.V, states + block * size, states + (block + 1) * size);
        for (int j = 0; j < M && t + j < end; ++j) {
            const S* const q = this->track(memory.q, n, group).at(t + j);
            V product = {};
            for (int v = 0; v < VECTORS; ++v) {
                add_head(f.dq + row_of_keys(t + j, n, group), columns, v, steps.result(columns, j, v), h);
                product = multiply_add(columns.load(q, v), steps.sums[j][v], product);
            }
            store<S>(decay_sums + (t - t0 + j) * W, product * steps.reads[j]);
        }
    }

    template <int M, int VECTORS>
    void keys_of_block(const Columns<S>& columns, int64_t n, int64_t h, int64_t t0, int64_t t, int64_t end) const {
        const int64_t group = h / shape.heads, block = (t - t0) / STEPS;
        const Track<S> k = this->track(memory.k, n, group);
        MemoryBlock<S, M, VECTORS, true> steps(this->track(f.dy, n, h), this->track(memory.q, n, group),
                                               this->track(memory.v, n, h), t, this->decays + t,
                                               value_scores + block * SCORES);
        V common;  // the term that all steps of the block share
        const S* const before = states + block * memory.V * VECTORS * W;
        steps.template run<true>(columns, memory.V, gradient, gradient, before, &common);
        common *= S(double(steps.all) * this->decays[t]);
        V of_steps[M];
        for (int j = 0; j < M && t + j < end; ++j) of_steps[j] = load<S>(decay_sums + (t - t0 + j) * W);
        for (int j = 0; j < M && t + j < end; ++j)
            for (int v = 0; v < VECTORS; ++v)
                add_head(f.dk + row_of_keys(t + j, n, group), columns, v, steps.result(columns, j, v), h);
        for (int i = 0; i < M && t + i < end; ++i) {
            V sum = common;
            for (int b = i; b < M && t + b < end; ++b) sum += of_steps[b];
            for (int a = 0; a < i; ++a) {
                V product = {};
                for (int v = 0; v < VECTORS; ++v)
                    product = multiply_add(columns.load(k.at(t + a), v), steps.sums[a][v], product);
                sum = multiply_add(product, broadcast<S>(steps.reads[a]), sum);
                for (int b = i; b < M; ++b) {
                    V score = {};
                    for (int v = 0; v < VECTORS; ++v)
                        score = multiply_add(columns.load(k.at(t + a), v), columns.load(steps.values[b], v), score);
                    sum = multiply_add(score, broadcast<S>(steps.weights[b][a]), sum);
                }
            }
            store<S>(decay_sums + (t - t0 + i) * W, sum);
        }
    }

    // ---- dv and dinitial of a head, for some of its values ----

    template <int VECTORS>
    bool values(const Columns<S>& columns, int64_t n, int64_t h, StopPoll& poll) const {
        const int64_t K = memory.K, width = memory.V, end = shape.end_of(n), at = this->state_at(n, h);
        const int64_t step = memory.N * memory.H * width;
        S* const dv = f.dv + (n * memory.H + h) * width;
        this->template read_state<VECTORS>(gradient, f.dlast ? f.dlast + at : nullptr, K, width, columns);
        for (int64_t t = end; t < memory.T; ++t)
            for (int v = 0; v < VECTORS; ++v) columns.store(dv + t * step, v, V{});
        for (int64_t t = (end - 1) / STEPS * STEPS; t >= 0 && t < end; t -= STEPS) {
            if (poll.stops(STEPS * K * VECTORS * W * 3)) return false;
            if (end - t == 1)
                values_of_block<1, VECTORS>(columns, n, h, t, end, dv, step);
            else
                values_of_block<STEPS, VECTORS>(columns, n, h, t, end, dv, step);
        }
        if (!f.dinitial) return true;
        const V decay = broadcast<S>(S(this->decays[0]));
        for (int64_t i = 0; i < K * VECTORS * W; i += W) store<S>(gradient + i, load<S>(gradient + i) * decay);
        this->template write_state<VECTORS>(f.dinitial + at, gradient, K, width, columns);
        return true;
    }

    template <int M, int VECTORS>
    void values_of_block(const Columns<S>& columns, int64_t n, int64_t h, int64_t t, int64_t end, S* dv,
                         int64_t step) const {
        const int64_t group = h / shape.heads;
        MemoryBlock<S, M, VECTORS, true> steps(this->track(memory.q, n, group), this->track(f.dy, n, h),
                                               this->track(memory.k, n, group), t, this->decays + t,
                                               this->scores + t / STEPS * SCORES);
        steps.run(columns, memory.K, gradient, gradient);
        for (int j = 0; j < M && t + j < end; ++j)
            for (int v = 0; v < VECTORS; ++v) columns.store(dv + (t + j) * step, v, steps.result(columns, j, v));
    }
};

template <class S>
bool matrix_memory(const xrnn::MemoryForward<S>& f, int threads) {
    return run_tasks<S>(ForwardMemory<S>(f), threads);
}

template <class S>
bool matrix_memory_gradients(const xrnn::MemoryBackward<S>& f, int threads) {
    return run_tasks<S>(BackwardMemory<S>(f), threads);
}

}  // namespace

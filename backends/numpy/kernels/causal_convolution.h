// The causal convolution of each channel by itself, with silu after it, forward and backward.
//
//   a[t] = bias + Σ_j weight[:, j] x[t - W + 1 + j]        y = silu(a), or a
//
// Lanes are channels. A task is a row of the batch and a panel of channels, for all steps. It reads the W rows of x of
// a step from memory: they are in the nearest cache, and silu takes longer than these loads. The backward pass computes
// a and da of a chunk of steps, from the last chunk to the first, and then dx of these steps, which needs da of W - 1
// steps after the chunk.
#pragma once

#include "selective_scan.h"

namespace {

template <class S>
class Convolution {
   public:
    using V = Vec<S>;
    static constexpr int LANES = Simd<S>::LANES, VECTORS = 4;
    static constexpr int64_t PANEL = VECTORS * LANES, CHUNK = 32;

    explicit Convolution(const xrnn::CausalConvolution<S>& c) : c(c), panels((c.D + PANEL - 1) / PANEL) {}

   protected:
    const xrnn::CausalConvolution<S>& c;
    const int64_t panels;
    S* taps;  // (VECTORS, W, LANES)

    int64_t taps_size() const { return PANEL * c.W; }
    int vectors(int64_t panel) const {
        const int64_t left = c.D - panel * PANEL;
        return left >= PANEL ? VECTORS : int((left + LANES - 1) / LANES);
    }
    int lanes(int64_t d) const { return c.D - d < LANES ? int(c.D - d) : LANES; }
    int64_t end_of(int64_t n) const {
        if (!c.lengths) return c.T;
        return c.lengths[n] < 0 ? 0 : c.lengths[n] > c.T ? c.T : c.lengths[n];
    }

    void read_taps(int64_t panel) const {
        for (int v = 0; v < vectors(panel); ++v)
            for (int64_t j = 0; j < c.W; ++j)
                for (int i = 0; i < LANES; ++i) {
                    const int64_t d = panel * PANEL + v * LANES + i;
                    taps[(v * c.W + j) * LANES + i] = d < c.D ? c.weight.data[d * c.weight.row + j * c.weight.col] : 0;
                }
    }

    // x of step t ≥ 1 - W
    XRNN_INLINE V x(int64_t t, int64_t n, int64_t d, int lanes) const {
        if (t >= 0) return load_channels(c.x, t, n, d, lanes);
        return c.initial.data ? load_channels(c.initial, t + c.W - 1, n, d, lanes) : V{};
    }

    // a of step t for vector v of a panel, whose first channel is d.
    XRNN_INLINE V sum(int64_t t, int64_t n, int v, int64_t d, int lanes) const {
        V a = c.bias ? load_columns<S>(c.bias + d, lanes) : V{};
        const S* const taps = this->taps + v * c.W * LANES;
        for (int64_t j = 0; j < c.W; ++j)
            a = multiply_add(load<S>(taps + j * LANES), x(t - c.W + 1 + j, n, d, lanes), a);
        return a;
    }

    int64_t work() const { return CHUNK * PANEL * (c.W + 24); }
};

template <class S>
class ForwardConvolution : Convolution<S> {
    using Base = Convolution<S>;
    using V = typename Base::V;
    using Base::c, Base::CHUNK, Base::LANES, Base::PANEL;

   public:
    explicit ForwardConvolution(const xrnn::ConvolutionForward<S>& f) : Base(f.convolution), f(f) {}

    int64_t scratch() const { return this->taps_size(); }

    void thread(int id, int n, S* memory, xrnn::Stop& stop) {
        const FlushDenormals flushed;
        StopPoll poll(stop, id);
        this->taps = memory;
        int64_t panel_read = -1;
        const int64_t tasks = c.N * this->panels;
        for (int64_t task = share(tasks, id, n); task < share(tasks, id + 1, n); ++task) {
            const int64_t panel = task / c.N;
            if (panel != panel_read) this->read_taps(panel);
            panel_read = panel;
            if (!run(panel, task % c.N, poll)) return;
        }
    }

   private:
    const xrnn::ConvolutionForward<S>& f;

    bool run(int64_t panel, int64_t n, StopPoll& poll) const {
        const int64_t end = this->end_of(n);
        for (int64_t t0 = 0; t0 < c.T; t0 += CHUNK) {
            if (poll.stops(this->work())) return false;
            for (int v = 0; v < this->vectors(panel); ++v) {
                const int64_t d = panel * PANEL + v * LANES;
                const int lanes = this->lanes(d);
                for (int64_t t = t0; t < t0 + CHUNK && t < c.T; ++t) {
                    V y = {};
                    if (t < end) {
                        y = this->sum(t, n, v, d, lanes);
                        if (c.silu) y *= Logistic<S>(y).sigmoid();
                    }
                    store_columns<S>(f.y + (t * c.N + n) * c.D + d, y, lanes);
                }
            }
        }
        for (int v = 0; v < this->vectors(panel); ++v)
            for (int64_t j = 0; j < c.W - 1; ++j) {
                const int64_t d = panel * PANEL + v * LANES;
                const int lanes = this->lanes(d);
                store_columns<S>(f.last + (j * c.N + n) * c.D + d, this->x(end - c.W + 1 + j, n, d, lanes), lanes);
            }
        return true;
    }
};

template <class S>
class BackwardConvolution : Convolution<S> {
    using Base = Convolution<S>;
    using V = typename Base::V;
    using Base::c, Base::CHUNK, Base::LANES, Base::PANEL;

   public:
    explicit BackwardConvolution(const xrnn::ConvolutionBackward<S>& f) : Base(f.convolution), f(f) {}

    int64_t scratch() const { return this->taps_size() + (CHUNK + c.W - 1) * PANEL; }
    // Of a row of the batch and a panel: dweight (VECTORS, W, LANES), dbias (VECTORS, LANES)
    int64_t part() const { return PANEL * (c.W + 1); }
    int64_t parts_size() const { return c.N * this->panels * part(); }

    void thread(int id, int n, S* memory, xrnn::Stop& stop) {
        const FlushDenormals flushed;
        StopPoll poll(stop, id);
        this->taps = memory, da = memory + this->taps_size();
        const int64_t tasks = c.N * this->panels;
        for (int64_t task = share(tasks, id, n); task < share(tasks, id + 1, n); ++task) {
            this->read_taps(task / c.N);
            if (!run(task / c.N, task % c.N, poll)) return;
        }
    }

    // Adds the parts of the rows, after all threads have returned from `thread`.
    void add_parts(int id, int n) const {
        const FlushDenormals flushed;
        for (int64_t panel = share(this->panels, id, n); panel < share(this->panels, id + 1, n); ++panel) {
            S* const total = parts + panel * part();
            for (int64_t row = 1; row < c.N; ++row)
                for (int64_t i = 0; i < part(); i += LANES) {
                    const S* const other = parts + (row * this->panels + panel) * part();
                    store<S>(total + i, load<S>(total + i) + load<S>(other + i));
                }
            for (int64_t i = 0; i < PANEL && panel * PANEL + i < c.D; ++i) {
                const int64_t d = panel * PANEL + i, v = i / LANES, lane = i % LANES;
                for (int64_t j = 0; j < c.W; ++j) f.dweight[d * c.W + j] = total[(v * c.W + j) * LANES + lane];
                if (f.dbias) f.dbias[d] = total[PANEL * c.W + i];
            }
        }
    }

    S* parts;  // (N, panels, part())

   private:
    const xrnn::ConvolutionBackward<S>& f;
    S* da;  // (VECTORS, CHUNK + W - 1, LANES)

    bool run(int64_t panel, int64_t n, StopPoll& poll) {
        const int64_t end = this->end_of(n), rows = CHUNK + c.W - 1;
        S* const dweight = parts + (n * this->panels + panel) * part();
        S* const dbias = dweight + PANEL * c.W;
        for (int64_t i = 0; i < part(); i += LANES) store<S>(dweight + i, V{});
        for (int64_t i = 0; i < rows * PANEL; i += LANES) store<S>(da + i, V{});
        for (int64_t t0 = (c.T - 1) / CHUNK * CHUNK; t0 >= 0; t0 -= CHUNK) {
            if (poll.stops(3 * this->work())) return false;
            for (int v = 0; v < this->vectors(panel); ++v)
                chunk(panel, n, v, t0, end, da + v * rows * LANES, dweight + v * c.W * LANES, dbias + v * LANES);
        }
        for (int v = 0; f.dinitial && v < this->vectors(panel); ++v)
            for (int64_t t = 1 - c.W; t < 0; ++t) {
                const int64_t d = panel * PANEL + v * LANES;
                const int lanes = this->lanes(d);
                const V dx = gradient(t, n, v, d, lanes, end, da + v * rows * LANES, 0);
                store_columns<S>(f.dinitial + ((t + c.W - 1) * c.N + n) * c.D + d, dx, lanes);
            }
        return true;
    }

    // da (CHUNK + W - 1, LANES) holds da of the steps from t0 + CHUNK on, in its first rows.
    void chunk(int64_t panel, int64_t n, int v, int64_t t0, int64_t end, S* da, S* dweight, S* dbias) const {
        const int64_t d = panel * PANEL + v * LANES;
        const int lanes = this->lanes(d);
        for (int64_t j = c.W - 2; j >= 0; --j) store<S>(da + (CHUNK + j) * LANES, load<S>(da + j * LANES));
        for (int64_t i = 0; i < CHUNK; ++i) {
            V g = {};
            if (const int64_t t = t0 + i; t < end && f.dy.data) {
                g = load_channels(f.dy, t, n, d, lanes);
                if (c.silu) {
                    const V a = this->sum(t, n, v, d, lanes), s = Logistic<S>(a).sigmoid();
                    g *= multiply_add(a * s, 1 - s, s);
                }
                store<S>(dbias, load<S>(dbias) + g);
                for (int64_t j = 0; j < c.W; ++j)
                    store<S>(dweight + j * LANES, multiply_add(g, this->x(t - c.W + 1 + j, n, d, lanes),
                                                               load<S>(dweight + j * LANES)));
            }
            store<S>(da + i * LANES, g);
        }
        for (int64_t t = t0; t < t0 + CHUNK && t < c.T; ++t) {
            const V dx = t < end ? gradient(t, n, v, d, lanes, end, da, t0) : V{};
            store_columns<S>(f.dx + (t * c.N + n) * c.D + d, dx, lanes);
        }
    }

    // dx of step t ≥ 1 - W. da holds da of the steps from t0 on.
    XRNN_INLINE V gradient(int64_t t, int64_t n, int v, int64_t d, int lanes, int64_t end, const S* da,
                           int64_t t0) const {
        const S* const taps = this->taps + v * c.W * LANES;
        V dx = {};
        for (int64_t j = 0; j < c.W; ++j) {
            const int64_t after = t + c.W - 1 - j;
            if (after >= 0) dx = multiply_add(load<S>(taps + j * LANES), load<S>(da + (after - t0) * LANES), dx);
        }
        const int64_t place = t - (end - c.W + 1);  // in `last`
        if (f.dlast.data && place >= 0) dx += load_channels(f.dlast, place, n, d, lanes);
        return dx;
    }
};

template <class S>
bool causal_convolution(const xrnn::ConvolutionForward<S>& f, int threads) {
    return run_tasks<S>(ForwardConvolution<S>(f), threads);
}

template <class S>
bool causal_convolution_gradients(const xrnn::ConvolutionBackward<S>& f, int threads) {
    return run_tasks<S>(BackwardConvolution<S>(f), threads);
}

}  // namespace

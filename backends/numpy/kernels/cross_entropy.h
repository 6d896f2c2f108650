// Softmax cross-entropy: loss = -weight · log p[target], dlogits = (p - onehot(target)) · weight, p = softmax(logits).
//
// Threads divide the rows. A row takes three passes: its maximum, its exponentials and their sum, and the scaling of
// the exponentials. Only the first one reads from memory; then the row is in the nearest cache.
#pragma once

#include "share.h"

namespace {

template <class S>
struct CrossEntropyPass {
    static constexpr int64_t EXPONENTIAL = 16;  // the multiply-adds that take about the time of one

    const xrnn::CrossEntropy<S>& f;
    xrnn::Stop stop;

    void thread(int id, int n) {
        StopPoll poll(stop, id);
        for (int64_t r = share(f.rows, id, n); r < share(f.rows, id + 1, n) && !poll.stops(f.C * EXPONENTIAL); ++r)
            f.losses[r] = row(f.logits + r * f.C, f.targets[r], f.weights[r], f.dlogits + r * f.C);
    }

   private:
    S row(const S* z, int64_t target, S weight, S* dz) const {
        constexpr int W = Simd<S>::LANES;
        const S highest = maximum(z);
        const S total = exponentials(z, highest, dz), scale = weight / total;
        const S loss = weight * S(highest - z[target] + __builtin_log(double(total)));
        int64_t c = 0;
        for (; c + W <= f.C; c += W) store<S>(dz + c, load<S>(dz + c) * scale);
        for (; c < f.C; ++c) dz[c] *= scale;
        dz[target] -= weight;
        return loss;
    }

    // dz = exp(z - highest) → the sum of dz. A long row is summed in several chains, as in a tile.
    S exponentials(const S* z, S highest, S* dz) const {
        constexpr int W = Simd<S>::LANES;
        Vec<S> sums = {}, chain = {};
        int64_t c = 0;
        for (int64_t room = CHAIN; c + W <= f.C; c += W, --room) {
            if (room == 0) {
                sums += chain;
                chain = Vec<S>{};
                room = CHAIN;
            }
            const Vec<S> e = exp_negative<S>(load<S>(z + c) - highest);
            store<S>(dz + c, e);
            chain += e;
        }
        sums += chain;
        if (const int rest = int(f.C - c)) {
            store_part<S>(dz + c, exp_negative<S>(load_part<S>(z + c, rest) - highest), rest);
            // Loaded again, with zeros past the end of the row: the other lanes do not belong to the sum.
            sums += load_part<S>(dz + c, rest);
        }
        S total = 0;
        for (int i = 0; i < W; ++i) total += sums[i];
        return total;
    }

    S maximum(const S* z) const {
        constexpr int W = Simd<S>::LANES;
        S highest = z[0];
        int64_t c = 0;
        if (f.C >= W) {
            Vec<S> v = load<S>(z);
            for (c = W; c + W <= f.C; c += W) {
                const Vec<S> next = load<S>(z + c);
                v = next > v ? next : v;
            }
            highest = v[0];
            for (int i = 1; i < W; ++i) highest = v[i] > highest ? v[i] : highest;
        }
        for (; c < f.C; ++c) highest = z[c] > highest ? z[c] : highest;
        return highest;
    }
};

template <class S>
void cross_entropy(const xrnn::CrossEntropy<S>& f, int threads) {
    CrossEntropyPass<S> pass = {f, {}};
    xrnn::parallel(
        threads, [](int id, int n, void* p) { static_cast<CrossEntropyPass<S>*>(p)->thread(id, n); }, &pass);
}

}  // namespace

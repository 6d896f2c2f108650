// The CPU kernels without Python, for the sanitizers: every level of this CPU, every partition and thread count, over
// sizes that are no multiple of anything, against a loop in double precision.
//
// Built by .ci/sanitize. Each array is a heap block of exactly its size, so that AddressSanitizer sees a read or a
// write beside it; every output starts as NaN, so that what was not written shows.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <tuple>
#include <vector>

#include "kernels.h"

using namespace xrnn;

namespace {

template <class S>
using Array = std::vector<S>;

template <class S>
Array<S> random(std::mt19937& rng, size_t size, double scale) {
    std::normal_distribution<double> normal(0, scale);
    Array<S> values(size);
    for (S& value : values) value = static_cast<S>(normal(rng));
    return values;
}

template <class S>
Array<S> poisoned(size_t size) {
    return Array<S>(size, std::numeric_limits<S>::quiet_NaN());
}

// rows × columns → columns × rows.
template <class S>
Array<S> transposed(const Array<S>& values, int64_t rows, int64_t columns) {
    Array<S> result(values.size());
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j) result[j * rows + i] = values[i * columns + j];
    return result;
}

template <class S>
Array<S> concatenated(Array<S> a, const Array<S>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

struct Sizes {
    int64_t T, N, D, H;
};

int failures = 0;

template <class S>
void compare(const char* what, const char* where, const Array<S>& got, const Array<double>& want) {
    double scale = 1, worst = 0;
    for (double value : want) scale = std::fmax(scale, std::fabs(value));
    for (size_t i = 0; i < want.size(); ++i) {
        const double error = std::fabs(double(got[i]) - want[i]);
        if (!(error <= worst)) worst = error;  // NaN too
        if (std::isnan(worst)) break;
    }
    if (worst <= (sizeof(S) == 4 ? 2e-5 : 1e-12) * scale) return;
    std::printf("%s: %s is off by %g\n", where, what, worst);
    ++failures;
}

// One problem, with its right answers.
template <class S>
struct Problem {
    Sizes s;
    bool relu;
    Array<S> x, Wx, Wh, b, h_prev, dh;
    Array<double> hs, dh_prev, dWx, dWh, db, dx;

    Problem(Sizes s, bool relu, std::mt19937& rng)
        : s(s),
          relu(relu),
          x(random<S>(rng, s.T * s.N * s.D, 1)),
          Wx(random<S>(rng, s.D * s.H, 1 / std::sqrt(s.D + 1.0))),
          Wh(random<S>(rng, s.H * s.H, 0.5 / std::sqrt(s.H + 1.0))),
          b(random<S>(rng, s.H, 1)),
          h_prev(random<S>(rng, s.N * s.H, 1)),
          dh(random<S>(rng, s.T * s.N * s.H, 1)) {
        const auto [T, N, D, H] = s;
        Array<double> dz(T * N * H);
        hs.assign((T + 1) * N * H, 0), dh_prev.assign(N * H, 0);
        dWx.assign(D * H, 0), dWh.assign(H * H, 0), db.assign(H, 0), dx.assign(T * N * D, 0);
        for (int64_t i = 0; i < N * H; ++i) hs[i] = h_prev[i];
        for (int64_t t = 0; t < T; ++t)
            for (int64_t n = 0; n < N; ++n)
                for (int64_t j = 0; j < H; ++j) {
                    double z = b[j];
                    for (int64_t k = 0; k < D; ++k) z += double(x[(t * N + n) * D + k]) * Wx[k * H + j];
                    for (int64_t k = 0; k < H; ++k) z += hs[(t * N + n) * H + k] * Wh[k * H + j];
                    hs[((t + 1) * N + n) * H + j] = relu ? std::fmax(z, 0) : std::tanh(z);
                }
        for (int64_t t = T - 1; t >= -1; --t)
            for (int64_t n = 0; n < N; ++n)
                for (int64_t j = 0; j < H; ++j) {
                    double sum = t < 0 ? 0 : double(dh[(t * N + n) * H + j]);
                    for (int64_t k = 0; k < H && t + 1 < T; ++k) sum += dz[((t + 1) * N + n) * H + k] * Wh[j * H + k];
                    const double y = hs[((t + 1) * N + n) * H + j];
                    if (t < 0)
                        dh_prev[n * H + j] = sum;
                    else
                        dz[(t * N + n) * H + j] = relu ? (y > 0 ? sum : 0) : sum * (1 - y * y);
                }
        for (int64_t i = 0; i < T * N; ++i)
            for (int64_t j = 0; j < H; ++j) {
                const double d = dz[i * H + j];
                db[j] += d;
                for (int64_t k = 0; k < D; ++k) dWx[k * H + j] += x[i * D + k] * d, dx[i * D + k] += d * Wx[k * H + j];
                for (int64_t k = 0; k < H; ++k) dWh[k * H + j] += hs[i * H + k] * d;
            }
    }

    // The weights lie by columns, and b with gaps, or all as usual.
    void check(const Operations<S>& kernels, const char* where, Partition partition, bool by_columns) const {
        const auto [T, N, D, H] = s;
        const Array<S> Wx_columns = transposed(Wx, D, H), Wh_columns = transposed(Wh, H, H), b_gaps = transposed(
            concatenated(b, b), 2, H);
        const Matrix<S> Wx_in = by_columns ? Matrix<S>{Wx_columns.data(), 1, D} : Matrix<S>{Wx.data(), H, 1};
        const Matrix<S> Wh_in = by_columns ? Matrix<S>{Wh_columns.data(), 1, H} : Matrix<S>{Wh.data(), H, 1};
        const S* b_in = by_columns ? b_gaps.data() : b.data();
        const int64_t b_stride = by_columns ? 2 : 1;
        Array<S> hs_out = poisoned<S>(hs.size()), dx_out = poisoned<S>(dx.size()),
                 dh_prev_out = poisoned<S>(dh_prev.size()), dWx_out = poisoned<S>(dWx.size()),
                 dWh_out = poisoned<S>(dWh.size()), db_out = poisoned<S>(db.size());
        bool had_memory = kernels.forward({T, N, D, H, x.data(), Wx_in, Wh_in, b_in, b_stride, {h_prev.data(), H, 1},
                                           hs_out.data(), relu},
                                          partition);
        compare("hs", where, hs_out, hs);
        had_memory &= kernels.backward({T, N, D, H, x.data(), hs_out.data(), Wx_in, Wh_in, dh.data(), N * H, H,
                                        dWx_out.data(), dWh_out.data(), db_out.data(), dx_out.data(), dh_prev_out.data(), relu},
                                       partition);
        compare("dx", where, dx_out, dx);
        compare("dh_prev", where, dh_prev_out, dh_prev);
        compare("dWx", where, dWx_out, dWx);
        compare("dWh", where, dWh_out, dWh);
        compare("db", where, db_out, db);
        had_memory &= check_affine(kernels, where, partition, Wx_in, b_in, b_stride);
        if (!had_memory) std::printf("%s: no memory\n", where), ++failures;
        check_cross_entropy(kernels, where, partition.threads);
    }

    // y = x @ Wx + b of all steps at once, and its gradients from dh.
    bool check_affine(const Operations<S>& kernels, const char* where, Partition partition, Matrix<S> W_in,
                      const S* b_in, int64_t b_stride) const {
        const auto [T, N, D, H] = s;
        Array<double> y(T * N * H), dW(D * H), dy_sums(H), dx_of_dh(T * N * D);
        for (int64_t i = 0; i < T * N; ++i)
            for (int64_t j = 0; j < H; ++j) {
                const double d = dh[i * H + j];
                y[i * H + j] = b[j];
                dy_sums[j] += d;
                for (int64_t k = 0; k < D; ++k) {
                    y[i * H + j] += double(x[i * D + k]) * Wx[k * H + j];
                    dW[k * H + j] += x[i * D + k] * d;
                    dx_of_dh[i * D + k] += d * Wx[k * H + j];
                }
            }
        Array<S> y_out = poisoned<S>(y.size()), dW_out = poisoned<S>(dW.size()), db_out = poisoned<S>(H),
                 dx_out = poisoned<S>(dx_of_dh.size());
        bool had_memory =
            kernels.affine({T * N, D, H, x.data(), W_in, b_in, b_stride, y_out.data()}, partition);
        compare("y", where, y_out, y);
        had_memory &= kernels.affine_gradients({T * N, D, H, x.data(), W_in, dh.data(), dW_out.data(), db_out.data(),
                                                dx_out.data()},
                                               partition.threads);
        compare("dW", where, dW_out, dW);
        compare("db of y", where, db_out, dy_sums);
        compare("dx of y", where, dx_out, dx_of_dh);
        return had_memory;
    }

    // dh taken as logits, the targets all columns in turn, the weights 1, 2, 3, 1, …
    void check_cross_entropy(const Operations<S>& kernels, const char* where, int threads) const {
        const int64_t rows = s.T * s.N, C = s.H;
        if (C == 0) return;
        Array<double> losses(rows), dlogits(rows * C);
        Array<int64_t> targets(rows);
        Array<S> weights(rows);
        for (int64_t i = 0; i < rows; ++i) {
            targets[i] = i % C, weights[i] = S(1 + i % 3);
            const S* z = &dh[i * C];
            double total = 0;
            for (int64_t j = 0; j < C; ++j) total += std::exp(double(z[j]));
            losses[i] = weights[i] * (std::log(total) - z[targets[i]]);
            for (int64_t j = 0; j < C; ++j)
                dlogits[i * C + j] = weights[i] * (std::exp(double(z[j])) / total - (j == targets[i]));
        }
        Array<S> losses_out = poisoned<S>(rows), dlogits_out = poisoned<S>(rows * C);
        kernels.cross_entropy(
            {rows, C, dh.data(), targets.data(), weights.data(), dlogits_out.data(), losses_out.data()}, threads);
        compare("losses", where, losses_out, losses);
        compare("dlogits", where, dlogits_out, dlogits);
    }
};

template <class S>
void check_all(const char* level, const Operations<S>& kernels, const std::vector<Sizes>& all_sizes, int most_threads) {
    std::mt19937 rng(1);
    for (const Sizes& s : all_sizes) {
        const Problem<S> problem(s, s.T % 2, rng);
        for (int threads = 1; threads <= most_threads; ++threads)
            for (const auto& [name, split, own_first] : {std::tuple("rows", Split::ROWS, false),
                                                         std::tuple("columns", Split::COLUMNS, false),
                                                         std::tuple("columns, own first", Split::COLUMNS, true)})
                for (bool project_first : {false, true}) {
                    char where[160];
                    std::snprintf(where, sizeof where, "%s float%d T%d N%d D%d H%d, %d threads by %s%s", level,
                                  int(8 * sizeof(S)), int(s.T), int(s.N), int(s.D), int(s.H), threads, name,
                                  project_first ? ", x @ Wx first" : "");
                    problem.check(kernels, where, {threads, split, project_first, own_first}, threads % 2);
                }
    }
}

}  // namespace

int main() {
    const std::vector<Sizes> sizes = {{1, 1, 1, 1},   {2, 1, 3, 5},    {3, 4, 2, 33},   {2, 7, 5, 15},  {5, 3, 9, 70},
                                      {4, 13, 1, 17}, {3, 26, 31, 100}, {600, 1, 4, 37}, {2, 3, 66, 130}, {3, 2, 0, 5},
                                      {2, 300, 3, 9}, {0, 2, 3, 4},     {2, 0, 3, 4},   {2, 3, 4, 0}};
    constexpr int MOST_THREADS = 4;
    const auto check_level = [&](const char* name, const Kernels& kernels) {
        check_all(name, kernels.f32, sizes, MOST_THREADS);
        check_all(name, kernels.f64, sizes, MOST_THREADS);
        std::printf("%s: checked\n", name);
    };
    check_level("baseline", kernels_baseline());
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) check_level("avx2", kernels_avx2());
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw"))
        check_level("avx512", kernels_avx512());
#endif
    return failures != 0;
}

// The CPU kernels without Python, for the sanitizers: every level of this CPU, every cell, every partition and thread
// count, over sizes that are no multiple of anything, with lengths, in both directions. Values are compared with a loop
// in double precision, and every division with the first, bit for bit.
//
// Built by .ci/sanitize. Each array is a heap block of exactly its size, so that AddressSanitizer sees a read or a
// write beside it; every output starts as NaN, so that what was not written shows.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <tuple>
#include <vector>

// What a cell calls, for its template of a scalar: the loop in double precision takes the same cells.
namespace {
double multiply_add(double a, double b, double c) { return a * b + c; }
double tanh(double x) { return std::tanh(x); }
}  // namespace

#include "cell.h"
#include "pool.h"

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

// In every bit, the sign of a zero too.
template <class S>
void same_bits(const char* what, const char* where, const Array<S>& got, const Array<S>& want) {
    if (want.empty() || std::memcmp(got.data(), want.data(), want.size() * sizeof(S)) == 0) return;
    std::printf("%s: %s has other bits than with the first division\n", where, what);
    ++failures;
}

template <class S>
using Arrays = std::map<std::string, Array<S>>;  // by name

// How a cell is run.
struct Run {
    bool reverse, ragged;
};

// The kernels of a cell in a level's table.
template <class S, class Cell>
const Recurrence<S>& kernels_of(const Operations<S>& kernels) {
    const Recurrence<S>* r = kernels.recurrences;
    while (r->name && (std::strcmp(r->name, Cell::NAME) != 0 || r->leaks != Cell::LEAKS)) ++r;
    if (r->name) return *r;
    std::printf("%s has no kernels\n", Cell::NAME);
    std::exit(1);
}

// One problem of a cell, with its right answers.
template <class S, template <class> class CellOf>
struct Problem {
    using Cell = CellOf<double>;
    static constexpr int PRE = Cell::PRE, STATES = Cell::STATES;
    static constexpr Gates GATES = gates_of<Cell>();

    Sizes s;
    Run run;
    Array<S> x, Wx, Wh, b, leak;
    Array<S> initial[STATES], dstates[STATES];
    Array<int64_t> lengths;
    Arrays<double> expected;

    Problem(Sizes s, Run run, std::mt19937& rng)
        : s(s),
          run(run),
          x(random<S>(rng, s.T * s.N * s.D, 1)),
          Wx(random<S>(rng, s.D * GATES.x_count * s.H, 1 / std::sqrt(s.D + 1.0))),
          Wh(random<S>(rng, s.H * GATES.h_count * s.H, 0.5 / std::sqrt(s.H + 1.0))),
          b(random<S>(rng, PRE * s.H, 1)),
          leak(s.H, S(0.25)) {
        for (int k = 0; k < STATES; ++k) {
            initial[k] = random<S>(rng, s.N * s.H, 1);
            dstates[k] = random<S>(rng, s.T * s.N * s.H, 1);
        }
        for (int64_t n = 0; n < s.N; ++n) lengths.push_back(run.ragged ? (n * 7 + 3) % (s.T + 1) : s.T);
        for (int64_t n = 0; n < s.N; ++n)  // past a row's end x is never read
            for (int64_t i = lengths[n]; i < s.T; ++i)
                for (int64_t k = 0; k < s.D; ++k) x[(i * s.N + n) * s.D + k] = std::numeric_limits<S>::quiet_NaN();
        expect();
    }

    // By the equations, a row, a step and a unit at a time.
    void expect() {
        const auto [T, N, D, H] = s;
        const int64_t X = GATES.x_count * H, R = GATES.h_count * H;
        Array<double> states[STATES], zs(T * N * H * PRE), &dx = expected["dx"], &dWx = expected["dWx"],
                                      &dWh = expected["dWh"], &db = expected["db"];
        dx.assign(T * N * D, 0), dWx.assign(D * X, 0), dWh.assign(H * R, 0), db.assign(PRE * H, 0);
        const auto at = [N = N, H = H](int64_t t, int64_t n, int64_t j) { return (t * N + n) * H + j; };
        for (int k = 0; k < STATES; ++k) states[k].assign((T + 1) * N * H, 0);
        for (int64_t n = 0; n < N; ++n) {
            Array<double> carry[STATES];
            for (int k = 0; k < STATES; ++k) {
                carry[k].assign(H, 0);
                for (int64_t j = 0; j < H; ++j) states[k][at(run.reverse ? T : 0, n, j)] = initial[k][n * H + j];
            }
            for (int64_t i = 0; i < T; ++i) {
                const int64_t t = run.reverse ? T - 1 - i : i, before = t + run.reverse, after = t + !run.reverse;
                for (int64_t j = 0; j < H; ++j) {
                    double z[PRE], old[STATES], now[STATES];
                    for (int k = 0; k < STATES; ++k) old[k] = now[k] = states[k][at(before, n, j)];
                    for (int g = 0; g < PRE; ++g) {
                        z[g] = b[GATES.b_of[g] * H + j];
                        if (const int c = GATES.x_of[g]; c >= 0 && t < lengths[n])
                            for (int64_t k = 0; k < D; ++k)
                                z[g] += double(x[(t * N + n) * D + k]) * Wx[k * X + c * H + j];
                        if (const int c = GATES.h_of[g]; c >= 0)
                            for (int64_t k = 0; k < H; ++k) z[g] += states[0][at(before, n, k)] * Wh[k * R + c * H + j];
                    }
                    if (t < lengths[n]) Cell::step(z, old, now, leak[j]);
                    for (int g = 0; g < PRE; ++g) zs[at(t, n, j) * PRE + g] = z[g];
                    for (int k = 0; k < STATES; ++k) states[k][at(after, n, j)] = now[k];
                }
            }
            for (int64_t i = T - 1; i >= 0; --i) {
                const int64_t t = run.reverse ? T - 1 - i : i, before = t + run.reverse, after = t + !run.reverse;
                Array<double> dz(PRE * H), direct[STATES];
                for (int k = 0; k < STATES; ++k) {
                    direct[k].assign(H, 0);
                    for (int64_t j = 0; j < H; ++j) carry[k][j] += dstates[k][at(t, n, j)];
                }
                if (t >= lengths[n]) continue;
                for (int64_t j = 0; j < H; ++j) {
                    double dafter[STATES], old[STATES], now[STATES], dz_j[PRE], dbefore[STATES] = {};
                    for (int k = 0; k < STATES; ++k) {
                        dafter[k] = carry[k][j];
                        old[k] = states[k][at(before, n, j)], now[k] = states[k][at(after, n, j)];
                    }
                    Cell::gradient(dafter, old, now, &zs[at(t, n, j) * PRE], leak[j], dz_j, dbefore);
                    for (int g = 0; g < PRE; ++g) dz[g * H + j] = dz_j[g];
                    for (int k = Cell::DIRECT ? 0 : 1; k < STATES; ++k) direct[k][j] = dbefore[k];
                }
                for (int k = 0; k < STATES; ++k) carry[k] = direct[k];
                for (int g = 0; g < PRE; ++g)
                    for (int64_t j = 0; j < H; ++j) {
                        const double d = dz[g * H + j];
                        db[GATES.b_of[g] * H + j] += d;
                        if (const int64_t c = GATES.x_of[g] * H + j; GATES.x_of[g] >= 0)
                            for (int64_t k = 0; k < D; ++k) {
                                dWx[k * X + c] += x[(t * N + n) * D + k] * d;
                                dx[(t * N + n) * D + k] += d * Wx[k * X + c];
                            }
                        if (const int64_t c = GATES.h_of[g] * H + j; GATES.h_of[g] >= 0)
                            for (int64_t k = 0; k < H; ++k) {
                                dWh[k * R + c] += states[0][at(before, n, k)] * d;
                                carry[0][k] += d * Wh[k * R + c];
                            }
                    }
            }
            for (int k = 0; k < STATES; ++k) {
                Array<double>& dinitial = expected["dinitial" + std::to_string(k)];
                dinitial.insert(dinitial.end(), carry[k].begin(), carry[k].end());
            }
        }
        for (int k = 0; k < STATES; ++k) expected["states" + std::to_string(k)] = states[k];
    }

    // The weights lie by columns, and b with gaps, or all as usual.
    Arrays<S> results(const Recurrence<S>& kernels, const char* where, Partition partition, bool by_columns) const {
        const auto [T, N, D, H] = s;
        const int64_t X = GATES.x_count * H, R = GATES.h_count * H;
        const Array<S> Wx_columns = transposed(Wx, D, X), Wh_columns = transposed(Wh, H, R);
        Array<S> b_gaps;
        for (S value : b) b_gaps.push_back(value), b_gaps.push_back(std::numeric_limits<S>::quiet_NaN());
        const Sequence<S> of = {
            .reverse = run.reverse,
            .T = T,
            .N = N,
            .D = D,
            .H = H,
            .x = x.data(),
            .Wx = by_columns ? Matrix<S>{Wx_columns.data(), 1, D} : Matrix<S>{Wx.data(), X, 1},
            .Wh = by_columns ? Matrix<S>{Wh_columns.data(), 1, H} : Matrix<S>{Wh.data(), R, 1},
            .lengths = run.ragged ? lengths.data() : nullptr,
            .leak = Cell::LEAKS ? leak.data() : nullptr,
        };
        Arrays<S> out;
        for (const auto& [name, values] : expected) out[name] = poisoned<S>(values.size());
        Array<S> z = poisoned<S>(Cell::KEEPS_Z ? T * N * PRE * H : 0);
        Forward<S> forward = {.of = of,
                              .b = by_columns ? b_gaps.data() : b.data(),
                              .b_stride = by_columns ? 2 : 1,
                              .initial = {},
                              .states = {},
                              .z = Cell::KEEPS_Z ? z.data() : nullptr};
        Backward<S> backward = {.of = of,
                                .states = {},
                                .z = z.data(),
                                .dstates = {},
                                .dWx = {out["dWx"].data(), false},
                                .dWh = {out["dWh"].data(), false},
                                .db = out["db"].data(),
                                .dx = out["dx"].data(),
                                .dinitial = {}};
        for (int k = 0; k < STATES; ++k) {
            forward.initial[k] = {initial[k].data(), H, 1};
            forward.states[k] = out["states" + std::to_string(k)].data();
            backward.states[k] = forward.states[k];
            backward.dstates[k] = {dstates[k].data(), N * H, H};
            backward.dinitial[k] = out["dinitial" + std::to_string(k)].data();
        }
        if (!kernels.forward(forward, partition) || !kernels.backward(backward, partition))
            std::printf("%s: no memory\n", where), ++failures;
        return out;
    }

    void check(const Recurrence<S>& kernels, const char* where, Partition partition, bool by_columns,
               Arrays<S>& first) const {
        const Arrays<S> out = results(kernels, where, partition, by_columns);
        for (const auto& [name, values] : expected) compare(name.c_str(), where, out.at(name), values);
        if (first.empty()) first = out;
        for (const auto& [name, values] : first) same_bits(name.c_str(), where, out.at(name), values);
    }
};

// y = x @ W + b, its gradients from dy, and the loss of dy taken as logits.
template <class S>
struct Products {
    int64_t rows, D, C;
    Array<S> x, W, b, dy;
    Array<double> y, dW, db, dx;

    Products(int64_t rows, int64_t D, int64_t C, std::mt19937& rng)
        : rows(rows),
          D(D),
          C(C),
          x(random<S>(rng, rows * D, 1)),
          W(random<S>(rng, D * C, 1 / std::sqrt(D + 1.0))),
          b(random<S>(rng, C, 1)),
          dy(random<S>(rng, rows * C, 1)),
          y(rows * C),
          dW(D * C),
          db(C),
          dx(rows * D) {
        for (int64_t i = 0; i < rows; ++i)
            for (int64_t j = 0; j < C; ++j) {
                const double d = dy[i * C + j];
                y[i * C + j] = b[j];
                db[j] += d;
                for (int64_t k = 0; k < D; ++k) {
                    y[i * C + j] += double(x[i * D + k]) * W[k * C + j];
                    dW[k * C + j] += x[i * D + k] * d;
                    dx[i * D + k] += d * W[k * C + j];
                }
            }
    }

    void check(const Operations<S>& kernels, const char* where, Partition partition, bool by_columns,
               Arrays<S>& first) const {
        const Array<S> W_columns = transposed(W, D, C);
        const Matrix<S> W_in = by_columns ? Matrix<S>{W_columns.data(), 1, D} : Matrix<S>{W.data(), C, 1};
        Arrays<S> out = {{"y", poisoned<S>(y.size())}, {"dW", poisoned<S>(dW.size())}, {"db", poisoned<S>(C)},
                         {"dx of y", poisoned<S>(dx.size())}};
        const bool had_memory =
            kernels.affine({.rows = rows, .D = D, .C = C, .x = x.data(), .W = W_in, .b = b.data(), .b_stride = 1,
                            .y = out["y"].data()},
                           partition) &&
            kernels.affine_gradients({.rows = rows, .D = D, .C = C, .x = x.data(), .W = W_in, .dy = dy.data(),
                                      .dW = out["dW"].data(), .db = out["db"].data(), .dx = out["dx of y"].data()},
                                     partition.threads);
        if (!had_memory) std::printf("%s: no memory\n", where), ++failures;
        compare("y", where, out["y"], y);
        compare("dW", where, out["dW"], dW);
        compare("db of y", where, out["db"], db);
        compare("dx of y", where, out["dx of y"], dx);
        if (C > 0) check_cross_entropy(kernels, where, partition.threads, out);
        if (first.empty()) first = out;
        for (const auto& [name, values] : first) same_bits(name.c_str(), where, out.at(name), values);
    }

    // The targets are all columns in turn, the weights 1, 2, 3, 1, …
    void check_cross_entropy(const Operations<S>& kernels, const char* where, int threads, Arrays<S>& out) const {
        Array<double> losses(rows), dlogits(rows * C);
        Array<int64_t> targets(rows);
        Array<S> weights(rows);
        for (int64_t i = 0; i < rows; ++i) {
            targets[i] = i % C, weights[i] = S(1 + i % 3);
            const S* z = &dy[i * C];
            double total = 0;
            for (int64_t j = 0; j < C; ++j) total += std::exp(double(z[j]));
            losses[i] = weights[i] * (std::log(total) - z[targets[i]]);
            for (int64_t j = 0; j < C; ++j)
                dlogits[i * C + j] = weights[i] * (std::exp(double(z[j])) / total - (j == targets[i]));
        }
        out["losses"] = poisoned<S>(rows), out["dlogits"] = poisoned<S>(rows * C);
        kernels.cross_entropy({.rows = rows, .C = C, .logits = dy.data(), .targets = targets.data(),
                               .weights = weights.data(), .dlogits = out["dlogits"].data(),
                               .losses = out["losses"].data()},
                              threads);
        compare("losses", where, out["losses"], losses);
        compare("dlogits", where, out["dlogits"], dlogits);
    }
};

// Call check(partition, where) for every kind of division among one thread, two, and `most_threads`. One thread has
// everything, by rows as by columns; x @ Wx comes before or within the loop whichever thread begins with its own.
template <class Check>
void for_every_partition(const char* what, Sizes s, int most_threads, Check check) {
    for (int threads : {1, 2, most_threads})
        for (const auto& [name, split, own_first] :
             {std::tuple("rows", Split::ROWS, false), std::tuple("columns", Split::COLUMNS, false),
              std::tuple("columns, own first", Split::COLUMNS, true)})
            for (bool project_first : {false, true}) {
                if ((threads == 1 && split == Split::COLUMNS) || (project_first && own_first)) continue;
                char where[200];
                std::snprintf(where, sizeof where, "%s T%d N%d D%d H%d, %d threads by %s%s", what, int(s.T), int(s.N),
                              int(s.D), int(s.H), threads, name, project_first ? ", x @ Wx first" : "");
                check(Partition{.threads = threads, .split = split, .project_first = project_first,
                                .own_first = own_first},
                      where);
            }
}

template <class S, template <class> class CellOf>
void check_cell(const char* level, const Operations<S>& all_kernels, Run run, const std::vector<Sizes>& all_sizes,
                int most_threads) {
    using Cell = CellOf<double>;
    const Recurrence<S>& kernels = kernels_of<S, Cell>(all_kernels);
    std::mt19937 rng(1);
    for (const Sizes& s : all_sizes) {
        char what[100];
        std::snprintf(what, sizeof what, "%s float%d %s%s%s%s", level, int(8 * sizeof(S)), Cell::NAME,
                      Cell::LEAKS ? ", leaky" : "", run.ragged ? ", ragged" : "", run.reverse ? ", reverse" : "");
        const Problem<S, CellOf> problem(s, run, rng);
        Arrays<S> first;
        for_every_partition(what, s, most_threads, [&](Partition partition, const char* where) {
            problem.check(kernels, where, partition, partition.threads % 2, first);
        });
    }
}

template <class S>
void check_all(const char* level, const Operations<S>& kernels, const std::vector<Sizes>& all_sizes,
               const std::vector<Sizes>& few_sizes, int most_threads) {
    // Without lengths, forward in time, over all sizes; then every variant over a few, with three threads at most.
    check_cell<S, TanhElman>(level, kernels, {.reverse = false, .ragged = false}, all_sizes, most_threads);
    check_cell<S, Lstm>(level, kernels, {.reverse = false, .ragged = false}, all_sizes, most_threads);
    check_cell<S, Gru>(level, kernels, {.reverse = false, .ragged = false}, all_sizes, most_threads);
    constexpr int FEW_THREADS = 3;
    for (bool ragged : {false, true}) {
        check_cell<S, ReluElman>(level, kernels, {.reverse = true, .ragged = ragged}, few_sizes, FEW_THREADS);
        check_cell<S, TanhElman>(level, kernels, {.reverse = !ragged, .ragged = ragged}, few_sizes, FEW_THREADS);
        check_cell<S, Lstm>(level, kernels, {.reverse = true, .ragged = ragged}, few_sizes, FEW_THREADS);
        check_cell<S, Gru>(level, kernels, {.reverse = !ragged, .ragged = ragged}, few_sizes, FEW_THREADS);
        check_cell<S, LeakyTanhElman>(level, kernels, {.reverse = !ragged, .ragged = ragged}, few_sizes, FEW_THREADS);
        check_cell<S, LeakyReluElman>(level, kernels, {.reverse = false, .ragged = ragged}, few_sizes, FEW_THREADS);
    }
    std::mt19937 rng(1);
    for (const Sizes& s : all_sizes) {
        char what[100];
        std::snprintf(what, sizeof what, "%s float%d products", level, int(8 * sizeof(S)));
        const Products<S> products(s.T * s.N, s.D, s.H, rng);
        Arrays<S> first;
        for_every_partition(what, s, most_threads, [&](Partition partition, const char* where) {
            products.check(kernels, where, partition, partition.threads % 2, first);
        });
    }
}

}  // namespace

int main() {
    insist_on_threads(true);
    const std::vector<Sizes> sizes = {{1, 1, 1, 1},   {2, 1, 3, 5},    {3, 4, 2, 33},    {2, 7, 5, 15},   {5, 3, 9, 70},
                                      {4, 13, 1, 17}, {3, 26, 31, 100}, {300, 1, 4, 37}, {2, 3, 66, 130}, {3, 2, 0, 5},
                                      {2, 300, 3, 9}, {0, 2, 3, 4},     {2, 0, 3, 4},    {2, 3, 4, 0},
                                      // From here on weights in strips: all, all, and all but Wx.
                                      {2, 1, 5, 256}, {1, 2, 70, 264},  {5, 1, 5, 256}};
    const std::vector<Sizes> few_sizes = {{5, 3, 4, 19}, {7, 14, 3, 6}, {90, 4, 2, 9},
                                          {2, 2, 0, 3},  {0, 2, 3, 4},  {2, 0, 3, 4}};
    constexpr int MOST_THREADS = 4;
    const auto check_level = [&](const char* name, const Kernels& kernels) {
        check_all(name, kernels.f32, sizes, few_sizes, MOST_THREADS);
        check_all(name, kernels.f64, sizes, few_sizes, MOST_THREADS);
        std::printf("%s: checked\n", name);
    };
    check_level("baseline", kernels_baseline());
#if defined(__x86_64__) && !defined(XRNN_BASELINE_ONLY)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) check_level("avx2", kernels_avx2());
#ifndef XRNN_WITHOUT_AVX512
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw"))
        check_level("avx512", kernels_avx512());
#endif
#endif
    return failures != 0;
}

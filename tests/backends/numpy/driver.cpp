// The CPU kernels without Python, for the sanitizers: every level of this CPU, every cell, every partition and number of
// threads, over odd sizes, with lengths, in both directions. Values are compared with the float64 solutions in the file of
// problems (driver_file.py), and the bits of a problem's partitions with each other.
//
// A problem takes a third of the partitions, and another third at the next level. So each cell and each level runs every
// partition, though not every problem does.
//
// Every other partition computes the gradients in two passes: one without dx, the other without those of the weights.
//
// Built by .ci/sanitize. Each array is a heap block of its exact size, so that AddressSanitizer detects an access beyond
// it. Every output starts as NaN, so that elements that were not written show.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "driver_file.h"
#include "int8.h"
#include "kernels.h"
#include "threads/openmp.h"
#include "threads/throughput.h"

using namespace xrnn;

namespace {

template <class S>
using Array = std::vector<S>;

template <class S>
using Arrays = std::map<std::string, Array<S>>;  // by name

constexpr double NOT_A_NUMBER = std::numeric_limits<double>::quiet_NaN();

int failures = 0;

template <class S>
Arrays<S> converted(const Numbers& numbers) {
    Arrays<S> arrays;
    for (const auto& [name, values] : numbers) arrays[name] = Array<S>(values.begin(), values.end());
    return arrays;
}

// Arrays of NaN in the shapes of the expected results.
template <class S>
Arrays<S> poisoned(const Numbers& expected) {
    Arrays<S> arrays;
    for (const auto& [name, values] : expected) arrays[name] = Array<S>(values.size(), S(NOT_A_NUMBER));
    return arrays;
}

template <class S>
Array<S> transposed(const Array<S>& values, int64_t rows, int64_t columns) {
    Array<S> result(values.size());
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j) result[j * rows + i] = values[i * columns + j];
    return result;
}

// The tolerances of test_recurrence.py and test_bfloat16.py.
template <class S>
constexpr double TOLERANCE = sizeof(S) == 4 ? 6e-5 : 2e-12;
constexpr double THREE_PRODUCTS_TOLERANCE = 1e-4, BFLOAT16_TOLERANCE = 0.02;

template <class S>
void compare(const char* what, const char* where, const Array<S>& got, const Array<double>& want, double tolerance) {
    double scale = 1, worst = 0;
    for (double value : want) scale = std::fmax(scale, std::fabs(value));
    for (size_t i = 0; i < want.size(); ++i) {
        const double error = std::fabs(double(got[i]) - want[i]);
        if (!(error <= worst)) worst = error;  // NaN too
        if (std::isnan(worst)) break;
    }
    if (worst <= tolerance * scale) return;
    std::printf("%s: %s is off by %g\n", where, what, worst);
    ++failures;
}

// Compares every bit, the sign of a zero too.
template <class S>
void same_bits(const char* what, const char* where, const Array<S>& got, const Array<S>& want) {
    if (want.empty() || std::memcmp(got.data(), want.data(), want.size() * sizeof(S)) == 0) return;
    std::printf("%s: the bits of %s differ\n", where, what);
    ++failures;
}

// Wx and Wh in packed form, for `threads` threads.
template <class S>
struct Packed {
    using Memory = std::unique_ptr<void, decltype(&std::free)>;
    Memory Wx, Wh;
    PackedWeights weights;

    Packed(const Operations<S>& kernels, const Recurrence<S>& cell, const Sequence<S>& sequence, int threads)
        : Wx(pack(kernels, sequence.Wx, {}, sequence.D, cell.x_gates, sequence.H, threads)),
          Wh(pack(kernels, sequence.Wh, sequence.heads, sequence.H / sequence.heads.count, cell.h_gates, sequence.H,
                  threads)),
          weights{.Wx = Wx.get(), .Wh = Wh.get(), .threads = threads} {}

    static Memory pack(const Operations<S>& kernels, Matrix<S> W, Heads heads, int64_t K, int gates, int64_t H,
                       int threads) {
        void* to = nullptr;
        if (posix_memalign(&to, 64, kernels.pack(W, heads, K, gates, H, threads, nullptr))) std::abort();
        kernels.pack(W, heads, K, gates, H, threads, to);
        return Memory(to, std::free);
    }
};

// One record, converted to the kernels' element type.
template <class S>
struct Problem {
    const Record& record;
    const Arrays<S> given;
    const Array<int64_t> lengths, targets;

    explicit Problem(const Record& record)
        : record(record),
          given(converted<S>(record.given)),
          lengths(integers("lengths")),
          targets(integers("targets")) {}

    Array<int64_t> integers(const char* name) const {
        const auto found = record.given.find(name);
        return found == record.given.end() ? Array<int64_t>()
                                           : Array<int64_t>(found->second.begin(), found->second.end());
    }

    const Array<S>& at(const std::string& name) const { return given.at(name); }
    int64_t scalar(const char* name) const { return int64_t(record.given.at(name).at(0)); }
    int64_t size(int axis) const { return int64_t(record.given.at("sizes").at(axis)); }

    // Whether dx and the gradients of the weights are computed in two passes. Any property of the partition will do that
    // the backward pass does not use.
    static bool takes_dx_apart(Partition partition) { return partition.project_first; }

    // by_columns: the weights are stored by columns, and b with gaps.
    Arrays<S> recurrence(const Operations<S>& level, const Recurrence<S>& kernels, const char* where,
                         Partition partition, bool by_columns) const {
        const int64_t T = size(0), N = size(1), D = size(2), H = size(3), X = kernels.x_gates * H,
                      heads = scalar("heads"), units = H / heads, R = kernels.h_gates * units;
        const Array<S> Wx_columns = transposed(at("Wx"), D, X), Wh_columns = transposed(at("Wh"), H, R);
        Array<S> b_gaps;
        for (S value : at("b")) b_gaps.push_back(value), b_gaps.push_back(S(NOT_A_NUMBER));
        Sequence<S> sequence = {
            .reverse = scalar("reverse") != 0,
            .T = T,
            .N = N,
            .D = D,
            .H = H,
            .x = at("x").data(),
            .Wx = by_columns ? Matrix<S>{Wx_columns.data(), 1, D} : Matrix<S>{at("Wx").data(), X, 1},
            .Wh = by_columns ? Matrix<S>{Wh_columns.data(), 1, H} : Matrix<S>{at("Wh").data(), R, 1},
            .heads = {heads, by_columns ? units : units * R},
            .lengths = lengths.empty() ? nullptr : lengths.data(),
            .own = {},
            .state_row = kernels.joined * H,
        };
        for (int k = 0; k < kernels.own; ++k) sequence.own[k] = at("own" + std::to_string(k)).data();
        Arrays<S> out = poisoned<S>(record.expected);
        Array<S> z(kernels.keeps_z ? T * N * kernels.pre * H : 0, S(NOT_A_NUMBER));
        Forward<S> forward = {.sequence = sequence,
                              .packed = nullptr,
                              .b = by_columns ? b_gaps.data() : at("b").data(),
                              .b_stride = by_columns ? 2 : 1,
                              .initial = {},
                              .states = {},
                              .z = kernels.keeps_z ? z.data() : nullptr};
        Backward<S> backward = {.sequence = sequence,
                                .states = {},
                                .z = z.data(),
                                .dstates = {},
                                .dWx = {out["dWx"].data(), false},
                                .dWh = {out["dWh"].data(), false},
                                .db = out["db"].data(),
                                .d_own = {},
                                .dx = out["dx"].data(),
                                .dinitial = {}};
        for (int k = 0; k < kernels.states; ++k) {
            const std::string number = std::to_string(k / kernels.joined);
            const int64_t column = k % kernels.joined * H, row = sequence.state_row;
            forward.initial[k] = {at("initial" + number).data() + column, row, 1};
            forward.states[k] = out["states" + number].data() + column;
            backward.states[k] = forward.states[k];
            backward.dstates[k] = {at("dstates" + number).data() + column, N * row, row};
            backward.dinitial[k] = out["dinitial" + number].data() + column;
        }
        for (int k = 0; k < kernels.own; ++k)
            if (const auto found = out.find("d_own" + std::to_string(k)); found != out.end())
                backward.d_own[k] = found->second.data();
        bool had_memory = kernels.forward(forward, partition);
        if (takes_dx_apart(partition)) {
            Backward<S> without = backward;
            without.dx = nullptr, without.sequence.Wx = {nullptr, 0, 0};  // only dx needs it
            had_memory = had_memory && kernels.backward(without, partition);
            backward.dWx = backward.dWh = {nullptr, false}, backward.db = nullptr;
        }
        const Packed<S> packed(level, kernels, sequence, partition.threads);
        Arrays<S> again = poisoned<S>(record.expected);
        forward.packed = &packed.weights, forward.z = nullptr;
        for (int k = 0; k < kernels.states; ++k)
            forward.states[k] = again["states" + std::to_string(k / kernels.joined)].data() + k % kernels.joined * H;
        had_memory = had_memory && kernels.forward(forward, partition);
        for (int k = 0; k < kernels.states / kernels.joined; ++k) {
            const std::string name = "states" + std::to_string(k);
            same_bits((name + " with packed weights").c_str(), where, again[name], out[name]);
        }
        if (!had_memory || !kernels.backward(backward, partition)) std::printf("%s: no memory\n", where), ++failures;
        return out;
    }

    // y = x @ W + b, its gradients from dy, and the loss of the logits if there are classes.
    Arrays<S> products(const Operations<S>& kernels, const char* where, Partition partition, bool by_columns) const {
        const int64_t rows = size(0), D = size(1), C = size(2);
        const Array<S> W_columns = transposed(at("W"), D, C);
        const Matrix<S> W = by_columns ? Matrix<S>{W_columns.data(), 1, D} : Matrix<S>{at("W").data(), C, 1};
        Arrays<S> out = poisoned<S>(record.expected);
        bool had_memory = kernels.affine({.rows = rows, .D = D, .C = C, .x = at("x").data(), .W = W,
                                          .b = at("b").data(), .b_stride = 1, .y = out["y"].data()},
                                         partition);
        const auto gradients = [&](Matrix<S> W, Array<S>& dW, Array<S>& db, S* dx) {
            had_memory = had_memory && kernels.affine_gradients(
                                           {.rows = rows, .D = D, .C = C, .x = at("x").data(), .W = W,
                                            .dy = at("dy").data(), .dW = dW.data(), .db = db.data(), .dx = dx},
                                           partition.threads);
        };
        Array<S> dW = out["dW"], db = out["db"];
        gradients(W, dW, db, out["dx"].data());
        if (takes_dx_apart(partition))
            gradients({nullptr, 0, 0}, out["dW"], out["db"], nullptr);  // W: which only dx needs
        else
            out["dW"] = dW, out["db"] = db;
        if (!had_memory) std::printf("%s: no memory\n", where), ++failures;
        if (C > 0 && kernels.cross_entropy)
            kernels.cross_entropy({.rows = rows, .C = C, .logits = at("logits").data(), .targets = targets.data(),
                                   .weights = at("weight").data(), .dlogits = out["dlogits"].data(),
                                   .losses = out["losses"].data()},
                                  partition.threads);
        return out;
    }
};

// A replacement for an OpenMP library, since the sanitizers do not know the barriers of the real ones. Its threads arrive
// in any order.
constexpr int TEAM = 5;
thread_local int team = 1;

void run_team(void (*f)(void*), void* argument, unsigned, unsigned) {
    std::vector<std::thread> others;
    for (int i = 1; i < TEAM; ++i) others.emplace_back([&] { f(argument); });
    team = TEAM;
    f(argument);
    team = 1;
    for (std::thread& other : others) other.join();
}

constexpr OpenMP LIBRARY = {.GOMP_parallel = run_team,
                            .omp_get_max_threads = [] { return TEAM; },
                            .omp_get_num_threads = [] { return team; }};

// Call check(partition, where) for every third kind of partition among one thread, two, and `most_threads`; `third` says
// which. With one thread, rows and columns are the same. local_first makes no difference to projecting, so it is
// combined with one of the two.
template <class Check>
void for_a_third_of_partitions(const std::string& what, int most_threads, int third, Check check) {
    for (int threads : {1, 2, most_threads})
        for (const auto& [name, split, local_first] :
             {std::tuple("rows", Split::ROWS, false), std::tuple("columns", Split::COLUMNS, false),
              std::tuple("columns, local first", Split::COLUMNS, true)})
            for (bool project_first : {false, true}) {
                if ((threads == 1 && split == Split::COLUMNS) || (project_first && local_first)) continue;
                if (third++ % 3) continue;
                const std::string where = what + ", " + std::to_string(threads) + " threads by " + name +
                                          (project_first ? ", x @ Wx first" : "");
                check(Partition{.threads = threads, .split = split, .project_first = project_first,
                                .local_first = local_first},
                      where.c_str());
            }
}

// The kernels of a cell in a level's table.
template <class S>
const Recurrence<S>& kernels_of(const Operations<S>& kernels, const Record& record) {
    const Recurrence<S>* r = kernels.recurrences;
    while (r->name && r->name != record.name) ++r;
    if (r->name) return *r;
    std::printf("%s has no kernels\n", record.name.c_str());
    std::exit(1);
}

template <class S>
void check(const char* level, const Operations<S>& kernels, const Record& record, double tolerance, int third) {
    const Problem<S> problem(record);
    std::string what = std::string(level) + " float" + std::to_string(8 * sizeof(S)) + " " + record.name;
    for (double size : record.given.at("sizes")) what += " " + std::to_string(int64_t(size));
    if (record.name != "products") {
        if (!problem.lengths.empty()) what += ", ragged";
        if (problem.scalar("reverse")) what += ", reverse";
        if (problem.scalar("heads") > 1) what += ", " + std::to_string(problem.scalar("heads")) + " heads";
    }
    Arrays<S> first;
    for_a_third_of_partitions(what, int(problem.scalar("threads")), third, [&](Partition partition, const char* where) {
        const bool by_columns = partition.threads % 2;
        const Arrays<S> out =
            record.name == "products"
                ? problem.products(kernels, where, partition, by_columns)
                : problem.recurrence(kernels, kernels_of(kernels, record), where, partition, by_columns);
        for (const auto& [name, values] : record.expected)
            if (kernels.cross_entropy || (name != "losses" && name != "dlogits"))
                compare(name.c_str(), where, out.at(name), values, tolerance);
        if (first.empty()) first = out;
        for (const auto& [name, values] : first) same_bits(name.c_str(), where, out.at(name), values);
    });
}

// ---- weights of 8 bits ----

// Numbers of no meaning, the same in each run.
struct Draws {
    uint32_t state = 1;
    int below(int n) {
        state = state * 1664525 + 1013904223;
        return int(state >> 16) % n;
    }
    float real() { return float(below(2001) - 1000) / 1000; }
};

// A packed matrix (K, gates · H) in blocks of exact size.
struct Int8Weights {
    Array<int8_t> values;
    Array<int32_t> sums;
    Array<float> scale;
    Int8Matrix matrix;

    Int8Weights(int64_t K, int gates, int64_t H, Draws& draws) {
        const int64_t panels = (H + INT8_UNITS - 1) / INT8_UNITS, quads = (K + 3) / 4, columns = panels * gates * INT8_UNITS;
        values.resize(columns * quads * 4), sums.resize(columns), scale.resize(columns);
        for (int64_t p = 0; p < panels; ++p)
            for (int g = 0; g < gates; ++g)
                for (int64_t j = 0; j < INT8_UNITS && p * INT8_UNITS + j < H; ++j) {
                    const int64_t column = (p * gates + g) * INT8_UNITS + j;
                    for (int64_t k = 0; k < K; ++k) {
                        const int value = draws.below(255) - 127;
                        values[(((p * quads + k / 4) * gates + g) * INT8_UNITS + j) * 4 + k % 4] = int8_t(value);
                        sums[column] += 128 * value;
                    }
                    scale[column] = 0.002f;
                }
        matrix = {.K = K, .gates = gates, .values = values.data(), .sums = sums.data(), .scale = scale.data()};
    }
};

// The bits of every number of threads, and of all forms of the sums, are those of one thread. tests/backends/numpy/
// test_int8.py compares values.
void check_int8(const char* level, const Operations<float>& kernels, const Array<Int8Sums>& other_sums,
                Int8Sums sums_by_tiles) {
    for (const Recurrence<float>* cell = kernels.recurrences; cell->name; ++cell)
        for (const auto& [T, N, D, H] : {std::tuple(1, 1, 1, 1), std::tuple(3, 5, 6, 37), std::tuple(2, 4, 9, 64),
                                         std::tuple(2, 37, 70, 20)}) {
            if (!cell->int8) continue;  // its states are joined
            Draws draws;
            const Int8Weights Wx(D, cell->x_gates, H, draws), Wh(H, cell->h_gates, H, draws);
            Array<float> x(T * N * D), b(cell->pre * H), initial(N * H), own(H, 0.5f);
            for (Array<float>* array : {&x, &b, &initial})
                for (float& value : *array) value = draws.real();
            Arrays<float> first;
            Array<Int8Sums> all = other_sums;
            all.insert(all.begin(), nullptr);
            if (N >= INT8_TILE_ROWS && sums_by_tiles) all.push_back(sums_by_tiles);
            for (Int8Sums sums : all)
                for (int threads : {1, 2, 3}) {
                    Arrays<float> out;
                    Int8Forward f = {.T = T, .N = N, .D = D, .H = H, .x = x.data(), .Wx = Wx.matrix, .Wh = Wh.matrix,
                                     .b = b.data(), .initial = {}, .own = {}, .states = {}, .sums = sums};
                    for (int k = 0; k < cell->own; ++k) f.own[k] = own.data();
                    for (int k = 0; k < cell->states; ++k) {
                        Array<float>& state = out["states" + std::to_string(k)];
                        state.assign((T + 1) * N * H, float(NOT_A_NUMBER));
                        f.states[k] = state.data();
                    }
                    f.initial[0] = {initial.data(), H, 1};
                    const std::string where = std::string(level) + " int8 " + cell->name + ", " +
                                              std::to_string(threads) + " threads" + (sums ? ", other sums" : "");
                    if (!cell->int8(f, threads)) std::printf("%s: no memory\n", where.c_str()), ++failures;
                    if (first.empty()) first = out;
                    for (const auto& [name, values] : out) {
                        same_bits(name.c_str(), where.c_str(), values, first.at(name));
                        for (float value : values)
                            if (std::isnan(value)) {
                                std::printf("%s: %s has NaN\n", where.c_str(), name.c_str()), ++failures;
                                break;
                            }
                    }
                }
        }
}

// 64 threads beside processes that take half of the CPU time come down to one, the last level of ThreadLimit.
void check_last_level() {
    int64_t now = 1, cpu = 0;
    ThreadLimit limit([&] { return cpu; });
    while (now < 60'000'000'000) {
        const int threads = limit.threads(64);
        const int64_t elapsed = threads > 1 ? 5'000'000 : 7'000'000;
        now += elapsed, cpu += threads > 1 ? elapsed * threads / 2 : elapsed;
        limit.report(1, 64, threads, 1e6, elapsed, now);
    }
    if (limit.adopted() > 1) std::printf("64 threads: expected one, got %d\n", limit.adopted()), ++failures;
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 2) {
        std::printf("expected one argument, the file that `python -m tests.backends.numpy.driver_file FILE` writes\n");
        return 2;
    }
    check_last_level();
    require_all_threads(true);
    const std::vector<Record> records = read_records(arguments[1]);
    auto check_level = [&, level = 0](const char* name, const Operations<float>& f32,
                                      const Operations<double>& f64) mutable {
        int number = 0, third = level++;
        for (const Record& record : records) {
            use_openmp(number++ % 7 ? nullptr : &LIBRARY);
            record.given.at("bits").at(0) == 32 ? check(name, f32, record, TOLERANCE<float>, third++)
                                                : check(name, f64, record, TOLERANCE<double>, third++);
        }
        use_openmp(nullptr);
        Array<Int8Sums> other_sums;
        Int8Sums sums_by_tiles = nullptr;
#if defined(__x86_64__) && !defined(XRNN_BASELINE_ONLY) && !defined(XRNN_WITHOUT_AVX512)
        if (__builtin_cpu_supports("avx512vnni")) other_sums.push_back(int8_sums_vnni);
#endif
#ifndef XRNN_BASELINE_ONLY
        sums_by_tiles = int8_sums_emulated_amx;
#endif
        check_int8(name, f32, other_sums, sums_by_tiles);
        std::printf("%s: checked\n", name);
    };
    // turn: check every other problem only, beginning with this one; -1: check all of them, without tiles. Several heads:
    // only pairs of units of one head, and no tiles (binding/levels.h).
    auto check_parts = [&, level = 0](const char* name, const Operations<float>& kernels, double tolerance,
                                      int turn = -1) mutable {
        int number = 0, third = level++;
        for (const Record& record : records) {
            if (record.given.at("bits").at(0) != 32) continue;
            const int shifted = number + number / 7;  // each cell repeats 7 sizes: it begins with another one of them
            const auto heads = record.given.find("heads");
            const bool has_heads = heads != record.given.end() && heads->second.at(0) > 1;
            const int64_t units = has_heads ? int64_t(record.given.at("sizes").at(3) / heads->second.at(0)) : 0;
            const bool suits = !has_heads || (turn < 0 && units % 2 == 0);
            if (suits && (turn < 0 || shifted % 2 == turn)) check(name, kernels, record, tolerance, third++);
            ++number;
        }
        std::printf("%s: checked\n", name);
    };
    check_level("baseline", baseline_float(), baseline_double());
#ifndef XRNN_BASELINE_ONLY
    check_parts("bfloat16, emulated", emulated_bfloat16_float(), BFLOAT16_TOLERANCE);
    // The two differ in the number of parts only, and emulated tiles are slow: each problem takes one of them.
    check_parts("three products by emulated tiles", emulated_amx3_float(), THREE_PRODUCTS_TOLERANCE, 0);
#ifndef XRNN_FEW_LEVELS
    check_parts("one product by emulated tiles", emulated_amx1_float(), BFLOAT16_TOLERANCE, 1);
#endif
#endif
#if defined(__x86_64__) && !defined(XRNN_BASELINE_ONLY)
#ifndef XRNN_WITHOUT_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        check_level("avx2", avx2_float(), avx2_double());
#endif
#ifndef XRNN_WITHOUT_AVX512
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw"))
        check_level("avx512", avx512_float(), avx512_double());
#endif
#ifdef XRNN_WITH_AVX512BF16
    check_parts("avx512bf16", avx512bf16_float(), BFLOAT16_TOLERANCE);
#endif
#endif
    return failures != 0;
}

// The Python interface of the CPU kernels. _kernels.pyi describes the functions and the shapes of their arrays.
#include <array>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/function.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "binding/arrays.h"
#include "binding/calls.h"
#include "binding/for_tests.h"
#include "binding/int8.h"
#include "binding/levels.h"
#include "binding/outputs.h"
#include "binding/packed.h"
#include "binding/recurrences.h"
#include "binding/state_spaces.h"
#include "kernels/threads/blas.h"
#include "kernels/threads/openmp.h"

#if defined(__clang__)
#define XRNN_COMPILER "Clang " __clang_version__
#elif defined(__GNUC__)
#define XRNN_COMPILER "GCC " __VERSION__
#else
#define XRNN_COMPILER "an unknown compiler"
#endif

NB_MODULE(_kernels, m) {
    if (_import_array() < 0) throw nb::python_error();
    m.doc() = "The compiled kernels of the NumPy backend.";
    m.def("compiler", [] { return XRNN_COMPILER; });
    m.def("levels", [] {
        nb::list names;
        for (const Level& l : all_levels())
            if (l.runs_here()) names.append(l.name);
        return names;
    });
    m.def("compiled_levels", [] {
        nb::list names;
        for (const Level& l : all_levels()) names.append(l.name);
        return names;
    });
    m.def("emulated_levels", [] {
        nb::list names;
        for (const Level& l : test_levels()) names.append(l.name);
        return names;
    });
    m.def("cells", [] { return nb::list(nb::handle(cell_names)); });
    m.def("level", [] { return level.name; });
    m.def("products_by", [](int products) { return level.products(products) ? level.products(products)->by : nullptr; });
    m.def("has_bfloat16_instruction", has_bfloat16_instruction);
    m.def("tile_refusal", []() -> std::optional<std::string> {
#if defined(XRNN_AMX)
        if (const int error = tile_permission().error) return std::string(std::strerror(error));
#endif
        return std::nullopt;
    });
    use_level(level.name);
    m.def("set_level", use_level);
    m.def("max_threads", max_threads);
    m.def("asked_threads", asked_threads);
    m.def("thread_cap", thread_cap);
    m.def("set_quota", [](std::optional<int> cpus) { set_quota(cpus.value_or(0)); }, nb::arg("cpus").none());
    m.def("use_openmp", [](std::optional<std::array<uintptr_t, 3>> addresses) {
        if (!addresses) return use_openmp(nullptr);
        const auto [parallel, max_threads, num_threads] = *addresses;
        // Never deleted: a call may be using its threads.
        use_openmp(new OpenMP{.GOMP_parallel = reinterpret_cast<decltype(OpenMP::GOMP_parallel)>(parallel),
                              .omp_get_max_threads = reinterpret_cast<int (*)()>(max_threads),
                              .omp_get_num_threads = reinterpret_cast<int (*)()>(num_threads)});
    }, nb::arg("functions").none());
#if defined(_OPENMP)
    m.attr("OPENMP") = true;
#else
    m.attr("OPENMP") = false;
#endif
    m.def("uses_openmp", [] { return openmp_in_use() != nullptr; });
    for_tests::define(m);
    set_interrupt(interrupted);
    m.def("share_threads_with", [](uintptr_t set_callback, int most_threads, bool shared) {
        if (most_threads < 1) throw nb::value_error("expected at least one thread");
        share_threads_with(reinterpret_cast<SetCallback>(set_callback), most_threads, shared);
    }, nb::arg("set_callback"), nb::arg("most_threads"), nb::arg("shared"));
    m.def("shares_threads_with", [](uintptr_t set_callback) {
        return shares_threads_with(reinterpret_cast<SetCallback>(set_callback));
    }, nb::arg("set_callback"));
    m.def("count_unknown_products", count_unknown_products);
    m.def("set_on_delays", set_on_delays, nb::arg("function"));
    nb::class_<ThreadLimit>(m, "ThreadLimit")
        .def(nb::init<std::function<int64_t()>>(), nb::arg("cpu_clock"))
        .def("threads", &ThreadLimit::threads, nb::arg("most"))
        .def("report", &ThreadLimit::report, nb::arg("kind"), nb::arg("most"), nb::arg("threads"),
             nb::arg("multiply_adds"), nb::arg("elapsed"), nb::arg("now"));
    m.def("thread_limit", [] { return std::pair(thread_limit.adopted(), thread_limit.most()); });
    m.def("is_worth_waking", is_worth_waking);
    m.def("partition", [](int64_t T, int64_t N, int64_t K, int64_t H, int64_t itemsize, int max_threads,
                          std::pair<int64_t, int64_t> Wx, bool tiles) {
        const Partition p = choose_partition(T, N, K, H, itemsize, max_threads, tiles,
                                             count_weight_bytes(Wx.first, Wx.second, itemsize));
        return nb::make_tuple(p.threads, p.split == Split::ROWS ? "rows" : "columns", p.project_first);
    }, nb::arg("T"), nb::arg("N"), nb::arg("K"), nb::arg("H"), nb::arg("itemsize"), nb::arg("max_threads"),
       nb::arg("Wx"), nb::arg("tiles") = false);
    m.def("scan_partition", [](int64_t T, int64_t N, int64_t D, int64_t gates, int64_t H, int64_t itemsize,
                               int max_threads, bool tiles) {
        const Partition p = choose_scan_partition(T, N, D, gates, H, itemsize, max_threads, tiles);
        return nb::make_tuple(p.threads, p.split == Split::ROWS ? "rows" : "columns", p.project_first);
    }, nb::arg("T"), nb::arg("N"), nb::arg("D"), nb::arg("gates"), nb::arg("H"), nb::arg("itemsize"),
       nb::arg("max_threads"), nb::arg("tiles") = false);
    m.def("form", [](int products, int64_t T, int64_t N, int64_t K, int64_t H, int64_t heads, int64_t units) {
        const Form<float> form = form_of<float>(products, T, N, K, H, heads, units);
        return nb::make_tuple(form.size, form.tiles);
    }, nb::arg("products"), nb::arg("T"), nb::arg("N"), nb::arg("K"), nb::arg("H"), nb::arg("heads") = 1,
       nb::arg("units") = 0);
    m.def("repays_bfloat16", repays_bfloat16);
    m.def("repays_tiles", repays_tiles);
    m.def("tanh", [](nb::handle x) { return is_float32(x) ? tanh_of<float>(x) : tanh_of<double>(x); });
    m.def("int8_forward", int8_forward, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
          nb::arg().none(), nb::arg());
    m.def("int8_instructions", [](int64_t N) { return FastestInt8Sums(N).by; });
    nb::class_<PackedForms>(m, "PackedForms").def(nb::init<nb::object, nb::object>(), nb::arg("Wx"), nb::arg("Wh"));
    if (PyModule_AddFunctions(m.ptr(), RECURRENCES)) throw nb::python_error();
    m.def("affine", [](nb::handle x, nb::handle W, nb::handle b, int products) {
        return (is_float32(x) ? affine<float> : affine<double>)(x, W, b, products);
    });
    m.def("affine_gradients", [](nb::handle x, nb::handle W, nb::handle dy, nb::handle dW, nb::handle db,
                                 bool needs_dx, int products) {
        const auto f = is_float32(x) ? affine_gradients<float> : affine_gradients<double>;
        return f(x, W, dy, dW, db, needs_dx, products);
    });
    m.def("cross_entropy", [](nb::handle logits, nb::handle targets, nb::handle weights) {
        return (is_float32(logits) ? cross_entropy<float> : cross_entropy<double>)(logits, targets, weights);
    });
    define_state_spaces(m);
}

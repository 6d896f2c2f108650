// The instruction-set level in use.
#pragma once

#include <string>
#include <vector>

#include <nanobind/nanobind.h>

#include "../kernels/kernels.h"

namespace nb = nanobind;
using namespace xrnn;

namespace {

struct Level {
    const char* name;
    const Operations<float>& (*f32)();
    const Operations<double>& (*f64)();
    bool runs_here;
    const Operations<float>& (*bfloat16)() = nullptr;  // f32 with products in bfloat16; null if they do not run here
};

#if defined(__x86_64__)
bool has_bfloat16_instruction() { return __builtin_cpu_supports("avx512bf16"); }
// Processors of AMD multiply pairs at twice the rate of float32. On Intel's the instruction has the rate of float32, so
// converting the operands is a loss: layers took 1.35 to 1.5 times as long.
bool bfloat16_instruction_pays() { return has_bfloat16_instruction() && __builtin_cpu_is("amd"); }
#else
bool has_bfloat16_instruction() { return false; }
#endif

std::vector<Level> all_levels() {
    std::vector<Level> levels = {{"baseline", baseline_float, baseline_double, true}};
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
    levels.push_back({"avx2", avx2_float, avx2_double, avx2});
    levels.push_back({"avx512", avx512_float, avx512_double, avx512,
                      bfloat16_instruction_pays() ? avx512bf16_float : nullptr});
#endif
    return levels;
}

Level level = all_levels().front();

void set_level(const std::string& name) {
    std::string here;
    for (const Level& l : all_levels()) {
        if (!l.runs_here) continue;
        if (l.name == name) {
            level = l;
            return;
        }
        here += here.empty() ? l.name : std::string(", ") + l.name;
    }
    throw nb::value_error(("XRNN_ISA=" + name + " does not run here: expected one of " + here).c_str());
}

template <class S>
const Operations<S>& operations(bool bfloat16 = false) {
    if constexpr (sizeof(S) == 4)
        return (bfloat16 ? level.bfloat16 : level.f32)();
    else
        return level.f64();
}

// For tests and measurements: take products of every size in bfloat16.
bool force_bfloat16 = false;

// Whether a call with this number of products of parts computes in bfloat16: sizes as for choose_partition, T = 1 for a
// product.
template <class S>
bool takes_bfloat16(int products, int64_t T, int64_t N, int64_t K, int64_t H) {
    return sizeof(S) == 4 && products == 1 && level.bfloat16 && (force_bfloat16 || repays_bfloat16(T, N, K, H));
}

}  // namespace

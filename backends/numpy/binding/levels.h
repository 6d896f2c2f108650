// The instruction-set level in use.
#pragma once

#include <string>
#include <vector>

#include <nanobind/nanobind.h>

#include "../kernels/threads/system.h"
#include "for_tests.h"
#include "level.h"

namespace nb = nanobind;
using namespace xrnn;

namespace {

#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
}
bool has_bfloat16_instruction() { return __builtin_cpu_supports("avx512bf16"); }
#else
bool has_bfloat16_instruction() { return false; }
#endif

#if defined(XRNN_AVX512)
Int8Sums int8_vnni() { return __builtin_cpu_supports("avx512vnni") ? int8_sums_vnni : nullptr; }
#endif

#if defined(XRNN_AVX512BF16)
// Processors of AMD multiply pairs at twice the rate of float32. On Intel's the instruction has the rate of float32, so
// converting the operands is a loss: layers took 1.35 to 1.5 times as long.
const Products PAIRS = {avx512bf16_float, "avx512bf16", 2, false};
const Products* fast_pairs() { return has_bfloat16_instruction() && __builtin_cpu_is("amd") ? &PAIRS : nullptr; }
#else
const Products* fast_pairs() { return nullptr; }
#endif

#if defined(XRNN_AMX)
// Without the permission of the system the process cannot use tiles. It is asked for once.
const TilePermission& tile_permission() {
    static const TilePermission permission = ask_for_tiles();
    return permission;
}
bool has_amx() { return has_avx512() && has_bfloat16_instruction() && tile_permission().granted(); }
const Products THREE = {amx3_float, "amx", 4, true}, ONE = {amx1_float, "amx", 2, true};
#endif

// From the lowest to the highest.
std::vector<Level> all_levels() {
    std::vector<Level> levels = {
        {.name = "baseline", .f32 = baseline_float, .f64 = baseline_double, .runs_here = [] { return true; }}};
#if defined(__x86_64__)
    __builtin_cpu_init();
    levels.push_back({.name = "avx2", .f32 = avx2_float, .f64 = avx2_double, .runs_here = has_avx2});
#endif
#if defined(XRNN_AVX512)
    levels.push_back({.name = "avx512",
                      .f32 = avx512_float,
                      .f64 = avx512_double,
                      .runs_here = has_avx512,
                      .one = fast_pairs(),
                      .int8_sums = int8_vnni()});
#endif
#if defined(XRNN_AMX)
    levels.push_back({.name = "amx",
                      .f32 = avx512_float,
                      .f64 = avx512_double,
                      .runs_here = has_amx,
                      .three = &THREE,
                      .one = &ONE,
                      .int8_sums = int8_vnni(),
                      .int8_tiles = int8_sums_amx});
#endif
    return levels;
}

Level level = all_levels().front();

void set_level(const std::string& name) {
    for (const Level& l : test_levels())
        if (l.name == name) {
            level = l;
            return;
        }
    std::string here;
    for (const Level& l : all_levels()) {
        if (!l.runs_here()) continue;
        if (l.name == name) {
            level = l;
            return;
        }
        here += here.empty() ? l.name : std::string(", ") + l.name;
    }
    throw nb::value_error(("XRNN_ISA=" + name + " does not run here: expected one of " + here).c_str());
}

template <class S>
const Operations<S>& operations() {
    if constexpr (sizeof(S) == 4)
        return level.f32();
    else
        return level.f64();
}

bool repays(const Products& products, int count, int64_t T, int64_t N, int64_t K, int64_t H) {
    return products.tiles ? repays_tiles(count, T, N, K, H) : repays_bfloat16(T, N, K, H);
}

// The form of a call: its operations, the bytes of an operand for each term of a sum, and whether tiles multiply.
template <class S>
struct Form {
    const Operations<S>& operations;
    int64_t size;
    bool tiles;
};

// The form without parts.
template <class S>
Form<S> plain_form() {
    return {operations<S>(), sizeof(S), false};
}

// Whether the operands may be in pairs or groups of terms: no pair or group may contain terms of two heads; each head
// has `units` units. Tiles have groups of many terms, so they are only for one head.
bool keeps_heads_apart(const Products& products, int64_t heads, int64_t units) {
    return heads == 1 || (!products.tiles && units % 2 == 0);
}

// The form for `count` products of parts; 0 for float32. Sizes as for choose_partition, with T = 1 for a product. A
// recurrence also gives its number of heads, and of units of a head.
template <class S>
Form<S> form_of(int count, int64_t T, int64_t N, int64_t K, int64_t H, int64_t heads = 1, int64_t units = 0) {
    if constexpr (sizeof(S) == 4) {
        const Products* const products = level.products(count);
        if (products && keeps_heads_apart(*products, heads, units) &&
            (for_tests::products_forced || repays(*products, count, T, N, K, H)))
            return {products->operations(), products->size, products->tiles};
    }
    return plain_form<S>();
}

}  // namespace

// An instruction-set level, as the binding sees it.
#pragma once

#include <vector>

#include "../kernels/int8.h"
#include "../kernels/kernels.h"

namespace xrnn {

// The operations of a level on float32 arrays, with products of one kind.
struct Products {
    const Operations<float>& (*operations)();
    const char* by;   // the instructions, for `xrnn info`
    int64_t size;     // bytes of an operand for each term of a sum
    bool tiles;
};

struct Level {
    const char* name;
    const Operations<float>& (*f32)();
    const Operations<double>& (*f64)();
    bool (*runs_here)();
    // Products as sums of 3 or 1 products of bfloat16 parts; null: the level has none that are faster than float32.
    const Products *three = nullptr, *one = nullptr;
    // Faster int8 sums than those of f32, or null: int8_sums for any N, int8_tiles for N ≥ INT8_TILE_ROWS.
    Int8Sums int8_sums = nullptr, int8_tiles = nullptr;

    const Products* products(int count) const { return count == 3 ? three : count == 1 ? one : nullptr; }
};

// The levels that builds for tests have besides the others, in tests/backends/numpy/test_levels.cpp.
std::vector<Level> test_levels();

}  // namespace xrnn

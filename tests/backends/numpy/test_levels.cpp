// The levels that tests select by their names, on any CPU: the code of the tiles with emulated ones, and that of pairs with
// an emulated instruction. They have the kernel of the cell in tests/peephole. They are far slower than the others.
#include "../../../backends/numpy/binding/level.h"

namespace {

using namespace xrnn;

const Products THREE = {emulated_amx3_float, "amx-emulated", 4, true}, ONE = {emulated_amx1_float, "amx-emulated", 2, true},
               PAIRS = {emulated_bfloat16_float, "pairs-emulated", 2, false};

}  // namespace

std::vector<xrnn::Level> xrnn::test_levels() {
    Level tiles = {.name = "amx-emulated",
                   .f32 = emulated_float,
                   .f64 = emulated_double,
                   .runs_here = [] { return true; },
                   .three = &THREE,
                   .one = &ONE,
                   .int8_tiles = int8_sums_emulated_amx};
    Level pairs = tiles;
    pairs.name = "pairs-emulated";
    pairs.three = nullptr;
    pairs.one = &PAIRS;
    pairs.int8_tiles = nullptr;
    return {tiles, pairs};
}

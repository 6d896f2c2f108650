// The level amx-emulated, which tests select by its name: the code of the tiles with emulated ones, on any CPU, and the
// kernel of the cell in tests/peephole. It is far slower than the others.
#include "../../../backends/numpy/binding/level.h"

namespace {

using namespace xrnn;

const Products THREE = {emulated_amx3_float, "amx-emulated", 4, true}, ONE = {emulated_amx1_float, "amx-emulated", 2, true};
const Level LEVEL = {.name = "amx-emulated",
                     .f32 = emulated_float,
                     .f64 = emulated_double,
                     .runs_here = [] { return true; },
                     .three = &THREE,
                     .one = &ONE,
                     .int8_tiles = int8_sums_emulated_amx};

}  // namespace

const Level* const xrnn::test_level = &LEVEL;

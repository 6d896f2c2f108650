// The sums of int8.h by the AVX512-VNNI instructions.
#include "int8_sums.h"

void xrnn::int8_sums_vnni(const uint8_t* q, int64_t rows, int64_t quads, const int8_t* panel, int gates,
                          int32_t* sums) {
    sum_int8(q, rows, quads, panel, gates, sums);
}

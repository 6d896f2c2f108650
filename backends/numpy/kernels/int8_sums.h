// Products of bytes with a panel of int8 weights, summed in 32 bits. All sums are exact, so all levels give the same
// results.
//
// With AVX512-VNNI one instruction multiplies 16 columns by four rows and adds the products up. AVX2 multiplies |w| by
// q - 128 with the sign of w, and adds the products in pairs, then in fours. The other levels widen to 16 bits, first
// the even rows of each four, then the odd ones, and add the products in pairs.
#pragma once

#include <cstring>

#include "int8.h"
#include "simd.h"

namespace {

using xrnn::INT8_UNITS;

#if defined(__AVX512VNNI__)

struct Int8Lanes {
    static constexpr bool SIGNED = false;  // whether the sums are those of q - 128
    static constexpr int VECTORS = 1;      // vectors for the 16 columns of a gate
    typedef int32_t Sums __attribute__((vector_size(64)));  // __m512i has lanes of 64 bits: + would carry
    struct Factor {
        __m512i bytes;
    };

    static XRNN_INLINE Sums zero() { return Sums{}; }
    static XRNN_INLINE Factor factor(const uint8_t* q) {
        int32_t four;
        std::memcpy(&four, q, 4);
        return {_mm512_set1_epi32(four)};
    }
    static XRNN_INLINE Sums add(Sums sums, Factor q, const int8_t* weights) {
        return (Sums)_mm512_dpbusd_epi32((__m512i)sums, q.bytes, _mm512_loadu_si512(weights));
    }
};

#elif defined(__AVX2__) && !defined(__AVX512F__)

struct Int8Lanes {
    static constexpr bool SIGNED = true;
    static constexpr int VECTORS = 2;
    typedef int32_t Sums __attribute__((vector_size(32)));
    struct Factor {
        __m256i bytes;
    };

    static XRNN_INLINE Sums zero() { return Sums{}; }
    static XRNN_INLINE Factor factor(const uint8_t* q) {
        uint32_t four;
        std::memcpy(&four, q, 4);
        return {_mm256_set1_epi32(int32_t(four ^ 0x80808080u))};
    }
    // The sum of two products is at most 2 · 128 · 127, since |q - 128| ≤ 127. This fits 16 bits.
    static XRNN_INLINE Sums add(Sums sums, Factor q, const int8_t* weights) {
        const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i_u*>(weights));
        const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(q.bytes, w));
        return sums + (Sums)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    }
};

#else

struct Int8Lanes {
    static constexpr bool SIGNED = false;
    static constexpr int VECTORS = 64 / VECTOR_BYTES;
    typedef int32_t Sums __attribute__((vector_size(VECTOR_BYTES)));
    typedef int16_t Halves __attribute__((vector_size(VECTOR_BYTES)));
    struct Factor {
        Halves even, odd;  // rows 0 and 2, and rows 1 and 3, in turn
    };

    static XRNN_INLINE Sums zero() { return Sums{}; }
    static XRNN_INLINE Factor factor(const uint8_t* q) {
        return {pairs(q[0], q[2]), pairs(q[1], q[3])};
    }
    static XRNN_INLINE Sums add(Sums sums, Factor q, const int8_t* weights) {
        Halves w;
        std::memcpy(&w, weights, VECTOR_BYTES);
        return sums + multiplied((w << 8) >> 8, q.even) + multiplied(w >> 8, q.odd);
    }

   private:
    static XRNN_INLINE Halves pairs(uint32_t low, uint32_t high) {
        return (Halves)(Sums{} + int32_t(high << 16 | low));
    }
    // a[2i] · b[2i] + a[2i+1] · b[2i+1]. A product has at most 127 · 255, which fits 16 bits.
    static XRNN_INLINE Sums multiplied(Halves a, Halves b) {
#if defined(__AVX512BW__)
        return (Sums)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#else
        const Sums products = (Sums)(a * b);
        return ((products << 16) >> 16) + (products >> 16);
#endif
    }
};

#endif

// The sums of ROWS rows. Several chains (UNROLL) hide the latency of an instruction.
template <int GATES, int ROWS, int UNROLL>
XRNN_INLINE void sum_int8_rows(const uint8_t* q, int64_t quads, const int8_t* panel, int32_t* out) {
    constexpr int VECTORS = Int8Lanes::VECTORS, STEP = INT8_UNITS * 4 / VECTORS;
    for (int v = 0; v < VECTORS; ++v) {
        Int8Lanes::Sums sums[UNROLL][ROWS][GATES];
        for (int u = 0; u < UNROLL; ++u)
            for (int r = 0; r < ROWS; ++r)
                for (int g = 0; g < GATES; ++g) sums[u][r][g] = Int8Lanes::zero();
        const auto add = [&](int u, int64_t k) __attribute__((always_inline)) {
            for (int r = 0; r < ROWS; ++r) {
                const auto factor = Int8Lanes::factor(q + (r * quads + k) * 4);
                for (int g = 0; g < GATES; ++g)
                    sums[u][r][g] = Int8Lanes::add(sums[u][r][g], factor,
                                                   panel + (k * GATES + g) * INT8_UNITS * 4 + v * STEP);
            }
        };
        int64_t k = 0;
        for (; k + UNROLL <= quads; k += UNROLL)
            for (int u = 0; u < UNROLL; ++u) add(u, k + u);
        for (; k < quads; ++k) add(0, k);
        for (int r = 0; r < ROWS; ++r)
            for (int g = 0; g < GATES; ++g) {
                for (int u = 1; u < UNROLL; ++u) sums[0][r][g] += sums[u][r][g];
                std::memcpy(out + (r * GATES + g) * INT8_UNITS + v * INT8_UNITS / VECTORS, &sums[0][r][g],
                            sizeof(Int8Lanes::Sums));
            }
    }
}

template <int GATES>
void sum_int8_panel(const uint8_t* q, int64_t rows, int64_t quads, const int8_t* panel, int32_t* sums) {
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4)
        sum_int8_rows<GATES, 4, 1>(q + r * quads * 4, quads, panel, sums + r * GATES * INT8_UNITS);
    for (; r < rows; ++r)
        sum_int8_rows<GATES, 1, GATES < 3 ? 4 : 2>(q + r * quads * 4, quads, panel, sums + r * GATES * INT8_UNITS);
}

// The numbers of gates for which sum_int8 has code.
constexpr bool has_int8_sums(int gates) { return gates >= 0 && gates <= 4; }

inline void sum_int8(const uint8_t* q, int64_t rows, int64_t quads, const int8_t* panel, int gates, int32_t* sums) {
    switch (gates) {
        case 0: return;
        case 1: return sum_int8_panel<1>(q, rows, quads, panel, sums);
        case 2: return sum_int8_panel<2>(q, rows, quads, panel, sums);
        case 3: return sum_int8_panel<3>(q, rows, quads, panel, sums);
        default: return sum_int8_panel<4>(q, rows, quads, panel, sums);
    }
}

}  // namespace

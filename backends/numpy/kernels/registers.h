// The tile registers of AMX: eight, of 16 rows of 64 bytes.
//
// In a file that is not compiled for products by tiles (XRNN_PARTS, parts.h), TileJob does nothing. Without the
// instructions, the functions emulate them with the same roundings, so that the tests can run all code around them on
// any CPU.
//
// The instructions are written as assembly, because GCC's intrinsics do not tell the compiler that a load reads memory
// and a store writes it. The compiler could then move the writes of an operand behind its load.
#pragma once

#include "pairs.h"
#include "threads/system.h"

namespace {

#if !defined(XRNN_PARTS) && !defined(__AMX_INT8__)

struct TileJob {
    constexpr bool found_exceptional() const { return false; }
};

#else

// Whether this thread has found an operand that bfloat16 parts cannot represent: parts.h.
thread_local bool exceptional = false;

#if defined(__AMX_TILE__)

inline void configure() {
    struct alignas(64) {
        uint8_t palette = 1, start_row = 0, reserved[14] = {};
        uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
        uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } const all;
    asm volatile("ldtilecfg %0" ::"m"(all));
}

inline void release() { asm volatile("tilerelease"); }

struct Registers {
    template <int R>
    XRNN_INLINE void zero() {
        asm volatile("tilezero %%tmm%c0" ::"i"(R));
    }
    // `stride` bytes from row to row
    template <int R>
    XRNN_INLINE void load(const void* from, int64_t stride) {
        asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(R) : "memory");
    }
    // As `load`, with a non-temporal hint: the data is not kept in the first-level cache.
    template <int R>
    XRNN_INLINE void stream(const void* from, int64_t stride) {
        asm volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(R) : "memory");
    }
    template <int R>
    XRNN_INLINE void store(void* to, int64_t stride) {
        asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(R) : "memory");
    }
    // SUM (16, 16) float32 += A (16, 16) @ B (16, 16), of pairs
    template <int SUM, int A, int B>
    XRNN_INLINE void multiply_pairs() {
        asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(SUM), "i"(A), "i"(B));
    }
    // SUM (16, 16) int32 += A (16, 16) @ B (16, 16), of four bytes each: those of A without a sign, those of B with one
    template <int SUM, int A, int B>
    XRNN_INLINE void multiply_bytes() {
        asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(SUM), "i"(A), "i"(B));
    }
};

#else  // emulated

thread_local bool configured = false;
inline void configure() { configured = true; }
inline void release() { configured = false; }

// v with 0 in place of subnormal numbers, as the instruction treats its operands and its results.
XRNN_INLINE Vec<float> flush(Vec<float> v) {
    const Vec<Pair> bits = (Vec<Pair>)v;
    return (Vec<float>)((bits & 0x7fffffffu) < 0x800000u ? bits & 0x80000000u : bits);
}

struct Registers {
    alignas(64) uint32_t tiles[8][16][16];

    template <int R>
    void zero() {
        if (!configured) __builtin_trap();  // so does the CPU
        __builtin_memset(tiles[R], 0, sizeof(tiles[R]));
    }
    template <int R>
    void load(const void* from, int64_t stride) {
        for (int i = 0; i < 16; ++i) __builtin_memcpy(tiles[R][i], static_cast<const char*>(from) + i * stride, 64);
    }
    template <int R>
    void stream(const void* from, int64_t stride) {
        load<R>(from, stride);
    }
    template <int R>
    void store(void* to, int64_t stride) {
        for (int i = 0; i < 16; ++i) __builtin_memcpy(static_cast<char*>(to) + i * stride, tiles[R][i], 64);
    }
    // The first terms of the pairs are summed from zero, and the second ones. Both sums are added, and the result is
    // added to SUM. A product of two bfloat16 is exact in float32, so a fused operation has the same result. The
    // instruction also flushes the partial sums of both; the difference is below 1e-37.
    template <int SUM, int A, int B>
    void multiply_pairs() {
        Vec<float> b_first[16], b_second[16];
        for (int k = 0; k < 16; ++k) {
            const Vec<Pair> b = ::load<Pair>(tiles[B][k]);
            b_first[k] = (Vec<float>)(b << 16);
            b_second[k] = (Vec<float>)(b & UPPER);
        }
        for (int m = 0; m < 16; ++m) {
            Vec<float> first = {}, second = {};
            for (int k = 0; k < 16; ++k) {
                first += number(tiles[A][m][k] << 16) * b_first[k];
                second += number(tiles[A][m][k] & UPPER) * b_second[k];
            }
            const Vec<float> sum = flush((Vec<float>)::load<Pair>(tiles[SUM][m]) + flush(first + second));
            ::store<Pair>(tiles[SUM][m], (Vec<Pair>)sum);
        }
    }
    template <int SUM, int A, int B>
    void multiply_bytes() {
        for (int m = 0; m < 16; ++m)
            for (int n = 0; n < 16; ++n)
                for (int k = 0; k < 64; ++k)
                    tiles[SUM][m][n] += uint32_t(uint8_t(tiles[A][m][k / 4] >> k % 4 * 8) *
                                                 int8_t(tiles[B][k / 4][n] >> k % 4 * 8));
    }

   private:
    static constexpr Pair UPPER = 0xffff0000u;

    static XRNN_INLINE float number(Pair bits) {
        float value;
        __builtin_memcpy(&value, &bits, sizeof(value));
        return value;
    }
};

#endif

// A thread's part of an operation. It configures the registers at its start and releases them at its end. While an
// operation runs, a signal handler may start another one on the same thread, between two tiles. After that the
// registers are configured again.
struct TileJob {
    const bool before;  // `exceptional` of the operation that this one interrupts

    TileJob() : before(exceptional) {
        ++xrnn::running_tile_jobs();
        configure();
        exceptional = false;
    }
    ~TileJob() {
        exceptional = before;
        --xrnn::running_tile_jobs() > 0 ? configure() : release();
    }
    TileJob(const TileJob&) = delete;
    bool found_exceptional() const { return exceptional; }
};

#endif

}  // namespace

// What a CUDA kernel sees when g++ compiles it for the emulator. The runtime behind it is emulator.cpp.
//
// Every CUDA thread is a fiber, with a stack of its own; all of them run on one OS thread. A fiber runs until it waits (at
// a barrier, or to look at memory that another block writes); which one runs next is drawn from a seed. So a run is
// repeatable, and a missing wait shows under some seed. A lane that a shuffle names and that doesn't come is a deadlock.
// Other warp operations, atomic additions, fences, and lanes of one warp that meet in several groups at a time are missing,
// because no kernel has any.
//
// Kernel code is instrumented by sanitizers, the runtime is not: under ThreadSanitizer two CUDA threads are ordered by
// what orders them in CUDA, and by nothing else.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <type_traits>
#include <utility>

#define XRNN_EMULATOR 1
#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
};

namespace emulator {
struct View {  // what kernel code may read of the thread that runs it
    dim3 thread, block;
    void* shared;
};
extern View* current;
extern dim3 grid_size, block_size;

int barrier(int line, int predicate = 0);  // returns whether any thread's predicate holds
double meet_in_warp(int line, bool orders, unsigned lanes, double value, unsigned apart);  // the value of lane ^ apart
void look();     // before a load of what others write: lets them run
void publish();  // before an atomic write: others may be polling for it, so this is no livelock
void require_aligned(const void* address);  // of a 16-byte access
long long clock();

// Relaxed, as the kernels' accesses to what other blocks write: they order nothing else.
template <class T>
T load(const T* p) {
    look();
    T value;
    __atomic_load(p, &value, __ATOMIC_RELAXED);
    return value;
}
template <class T>
void store(T* p, T value) {
    publish();
    __atomic_store(p, &value, __ATOMIC_RELAXED);
}

template <class To, class From>
To bits(From value) {
    static_assert(sizeof(To) == sizeof(From));
    To result;
    memcpy(&result, &value, sizeof result);
    return result;
}

// How Python starts a kernel: emulate_<kernel>(launch) returns null, or what went wrong.
struct Launch {
    dim3 grid, block;
    uint64_t shared_bytes, seed;
    void* const* arguments;  // the address of each argument's value
};
const char* run(const Launch&, void (*thread)(void* const* arguments));

template <class... A, size_t... I>
void call(void (*kernel)(A...), void* const* arguments, std::index_sequence<I...>) {
    kernel(*static_cast<A*>(arguments[I])...);
}
template <class... A>
void call(void (*kernel)(A...), void* const* arguments) {
    call(kernel, arguments, std::index_sequence_for<A...>{});
}
// The bytes of each parameter, -1 for a pointer, 0 after the last.
template <class... A>
void widths(void (*)(A...), int* out) {
    ((*out++ = std::is_pointer_v<A> ? -1 : int(sizeof(A))), ...);
    *out = 0;
}
}  // namespace emulator

#define threadIdx (emulator::current->thread)
#define blockIdx (emulator::current->block)
#define blockDim emulator::block_size
#define gridDim emulator::grid_size
#define __syncthreads() emulator::barrier(__LINE__)
#define __syncthreads_or(predicate) emulator::barrier(__LINE__, (predicate) ? 1 : 0)
#define __syncwarp() emulator::meet_in_warp(__LINE__, true, ~0u, 0, 0)
#define __shfl_xor_sync(lanes, value, apart) \
    static_cast<std::decay_t<decltype(value)>>(emulator::meet_in_warp(__LINE__, false, lanes, value, apart))
#define clock64() emulator::clock()

inline int min(int a, int b) { return a < b ? a : b; }

#define EMULATE(kernel)                                                                                           \
    static void thread_##kernel(void* const* arguments) { emulator::call(kernel, arguments); }                    \
    extern "C" const char* emulate_##kernel(const emulator::Launch* l) { return run(*l, thread_##kernel); }        \
    extern "C" void widths_##kernel(int* out) { emulator::widths(kernel, out); }

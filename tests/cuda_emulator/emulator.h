// What a CUDA kernel sees when g++ compiles it for the emulator. The runtime behind it is emulator.cpp.
//
// Every CUDA thread is a fiber, with a stack of its own; all of them run on one OS thread. A fiber runs until it waits
// (at a barrier, at a warp operation, or to look at memory that another block writes); which one runs next is drawn
// from a seed. So a run is repeatable, a grid-wide barrier works, and a missing wait shows under some seed.
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
struct alignas(16) float4 {
    float x, y, z, w;
};

namespace emulator {
struct View {  // what kernel code may read of the thread that runs it
    dim3 thread, block;
    unsigned lane;
    bool fenced;  // a __threadfence() since the last barrier
    void* shared;
};
extern View* current;
extern dim3 grid_size, block_size;

int barrier(int line, int predicate = 0);  // returns whether any thread's predicate holds
uint64_t warp_exchange(unsigned mask, uint64_t value, unsigned source, int line);
void warp_barrier(unsigned mask, int line);
void fence();
void look(const void* address);  // before a load of what others write: lets them run
void publish();                  // before an atomic write: others may be polling for it, so this is no livelock
long long clock();

// CUDA atomics are relaxed. A __threadfence() before a store makes it a release; a __threadfence() after a load makes
// that load an acquire: `look` notes the address, and `fence` acquires it.
template <class T>
T load(const T* p) {
    look(p);
    T value;
    __atomic_load(p, &value, __ATOMIC_RELAXED);
    return value;
}
template <class T>
void store(T* p, T value) {
    publish();
    if (current->fenced)
        __atomic_store(p, &value, __ATOMIC_RELEASE);
    else
        __atomic_store(p, &value, __ATOMIC_RELAXED);
}
template <class T>
T add(T* p, T value) {
    publish();
    look(p);
    return current->fenced ? __atomic_fetch_add(p, value, __ATOMIC_RELEASE) : __atomic_fetch_add(p, value, __ATOMIC_RELAXED);
}
template <class T>
T shuffle(unsigned mask, T value, unsigned source, int line) {
    uint64_t word = 0;
    memcpy(&word, &value, sizeof value);
    word = warp_exchange(mask, word, source, line);
    memcpy(&value, &word, sizeof value);
    return value;
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
#define __syncwarp(mask) emulator::warp_barrier(mask, __LINE__)
#define __shfl_sync(mask, value, source) emulator::shuffle(mask, value, source, __LINE__)
#define __shfl_xor_sync(mask, value, bits) emulator::shuffle(mask, value, emulator::current->lane ^ (bits), __LINE__)
#define __threadfence() emulator::fence()
#define __threadfence_system() emulator::fence()
#define clock64() emulator::clock()

inline int min(int a, int b) { return a < b ? a : b; }
inline unsigned atomicAdd(unsigned* p, unsigned value) { return emulator::add(p, value); }

#define EMULATE(kernel)                                                                                           \
    static void thread_##kernel(void* const* arguments) { emulator::call(kernel, arguments); }                    \
    extern "C" const char* emulate_##kernel(const emulator::Launch* l) { return run(*l, thread_##kernel); }        \
    extern "C" void widths_##kernel(int* out) { emulator::widths(kernel, out); }

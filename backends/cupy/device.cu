// The few things that are spelled differently on a GPU and in the emulator of the tests.
//
// look, publish    one element of memory that other blocks write, or read, at the same time: relaxed accesses at the
//                  scope of the device. They go to L2, and the compiler neither merges them nor moves them.
// look_wide        16 bytes at once. Each element arrives whole; the elements may be of different ages.
// …_if             the same where `wanted`; otherwise v stays as it is. The predicate is the load's own: no branch.

#ifdef XRNN_EMULATOR
#define SHARED_MEMORY(name) void* const name = emulator::current->shared

inline void look_wide(const float* p, float (&v)[4]) {
    for (int c = 0; c < 4; ++c) v[c] = emulator::load(p + c);
}
inline void look_wide(const double* p, double (&v)[2]) {
    for (int c = 0; c < 2; ++c) v[c] = emulator::load(p + c);
}
template <class T>
T look(const T* p) {
    return emulator::load(p);
}
template <class T, int n>
void look_wide_if(bool wanted, const T* p, T (&v)[n]) {
    if (wanted) look_wide(p, v);
}
template <class T>
void look_if(bool wanted, const T* p, T& v) {
    if (wanted) v = look(p);
}
template <class T>
void publish(T* p, T value) {
    emulator::store(p, value);
}
inline void tell_host(unsigned* word) { emulator::store(word, 1u); }
inline unsigned bits_of(float x) { return emulator::bits<unsigned>(x); }
inline unsigned long long bits_of(double x) { return emulator::bits<unsigned long long>(x); }
#else
#define SHARED_MEMORY(name)              \
    extern __shared__ Vector dynamic_[]; \
    void* const name = dynamic_

__device__ __forceinline__ void look_wide(const float* p, float (&v)[4]) {
    asm volatile("ld.relaxed.gpu.global.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(v[0]), "=f"(v[1]), "=f"(v[2]), "=f"(v[3])
                 : "l"(__cvta_generic_to_global(p))
                 : "memory");
}
__device__ __forceinline__ void look_wide(const double* p, double (&v)[2]) {
    asm volatile("ld.relaxed.gpu.global.v2.f64 {%0, %1}, [%2];"
                 : "=d"(v[0]), "=d"(v[1])
                 : "l"(__cvta_generic_to_global(p))
                 : "memory");
}
__device__ __forceinline__ float look(const float* p) {
    float v;
    asm volatile("ld.relaxed.gpu.global.f32 %0, [%1];" : "=f"(v) : "l"(__cvta_generic_to_global(p)) : "memory");
    return v;
}
__device__ __forceinline__ void look_wide_if(bool wanted, const float* p, float (&v)[4]) {
    asm volatile(
        "{\n.reg .pred wanted;\nsetp.ne.s32 wanted, %5, 0;\n"
        "@wanted ld.relaxed.gpu.global.v4.f32 {%0, %1, %2, %3}, [%4];\n}"
        : "+f"(v[0]), "+f"(v[1]), "+f"(v[2]), "+f"(v[3])
        : "l"(__cvta_generic_to_global(p)), "r"(int(wanted))
        : "memory");
}
__device__ __forceinline__ void look_wide_if(bool wanted, const double* p, double (&v)[2]) {
    asm volatile(
        "{\n.reg .pred wanted;\nsetp.ne.s32 wanted, %3, 0;\n"
        "@wanted ld.relaxed.gpu.global.v2.f64 {%0, %1}, [%2];\n}"
        : "+d"(v[0]), "+d"(v[1])
        : "l"(__cvta_generic_to_global(p)), "r"(int(wanted))
        : "memory");
}
__device__ __forceinline__ void look_if(bool wanted, const float* p, float& v) {
    asm volatile("{\n.reg .pred wanted;\nsetp.ne.s32 wanted, %2, 0;\n@wanted ld.relaxed.gpu.global.f32 %0, [%1];\n}"
                 : "+f"(v)
                 : "l"(__cvta_generic_to_global(p)), "r"(int(wanted))
                 : "memory");
}
__device__ __forceinline__ void look_if(bool wanted, const double* p, double& v) {
    asm volatile("{\n.reg .pred wanted;\nsetp.ne.s32 wanted, %2, 0;\n@wanted ld.relaxed.gpu.global.f64 %0, [%1];\n}"
                 : "+d"(v)
                 : "l"(__cvta_generic_to_global(p)), "r"(int(wanted))
                 : "memory");
}
__device__ __forceinline__ void publish(float* p, float value) {
    asm volatile("st.relaxed.gpu.global.f32 [%0], %1;" ::"l"(__cvta_generic_to_global(p)), "f"(value) : "memory");
}
__device__ __forceinline__ void publish(double* p, double value) {
    asm volatile("st.relaxed.gpu.global.f64 [%0], %1;" ::"l"(__cvta_generic_to_global(p)), "d"(value) : "memory");
}
__device__ __forceinline__ void tell_host(unsigned* word) {
    asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(__cvta_generic_to_global(word)), "r"(1u) : "memory");
}
__device__ __forceinline__ unsigned bits_of(float x) { return __float_as_uint(x); }
__device__ __forceinline__ unsigned long long bits_of(double x) { return __double_as_longlong(x); }
#endif

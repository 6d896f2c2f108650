// The few operations that a GPU and the tests' emulator write differently.
//
// Memory that other blocks read or write at the same time is accessed by relaxed operations at device scope. They go to
// L2, and the compiler neither merges nor moves them.
// look_if       reads one element if `wanted`; otherwise v keeps its value. The load itself is predicated: no branch.
// look_wide_if  16 bytes at once. Each element is read atomically; different elements may be of different ages.
// publish       writes one element. publish_wide: 16 bytes, atomic by element.
//
// fetch_ahead   brings an element into L2.
// nanoseconds   a clock. Reading it may take longer than a poll of memory, so only one poll in kPolls does.

#ifdef XRNN_EMULATOR
#define SHARED_MEMORY(name) void* const name = emulator::current->shared

template <class T>
void look_if(bool wanted, const T* p, T& v) {
    if (wanted) v = emulator::load(p);
}
template <class T, int n>
void look_wide_if(bool wanted, const T* p, T (&v)[n]) {
    if (wanted) emulator::require_aligned(p);
    for (int e = 0; e < n && wanted; ++e) v[e] = emulator::load(p + e);
}
template <class T>
void publish(T* p, T value) {
    emulator::store(p, value);
}
template <class T, int n>
void publish_wide(T* p, const T (&v)[n]) {
    emulator::require_aligned(p);
    for (int e = 0; e < n; ++e) publish(p + e, v[e]);
}
inline void tell_host(unsigned* word) { emulator::store(word, 1u); }
inline void fetch_ahead(const void*) {}
constexpr unsigned kPolls = 1;
inline long long nanoseconds() { return clock64(); }
inline unsigned bits_of(float x) { return emulator::bits<unsigned>(x); }
inline unsigned long long bits_of(double x) { return emulator::bits<unsigned long long>(x); }
inline float float_of(unsigned bits) { return emulator::bits<float>(bits); }
#else
#define SHARED_MEMORY(name)              \
    extern __shared__ Vector dynamic_[]; \
    void* const name = dynamic_

XRNN_INLINE void look_wide_if(bool wanted, const float* p, float (&v)[4]) {
    asm volatile(
        "{\n.reg .pred wanted;\nsetp.ne.s32 wanted, %5, 0;\n"
        "@wanted ld.relaxed.gpu.global.v4.f32 {%0, %1, %2, %3}, [%4];\n}"
        : "+f"(v[0]), "+f"(v[1]), "+f"(v[2]), "+f"(v[3])
        : "l"(__cvta_generic_to_global(p)), "r"(int(wanted))
        : "memory");
}
XRNN_INLINE void look_wide_if(bool wanted, const double* p, double (&v)[2]) {
    asm volatile(
        "{\n.reg .pred wanted;\nsetp.ne.s32 wanted, %3, 0;\n"
        "@wanted ld.relaxed.gpu.global.v2.f64 {%0, %1}, [%2];\n}"
        : "+d"(v[0]), "+d"(v[1])
        : "l"(__cvta_generic_to_global(p)), "r"(int(wanted))
        : "memory");
}
XRNN_INLINE void look_if(bool wanted, const float* p, float& v) {
    asm volatile("{\n.reg .pred wanted;\nsetp.ne.s32 wanted, %2, 0;\n@wanted ld.relaxed.gpu.global.f32 %0, [%1];\n}"
                 : "+f"(v)
                 : "l"(__cvta_generic_to_global(p)), "r"(int(wanted))
                 : "memory");
}
XRNN_INLINE void look_if(bool wanted, const double* p, double& v) {
    asm volatile("{\n.reg .pred wanted;\nsetp.ne.s32 wanted, %2, 0;\n@wanted ld.relaxed.gpu.global.f64 %0, [%1];\n}"
                 : "+d"(v)
                 : "l"(__cvta_generic_to_global(p)), "r"(int(wanted))
                 : "memory");
}
XRNN_INLINE void publish(float* p, float value) {
    asm volatile("st.relaxed.gpu.global.f32 [%0], %1;" ::"l"(__cvta_generic_to_global(p)), "f"(value) : "memory");
}
XRNN_INLINE void publish(double* p, double value) {
    asm volatile("st.relaxed.gpu.global.f64 [%0], %1;" ::"l"(__cvta_generic_to_global(p)), "d"(value) : "memory");
}
XRNN_INLINE void publish_wide(float* p, const float (&v)[4]) {
    asm volatile("st.relaxed.gpu.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(p)), "f"(v[0]),
                 "f"(v[1]), "f"(v[2]), "f"(v[3])
                 : "memory");
}
XRNN_INLINE void fetch_ahead(const void* p) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(p)));
}
constexpr unsigned kPolls = 64;
XRNN_INLINE long long nanoseconds() {
    long long time;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(time));
    return time;
}
XRNN_INLINE void tell_host(unsigned* word) {
    asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(__cvta_generic_to_global(word)), "r"(1u) : "memory");
}
XRNN_INLINE unsigned bits_of(float x) { return __float_as_uint(x); }
XRNN_INLINE unsigned long long bits_of(double x) { return __double_as_longlong(x); }
XRNN_INLINE float float_of(unsigned bits) { return __uint_as_float(bits); }
#endif

// How long a thread has polled in vain. is_over() counts a poll: whether the first one is `limit` nanoseconds ago.
struct Patience {
    long long limit, since = 0;
    unsigned polls = 0;
    XRNN_INLINE bool is_over() {
        if (polls++ % kPolls) return false;
        const long long now = nanoseconds();
        if (polls == 1) since = now;
        return now - since > limit;
    }
};

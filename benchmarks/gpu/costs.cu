// What the selection's prediction is made of, one kernel each, which does it `times` times. device.cu precedes it.
//
// exchanges         each block writes an element, and waits for those of all blocks, one for each of its threads: the
//                   exchange of a step in a group. Cooperative. A block that waits for longer than `patience` nanoseconds
//                   gives up, and writes 1 to *gave_up
// round_trips       reads of L2, each at the address that the bits of the last one gave     → clock cycles
// wide_reads        16 bytes a thread, n elements in all, by each block         → clock cycles; four reads of a thread
//                   are under way at a time, as in group.cu: one by one they would wait for L2, not for its bandwidth.
//                   n is a power of two, a multiple of the 16 elements of each thread.
// slice_sums        the sum of n elements of shared memory by each thread, in their order     → clock cycles
// shuffles          additions of what another lane sent, each of which waits for the last one     → clock cycles
// broadcasts        n reads of 16 bytes of shared memory by each warp, the same for all of its threads    → clock cycles

struct alignas(16) Vector {
    float at[4];
};

XRNN_INLINE float look(const float* p) {
    float v = 0;
    look_if(true, p, v);
    return v;
}

extern "C" __global__ void exchanges(int times, float* mail, long long patience, unsigned* gave_up) {
    Patience waited{patience};
    bool lost = false;
    // Each block writes a cache line of its own.
    for (int i = 1; i <= times; ++i) {
        if (threadIdx.x == 0) publish(mail + 32 * blockIdx.x, float(i));
        while (!lost && look(mail + 32 * threadIdx.x) < float(i)) lost = waited.is_over();
        if (__syncthreads_or(lost)) {
            *gave_up = 1;
            return;
        }
    }
}

extern "C" __global__ void round_trips(int times, const float* next, long long* cycles) {
    unsigned at = 0;
    const long long since = clock64();
    for (int i = 0; i < times; ++i) at = bits_of(look(next + at));
    cycles[0] = clock64() - since;
    cycles[1] = at;  // so that the reads are needed
}

extern "C" __global__ void wide_reads(int times, const float* from, int n, long long* cycles) {
    constexpr int kReads = 4;
    float sum = 0;
    const long long since = clock64();
    for (int i = 0; i < times; ++i)
        for (int k = 4 * threadIdx.x; k < n; k += 4 * kReads * blockDim.x) {
            float v[kReads][4];
            // The mask in place of a comparison: a branch between the reads would make each wait.
#pragma unroll
            for (int e = 0; e < kReads; ++e) look_wide_if(true, from + ((k + 4 * e * blockDim.x) & (n - 1)), v[e]);
#pragma unroll
            for (int e = 0; e < kReads; ++e) sum += v[e][0] + v[e][1] + v[e][2] + v[e][3];
        }
    __syncthreads();
    if (threadIdx.x == 0) cycles[blockIdx.x] = clock64() - since + (sum == 0.5f);  // so that the reads are needed
}

extern "C" __global__ void slice_sums(int times, int n, long long* cycles) {
    SHARED_MEMORY(shared);
    float* partial = static_cast<float*>(shared) + threadIdx.x;  // (n, blockDim.x)
    for (int s = 0; s < n; ++s) partial[s * blockDim.x] = 0;
    __syncthreads();
    float sum = 0;
    const long long since = clock64();
    for (int i = 0; i < times; ++i) {
        float total = sum;  // so that the next sum waits for this one, as a step does
        for (int s = 0; s < n; ++s) total += partial[s * blockDim.x];
        sum = total;
    }
    __syncthreads();
    if (threadIdx.x == 0) cycles[blockIdx.x] = clock64() - since + (sum == 0.5f);
}

extern "C" __global__ void shuffles(int times, long long* cycles) {
    float sum = threadIdx.x;
    const long long since = clock64();
    for (int i = 0; i < times; ++i) sum += __shfl_xor_sync(~0u, sum, 1 + i % 16);
    __syncthreads();
    if (threadIdx.x == 0) cycles[blockIdx.x] = clock64() - since + (sum == 0.5f);
}

extern "C" __global__ void broadcasts(int times, int n, long long* cycles) {
    SHARED_MEMORY(shared);
    Vector* operand = static_cast<Vector*>(shared);  // (n,)
    for (int k = threadIdx.x; k < n; k += blockDim.x) operand[k] = Vector{};
    __syncthreads();
    Vector sum = {};
    const long long since = clock64();
    for (int i = 0; i < times; ++i)
#pragma unroll 8
        for (int k = 0; k < n; ++k)
            for (int c = 0; c < 4; ++c) sum.at[c] += operand[k].at[c];
    __syncthreads();
    if (threadIdx.x == 0) cycles[blockIdx.x] = clock64() - since + (sum.at[0] + sum.at[1] + sum.at[2] + sum.at[3] == 0.5f);
}

// What the selection's prediction is made of, one kernel each, which does it `times` times. device.cu precedes it.
//
// exchanges         an element from block to block and back; cooperative, two blocks: 2 · times hand-overs. A block that
//                   waits for longer than `patience` clock cycles gives up, and writes 1 to *gave_up
// round_trips       reads of L2, each at the address that the bits of the last one gave     → clock cycles
// wide_reads        16 bytes a thread, n elements in all, by each block         → clock cycles; four reads of a thread
//                   are under way at a time, as in group.cu: one by one they would wait for L2, not for its bandwidth.
//                   n is a power of two, a multiple of the 16 elements of each thread.

XRNN_INLINE float look(const float* p) {
    float v = 0;
    look_if(true, p, v);
    return v;
}

extern "C" __global__ void exchanges(int times, float* mail, long long patience, unsigned* gave_up) {
    const long long since = clock64();
    // Each block writes a cache line of its own.
    float* mine = mail + 32 * blockIdx.x;
    const float* theirs = mail + 32 * (1 - blockIdx.x);
    for (int i = 1; i <= times; ++i) {
        if (blockIdx.x == 0) publish(mine, float(i));
        while (look(theirs) != float(i)) {
            if (clock64() - since <= patience) continue;
            *gave_up = 1;
            return;
        }
        if (blockIdx.x == 1) publish(mine, float(i));
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

// A barrier of a cluster of eight blocks, `times` times → clock cycles. sm_90 and up.

extern "C" __global__ void __cluster_dims__(8, 1, 1) cluster_barriers(int times, long long* cycles) {
    const long long since = clock64();
    for (int i = 0; i < times; ++i)
        asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
    if (threadIdx.x == 0) cycles[blockIdx.x] = clock64() - since;
}

// What the two kernels share: how a block keeps its columns of the recurrent matrix, and multiplies by them.
//
//     forward    hs[t+1] = φ(start[t] + hs[t] @ W)                  W = Wh,  start = x @ Wx + b,  state = hs
//     backward   dz[t] = (start[t] + dz[t+1] @ W) · φ'(z[t])       W = Whᵀ, start = dh,          state = dz
//
// T time steps, N batch, H hidden size. Every array is C-contiguous and 16-byte aligned:
//     W (H, H)    start (T, N, H)    hs (T+1, N, H), read by backward only
//     state    forward: hs, (T+1, N, H), whose row 0 is given (h_prev), so that the first step is like the others
//              backward: dz, (T, N, H), of which the last step stands alone: nothing comes after it. (Its product
//              with a row of zeros would make a NaN of every NaN or infinity in W.)
//
// The launch code defines, and compiles one module for each combination in use:
//     REAL       float or double
//     ROWS       batch rows that are multiplied at a time: 1, 2 or 4
//     KEPT       rows of W that a thread keeps in registers: 8, 16 or 32
//     BACKWARD   0 or 1
//
// Who owns what. A thread has 16 bytes of columns, `Vector`, and one slice of the sum over k:
//     thread = slice_index · column_threads + column_index
// so its share of W is (slice, one Vector): the first KEPT rows in registers, the rest in shared memory, for the whole
// sequence. Each step it multiplies its slice of the ROWS states by its share; the slices' sums meet in shared memory
// and are added in the order of the slices: the result doesn't depend on the schedule.
//
// Why it is fast: W is read from memory once a sequence. A state is read from shared memory as a broadcast, 16 bytes
// for 16 (double: 4) multiplications per row. The product reads shared memory without bank conflicts: neighbouring
// threads touch neighbouring Vectors, and the pitch of a slice of states is an odd number of Vectors. The slices' sums
// are written without them where ROWS is 1 or column_threads a multiple of 8; elsewhere a few Vectors share a bank.

typedef REAL Real;
constexpr int kVector = 16 / sizeof(Real);
constexpr int kMaxThreads = 256;  // so that a thread may have 255 registers

struct alignas(16) Vector {
    Real at[kVector];
};

struct Geometry {
    int H;
    int columns;         // of W, in this block: at most column_threads · kVector, and at most the number of threads
    int column_threads;  // threads side by side
    int slice;           // k's of a slice: a multiple of kVector, at least KEPT
    int pitch;           // from one slice of a state in shared memory to the next: an odd number of Vectors
};

struct Tile {
    Geometry g;
    int slices, column_index, slice_index;
    Vector kept[KEPT];
    Vector* rest;   // (slice - KEPT, threads)
    Real* state;    // (ROWS, slices, pitch): the states to be multiplied; what no column fills stays zero
    Real* partial;  // (slices, ROWS, column_threads · kVector)

    // Lays out the block's shared memory and brings in the columns `first` … of W.
    __device__ __forceinline__ Tile(const Geometry& geometry, void* shared, const Real* W, int first) : g(geometry) {
        slices = blockDim.x / g.column_threads;
        column_index = threadIdx.x % g.column_threads;
        slice_index = threadIdx.x / g.column_threads;
        rest = static_cast<Vector*>(shared);
        state = reinterpret_cast<Real*>(rest + (g.slice - KEPT) * blockDim.x);
        partial = state + ROWS * slices * g.pitch;

#pragma unroll
        for (int k = 0; k < KEPT; ++k) kept[k] = weights(W, first, k);
        for (int k = KEPT; k < g.slice; ++k) rest[(k - KEPT) * blockDim.x + threadIdx.x] = weights(W, first, k);
        for (int i = threadIdx.x; i < ROWS * slices * g.pitch; i += blockDim.x) state[i] = 0;
    }

    // Row k of this thread's share of W, with zeros where W ends.
    __device__ __forceinline__ Vector weights(const Real* W, int first, int k) const {
        const int row = slice_index * g.slice + k;
        Vector w;
#pragma unroll
        for (int c = 0; c < kVector; ++c) {
            const int j = column_index * kVector + c;
            w.at[c] = row < g.H && j < g.columns ? W[static_cast<size_t>(row) * g.H + first + j] : Real(0);
        }
        return w;
    }

    // Where element k of the tile's row n lies.
    __device__ __forceinline__ Real* state_at(int n, int k) const {
        return state + n * slices * g.pitch + k + k / g.slice * (g.pitch - g.slice);
    }

    // This thread's slice of state @ W, left in `partial`.
    __device__ __forceinline__ void multiply() const {
        Real sum[ROWS][kVector] = {};
        const Real* mine = state + slice_index * g.pitch;
#pragma unroll
        for (int k = 0; k < KEPT; k += kVector) accumulate(sum, mine + k, kept + k);
        for (int k = KEPT; k < g.slice; k += kVector) {
            Vector w[kVector];
#pragma unroll
            for (int c = 0; c < kVector; ++c) w[c] = rest[(k - KEPT + c) * blockDim.x + threadIdx.x];
            accumulate(sum, mine + k, w);
        }
#pragma unroll
        for (int n = 0; n < ROWS; ++n) {
            Vector v;
#pragma unroll
            for (int c = 0; c < kVector; ++c) v.at[c] = sum[n][c];
            reinterpret_cast<Vector*>(partial)[(slice_index * ROWS + n) * g.column_threads + column_index] = v;
        }
    }

    // sum[n] += h[n][0 … kVector-1] @ w, w being as many rows of W.
    __device__ __forceinline__ void accumulate(Real (&sum)[ROWS][kVector], const Real* h, const Vector* w) const {
#pragma unroll
        for (int n = 0; n < ROWS; ++n) {
            const Vector v = *reinterpret_cast<const Vector*>(h + n * slices * g.pitch);
#pragma unroll
            for (int k = 0; k < kVector; ++k)
#pragma unroll
                for (int c = 0; c < kVector; ++c) sum[n][c] += v.at[k] * w[k].at[c];
        }
    }

    // Σ over the slices, in their order.
    __device__ __forceinline__ Real total(int n, int j) const {
        Real sum = 0;
        for (int s = 0; s < slices; ++s) sum += partial[(s * ROWS + n) * g.column_threads * kVector + j];
        return sum;
    }
};

// The value of an output: `z` is start + the sum, `h` what forward made of it (backward only).
__device__ __forceinline__ Real value_of(Real z, Real h, int relu) {
#if BACKWARD
    return z * (relu ? Real(h > 0) : 1 - h * h);  // φ' comes from the output: the pre-activation need not be kept
#else
    if (relu) return z < 0 ? Real(0) : z;  // so written, a NaN stays one
    return tanh(z);
#endif
}

// What a thread's outputs need beside the product: of start, and of hs (backward only).
struct Inputs {
    Real z[ROWS], h[ROWS];
};

// Which outputs a thread finishes: column j, and of the tile's rows n, n + stride, …: ROWS of them at most, because
// a block has at least as many threads as columns.
struct Outputs {
    int j, n, stride;

    __device__ __forceinline__ explicit Outputs(int columns)
        : j(threadIdx.x % columns), n(threadIdx.x / columns), stride(blockDim.x / columns) {
        if (n >= stride) n = ROWS;  // threads that are left over finish nothing
    }

    // Asks for the inputs of a tile. start, hs: (rows, H), at the block's columns.
    //
    // The kernels ask one tile ahead: a read of memory takes longer than a step of a small H, and what is asked for in
    // one step has all of it to arrive.
    __device__ __forceinline__ Inputs ask(const Real* start, const Real* hs, int rows, int H) const {
        Inputs inputs;
#pragma unroll
        for (int e = 0; e < ROWS; ++e) {
            const int row = n + e * stride;
            const size_t at = static_cast<size_t>(row) * H + j;
            inputs.z[e] = row < rows ? start[at] : Real(0);
            inputs.h[e] = BACKWARD && row < rows ? hs[at] : Real(0);
        }
        return inputs;
    }

    // Calls store(row, value) for each. alone: without a product.
    template <class Store>
    __device__ __forceinline__ void finish(const Tile& tile, const Inputs& inputs, int rows, bool alone, int relu,
                                           Store store) const {
#pragma unroll
        for (int e = 0; e < ROWS; ++e) {
            const int row = n + e * stride;
            if (row >= rows) continue;
            const Real z = alone ? inputs.z[e] : inputs.z[e] + tile.total(row, j);
            store(row, value_of(z, inputs.h[e], relu));
        }
    }
};

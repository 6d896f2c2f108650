// How a block holds its part of Wh for a complete sequence, and multiplies a tile of ROWS batch rows by it.
//
//     ROWS      batch rows that are multiplied at a time
//     HELD      rows of the block's weights that a thread holds in registers
//     OUTPUTS   (row, unit) pairs of a tile that a thread computes the cell's step for: ROWS · units ≤ OUTPUTS · threads
//
// A block's weights are a matrix (K, columns), described by Run::Weights. In group-partial they are those of forward,
// transposed.
//
// A thread has 16 bytes of columns, a Vector, and one slice of the sum over k:
//     thread = slice_index · column_threads + column_index
// so its share is (slice, one Vector): the first HELD rows in registers, the rest in shared memory. Each step it
// multiplies its slice of the ROWS operands by its share. If column_threads divides 32, the threads of one column lie in
// the same lanes of a warp, and shuffles add the sums of the warp's slices. What is left, a sum for each warp or slice,
// meets in shared memory. All additions have a fixed order: the result doesn't depend on the schedule.
//
// Why it is fast: Wh is read from memory once a sequence. An operand is read from shared memory as a broadcast, 16 bytes
// for 16 (double: 4) multiplications per row. The product reads shared memory without bank conflicts: neighbouring
// threads read neighbouring Vectors, and the pitch of a slice of operands is an odd number of Vectors.

struct Geometry {
    int K;               // rows of the block's weights
    int columns;         // of the block's weights: at most column_threads · kVector
    int column_threads;  // threads side by side
    int slice;           // rows of a slice: a multiple of kVector, at least HELD
    int pitch;           // from one slice of an operand in shared memory to the next: an odd number of Vectors
};

// Adds x, 2 · half elements (half = 0: one), over the lanes of a warp that are a multiple of `apart` apart, among each
// `span` lanes side by side. Both are powers of two. In each turn, two lanes exchange half of their elements, and each adds
// up the half that it keeps. Returns the index of the first element that is left, in x[0]: 2 · half · apart / span are.
// When only one is left, the lanes that share it keep copies of its sum.
template <int half>
XRNN_INLINE int add_lanes(Real* x, int apart, int span) {
    const unsigned all = blockDim.x < 32 ? (1u << blockDim.x) - 1 : ~0u;
    if constexpr (half == 0) {
        for (; apart < span; apart *= 2) x[0] += __shfl_xor_sync(all, x[0], apart);
        return 0;
    } else {
        if (apart >= span) return 0;
        const bool upper = threadIdx.x & apart;
#pragma unroll
        for (int e = 0; e < half; ++e) {
            const Real other = __shfl_xor_sync(all, upper ? x[e] : x[half + e], apart);
            x[e] = (upper ? x[half + e] : x[e]) + other;
        }
        return (upper ? half : 0) + add_lanes<half / 2>(x, 2 * apart, span);
    }
}

struct Tile {
    Geometry g;
    int slices, column_index, slice_index;
    int team;        // threads that share operands, which no others read: a warp, or the block
    int begin, end;  // the rows of the weights that a team has
    int span;        // threads side by side whose sums shuffles add: a warp, or those of one slice
    int sums;        // of each element: one for each span
    int place;       // in `partial`, of this thread's sums
    int left;        // the number of them after the shuffles
    Vector held[HELD];
    Vector* rest;     // (slice - HELD, threads)
    Real* operand;    // (ROWS, slices, pitch): what is multiplied; elements past K stay zero
    Real* partial;    // (sums, ROWS, column_threads · kVector)
    int other = 0;    // from `partial` to the place of the next product's, if that is another
    Real* remaining;  // shared memory behind the tile

    // Lays out the block's shared memory, loads the weights and clears the operands. Of a slice from row k0 on, element
    // (k0 + k, j) lies at w.column(j, k0) + w.row(k0, k), and w.wide() says how to read several rows (`rows`). Offsets
    // from a slice's begin are constants to the compiler, which saves registers.
    template <class Weights>
    XRNN_INLINE Tile(const Weights& w, int column_threads, int slice, int pitch, void* shared)
        : g{w.K(), w.columns(), column_threads, slice, pitch} {
        slices = blockDim.x / g.column_threads;
        column_index = threadIdx.x % g.column_threads;
        slice_index = threadIdx.x / g.column_threads;
        const bool divides = 32 % g.column_threads == 0;
        team = divides ? min(32, blockDim.x) : blockDim.x;
        span = divides ? team : g.column_threads;
        const int share = team / g.column_threads * slice, all = ROWS * kVector * g.column_threads;
        begin = threadIdx.x / team * share;
        end = min(g.K, begin + share);
        sums = blockDim.x / span;
        place = threadIdx.x / span * all + column_index * kVector;
        left = all >= span ? all / span : threadIdx.x % span < all;  // of copies, the first
        rest = static_cast<Vector*>(shared);
        operand = reinterpret_cast<Real*>(rest + (g.slice - HELD) * blockDim.x);
        partial = operand + ROWS * slices * g.pitch;
        remaining = partial + size();

        const Real* columns[kVector];
#pragma unroll
        for (int c = 0; c < kVector; ++c) {
            const int j = column_index * kVector + c;
            columns[c] = j < g.columns ? w.column(j, slice_index * g.slice) : nullptr;
        }
        w.wide() ? load<true>(w, columns) : load<false>(w, columns);
        for (int i = threadIdx.x; i < ROWS * slices * g.pitch; i += blockDim.x) operand[i] = 0;
        __syncthreads();  // the zeros are in place
    }

    // Loads this thread's share. Each turn of the second loop requests kVector rows before it waits for them.
    template <bool wide, class Weights>
    XRNN_INLINE void load(const Weights& w, const Real* const (&columns)[kVector]) {
#pragma unroll
        for (int k = 0; k < HELD; k += kVector) rows<wide>(w, columns, k, held + k);
#pragma unroll 1
        for (int k = HELD; k < g.slice; k += kVector) {
            Vector v[kVector];
            rows<wide>(w, columns, k, v);
#pragma unroll
            for (int r = 0; r < kVector; ++r) rest[(k - HELD + r) * blockDim.x + threadIdx.x] = v[r];
        }
    }

    // Rows k … k + kVector - 1 of this thread's share, with zeros where the weights end. wide: read 16 bytes at a time,
    // which lie along the columns or along the rows, aligned, without a remainder. Read one by one, elements along the
    // rows would take a sector each.
    template <bool wide, class Weights>
    XRNN_INLINE void rows(const Weights& w, const Real* const (&columns)[kVector], int k, Vector* v) const {
        const int k0 = slice_index * g.slice;
#pragma unroll
        for (int r = 0; wide && Weights::kAlongColumns && r < kVector; ++r) {
            v[r] = Vector{};
            if (k0 + k + r < g.K && columns[0]) v[r] = *reinterpret_cast<const Vector*>(columns[0] + w.row(k0, k + r));
        }
        if (wide && Weights::kAlongColumns) return;
#pragma unroll
        for (int c = 0; c < kVector; ++c) {
            Vector column = {};
            if (wide) {
                if (k0 + k < g.K && columns[c]) column = *reinterpret_cast<const Vector*>(columns[c] + w.row(k0, k));
            } else {
#pragma unroll
                for (int r = 0; r < kVector; ++r)
                    if (k0 + k + r < g.K && columns[c]) column.at[r] = columns[c][w.row(k0, k + r)];
            }
#pragma unroll
            for (int r = 0; r < kVector; ++r) v[r].at[c] = column.at[r];
        }
    }

    XRNN_INLINE int size() const { return sums * ROWS * g.column_threads * kVector; }  // of `partial`

    // The operands of this thread's team are in place.
    XRNN_INLINE void meet() const {
        if (team < blockDim.x) __syncwarp();
        else __syncthreads();
    }

    // Where element k of the tile's row n lies.
    XRNN_INLINE Real* operand_at(int n, int k) const {
        return operand + n * slices * g.pitch + k + k / g.slice * (g.pitch - g.slice);
    }

    // operand @ weights: sums of the slices, left in `partial`.
    XRNN_INLINE void multiply() const {
        Real sum[ROWS * kVector] = {};
        const Real* mine = operand + slice_index * g.pitch;
#pragma unroll
        for (int k = 0; k < HELD; k += kVector) accumulate(sum, mine + k, held + k);
        for (int k = HELD; k < g.slice; k += kVector) {
            Vector w[kVector];
#pragma unroll
            for (int c = 0; c < kVector; ++c) w[c] = rest[(k - HELD + c) * blockDim.x + threadIdx.x];
            accumulate(sum, mine + k, w);
        }
        const int first = add_lanes<ROWS * kVector / 2>(sum, g.column_threads, span), row = g.column_threads * kVector;
        Real* to = partial + place + first / kVector * row + first % kVector;
        if (left >= kVector) {
#pragma unroll
            for (int n = 0; n < ROWS; ++n) {
                Vector v;
#pragma unroll
                for (int c = 0; c < kVector; ++c) v.at[c] = sum[n * kVector + c];
                if (n * kVector < left) *reinterpret_cast<Vector*>(to + n * row) = v;
            }
        } else {
#pragma unroll
            for (int e = 0; e < kVector / 2; ++e)
                if (e < left) to[e] = sum[e];
        }
    }

    // sum (ROWS, kVector): sum[n] += x[n][0 … kVector-1] @ w
    XRNN_INLINE void accumulate(Real* sum, const Real* x, const Vector* w) const {
#pragma unroll
        for (int n = 0; n < ROWS; ++n) {
            const Vector v = *reinterpret_cast<const Vector*>(x + n * slices * g.pitch);
#pragma unroll
            for (int k = 0; k < kVector; ++k)
#pragma unroll
                for (int c = 0; c < kVector; ++c) sum[n * kVector + c] += v.at[k] * w[k].at[c];
        }
    }

    // Element j of row n: Σ over the sums of it, in the order of the slices.
    XRNN_INLINE Real total(int n, int j) const {
        Real sum = 0;
        for (int s = 0; s < sums; ++s) sum += partial[(s * ROWS + n) * g.column_threads * kVector + j];
        return sum;
    }
};

// The outputs of a thread: at most OUTPUTS pairs of a row n of the tile and a unit u of the block, which has `own` units
// from `first` on. n ≥ ROWS: none. A tile has `rows` rows of the batch from first_row on.
struct Outputs {
    struct Inputs {
        Run::Inputs of[OUTPUTS];
    } ahead;
    int first, own, n[OUTPUTS], u[OUTPUTS];
    Own unit_own[OUTPUTS];
    State state[OUTPUTS];

    XRNN_INLINE Outputs(const Run& run, int first, int own) : first(first), own(own), state{} {
#pragma unroll
        for (int e = 0; e < OUTPUTS; ++e) {
            const int at = threadIdx.x + e * blockDim.x;
            n[e] = at / own;
            u[e] = at % own;
            unit_own[e] = run.own_of(first + u[e]);
        }
    }
    XRNN_INLINE void ask(const Run& run, int i, int first_row, int rows) {
#pragma unroll
        for (int e = 0; e < OUTPUTS; ++e)
            ahead.of[e] = run.ask(i, first_row + n[e], first + u[e], n[e] < rows);
    }
    XRNN_INLINE void load(const Run& run, int i, int first_row, int rows) {
#pragma unroll
        for (int e = 0; e < OUTPUTS; ++e)
            if (n[e] < rows) run.load(i, first_row + n[e], first + u[e], state[e]);
    }
    // The cell's steps. publish(n, k, p, x) writes x, element k of row n of the block's next operand, to *p.
    template <class Publish>
    XRNN_INLINE void finish(const Run& run, const Tile& tile, int i, int first_row, int rows, Inputs& in, bool store,
                            Publish publish) {
#pragma unroll
        for (int e = 0; e < OUTPUTS; ++e) {
            if (n[e] >= rows) continue;
            const int row = first_row + n[e], unit = first + u[e];
            const auto sum = [&](int g) { return tile.total(n[e], g * own + u[e]); };
            const auto publish_it = [&](Real* p, int g, Real x) { publish(n[e], g * own + u[e], p, x); };
            run.finish(i, row, unit, in.of[e], unit_own[e], state[e], sum, publish_it);
            if (store) run.store(i, row, unit, state[e]);
            run.add_own(row, unit, unit_own[e]);
        }
    }
};

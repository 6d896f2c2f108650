// The register tile: MR rows × NV vectors of sums over k.
//
//   out[m, j] = init[m, j] + Σ_segments Σ_k a[m, k] · b[k, j]
//
// The elements of a are broadcast, so a may have any strides; the columns of b and out are contiguous. The elements of
// a and b are numbers, or pairs of bfloat16 (pairs.h), which make two terms of the sum at once.
//
// The order of a sum depends only on the problem and the instruction-set level. The terms of a segment form chains of a
// fixed length. Each chain is summed from zero, as a fixed number of interleaved partial sums, which are then folded.
// The chains are added to `init` one after another. So no bit of the result depends on the number of threads, on the
// thread that computes a row or a column, or on the height and width of a tile.
#pragma once

#include "simd.h"

namespace {

// The order of a sum: the number of partial sums of a chain (1, 2, 4 or 8), and the terms of a chain, a multiple of it.
struct Order {
    int partials;
    int64_t chain;

    bool operator==(const Order& other) const { return partials == other.partials && chain == other.chain; }
};

// The next terms of a sum: a (rows, K) @ b (K, columns), or one chain that was summed before. The elements of a and b
// are of type P. If they are pairs, K counts pairs.
template <class P>
struct Segment {
    const P* a;
    int64_t a_row, a_col;  // strides of a in elements
    const P* b;            // readable in whole vectors, see Panels
    int64_t b_row;
    int64_t K;
    const Sum<P>* chain;  // null for a product; otherwise the chain's sums (rows, columns), with stride chain_row
    int64_t chain_row;
    const P *next, *next_end;  // memory that later tiles read as b; null if it is not prefetched
    const P* ahead;            // the tile prefetches a line for each term, from here on with stride ahead_step; or null
    int64_t ahead_step;
};

constexpr int MOST_SEGMENTS = 6;

// Some columns of a product: out = init + the terms of all segments. `run_rows` computes it, tile by tile.
template <class P>
struct Product {
    using S = Sum<P>;
    Segment<P> segments[MOST_SEGMENTS];
    int count = 0;            // of segments
    Order order;
    const S* init = nullptr;  // (rows, columns) with stride init_row, 0 if all rows have one init; null for zeros
    int64_t init_row = 0;
    S* out;  // (rows, columns) with stride out_row; may be init, and overlaps nothing else
    int64_t out_row;
    int last = Simd<S>::LANES;  // valid columns in the last vector of out, 1 … LANES
    bool of_chunks = false;     // out is the sum of many chunks
    bool far = false;           // out and the columns of a lie in a distant cache: prefetch both
    bool has_next = false;      // some segment has `next`

    explicit Product(Order order) : order(order) {}
};

// The next K terms of the sums: a @ b.
template <class P>
XRNN_INLINE void add_segment(Product<P>& product, const P* a, int64_t a_row, int64_t a_col, const P* b, int64_t b_row,
                             int64_t K) {
    Segment<P>& segment = product.segments[product.count++];
    segment.a = a;
    segment.a_row = a_row;
    segment.a_col = a_col;
    segment.b = b;
    segment.b_row = b_row;
    segment.K = K;
    segment.chain = nullptr;
    segment.next = segment.ahead = nullptr;
}

// The error of a chain grows with its length. A product by blocks adds about 256 terms one after another, too.
constexpr int64_t CHAIN = 256;

// Rows of the tallest tile with NV vectors. Its sums leave the registers free that a and b need for one term.
constexpr int tallest(int NV) { return (REGISTERS == 32 ? 24 : 12) / (NV < 2 ? 2 : NV); }

// Vectors in the widest tile of many rows, and in that of few rows. Many rows share each load of b. With few rows the
// time is that of reading b, and long pieces of its rows are read faster than short ones.
constexpr int WIDEST = REGISTERS == 32 ? 4 : 2, WIDEST_OF_FEW = 2 * WIDEST;
constexpr int FEW_ROWS = 2;

// A multiply-add takes about four cycles, in which eight of them can start. A tile with fewer sums leaves the units
// idle, since the next term of a sum waits for the one before.
constexpr int ENOUGH_SUMS = 8;

// Vectors in the widest tile for this number of rows. The rows are cut into tiles of about equal height. For some
// numbers of rows the tiles are low: 7 rows with at most 6 in a tile make tiles of 3 and 4 rows. Low tiles are made
// wider.
inline int widest(int64_t rows) {
    if (rows <= FEW_ROWS) return WIDEST_OF_FEW;
    for (int width = WIDEST; width < WIDEST_OF_FEW; ++width) {
        const int64_t tiles = (rows + tallest(width) - 1) / tallest(width);
        if (rows / tiles * width >= ENOUGH_SUMS) return width;
    }
    return WIDEST_OF_FEW;
}

// The number of partial sums for a product of this size with panels of at most `widest` vectors. A tile with fewer than
// ENOUGH_SUMS sums takes several partial sums.
template <class S>
int partials(int64_t rows, int64_t columns, int widest) {
    const int64_t vectors = (columns + Simd<S>::LANES - 1) / Simd<S>::LANES;
    const int64_t panels = (vectors + widest - 1) / widest;
    const int64_t width = panels ? (vectors + panels - 1) / panels : 1;
    const int64_t height = rows < tallest(int(width)) ? rows : tallest(int(width)), sums = width * height;
    return sums >= ENOUGH_SUMS ? 1 : sums >= 4 ? 2 : sums >= 2 ? 4 : 8;
}

// True for few rows and weights (K, columns) that are too large for the cores' own caches.
template <class S>
bool is_wide(int64_t rows, int64_t K, int64_t columns) {
    constexpr int64_t WIDE = 2 << 20;  // bytes: as much as two caches of 1 MiB each
    return rows <= FEW_ROWS && K * columns >= WIDE / int64_t(sizeof(S));
}

template <class S>
Order order_of_product(int64_t rows, int64_t columns, int widest) {
    return {partials<S>(rows, columns, widest), CHAIN};
}

// sums += a @ b for one k. The operand that needs fewer registers is loaded completely.
template <class P, int MR, int NV>
XRNN_INLINE void add_term(Vec<Sum<P>> (&sums)[MR][NV], const P* a, int64_t a_row, const P* b) {
    constexpr int W = Simd<P>::LANES;
    if constexpr (MR < NV) {
        Vec<P> as[MR];
#pragma GCC unroll 16
        for (int m = 0; m < MR; ++m) as[m] = broadcast<P>(a[m * a_row]);
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) {
            const Vec<P> y = load_once<MR, P>(load<P>(b + v * W));
#pragma GCC unroll 16
            for (int m = 0; m < MR; ++m) sums[m][v] = multiply_add(as[m], y, sums[m][v]);
        }
    } else {
        Vec<P> bs[NV];
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) bs[v] = load_once<MR, P>(load<P>(b + v * W));
#pragma GCC unroll 16
        for (int m = 0; m < MR; ++m) {
            const Vec<P> x = load_once<NV, P>(broadcast<P>(a[m * a_row]));
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) sums[m][v] = multiply_add(x, bs[v], sums[m][v]);
        }
    }
}

// Some tiles prefetch b some terms ahead: they use wide weights faster than the CPU's own prefetcher delivers them.
// Tiles of more than five rows compute for longer than b takes to arrive. In small tiles the loads and prefetches of a
// term, MR + 2 NV, would outnumber its multiply-adds, MR · NV. Some CPUs start as many of one kind as of the other.
constexpr bool prefetches(int MR, int NV) { return MR <= 5 && MR + 2 * NV <= MR * NV; }

// Tiles with many multiply-adds a term have room for one more prefetch. Only the tiles of many rows need it.
constexpr bool has_room(int MR, int NV) { return MR * NV >= 20 && NV <= WIDEST; }

// Elements of a line of the cache.
template <class P>
constexpr int64_t LINE = 64 / int64_t(sizeof(P));

// Choose the lines that a tile of this height prefetches while it computes: the next panel, or the elements of a some
// terms ahead. The CPU's own prefetcher does not follow columns of a, whose terms lie a row of the matrix apart.
template <class P>
XRNN_INLINE void look_ahead(Segment<P>& s, bool far, int64_t height) {
    if (far) {
        s.ahead = s.a + 8 * s.a_col + (height - 1) * s.a_row;
        s.ahead_step = s.a_col;
    } else if (s.next) {
        s.ahead = s.next < s.next_end ? s.next : nullptr;
        s.ahead_step = LINE<P>;
        s.next += s.K * LINE<P>;
    }
}

template <class P, int NV>
XRNN_INLINE void prefetch_row(const P* b) {
#pragma GCC unroll 8
    for (int c = 0; c < NV * Simd<P>::LANES; c += 64 / int(sizeof(P))) __builtin_prefetch(b + c);
}

// sums = a chain of k terms in U partial sums: term i goes to partial sum i mod U, the remainder at the end to the
// first. AHEAD: each term prefetches a line.
template <bool AHEAD, class P, int MR, int NV, int U>
XRNN_INLINE void accumulate(Vec<Sum<P>> (&sums)[U][MR][NV], const P* a, int64_t a_row, int64_t a_col, const P* b,
                            int64_t b_row, int64_t k, const P* ahead, int64_t ahead_step) {
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u)
#pragma GCC unroll 16
        for (int m = 0; m < MR; ++m)
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) sums[u][m][v] = Vec<Sum<P>>{};
    for (; k >= U; k -= U)
#pragma GCC unroll 8
        for (int u = 0; u < U; ++u, a += a_col, b += b_row) {
            if constexpr (prefetches(MR, NV)) prefetch_row<P, NV>(b + 8 * b_row);
            if constexpr (AHEAD) {
                __builtin_prefetch(ahead);
                ahead += ahead_step;
            }
            add_term<P, MR, NV>(sums[u], a, a_row, b);
        }
    if constexpr (U > 1)
        for (; k > 0; --k, a += a_col, b += b_row) add_term<P, MR, NV>(sums[0], a, a_row, b);
}

// sums[0] = Σ sums
template <class S, int MR, int NV, int U>
XRNN_INLINE void fold(Vec<S> (&sums)[U][MR][NV]) {
#pragma GCC unroll 3
    for (int half = U / 2; half > 0; half /= 2)
#pragma GCC unroll 4
        for (int u = 0; u < half; ++u)
#pragma GCC unroll 16
            for (int m = 0; m < MR; ++m)
#pragma GCC unroll 8
                for (int v = 0; v < NV; ++v) sums[u][m][v] += sums[u + half][m][v];
}

// out = start + sums. `start` is init for the first chain and out for the others; null stands for zeros.
template <class P, int MR, int NV, class S = Sum<P>>
XRNN_INLINE void close(const Product<P>& product, const Vec<S> (&sums)[MR][NV], const S* start, int64_t start_row) {
    constexpr int W = Simd<S>::LANES;
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m)
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) {
            const int n = v + 1 < NV ? W : product.last;
            Vec<S> sum = sums[m][v];
            if (start) sum += load_columns<S>(start + m * start_row + v * W, n);
            store_columns<S>(product.out + m * product.out_row + v * W, sum, n);
        }
}

template <class P, int MR, int NV, int U>
void compute_tile(const Product<P>& product) {
    using S = Sum<P>;
    constexpr int W = Simd<S>::LANES;
    Vec<S> sums[U][MR][NV];
    const S* start = product.init;
    int64_t start_row = product.init_row;
    bool closed = false;
    const auto add = [&]() __attribute__((always_inline)) {
        close<P, MR, NV>(product, sums[0], start, start_row);
        start = product.out;
        start_row = product.out_row;
        closed = true;
    };
    for (int i = 0; i < product.count; ++i) {
        const Segment<P>& s = product.segments[i];
        if (s.chain) {
#pragma GCC unroll 16
            for (int m = 0; m < MR; ++m)
#pragma GCC unroll 8
                for (int v = 0; v < NV; ++v) sums[0][m][v] = load<S>(s.chain + m * s.chain_row + v * W);
            add();
            continue;
        }
        const P *a = s.a, *b = s.b, *ahead = s.ahead;
        for (int64_t left = s.K; left > 0;) {
            const int64_t k = left < product.order.chain ? left : product.order.chain;
            if (has_room(MR, NV) && ahead)
                accumulate<has_room(MR, NV), P, MR, NV, U>(sums, a, s.a_row, s.a_col, b, s.b_row, k, ahead, s.ahead_step);
            else
                accumulate<false, P, MR, NV, U>(sums, a, s.a_row, s.a_col, b, s.b_row, k, ahead, s.ahead_step);
            fold<S, MR, NV, U>(sums);
            add();
            a += k * s.a_col;
            b += k * s.b_row;
            left -= k;
            if (ahead) ahead += k * s.ahead_step;
        }
    }
    if (closed) return;
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m)
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) sums[0][m][v] = Vec<S>{};
    add();
}

// The functions for tiles of U partial sums, by vectors and by rows, for all shapes that `partials` may choose U for.
template <class P, int U>
struct TileTable {
    using Function = void (*)(const Product<P>&);
    Function by_shape[WIDEST_OF_FEW][tallest(1)] = {};

    template <int NV, int MR>
    constexpr void fill() {
        if constexpr (U == 1 || MR * NV < 16 / U) by_shape[NV - 1][MR - 1] = compute_tile<P, MR, NV, U>;
        if constexpr (MR < tallest(NV))
            fill<NV, MR + 1>();
        else if constexpr (NV < WIDEST_OF_FEW)
            fill<NV + 1, 1>();
    }
    constexpr TileTable() { fill<1, 1>(); }
};

template <class P, int U>
constexpr TileTable<P, U> TILE_TABLE;

template <class P>
XRNN_INLINE const typename TileTable<P, 1>::Function* tiles_by_height(int partials, int NV) {
    switch (partials) {
        case 1: return TILE_TABLE<P, 1>.by_shape[NV - 1];
        case 2: return TILE_TABLE<P, 2>.by_shape[NV - 1];
        case 4: return TILE_TABLE<P, 4>.by_shape[NV - 1];
        default: return TILE_TABLE<P, 8>.by_shape[NV - 1];
    }
}

// The heights of the tallest of these tiles. `partials` chooses several partial sums only for low tiles, so there are
// no tall tiles with several. If a product with such an order has more rows than `partials` was called with, it is
// computed in more tiles of a lower height.
struct Heights {
    int by_shape[9][WIDEST_OF_FEW] = {};  // by number of partial sums and of vectors
    constexpr Heights() {
        for (int U = 1; U <= 8; U *= 2)
            for (int NV = 1; NV <= WIDEST_OF_FEW; ++NV) {
                const int most = U == 1 ? tallest(NV) : (16 / U - 1) / NV;
                by_shape[U][NV - 1] = most < tallest(NV) ? most : tallest(NV);
            }
    }
};
constexpr Heights TALLEST;

// Compute the first `height` rows as one tile. It reads out at its end only: the prefetch here saves it the wait.
template <class P>
XRNN_INLINE void run_tile(Product<P>& product, typename TileTable<P, 1>::Function compute, int NV, int64_t height) {
    if (product.far || product.has_next)
        for (int i = 0; i < product.count; ++i) look_ahead(product.segments[i], product.far, height);
    for (int64_t m = 0; product.far && product.init && m < height; ++m)
        fetch(product.out + m * product.out_row, NV * Simd<Sum<P>>::LANES);
    compute(product);
}

// Compute `rows` rows of NV vectors, in tiles as tall and as equal in height as possible. This moves the pointers of
// the product. A copy of it would stall: its fields were stored a moment ago one by one, and the wide loads of a copy
// would wait until those stores have reached the cache.
template <class P>
void run_rows(Product<P>& product, int NV, int64_t rows) {
    const auto* by_height = tiles_by_height<P>(product.order.partials, NV);
    const int64_t most = TALLEST.by_shape[product.order.partials][NV - 1];
    while (rows > most) {
        const int64_t tiles = (rows + most - 1) / most, height = rows / tiles;
        run_tile(product, by_height[height - 1], NV, height);
        rows -= height;
        for (int i = 0; i < product.count; ++i) {
            Segment<P>& s = product.segments[i];
            s.a += height * s.a_row;
            if (s.chain) s.chain += height * s.chain_row;
        }
        if (product.init) product.init += height * product.init_row;
        product.out += height * product.out_row;
    }
    if (rows > 0) run_tile(product, by_height[rows - 1], NV, rows);
}

}  // namespace

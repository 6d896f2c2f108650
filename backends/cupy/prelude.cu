// What the cells' headers of the CPU kernels need. On a GPU their V is a scalar.
//
// launch.py defines, and compiles a module for each combination in use:
//     REAL     float or double
//     CELL     the cell's template, such as Lstm
//     THREADS  the most threads of a block
//     ROWS, HELD, OUTPUTS   of a tile (tile.cu)
//     LOADS    vectors, or partial sums, that a thread requests at a time (exchange.cu)
//     AHEAD    rounds whose inputs a thread has requested (scan.cu)
#define XRNN_INLINE __device__ __forceinline__

typedef REAL Real;

XRNN_INLINE float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
XRNN_INLINE double multiply_add(double a, double b, double c) { return fma(a, b, c); }
XRNN_INLINE Real tanh_of_half(Real x) { return tanh(x / 2); }
XRNN_INLINE Real exp_negative(Real x) { return exp(x); }

// The Python face of the CPU kernels.
#include <nanobind/nanobind.h>

namespace nb = nanobind;

#if defined(__clang__)
#define XRNN_COMPILER "Clang " __clang_version__
#elif defined(__GNUC__)
#define XRNN_COMPILER "GCC " __VERSION__
#elif defined(_MSC_VER)
#define XRNN_STRING_(x) #x
#define XRNN_STRING(x) XRNN_STRING_(x)
#define XRNN_COMPILER "MSVC " XRNN_STRING(_MSC_VER)
#else
#define XRNN_COMPILER "an unknown compiler"
#endif

NB_MODULE(_kernels, m) {
    m.doc() = "The compiled kernels of the NumPy backend.";
    m.def("compiler", [] { return XRNN_COMPILER; }, "The compiler that built this module, with its version.");
}

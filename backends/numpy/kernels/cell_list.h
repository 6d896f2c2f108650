// The cells that have kernels. A new cell is one header in cells/ and its name in the list below.
//
// A header in cells/ defines a template over V: a vector of units on the CPU, a single number on a GPU. CUDA compiles the
// same headers, so they may use only XRNN_INLINE, multiply_add(V, V, V) and tanh(V). A header that calls another function
// says so in its first lines, and this function must be declared before the header is included.
//
//   NAME                 the name by which Python finds the kernels; no two cells share one
//   STATES               states of a unit; the first is h, the factor of Wh
//   PRE                  pre-activations z of a unit
//   FROM_X, FROM_H       FROM_X[i] is the pre-activation that part i of x @ Wx feeds; FROM_H likewise for h @ Wh, or
//                        nullptr if h feeds none: scan.h then runs the cell
//   OWN                  own parameters of a unit, such as its leak: arrays (H,), the `coefficients` of the Python cell
//   KEEPS_Z              the gradient reads z, as `step` left it
//   JOINED               optional, for cells that scan.h runs: the Python cell has one state, (…, STATES · H), in which
//                        the STATES states of this template lie side by side
//   DIRECT               h depends on the previous h outside z too, so `gradient` writes dbefore[0]
//   step(z, before, after, own)
//                        the states after a step, from z and the states before it; it may change z
//   gradient(dafter, before, after, z, own, dz, dbefore)
//                        the gradients of z and of the states before a step, from those of the states after it; then,
//                        in dz[PRE] to dz[PRE + OWN - 1], this step's part of the gradients of the own parameters
#pragma once

#include "exponential.h"

#include "cells/elman.h"
#include "cells/gru.h"
#include "cells/lstm.h"
#include "cells/lru.h"
#include "cells/min_gru.h"
#include "cells/min_lstm.h"
#include "cells/slstm.h"

// A build may add cells: XRNN_MORE_CELLS is a header that defines MORE_CELLS: the names of their templates, each after a comma.
// They come last, so that xrnn's own cells have the same numbers in every build.
#if defined(XRNN_MORE_CELLS)
#include XRNN_MORE_CELLS
#else
#define MORE_CELLS
#endif

namespace {

template <template <class> class... CellOf>
struct CellList {};

using Cells = CellList<TanhElman, ReluElman, SoftplusElman, LeakyTanhElman, LeakyReluElman, LeakySoftplusElman,
                       CurrentTanhElman, CurrentReluElman, CurrentSoftplusElman, Lstm, Gru, MinGru, MinGruPositive,
                       MinLstm, MinLstmPositive, Slstm, SlstmSigmoid, Lru MORE_CELLS>;

}  // namespace

// The cells that have kernels. A new one is its header and its name here: whatever else the kernels and Python's face of
// them must know of a cell, its template says.
#pragma once

#include "cells/elman.h"
#include "cells/gru.h"
#include "cells/lstm.h"

namespace {

template <template <class> class... CellOf>
struct CellList {
    static constexpr int COUNT = sizeof...(CellOf);
};

using Cells = CellList<TanhElman, ReluElman, LeakyTanhElman, LeakyReluElman, Lstm, Gru>;

}  // namespace

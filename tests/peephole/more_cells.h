// The cells that builds for tests have besides xrnn's: kernels/cell_list.h includes this file.
#pragma once

#include "peephole_lstm.h"

#define MORE_CELLS , PeepholeLstm

// The sizes and gates of a cell, which the passes read at run time. A pass is compiled once for all cells; only the
// function that runs a cell's step on a panel, or its gradient, is compiled for each cell.
#pragma once

#include "cell_list.h"
#include "weights.h"

namespace {

constexpr int MOST_GATES = 4;

// A gate is one pre-activation of a unit, also if the paper calls it otherwise: a block of z in Python. Wx consists of
// a part of H columns for each gate that x feeds, Wh of one for each gate that h feeds, and b of one for each gate.
struct Gates {
    int count;             // PRE
    int x_count, h_count;  // parts of Wx and of Wh
    int x_of[MOST_GATES];  // the part of Wx that feeds gate g, or -1
    int h_of[MOST_GATES];  // the part of Wh that feeds it, or -1
    int b_of[MOST_GATES];  // its part of b: the gates that x feeds come first, in the order of Wx, then the others
    int from_x[MOST_GATES], from_h[MOST_GATES];  // the gates that the parts of Wx and of Wh feed
};

struct Shape {
    int states, own;       // of a unit
    bool keeps_z, direct;  // KEEPS_Z and DIRECT of cell_list.h
    Gates gates;
};

// Fills `from` and `of` of Gates from FROM_X or FROM_H. Returns the number of parts.
template <int PARTS>
constexpr int feed(const int (&gates)[PARTS], int* from, int* of) {
    for (int i = 0; i < PARTS; ++i) {
        from[i] = gates[i];
        of[gates[i]] = i;
    }
    return PARTS;
}
constexpr int feed(decltype(nullptr), int*, int*) { return 0; }

template <class Cell>
constexpr Gates gates_of() {
    Gates gates = {.count = Cell::PRE,
                   .x_count = 0,
                   .h_count = 0,
                   .x_of = {-1, -1, -1, -1},
                   .h_of = {-1, -1, -1, -1},
                   .b_of = {},
                   .from_x = {},
                   .from_h = {}};
    gates.x_count = feed(Cell::FROM_X, gates.from_x, gates.x_of);
    gates.h_count = feed(Cell::FROM_H, gates.from_h, gates.h_of);
    for (int g = 0, others = gates.x_count; g < gates.count; ++g)
        gates.b_of[g] = gates.x_of[g] < 0 ? others++ : gates.x_of[g];
    return gates;
}

template <class Cell>
constexpr Shape SHAPE = {
    .states = Cell::STATES, .own = Cell::OWN, .keeps_z = Cell::KEEPS_Z, .direct = Cell::DIRECT, .gates = gates_of<Cell>()};

// The number of states of a unit that lie in one array.
template <class Cell>
constexpr int joined_states() {
    if constexpr (requires { Cell::JOINED; })
        return Cell::STATES;
    else
        return 1;
}

// A linear map, which has no recurrent part.
constexpr Gates ONE_GATE = {.count = 1,
                            .x_count = 1,
                            .h_count = 0,
                            .x_of = {0, -1, -1, -1},
                            .h_of = {-1, -1, -1, -1},
                            .b_of = {},
                            .from_x = {},
                            .from_h = {}};

// ---- what both forward passes do before the first step ----

// bias (gates, units): b, each row filled up with zeros.
template <class S>
void copy_bias(const xrnn::Forward<S>& f, const Gates& gates, int64_t units, S* bias) {
    const int64_t H = f.sequence.H;
    for (int g = 0; g < gates.count; ++g)
        copy_padded(f.b + gates.b_of[g] * H * f.b_stride, f.b_stride, H, units, bias + g * units);
}

// Write the initial states of a row, for the units [begin, end).
template <class S>
void write_initial_states(const xrnn::Forward<S>& f, int states, int64_t row, int64_t begin, int64_t end) {
    const xrnn::Sequence<S>& sequence = f.sequence;
    for (int k = 0; k < states; ++k) {
        const Matrix<S>& from = f.initial[k];
        S* const to =
            f.states[k] + ((sequence.reverse ? sequence.T * sequence.N : 0) + row) * sequence.state_row + begin;
        if (from.data)
            copy(from.data + row * from.row + begin * from.col, from.col, end - begin, to);
        else
            fill_zeros(to, end - begin);
    }
}

// The next terms of the sums: dz (rows, gates · H) @ Wᵀ, over the gates that W feeds; `of` is x_of or h_of, H the
// number of elements of a gate. Neighbouring gates with neighbouring parts make one segment.
template <class P>
XRNN_INLINE void add_gates(Product<P>& product, const Weights<P>& WT, Piece p, int gates, const int (&of)[MOST_GATES],
                           int64_t H, const P* dz, int64_t dz_row, Next next = {}) {
    for (int g = 0, end; g < gates; g = end) {
        end = g + 1;
        if (of[g] < 0) continue;
        while (end < gates && of[end] == of[end - 1] + 1) ++end;
        WT.add_to(product, p, 0, dz + g * H, dz_row, of[g] * H, (of[g] + end - g) * H, next);
    }
}

}  // namespace

// Recurrences with weights of 8 bits. _kernels.pyi describes the shapes.
#pragma once

#include <algorithm>
#include <optional>

#include "../kernels/int8.h"
#include "recurrences.h"

namespace {

template <>
constexpr int TYPE<int8_t> = NPY_INT8;
template <>
constexpr int TYPE<int32_t> = NPY_INT32;

// The fastest sums of the level in use for N rows: by tiles, or by AVX512-VNNI. Null: the float32 kernels' own sums.
struct FastestInt8Sums {
    Int8Sums sums = level.int8_sums;
    const char* by = sums ? "avx512vnni" : level.name;

    explicit FastestInt8Sums(int64_t N) {
        if (level.int8_tiles && N >= INT8_TILE_ROWS) {
            sums = level.int8_tiles;
            by = level.name;
        }
    }
};

// The arrays of a packed matrix: values, sums, scale. It must outlive the call.
struct Int8Input {
    int64_t K;
    int gates;
    Input<int8_t> values;
    Input<int32_t> sums;
    Input<float> scale;

    Int8Input(nb::handle packed, int64_t K, int gates, int64_t H)
        : K(K), gates(gates),
          values(item(packed, 0), {panels(H), (K + 3) / 4, gates, INT8_UNITS, 4}),
          sums(item(packed, 1), {panels(H), gates, INT8_UNITS}),
          scale(item(packed, 2), {panels(H), gates, INT8_UNITS}) {
        values.contiguous();
        sums.contiguous();
        scale.contiguous();
    }
    static int64_t panels(int64_t H) { return (H + INT8_UNITS - 1) / INT8_UNITS; }
    Int8Matrix matrix() const {
        return {.K = K, .gates = gates, .values = values.data(), .sums = sums.data(), .scale = scale.data()};
    }
};

// → states
nb::object int8_forward(nb::handle name, nb::handle x, nb::handle Wx, nb::handle Wh, nb::handle b, nb::handle initial,
                        nb::handle add, nb::handle own) {
    const Recurrence<float>& cell = recurrence<float>(name);
    const int64_t T = size(x, 0), N = size(x, 1), D = size(x, 2), H = size(b, 0) / cell.pre;
    Input<float> x_in(x, {T, N, D}), b_in(b, {cell.pre * H});
    const Int8Input Wx_in(Wx, D, cell.x_gates, H), Wh_in(Wh, H, cell.h_gates, H);
    StepsInput<float> add_in;
    std::optional<Input<float>> initial_in[MOST_STATES];
    std::optional<OwnParameter<float>> own_in[MOST_OWN];
    Int8Forward f = {.T = T,
                     .N = N,
                     .D = D,
                     .H = H,
                     .x = x_in.contiguous().data(),
                     .Wx = Wx_in.matrix(),
                     .Wh = Wh_in.matrix(),
                     .b = b_in.contiguous().data(),
                     .add = add_in.rows(add, false, T, N, cell.pre * H),
                     .initial = {},
                     .own = {},
                     .states = {},
                     .sums = FastestInt8Sums(N).sums};
    if (!PyTuple_Check(own.ptr()) || PyTuple_GET_SIZE(own.ptr()) != cell.own)
        throw nb::value_error("expected a tuple of the cell's own parameters");
    for (int k = 0; k < cell.own; ++k) f.own[k] = own_in[k].emplace(PyTuple_GET_ITEM(own.ptr(), k), H).data();
    nb::object states = nb::steal(PyTuple_New(cell.states));
    for (int k = 0; k < cell.states; ++k) {
        if (const nb::handle given = item(initial, k); !given.is_none())
            f.initial[k] = initial_in[k].emplace(given, std::initializer_list<int64_t>{N, H}).matrix();
        nb::object state = empty<float>({T + 1, N, H});
        f.states[k] = data<float>(state);
        PyTuple_SET_ITEM(states.ptr(), k, state.release().ptr());
    }
    const int most = int(std::clamp<int64_t>(Int8Input::panels(H), 1, MOST_THREADS));
    const int64_t columns = std::max(cell.x_gates, cell.h_gates) * H;
    const Division<Partition> division = divide(cell.int8, T, N, D + H, columns, sizeof(int8_t), false, most);
    const int threads = std::min(division.threads.threads, most);  // a forced number may be larger
    run_into<float>({}, cell.int8, f, Division<int>{threads, division.brief, division.call});
    return states;
}

}  // namespace

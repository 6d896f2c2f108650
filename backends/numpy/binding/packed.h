// The packed weights of a frozen layer.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <vector>

#include "../kernels/threads/scratch.h"
#include "arrays.h"
#include "levels.h"

namespace {

// The packed weights of two matrices that never change. Each form that uses them has its own, for up to two numbers of
// threads. Calls read and add them with the GIL held.
class PackedForms {
   public:
    // It keeps the arrays alive, so no other array is in their place in memory.
    PackedForms(nb::object Wx, nb::object Wh) : arrays{Wx, Wh}, Wx(place_of(Wx)), Wh(place_of(Wh)) {}
    PackedForms(const PackedForms&) = delete;

    // The packed weights for the form of a call and its partition. They are made at their first use, on one thread.
    // None if `sequence` has other matrices, if there is no memory, if the form cannot represent a weight, or if there
    // are packed weights for two other numbers of threads.
    template <class S>
    std::optional<PackedWeights> weights(const Form<S>& form, const Recurrence<S>& cell, const Sequence<S>& sequence,
                                         Partition partition) {
        const Operations<S>& by = form.operations;
        if (!has(sequence)) return std::nullopt;
        const int threads = panel_threads(partition);
        int made_before = 0;
        for (const Made& made : all) {
            if (made.by != &by) continue;
            if (made.weights.threads % threads == 0) return made.weights;
            ++made_before;
        }
        if (made_before == MOST) return std::nullopt;
        // Long calls with few rows gain most, so the columns are cut for the number of threads of such a call.
        const int64_t units = sequence.H / sequence.heads.count;  // of a head
        const int of_long = (cell.h_gates ? choose_partition(1'000, 1, sequence.D + units, cell.h_gates * sequence.H,
                                                             form.size, max_threads(), form.tiles)
                                          : choose_scan_partition(1'000, 1, sequence.D, cell.x_gates, sequence.H,
                                                                  form.size, max_threads(), form.tiles))
                                .threads;
        const int cut = of_long % threads == 0 ? of_long : threads;
        const auto pack_x = [&](char* to) {
            return by.pack(sequence.Wx, {}, sequence.D, cell.x_gates, sequence.H, cut, to);
        };
        const auto pack_h = [&](char* to) {
            return by.pack(sequence.Wh, sequence.heads, units, cell.h_gates, sequence.H, cut, to);
        };
        const int64_t x_bytes = (pack_x(nullptr) + ALIGNED - 1) / ALIGNED * ALIGNED;
        size_t bytes = x_bytes + pack_h(nullptr);
        char* const memory = static_cast<char*>(allocate(bytes));
        if (!memory) return std::nullopt;
        if (pack_x(memory) < 0 || pack_h(memory + x_bytes) < 0) {
            release(memory);
            exceptional.push_back(&by);
            return std::nullopt;
        }
        all.push_back({&by, std::unique_ptr<void, Free>(memory), {memory, memory + x_bytes, cut}});
        return all.back().weights;
    }

    // True if packing in this form has failed before. The call then uses the form without parts.
    template <class S>
    bool cannot_represent(const Form<S>& form, const Sequence<S>& sequence) const {
        return has(sequence) &&
               std::find(exceptional.begin(), exceptional.end(), &form.operations) != exceptional.end();
    }

   private:
    static constexpr int MOST = 2;  // for one form
    static constexpr int64_t ALIGNED = 64;

    struct Place {
        const void* data;
        int64_t head, row, col;  // strides in bytes
        bool operator==(const Place&) const = default;
    };
    static Place place_of(nb::handle W) {
        PyArrayObject* const array = as_array(W);
        const int axes = PyArray_NDIM(array);
        if (axes != 2 && axes != 3) throw nb::type_error("expected matrices");
        return {PyArray_DATA(array), axes == 3 ? PyArray_STRIDE(array, 0) : 0, PyArray_STRIDE(array, axes - 2),
                PyArray_STRIDE(array, axes - 1)};
    }
    template <class S>
    static Place place_of(Matrix<S> W, Heads heads) {
        constexpr int64_t SIZE = sizeof(S);
        return {W.data, heads.stride * SIZE, W.row * SIZE, W.col * SIZE};
    }
    template <class S>
    bool has(const Sequence<S>& sequence) const {
        return place_of(sequence.Wx, {}) == Wx && place_of(sequence.Wh, sequence.heads) == Wh;
    }

    struct Free {
        void operator()(void* memory) const { release(memory); }
    };
    struct Made {
        const void* by;  // the Operations of a form
        std::unique_ptr<void, Free> memory;
        PackedWeights weights;
    };

    const nb::object arrays[2];
    const Place Wx, Wh;
    std::vector<Made> all;
    std::vector<const void*> exceptional;  // the Operations of forms that cannot represent a weight
};

}  // namespace

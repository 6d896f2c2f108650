// The packed weights of a layer whose weights cannot change.
#pragma once

#include <cstdlib>
#include <memory>
#include <optional>
#include <vector>

#include "../kernels/threads/scratch.h"
#include "levels.h"

namespace {

// Calls read and fill it with the GIL held.
class PackedForms {
   public:
    PackedForms() = default;
    PackedForms(const PackedForms&) = delete;

    // The form for the operations of a level, made at its first use; none if there is no memory for it.
    // size: bytes of an element.
    template <class S>
    std::optional<PackedWeights> form(const Operations<S>& by, const Recurrence<S>& cell, const Sequence<S>& of,
                                      int64_t size) {
        for (const Made& made : all)
            if (made.by == &by) return made.weights;
        // The panels are cut for the threads of a long call with few rows, which gains most.
        const int threads =
            choose_partition(1'000, 1, of.D + of.H, cell.h_gates * of.H, size, max_threads()).threads;
        const auto pack = [&](Matrix<S> W, int64_t K, int gates, void* to) {
            return by.pack(W, K, gates, of.H, threads, to);
        };
        const int64_t x_bytes = pack(of.Wx, of.D, cell.x_gates, nullptr);
        size_t bytes = x_bytes + pack(of.Wh, of.H, cell.h_gates, nullptr);
        char* const memory = static_cast<char*>(allocate(bytes));
        if (!memory) return std::nullopt;
        pack(of.Wx, of.D, cell.x_gates, memory);
        pack(of.Wh, of.H, cell.h_gates, memory + x_bytes);
        all.push_back({&by, std::unique_ptr<void, Free>(memory), {memory, memory + x_bytes, threads}});
        return all.back().weights;
    }

   private:
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };
    struct Made {
        const void* by;  // the Operations of a level
        std::unique_ptr<void, Free> memory;
        PackedWeights weights;
    };
    std::vector<Made> all;
};

}  // namespace

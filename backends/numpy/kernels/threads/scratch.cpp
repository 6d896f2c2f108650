#include "scratch.h"

#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace xrnn {

namespace {

constexpr size_t MOST_KEPT = 64 << 20;
constexpr size_t PAGE = 4096, HUGE_PAGE = 2 << 20;

struct Memory {
    void* data = nullptr;
    size_t size = 0;

    void release() {
        std::free(data);
        data = nullptr, size = 0;
    }
    ~Memory() { release(); }
};

thread_local Memory memory;

}  // namespace

void* scratch(size_t bytes) {
    if (bytes > memory.size || !memory.data) {
        memory.release();
        // Two threads read 17 MB of packed weights at 187 GB/s from pages of 4 KiB, at 213 GB/s from huge pages.
        const bool huge = bytes >= 2 * HUGE_PAGE;
        const size_t page = huge ? HUGE_PAGE : PAGE, size = (bytes / page + 1) * page;
        memory.data = std::aligned_alloc(page, size);
        if (memory.data) memory.size = size;
#if defined(MADV_HUGEPAGE)
        if (memory.data && huge) madvise(memory.data, size, MADV_HUGEPAGE);
#endif
    }
    return memory.data;
}

void trim_scratch() {
    if (memory.size > MOST_KEPT) memory.release();
}

ScratchSetAside::ScratchSetAside() : data(memory.data), size(memory.size) { memory.data = nullptr, memory.size = 0; }

ScratchSetAside::~ScratchSetAside() {
    memory.release();
    memory.data = data, memory.size = size;
}

}  // namespace xrnn

#include "scratch.h"

#include <cstdlib>

namespace xrnn {

namespace {

constexpr size_t MOST_KEPT = 64 << 20;

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
        const size_t pages = (bytes / 4096 + 1) * 4096;
        memory.data = std::aligned_alloc(64, pages);
        if (memory.data) memory.size = pages;
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

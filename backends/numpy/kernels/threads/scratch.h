// Scratch memory of an operation.
#pragma once

#include <cstddef>

namespace xrnn {

// Allocates memory that is aligned to at least 64 bytes. It rounds `bytes` up, and asks for huge pages if they are many.
// Null if there is no memory.
void* allocate(size_t& bytes);

// Release memory of `allocate`, or null.
void release(void* memory);

// Memory of the calling thread, aligned to 64 bytes; its contents are lost at the next call. Null if there is no
// memory.
void* scratch(size_t bytes);

// Call this after an operation. Small scratch memory is kept for the next operation, since fresh pages cost more than
// the arithmetic of a small one; large memory is released.
void trim_scratch();

// Bytes that the calling thread keeps for the next operation. For tests.
size_t kept_scratch();

// While this object lives, `scratch` gives other memory. For a signal handler that runs operations in the middle of
// one.
class ScratchSetAside {
   public:
    ScratchSetAside();
    ~ScratchSetAside();
    ScratchSetAside(const ScratchSetAside&) = delete;

   private:
    void* data;
    size_t size;
};

}  // namespace xrnn

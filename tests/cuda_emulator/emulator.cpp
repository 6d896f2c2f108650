// The emulator's runtime: fibers, the schedule, barriers. See emulator.h for the idea.
//
// Compiled without sanitizers; with -DEMULATOR_TSAN each fiber is a ThreadSanitizer "thread".
#include "emulator.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <vector>

#ifdef EMULATOR_TSAN
extern "C" {
void* __tsan_create_fiber(unsigned);
void __tsan_destroy_fiber(void*);
void* __tsan_get_current_fiber();
void __tsan_switch_to_fiber(void*, unsigned);
void __tsan_acquire(void*);
void __tsan_release(void*);
}
#define TSAN(call) call
#else
#define TSAN(call) (void)0
#endif

namespace emulator {
namespace {
constexpr size_t kStack = 128 << 10;  // bytes a fiber: address space, which takes memory where it is touched
constexpr unsigned kNoOrder = 1;      // __tsan_switch_to_fiber: the switch itself orders nothing

struct Fiber;

// A queue of fibers. Its memory is allocated before a launch starts: ThreadSanitizer would take an allocation or a
// memmove while a fiber runs for an access by that CUDA thread.
struct Queue {
    std::vector<Fiber*> slot;
    size_t head = 0, count = 0;
    void resize(size_t capacity) { slot.assign(capacity, nullptr), head = count = 0; }
    Fiber*& operator[](size_t i) { return slot[(head + i) % slot.size()]; }
    void push(Fiber* fiber) { (*this)[count++] = fiber; }
    Fiber* take(size_t i) {
        Fiber* fiber = (*this)[i];
        (*this)[i] = slot[head];
        head = (head + 1) % slot.size(), count--;
        return fiber;
    }
};

// Where threads of a block or of a warp wait until all of them have arrived. Two generations take turns, because a fast
// thread arrives at the next meeting while a slow one is still leaving this one.
struct Meeting {
    unsigned arrived = 0, generation = 0, lanes = 0;
    int line = 0;
    int any[2] = {0, 0};  // by generation: __syncthreads_or
    double value[2][32];  // by generation and lane: what a shuffle reads
    char order[2];        // by generation: the address at which ThreadSanitizer is told of releases and acquires
    Queue waiting;
};

struct Block {
    Meeting all;
    std::vector<Meeting> warps;
    void* shared = nullptr;
};

struct Fiber : View {
    ucontext_t context;
    Block* owner;
    bool done = false;
    void* tsan = nullptr;
};

ucontext_t scheduler;
[[maybe_unused]] void* scheduler_tsan;
void (*kernel)(void* const*);
void* const* kernel_arguments;
Queue ready;
size_t live, idle_looks;  // fibers that have not ended; looks since anybody last did anything else
long long switches;       // what clock64() counts
char error[256];
[[maybe_unused]] char end_of_launch;  // every thread's last act is ordered before the launch returns

Fiber* me() { return static_cast<Fiber*>(current); }

void wait_for_others() {
    TSAN(__tsan_switch_to_fiber(scheduler_tsan, kNoOrder));
    swapcontext(&me()->context, &scheduler);
}

[[noreturn]] void fail(const char* what, int line = 0) {
    // Back to the scheduler, never to return here: a kernel owns nothing that would have to be destroyed.
    if (current)
        snprintf(error, sizeof error, "block (%u, %u), thread %u, line %d: %s", current->block.x, current->block.y,
                 current->thread.x, line, what);
    else
        snprintf(error, sizeof error, "%s", what);
    TSAN(__tsan_switch_to_fiber(scheduler_tsan, kNoOrder));
    setcontext(&scheduler);
    abort();
}

void run_thread() {
    kernel(kernel_arguments);
    TSAN(__tsan_release(&end_of_launch));
    if (me()->owner->all.arrived) fail("a thread ends while others of its block wait at __syncthreads");
    me()->done = true;
    live--;
    idle_looks = 0;
    wait_for_others();
}

Fiber* next(uint64_t& random) {
    if (!random) return ready.take(0);  // seed 0: in turn
    random ^= random << 13, random ^= random >> 7, random ^= random << 17;  // xorshift (Marsaglia, 2003)
    return ready.take(random % ready.count);
}

// Waits until `size` threads have come to this line.
void wait_at(Meeting& meeting, int line, unsigned size, const char* elsewhere) {
    idle_looks = 0;
    if (meeting.arrived == 0) meeting.line = line;
    else if (meeting.line != line) fail(elsewhere, line);
    if (++meeting.arrived == size) {
        meeting.arrived = 0;
        meeting.generation++;
        while (meeting.waiting.count) ready.push(meeting.waiting.take(0));
    } else {
        meeting.waiting.push(me());
        wait_for_others();
    }
}
}  // namespace

View* current;
dim3 grid_size, block_size;

int barrier(int line, int predicate) {
    Meeting& block = me()->owner->all;
    const unsigned generation = block.generation & 1;
    TSAN(__tsan_release(&block.order[generation]));
    if (block.arrived == 0) block.any[generation] = 0;  // no thread reads that of two barriers ago any more
    block.any[generation] |= predicate;
    wait_at(block, line, block_size.x, "threads of one block wait at different __syncthreads");
    TSAN(__tsan_acquire(&block.order[generation]));
    return block.any[generation];
}

double meet_in_warp(int line, bool orders, unsigned lanes, double value, unsigned apart) {
    Meeting& warp = me()->owner->warps[current->thread.x / 32];
    const unsigned generation = warp.generation & 1, lane = current->thread.x % 32, from = lane ^ apart;
    if (from >= 32 || !(lanes >> lane & lanes >> from & 1)) fail("a lane exchanges with one that is not named", line);
    if (warp.arrived && warp.lanes != lanes) fail("lanes of one warp name different lanes", line);
    warp.lanes = lanes;
    warp.value[generation][lane] = value;
    if (orders) TSAN(__tsan_release(&warp.order[generation]));
    wait_at(warp, line, __builtin_popcount(lanes), "lanes of one warp wait at different lines");
    if (orders) TSAN(__tsan_acquire(&warp.order[generation]));
    return warp.value[generation][from];
}

void look() {
    if (++idle_looks > 2000 + 100 * live)
        fail("livelock: every thread that can run is polling for something that nobody writes");
    ready.push(me());
    wait_for_others();
}

void require_aligned(const void* address) {
    if (reinterpret_cast<uintptr_t>(address) % 16) fail("a 16-byte access is misaligned");
}

void publish() { idle_looks = 0; }

long long clock() { return switches; }

const char* run(const Launch& launch, void (*thread)(void* const*)) {
    grid_size = launch.grid, block_size = launch.block;
    const auto [x, y, z] = launch.grid;
    const size_t blocks = size_t(x) * y * z, threads = launch.block.x;
    if (!blocks || !threads || threads > 1024 || launch.block.y != 1 || launch.block.z != 1)
        return "bad launch: a grid of blocks (1 to 1024, 1, 1) is what the emulator runs";
    char* stacks = static_cast<char*>(mmap(nullptr, blocks * threads * kStack, PROT_READ | PROT_WRITE,
                                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (stacks == MAP_FAILED) return "no address space for the fibers' stacks";

    kernel = thread, kernel_arguments = launch.arguments;
    current = nullptr, error[0] = 0, idle_looks = 0, switches = 0, ready.resize(blocks * threads);
    live = blocks * threads;
    TSAN(scheduler_tsan = __tsan_get_current_fiber());
    TSAN(__tsan_release(&end_of_launch));
    std::vector<Block> block(blocks);
    std::vector<Fiber> fiber(blocks * threads);
    for (size_t b = 0; b < blocks; b++) {
        block[b].all.waiting.resize(threads);
        block[b].warps.resize((threads + 31) / 32);
        for (Meeting& warp : block[b].warps) warp.waiting.resize(32);
        if (posix_memalign(&block[b].shared, 128, launch.shared_bytes + !launch.shared_bytes)) abort();
        memset(block[b].shared, 0xff, launch.shared_bytes);  // NaN, as float and as double: nothing may rely on it
        for (size_t t = 0; t < threads; t++) {
            Fiber& f = fiber[b * threads + t];
            f.thread = {unsigned(t), 0, 0};
            f.block = {unsigned(b % x), unsigned(b / x % y), unsigned(b / x / y)};
            f.shared = block[b].shared, f.owner = &block[b];
            getcontext(&f.context);
            f.context.uc_stack = {stacks + (b * threads + t) * kStack, 0, kStack};
            f.context.uc_link = nullptr;
            makecontext(&f.context, run_thread, 0);
            TSAN(f.tsan = __tsan_create_fiber(0));
            TSAN(__tsan_switch_to_fiber(f.tsan, 0));  // what the host wrote before the launch is seen by its threads
            TSAN(__tsan_switch_to_fiber(scheduler_tsan, kNoOrder));
            ready.push(&f);
        }
    }

    uint64_t random = launch.seed;
    while (!error[0] && ready.count) {
        switches++;
        current = next(random);
        TSAN(__tsan_switch_to_fiber(me()->tsan, kNoOrder));
        swapcontext(&scheduler, &me()->context);
    }
    current = nullptr;
    if (!error[0] && live)
        snprintf(error, sizeof error, "deadlock: threads wait at a barrier that others never reach");
    for ([[maybe_unused]] Fiber& f : fiber) {  // those that had not ended when there was an error
        if (f.done) continue;
        TSAN(__tsan_switch_to_fiber(f.tsan, kNoOrder));
        TSAN(__tsan_release(&end_of_launch));
        TSAN(__tsan_switch_to_fiber(scheduler_tsan, kNoOrder));
    }
    TSAN(__tsan_acquire(&end_of_launch));
    for ([[maybe_unused]] Fiber& f : fiber) TSAN(__tsan_destroy_fiber(f.tsan));
    for (Block& b : block) free(b.shared);
    munmap(stacks, blocks * threads * kStack);
    return error[0] ? error : nullptr;
}
}  // namespace emulator

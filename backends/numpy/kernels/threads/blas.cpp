#include "blas.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

#if !defined(_WIN32)
#include <pthread.h>
#include <sys/mman.h>
#endif

#include "pool.h"

namespace xrnn {

namespace {

// The start of OpenBLAS's description of a job, which is private to it: `blas_queue_t` in its common_thread.h. Version
// 0.3.34 has another field before `next`. Each product is compared with both.
struct Description {
    void* routine;
    intptr_t position, assigned;
    void *arguments, *rows, *columns;
    void *scratch, *second_scratch;  // null: the buffer of the number with which the job is run
    Description *next, *next_since_0_3_34;

    bool leads_to(const Description* job) const { return next == job || next_since_0_3_34 == job; }
};

// Runs one job of a product. The number stands for a buffer of the library, and for one of its own threads.
using RunJob = void (*)(int number, void* job, int argument);

struct Product {
    const RunJob run;
    char* const jobs;
    const size_t size;  // of a job's description, in bytes
    const int count, argument;

    Description& job(int i) const { return *reinterpret_cast<Description*>(jobs + static_cast<size_t>(i) * size); }
};

// OpenBLAS may free a number's buffer at any time: in the first product after a fork, or for another number of threads.
// So each job gets scratch memory here. OpenBLAS's buffers have 32 to 256 MiB, by processor and build. A page takes
// memory once it is written to, as in those.
constexpr int MOST_JOBS = 64;
constexpr size_t SCRATCH_BYTES = size_t{256} << 20;

// Held while a product runs. Two products at the same time would use the same numbers and scratch memory.
std::mutex running;
std::array<void*, MOST_JOBS> memory{};
int unknown_products = 0;
// The libraries that share the pool's threads. Never deleted: a fork may come after the end of the program's objects.
std::vector<SetCallback>& sharing = *new std::vector<SetCallback>;
int last_number = MOST_JOBS - 1;

#if defined(_WIN32)
void* map_scratch(size_t) { return nullptr; }
#else
void* map_scratch(size_t bytes) {
    const int flags = MAP_PRIVATE | MAP_ANON | MAP_NORESERVE;
    void* const pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    return pages == MAP_FAILED ? nullptr : pages;
}
#endif

void* scratch_of(int job) {
    if (!memory[job]) memory[job] = map_scratch(SCRATCH_BYTES);
    return memory[job];
}

bool is_described_as_expected(const Product& product) {
    if (product.size < sizeof(Description) || product.count > MOST_JOBS) return false;
    for (int i = 0; i < product.count; ++i) {
        const Description& job = product.job(i);
        const bool last = i == product.count - 1;
        if (job.position != i || (!last && !job.leads_to(&product.job(i + 1)))) return false;
    }
    return true;
}

bool give_scratch(const Product& product) {
    if (!is_described_as_expected(product)) return false;
    for (int i = 0; i < product.count; ++i) {
        Description& job = product.job(i);
        if (!job.scratch) job.scratch = scratch_of(i);
        if (!job.scratch) return false;
    }
    return true;
}

// The library's own threads have the numbers from 0. They still run LU factorizations, perhaps at the same time as a
// product of another Python thread, so products take the numbers from the last one downwards.
void run_job(int id, int, void* context) {
    const Product& product = *static_cast<const Product*>(context);
    product.run(last_number - id, &product.job(id), product.argument);
}

// The jobs of a matrix product wait for each other, so each needs a thread of its own. A job starts no other product.
void run_product(int, RunJob run, int count, size_t size, void* jobs, int argument) {
    const std::lock_guard<std::mutex> lock(running);
    Product product = {
        .run = run, .jobs = static_cast<char*>(jobs), .size = size, .count = count, .argument = argument};
    if (!give_scratch(product)) ++unknown_products;
    Job job = {.f = run_job, .context = &product, .stop = nullptr};
    run_at_once(job, count);
}

#if defined(_WIN32)
void register_fork_handler() {}  // a process cannot fork
#else
// The lock may have been held by a thread that the child does not have.
void in_child() {
    new (&running) std::mutex;
    for (const SetCallback set : sharing) set(nullptr);
    sharing.clear();
}

void register_fork_handler() { pthread_atfork(nullptr, nullptr, in_child); }
#endif

}  // namespace

bool shares_threads_with(SetCallback set) { return std::find(sharing.begin(), sharing.end(), set) != sharing.end(); }

int count_unknown_products() {
    const std::lock_guard<std::mutex> lock(running);
    return unknown_products;
}

void share_threads_with(SetCallback set, int most_threads, bool shared) {
    static std::once_flag once;
    std::call_once(once, register_fork_handler);
    const std::lock_guard<std::mutex> lock(running);
    std::erase(sharing, set);
    if (shared) {
        sharing.push_back(set);
        last_number = std::min(last_number, most_threads - 1);
    }
    set(shared ? reinterpret_cast<void*>(run_product) : nullptr);
}

}  // namespace xrnn

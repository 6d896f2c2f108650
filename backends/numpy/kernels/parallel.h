// The one way to threads.
//
// OpenMP governs their number, so that OMP_NUM_THREADS and threadpoolctl are heard, up to the CPUs that the process may
// use: with more threads than CPUs each barrier waits until the scheduler has given every thread its turn. The threads
// themselves are of pool.h: OpenMP's look out for work for milliseconds, whoever else wants the CPU, and wake up where
// they are in the caller's way. Where they are in the process all the same, they do the work: openmp.h. A forked child
// stays on one thread, since its parent's workers are not in it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace xrnn {

// How many threads `parallel` may use now: those asked for, up to the cap. Where more than one is asked for, this is a
// system call.
int max_threads();

// OpenMP's number, which OMP_NUM_THREADS and threadpoolctl set, up to MOST_THREADS.
int asked_threads();

// The CPUs that the process may use, by its affinity and its quota; 1 in a forked child, and MOST_THREADS at most.
int thread_cap();

bool in_forked_child();

// A quota in CPUs, which the operating system keeps in places of its own; 0: none.
void set_quota(int cpus);

// For tests: this cap in place of the CPUs; 0: the CPUs again.
void set_thread_cap(int threads);

struct Stop;

// Call f(id, n, context) for each id < n on a thread of its own, and return when all have. n may turn out smaller than
// asked for: f must go by the n it is given. While the caller waits for the others, it asks `stop` where there is one.
void parallel(int threads, void (*f)(int id, int n, void* context), void* context, Stop* stop = nullptr);

// The most threads of one `parallel`.
constexpr int MOST_THREADS = 64;

// What an operation asks now and then on the calling thread, whether it is to end before its end. It may take the GIL
// and run whatever a signal's handler does, other operations among it.
void set_interrupt(bool (*interrupted)());

// Whether the threads of one `parallel` are to return from where they are: what they have written is then undefined.
struct Stop {
    bool ask(int id);  // thread 0 asks the caller when 50 ms have passed, the others look at its answer

   private:
    friend struct Barrier;
    int raised = 0;
    int64_t asked_at = 0;
};

// Where the n threads of one `parallel` meet: what each wrote before it arrived is visible to all who have awaited it.
//
// Each thread raises a flag of its own and looks at the others': a single way from cache to cache, where a shared
// counter takes three. Between `arrive` and `await` a thread may do what needs nothing of the others.
struct Barrier {
    explicit Barrier(int n);  // for at most n threads; not inline: it would be a weak symbol of every level
    void arrive(int id);
    void await(int id, int n);  // until all n have arrived as often as this one
    void wait(int id, int n);   // both

    Stop stop;  // where it is raised, nobody waits any longer

   private:
    struct alignas(64) Flag {
        int64_t raised;  // how many times
    };
    Flag flags[MOST_THREADS];
};

// Memory of the calling thread for one operation, aligned to 64 bytes; its contents are lost at the next call. Null if
// there is no more.
void* scratch(size_t bytes);

// To be called after the operation: keeps the memory for the next one, since fresh pages cost more than what is computed
// in them, unless it is a lot.
void trim_scratch();

}  // namespace xrnn

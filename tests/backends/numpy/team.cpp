// A replacement for an OpenMP library under the sanitizers, which do not know the barriers of the real ones. Its threads
// arrive in any order.
#include <cstdlib>
#include <thread>
#include <vector>

namespace {
thread_local int team = 1;
}

extern "C" {
[[gnu::visibility("default")]] int omp_get_max_threads() { return std::atoi(std::getenv("OMP_NUM_THREADS")); }
[[gnu::visibility("default")]] int omp_get_num_threads() { return team; }
[[gnu::visibility("default")]] void GOMP_parallel(void (*f)(void*), void* argument, unsigned, unsigned) {
    std::vector<std::thread> others;
    team = omp_get_max_threads();
    for (int i = 1; i < team; ++i) others.emplace_back([&] { f(argument); });
    f(argument);
    team = 1;
    for (std::thread& other : others) other.join();
}
}

// Products of an OpenBLAS library on the pool's threads.
//
// OpenBLAS's own threads poll for tens of milliseconds after each product, on the CPUs that the pool's threads need. It
// passes the jobs of a product to a callback if one is set (openblas_set_threads_callback_function, since 0.3.27).
#pragma once

namespace xrnn {

// The function of an OpenBLAS library that sets its callback; null ends the use of one.
using SetCallback = void (*)(void* callback);

// From now on the products of this library run on the pool's threads, or, if not `shared`, on its own threads again.
// most_threads: the number for which the library was built. In a forked child the products run on the library's own
// threads. Two threads must not call this at the same time.
void share_threads_with(SetCallback set, int most_threads, bool shared);

bool shares_threads_with(SetCallback set);

// The number of products so far whose jobs were described in another way than expected. They run without scratch memory
// of their own, so a fork or a change of the number of threads at the same time could make them wrong.
int count_unknown_products();

}  // namespace xrnn

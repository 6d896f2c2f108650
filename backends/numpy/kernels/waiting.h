// Waiting for another thread: spinning for as long as it is on its CPU, asleep where it has lost it.
#pragma once

#include <cstdint>

namespace xrnn {

// One wait: `once` in a loop, until what is waited for has come. Threads that meet are microseconds apart, or as far as
// their shares of the work differ. A longer wait is for one that has lost its CPU: then others may have ours, and the
// time counts as waited.
class Waiting {
   public:
    explicit Waiting(int64_t at_least = 0) : limit(at_least > LONG ? at_least : LONG) {}
    ~Waiting();
    void once();
    bool is_long() const { return slept; }

   private:
    static constexpr int64_t LONG = 200'000;  // nanoseconds
    const int64_t limit;
    int64_t began = 0;
    int spins = 0;
    bool slept = false;
};

// How many nanoseconds the calling thread has waited in long waits since it was asked last.
int64_t take_waited();
void add_waited(int64_t nanoseconds);

}  // namespace xrnn

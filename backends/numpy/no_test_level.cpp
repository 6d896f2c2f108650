// An ordinary build: it has no level for tests.
#include "binding/level.h"

const xrnn::Level* const xrnn::test_level = nullptr;

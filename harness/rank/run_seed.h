// The seed of the tests that this rank runs, for bodies that choose at random. *Local*, the same on all ranks.
#pragma once

#include <cstdint>

namespace shardcts {

int64_t RunSeed();
// By the runner, before a test.
void SetRunSeed(int64_t seed);

}  // namespace shardcts

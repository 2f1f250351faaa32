#include "rank/run_seed.h"

namespace shardcts {
namespace {

int64_t run_seed = 0;

}  // namespace

int64_t RunSeed() { return run_seed; }
void SetRunSeed(int64_t seed) { run_seed = seed; }

}  // namespace shardcts

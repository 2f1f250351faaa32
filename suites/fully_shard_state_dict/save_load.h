// The steps that three upstream tests share: fill, save, load, and compare storage, names, layout and values.
#pragma once

#include "rank/trial.h"
#include "suites/fully_shard_state_dict/expected_layout.h"

namespace shardcts::fully_shard_state_dict {

// *Collective*. Checks C1 to C13 on a sharded model, with their strict forms: layout and shapes against `expected`, and
// a second load of position-coded data, because constant fills hide permutations.
void CheckSaveAndLoad(Trial& t, Model& model, const ExpectedLayout& expected);

}  // namespace shardcts::fully_shard_state_dict

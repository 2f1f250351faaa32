// The synthetic suite: tests of no implementation, but of the harness. It is carried by programs of its own,
// BUILD/synthetic/shardcts and shardcts-rank, which are otherwise the shipped ones.
//
//   test_empty  1,000 tests per world size that do nothing: what a test costs
//   test_walk   a short training whose next operation depends on the last answer, as it does when a rank skips a step
//               after a NaN: a wrong answer on one rank makes its operations differ from its peers'
#pragma once

#include "rank/port.h"

namespace shardcts::synthetic {

PORT(test_empty);
PORT(test_walk);

}  // namespace shardcts::synthetic

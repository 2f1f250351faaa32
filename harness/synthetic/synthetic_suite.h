// The synthetic suite: tests of no implementation, but of the harness. It is carried by programs of its own,
// BUILD/synthetic/shardcts and shardcts-rank, which are otherwise the shipped ones.
//
//   test_empty  1,000 tests per world size that do nothing: what a test costs
//   test_walk   a short training whose next operation depends on the last answer, as it does when a rank skips a step
//               after a NaN: a wrong answer on one rank makes its operations differ from its peers'
//   test_handover
//               saves on some ranks and loads on others: every rank writes a file, the ranks of the second phase read all
//   test_handover_lost
//               the same, but the last rank that saves writes nothing: fails in its second phase
#pragma once

#include "rank/port.h"

namespace shardcts::synthetic {

PORT(test_empty);
PORT(test_walk);
PORT(test_handover);
PORT(test_handover_lost);

}  // namespace shardcts::synthetic

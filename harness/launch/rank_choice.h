// RankChoice: whether the ranks of a run's tests are processes or threads. *Local*.
#pragma once

#include <filesystem>
#include <vector>

#include "adapters/implementation_spec.h"
#include "launch/inventory.h"
#include "launch/rank_kind.h"

namespace shardcts {

enum class RankChoice {
  kAsUpstream,  // what upstream runs the test on; processes for an implementation whose ranks cannot be threads
  kProcesses,
  kThreads,
};

// As on the command line: "upstream", "processes", "threads".
const char* ToString(RankChoice choice);

// What the ranks of each of these tests are on this implementation. Asks the rank program whether they can be threads,
// when any should. Throws InputError when all should, and they cannot.
std::vector<RankKind> ChooseRankKinds(RankChoice choice, const std::vector<TestCase>& tests,
                                      const ImplementationSpec& spec, const std::filesystem::path& rank_program);

}  // namespace shardcts

// Whether the ranks of a run's tests are processes or threads. *Local*.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "inventory/inventory.h"
#include "run_files/implementation_spec.h"
#include "run_files/rank_kind.h"

namespace shardcts {

// What the ranks of each of these tests are on this implementation: `wanted`, or, where that is nullopt, what upstream
// runs the test on, and processes for an implementation whose ranks cannot be threads. Asks the rank program whether they
// can, when any should be. Throws InputError when threads are wanted, and they cannot.
std::vector<RankKind> ChooseRankKinds(std::optional<RankKind> wanted, const std::vector<TestCase>& tests,
                                      const ImplementationSpec& spec, const std::filesystem::path& rank_program);

}  // namespace shardcts

// Mutants: decorators around an implementation, each of which seeds one bug. They are how the suites are tested: a
// mutant of an implementation that passes must fail.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "contract/implementation.h"

namespace shardcts {

struct MutantInfo {
  std::string name;          // "state_dict_cloned"
  std::string description;   // what the seeded bug does
  std::string models;        // the class of real bugs that it stands for
  std::vector<std::string> suites;           // the suites that must kill it
  // At least one of these must fail: "FUNCTION C9", or "FUNCTION" outside its checks.
  std::vector<std::string> expected_checks;
  int min_world_size = 1;                    // with fewer ranks the bug changes nothing that these checks see
  std::vector<std::string> tests = {};       // ids: it runs on these, whatever the expected checks
  std::string unnoticed = {};                // why no test notices it, where none is known to
};

// All mutants, sorted by name. *Local*.
const std::vector<MutantInfo>& AllMutants();

// InputError for an unknown name, with the nearest known one. *Local*.
const MutantInfo& MutantNamed(const std::string& name);

// The implementation with the bug. InputError as MutantNamed. *Local*.
std::unique_ptr<Implementation> MakeMutant(const std::string& name, std::unique_ptr<Implementation> inner,
                                           const ImplementationContext& context);

}  // namespace shardcts

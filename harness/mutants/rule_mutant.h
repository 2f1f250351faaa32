// Mutants of the rules of the suite extended: the tests of one rule alone kill each. *Local*.
#pragma once

#include <string>

#include "mutants/mutate.h"

namespace shardcts {

inline MutantRow RuleMutant(const std::string& rule, std::string name, std::string description, std::string models,
                            Mutation mutation, int min_world_size = 1) {
  return {{std::move(name), std::move(description), std::move(models), {"extended"}, {rule + " " + rule}, min_world_size},
          std::move(mutation)};
}

// The families, one for each area of rules.
std::vector<MutantRow> RuleGeometryMutants();
std::vector<MutantRow> RuleGroupMutants();
std::vector<MutantRow> RuleStateMutants();
std::vector<MutantRow> RulePlaceMutants();
std::vector<MutantRow> RuleOptimizerMutants();
std::vector<MutantRow> RuleLoadingMutants();

}  // namespace shardcts

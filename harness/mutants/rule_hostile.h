// Mutants of the rules of checkpoints of PyTorch's format, among those of StorageRuleMutants (mutate.h). *Local*.
#pragma once

#include <vector>

#include "mutants/mutate.h"

namespace shardcts {

std::vector<MutantRow> StorageHostileMutants();

}  // namespace shardcts

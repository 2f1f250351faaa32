// Mutants of the durable rules of the suite storage. *Local*.
#pragma once

#include <vector>

#include "mutants/mutate.h"

namespace shardcts {

std::vector<MutantRow> StorageDurableMutants();

}  // namespace shardcts

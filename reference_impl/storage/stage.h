// A copy of a state dict in which what shares memory shares the copy's. *Local*.
// Semantics: torch.distributed.checkpoint._state_dict_stager.StateDictStager.
#pragma once

#include "contract/value.h"

namespace shardcts::reference {

// On the CPU. Each storage is copied once and whole, so that a view of a large one costs as much as that.
Dict StageState(const Dict& state_dict);

}  // namespace shardcts::reference

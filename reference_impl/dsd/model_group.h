// The ranks that hold one model together.
#pragma once

#include "comm/communicator.h"
#include "models/module.h"

namespace shardcts::reference {

// *Local*, the same ranks on all ranks of the group. The group of the model's FSDP1 units, DTensors and
// data-parallel wrappers, if it is one and the same; otherwise, and for a model without any, `world`, which may be
// nullptr (no process group).
Communicator* GroupOfModel(models::Module& model, Communicator* world);

}  // namespace shardcts::reference

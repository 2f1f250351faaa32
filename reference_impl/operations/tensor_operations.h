// Copies of tensors, as tensor.clone makes them. *Local*.
#pragma once

#include "contract/value.h"

namespace shardcts::reference {

// Each tensor of any kind in the value, or in the dicts and lists that it is made of, detached and in new storage.
Value CopyOfTensors(const Value& tree);

}  // namespace shardcts::reference

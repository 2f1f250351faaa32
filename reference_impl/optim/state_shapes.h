// Whether state that is to be loaded has the shapes that an optimizer's rule needs. Everything here is *Local*.
#pragma once

#include <string>
#include <vector>

#include "optim/optimizer.h"

namespace shardcts::reference {

// `given`: {state name: value} for a parameter of this optimizer, which the state dict calls `name`; `shape`: the global
// one of the parameter. State that the rule makes in the parameter's shape must be a tensor of `shape` (plain, DTensor
// or ShardedTensor); what it makes without dimensions must be a tensor without them, or no tensor. State of other names
// may have any shape. ValueError names state, parameter, expected and actual shape.
void CheckStateShapes(const Optimizer& optimizer, const models::Parameter& parameter, const std::string& name,
                      const std::vector<int64_t>& shape, const Dict& given);

}  // namespace shardcts::reference

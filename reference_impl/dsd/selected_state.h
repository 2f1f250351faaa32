// What of an optimizer state dict concerns one optimizer. Everything here is *Local*.
// Semantics: _split_optim_state_dict in torch/distributed/checkpoint/state_dict.py, torch 2.13.
#pragma once

#include "contract/value.h"
#include "dsd/parameter_names.h"
#include "optim/optimizer.h"

namespace shardcts::reference {

// Whether state and groups name parameters by their ids in one optimizer: then there is nothing to select.
bool IsKeyedByIds(const Dict& state_dict);

// The entries of the optimizer's parameters, in groups that are those of the optimizer: of a tied parameter's names the
// ones that a saved group has. A group takes the other entries of the saved group that has one of its parameters, the
// last such; without one it keeps its own. A group without parameters is paired with the saved group that has none.
//
// RuntimeError, under strict: a trainable parameter without state, in a state dict that has state of any. ValueError: an
// empty group, and not exactly one saved empty group, or another number of saved groups.
Dict SelectedState(const Dict& state_dict, const Optimizer& optimizer, const ParameterNames& names, bool strict);

// RuntimeError that a checkpoint lacks the state of a parameter.
[[noreturn]] void ThrowMissingState(const std::string& name);

}  // namespace shardcts::reference

// Selects the part of an optimizer state dict that belongs to one optimizer. Everything here is *Local*. Semantics:
// _split_optim_state_dict in torch/distributed/checkpoint/state_dict.py, torch 2.13.
#pragma once

#include "contract/value.h"
#include "dsd/parameter_names.h"
#include "optim/optimizer.h"

namespace shardcts::reference {

// Whether state and groups refer to parameters by their ids in one optimizer: then nothing needs to be selected.
bool IsKeyedByIds(const Dict& state_dict);

// The entries of the optimizer's parameters, in the groups of the optimizer. For a tied parameter the names that a
// saved group has are used. A group takes the other entries of the saved group that has one of its parameters (the last
// one, if there are several); without such a group it keeps its own. A group without parameters is paired with the
// saved group that has none.
//
// RuntimeError, under strict: a trainable parameter without state, in a state dict that has state of any parameter.
// ValueError: an empty group, and not exactly one saved empty group, or another number of saved groups.
Dict SelectedState(const Dict& state_dict, const Optimizer& optimizer, const ParameterNames& names, bool strict);

// The RuntimeError that a checkpoint lacks the state of a parameter.
[[noreturn]] void ThrowMissingState(const std::string& name);

}  // namespace shardcts::reference

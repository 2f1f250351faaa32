// Optimizer state dicts of one level: {state.NAME.ENTRY: value, param_groups.NAME.OPTION: value}. Everything is *Local*.
// Semantics: _flatten_optim_state_dict and _unflatten_optim_state_dict in torch/distributed/checkpoint/state_dict.py.
#pragma once

#include "contract/value.h"
#include "dsd/parameter_names.h"
#include "optim/optimizer.h"

namespace shardcts::reference {

// NotImplementedError: a state that is neither tensor, number nor dict.
Dict Flattened(const Dict& state_dict);

// A state dict without "state".
bool IsFlattened(const Dict& state_dict);

// What a flat state dict says of an optimizer's parameters, in the form with "state": the entries of which the
// optimizer has some, in its order, of trainable parameters. Of a tied parameter's names the one that is there; a group
// takes its first parameter's options. KeyError: an option of a group is not there. RuntimeError, under strict: an entry
// that the optimizer's state has and `flat` has not.
Dict Unflattened(const Dict& flat, const Optimizer& optimizer, const ParameterNames& names, bool strict);

}  // namespace shardcts::reference

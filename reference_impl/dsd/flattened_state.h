// Flat optimizer state dicts: {state.NAME.ENTRY: value, param_groups.NAME.OPTION: value}. Everything here is *Local*.
// Semantics: _flatten_optim_state_dict and _unflatten_optim_state_dict in torch/distributed/checkpoint/state_dict.py.
#pragma once

#include "contract/value.h"
#include "dsd/parameter_names.h"
#include "optim/optimizer.h"

namespace shardcts::reference {

// NotImplementedError: a state that is not a tensor, number or dict.
Dict Flattened(const Dict& state_dict);

// Whether it is flat: it has no key "state".
bool IsFlattened(const Dict& state_dict);

// Converts a flat state dict to the form with "state", for the parameters of one optimizer. The result has, for
// trainable parameters, the entries that the optimizer's own state has, in its order. For a tied parameter it uses the
// name that is in `flat`; a group takes the options of its first parameter. KeyError: an option of a group is missing.
// RuntimeError, under strict: `flat` lacks an entry that the optimizer's state has.
Dict Unflattened(const Dict& flat, const Optimizer& optimizer, const ParameterNames& names, bool strict);

}  // namespace shardcts::reference

// Flat optimizer state dicts: {state.NAME.ENTRY: value, param_groups.NAME.OPTION: value}. Everything here is *Local*.
// Semantics: _flatten_optim_state_dict and _unflatten_optim_state_dict in torch/distributed/checkpoint/state_dict.py.
//
// Nested(Flattened(x)) is x: entries of nested dicts are written as flat_key.h says, and the options of the i-th group
// without parameters stand under the name "[i]". PyTorch loses both (docs/deviations.md).
#pragma once

#include "contract/value.h"
#include "dsd/parameter_names.h"
#include "dsd/selected_state.h"
#include "optim/optimizer.h"

namespace shardcts::reference {

// NotImplementedError: a state that is not a tensor, number or dict.
Dict Flattened(const Dict& state_dict);

// Whether it is flat: it has no key "state".
bool IsFlattened(const Dict& state_dict);

// The groups without parameters of a flat state dict, in order.
List FlatEmptyGroups(const Dict& flat);

struct UnflattenOptions {
  bool strict = true;
  bool complete = true;  // under strict each state has all that the optimizer's own has
};

// Converts a flat state dict to the form with "state", for the parameters of one optimizer. Of two names that a key may
// begin with, the longer one is meant ("a.b" before "a"). For a tied parameter the name that is in `flat` is used; a
// group takes the options of its first parameter, and keeps options of its own that the update rule does not know; one
// without parameters takes those of a saved one, or keeps its own where `flat` has none.
// `own`: by id, the state that the optimizer has. Under strict: KeyError: an option that the rule needs is missing;
// RuntimeError: `flat` lacks the state of a trainable parameter or, with `complete`, an entry that the optimizer's own
// state has. Without it an option that is missing is the group's own.
Dict Unflattened(const Dict& flat, const Optimizer& optimizer, const Dict& own, const ParameterNames& names,
                 SavedEmptyGroups& empty_groups, const UnflattenOptions& options);

}  // namespace shardcts::reference

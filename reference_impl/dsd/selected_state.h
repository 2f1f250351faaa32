// Selects the part of an optimizer state dict that belongs to one optimizer. Everything here is *Local*. Semantics:
// _split_optim_state_dict in torch/distributed/checkpoint/state_dict.py, torch 2.13.
#pragma once

#include <optional>

#include "contract/value.h"
#include "dsd/parameter_names.h"
#include "optim/optimizer.h"

namespace shardcts::reference {

// Whether state and groups refer to parameters by their ids in one optimizer: then nothing needs to be selected.
bool IsKeyedByIds(const Dict& state_dict);

// The saved groups without parameters, each of which is taken by one group without parameters.
class SavedEmptyGroups {
 public:
  // `saved`: groups; those with parameters are left out.
  explicit SavedEmptyGroups(const List& saved);
  size_t size() const { return groups_.size(); }
  // The first that has all options of `own`, so that an optimizer of another kind does not take it; else the first.
  // nullopt: none is left.
  std::optional<Dict> TakeFor(const Dict& own);

 private:
  std::vector<Dict> groups_;
};

// How many groups without parameters the optimizers have.
size_t CountEmptyGroups(const std::vector<Optimizer*>& optimizers);

// The entries of the optimizer's parameters, in the groups of the optimizer: also state of a parameter that does not
// require gradients now. For a tied parameter the names that a saved group has are used. A group takes the other entries
// of the saved group that has one of its parameters (the last one, if there are several); without such a group it keeps
// its own. A group without parameters takes those of a saved one.
//
// RuntimeError, under strict: a trainable parameter without state, in a state dict that has state of any parameter.
Dict SelectedState(const Dict& state_dict, const Optimizer& optimizer, const ParameterNames& names,
                   SavedEmptyGroups& empty_groups, bool strict);

// RuntimeError naming an option about which the saved groups of two parameters disagree; `name`: of the second.
void RequireSameOptions(const Dict& first, const Dict& second, const std::string& name);

// The RuntimeError that a checkpoint lacks the state of a parameter.
[[noreturn]] void ThrowMissingState(const std::string& name);

}  // namespace shardcts::reference

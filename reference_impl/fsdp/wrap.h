// Creating units: the constructor of FullyShardedDataParallel. Semantics: torch/distributed/fsdp/_init_utils.py, torch
// 2.13.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "fsdp/fsdp_module.h"

namespace shardcts::reference {

// Returns the unit around `module`; the owner of the module must replace it by the unit. The unit takes all parameters
// below that no unit has taken and that are not ignored. Ignored are the parameters of ignored modules and of all
// modules below them, ignored_parameters, and what inner units ignore. With a policy, modules below become units of
// their own first. `user_warnings`: texts of category UserWarning.
//
// *Local* without sync_module_states: each rank keeps its shard of the values that it has. *Collective* over the groups
// with it: the values are those of the first rank.
// ValueError: a parameter without dimensions; errors of FlatParameter::Create; a policy, and there are units below
// already. RuntimeError: parameters on the meta device, or on several devices.
std::shared_ptr<FsdpModule> WrapFsdp(models::ModulePtr module, const FsdpOptions& options,
                                     std::vector<std::string>& user_warnings);

}  // namespace shardcts::reference

// Making units: FullyShardedDataParallel's constructor. Semantics: torch/distributed/fsdp/_init_utils.py, torch 2.13.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "fsdp/fsdp_module.h"

namespace shardcts::reference {

// The unit around `module`; whoever holds the module must hold the unit in its place. Takes all parameters below that
// no unit took and that are not ignored: those of ignored modules and of everything below them, ignored_parameters, and
// what inner units ignore. With a policy, modules below become units of their own first.
// `user_warnings`: texts of category UserWarning.
//
// *Local* without sync_module_states: each rank keeps its part of the values that it has. *Collective* over the groups
// with it: then they are those of the first rank.
// ValueError: a parameter without dimensions, what FlatParameter::Create refuses, a policy where units are already.
// RuntimeError: parameters on meta, or on several devices.
std::shared_ptr<FsdpModule> WrapFsdp(models::ModulePtr module, const FsdpOptions& options,
                                     std::vector<std::string>& user_warnings);

}  // namespace shardcts::reference

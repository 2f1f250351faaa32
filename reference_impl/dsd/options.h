// The options of the distributed state-dict functions, and what they communicate through. Semantics:
// torch.distributed.checkpoint.state_dict.StateDictOptions, torch 2.13.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "contract/outcome.h"
#include "fsdp/state_dict_type.h"
#include "tensor/mesh_registry.h"

namespace shardcts::reference {

struct StateDictOptions {
  bool full_state_dict = false;               // full plain tensors
  bool cpu_offload = false;                   // on the CPU; with full_state_dict on rank 0 only
  bool ignore_frozen_params = false;          // saving a model: without parameters that do not require gradients
  bool keep_submodule_prefixes = true;        // saving submodules: false removes their path from the names
  bool strict = true;                         // loading: missing and unexpected names are errors
  bool broadcast_from_rank0 = false;          // loading: only rank 0 has the state dict; needs full_state_dict
  bool flatten_optimizer_state_dict = false;  // saving: one level of keys
  // Loading with full_state_dict: use Module::FqnModifiers of modules that rename entries. False: PyTorch's option
  // dsd_fqn_modifiers names another method than theirs; then a renamed entry is not split for its parameter.
  bool ask_modifiers = true;
};

// The options that are flags in PyTorch, by their names.
const std::map<std::string, bool StateDictOptions::*>& OptionsByName();

struct StateDictContext {
  Communicator* world = nullptr;  // the ranks that hold the model; nullptr: no process group, no communication
  const MeshRegistry& meshes;
  std::vector<Warning>& warnings;
};

// *Local*. ValueError: broadcast_from_rank0 without full_state_dict, or without a process group.
void CheckOptions(const StateDictOptions& options, const StateDictContext& context);

// *Collective* over the world. Returns the options that `read` returns, which must be the same on all ranks: otherwise
// a rank would wait in a collective that its peers do not enter. If `read` or CheckOptions throws on a rank, it
// rethrows that error, and its peers throw a RuntimeError that contains it. RuntimeError, on every rank: the options
// differ.
StateDictOptions AgreedOptions(const std::function<StateDictOptions()>& read, const StateDictContext& context);

// *Local*. How FSDP1's units save and load under these options.
StateDictSettings UnitSettings(const StateDictOptions& options);

// *Local*. Whether saving returns anything on this rank.
bool KeepsResult(const StateDictOptions& options, const StateDictContext& context);

// *Local*. RuntimeError: an empty state dict where the options do not explain it.
void CheckModelState(const Dict& state_dict, const StateDictOptions& options, bool has_submodules);
void CheckOptimizerState(const Dict& state_dict, const StateDictOptions& options);

// Texts of category UserWarning, appended to the context's warnings.
void WarnUser(const StateDictContext& context, const std::vector<std::string>& texts);

}  // namespace shardcts::reference

// state_dict and load_state_dict of a module tree, plain or sharded.
// Semantics: torch.nn.Module.state_dict, torch.nn.Module.load_state_dict.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "models/module.h"
#include "tensor/dtensor.h"

namespace shardcts::reference {

// An entry of a dict to be loaded that is no tensor; the text is its Python type ("int").
struct NotATensor {
  std::string type_name;
};

using StateValue = std::variant<at::Tensor, DTensor, NotATensor>;
using StateDict = std::vector<models::Named<StateValue>>;

// *Local*, with fully_shard too: its pre-save hooks reshard, which only frees memory. Parameters and buffers under
// their full names in registration order, a tied parameter under each of its names. Values are detached and share
// storage with the module.
StateDict SaveStateDict(models::Module& root);

struct LoadOptions {
  bool strict = true;
  bool assign = false;  // the given tensors replace the parameters, instead of being copied into their storage
};
struct LoadResult {
  std::vector<std::string> missing_keys;
  std::vector<std::string> unexpected_keys;
  std::vector<std::string> user_warnings;  // texts of category UserWarning
};

// *Collective* only where a DTensor must be redistributed to its parameter's placements; else *Local*: each rank loads
// its own local parts, and nothing synchronizes ranks or replicas.
// With `assign` each name gets a parameter object of its own that keeps requires_grad of the one before: ties end, as
// in PyTorch. Copying into a meta parameter does nothing but warn.
// RuntimeError "Error(s) in loading state_dict for X:" with one line each for missing and unexpected keys (under
// strict), shapes that differ, entries that are no tensors, and copies that failed. What could be loaded is loaded
// then.
LoadResult LoadStateDict(models::Module& root, const StateDict& state_dict, const LoadOptions& options = {});

}  // namespace shardcts::reference

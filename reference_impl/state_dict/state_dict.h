// state_dict and load_state_dict of a module tree, plain or sharded.
// Semantics: torch.nn.Module.state_dict, torch.nn.Module.load_state_dict.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "models/module.h"
#include "parameter/dtensor_parameter.h"
#include "tensor/dtensor.h"

namespace shardcts::reference {

// An entry that is no tensor: a module's extra state, or a mistake. `type_name`: its Python type ("int").
struct NotATensor {
  std::string type_name;
  Value value;
};

// An entry of a dict to be loaded: a whole plain tensor that each rank takes its part of, whatever the parameter is.
struct WholeTensor {
  std::vector<int64_t> shape;
  // Called when the entry's turn comes, at most once for each place that the entry goes to, in the same order on all
  // ranks: may be *Collective*. Nothing keeps what it gives, but for a plain parameter that it replaces.
  std::function<at::Tensor()> fetch;
  // In the place of `fetch`, for a parameter of this distribution: this rank's part. It may have been put into `place`,
  // this rank's part of the parameter (or undefined), and is that then.
  std::function<at::Tensor(const DTensorDistribution&, const at::Tensor& place)> fetch_part;
};

// *Local*. This rank's part of a whole tensor; shares its storage where it can.
at::Tensor PartOf(const at::Tensor& whole, const DTensorDistribution& layout);

using StateValue = std::variant<at::Tensor, DTensor, ShardedTensor, NotATensor, WholeTensor>;
using StateDict = std::vector<models::Named<StateValue>>;

// Implemented by modules (wrappers) that change what is saved of, and loaded into, the modules below them.
class StateDictHooks {
 public:
  virtual ~StateDictHooks() = default;

  // Before the modules below are visited, and after; in between nobody else uses the model. `saved[begin…]` came from
  // below; their keys begin with `prefix`. What users should know goes to `user_warnings`.
  virtual void BeforeSave(std::vector<std::string>& user_warnings) = 0;
  virtual void AfterSave(StateDict& saved, size_t begin, const std::string& prefix) = 0;
  // After a BeforeSave whose save has failed.
  virtual void CancelSave() = 0;

  // The same for loading: may replace entries below `prefix`. AfterLoad also runs when loading has failed.
  virtual void BeforeLoad(std::map<std::string, StateValue>& entries, const std::string& prefix,
                          std::vector<std::string>& user_warnings) = 0;
  virtual void AfterLoad() = 0;
  // Between the two: whether the parameter is part of a larger one that this module keeps. Such a parameter cannot be
  // replaced: with `assign`, too, values are copied into it.
  virtual bool Keeps(const models::Parameter& parameter) const = 0;
};

struct SaveOptions {
  std::string prefix;      // in front of every key, as it is: "model."
  bool keep_vars = false;  // values that are not detached
};

// *Local*, with fully_shard too: its pre-save hooks reshard, which only frees memory; *Collective* over what
// StateDictHooks say. Parameters and buffers under their full names in registration order, a tied parameter under each
// of its names; extra states as "_extra_state". Values are detached and share storage with the module, unless hooks say
// otherwise. Modules may rename their entries (Module::StateDictRenames).
// `user_warnings`: nullptr, or where texts of category UserWarning go.
StateDict SaveStateDict(models::Module& root, const SaveOptions& options = {},
                        std::vector<std::string>* user_warnings = nullptr);

struct LoadOptions {
  bool strict = true;
  bool assign = false;  // the given tensors replace the parameters, instead of being copied into their storage
};
struct LoadResult {
  std::vector<std::string> missing_keys;
  std::vector<std::string> unexpected_keys;
  std::vector<std::string> user_warnings;  // texts of category UserWarning
};

// *Collective* only where a DTensor must be redistributed to its parameter's placements, where StateDictHooks are, or
// where a WholeTensor is; else *Local*: each rank loads its own local parts, and nothing synchronizes ranks or replicas. A parameter that is a
// slice of a larger one (flat_slice.h) takes its elements of a whole tensor.
// With `assign` each name gets a parameter object of its own that keeps requires_grad of the one before: ties end, as
// in PyTorch. A parameter that StateDictHooks keep takes values all the same (PyTorch 2.13 loses them:
// docs/deviations.md). Copying into a meta parameter does nothing but warn.
// RuntimeError "Error(s) in loading state_dict for X:" with one line each for missing and unexpected keys (under
// strict), shapes that differ, entries that are no tensors, and copies that failed. What could be loaded is loaded
// then.
LoadResult LoadStateDict(models::Module& root, const StateDict& state_dict, const LoadOptions& options = {});

}  // namespace shardcts::reference

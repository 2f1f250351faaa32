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

// An entry that is not a tensor: a module's extra state, or an error. `type_name`: its Python type ("int").
struct NotATensor {
  std::string type_name;
  Value value;
  std::string refusal = {};  // not empty: why nothing is to be loaded under this key
};

// An entry of a state dict to be loaded: a full plain tensor. Each rank takes its part of it, for every kind of
// parameter.
struct WholeTensor {
  std::vector<int64_t> shape;
  // Called when the entry is loaded, at most once for each parameter that it is loaded into, in the same order on all
  // ranks: may be *Collective*. The result is not kept, unless it replaces a plain parameter.
  std::function<at::Tensor()> fetch;
  // Called instead of `fetch` for a parameter of this distribution; returns this rank's part. It may write the part to
  // `place`, this rank's part of the parameter (or undefined), and return `place`.
  std::function<at::Tensor(const DTensorDistribution&, const at::Tensor& place)> fetch_part;
};

// *Local*. This rank's part of a full tensor; shares its storage if possible.
at::Tensor PartOf(const at::Tensor& whole, const DTensorDistribution& layout);

using StateValue = std::variant<at::Tensor, DTensor, ShardedTensor, NotATensor, WholeTensor>;
using StateDict = std::vector<models::Named<StateValue>>;

// Implemented by modules (wrappers) that change what is saved from, and loaded into, the modules below them.
class StateDictHooks {
 public:
  virtual ~StateDictHooks() = default;

  // Called before and after the modules below are visited; the model must not be used otherwise in between.
  // `saved[begin…]` are the entries from below; their keys begin with `prefix`. Warnings for users are appended to
  // `user_warnings`.
  virtual void BeforeSave(std::vector<std::string>& user_warnings) = 0;
  virtual void AfterSave(StateDict& saved, size_t begin, const std::string& prefix) = 0;
  // Called after BeforeSave if the save has failed.
  virtual void CancelSave() = 0;

  // The same for loading. BeforeLoad may replace entries below `prefix`. AfterLoad is also called if loading has
  // failed.
  virtual void BeforeLoad(std::map<std::string, StateValue>& entries, const std::string& prefix,
                          std::vector<std::string>& user_warnings) = 0;
  virtual void AfterLoad() = 0;
  // Between BeforeLoad and AfterLoad: whether the parameter is part of a larger one that this module owns. Such a
  // parameter cannot be replaced: values are copied into it, also with `assign`.
  virtual bool Keeps(const models::Parameter& parameter) const = 0;
};

struct SaveOptions {
  std::string prefix;      // prepended to every key, with its dot: "model."
  bool keep_vars = false;  // values are not detached
};

// *Local*, also with fully_shard, whose pre-save hooks only free memory; *Collective* where StateDictHooks are.
// Parameters and buffers under their full names in registration order, a tied parameter under each of its names; extra
// states as "_extra_state". Values are detached and share storage with the module, unless hooks change that. Modules
// may rename their entries (Module::StateDictRenames). `user_warnings`: nullptr, or where texts of category UserWarning
// are appended.
StateDict SaveStateDict(models::Module& root, const SaveOptions& options = {},
                        std::vector<std::string>* user_warnings = nullptr);

struct LoadOptions {
  bool strict = true;
  bool assign = false;       // the given tensors replace the parameters, instead of being copied into their storage
  bool assign_meta = false;  // so do they where parameter or buffer is on the meta device
  bool keep_ties = false;    // names of one replaced parameter are names of one afterwards, and the last value counts
};
struct LoadResult {
  std::vector<std::string> missing_keys;
  std::vector<std::string> unexpected_keys;
  std::vector<std::string> user_warnings;  // texts of category UserWarning
};

// *Collective* only where a DTensor must be redistributed to its parameter's placements, where StateDictHooks are, or
// where a WholeTensor is; otherwise *Local*: each rank loads its own local parts, and nothing synchronizes ranks or
// replicas. A parameter that is a slice of a larger one (flat_slice.h) takes its elements from a full tensor.
// With `assign` each name gets a new parameter object with requires_grad of the previous one; tied parameters are no
// longer tied, as in PyTorch. A parameter that StateDictHooks keep gets the values too (PyTorch 2.13 loses them:
// docs/deviations.md). Copying into a meta parameter has no effect but a warning.
// RuntimeError "Error(s) in loading state_dict for X:" with one line each for missing and unexpected keys (under
// strict), shapes that differ, entries that are not tensors, and copies that failed. Entries without an error have been
// loaded.
LoadResult LoadStateDict(models::Module& root, const StateDict& state_dict, const LoadOptions& options = {});

}  // namespace shardcts::reference

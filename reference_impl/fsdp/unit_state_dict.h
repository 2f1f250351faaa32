// How one unit takes part in saving and loading a state dict: one pair of functions for each type; FsdpModule calls
// them. While they run, the modules' slots hold the original parameters as slices (FlatParameter::Exposure::kSlices),
// so that the traversal of the module tree finds the original names; for kLocal they hold the flat parameter.
// Semantics: torch/distributed/fsdp/_state_dict_utils.py, torch 2.13.
#pragma once

#include <map>
#include <string>
#include <unordered_map>

#include "fsdp/fsdp_module.h"

namespace shardcts::reference {

// The entries that the traversal of a unit has saved, by name below the unit.
class SavedEntries {
 public:
  SavedEntries(StateDict& saved, size_t begin, const std::string& prefix);
  // nullptr when there is none, or it was dropped.
  StateValue* Find(const std::string& name);
  // Throws std::logic_error naming an entry that is not there.
  StateValue& At(const std::string& name);
  void Drop(const std::string& name) { index_.erase(name); }
  // Replaces an entry, or appends one.
  void Set(const std::string& name, StateValue value);
  // Removes dropped entries from the state dict; to be called last.
  void Finish();

 private:
  StateDict& saved_;
  size_t begin_;
  const std::string& prefix_;
  std::unordered_map<std::string, size_t> index_;
};

using LoadEntries = std::map<std::string, StateValue>;

// *Collective* over the shard group. Full tensors: views of one new tensor per unit, and a copy for each further name
// of a tied parameter. With rank0_only the other ranks send their shards, and keep neither values nor buffers.
void SaveFull(FsdpModule& unit, const StateDictConfig& config, SavedEntries& entries);

// *Collective* over the shard group, unless summoned. Chunks along dimension 0, ceil(size / ranks) rows each, as copies
// without padding: ShardedTensors, or DTensors on the unit's mesh. A rank receives only those elements of its rows that
// its shard lacks. Local tensors are views of one new tensor per unit; those of further names of a tied parameter are
// copies.
void SaveSharded(FsdpModule& unit, const StateDictConfig& config, SavedEntries& entries);
// *Collective* over the shard group. After all ranks have exchanged which entries they have, each element of a
// ShardedTensor is sent to the rank whose shard holds it, directly into the shard, and the entry becomes a WrittenSlice
// (parameter/flat_slice.h). If summoned, the entry becomes the full tensor; so does a DTensor in any case. A
// ShardedTensor of another shape is left as it is, to be reported by the load.
// On the rank that has the entry: AssertionError: not a ShardedTensor; a DTensor on another mesh. AttributeError: the
// unit has a mesh, and the entry is not a DTensor. RuntimeError: a local shard of other rows than this rank's. On the
// peers in these cases, and on all ranks if their entries have different keys or shapes: RuntimeError.
void LoadSharded(FsdpModule& unit, const StateDictConfig& config, LoadEntries& entries, const std::string& prefix);

// *Local*. A view of the live shard without its padding, as a 1-D ShardedTensor of the full flat parameter; a rank
// whose shard is all padding has no local shard.
void SaveLocal(FsdpModule& unit, const StateDictConfig& config, SavedEntries& entries);
// *Local*. AssertionError: no entry, an entry that is not a ShardedTensor, or one that lacks this rank's shard.
void LoadLocal(FsdpModule& unit, LoadEntries& entries, const std::string& prefix);

}  // namespace shardcts::reference

// What one unit does to a state dict when it is saved and loaded, one pair of functions for each type; FsdpModule calls
// them. While they run, the modules' slots show the original parameters as slices (FlatParameter::Exposure::kSlices),
// so that the walk over the module tree finds the original names in their places; for kLocal they show the flat
// parameter. Semantics: torch/distributed/fsdp/_state_dict_utils.py, torch 2.13.
#pragma once

#include <map>
#include <string>
#include <unordered_map>

#include "fsdp/fsdp_module.h"

namespace shardcts::reference {

// The entries that a walk over a unit has saved, by name below the unit.
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
  // Takes what was dropped out of the dict; to be called last.
  void Finish();

 private:
  StateDict& saved_;
  size_t begin_;
  const std::string& prefix_;
  std::unordered_map<std::string, size_t> index_;
};

using LoadEntries = std::map<std::string, StateValue>;

// *Collective* over the shard group. Whole values: views of one new tensor per unit, and a copy for each further name
// of a tied parameter. With rank0_only the other ranks send their shards, and keep neither values nor buffers.
void SaveFull(FsdpModule& unit, const StateDictConfig& config, SavedEntries& entries);

// *Collective* over the shard group, unless summoned. Chunks along dimension 0, ceil(size / ranks) rows each, as copies
// without padding: ShardedTensors, or DTensors on the unit's mesh. One flat parameter is gathered at a time.
void SaveSharded(FsdpModule& unit, const StateDictConfig& config, SavedEntries& entries);
// *Collective* over the shard group. Replaces the units' entries by whole tensors, with one all-gather for all
// ShardedTensors, whatever this rank has; an entry of another shape takes no part in it and stays wrong.
// AssertionError: an entry that is no ShardedTensor (with a mesh: no DTensor on it). RuntimeError: a local shard that
// is larger than a chunk.
void LoadSharded(FsdpModule& unit, const StateDictConfig& config, LoadEntries& entries, const std::string& prefix);

// *Local*. A view of the live shard without its padding, as a 1-D ShardedTensor of the whole flat parameter; a rank
// that has nothing but padding has no local shard.
void SaveLocal(FsdpModule& unit, const StateDictConfig& config, SavedEntries& entries);
// *Local*. AssertionError: no entry, or one that is no ShardedTensor, or that lacks this rank's shard.
void LoadLocal(FsdpModule& unit, LoadEntries& entries, const std::string& prefix);

}  // namespace shardcts::reference

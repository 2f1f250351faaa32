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
// without padding: ShardedTensors, or DTensors on the unit's mesh. A rank receives only those elements of its rows that
// its shard lacks; local tensors are views of one new tensor per unit, of a tied parameter's further names copies.
void SaveSharded(FsdpModule& unit, const StateDictConfig& config, SavedEntries& entries);
// *Collective* over the shard group. Once all ranks have said what they have, each element of a ShardedTensor goes to
// the rank whose shard holds it, straight into the shard, and the entry becomes a WrittenSlice (parameter/flat_slice.h);
// while summoned it becomes the whole tensor, and so does a DTensor. A ShardedTensor of another shape stays wrong.
// On the rank that has it: AssertionError: no ShardedTensor; a DTensor on another mesh. AttributeError: with a mesh, no
// DTensor. RuntimeError: a local shard of other rows than this rank's. On its peers then, and on all when the ranks
// have entries under different keys or of different shapes: RuntimeError.
void LoadSharded(FsdpModule& unit, const StateDictConfig& config, LoadEntries& entries, const std::string& prefix);

// *Local*. A view of the live shard without its padding, as a 1-D ShardedTensor of the whole flat parameter; a rank
// that has nothing but padding has no local shard.
void SaveLocal(FsdpModule& unit, const StateDictConfig& config, SavedEntries& entries);
// *Local*. AssertionError: no entry, or one that is no ShardedTensor, or that lacks this rank's shard.
void LoadLocal(FsdpModule& unit, LoadEntries& entries, const std::string& prefix);

}  // namespace shardcts::reference

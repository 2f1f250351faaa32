// Saving the state of units: gathering it and converting it to the form of the state dict.
#pragma once

#include "fsdp_optim/model_parameters.h"
#include "agreement/rank_agreement.h"
#include "fsdp_optim/save_optim_state.h"

namespace shardcts::reference {

// The ranks that keep the saved state.
class Keepers {
 public:
  // With rank0_only the first rank of `group`, otherwise all ranks.
  Keepers(const Communicator& group, bool rank0_only);

  // *Local*. Whether this rank keeps it.
  bool includes_me() const { return includes_me_; }
  // *Collective* over the unit's shard group. All shards of a state, concatenated in newly allocated memory; undefined
  // on a rank that keeps nothing, which only sends its own.
  at::Tensor Gather(const UnitMembers& unit, const at::Tensor& shard) const;

 private:
  bool rank0_only_ = false;
  int64_t first_rank_ = 0;  // global
  bool includes_me_ = true;
};

// *Local*. A full state tensor of one member in the form that the options request. `is_own`: no optimizer uses its
// memory.
Value InWantedForm(const at::Tensor& whole, bool is_own, const UnitMembers& unit, const SaveOptimOptions& options);

// Without use_orig_params: the state of the flat parameter, every tensor with dimensions shaped like the shard.
struct FlatState {
  const UnitMembers* unit = nullptr;
  const Dict* state = nullptr;
};
// *Collective* over the shard groups of the sharded units: checks that the ranks have the same state names and kinds.
void AgreeOnFlatStates(const std::vector<FlatState>& states, RankAgreement& agreement);
// *Collective* over the shard group. Adds {FQN: {state name: value}} to `saved` on ranks that keep it.
void SaveFlatState(const FlatState& flat_state, const Keepers& keepers, const SaveOptimOptions& options, Dict& saved);

// With use_orig_params each rank has slices of the members. What one rank has of a unit's state: for each member of
// which some rank has state, {state name: value}; nullptr if this rank has none.
struct UnitState {
  const UnitMembers* unit = nullptr;
  std::vector<size_t> members;        // in the order that the ranks agreed on, not sorted
  std::vector<const Dict*> states;    // for each of `members`
};

// The result of the exchange between all ranks.
struct SlicedState {
  UnitState mine;
  std::vector<Dict> scalars;       // for each member, {state name: value without dimensions}, from ranks with elements
  std::vector<std::string> names;  // of tensors with dimensions, sorted
  std::vector<at::ScalarType> dtypes;  // for each name
};
// *Collective* over the shard groups of the sharded units.
std::vector<SlicedState> AgreeOnSlicedStates(const std::vector<UnitState>& mine, RankAgreement& agreement);
// *Collective* over the shard group. As SaveFlatState.
void SaveSlicedState(const SlicedState& state, const Keepers& keepers, const SaveOptimOptions& options, Dict& saved);

}  // namespace shardcts::reference

// The state of units on its way into a state dict: gathering it, and the form in which it is kept.
#pragma once

#include "fsdp_optim/model_parameters.h"
#include "agreement/rank_agreement.h"
#include "fsdp_optim/save_optim_state.h"

namespace shardcts::reference {

// Who is to keep what is saved.
class Keepers {
 public:
  // With rank0_only the first rank of `group`, else everyone.
  Keepers(const Communicator& group, bool rank0_only);

  // *Local*. Whether this rank is one.
  bool includes_me() const { return includes_me_; }
  // *Collective* over the unit's shard group. All shards of a state, one after the other, in memory that is nobody's
  // else; undefined on a rank that keeps nothing, which has only given its own.
  at::Tensor Gather(const UnitMembers& unit, const at::Tensor& shard) const;

 private:
  bool rank0_only_ = false;
  int64_t first_rank_ = 0;  // global
  bool includes_me_ = true;
};

// *Local*. A whole state tensor of one member as the options want it. `is_own`: no optimizer holds its memory.
Value InWantedForm(const at::Tensor& whole, bool is_own, const UnitMembers& unit, const SaveOptimOptions& options);

// Without use_orig_params: the state of the flat parameter, every tensor with dimensions shaped like the shard.
struct FlatState {
  const UnitMembers* unit = nullptr;
  const Dict* state = nullptr;
};
// *Collective* over the shard groups of those that are sharded: the ranks have the same state names and kinds.
void AgreeOnFlatStates(const std::vector<FlatState>& states, RankAgreement& agreement);
// *Collective* over the shard group. Adds {FQN: {state name: value}} to `saved` on ranks that keep it.
void SaveFlatState(const FlatState& flat_state, const Keepers& keepers, const SaveOptimOptions& options, Dict& saved);

// With use_orig_params each rank has slices of the members. What one rank has of a unit's state: for each member that some
// rank has state of, {state name: value}; nullptr where this rank has none.
struct UnitState {
  const UnitMembers* unit = nullptr;
  std::vector<size_t> members;        // ascending only by chance: in the order that the ranks agreed on
  std::vector<const Dict*> states;    // for each of `members`
};

// What all ranks have said about it.
struct SlicedState {
  UnitState mine;
  std::vector<Dict> scalars;       // for each member, {state name: value without dimensions}, of the ranks with elements
  std::vector<std::string> names;  // of tensors with dimensions, sorted
  std::vector<at::ScalarType> dtypes;  // for each name
};
// *Collective* over the shard groups of those that are sharded.
std::vector<SlicedState> AgreeOnSlicedStates(const std::vector<UnitState>& mine, RankAgreement& agreement);
// *Collective* over the shard group. As SaveFlatState.
void SaveSlicedState(const SlicedState& state, const Keepers& keepers, const SaveOptimOptions& options, Dict& saved);

}  // namespace shardcts::reference

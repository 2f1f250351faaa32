// With use_orig_params: the state of members, of which each rank has a slice.
#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "contract/tensor_bytes.h"
#include "fsdp_optim/chunked_state.h"
#include "fsdp_optim/state_entries.h"
#include "fsdp_optim/state_parts.h"
#include "fsdp_optim/unflattened_state.h"
#include "serialization/value_bytes.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

bool IsSame(const Value& a, const Value& b) { return ToBytes(a, {}) == ToBytes(b, {}); }

// {tensors: {state name: [dtype, elements]}, plain: {…: value}, scalars: {…: tensor without dimensions}}
Dict SummaryOf(const Dict& state) {
  Dict tensors;
  Dict plain;
  Dict scalars;
  for (const auto& [name, value] : SortedEntries(state)) {
    if (IsTensorWithDims(value)) {
      const at::Tensor& tensor = value.AsTensor();
      tensors.Set(name, List{static_cast<int64_t>(tensor.scalar_type()), tensor.numel()});
    } else {
      (IsTensorWithoutDims(value) ? scalars : plain).Set(name, value);
    }
  }
  return Dict{{"tensors", std::move(tensors)}, {"plain", std::move(plain)}, {"scalars", std::move(scalars)}};
}

// Of every member that is saved, and which members must be.
Dict SummaryOf(const UnitState& state) {
  List trainable;
  for (size_t i = 0; i < state.unit->fqns.size(); ++i) {
    if (state.unit->flat().requires_grad(i)) trainable.push_back(static_cast<int64_t>(i));
  }
  List members;
  for (const Dict* member : state.states) members.push_back(SummaryOf(member ? *member : Dict()));
  return Dict{{"trainable", std::move(trainable)}, {"members", std::move(members)}};
}

void CheckComplete(const UnitState& state, const std::vector<Value>& all) {
  for (const Value& rank : all) {
    for (const int64_t member : rank.AsDict().At("trainable").AsInts()) {
      if (std::ranges::count(state.members, static_cast<size_t>(member)) > 0) continue;
      const std::vector<std::string>& fqns = state.unit->fqns;
      throw SemanticError("RuntimeError", fqns.at(static_cast<size_t>(member)) +
                                              " is not in the optimizer state. The unit has the parameters " +
                                              ListText(fqns) + "; of those that are trainable each needs state on some "
                                                               "rank.");
    }
  }
}

const Dict& MemberSummary(const Value& rank, size_t place) {
  return rank.AsDict().At("members").AsList().at(place).AsDict();
}

// Combines a rank's value with those of earlier ranks.
void MergeScalar(size_t rank, const Dict::Entry& entry, Dict& merged) {
  const Value* known = merged.Find(entry.key);
  if (known && !known->IsNone() && !IsSame(*known, entry.value)) {
    throw SemanticError("AssertionError", "Rank " + std::to_string(rank) + " has different values for " +
                                              ToString(entry.key) + ": " + ToString(entry.value) +
                                              ". Other ranks: " + ToString(*known));
  }
  merged.Set(entry.key, entry.value);
}

// Scalars of ranks whose tensors are all empty are ignored, because they may be out of date: where others have
// elements.
Dict MergeScalars(const SlicedState& state, size_t place, const std::vector<Value>& all) {
  const FlattenLayout& layout = state.mine.unit->flat().layout();
  const size_t member = state.mine.members[place];
  const bool has_tensors = std::ranges::any_of(
      all, [&](const Value& rank) { return !MemberSummary(rank, place).At("tensors").AsDict().empty(); });
  const bool has_elements = layout.parameters.at(member).numel > 0;
  Dict merged;
  for (size_t rank = 0; rank < all.size(); ++rank) {
    if (has_tensors && has_elements && layout.SliceOf(member, static_cast<int64_t>(rank)).numel == 0) continue;
    const Dict& summary = MemberSummary(all[rank], place);
    for (const Dict::Entry& entry : summary.At("plain").AsDict()) MergeScalar(rank, entry, merged);
    for (const Dict::Entry& entry : summary.At("scalars").AsDict()) MergeScalar(rank, entry, merged);
  }
  return merged;
}

// Checks that every rank with elements of a member has as many elements of each state tensor, in the same dtype.
void CheckSlices(const SlicedState& state, const std::vector<Value>& all) {
  const UnitMembers& unit = *state.mine.unit;
  for (size_t place = 0; place < state.mine.members.size(); ++place) {
    const size_t member = state.mine.members[place];
    for (size_t rank = 0; rank < all.size(); ++rank) {
      const int64_t expected = unit.flat().layout().SliceOf(member, static_cast<int64_t>(rank)).numel;
      const Dict& tensors = MemberSummary(all[rank], place).At("tensors").AsDict();
      for (size_t i = 0; i < state.names.size(); ++i) {
        const Value* said = tensors.Find(state.names[i]);
        const int64_t numel = said ? said->AsInts().at(1) : 0;
        if (said && said->AsInts().at(0) != static_cast<int64_t>(state.dtypes[i])) {
          throw SemanticError("AssertionError", "the ranks have \"" + state.names[i] + "\" of " + unit.fqns[member] +
                                                    " in different dtypes");
        }
        if (numel == expected) continue;
        throw SemanticError("AssertionError", "rank " + std::to_string(rank) + " has " + std::to_string(numel) +
                                                  " elements of \"" + state.names[i] + "\" of " + unit.fqns[member] +
                                                  ", and " + std::to_string(expected) + " of the parameter");
      }
    }
  }
}

void CollectNames(const std::vector<Value>& all, SlicedState& state) {
  std::map<std::string, at::ScalarType> dtypes;
  for (const Value& rank : all) {
    for (size_t place = 0; place < state.mine.members.size(); ++place) {
      for (const auto& [name, said] : MemberSummary(rank, place).At("tensors").AsDict()) {
        dtypes.emplace(ToString(name), static_cast<at::ScalarType>(said.AsInts().at(0)));
      }
    }
  }
  for (const auto& [name, dtype] : dtypes) {
    state.names.push_back(name);
    state.dtypes.push_back(dtype);
  }
}

// This rank's shard of the state, with the layout of the parameter's shard. Elements that no member fills have no
// meaning.
at::Tensor ShardOf(const SlicedState& state, size_t name) {
  const UnitMembers& unit = *state.mine.unit;
  const FlattenLayout& layout = unit.flat().layout();
  at::Tensor shard = at::empty({layout.ShardNumel()}, unit.On(state.dtypes[name]));
  for (size_t place = 0; place < state.mine.members.size(); ++place) {
    const FlatSlice slice = layout.SliceOf(state.mine.members[place], unit.flat().rank());
    if (slice.numel == 0) continue;
    const at::Tensor& mine = state.mine.states[place]->At(state.names[name]).AsTensor();
    shard.narrow(0, slice.begin_in_shard, slice.numel).copy_(mine.detach().reshape({-1}));
  }
  return shard;
}

// *Collective* over the shard group.
void SetSliceChunks(const SlicedState& state, size_t name, std::vector<Dict>& members) {
  const UnitMembers& unit = *state.mine.unit;
  const auto kept = [&](size_t place, int64_t rank) { return Member{unit, state.mine.members[place]}.Kept(rank); };
  StateRuns runs{state.names[name], state.dtypes[name], RangesByRank(static_cast<size_t>(unit.group().size())), {}};
  for (size_t place = 0; place < members.size(); ++place) {
    for (size_t rank = 0; rank < runs.have.size(); ++rank) {
      runs.have[rank].push_back(kept(place, static_cast<int64_t>(rank)));
    }
    const bool has_none = kept(place, unit.flat().rank()).numel == 0;
    runs.mine.push_back(has_none ? at::empty({0}, state.dtypes[name])
                                 : state.mine.states[place]->At(state.names[name]).AsTensor().detach().reshape({-1}));
  }
  const std::vector<Value> values = ChunksOf(runs, unit, state.mine.members);
  for (size_t place = 0; place < members.size(); ++place) members[place].Set(state.names[name], values[place]);
}

void SaveUnsharded(const UnitState& state, const SaveOptimOptions& options, Dict& saved) {
  for (size_t i = 0; i < state.members.size(); ++i) {
    if (!state.states[i]) continue;
    saved.Set(state.unit->fqns[state.members[i]], options.offload_to_cpu ? CopiedToCpu(*state.states[i]) : *state.states[i]);
  }
}

// The values received from all ranks.
void Merge(const std::vector<Value>& all, SlicedState& state) {
  CheckComplete(state.mine, all);
  CollectNames(all, state);
  CheckSlices(state, all);
  for (size_t place = 0; place < state.mine.members.size(); ++place) {
    state.scalars.push_back(MergeScalars(state, place, all));
  }
}

}  // namespace

std::vector<SlicedState> AgreeOnSlicedStates(const std::vector<UnitState>& mine, RankAgreement& agreement) {
  std::vector<SlicedState> states;
  std::vector<size_t> sharded;
  std::vector<Communicator*> groups;
  std::vector<Value> summaries;
  for (const UnitState& unit_state : mine) {
    Value summary;
    agreement.Try([&] { summary = SummaryOf(unit_state); });
    states.push_back(SlicedState{unit_state});
    if (unit_state.unit->flat().is_sharded()) {
      sharded.push_back(states.size() - 1);
      groups.push_back(&unit_state.unit->group());
      summaries.push_back(summary);
    } else {
      agreement.Try([&] { CheckComplete(unit_state, {summary}); });
    }
  }
  const std::vector<std::vector<Value>> said = agreement.ExchangeInEach(groups, summaries);
  for (size_t i = 0; i < sharded.size(); ++i) {
    agreement.Try([&] { Merge(said[i], states[sharded[i]]); });
  }
  return states;
}

void SaveSlicedState(const SlicedState& state, const Keepers& keepers, const SaveOptimOptions& options, Dict& saved) {
  const UnitMembers& unit = *state.mine.unit;
  if (!unit.flat().is_sharded()) {
    if (keepers.includes_me()) SaveUnsharded(state.mine, options, saved);
    return;
  }
  std::vector<Dict> members = state.scalars;
  for (size_t name = 0; name < state.names.size(); ++name) {
    if (options.shard_state) {
      SetSliceChunks(state, name, members);
      continue;
    }
    const at::Tensor whole = keepers.Gather(unit, ShardOf(state, name));
    if (!keepers.includes_me()) continue;
    for (size_t place = 0; place < members.size(); ++place) {
      const at::Tensor view = unit.flat().ViewIn(whole, state.mine.members[place]);
      members[place].Set(state.names[name], InWantedForm(view, /*is_own=*/true, unit, options));
    }
  }
  if (!keepers.includes_me()) return;
  for (size_t place = 0; place < members.size(); ++place) {
    saved.Set(unit.fqns[state.mine.members[place]], std::move(members[place]));
  }
}

}  // namespace shardcts::reference

// Without use_orig_params: the state of a flat parameter, split into that of its members.
#include <ATen/ATen.h>

#include <numeric>

#include "fsdp_optim/chunked_state.h"
#include "fsdp_optim/state_entries.h"
#include "fsdp_optim/unflattened_state.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

void CheckShardShape(const UnitMembers& unit, const Key& name, const at::Tensor& tensor) {
  const int64_t expected = unit.flat().shard().numel();
  if (tensor.numel() == expected) return;
  throw SemanticError("RuntimeError", "the state \"" + ToString(name) + "\" of " + ListText(unit.fqns) + " has " +
                                          std::to_string(tensor.numel()) + " elements, the shard " +
                                          std::to_string(expected));
}

// Each state name with the dtype of its tensor; "" for values that are not gathered.
Value Summary(const UnitMembers& unit, const Dict& state) {
  List kinds;
  for (const auto& [name, value] : SortedEntries(state)) {
    std::string kind;
    if (IsTensorWithDims(value)) {
      CheckShardShape(unit, name, value.AsTensor());
      kind = c10::toString(value.AsTensor().scalar_type());
    }
    kinds.push_back(ToString(name) + " " + kind);
  }
  return kinds;
}

void CheckAllSame(const UnitMembers& unit, const std::vector<Value>& summaries) {
  for (const Value& other : summaries) {
    if (other.AsStrings() == summaries.front().AsStrings()) continue;
    throw SemanticError("RuntimeError", "the ranks have different state of " + ListText(unit.fqns) + ": " +
                                            ListText(summaries.front().AsStrings()) + " and " +
                                            ListText(other.AsStrings()));
  }
}

// *Collective* over the shard group.
void SetChunks(const std::string& name, const at::Tensor& shard, const UnitMembers& unit, std::vector<Dict>& members) {
  const FlatParameter& flat = unit.flat();
  StateRuns state{name, shard.scalar_type(), {}, {shard.narrow(0, 0, flat.layout().Owned(flat.rank()).numel)}};
  for (int64_t rank = 0; rank < flat.layout().ranks; ++rank) state.have.push_back({flat.layout().Owned(rank)});
  std::vector<size_t> all(members.size());
  std::iota(all.begin(), all.end(), size_t{0});
  const std::vector<Value> values = ChunksOf(state, unit, all);
  for (size_t i = 0; i < members.size(); ++i) members[i].Set(name, values[i]);
}

}  // namespace

void AgreeOnFlatStates(const std::vector<FlatState>& states, RankAgreement& agreement) {
  std::vector<const UnitMembers*> units;
  std::vector<Communicator*> groups;
  std::vector<Value> mine;
  for (const auto& [unit, state] : states) {
    Value summary;
    agreement.Try([&] { summary = Summary(*unit, *state); });
    if (!unit->flat().is_sharded()) continue;
    units.push_back(unit);
    groups.push_back(&unit->group());
    mine.push_back(summary);
  }
  const std::vector<std::vector<Value>> said = agreement.ExchangeInEach(groups, mine);
  for (size_t i = 0; i < units.size(); ++i) {
    agreement.Try([&] { CheckAllSame(*units[i], said[i]); });
  }
}

void SaveFlatState(const FlatState& flat_state, const Keepers& keepers, const SaveOptimOptions& options, Dict& saved) {
  const auto& [unit_members, state] = flat_state;
  const UnitMembers& unit = *unit_members;
  const FlatParameter& flat = unit.flat();
  std::vector<Dict> members(unit.fqns.size());
  const std::vector<Dict::Entry> entries = SortedEntries(*state);
  for (const auto& [name, value] : entries) {
    if (!IsTensorWithDims(value)) continue;
    const bool gathers = flat.is_sharded();
    const at::Tensor shard = value.AsTensor().detach();
    const at::Tensor on_device = gathers ? shard.to(unit.unit->options().device) : shard;
    if (gathers && options.shard_state) {
      SetChunks(ToString(name), on_device, unit, members);
      continue;
    }
    const at::Tensor whole = gathers ? keepers.Gather(unit, on_device) : shard;
    if (!keepers.includes_me()) continue;
    for (size_t i = 0; i < members.size(); ++i) {
      members[i].Set(name, InWantedForm(flat.ViewIn(whole, i), gathers, unit, options));
    }
  }
  if (!keepers.includes_me()) return;
  for (const bool as_tensor : {true, false}) {
    for (const auto& [name, value] : entries) {
      if (IsTensorWithDims(value) || IsTensorWithoutDims(value) != as_tensor) continue;
      for (Dict& member : members) member.Set(name, as_tensor ? Value(value.AsTensor().detach().clone()) : value);
    }
  }
  for (size_t i = 0; i < members.size(); ++i) saved.Set(unit.fqns[i], std::move(members[i]));
}

}  // namespace shardcts::reference

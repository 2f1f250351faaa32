// Without use_orig_params: a flat parameter's state, cut into that of its members.
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

// Each state name with the dtype of its tensor; "" for values that nobody gathers.
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

void AgreeOnFlatState(const UnitMembers& unit, const Dict& state, RankAgreement& agreement) {
  Value mine;
  agreement.Try([&] { mine = Summary(unit, state); });
  if (!unit.flat().is_sharded()) return;
  const std::vector<Value> all = agreement.Exchange(unit.group(), mine);
  agreement.Try([&] {
    for (const Value& other : all) {
      if (other.AsStrings() == all.front().AsStrings()) continue;
      throw SemanticError("RuntimeError", "the ranks have different state of " + ListText(unit.fqns) + ": " +
                                              ListText(all.front().AsStrings()) + " and " + ListText(other.AsStrings()));
    }
  });
}

void SaveFlatState(const UnitMembers& unit, const Dict& state, const Keepers& keepers, const SaveOptimOptions& options,
                   Dict& saved) {
  const FlatParameter& flat = unit.flat();
  std::vector<Dict> members(unit.fqns.size());
  const std::vector<Dict::Entry> entries = SortedEntries(state);
  for (const auto& [name, value] : entries) {
    if (!IsTensorWithDims(value)) continue;
    const bool gathers = flat.is_sharded();
    const at::Tensor shard = value.AsTensor().detach();
    const at::Tensor on_device = gathers ? shard.to(unit.unit->options().device) : shard;
    if (gathers && options.shard_state) {
      SetChunks(ToString(name), on_device, unit, members);
      continue;
    }
    const at::Tensor whole = gathers ? keepers.Gather(unit, ToString(name), on_device) : shard;
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

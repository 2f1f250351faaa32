#include "fsdp_optim/save_optim_state.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <map>

#include "agreement/rank_agreement.h"
#include "fsdp_optim/state_entries.h"
#include "fsdp_optim/unflattened_state.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

// The identity of a parameter with state, common to all ranks: its FQNs, and whether a unit manages it.
struct StateKey {
  std::vector<std::string> fqns;
  bool is_managed = false;
  auto operator<=>(const StateKey&) const = default;
};

Value ToValue(const StateKey& key) { return Dict{{"fqns", shardcts::ToValue(key.fqns)}, {"managed", key.is_managed}}; }

std::vector<StateKey> KeysFrom(const Value& said) {
  std::vector<StateKey> keys;
  for (const Value& key : said.AsList()) {
    keys.push_back({key.AsDict().At("fqns").AsStrings(), key.AsDict().At("managed").AsBool()});
  }
  return keys;
}

// A parameter of this rank's optimizer that has state.
struct LocalState {
  StateKey key;
  const ModelParameter* parameter = nullptr;
  const Dict* state = nullptr;
};

class Saving {
 public:
  Saving(models::Module& model, const Dict& state_dict, Communicator& group, const SaveOptimOptions& options)
      : model_(model), state_dict_(state_dict), group_(group), options_(options), keepers_(group, options.rank0_only) {}

  // *Local*.
  void Prepare(const OptimizerInput& input) {
    agreement_.Try([&] {
      parameters_.emplace(model_);
      keys_ = KeysOf(input, model_, IsKeyedByNames(state_dict_));
      CollectLocal();
      if (state_dict_.Contains("param_groups")) param_groups_ = Groups();
    });
  }

  // *Collective* over the group: the keys of everything that is saved, in the same order on all ranks.
  void AgreeOnKeys() {
    List mine;
    for (const LocalState& local : local_) mine.push_back(ToValue(local.key));
    const std::vector<Value> all = agreement_.Exchange(group_, mine);
    agreement_.ThrowIfRefused();
    if (parameters_->use_orig_params()) {
      for (const Value& said : all) {
        for (const StateKey& key : KeysFrom(said)) order_.push_back(key);
      }
      std::ranges::sort(order_);
      order_.erase(std::unique(order_.begin(), order_.end()), order_.end());
    } else {
      order_ = KeysFrom(all.front());
      CheckNoneMissing(all);
    }
  }

  // *Collective* over the group and the units' groups.
  Dict State() { return parameters_->use_orig_params() ? SlicedStates() : FlatStates(); }

  Dict Finish(Dict state, std::vector<std::string>& user_warnings) {
    if (!keepers_.includes_me()) return {};
    for (const auto& [key, value] : EntryOf(state_dict_, "state").AsDict()) {
      if (state.Contains(key) || keys_.Find(key)) continue;
      user_warnings.push_back("Found a optim state, " + ToString(key) +
                              ", that belongs to no parameter of the optimizer: it is copied as it is.");
      state.Set(key, value);
    }
    Dict result{{"state", std::move(state)}};
    if (param_groups_) result.Set("param_groups", std::move(*param_groups_));
    return result;
  }

 private:
  const ModelParameter& Described(const Key& key) const {
    const models::ParameterPtr parameter = keys_.Find(key);
    const ModelParameter* described = parameter ? parameters_->Find(*parameter) : nullptr;
    if (!described) throw SemanticError("KeyError", Quoted(key));
    return *described;
  }

  void CollectLocal() {
    const Dict& state = EntryOf(state_dict_, "state").AsDict();
    for (const auto& [key, parameter] : keys_.all()) {
      const Value* entry = state.Find(key);
      if (!entry) continue;
      const ModelParameter& described = Described(key);
      local_.push_back({{described.fqns, described.unit != nullptr}, &described, &entry->AsDict()});
    }
  }

  List Groups() const {
    List groups;
    for (const Value& given : EntryOf(state_dict_, "param_groups").AsList()) {
      List fqns;
      for (const Value& key : EntryOf(given.AsDict(), "params").AsList()) {
        for (const std::string& fqn : Described(KeyFrom(key)).fqns) fqns.push_back(fqn);
      }
      Dict group = given.AsDict();
      group.Set("params", std::move(fqns));
      groups.push_back(std::move(group));
    }
    return groups;
  }

  // All ranks have the same data, so all throw or none does.
  void CheckNoneMissing(const std::vector<Value>& all) const {
    std::string missing;
    for (size_t rank = 0; rank < all.size(); ++rank) {
      const std::vector<StateKey> theirs = KeysFrom(all[rank]);
      std::string of_rank;
      for (const StateKey& key : order_) {
        if (std::ranges::count(theirs, key) == 0) of_rank += " " + ListText(key.fqns);
      }
      if (!of_rank.empty()) {
        missing += "\nRank " + std::to_string(rank) + " is missing states for the parameters:" + of_rank;
      }
    }
    if (missing.empty()) return;
    throw SemanticError("RuntimeError",
                        "FSDP currently requires each rank to have at least the optimizer states needed by rank 0's "
                        "optimizer but some ranks are missing some of those states" +
                            missing);
  }

  // nullptr: this rank has no state under this key.
  const LocalState* Local(const StateKey& key) const {
    const auto found = std::ranges::find(local_, key, &LocalState::key);
    return found == local_.end() ? nullptr : &*found;
  }

  void SaveUnmanaged(const LocalState& local, Dict& saved) const {
    if (!keepers_.includes_me()) return;
    saved.Set(local.key.fqns.front(), options_.offload_to_cpu ? CopiedToCpu(*local.state) : *local.state);
  }

  static FlatState FlatStateOf(const LocalState& local) { return {local.parameter->unit, local.state}; }

  Dict FlatStates() {
    std::vector<FlatState> managed;
    for (const StateKey& key : order_) {
      if (key.is_managed) managed.push_back(FlatStateOf(*Local(key)));
    }
    AgreeOnFlatStates(managed, agreement_);
    agreement_.ThrowIfRefused();
    Dict saved;
    for (const StateKey& key : order_) {
      if (key.is_managed) {
        SaveFlatState(FlatStateOf(*Local(key)), keepers_, options_, saved);
      } else {
        SaveUnmanaged(*Local(key), saved);
      }
    }
    return saved;
  }

  // A unit with the first of its members; parameters that this rank does not have are handled by other ranks.
  std::vector<UnitState> ByUnit(Dict& saved) const {
    std::vector<UnitState> units;
    for (const StateKey& key : order_) {
      const LocalState* local = Local(key);
      if (!key.is_managed) {
        if (local) SaveUnmanaged(*local, saved);
        continue;
      }
      const ModelParameter* parameter = parameters_->WithFqn(key.fqns.front());
      if (!parameter || !parameter->unit) continue;
      auto unit = std::ranges::find(units, parameter->unit, &UnitState::unit);
      if (unit == units.end()) unit = units.insert(units.end(), {parameter->unit, {}, {}});
      unit->members.push_back(parameter->member);
      unit->states.push_back(local ? local->state : nullptr);
    }
    return units;
  }

  Dict SlicedStates() {
    Dict saved;
    const std::vector<SlicedState> states = AgreeOnSlicedStates(ByUnit(saved), agreement_);
    agreement_.ThrowIfRefused();
    for (const SlicedState& state : states) SaveSlicedState(state, keepers_, options_, saved);
    return saved;
  }

  models::Module& model_;
  const Dict& state_dict_;
  Communicator& group_;
  SaveOptimOptions options_;
  Keepers keepers_;
  RankAgreement agreement_;
  std::optional<ModelParameters> parameters_;
  OptimizerKeys keys_;
  std::vector<LocalState> local_;
  std::optional<List> param_groups_;
  std::vector<StateKey> order_;
};

}  // namespace

bool IsKeyedByNames(const Dict& state_dict) {
  const Value* state = state_dict.Find("state");
  if (!state || state->AsDict().empty()) return false;
  return std::holds_alternative<std::string>(state->AsDict().begin()->key);
}

Dict SaveOptimState(models::Module& model, const OptimizerInput& input, const Dict& state_dict, Communicator& group,
                    const SaveOptimOptions& options, std::vector<std::string>& user_warnings) {
  at::NoGradGuard no_grad;
  Saving saving(model, state_dict, group, options);
  saving.Prepare(input);
  saving.AgreeOnKeys();
  return saving.Finish(saving.State(), user_warnings);
}

}  // namespace shardcts::reference

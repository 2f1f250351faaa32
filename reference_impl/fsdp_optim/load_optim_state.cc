#include "fsdp_optim/load_optim_state.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <set>

#include "fsdp_optim/flatten_state.h"
#include "fsdp_optim/incoming_state.h"
#include "agreement/rank_agreement.h"
#include "fsdp_optim/state_entries.h"
#include "optim/state_shapes.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

// The destination of the state of one parameter object, or of a key that belongs to no parameter.
struct Target {
  const ModelParameter* parameter = nullptr;  // nullptr: the key belongs to no parameter
  Key key;                                    // of the state dict; for a flat parameter its first FQN
  Dict state;                                 // in this rank's layout
  Value other;                                // a value other than {state name: value}
};

class Loading {
 public:
  Loading(models::Module& model, const OptimizerInput& input, Communicator& group, const LoadOptimOptions& options,
          std::vector<std::string>& user_warnings)
      : model_(model), input_(input), group_(group), options_(options), user_warnings_(user_warnings) {}

  Dict Run(const Dict* given) {
    agreement_.Try([&] {
      parameters_.emplace(model_);
      keys_ = KeysOf(input_, model_, options_.is_named_optimizer);
    });
    Receive(given);
    agreement_.Try([&] { MakeTargets(EntryOf(received_.state_dict, "state").AsDict()); });
    agreement_.Try([&] { param_groups_ = Groups(); });
    Agree();
    for (const IncomingTensor& tensor : received_.tensors) Take(tensor);
    return Result();
  }

 private:
  // *Collective* over the group, with rank0_only.
  void Receive(const Dict* given) {
    if (options_.rank0_only) {
      received_ = ReceiveFromFirst(given, group_, agreement_);
      return;
    }
    agreement_.Try([&] {
      if (!given || !given->Contains("state")) {
        throw SemanticError("ValueError",
                            "`optim_state_dict` must have the keys \"state\"to be a valid optimizer state dict");
      }
      received_.state_dict = *given;
    });
  }

  void MakeTargets(const Dict& state) {
    std::set<Key> taken;
    for (const ModelParameter& parameter : parameters_->all()) {
      const Value* entry = state.Find(parameter.fqns.front());
      if (!entry) continue;
      taken.insert(parameter.fqns.begin(), parameter.fqns.end());
      Target target{&parameter, parameter.fqns.front(), {}, {}};
      if (!parameter.unit) {
        target.state = entry->AsDict();
      } else if (parameters_->use_orig_params()) {
        target.state = SliceOutline(*parameter.unit, parameter.member, entry->AsDict());
      } else {
        target.state = FlatOutline(*parameter.unit, state);
      }
      CheckShapes(parameter, state);  // after the outlines, whose errors say more
      if (parameter.unit && !options_.rank0_only) CollectTensors(parameter, state);
      targets_.push_back(std::move(target));
    }
    for (const auto& [key, entry] : state) {
      if (taken.contains(key)) continue;
      const auto* dict = entry.TryAs<Dict>();
      targets_.push_back({nullptr, key, dict ? *dict : Dict(), dict ? Value() : entry});
    }
  }

  // Only an optimizer knows which state has the shape of its parameter.
  void CheckShapes(const ModelParameter& parameter, const Dict& state) const {
    if (!input_.optimizer || input_.parameters) return;
    for (size_t i = 0; i < parameter.fqns.size(); ++i) {
      const Value* given = state.Find(parameter.fqns[i]);
      if (!given) continue;
      CheckStateShapes(*input_.optimizer, *parameter.object, parameter.fqns[i], parameter.ShapeOf(i), given->AsDict());
    }
  }

  void CollectTensors(const ModelParameter& parameter, const Dict& state) {
    for (const std::string& fqn : parameter.fqns) {
      const Value* entry = state.Find(fqn);
      if (!entry) continue;
      for (const auto& [name, value] : SortedEntries(entry->AsDict())) {  // in one order on all ranks
        if (!OutlineOf(value)) continue;
        received_.tensors.push_back({fqn, name, value});
        CheckPieces(received_.tensors.back(), *parameter.unit);
      }
    }
  }

  // *Collective*, so that no rank waits for tensors that a peer will not send.
  void Agree() {
    if (options_.rank0_only) {
      shard_ranks_ = agreement_.Exchange(group_, MyShardRanks());
    } else if (parameters_) {
      AgreeOnPieces();
    }
    agreement_.ThrowIfRefused();
  }

  // For each unit.
  List MyShardRanks() const {
    List ranks;
    if (!parameters_) return ranks;
    for (const auto& unit : parameters_->units()) ranks.push_back(unit->flat().rank());
    return ranks;
  }

  // *Collective* over the units' shard groups.
  void AgreeOnPieces() {
    std::vector<Communicator*> groups;
    std::vector<Value> pieces;
    for (const auto& unit : parameters_->units()) {
      groups.push_back(&unit->group());
      pieces.push_back(PiecesOf(*unit));
    }
    for (const std::vector<Value>& said : agreement_.ExchangeInEach(groups, pieces)) {
      agreement_.Try([&] { CheckSamePieces(said); });
    }
  }

  List PiecesOf(const UnitMembers& unit) const {
    List pieces;
    for (const IncomingTensor& tensor : received_.tensors) {
      const bool is_here = std::ranges::count(unit.fqns, ToString(tensor.parameter)) > 0;
      if (!is_here || !IsDistributed(tensor.value)) continue;
      pieces.push_back(ToString(tensor.parameter) + " " + ToString(tensor.name) + " " +
                       ShapeToString(OutlineOf(tensor.value)->shape));
    }
    return pieces;
  }

  static void CheckSamePieces(const std::vector<Value>& said) {
    for (const Value& other : said) {
      if (other.AsStrings() == said.front().AsStrings()) continue;
      throw SemanticError("RuntimeError", "the ranks have pieces of different state: " +
                                              ListText(said.front().AsStrings()) + " and " +
                                              ListText(other.AsStrings()));
    }
  }

  // *Collective* over the group, or over the shard group of the tensor's unit.
  void Take(const IncomingTensor& tensor) {
    const std::string fqn = ToString(tensor.parameter);
    const ModelParameter* parameter = parameters_->WithFqn(fqn);
    const UnitMembers* unit = parameter ? parameter->unit : nullptr;
    Target* target = TargetOf(parameter, tensor.parameter);
    if (!target) throw SemanticError("KeyError", "'" + fqn + "'");
    const bool has_place = unit && target->parameter;
    if (has_place && unit->flat().is_sharded()) {
      return TakePart(tensor, {*unit, MemberOf(*parameter, fqn)}, target->state);
    }
    const at::Tensor whole = options_.rank0_only ? Broadcast(tensor.value, group_) : Gathered(tensor.value, *unit);
    if (has_place && !parameters_->use_orig_params()) {
      const Member member{*unit, MemberOf(*parameter, fqn)};
      CopyPart(whole, member, PlaceOf(member, tensor.name, whole.scalar_type(), target->state));
    } else {
      target->state.Set(tensor.name, whole);
    }
  }

  // *Collective* as Take.
  void TakePart(const IncomingTensor& tensor, const Member& member, const Dict& outline) {
    const at::Tensor place = PlaceOf(member, tensor.name, OutlineOf(tensor.value)->dtype, outline);
    if (options_.rank0_only) {
      ScatterParts(tensor.value.AsTensor(), member, ShardRanksOf(member.unit), group_, place);
    } else if (const std::optional<at::Tensor> chunk = ChunkIn(tensor.value, member.unit)) {
      ExchangeParts(*chunk, member, place);
    } else {
      CopyPart(Gathered(tensor.value, member.unit), member, place);
    }
  }

  // For each rank of the group its rank in the unit's shard group.
  std::vector<int64_t> ShardRanksOf(const UnitMembers& unit) const {
    const auto& units = parameters_->units();
    const auto found = std::ranges::find(units, &unit, [](const auto& known) { return known.get(); });
    std::vector<int64_t> ranks;
    for (const Value& said : shard_ranks_) ranks.push_back(said.AsInts().at(static_cast<size_t>(found - units.begin())));
    return ranks;
  }

  // nullptr: this rank does not need the state.
  Target* TargetOf(const ModelParameter* parameter, const Key& key) {
    const auto found = std::ranges::find_if(targets_, [&](const Target& target) {
      return parameter && target.parameter ? target.parameter == parameter : target.key == key;
    });
    return found == targets_.end() ? nullptr : &*found;
  }

  size_t MemberOf(const ModelParameter& parameter, const std::string& fqn) const {
    if (parameters_->use_orig_params()) return parameter.member;
    return static_cast<size_t>(std::ranges::find(parameter.fqns, fqn) - parameter.fqns.begin());
  }

  // nullopt: no param_groups.
  std::optional<List> Groups() const {
    const Value* given_groups = received_.state_dict.Find("param_groups");
    if (!given_groups) return std::nullopt;
    List groups;
    for (const Value& given : given_groups->AsList()) {
      std::set<Key> params;
      for (const std::string& fqn : EntryOf(given.AsDict(), "params").AsStrings()) {
        const ModelParameter* parameter = parameters_->WithFqn(fqn);
        const std::optional<Key> key = parameter ? keys_.KeyOf(*parameter->object) : std::nullopt;
        if (!key) throw SemanticError("KeyError", "'" + fqn + "'");
        params.insert(*key);
      }
      List sorted;
      for (const Key& key : params) sorted.push_back(ValueOf(key));
      Dict group = given.AsDict();
      group.Set("params", std::move(sorted));
      groups.push_back(std::move(group));
    }
    return groups;
  }

  // The key in this rank's optimizer. A parameter that the optimizer does not have keeps its names as key.
  Key ResultKey(const Target& target) const {
    if (!target.parameter) return target.key;
    const std::optional<Key> key = keys_.KeyOf(*target.parameter->object);
    return key.value_or(target.parameter->fqns.size() == 1 ? target.key : Key(ListText(target.parameter->fqns)));
  }

  // {}, or the current state of a named optimizer.
  Dict StateOfEmptySlice(const Target& target) {
    if (!options_.is_named_optimizer || !input_.optimizer) return {};
    if (const Dict* present = input_.optimizer->FindState(*target.parameter->object)) return CopiedToCpu(*present);
    user_warnings_.push_back("optim_state of " + ToString(target.key) + " is not on rank " +
                             std::to_string(target.parameter->unit->flat().rank()) + ".");
    return {};
  }

  Dict Result() {
    Dict state;
    for (Target& target : targets_) {
      if (!target.other.IsNone()) {
        state.Set(target.key, std::move(target.other));
        continue;
      }
      if (target.parameter && target.parameter->unit && target.state.empty()) {
        target.state = StateOfEmptySlice(target);
        if (target.state.empty()) continue;
      }
      state.Set(ResultKey(target), std::move(target.state));
    }
    Dict result{{"state", std::move(state)}};
    if (param_groups_) result.Set("param_groups", std::move(*param_groups_));
    return result;
  }

  models::Module& model_;
  const OptimizerInput& input_;
  Communicator& group_;
  LoadOptimOptions options_;
  std::vector<std::string>& user_warnings_;
  RankAgreement agreement_;
  std::optional<ModelParameters> parameters_;
  OptimizerKeys keys_;
  ReceivedState received_;
  std::vector<Value> shard_ranks_;  // with rank0_only, as received from each rank of the group
  std::vector<Target> targets_;
  std::optional<List> param_groups_;
};

}  // namespace

Dict OptimStateToLoad(models::Module& model, const OptimizerInput& input, const Dict* state_dict, Communicator& group,
                      const LoadOptimOptions& options, std::vector<std::string>& user_warnings) {
  at::NoGradGuard no_grad;
  return Loading(model, input, group, options, user_warnings).Run(state_dict);
}

}  // namespace shardcts::reference

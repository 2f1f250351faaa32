#include "dsd/entry_problems.h"

#include <optional>

#include "fsdp/fsdp_module.h"
#include "parameter/dtensor_parameter.h"
#include "state_dict/state_dict_values.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

// A parameter or a persistent buffer, by one of its names.
struct Target {
  std::vector<int64_t> shape;  // global
  const DTensorDistribution* distribution = nullptr;
};

void AddUnits(models::Module& model, std::map<std::string, Target>& targets) {
  for (const auto& [path, module] : models::NamedModules(model)) {
    const auto* unit = dynamic_cast<const FsdpModule*>(module);
    if (!unit || !unit->flat()) continue;
    for (const auto* slots : {&unit->flat()->primary_slots(), &unit->flat()->shared_slots()}) {
      for (const FlatParameter::Slot& slot : *slots) {
        targets[models::JoinName(path, slot.fqn)] = {unit->flat()->shape(slot.parameter), nullptr};
      }
    }
  }
}

std::map<std::string, Target> TargetsOf(models::Module& model) {
  std::map<std::string, Target> targets;
  for (const auto& [name, parameter] : models::NamedParameters(model, /*remove_duplicate=*/false)) {
    bool is_of_unit = false;
    for (const FsdpModule* unit : FsdpUnits(model)) is_of_unit |= unit->flat() && unit->flat()->Holds(*parameter);
    if (is_of_unit) continue;
    const DTensorDistribution* distribution = FindDistribution(*parameter);
    targets[name] = {distribution ? distribution->shape : parameter->value.sizes().vec(), distribution};
  }
  for (const auto& [path, module] : models::NamedModules(model)) {
    for (const auto& [name, buffer] : module->buffers()) {
      if (module->IsPersistent(name)) targets[models::JoinName(path, name)] = {buffer.sizes().vec(), nullptr};
    }
  }
  AddUnits(model, targets);
  return targets;
}

// nullopt: not a tensor.
std::optional<std::vector<int64_t>> ShapeOf(const StateValue& entry) {
  if (const auto* tensor = std::get_if<at::Tensor>(&entry)) return tensor->sizes().vec();
  if (const auto* distributed = std::get_if<DTensor>(&entry)) return distributed->shape;
  if (const auto* sharded = std::get_if<ShardedTensor>(&entry)) return sharded->shape;
  if (const auto* whole = std::get_if<WholeTensor>(&entry)) return whole->shape;
  return std::nullopt;
}

// Empty: none. A tensor of one element is loaded into one without dimensions.
std::string ProblemOf(const std::string& name, const StateValue& entry, const Target& target) {
  const std::optional<std::vector<int64_t>> actual = ShapeOf(entry);
  if (actual && (*actual == target.shape || (target.shape.empty() && *actual == std::vector<int64_t>{1}))) return "";
  return "size mismatch for " + name + ": expected " + ShapeToString(target.shape) + ", actual " +
         (actual ? ShapeToString(*actual) : std::string("no tensor"));
}

// What loading redistributes, in a common order.
std::vector<std::string> CommunicationsOf(const std::map<std::string, const StateValue*>& by_name,
                                          const std::map<std::string, Target>& targets) {
  std::vector<std::string> texts;
  for (const auto& [name, entry] : by_name) {
    const auto* given = std::get_if<DTensor>(entry);
    const auto target = targets.find(name);
    if (!given || target == targets.end() || !target->second.distribution) continue;
    const DTensorDistribution& layout = *target->second.distribution;
    if (given->mesh->layout() != layout.mesh->layout() || given->placements == layout.placements) continue;
    texts.push_back("has " + name + " placed " + ToString(given->placements));
  }
  return texts;
}

}  // namespace

EntryProblems AgreeOnModelEntries(models::Module& model, const StateDict& entries, bool strict, Communicator* world,
                                  RankAgreement& agreement) {
  Dict problems;
  std::vector<std::string> communications;
  agreement.Try([&] {
    const std::map<std::string, Target> targets = TargetsOf(model);
    std::map<std::string, const StateValue*> by_name;
    for (const auto& [name, entry] : entries) by_name[name] = &entry;
    for (const auto& [name, target] : targets) {
      const auto found = by_name.find(name);
      const std::string problem =
          found != by_name.end() ? ProblemOf(name, *found->second, target) : strict ? name + " is missing" : "";
      if (!problem.empty()) problems.Set(name, problem);
    }
    communications = CommunicationsOf(by_name, targets);
  });
  if (!world) {
    agreement.ThrowIfRefused();
    return {entries.empty(), {}};
  }
  const std::vector<Value> all = agreement.Exchange(*world, Dict{{"empty", entries.empty()}, {"problems", problems}});
  AgreeOnTexts(world, agreement, "state dicts", communications);
  EntryProblems found{true, {}};
  for (size_t rank = 0; rank < all.size(); ++rank) {
    found.nothing_given &= all[rank].AsDict().At("empty").AsBool();
    for (const auto& [name, problem] : all[rank].AsDict().At("problems").AsDict()) {
      if (problems.Contains(name)) continue;
      found.of_peers.emplace(ToString(name), "rank " + std::to_string(world->global_ranks()[rank]) + ": " +
                                                 problem.AsString());
    }
  }
  return found;
}

}  // namespace shardcts::reference

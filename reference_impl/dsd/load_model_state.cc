#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <set>

#include "dsd/entry_problems.h"
#include "dsd/model_state.h"
#include "dsd/received_state.h"
#include "state_dict/state_dict_values.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

// ValueError: tensors with dimensions on several devices beside the meta device.
void CheckDevices(models::Module& model) {
  std::set<std::string> devices;
  const auto add = [&](const at::Tensor& tensor) {
    if (tensor.dim() > 0 && !tensor.is_meta()) devices.insert(tensor.device().str());
  };
  for (const auto& [name, parameter] : models::NamedParameters(model)) add(parameter->value);
  for (const auto& [path, module] : models::NamedModules(model)) {
    for (const auto& [name, buffer] : module->buffers()) {
      if (module->IsPersistent(name)) add(buffer);
    }
  }
  if (devices.size() > 1) throw SemanticError("ValueError", "Multiple devices found");
}

// Names of entries that modules have renamed without declaring it (Module::FqnModifiers): the members that they belong
// to are known only after the modules have undone the renaming.
std::set<std::string> NamesOfUnknownValues(models::Module& model, bool ask_modifiers) {
  std::set<std::string> names;
  for (const auto& [path, module] : models::NamedModules(model)) {
    const std::vector<models::FqnModifier> modifiers = module->FqnModifiers();
    for (const models::KeyRename& rename : module->StateDictRenames()) {
      const auto says = [&](const models::FqnModifier& modifier) { return modifier.shown == rename.shown; };
      if (ask_modifiers && std::ranges::any_of(modifiers, says)) continue;
      names.insert(path.empty() ? rename.shown : path + "." + rename.shown);
    }
  }
  return names;
}

// Each full tensor as an entry of which the loading rank takes its part.
StateDict WholeEntries(const Dict& values, const std::set<std::string>& unknown, const MeshRegistry& meshes) {
  StateDict entries = StateDictFrom(values, meshes);
  for (auto& [name, entry] : entries) {
    const auto* tensor = std::get_if<at::Tensor>(&entry);
    if (!tensor || tensor->dim() == 0 || unknown.contains(name)) continue;
    entry = WholeTensor{tensor->sizes().vec(), [whole = *tensor] { return whole; },
                        [whole = *tensor](const DTensorDistribution& layout, const at::Tensor&) {
                          return PartOf(whole, layout);
                        }};
  }
  return entries;
}

// What this rank itself gives.
StateDict OwnEntries(models::Module& model, const Dict& state_dict, const StateDictOptions& options,
                     const StateDictContext& context) {
  if (!options.full_state_dict) return StateDictFrom(state_dict, context.meshes);
  return WholeEntries(state_dict, NamesOfUnknownValues(model, options.ask_modifiers), context.meshes);
}

// Buffers that state dicts do not have stay where they are: who loads onto the meta device is told.
void NameBuffersOnMeta(models::Module& model, LoadResult& result) {
  for (const auto& [path, module] : models::NamedModules(model)) {
    for (const auto& [name, buffer] : module->buffers()) {
      if (!module->IsPersistent(name) && buffer.is_meta()) result.missing_keys.push_back(models::JoinName(path, name));
    }
  }
}

// A peer cannot load these: an entry must not be new on some ranks and old on others.
void Refuse(const std::map<std::string, std::string>& refusals, StateDict& entries) {
  for (auto& [name, entry] : entries) {
    const auto refusal = refusals.find(name);
    if (refusal != refusals.end()) entry = NotATensor{"", {}, refusal->second};
  }
}

}  // namespace

Dict JoinSubmodules(const Dict& by_submodule, const StateDictContext& context) {
  context.warnings.push_back({"FutureWarning",
                              "Passing model_state_dict as a ``Dict[nn.Module, Dict[str, Any]]`` is deprecated and "
                              "will be removed in 2.5: put the submodules' paths in front of the names."});
  Dict joined;
  for (const auto& [path, state_dict] : by_submodule) {
    for (const auto& [name, value] : state_dict.AsDict()) joined.Set(ToString(path) + "." + ToString(name), value);
  }
  return joined;
}

LoadResult SetModelStateDict(models::Module& model, const Dict& state_dict, const StateDictOptions& options,
                             const StateDictContext& context) {
  at::NoGradGuard no_grad;
  CheckOptions(options, context);  // the same on all ranks
  LoadOptions load{.strict = options.strict, .keep_ties = true};
  load.assign_meta = options.full_state_dict;
  StateDict entries;
  RankAgreement agreement;
  agreement.Try([&] {
    CheckModelState(state_dict, options, /*has_submodules=*/false);
    if (options.full_state_dict) CheckDevices(model);
    if (!options.broadcast_from_rank0) entries = OwnEntries(model, state_dict, options, context);
  });
  if (context.world == nullptr) agreement.ThrowIfRefused();
  if (options.broadcast_from_rank0) {
    entries = ReceiveFromRank0(state_dict, *context.world, agreement);
  } else {
    const EntryProblems problems = AgreeOnModelEntries(model, entries, options.strict, context.world, agreement);
    if (problems.nothing_given) return {};
    Refuse(problems.of_peers, entries);
  }
  LoadResult result;
  agreement.Try([&] {
    StateDictTypeScope scope(model, UnitSettings(options));
    result = LoadStateDict(model, entries, load);
    if (load.assign_meta) NameBuffersOnMeta(model, result);
    scope.End();
  });
  AgreeOnTexts(context.world, agreement, "results", {});
  WarnUser(context, result.user_warnings);
  return result;
}

}  // namespace shardcts::reference

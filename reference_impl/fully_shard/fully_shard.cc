#include "fully_shard/fully_shard.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "fully_shard/fsdp_state.h"
#include "parameter/apply_hooks.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

void ValidateModule(const models::Module& module) {
  if (!module.HasForward()) {
    throw SemanticError("ValueError",
                        "fully_shard does not support containers that do not implement forward: " + module.type_name());
  }
  if (module.extension()) {
    throw SemanticError("AssertionError",
                        "Each distinct composable distributed API can only be applied to a module once. fully_shard "
                        "has already been applied to the following module: " + module.type_name());
  }
}

// `root` and the modules below it, except those below a module that an earlier call was applied to; children before
// parents.
void CollectManaged(models::Module& module, bool is_root, std::vector<models::Module*>& into) {
  if (!is_root && FsdpState::Find(module)) return;
  for (const auto& [name, child] : module.children()) CollectManaged(*child, false, into);
  into.push_back(&module);
}

std::vector<models::ParameterPtr> ParametersOf(const std::vector<models::Module*>& managed) {
  std::vector<models::ParameterPtr> parameters;
  for (models::Module* module : managed) {
    for (const auto& [name, parameter] : module->parameters()) {
      if (std::find(parameters.begin(), parameters.end(), parameter) != parameters.end()) continue;
      if (parameter->value.dim() == 0) {
        throw SemanticError("ValueError", "fully_shard doesn't support scalar parameters. Change " + name +
                                              " to a 1D tensor with numel equal to 1.");
      }
      parameters.push_back(parameter);
    }
  }
  return parameters;
}

// Every slot below `root` that holds the parameter: a tied one may also be in a module of another group.
std::vector<ParameterSlot> SlotsOf(const models::ParameterPtr& parameter, models::Module& root) {
  std::vector<ParameterSlot> slots;
  for (const auto& [path, module] : models::NamedModules(root)) {
    for (const auto& [name, registered] : module->parameters()) {
      if (registered == parameter) slots.push_back({module, name});
    }
  }
  return slots;
}

void MoveBuffers(const std::vector<models::Module*>& managed, at::Device device) {
  for (models::Module* module : managed) {
    for (auto& [name, buffer] : module->buffers()) {
      if (!buffer.is_meta()) buffer = buffer.to(device);
    }
  }
}

void ApplyToParameter(models::Parameter& parameter, const std::function<at::Tensor(const at::Tensor&)>& change) {
  const bool requires_grad = parameter.value.requires_grad();
  const at::Tensor gradient = parameter.value.grad();
  at::Tensor changed = change(parameter.value.detach()).detach();
  changed.set_requires_grad(requires_grad);
  if (gradient.defined()) changed.mutable_grad() = change(gradient).detach();
  parameter.value = changed;
}

}  // namespace

void FullyShard(models::Module& module, const FullyShardOptions& options) {
  ValidateModule(module);
  const DataParallelMesh mesh(options.mesh);
  std::vector<models::Module*> managed;
  CollectManaged(module, true, managed);
  const std::vector<models::ParameterPtr> parameters = ParametersOf(managed);
  // All are looked at before the first is sharded: a refused model stays as it was.
  for (const models::ParameterPtr& parameter : parameters) ChooseShardDim(*parameter, options, mesh.shard_count());
  MoveBuffers(managed, mesh.device());

  std::shared_ptr<ParameterGroup> group;
  if (!parameters.empty()) {
    std::vector<std::vector<ParameterSlot>> slots;
    for (const models::ParameterPtr& parameter : parameters) slots.push_back(SlotsOf(parameter, module));
    group = ParameterGroup::Create(parameters, slots, mesh, options);
  }
  auto state = std::make_shared<FsdpState>(module, options, group);
  module.set_extension(state);
  state->RegisterForwardHooks();
  module.set_type_name("FSDP" + module.type_name());
}

void AbandonForward(models::Module& root) {
  for (const auto& [path, module] : models::NamedModules(root)) {
    const FsdpState* state = FsdpState::Find(*module);
    if (state && state->group()) state->group()->AbandonForward();
  }
}

void ApplyToTensors(models::Module& root, const std::function<at::Tensor(const at::Tensor&)>& change) {
  const FsdpState* state = FsdpState::Find(root);
  ParameterGroup* group = state ? state->group() : nullptr;
  auto* hooks = dynamic_cast<ApplyHooks*>(&root);
  if (group) group->Reshard();
  if (hooks) hooks->BeforeApply();
  for (const auto& [name, child] : root.children()) ApplyToTensors(*child, change);
  for (const auto& [name, parameter] : root.parameters()) ApplyToParameter(*parameter, change);
  for (auto& [name, buffer] : root.buffers()) buffer = change(buffer);
  if (group) group->ResetSharded();
  if (hooks) hooks->AfterApply();
}

}  // namespace shardcts::reference

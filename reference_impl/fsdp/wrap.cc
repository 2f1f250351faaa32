#include "fsdp/wrap.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "fsdp/ignored_states.h"
#include "fsdp/wrap_policy.h"
#include "parameter/dtensor_parameter.h"
#include "parameter/flat_slice.h"
#include "tensor/on_group_device.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

bool IsFlattened(const std::string& name, const models::Parameter& parameter) {
  return name == kFlatParameterName || FindFlatSlice(parameter) != nullptr;
}

std::vector<models::ParameterPtr> ManagedParameters(models::Module& module, const IgnoredStates& ignored) {
  std::vector<models::ParameterPtr> managed;
  std::set<const models::Parameter*> seen;
  for (const auto& [path, owner] : models::NamedModules(module)) {
    for (const auto& [name, parameter] : owner->parameters()) {
      if (IsFlattened(name, *parameter) || ignored.Contains(*parameter) || !seen.insert(parameter.get()).second) {
        continue;
      }
      if (parameter->value.dim() == 0) {
        throw SemanticError("ValueError", "FSDP doesn't support scalar parameters. Change " +
                                              models::JoinName(path, name) + " to a 1D tensor with numel equal to 1.");
      }
      managed.push_back(parameter);
    }
  }
  return managed;
}

void CheckDevices(const std::vector<models::ParameterPtr>& managed, const FsdpOptions& options) {
  std::set<std::string> devices;
  for (const models::ParameterPtr& parameter : managed) {
    if (parameter->value.is_meta()) {
      throw SemanticError("RuntimeError",
                          "FSDP parameters are on the meta device, and no module here can initialize "
                          "its parameters after construction");
    }
    devices.insert(parameter->value.device().str());
  }
  if (devices.size() < 2 || (devices.contains("cpu") && options.move_to_device)) return;
  if (devices.size() == 2 && devices.contains("cpu")) {
    throw SemanticError("RuntimeError",
                        "To support a module with both CPU and GPU params, please pass in device_id argument.");
  }
  throw SemanticError("RuntimeError", "FSDP only supports single device modules but got params on several devices");
}

// Buffers of inner units stay on the devices that these have chosen.
void MoveToDevice(models::Module& module, const std::vector<models::ParameterPtr>& managed,
                  const FsdpOptions& options) {
  for (const models::ParameterPtr& parameter : managed) {
    if (parameter->value.device() != options.device) parameter->value.set_data(parameter->value.to(options.device));
  }
  for (const auto& [name, buffer] : models::NamedBuffers(module)) {
    if (buffer.device() != options.device) buffer.set_data(buffer.to(options.device));
  }
}

// RuntimeError: a parameter is a DTensor, of whose parts a flat parameter would make wholes.
void CheckNotDistributed(const std::vector<models::ParameterPtr>& managed) {
  const auto is_plain = [](const models::ParameterPtr& parameter) { return !FindDistribution(*parameter); };
  if (std::ranges::all_of(managed, is_plain)) return;
  throw SemanticError("RuntimeError", "a flat parameter takes no DTensors: it got mixed torch.Tensor and DTensor");
}

// Buffers may have been synchronized by an inner unit already; repeating it changes nothing.
void SyncModuleStates(models::Module& module, const std::vector<models::ParameterPtr>& managed,
                      const FsdpOptions& options) {
  for (Communicator* group : {options.shard_group.get(), options.replicate_group.get()}) {
    if (!group || group->size() == 1) continue;
    for (const auto& [name, buffer] : models::NamedBuffers(module)) BroadcastValues(*group, buffer, 0);
    for (const models::ParameterPtr& parameter : managed) BroadcastValues(*group, parameter->value.detach(), 0);
  }
}

std::vector<BufferRecord> RecordBuffers(models::Module& module, const IgnoredStates& ignored) {
  std::vector<BufferRecord> records;
  for (const auto& [path, owner] : models::NamedModules(module, /*remove_duplicate=*/false)) {
    for (const auto& [name, buffer] : owner->buffers()) {
      records.push_back({models::JoinName(path, name), buffer.scalar_type(), ignored.Contains(*owner)});
    }
  }
  return records;
}

// A hybrid strategy without a replicate group just shards; a single rank has nothing to shard.
FsdpOptions Resolved(FsdpOptions options, std::vector<std::string>& user_warnings) {
  if (options.shard_group->size() == 1 && options.strategy != ShardingStrategy::kNoShard) {
    user_warnings.push_back("FSDP is switching to use `NO_SHARD` instead of ShardingStrategy." +
                            NameOf(options.strategy) + " since the world size is 1.");
    options.strategy = ShardingStrategy::kNoShard;
  }
  return options;
}

}  // namespace

std::shared_ptr<FsdpModule> WrapFsdp(models::ModulePtr module, const FsdpOptions& given,
                                     std::vector<std::string>& user_warnings) {
  const IgnoredStates ignored(*module, given);
  if (given.auto_wrap_policy) ApplyAutoWrapPolicy(*module, given, ignored, user_warnings);
  const FsdpOptions options = Resolved(given, user_warnings);
  std::vector<BufferRecord> buffers = RecordBuffers(*module, ignored);
  const std::vector<models::ParameterPtr> managed = ManagedParameters(*module, ignored);
  CheckDevices(managed, options);
  CheckNotDistributed(managed);
  if (options.move_to_device) MoveToDevice(*module, managed, options);
  if (options.sync_module_states) SyncModuleStates(*module, managed, options);
  std::shared_ptr<FlatParameter> flat;
  if (!managed.empty()) flat = FlatParameter::Create(*module, managed, options);
  return std::make_shared<FsdpModule>(std::move(module), options, std::move(flat), std::move(buffers));
}

}  // namespace shardcts::reference

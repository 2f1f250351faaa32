#include "fully_shard/parameter_group.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "contract/tensor_bytes.h"
#include "fully_shard/backward_call.h"
#include "fully_shard/collectives.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

// As Python prints a torch.device.
std::string DeviceText(at::Device device) {
  std::string text = "device(type='" + c10::DeviceTypeName(device.type(), /*lower_case=*/true) + "'";
  if (device.has_index()) text += ", index=" + std::to_string(device.index());
  return text + ")";
}

std::string Joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return "[" + text + "]";
}

}  // namespace

ParameterGroup::ParameterGroup(const DataParallelMesh& mesh, const FullyShardOptions& options)
    : mesh_(mesh), options_(options), reshard_after_forward_(options.reshard_after_forward.value_or(true)) {}

std::shared_ptr<ParameterGroup> ParameterGroup::Create(const std::vector<models::ParameterPtr>& originals,
                                                       const std::vector<std::vector<ParameterSlot>>& slots,
                                                       const DataParallelMesh& mesh,
                                                       const FullyShardOptions& options) {
  std::shared_ptr<ParameterGroup> group(new ParameterGroup(mesh, options));
  for (size_t i = 0; i < originals.size(); ++i) {
    auto parameter = std::make_unique<ShardedParameter>(originals[i], slots[i], mesh, options);
    ShardedParameter* added = parameter.get();
    added->slots().front().module->post_load_hooks().push_back([added] { added->ResetSharded(); });
    group->parameters_.push_back(std::move(parameter));
  }
  return group;
}

void ParameterGroup::LazyInit() {
  if (!is_unsharded_ && !was_reset_) {
    ResetSharded();
    was_reset_ = true;
  }
  ValidateDevices();
  ValidateDtypes();
  for (const auto& parameter : parameters_) parameter->InitComputeDtype(options_.mixed_precision);
  RegisterStateDictHooks();
}

void ParameterGroup::ResetSharded() {
  for (const auto& parameter : parameters_) parameter->ResetSharded();
}

void ParameterGroup::ValidateDevices() const {
  std::vector<std::string> on_meta;
  std::vector<std::string> not_on_cpu;
  for (const auto& parameter : parameters_) {
    const at::Device device = parameter->sharded()->value.device();
    if (device.is_meta()) on_meta.push_back("'" + parameter->fqn() + "'");
    if (!device.is_cpu()) not_on_cpu.push_back("('" + parameter->fqn() + "', " + DeviceText(device) + ")");
  }
  if (!on_meta.empty()) {
    throw SemanticError("RuntimeError",
                        "FSDP parameters should be materialized from meta device before training, but the following "
                        "were still on meta device: " + Joined(on_meta) +
                            "\nFor example, call module.to_empty(device) to materialize to device and call "
                            "module.reset_parameters() on each module to initialize values.");
  }
  if (options_.offload && !not_on_cpu.empty()) {
    throw SemanticError("RuntimeError",
                        "FSDP parameters should be materialized on CPU when enabling CPU offloading. For example, "
                        "load a CPU state dict or call module.to_empty(device=\"cpu\"). Found following parameters "
                        "on non-CPU device: " + Joined(not_on_cpu) + "\n");
  }
}

// What trains is reduced in one collective.
void ParameterGroup::ValidateDtypes() const {
  std::set<std::string> dtypes;
  for (const auto& parameter : parameters_) {
    const at::Tensor& value = parameter->sharded()->value;
    if (value.requires_grad()) dtypes.insert(DtypeName(value.scalar_type()));
  }
  if (dtypes.size() <= 1) return;
  throw SemanticError("AssertionError", "FSDP expects uniform original parameter dtype but got " +
                                            Joined({dtypes.begin(), dtypes.end()}));
}

std::vector<models::Module*> ParameterGroup::OwningModules() const {
  std::vector<models::Module*> owners;
  for (const auto& parameter : parameters_) {
    models::Module* owner = parameter->slots().front().module;
    if (std::find(owners.begin(), owners.end(), owner) == owners.end()) owners.push_back(owner);
  }
  return owners;
}

void ParameterGroup::RegisterStateDictHooks() {
  if (has_state_dict_hooks_) return;
  has_state_dict_hooks_ = true;
  for (models::Module* owner : OwningModules()) {
    owner->pre_save_hooks().push_back([this] { ToShardedForSave(); });
    owner->pre_load_hooks().push_back([this] { ToSharded(); });
  }
}

void ParameterGroup::Unshard() {
  if (!is_unsharded_) Gather();
}

void ParameterGroup::Gather() {
  if (parameters_.empty()) return;
  AllGatherParameters(parameters_, mesh_);
  for (const auto& parameter : parameters_) parameter->ToUnsharded();
  is_unsharded_ = true;
}

void ParameterGroup::Reshard() {
  if (phase_ == Phase::kForward && !reshard_after_forward_) return;
  ToSharded();
}

void ParameterGroup::ToSharded() {
  if (!is_unsharded_) return;
  for (const auto& parameter : parameters_) parameter->ToSharded();
  is_unsharded_ = false;
}

void ParameterGroup::ToShardedForSave() {
  if (phase_ == Phase::kForward) {
    throw SemanticError("RuntimeError", "a state dict cannot be taken in the forward of '" + parameters_.front()->fqn() +
                                            "': the forward needs its gathered values");
  }
  ToSharded();
}

at::Tensor ParameterGroup::PreForward(at::Tensor input) {
  if (phase_ == Phase::kPreBackward) {
    Unshard();
  } else {
    Gather();
  }
  phase_ = Phase::kForward;
  return CallWhenGradientPassed(std::move(input), [self = shared_from_this()] { self->PostBackward(); });
}

void ParameterGroup::PostForward() {
  Reshard();
  phase_ = Phase::kIdle;
}

void ParameterGroup::AbandonForward() {
  if (phase_ != Phase::kForward) return;
  phase_ = Phase::kIdle;
  ToSharded();
}

void ParameterGroup::AbandonBackward() {
  for (const auto& parameter : parameters_) parameter->TakeUnshardedGradient();
  ToSharded();
  phase_ = Phase::kIdle;
}

void ParameterGroup::PreBackward() {
  if (phase_ == Phase::kPreBackward) return;
  phase_ = Phase::kPreBackward;
  Unshard();
}

void ParameterGroup::PostBackward() {
  phase_ = Phase::kPostBackward;
  std::vector<GradientOf> gradients;
  for (const auto& parameter : parameters_) {
    const at::Tensor gradient = parameter->TakeUnshardedGradient();
    if (gradient.defined()) gradients.push_back({parameter.get(), gradient});
  }
  Reshard();
  ReduceGradients(gradients, mesh_, options_.mixed_precision.reduce_dtype);
}

void ParameterGroup::FinishBackward() {
  if (phase_ != Phase::kPostBackward) PostBackward();
  phase_ = Phase::kIdle;
}

}  // namespace shardcts::reference

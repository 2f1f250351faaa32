#include "parallel/tensor_parallel_layers.h"

#include <ATen/ATen.h>

#include "parallel/tensor_parallel_autograd.h"
#include "parameter/dtensor_parameter.h"
#include "tensor/redistribute.h"

namespace shardcts::reference {
namespace {

models::ModulePtr WithoutParameters(const models::Module& plain) {
  models::ModulePtr copy = plain.ShallowCopy();
  for (const auto& [name, parameter] : plain.parameters()) copy->RemoveParameter(name);
  return copy;
}

}  // namespace

ParallelLayer::ParallelLayer(const models::Module& plain, std::shared_ptr<DeviceMesh> mesh)
    : Module(plain.type_name()), mesh_(std::move(mesh)), plain_(WithoutParameters(plain)) {
  for (const auto& [name, parameter] : plain.parameters()) RegisterParameter(name, parameter);
  for (const auto& [name, buffer] : plain.buffers()) RegisterBuffer(name, buffer, plain.IsPersistent(name));
}

ParallelLayer::ParallelLayer(const ParallelLayer& other)
    : Module(other), CountsHooks(other), mesh_(other.mesh_), plain_(other.plain_->ShallowCopy()) {}

std::vector<models::Named<std::vector<std::string>>> ParallelLayer::HookRuns() const {
  const auto* counts = dynamic_cast<const models::CountsHooks*>(plain_.get());
  return counts ? counts->HookRuns() : std::vector<models::Named<std::vector<std::string>>>();
}

void ParallelLayer::SetExtraState(Value state) {
  plain_->SetExtraState(std::move(state));
}

at::Tensor ParallelLayer::BiasOrNone() const { return HasParameter("bias") ? parameter("bias")->value : at::Tensor(); }

void ParallelLayer::Distribute(const std::string& name, const Placement& placement) {
  if (!HasParameter(name)) return;
  const at::Tensor& value = parameter(name)->value;
  SetParameter(name, MakeDTensorParameter(DistributeTensor(value, mesh_, {placement}), value.requires_grad()));
}

void ParallelLayer::Replicate(const std::string& name) {
  const at::Tensor& value = parameter(name)->value;
  const DTensor replicated = MakeDTensor(value, mesh_, {Placement::Replicate()}, value.sizes().vec());
  SetParameter(name, MakeDTensorParameter(replicated, value.requires_grad()));
}

ColwiseLinear::ColwiseLinear(const models::Module& plain, std::shared_ptr<DeviceMesh> mesh)
    : ParallelLayer(plain, std::move(mesh)) {
  Distribute("weight", Placement::Shard(0));
  Distribute("bias", Placement::Shard(0));
}

at::Tensor ColwiseLinear::Forward(at::Tensor input) {
  OnUserEvent(models::UserEvent::kForward, "");
  return at::linear(EnterParallelRegion(input, group()), parameter("weight")->value, BiasOrNone());
}

models::ModulePtr ColwiseLinear::ShallowCopy() const { return std::make_shared<ColwiseLinear>(*this); }

RowwiseLinear::RowwiseLinear(const models::Module& plain, std::shared_ptr<DeviceMesh> mesh)
    : ParallelLayer(plain, std::move(mesh)) {
  Distribute("weight", Placement::Shard(1));
  Distribute("bias", Placement::Replicate());
}

at::Tensor RowwiseLinear::Forward(at::Tensor input) {
  OnUserEvent(models::UserEvent::kForward, "");
  at::Tensor bias = BiasOrNone();
  if (bias.defined()) bias = ShareOfValue(bias, mesh().Size(0));
  return SumContributions(at::linear(input, parameter("weight")->value, bias), group());
}

models::ModulePtr RowwiseLinear::ShallowCopy() const { return std::make_shared<RowwiseLinear>(*this); }

SequenceLayerNorm::SequenceLayerNorm(const models::Module& plain, std::shared_ptr<DeviceMesh> mesh)
    : ParallelLayer(plain, std::move(mesh)) {
  for (const auto& [name, parameter] : plain.parameters()) Replicate(name);
}

at::Tensor SequenceLayerNorm::Forward(at::Tensor input) {
  OnUserEvent(models::UserEvent::kForward, "");
  const at::Tensor weight = EnterParallelRegion(parameter("weight")->value, group());
  at::Tensor bias = BiasOrNone();
  if (bias.defined()) bias = EnterParallelRegion(bias, group());
  return at::layer_norm(input, weight.sizes(), weight, bias);
}

models::ModulePtr SequenceLayerNorm::ShallowCopy() const { return std::make_shared<SequenceLayerNorm>(*this); }

}  // namespace shardcts::reference

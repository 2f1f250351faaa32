#include "parallel/tensor_parallel_layers.h"

#include <ATen/ATen.h>

#include "parallel/tensor_parallel_autograd.h"
#include "parameter/dtensor_parameter.h"
#include "tensor/redistribute.h"

namespace shardcts::reference {
namespace {

// A slot for each parameter of `plain`, in its order.
void TakeSlots(const models::Module& plain, models::Module& layer) {
  for (const auto& [name, parameter] : plain.parameters()) layer.RegisterParameter(name, parameter->value);
}

void Distribute(models::Module& layer, const std::string& name, const std::shared_ptr<DeviceMesh>& mesh,
                const Placement& placement) {
  if (!layer.HasParameter(name)) return;
  const at::Tensor& value = layer.parameter(name)->value;
  layer.SetParameter(name, MakeDTensorParameter(DistributeTensor(value, mesh, {placement}), value.requires_grad()));
}

at::Tensor ValueOrNone(const models::Module& layer, const std::string& name) {
  return layer.HasParameter(name) ? layer.parameter(name)->value : at::Tensor();
}

}  // namespace

ColwiseLinear::ColwiseLinear(const models::Module& plain, std::shared_ptr<DeviceMesh> mesh)
    : ModuleOf(plain.type_name()), mesh_(std::move(mesh)) {
  TakeSlots(plain, *this);
  Distribute(*this, "weight", mesh_, Placement::Shard(0));
  Distribute(*this, "bias", mesh_, Placement::Shard(0));
}

at::Tensor ColwiseLinear::Forward(at::Tensor input) {
  const at::Tensor entered = EnterParallelRegion(input, mesh_->group(0));
  return at::linear(entered, parameter("weight")->value, ValueOrNone(*this, "bias"));
}

RowwiseLinear::RowwiseLinear(const models::Module& plain, std::shared_ptr<DeviceMesh> mesh)
    : ModuleOf(plain.type_name()), mesh_(std::move(mesh)) {
  TakeSlots(plain, *this);
  Distribute(*this, "weight", mesh_, Placement::Shard(1));
  Distribute(*this, "bias", mesh_, Placement::Replicate());
}

at::Tensor RowwiseLinear::Forward(at::Tensor input) {
  at::Tensor bias = ValueOrNone(*this, "bias");
  if (bias.defined()) bias = ShareOfValue(bias, mesh_->Size(0));
  return SumContributions(at::linear(input, parameter("weight")->value, bias), mesh_->group(0));
}

SequenceLayerNorm::SequenceLayerNorm(const models::Module& plain, std::shared_ptr<DeviceMesh> mesh)
    : ModuleOf(plain.type_name()), mesh_(std::move(mesh)) {
  TakeSlots(plain, *this);
  for (const auto& [name, parameter] : plain.parameters()) {
    const at::Tensor& value = parameter->value;
    const DTensor replicated = MakeDTensor(value, mesh_, {Placement::Replicate()}, value.sizes().vec());
    SetParameter(name, MakeDTensorParameter(replicated, value.requires_grad()));
  }
}

at::Tensor SequenceLayerNorm::Forward(at::Tensor input) {
  const at::Tensor weight = EnterParallelRegion(parameter("weight")->value, mesh_->group(0));
  at::Tensor bias = ValueOrNone(*this, "bias");
  if (bias.defined()) bias = EnterParallelRegion(bias, mesh_->group(0));
  return at::layer_norm(input, weight.sizes(), weight, bias);
}

}  // namespace shardcts::reference

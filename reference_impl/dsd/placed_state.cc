#include "dsd/placed_state.h"

#include "parameter/dtensor_parameter.h"
#include "tensor/redistribute.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

// Moments and similar state; a step counter does not have the parameter's shape.
bool IsShapedLike(const at::Tensor& tensor, const Key& name, at::IntArrayRef shape) {
  return name != Key("step") && tensor.sizes() == shape;
}

}  // namespace

Dict PlacedState(const models::Parameter& parameter, const Dict& state) {
  const DTensorDistribution* distribution = FindDistribution(parameter);
  if (!distribution) return state;
  Dict placed;
  for (const auto& [name, value] : state) {
    const auto* tensor = value.TryAs<Tensor>();
    if (tensor && IsShapedLike(tensor->data, name, parameter.value.sizes())) {
      placed.Set(name, ToContract(WithDistribution(*distribution, tensor->data), /*is_parameter=*/false));
    } else {
      placed.Set(name, value);
    }
  }
  return placed;
}

Value LocalState(const models::Parameter& parameter, const Value& value, bool is_whole, const MeshRegistry& meshes) {
  const DTensorDistribution* distribution = FindDistribution(parameter);
  if (const auto* distributed = value.TryAs<shardcts::DTensor>()) {
    const DTensor given = FromContract(*distributed, meshes);
    if (!distribution) return FullTensor(given);
    return Redistribute(given, distribution->placements).local;
  }
  const auto* tensor = value.TryAs<Tensor>();
  if (!tensor || !distribution || tensor->data.dim() == 0) return value;
  if (tensor->data.sizes() != at::IntArrayRef(distribution->shape)) return value;
  if (!is_whole) {
    throw SemanticError("RuntimeError", "a plain tensor of optimizer state for a parameter that is a DTensor placed " +
                                            ToString(distribution->placements));
  }
  const std::vector<Placement> replicated(distribution->placements.size());
  return Redistribute(MakeDTensor(tensor->data, distribution->mesh, replicated, distribution->shape),
                      distribution->placements)
      .local;
}

}  // namespace shardcts::reference

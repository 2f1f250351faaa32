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

[[noreturn]] void RefusePlain(const DTensorDistribution& distribution) {
  throw SemanticError("RuntimeError", "a plain tensor of optimizer state for a parameter that is a DTensor placed " +
                                          ToString(distribution.placements));
}

bool IsReplicated(const DTensor& tensor) {
  return tensor.placements == std::vector<Placement>(tensor.placements.size());
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
  if (!is_whole) RefusePlain(*distribution);
  const std::vector<Placement> replicated(distribution->placements.size());
  return Redistribute(MakeDTensor(tensor->data, distribution->mesh, replicated, distribution->shape),
                      distribution->placements)
      .local;
}

std::string CommunicationFor(const models::Parameter& parameter, const Value& value, bool is_whole,
                             const MeshRegistry& meshes) {
  const DTensorDistribution* distribution = FindDistribution(parameter);
  const auto* distributed = value.TryAs<shardcts::DTensor>();
  if (!distributed) {
    const auto* tensor = value.TryAs<Tensor>();
    const bool is_plain = distribution && tensor && tensor->data.dim() > 0;
    if (is_plain && !is_whole && tensor->data.sizes() == at::IntArrayRef(distribution->shape)) RefusePlain(*distribution);
    return "";
  }
  const DTensor given = FromContract(*distributed, meshes);
  if (distribution && distribution->mesh->layout() != given.mesh->layout()) {
    throw SemanticError("RuntimeError", "a state on the mesh " + given.mesh->layout().ToString() +
                                            " of a parameter on the mesh " + distribution->mesh->layout().ToString());
  }
  const bool is_in_place = distribution ? distribution->placements == given.placements : IsReplicated(given);
  return is_in_place ? "" : ShapeToString(given.shape) + " placed " + ToString(given.placements);
}

}  // namespace shardcts::reference

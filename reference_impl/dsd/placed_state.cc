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

Dict PlacedDict(const DTensorDistribution& distribution, at::IntArrayRef shape, const Dict& state);

// At every depth: what is shaped like the parameter's local part becomes a DTensor with its placements.
Value Placed(const DTensorDistribution& distribution, at::IntArrayRef shape, const Key& name, const Value& value) {
  if (const auto* dict = value.TryAs<Dict>()) return PlacedDict(distribution, shape, *dict);
  if (const auto* list = value.TryAs<List>()) {
    List placed;
    for (const Value& entry : *list) placed.push_back(Placed(distribution, shape, "", entry));
    return placed;
  }
  const auto* tensor = value.TryAs<Tensor>();
  if (!tensor || !IsShapedLike(tensor->data, name, shape)) return value;
  return ToContract(WithDistribution(distribution, tensor->data), /*is_parameter=*/false);
}

Dict PlacedDict(const DTensorDistribution& distribution, at::IntArrayRef shape, const Dict& state) {
  Dict placed;
  for (const auto& [name, value] : state) placed.Set(name, Placed(distribution, shape, name, value));
  return placed;
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
  return distribution ? PlacedDict(*distribution, parameter.value.sizes(), state) : state;
}

Value LocalState(const models::Parameter& parameter, const Value& value, bool is_whole, const MeshRegistry& meshes) {
  if (const auto* dict = value.TryAs<Dict>()) {
    Dict local;
    for (const auto& [name, entry] : *dict) local.Set(name, LocalState(parameter, entry, is_whole, meshes));
    return local;
  }
  if (const auto* list = value.TryAs<List>()) {
    List local;
    for (const Value& entry : *list) local.push_back(LocalState(parameter, entry, is_whole, meshes));
    return local;
  }
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

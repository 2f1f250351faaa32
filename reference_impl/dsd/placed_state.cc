#include "dsd/placed_state.h"

#include "optim/optimizer.h"
#include "parameter/dtensor_parameter.h"
#include "tensor/redistribute.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

// The part of an example that stands under this key, or at this place.
const Value* ExampleAt(const Value* example, const Key& key) {
  const auto* dict = example ? example->TryAs<Dict>() : nullptr;
  return dict ? dict->Find(key) : nullptr;
}
const Value* ExampleAt(const Value* example, size_t index) {
  const auto* list = example ? example->TryAs<List>() : nullptr;
  return list && index < list->size() ? &list->at(index) : nullptr;
}

// At every depth: what is shaped like the parameter's local part becomes a DTensor with its placements.
Value Placed(const DTensorDistribution& distribution, at::IntArrayRef shape, const Value& value, const Value* example) {
  if (const auto* dict = value.TryAs<Dict>()) {
    Dict placed;
    for (const auto& [name, entry] : *dict) {
      // Of a parameter without dimensions everything has the shape.
      const bool is_counter = shape.empty() && name == Key("step");
      placed.Set(name, is_counter ? entry : Placed(distribution, shape, entry, ExampleAt(example, name)));
    }
    return placed;
  }
  if (const auto* list = value.TryAs<List>()) {
    List placed;
    for (size_t i = 0; i < list->size(); ++i) {
      placed.push_back(Placed(distribution, shape, list->at(i), ExampleAt(example, i)));
    }
    return placed;
  }
  const auto* tensor = value.TryAs<Tensor>();
  if (!tensor || !IsShapedLike(tensor->data, example, shape)) return value;
  return ToContract(WithDistribution(distribution, tensor->data), /*is_parameter=*/false);
}

[[noreturn]] void RefusePlain(const DTensorDistribution& distribution) {
  throw SemanticError("RuntimeError", "a plain tensor of optimizer state for a parameter that is a DTensor placed " +
                                          ToString(distribution.placements));
}

bool IsReplicated(const DTensor& tensor) {
  return tensor.placements == std::vector<Placement>(tensor.placements.size());
}

}  // namespace

bool IsShapedLike(const at::Tensor& tensor, const Value* example, at::IntArrayRef shape) {
  const auto* known = example ? example->TryAs<Tensor>() : nullptr;
  const std::vector<int64_t> example_shape = ExampleShape(static_cast<int64_t>(shape.size()));
  return known && known->data.sizes() == at::IntArrayRef(example_shape) && tensor.sizes() == shape;
}

Dict PlacedState(const models::Parameter& parameter, const Dict& state, const Dict& example) {
  const DTensorDistribution* distribution = FindDistribution(parameter);
  if (!distribution) return state;
  const Value examples(example);
  return Placed(*distribution, parameter.value.sizes(), state, &examples).AsDict();
}

Value LocalState(const models::Parameter& parameter, const Value& value, const Value* example, bool is_whole,
                 const MeshRegistry& meshes) {
  if (const auto* dict = value.TryAs<Dict>()) {
    Dict local;
    for (const auto& [name, entry] : *dict) {
      local.Set(name, LocalState(parameter, entry, ExampleAt(example, name), is_whole, meshes));
    }
    return local;
  }
  if (const auto* list = value.TryAs<List>()) {
    List local;
    for (size_t i = 0; i < list->size(); ++i) {
      local.push_back(LocalState(parameter, list->at(i), ExampleAt(example, i), is_whole, meshes));
    }
    return local;
  }
  const DTensorDistribution* distribution = FindDistribution(parameter);
  if (const auto* distributed = value.TryAs<shardcts::DTensor>()) {
    const DTensor given = FromContract(*distributed, meshes);
    if (!distribution) return FullTensor(given);
    const DTensor placed = Redistribute(given, distribution->placements);
    return example ? Value(placed.local) : Value(ToContract(placed, /*is_parameter=*/false));
  }
  const auto* tensor = value.TryAs<Tensor>();
  if (!tensor || !distribution || tensor->data.dim() == 0) return value;
  if (!IsShapedLike(tensor->data, example, distribution->shape)) return value;
  if (!is_whole) RefusePlain(*distribution);
  const std::vector<Placement> replicated(distribution->placements.size());
  return Redistribute(MakeDTensor(tensor->data, distribution->mesh, replicated, distribution->shape),
                      distribution->placements)
      .local;
}

std::string CommunicationFor(const models::Parameter& parameter, const Value& value, const Value* example,
                             bool is_whole, const MeshRegistry& meshes) {
  const DTensorDistribution* distribution = FindDistribution(parameter);
  const auto* distributed = value.TryAs<shardcts::DTensor>();
  if (!distributed) {
    const auto* tensor = value.TryAs<Tensor>();
    const bool is_plain = distribution && tensor && tensor->data.dim() > 0;
    if (is_plain && !is_whole && IsShapedLike(tensor->data, example, distribution->shape)) RefusePlain(*distribution);
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

#include "optim/state_shapes.h"

#include <optional>

#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

// nullopt: not a tensor.
std::optional<std::vector<int64_t>> ShapeOf(const Value& value) {
  if (const auto* tensor = value.TryAs<Tensor>()) return tensor->data.sizes().vec();
  if (const auto* distributed = value.TryAs<shardcts::DTensor>()) return distributed->shape;
  if (const auto* sharded = value.TryAs<ShardedTensor>()) return sharded->shape;
  return std::nullopt;
}

}  // namespace

void CheckStateShapes(const Optimizer& optimizer, const models::Parameter& parameter, const std::string& name,
                      const std::vector<int64_t>& shape, const Dict& given) {
  const std::vector<int64_t> example = ExampleShape(parameter.value.dim());
  for (const auto& [state, kept] : optimizer.LargestExampleState(parameter)) {
    const auto* tensor = kept.TryAs<Tensor>();
    if (!tensor) continue;
    const bool is_shaped = tensor->data.dim() > 0;
    if (is_shaped && tensor->data.sizes() != at::IntArrayRef(example)) continue;  // a shape of its own
    const Value* value = given.Find(state);
    if (!value || value->IsNone()) continue;
    const std::optional<std::vector<int64_t>> actual = ShapeOf(*value);
    const std::vector<int64_t> expected = is_shaped ? shape : std::vector<int64_t>{};
    if (actual ? *actual == expected : !is_shaped) continue;
    throw SemanticError("ValueError", "the state \"" + ToString(state) + "\" of \"" + name +
                                          "\" has another shape: expected " + ShapeToString(expected) + ", actual " +
                                          (actual ? ShapeToString(*actual) : std::string(value->TypeName())));
  }
}

}  // namespace shardcts::reference

#include "operations/tensor_values.h"

#include <ATen/ATen.h>

#include "contract/tensor_bytes.h"
#include "parameter/dtensor_parameter.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

Value StateEntryValue(const StateValue& value) {
  if (const auto* distributed = std::get_if<DTensor>(&value)) return DTensorValue(*distributed);
  if (const auto* sharded = std::get_if<ShardedTensor>(&value)) return *sharded;
  return std::get<at::Tensor>(value);
}

// The Python type that such a value has.
std::string PythonTypeName(const Value& value) {
  switch (value.type()) {
    case Value::Type::kNone: return "NoneType";
    case Value::Type::kDouble: return "float";
    case Value::Type::kString: return "str";
    default: return std::string(value.TypeName());
  }
}

StateValue StateEntryFrom(const Value& value, const MeshRegistry& meshes) {
  if (const auto* tensor = value.TryAs<Tensor>()) return tensor->data;
  if (const auto* distributed = value.TryAs<shardcts::DTensor>()) return FromContract(*distributed, meshes);
  if (const auto* sharded = value.TryAs<ShardedTensor>()) return *sharded;
  return NotATensor{PythonTypeName(value)};
}

}  // namespace

Value ParameterValue(const models::Parameter& parameter) {
  const DTensorDistribution* distribution = FindDistribution(parameter);
  if (!distribution) return Tensor{parameter.value, /*is_parameter=*/true};
  shardcts::DTensor value = ToContract(WithDistribution(*distribution, parameter.value.detach()), true);
  value.requires_grad = parameter.value.requires_grad();
  return value;
}

Value GradientValue(const models::Parameter& parameter) {
  const at::Tensor& gradient = parameter.value.grad();
  if (!gradient.defined()) return {};
  const DTensorDistribution* distribution = FindDistribution(parameter);
  if (!distribution) return gradient;
  return DTensorValue(WithDistribution(*distribution, gradient));
}

Value StateDictValue(const StateDict& state_dict) {
  Dict values;
  for (const auto& [name, value] : state_dict) values.Set(name, StateEntryValue(value));
  return values;
}

StateDict StateDictFrom(const Dict& values, const MeshRegistry& meshes) {
  StateDict state_dict;
  for (const auto& [key, value] : values) state_dict.emplace_back(ToString(key), StateEntryFrom(value, meshes));
  return state_dict;
}

Value DTensorValue(const DTensor& tensor) { return ToContract(tensor, /*is_parameter=*/false); }

std::vector<Placement> PlacementsFrom(const Value& value) {
  std::vector<Placement> placements;
  for (const std::string& text : value.AsStrings()) {
    const std::optional<Placement> placement = Placement::Parse(text);
    if (!placement) throw SemanticError("ValueError", "'" + text + "' is no placement");
    placements.push_back(*placement);
  }
  return placements;
}

at::ScalarType DtypeFrom(const std::string& text) {
  const std::optional<at::ScalarType> dtype = ParseDtype(text);
  if (!dtype) throw SemanticError("TypeError", "no dtype is called '" + text + "'");
  return *dtype;
}

at::Device DeviceFrom(const std::string& text) { return at::Device(text); }

}  // namespace shardcts::reference

#include "operations/tensor_values.h"

#include <ATen/ATen.h>

#include "contract/tensor_bytes.h"
#include "parameter/dtensor_parameter.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {

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

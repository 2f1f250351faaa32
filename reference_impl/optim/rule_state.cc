#include "optim/rule_state.h"

#include <ATen/ATen.h>
#include <ATen/ScalarOps.h>

#include "tensor/semantic_error.h"

namespace shardcts::reference {

at::Tensor CounterOf(double value) { return at::full({}, value, at::kFloat); }
at::Tensor ZerosLike(const at::Tensor& value) { return at::zeros_like(value); }

at::Tensor Entry(const Dict& state, const char* name) {
  const Value* entry = state.Find(name);
  if (!entry) throw SemanticError("KeyError", "'" + std::string(name) + "'");
  return entry->AsTensor();
}

double NextStep(const Dict& state) { return Entry(state, "step").add_(1).item<double>(); }

const Value& Option(const Dict& options, const char* name) {
  if (const Value* value = options.Find(name)) return *value;
  throw SemanticError("KeyError", std::string("'") + name + "'");
}

double Beta(const Dict& options, size_t i) {
  const List& betas = Option(options, "betas").AsList();
  if (betas.size() != 2) throw SemanticError("ValueError", "betas are two, not " + std::to_string(betas.size()));
  return betas[i].AsDouble();
}

at::Tensor ScaleInPlace(at::Tensor tensor, double factor) {
  return tensor.mul_(at::native::wrapped_scalar_tensor(factor));
}

void AdoptCounter(Dict& state, const char* name) {
  if (state.empty()) return;
  Value* counter = state.Find(name);
  if (!counter) throw SemanticError("KeyError", "'" + std::string(name) + "'");
  if (!counter->TryAs<Tensor>()) *counter = CounterOf(counter->AsDouble());
}

at::Tensor Downhill(const at::Tensor& grad, const Dict& options) { return Flag(options, "maximize") ? -grad : grad; }

at::Tensor Decayed(at::Tensor value, const at::Tensor& grad, const Dict& options) {
  const double weight_decay = Number(options, "weight_decay");
  if (weight_decay == 0) return grad;
  const Value* decoupled = options.Find("decoupled_weight_decay");
  if (!decoupled || !decoupled->AsBool()) return grad.add(value, weight_decay);
  ScaleInPlace(value, (1 - LearningRate(options) * weight_decay).value());
  return grad;
}

}  // namespace shardcts::reference

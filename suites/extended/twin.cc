#include "suites/extended/twin.h"

#include <ATen/ATen.h>

#include "models/zoo.h"
#include "rank/session.h"
#include "suites/extended/coded.h"

namespace shardcts::extended {
namespace {

void AddStateOf(models::Module& module, const std::string& prefix, Dict& state) {
  for (const auto& [name, parameter] : module.parameters()) {
    state.Set(models::JoinName(prefix, name), parameter->value.detach());
  }
  for (const auto& [name, buffer] : module.buffers()) {
    if (module.IsPersistent(name)) state.Set(models::JoinName(prefix, name), buffer);
  }
  if (module.HasExtraState()) state.Set(models::JoinName(prefix, "_extra_state"), module.ExtraState());
  for (const auto& [name, child] : module.children()) AddStateOf(*child, models::JoinName(prefix, name), state);
}

// Its initial values are drawn from LibTorch's default generator, which the implementation under test may use, too: it
// must not notice.
models::ModulePtr BuiltUnnoticed(const ModelSpec& spec) {
  at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
  const at::Tensor state = generator.get_state();
  models::ModulePtr module = models::BuildModel(spec.name, spec.args, at::kCPU);
  generator.set_state(state);
  return module;
}

}  // namespace

Twin::Twin(const ModelSpec& spec) : module_(BuiltUnnoticed(spec)) {
  Dict tensors = Parameters();
  for (const auto& [name, buffer] : models::NamedBuffers(*module_)) tensors.Set(name, buffer);
  const Dict coded = CodedLike(tensors);
  for (auto& [name, tensor] : tensors) tensor.AsTensor().copy_(coded.At(name).AsTensor());
}

Dict Twin::Parameters() const {
  Dict parameters;
  for (const auto& [name, parameter] : models::NamedParameters(*module_)) {
    parameters.Set(name, parameter->value.detach());
  }
  return parameters;
}

Dict Twin::StateDict() const {
  Dict state;
  AddStateOf(*module_, "", state);
  return state;
}

Dict Twin::Gradients() const {
  Dict gradients;
  for (const auto& [name, parameter] : models::NamedParameters(*module_)) {
    const at::Tensor& gradient = parameter->value.grad();
    gradients.Set(name, gradient.defined() ? Value(gradient) : Value());
  }
  return gradients;
}

void Twin::SetValues(const Dict& parameters) {
  const Dict own = Parameters();
  for (const auto& [name, value] : parameters) own.At(name).AsTensor().copy_(value.AsTensor());
}

const at::Tensor& Twin::Leaf(const std::string& name) const {
  for (const auto& [own, parameter] : models::NamedParameters(*module_)) {
    if (own == name) return parameter->value;
  }
  throw HarnessError(fmt::format("the twin has no parameter \"{}\"", name));
}

void Twin::SetTraining(bool training) { models::SetTraining(*module_, training); }

at::Tensor Twin::Forward(const std::vector<at::Tensor>& inputs) { return module_->CallAll(inputs); }

void Twin::Backward(const at::Tensor& output) { output.sum().backward(); }

void Twin::ZeroGrad() {
  for (const auto& [name, parameter] : models::NamedParameters(*module_)) parameter->value.mutable_grad().reset();
}

}  // namespace shardcts::extended
